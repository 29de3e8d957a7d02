//! What a failure of the database means to the domain: the one place that reads diesel's errors.
//!
//! A cause is logged, so it must not hold personal data. PostgreSQL puts values into the details of an error and, in
//! quotes, into some messages: details are dropped and messages cut at the first quote.

use crm_domain::store::{Cause, Reference, StoreError};
use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error};
use diesel_async::pooled_connection::deadpool::PoolError;
use thiserror::Error;

/// What went wrong in the database, fit to be logged.
#[derive(Debug, Error)]
#[error("{what}{}", constraint.as_ref().map(|name| format!(" (constraint {name})")).unwrap_or_default())]
struct DatabaseFailure {
    what: String,
    constraint: Option<String>,
}

fn failure(what: impl Into<String>) -> Cause {
    Box::new(DatabaseFailure { what: what.into(), constraint: None })
}

/// What a prepared statement answers once the platform has altered a table that it reads.
const STALE_PLAN: &str = "cached plan must not change result type";
/// What a connection answers as the server ends it.
const TERMINATED: &str = "terminating connection due to administrator command";
/// What PgBouncer answers, and closes its client's connection, when the server's connection is gone or cannot be had.
const POOLER: &[&str] = &[
    "server conn crashed?",
    "server login has been failing",
    "pgbouncer cannot connect to server",
    "query_wait_timeout",
    "no more connections allowed",
    "client_login_timeout",
];

/// Whether the same statement may well succeed on another connection: this one died, or its prepared statements are
/// outdated.
pub(super) fn is_of_the_connection(error: &Error) -> bool {
    match error {
        Error::DatabaseError(DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection, _) => true,
        Error::DatabaseError(_, information) => {
            let message = information.message();
            [STALE_PLAN, TERMINATED].contains(&message) || is_the_poolers(message)
        }
        _ => false,
    }
}

fn is_the_poolers(message: &str) -> bool {
    POOLER.iter().any(|beginning| message.starts_with(beginning))
}

/// Messages of PostgreSQL that mean "not now": diesel does not pass the SQLSTATE on. In a database whose messages are
/// translated such a failure is answered 500 instead of 503, retryable both ways; `lc_messages = 'C'` for the
/// service's role avoids it (docs/OPERATIONS.md).
const NOT_NOW: &[&str] = &[
    STALE_PLAN,
    "canceling statement due to",
    "terminating connection due to",
    "deadlock detected",
    "the database system is",
    "sorry, too many clients already",
    "too many connections for",
    "remaining connection slots are reserved",
    "out of shared memory",
    "could not extend file",
];

/// Converts what diesel reports of a statement.
pub(crate) fn store_error(error: Error) -> StoreError {
    match error {
        Error::DatabaseError(kind, information) => database_error(kind, &*information),
        Error::BrokenTransactionManager => StoreError::Unavailable(failure("the transaction is broken")),
        other => StoreError::Unexpected(failure(match other {
            // Names a type or a column, never a value.
            Error::DeserializationError(cause) => format!("a row could not be read: {cause}"),
            Error::SerializationError(_) => "a parameter could not be written".to_owned(),
            Error::NotFound => "a row that must be there is not".to_owned(),
            _ => "the statement could not be built".to_owned(),
        })),
    }
}

fn database_error(kind: DatabaseErrorKind, information: &(dyn DatabaseErrorInformation + Send + Sync)) -> StoreError {
    let message = information.message();
    let cause = Box::new(DatabaseFailure {
        what: message.split('"').next().unwrap_or_default().trim_end().to_owned(),
        constraint: information.constraint_name().map(str::to_owned),
    });
    match kind {
        DatabaseErrorKind::ForeignKeyViolation => information
            .constraint_name()
            .and_then(reference_of)
            .map_or(StoreError::Unexpected(cause), StoreError::Missing),
        DatabaseErrorKind::UnableToSendCommand
        | DatabaseErrorKind::ClosedConnection
        | DatabaseErrorKind::SerializationFailure
        | DatabaseErrorKind::ReadOnlyTransaction => StoreError::Unavailable(cause),
        _ if is_the_poolers(message) || NOT_NOW.iter().any(|beginning| message.starts_with(beginning)) => {
            StoreError::Unavailable(cause)
        }
        _ => StoreError::Unexpected(cause),
    }
}

/// What a foreign key points to, by its constraint's name. PostgreSQL names it `<table>_<column>_fkey`, Drizzle
/// `<table>_<column>_<target>_id_fk`: the column's name stands in both.
fn reference_of(constraint: &str) -> Option<Reference> {
    [
        ("_customer_id_", Reference::Customer),
        ("_tag_id_", Reference::Tag),
        ("_booking_id_", Reference::Booking),
        ("_author_id_", Reference::Actor),
        ("_assigned_by_", Reference::Actor),
        ("_actor_id_", Reference::Actor),
    ]
    .into_iter()
    .find_map(|(column, reference)| constraint.contains(column).then_some(reference))
}

/// Converts what the pool reports: none came free in time, or none could be made.
pub(super) fn pool_error(error: PoolError) -> StoreError {
    use diesel_async::pooled_connection::PoolError as Backend;
    let what = match error {
        PoolError::Timeout(kind) => format!("no connection in time ({kind:?})"),
        PoolError::Backend(Backend::ConnectionError(error)) => format!("cannot connect: {error}"),
        PoolError::Backend(Backend::QueryError(_)) => "a connection did not answer".to_owned(),
        other => format!("the pool is not usable: {other}"),
    };
    StoreError::Unavailable(failure(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Information(&'static str, Option<&'static str>);

    impl DatabaseErrorInformation for Information {
        fn message(&self) -> &str {
            self.0
        }
        fn details(&self) -> Option<&str> {
            Some("Key (slug)=(personal) already exists.")
        }
        fn hint(&self) -> Option<&str> {
            None
        }
        fn table_name(&self) -> Option<&str> {
            None
        }
        fn column_name(&self) -> Option<&str> {
            None
        }
        fn constraint_name(&self) -> Option<&str> {
            self.1
        }
        fn statement_position(&self) -> Option<i32> {
            None
        }
    }

    fn convert(kind: DatabaseErrorKind, message: &'static str, constraint: Option<&'static str>) -> StoreError {
        store_error(Error::DatabaseError(kind, Box::new(Information(message, constraint))))
    }

    #[test]
    fn a_deadline_or_a_lost_connection_is_unavailable() {
        for message in ["canceling statement due to lock timeout", "deadlock detected", "server conn crashed?"] {
            let error = convert(DatabaseErrorKind::Unknown, message, None);
            assert!(matches!(error, StoreError::Unavailable(_)), "{message}");
        }
        let error = convert(DatabaseErrorKind::UnableToSendCommand, "connection closed", None);
        assert!(matches!(error, StoreError::Unavailable(_)));
    }

    #[test]
    fn a_foreign_key_tells_what_is_missing_by_either_naming() {
        let table = [
            ("customer_note_customer_id_fkey", Reference::Customer),
            ("customer_note_customer_id_user_id_fk", Reference::Customer),
            ("customer_note_booking_id_booking_id_fk", Reference::Booking),
            ("customer_note_author_id_user_id_fk", Reference::Actor),
            ("customer_tag_assignment_tag_id_customer_tag_id_fk", Reference::Tag),
            ("customer_tag_assignment_customer_id_fkey", Reference::Customer),
            ("customer_tag_assignment_assigned_by_fkey", Reference::Actor),
            ("audit_log_actor_id_fkey", Reference::Actor),
        ];
        for (constraint, reference) in table {
            let error = convert(DatabaseErrorKind::ForeignKeyViolation, "violates", Some(constraint));
            assert!(matches!(error, StoreError::Missing(found) if found == reference), "{constraint}: {error:?}");
        }
    }

    #[test]
    fn a_cause_holds_no_values() {
        let error =
            convert(DatabaseErrorKind::Unknown, "invalid input syntax for type integer: \"personal\"", Some("c"));
        let StoreError::Unexpected(cause) = error else { panic!("{error:?}") };
        assert_eq!(cause.to_string(), "invalid input syntax for type integer: (constraint c)");
        assert!(!format!("{cause:?}").contains("personal"));
    }
}
