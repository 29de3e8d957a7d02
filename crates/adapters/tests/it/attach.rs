//! The check before serving: whatever is missing is named, all of it at once.

use crm_adapters::{postgres::attach, testing::TestDatabase};

#[tokio::test]
async fn every_table_and_column_that_is_missing_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    for (table, columns) in attach::NEEDED {
        for column in *columns {
            client
                .batch_execute(&format!("ALTER TABLE \"{table}\" RENAME COLUMN {column} TO elsewhere"))
                .await
                .unwrap();
            let missing = attach::missing(&database.connector()).await.unwrap();
            assert_eq!(missing, [format!("column {table}.{column}")]);
            client
                .batch_execute(&format!("ALTER TABLE \"{table}\" RENAME COLUMN elsewhere TO {column}"))
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn an_empty_database_lacks_every_table() {
    let database = TestDatabase::empty();
    let missing = attach::missing(&database.connector()).await.unwrap();
    let tables: Vec<_> = attach::NEEDED.iter().map(|(table, _)| format!("table {table}")).collect();
    assert_eq!(missing, tables);
}

#[tokio::test]
async fn a_database_that_is_not_utf8_is_refused() {
    let database = TestDatabase::empty();
    let client = database.client().await;
    let name: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let latin = format!("{name}_latin");
    client
        .batch_execute(&format!("CREATE DATABASE {latin} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"))
        .await
        .unwrap();
    let address = database.address().replace(&name, &latin);
    let connector = crm_adapters::postgres::connect::Connector::parse(&address).unwrap();
    let missing = attach::missing(&connector).await.unwrap();
    client.batch_execute(&format!("DROP DATABASE {latin} WITH (FORCE)")).await.unwrap();
    assert!(missing.contains(&"encoding UTF8".to_owned()), "{missing:?}");
}
