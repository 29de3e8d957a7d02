//! Idempotency keys: the claim of a key, the answer that is kept, and the removal of those that have expired.

use async_trait::async_trait;
use crm_domain::{
    idempotency::{Claim, IdempotentRequest, KeptAnswer, ports::IdempotencyWrites},
    ids::NoteId,
    store_error::StoreError,
};
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use time::OffsetDateTime;

use super::{
    Postgres,
    error::store_error,
    statement::{Statement, named_row},
    unit_of_work::PgUnitOfWork,
};

named_row! {
    struct LockRow {
        is_locked: Bool => bool,
    }
}

named_row! {
    struct KeptRow {
        body_hash: Text => String,
        status: BigInt => i64,
        body: Nullable<Text> => Option<String>,
        entity_tag: Nullable<Text> => Option<String>,
        note_id: Nullable<Text> => Option<String>,
    }
}

/// How many rows one sweep removes.
const SWEEP: i64 = 1000;

#[async_trait]
impl IdempotencyWrites for PgUnitOfWork {
    async fn claim_key(&mut self, request: &IdempotentRequest, since: OffsetDateTime) -> Result<Claim, StoreError> {
        // Whoever holds the lock is at work. It ends with the unit of work, also when the process is killed.
        let lock = Statement::new("SELECT pg_try_advisory_xact_lock(hashtextextended(")
            .text(&*request.scope)
            .sql(", 4920)) AS is_locked");
        let locked: Option<LockRow> = self.row(lock).await?;
        if !locked.is_some_and(|row| row.is_locked) {
            return Ok(Claim::InProgress);
        }
        // Another statement, whose snapshot begins under the lock.
        let statement = Statement::new(
            "SELECT body_hash, status::bigint AS status, body, entity_tag, note_id FROM crm.idempotency_key WHERE scope = ",
        )
        .text(&*request.scope)
        .sql(" AND created_at > ")
        .timestamp(since);
        let row: Option<KeptRow> = self.row(statement).await?;
        Ok(match row {
            None => Claim::Free,
            Some(row) if row.body_hash != request.body => Claim::Reused,
            Some(KeptRow { body_hash: _, status, body, entity_tag, note_id }) => Claim::Kept(KeptAnswer {
                status: u16::try_from(status).unwrap_or(500),
                body,
                entity_tag,
                note: note_id.map(NoteId::from_stored),
            }),
        })
    }

    async fn keep_answer(
        &mut self,
        request: &IdempotentRequest,
        answer: &KeptAnswer,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let KeptAnswer { status, body, entity_tag, note } = answer;
        let statement = Statement::new(
            "INSERT INTO crm.idempotency_key AS k (scope, body_hash, status, body, entity_tag, note_id, created_at) VALUES (",
        )
        .text(&*request.scope)
        .sql(", ")
        .text(&*request.body)
        .sql(", ")
        .bigint(i64::from(*status))
        .sql("::integer, ")
        .text(body.as_deref())
        .sql(", ")
        .text(entity_tag.as_deref())
        .sql(", ")
        .text(note.as_ref().map(NoteId::as_str))
        .sql(", ")
        .timestamp(at)
        .sql(
            ") ON CONFLICT (scope) DO UPDATE SET (body_hash, status, body, entity_tag, note_id, created_at) \
             = (excluded.body_hash, excluded.status, excluded.body, excluded.entity_tag, excluded.note_id, excluded.created_at)",
        );
        self.execute(statement).await?;
        Ok(())
    }
}

impl Postgres {
    /// Removes answers that were kept before `until`, and the bodies of answers whose note another program has deleted. Gives
    /// the number of rows, at most a thousand of each.
    ///
    /// # Errors
    ///
    /// When the database does not answer.
    pub async fn sweep_idempotency_keys(&self, until: OffsetDateTime) -> Result<u64, StoreError> {
        let mut connection = self.pool.begin().await?;
        // A sweep holds a connection that requests could use, so it waits for no lock of another program.
        connection.execute(Statement::new("SET LOCAL lock_timeout = 100")).await.map_err(store_error)?;
        let expired = Statement::new(
            "DELETE FROM crm.idempotency_key WHERE scope IN (SELECT scope FROM crm.idempotency_key WHERE created_at <= ",
        )
        .timestamp(until)
        .sql(" ORDER BY created_at LIMIT ")
        .bigint(SWEEP)
        .sql(" FOR UPDATE SKIP LOCKED)");
        let expired = connection.execute(expired).await.map_err(store_error)?;
        let orphaned = Statement::new(
            "UPDATE crm.idempotency_key SET body = NULL WHERE scope IN (SELECT k.scope FROM crm.idempotency_key k \
             WHERE k.note_id IS NOT NULL AND k.body IS NOT NULL AND NOT EXISTS (SELECT FROM customer_note n WHERE n.id = k.note_id) LIMIT ",
        )
        .bigint(SWEEP)
        .sql(" FOR UPDATE OF k SKIP LOCKED)");
        let orphaned = connection.execute(orphaned).await.map_err(store_error)?;
        connection.end("COMMIT").await.map_err(store_error)?;
        Ok(u64::try_from(expired + orphaned).unwrap_or(u64::MAX))
    }
}
