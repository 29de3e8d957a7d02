//! The health check of the database: connection, tables, columns, migrations.

use async_trait::async_trait;
use crm_domain::{
    health::{Connections, DirectoryReadCounts, StoreHealth},
    store_error::StoreError,
};
use diesel::{IntoSql as _, select, sql_types::Integer};

use super::{Postgres, migrate, schema_check};

#[async_trait]
impl StoreHealth for Postgres {
    async fn ping(&self) -> Result<(), StoreError> {
        self.pool.read_rows(|| select(1_i32.into_sql::<Integer>())).await.map(|_: Vec<i32>| ())
    }

    async fn has_schema(&self) -> Result<bool, StoreError> {
        Ok(schema_check::missing_objects(&self.pool).await?.is_empty())
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
