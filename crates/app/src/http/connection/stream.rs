//! The stream between the socket and actix-http: deadlines, and one request at a time.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::{rt::net::TcpStream, web::BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};
use tokio_rustls::server::TlsStream;

use crate::observability::metrics::EndReason;

use super::tracker::{ConnectionGuard, Readable, TrackedConnection};

/// How many bytes are read ahead of what actix-http may see.
const READ_AHEAD: usize = 4 * 1024;

/// The bytes of a connection, encrypted or not.
#[derive(Debug)]
pub(in crate::http) enum ClientSocket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! delegate {
    ($socket:expr, $method:ident($($argument:expr),*)) => {
        match $socket {
            ClientSocket::Plain(socket) => Pin::new(socket).$method($($argument),*),
            ClientSocket::Tls(socket) => Pin::new(socket).$method($($argument),*),
        }
    };
}

/// A connection that hands over one request at a time and gives every write a deadline.
pub(in crate::http) struct ClientStream {
    socket: ClientSocket,
    guard: ConnectionGuard,
    /// What was read and is not handed over yet.
    read_ahead: BytesMut,
    /// Whether the line that was handed over last is empty so far.
    line_is_empty: bool,
    /// Whether actix-http has to handle what it has before it gets more.
    must_pause: bool,
    write_timeout: Duration,
    /// When the client must have read something.
    write_deadline: Option<Pin<Box<Sleep>>>,
}

impl ClientStream {
    pub(in crate::http) fn new(socket: ClientSocket, guard: ConnectionGuard, write_timeout: Duration) -> Self {
        Self {
            socket,
            guard,
            read_ahead: BytesMut::new(),
            line_is_empty: true,
            must_pause: false,
            write_timeout,
            write_deadline: None,
        }
    }

    pub(in crate::http) fn connection(&self) -> &Arc<TrackedConnection> {
        self.guard.connection()
    }

    /// Reads ahead when nothing is left; `false` at the end of the stream.
    fn poll_read_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.read_ahead.is_empty() {
            let mut bytes = [0; READ_AHEAD];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(delegate!(&mut self.socket, poll_read(context, &mut buffer)))?;
            self.read_ahead.extend_from_slice(buffer.filled());
        }
        Poll::Ready(Ok(!self.read_ahead.is_empty()))
    }

    /// How many of `limit` bytes may be handed over as a part of a header: up to the empty line that ends it.
    fn header_bytes(&mut self, limit: usize) -> usize {
        for (position, byte) in self.read_ahead[..limit].iter().enumerate() {
            match byte {
                b'\n' if self.line_is_empty => {
                    self.must_pause = true;
                    return position + 1;
                }
                b'\n' => self.line_is_empty = true,
                // A line may end in a carriage return and a line feed, or in a line feed alone.
                b'\r' => {}
                _ => self.line_is_empty = false,
            }
        }
        limit
    }

    /// Notes that the client does not read, and ends the connection when that has taken too long.
    fn poll_write_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        self.guard.connection().set_write_blocked(true);
        let timeout = self.write_timeout;
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + timeout)));
        ready!(deadline.as_mut().poll(context));
        self.guard.connection().record_end_reason(EndReason::WriteTimeout);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Settles what became of a write.
    fn written<T>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Pending => self.poll_write_deadline(context).map(Err),
            Poll::Ready(Ok(value)) => {
                self.write_deadline = None;
                self.guard.connection().set_write_blocked(false);
                Poll::Ready(Ok(value))
            }
            Poll::Ready(Err(error)) => {
                self.guard.connection().record_end_reason(EndReason::ClientGone);
                Poll::Ready(Err(error))
            }
        }
    }

    fn must_close(&self, context: &Context<'_>) -> bool {
        self.guard.connection().register(context.waker())
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        // What was not flushed by now never is.
        drop(self.connection().take_unflushed());
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.must_close(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if std::mem::take(&mut this.must_pause) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        match ready!(this.poll_read_ahead(context)) {
            Ok(true) => {}
            Ok(false) => {
                this.connection().record_end_reason(EndReason::ClientGone);
                return Poll::Ready(Ok(()));
            }
            Err(error) => {
                this.connection().record_end_reason(EndReason::ClientGone);
                return Poll::Ready(Err(error));
            }
        }
        let limit = this.read_ahead.len().min(out.remaining());
        let count = match this.connection().readable() {
            Readable::Nothing => return Poll::Pending,
            Readable::End => return Poll::Ready(Ok(())),
            Readable::Header => {
                this.connection().header_received();
                this.header_bytes(limit)
            }
            Readable::Body(remaining) => {
                let count = usize::try_from(remaining).unwrap_or(usize::MAX).min(limit);
                this.connection().body_received(count as u64);
                count
            }
            Readable::Chunks => {
                let Some(count) = this.connection().chunks_received(&this.read_ahead[..limit]) else {
                    // The request's own task has to learn of it.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                };
                count
            }
        };
        out.put_slice(&this.read_ahead.split_to(count));
        if this.read_ahead.is_empty() {
            // An idle connection holds no buffer.
            this.read_ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.must_close(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let outcome = delegate!(&mut this.socket, poll_write(context, bytes));
        this.written(context, outcome)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.must_close(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let outcome = delegate!(&mut this.socket, poll_flush(context));
        let outcome = this.written(context, outcome);
        if matches!(outcome, Poll::Ready(Ok(())))
            && let Some(answer) = this.connection().take_unflushed()
        {
            answer.complete();
        }
        outcome
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let outcome = delegate!(&mut this.socket, poll_shutdown(context));
        this.written(context, outcome)
    }
}
