//! Rows that PostgreSQL gives as a JSON array, so that one statement has several lists.

use diesel::{
    deserialize::{self, FromSql},
    pg::{Pg, PgValue},
    sql_types::Json,
};
use serde::{Deserialize, de::DeserializeOwned};

/// A `json` array of rows, in the order of the statement.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct JsonRows<T>(Vec<T>);

impl<T: DeserializeOwned> FromSql<Json, Pg> for JsonRows<T> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        // PostgreSQL sends `json` as its text, also in the binary format.
        let rows = serde_json::from_slice(value.as_bytes());
        // The error's own message may hold a value, and this one is logged.
        rows.map(Self).map_err(|error| format!("JSON: {:?} error at byte {}", error.classify(), error.column()).into())
    }
}

impl<T> JsonRows<T> {
    /// The rows, each as what it stands for.
    pub(super) fn into_items<Item: From<T>>(self) -> Vec<Item> {
        self.0.into_iter().map(Item::from).collect()
    }
}
