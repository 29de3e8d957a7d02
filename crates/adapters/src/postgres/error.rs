//! Converts diesel's errors to the domain's. No other file inspects diesel's errors.
//!
//! A cause is logged, so it must not hold personal data. PostgreSQL puts values into the details of an error and into some
//! messages, and a trigger of the platform's may raise any text. So a cause holds the names of the constraint, table and
//! column, and of the message only a beginning that is in a fixed list.
//!
//! diesel passes on a kind for the usual violations, and no SQLSTATE. This file distinguishes the other errors by the
//! beginning of their English message. [`super::connect`] sets the language to English if the role may; otherwise the check
//! before serving logs a warning.

use std::fmt;

use crm_domain::store_error::{Cause, StoreError};
use deadpool::managed::PoolError;
use diesel::{
    ConnectionError,
    result::{DatabaseErrorInformation, DatabaseErrorKind, Error},
};
use thiserror::Error;

/// A failure of the database, fit to be logged.
#[derive(Debug, Error)]
struct DatabaseFailure {
    what: String,
    constraint: Option<String>,
    table: Option<String>,
    column: Option<String>,
}

impl fmt::Display for DatabaseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        let names = [("constraint", &self.constraint), ("table", &self.table), ("column", &self.column)];
        for (kind, name) in names {
            if let Some(name) = name {
                write!(f, " ({kind} {name})")?;
            }
        }
        Ok(())
    }
}

fn failure(what: impl Into<String>) -> Cause {
    Box::new(DatabaseFailure { what: what.into(), constraint: None, table: None, column: None })
}

/// What a known message says of the failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The connection is dead or outdated: the same statement may well succeed on another one.
    ConnectionFailure,
    /// The database is busy: the same request may succeed later.
    Busy,
    /// Neither.
    Fault,
}

/// How messages of PostgreSQL and PgBouncer begin, and what they mean. No more of a message than stands here is logged.
const MESSAGES: &[(&str, Meaning)] = &[
    ("cached plan must not change result type", Meaning::ConnectionFailure),
    ("terminating connection due to", Meaning::ConnectionFailure),
    // PgBouncer closes its client's connection after these.
    ("server conn crashed?", Meaning::ConnectionFailure),
    ("server login has been failing", Meaning::ConnectionFailure),
    ("pgbouncer cannot connect to server", Meaning::ConnectionFailure),
    ("query_wait_timeout", Meaning::ConnectionFailure),
    ("no more connections allowed", Meaning::ConnectionFailure),
    ("client_login_timeout", Meaning::ConnectionFailure),
    ("canceling statement due to", Meaning::Busy),
    ("could not serialize access", Meaning::Busy),
    ("deadlock detected", Meaning::Busy),
    ("the database system is", Meaning::Busy),
    ("sorry, too many clients already", Meaning::Busy),
    ("too many connections for", Meaning::Busy),
    ("remaining connection slots are reserved", Meaning::Busy),
    ("out of shared memory", Meaning::Busy),
    ("out of memory", Meaning::Busy),
    ("could not extend file", Meaning::Busy),
    ("could not write", Meaning::Busy),
    ("cannot execute", Meaning::Busy),
    ("column", Meaning::Fault),
    ("could not determine which collation", Meaning::Fault),
    ("current transaction is aborted", Meaning::Fault),
    ("duplicate key value violates unique constraint", Meaning::Fault),
    ("function", Meaning::Fault),
    ("insert or update on table", Meaning::Fault),
    ("integer out of range", Meaning::Fault),
    ("invalid byte sequence for encoding", Meaning::Fault),
    ("invalid input syntax for type", Meaning::Fault),
    ("invalid input value for enum", Meaning::Fault),
    ("new row for relation", Meaning::Fault),
    ("new row violates row-level security policy", Meaning::Fault),
    ("null value in column", Meaning::Fault),
    ("operator does not exist", Meaning::Fault),
    ("permission denied for", Meaning::Fault),
    ("prepared statement", Meaning::Fault),
    ("relation", Meaning::Fault),
    ("there is no unique or exclusion constraint matching", Meaning::Fault),
    ("type", Meaning::Fault),
    ("unsupported Unicode escape sequence", Meaning::Fault),
    ("update or delete on table", Meaning::Fault),
    ("value too long for type", Meaning::Fault),
];

fn known(message: &str) -> Option<&'static (&'static str, Meaning)> {
    MESSAGES.iter().find(|(beginning, _)| message.starts_with(beginning))
}

/// Whether the same statement may well succeed on another connection: this one died, or its prepared statements are
/// outdated.
pub(super) fn is_connection_failure(error: &Error) -> bool {
    match error {
        Error::DatabaseError(DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection, _) => true,
        Error::DatabaseError(_, information) => {
            known(information.message()).is_some_and(|(_, meaning)| *meaning == Meaning::ConnectionFailure)
        }
        _ => false,
    }
}

/// Converts what diesel reports of a statement. A violated foreign key is unexpected here; see
/// [`super::foreign_keys`] for those that say what is missing.
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
    let known = known(information.message());
    let name = |name: Option<&str>| name.map(str::to_owned);
    let cause = Box::new(DatabaseFailure {
        what: known.map_or_else(|| format!("{kind:?} (the message is not shown)"), |(what, _)| (*what).to_owned()),
        constraint: name(information.constraint_name()),
        table: name(information.table_name()),
        column: name(information.column_name()),
    });
    match kind {
        DatabaseErrorKind::UnableToSendCommand
        | DatabaseErrorKind::ClosedConnection
        | DatabaseErrorKind::SerializationFailure
        | DatabaseErrorKind::ReadOnlyTransaction => StoreError::Unavailable(cause),
        _ if known.is_some_and(|(_, meaning)| *meaning != Meaning::Fault) => StoreError::Unavailable(cause),
        _ => StoreError::Unexpected(cause),
    }
}

/// Converts what the pool reports: none came free in time, or none could be made.
pub(super) fn pool_error(error: PoolError<ConnectionError>) -> StoreError {
    let what = match error {
        PoolError::Timeout(kind) => format!("no connection in time ({kind:?})"),
        PoolError::Backend(error) => format!("cannot connect: {error}"),
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
    fn a_timeout_or_a_lost_connection_is_unavailable() {
        for message in ["canceling statement due to lock timeout", "deadlock detected", "server conn crashed?"] {
            let error = convert(DatabaseErrorKind::Unknown, message, None);
            assert!(matches!(error, StoreError::Unavailable(_)), "{message}");
        }
        let error = convert(DatabaseErrorKind::UnableToSendCommand, "connection closed", None);
        assert!(matches!(error, StoreError::Unavailable(_)));
    }

    #[test]
    fn a_cause_contains_no_values() {
        for (message, shown) in [
            ("invalid input syntax for type integer: \"personal\"", "invalid input syntax for type (constraint c)"),
            ("customer personal must not be changed", "Unknown (the message is not shown) (constraint c)"),
            ("null value in column « personal »", "null value in column (constraint c)"),
            ("типа personal не существует", "Unknown (the message is not shown) (constraint c)"),
        ] {
            let error = convert(DatabaseErrorKind::Unknown, message, Some("c"));
            let StoreError::Unexpected(cause) = error else { panic!("{error:?}") };
            assert_eq!(cause.to_string(), shown);
            assert!(!format!("{cause:?}").contains("personal"));
        }
    }
}
