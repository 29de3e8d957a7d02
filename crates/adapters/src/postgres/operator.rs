//! What the operator's commands (`crm migrate`, `crm directory`) share on their own connection.

use std::time::Duration;

use diesel::{
    QueryResult,
    dsl::sql,
    sql_types::{BigInt, Bool, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use tokio::time::{Instant, interval_at};

/// How often an instance asks whether another one has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Takes the advisory lock with that key, which ends with the connection, whatever happens to this process; `false` when
/// another instance held it for all of `timeout`. It asks repeatedly, because a statement that waits holds a snapshot:
/// vacuum would keep dead rows for it, and concurrent index builds would wait.
pub(super) async fn take_lock(connection: &mut AsyncPgConnection, key: i64, timeout: Duration) -> QueryResult<bool> {
    let began = Instant::now();
    loop {
        let statement = sql::<Bool>("SELECT pg_try_advisory_lock(").bind::<BigInt, _>(key).sql(")");
        let is_locked: bool = statement.get_result(connection).await?;
        if is_locked || began.elapsed() >= timeout {
            return Ok(is_locked);
        }
        pause(POLL_INTERVAL).await;
    }
}

/// Waits without a statement, and so without a snapshot.
pub(super) async fn pause(duration: Duration) {
    interval_at(Instant::now() + duration, duration).tick().await;
}

/// Whether that table exists and is visible.
pub(super) async fn exists(connection: &mut AsyncPgConnection, table: &str) -> QueryResult<bool> {
    let statement = sql::<Bool>("SELECT to_regclass(").bind::<Text, _>(table).sql(") IS NOT NULL");
    statement.get_result(connection).await
}

/// The query for the roles that may read that table or a column of it, as SQL writes them. `table` is an SQL literal.
pub(super) fn readers_of(table: &str) -> String {
    format!(
        "SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
         FROM (SELECT relacl AS acl FROM pg_class WHERE oid = to_regclass({table})
               UNION ALL SELECT attacl FROM pg_attribute WHERE attrelid = to_regclass({table})) a, aclexplode(a.acl)
         WHERE privilege_type = 'SELECT'"
    )
}
