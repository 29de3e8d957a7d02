//! The health check of the database: connection, tables, columns, migrations.

use std::sync::atomic::Ordering;

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
        let refuses_writes = !lacks.writes.is_empty();
        if refuses_writes && !self.refuses_writes.swap(refuses_writes, Ordering::Relaxed) {
            self.pool.close_idle();
        }
        self.refuses_writes.store(refuses_writes, Ordering::Relaxed);
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
