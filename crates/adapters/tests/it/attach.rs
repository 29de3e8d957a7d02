//! The check before serving: whatever is missing is named, all of it at once.

use crm_adapters::{
    postgres::{Pool, attach, connect::Connector},
    testing::{TestDatabase, pool_settings},
};

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
            let missing = attach::missing(&database.pool()).await.unwrap();
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
    let missing = attach::missing(&database.pool()).await.unwrap();
    let tables: Vec<_> = attach::NEEDED.iter().map(|(table, _)| format!("table {table}")).collect();
    assert_eq!(missing[..tables.len()], tables);
    assert_eq!(missing[tables.len()..], ["type audit_action with create, update, delete"]);
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
    let pool = Pool::new(Connector::parse(&address).unwrap(), pool_settings(1));
    let missing = attach::missing(&pool).await.unwrap();
    client.batch_execute(&format!("DROP DATABASE {latin} WITH (FORCE)")).await.unwrap();
    assert!(missing.contains(&"encoding UTF8".to_owned()), "{missing:?}");
}

#[tokio::test]
async fn what_the_writes_rely_on_is_named_too() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client
        .batch_execute(
            "ALTER TABLE customer_tag DROP CONSTRAINT customer_tag_slug_unique;
             CREATE UNIQUE INDEX partial ON customer_tag (slug) WHERE color IS NULL;
             ALTER TABLE customer_tag_assignment DROP CONSTRAINT customer_tag_assignment_customer_id_tag_id_pk;
             ALTER TYPE audit_action RENAME VALUE 'update' TO 'change'",
        )
        .await
        .unwrap();
    assert_eq!(
        attach::missing(&database.pool()).await.unwrap(),
        [
            "unique index on customer_tag (slug)",
            "unique index on customer_tag_assignment (customer_id, tag_id)",
            "type audit_action with create, update, delete"
        ]
    );
}

/// With the grants of docs/OPERATIONS.md, word for word, the service finds nothing missing; with one less, it names it.
#[tokio::test]
async fn the_documented_grants_are_enough_and_none_is_idle() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    let role: String = client.query_one("SELECT current_database()::text || '_role'", &[]).await.unwrap().get(0);
    let document = include_str!("../../../../docs/OPERATIONS.md");
    let grants = document.split("GRANT").skip(1).filter_map(|grant| grant.split(" TO crm;").next());
    let grants: Vec<String> = grants.map(|grant| format!("GRANT{grant} TO {role}")).collect();
    assert_eq!(grants.len(), 4);
    client.batch_execute(&format!("CREATE ROLE {role}; {}", grants.join(";"))).await.unwrap();
    let address = format!("{}?options=-c%20role%3D{role}", database.address());
    let pool = Pool::new(Connector::parse(&address).unwrap(), pool_settings(1));
    let complete = attach::missing(&pool).await.unwrap();
    let mut lacking = Vec::new();
    for grant in &grants {
        let revoke = grant.replace("GRANT", "REVOKE").replace(" TO ", " FROM ");
        client.batch_execute(&revoke).await.unwrap();
        lacking.push(attach::missing(&pool).await.unwrap());
        client.batch_execute(grant).await.unwrap();
    }
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    assert_eq!(complete, Vec::<String>::new());
    for (grant, lacking) in grants.iter().zip(lacking) {
        let all_are_privileges = lacking.iter().all(|line| line.starts_with("privilege "));
        assert!(!lacking.is_empty() && all_are_privileges, "{grant}: {lacking:?}");
    }
}
