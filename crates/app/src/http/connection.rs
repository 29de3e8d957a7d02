//! Client connections: their limits in number, memory and time.
//!
//! actix-http reads as many pipelined requests as a client sends, writes answers as long as memory lasts, and times only
//! the first header of a connection. So a [`ClientStream`] stands between the socket and actix-http. It hands over one
//! request at a time, and the next one only when the answer before it is sent; it gives every write a deadline; and it
//! checks the framing of chunked bodies, because actix-http ends a connection with broken framing without an answer. A
//! [`ConnectionTracker`] bounds connections by client address and closes those that idle for too long.

mod answer_body;
mod chunked;
mod delivery;
mod stream;
mod tracker;

pub(super) use self::{
    answer_body::AnswerBody,
    delivery::Delivery,
    stream::{ClientSocket, ClientStream},
    tracker::{ConnectionLimits, ConnectionTracker, RequestInFlight, TrackedConnection, UnreadBody},
};
