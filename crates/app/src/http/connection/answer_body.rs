//! The response body that notices when a response is sent or abandoned.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    web::Bytes,
};

use super::{delivery::Delivery, tracker::TrackedConnection};

/// How many bytes of an answer are put into the connection's write buffer at once: a client that does not read holds
/// little more than that in memory.
const PIECE: usize = 16 * 1024;

/// A body that is sent in pieces and hands its [`Delivery`] to the connection after the last one.
pub(in crate::http) struct AnswerBody {
    body: BoxBody,
    /// The part of the body that was taken and not passed on yet.
    rest: Bytes,
    /// Dropped with the body.
    delivery: Option<Box<dyn Delivery>>,
    /// `None` in tests without a connection.
    connection: Option<Arc<TrackedConnection>>,
}

impl AnswerBody {
    pub(in crate::http) fn new(
        body: BoxBody,
        delivery: Box<dyn Delivery>,
        connection: Option<Arc<TrackedConnection>>,
    ) -> Self {
        Self { body, rest: Bytes::new(), delivery: Some(delivery), connection }
    }

    /// The whole answer is in the connection's write buffer.
    fn complete(&mut self) {
        let Some(delivery) = self.delivery.take() else { return };
        match &self.connection {
            Some(connection) => connection.answer_written(delivery),
            None => delivery.complete(),
        }
    }
}

impl MessageBody for AnswerBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_next(context)) {
                Some(Ok(bytes)) => this.rest = bytes,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    this.complete();
                    return Poll::Ready(None);
                }
            }
        }
        let piece = this.rest.split_to(PIECE.min(this.rest.len()));
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // A body without bytes is never asked for any.
        if matches!(self.body.size(), BodySize::None | BodySize::Sized(0)) {
            self.complete();
        }
    }
}
