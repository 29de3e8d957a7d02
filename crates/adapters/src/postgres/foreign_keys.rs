//! The foreign keys of the tables that this service inserts into: which row is missing when one is violated.
//!
//! They are read from the catalogue rather than guessed from names: the platform names its constraints as it likes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crm_domain::store_error::{Reference, StoreError};
use diesel::{
    result::{DatabaseErrorKind, Error},
    sql_types::Text,
};

use super::{
    error::store_error,
    pool::Pool,
    statement::{Statement, named_row},
};

named_row! {
    /// A foreign key: its table, its name, and its one column.
    struct ForeignKeyRow {
        source: Text => String,
        name: Text => String,
        field: Text => String,
    }
}

/// What each foreign key points to, by table and constraint.
pub(super) type ForeignKeys = HashMap<(String, String), Reference>;

/// The foreign keys as they were last read.
#[derive(Clone, Default)]
pub(super) struct ForeignKeyCache(Arc<Mutex<Option<Arc<ForeignKeys>>>>);

impl ForeignKeyCache {
    /// The foreign keys, read when they have not been read yet.
    pub(super) async fn get(&self, pool: &Pool) -> Result<Arc<ForeignKeys>, StoreError> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(known);
        }
        let read = Arc::new(read(pool).await?);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(read.clone());
        Ok(read)
    }

    /// Has them read again: the platform may have changed them.
    pub(super) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

async fn read(pool: &Pool) -> Result<ForeignKeys, StoreError> {
    // By hand: the catalogue's tables are no part of our schema.
    let statement = || {
        Statement::new(
            "SELECT c.relname::text AS source, k.conname::text AS name, a.attname::text AS field \
             FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid \
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1] \
             WHERE k.contype = 'f' AND cardinality(k.conkey) = 1 AND pg_table_is_visible(c.oid) \
               AND c.relname IN ('customer_note', 'customer_tag_assignment', 'audit_log')",
        )
    };
    let rows: Vec<ForeignKeyRow> = pool.read_rows(statement).await?;
    let known = rows.into_iter().filter_map(|row| {
        let ForeignKeyRow { source, name, field } = row;
        let reference = match field.as_str() {
            "customer_id" => Reference::Customer,
            "tag_id" => Reference::Tag,
            "booking_id" => Reference::Booking,
            "author_id" | "assigned_by" | "actor_id" => Reference::Actor,
            _ => return None,
        };
        Some(((source, name), reference))
    });
    Ok(known.collect())
}

/// Converts what diesel reports of a write: a violated foreign key says which row is missing.
pub(super) fn write_error(error: Error, keys: &ForeignKeys, cache: &ForeignKeyCache) -> StoreError {
    if let Error::DatabaseError(DatabaseErrorKind::ForeignKeyViolation, information) = &error
        && let (Some(table), Some(constraint)) = (information.table_name(), information.constraint_name())
    {
        // A row that something else still refers to was to be deleted: the constraint is that of the other table.
        if information.message().starts_with("update or delete on table") {
            return StoreError::StillReferenced;
        }
        if let Some(reference) = keys.get(&(table.to_owned(), constraint.to_owned())) {
            return StoreError::Missing(*reference);
        }
        cache.forget();
    }
    store_error(error)
}
