//! Preconditions of a change: what a client requires of the present state of what it changes.
//!
//! Source: contract extensions, "Two desks, one customer"; RFC 9110, section 13.1.1 (`If-Match`).

use std::fmt;

/// Whether the precondition holds of a state.
type Check<'p, T> = dyn Fn(&T) -> bool + Send + Sync + 'p;

/// What must hold of a `T` before it is changed. The app builds it from `If-Match`, because an entity tag is made from the
/// form in which a `T` is shown.
pub struct Precondition<'p, T>(Option<Box<Check<'p, T>>>);

/// The precondition does not hold: somebody else has changed it in the meantime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreconditionFailed;

impl<'p, T> Precondition<'p, T> {
    /// Requires `holds` of the present state.
    pub fn new(holds: impl Fn(&T) -> bool + Send + Sync + 'p) -> Self {
        Self(Some(Box::new(holds)))
    }

    /// Requires nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether anything is required.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Checks it against the present state.
    pub fn check(&self, state: &T) -> Result<(), PreconditionFailed> {
        if self.0.as_ref().is_none_or(|holds| holds(state)) { Ok(()) } else { Err(PreconditionFailed) }
    }
}

impl<T> fmt::Debug for Precondition<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_none() { "Precondition::none()" } else { "Precondition(..)" })
    }
}
