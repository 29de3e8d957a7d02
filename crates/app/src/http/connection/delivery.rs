//! The port through which a connection reports the end of a response.

/// Learns whether a whole answer was sent.
pub(in crate::http) trait Delivery: Send {
    /// The operating system took the whole answer. Otherwise the value is only dropped.
    fn complete(self: Box<Self>);
}
