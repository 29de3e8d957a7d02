//! The health check of the database: connection, tables, columns, migrations.

use async_trait::async_trait;
use crm_domain::{
    health::{Connections, DirectoryReadCounts, StoreHealth, StoreLacks},
    store_error::StoreError,
};
use diesel::{IntoSql as _, select, sql_types::Integer};

use super::{
    Postgres, migrate,
    schema_check::{self, Lack},
};

#[async_trait]
impl StoreHealth for Postgres {
    async fn ping(&self) -> Result<(), StoreError> {
        self.pool.read_rows(|| select(1_i32.into_sql::<Integer>())).await.map(|_: Vec<i32>| ())
    }

    async fn find_lacks(&self) -> Result<StoreLacks, StoreError> {
        let mut lacks = StoreLacks::default();
        for lack in schema_check::lacks(&self.pool).await? {
            let kind = if matches!(lack, Lack::Writable(_)) { &mut lacks.writes } else { &mut lacks.schema };
            kind.push(lack.to_string());
        }
        // Each time, because the address may move to the new primary later.
        if !lacks.writes.is_empty() {
            self.pool.close_idle();
        }
        Ok(lacks)
    }

    async fn is_migrated(&self) -> Result<bool, StoreError> {
        migrate::is_current(&self.pool).await
    }

    fn connections(&self) -> Connections {
        self.pool.connections()
    }

    fn directory_reads(&self) -> DirectoryReadCounts {
        self.directory_model.reads()
    }
}
