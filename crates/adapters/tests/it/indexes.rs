//! `crm indexes`: what is missing on the platform's tables, and its creation.

use crm_adapters::{
    postgres::{
        connect::PlatformSchema,
        indexes::{self, IndexError, WANTED},
    },
    testing::{TestDatabase, platform},
};
use tokio_postgres::Client;

async fn missing(database: &TestDatabase) -> Vec<&'static str> {
    let missing = indexes::missing(&database.connector()).await.unwrap();
    missing.into_iter().map(|missing| missing.index.name).collect()
}

async fn create(database: &TestDatabase) -> Result<Vec<&'static str>, IndexError> {
    let mut created = Vec::new();
    indexes::create_missing(&database.connector(), &mut |index| created.push(index.name)).await?;
    Ok(created)
}

/// Notes of many customers, so that PostgreSQL prefers an index.
async fn arrange_notes(client: &Client) {
    platform::customer(client, "c1", "Asha").await;
    platform::customer(client, "c2", "Zoya").await;
    let sql = "INSERT INTO customer_note (id, customer_id, author_id, content, created_at)
               SELECT 'n' || n, CASE WHEN n % 500 = 0 THEN 'c1' ELSE 'c2' END, 'c1', 'x', now() FROM generate_series(1, 5000) n";
    client.batch_execute(sql).await.unwrap();
    client.batch_execute("ANALYZE customer_note").await.unwrap();
}

async fn plan_of_notes(client: &Client) -> String {
    let sql = "EXPLAIN SELECT * FROM customer_note WHERE customer_id = 'c1' ORDER BY created_at DESC LIMIT 20";
    let lines = client.query(sql, &[]).await.unwrap();
    lines.iter().map(|line| line.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn missing_indexes_are_created_once_and_used() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client.batch_execute("DROP TABLE booking_service").await.unwrap();
    arrange_notes(&client).await;
    assert!(plan_of_notes(&client).await.contains("Seq Scan"));
    let notes = WANTED[0].name;
    assert_eq!(missing(&database).await, [notes], "the platform's schema has the session's");
    let listed = &indexes::missing(&database.connector()).await.unwrap()[0];
    assert_eq!(listed.rows, Some(5000));
    assert!(listed.table_bytes > 100_000 && listed.estimated_bytes() == Some(320_000));

    assert_eq!(create(&database).await.unwrap(), [notes]);
    assert!(plan_of_notes(&client).await.contains(notes));
    assert_eq!(missing(&database).await, Vec::<&str>::new());
    assert_eq!(create(&database).await.unwrap(), Vec::<&str>::new());

    client.batch_execute("ALTER TABLE session DROP CONSTRAINT session_token_unique").await.unwrap();
    assert_eq!(create(&database).await.unwrap(), ["session_token_idx"]);
    assert_eq!(missing(&database).await, Vec::<&str>::new());
}

#[tokio::test]
async fn an_equivalent_index_counts_and_one_that_serves_less_does_not() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client.batch_execute("DROP TABLE booking_service").await.unwrap();
    for (definition, is_equivalent) in [
        ("(customer_id, created_at)", true),
        ("(customer_id, created_at DESC, id)", true),
        ("(customer_id)", false),
        ("(customer_id) INCLUDE (created_at)", false),
        ("(created_at, customer_id)", false),
        ("(lower(id), customer_id, created_at)", false),
        ("(customer_id, created_at) WHERE booking_id IS NULL", false),
        ("USING brin (customer_id, created_at)", false),
    ] {
        client.batch_execute(&format!("CREATE INDEX other ON customer_note {definition}")).await.unwrap();
        assert_eq!(missing(&database).await.is_empty(), is_equivalent, "{definition}");
        client.batch_execute("DROP INDEX other").await.unwrap();
    }
    client.batch_execute("ALTER TABLE customer_note RENAME TO customer_remark").await.unwrap();
    assert_eq!(missing(&database).await, Vec::<&str>::new(), "without the table");
}

/// An interrupted `CREATE INDEX CONCURRENTLY` leaves an invalid index behind. Here a violation of uniqueness interrupts it.
#[tokio::test]
async fn an_index_that_was_left_invalid_is_created_anew() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client.batch_execute("DROP TABLE booking_service").await.unwrap();
    arrange_notes(&client).await;
    let name = WANTED[0].name;
    let interrupted = format!("CREATE UNIQUE INDEX CONCURRENTLY {name} ON customer_note (customer_id)");
    client.batch_execute(&interrupted).await.unwrap_err();
    assert_eq!(missing(&database).await, [name]);
    assert_eq!(create(&database).await.unwrap(), [name]);
    assert_eq!(missing(&database).await, Vec::<&str>::new());

    client.batch_execute(&format!("DROP INDEX {name}; CREATE INDEX {name} ON customer_note (content)")).await.unwrap();
    assert!(matches!(create(&database).await, Err(IndexError::NameTaken(taken)) if taken == name));
}

#[test]
fn the_lines_for_sql_and_drizzle_name_schema_and_columns() {
    let schema = PlatformSchema::parse("Salon").unwrap();
    assert_eq!(
        WANTED[0].sql(&schema),
        "CREATE INDEX CONCURRENTLY customer_note_customer_id_created_at_idx ON \"Salon\".\"customer_note\" (customer_id, created_at)"
    );
    assert_eq!(
        WANTED[0].drizzle(),
        "index(\"customer_note_customer_id_created_at_idx\").on(table.customerId, table.createdAt),"
    );
}

#[tokio::test]
async fn a_page_of_bookings_finds_their_services_by_the_index() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO \"user\" (id, name, email) VALUES ('c', 'Asha', 'asha@example.com');
             INSERT INTO booking (id, booking_number, branch_id, customer_id, service_type, booking_date, start_time, end_time)
               SELECT 'b' || n, 'b' || n, 'br', 'c', 'salon', '2026-11-23', '10:00', '11:00' FROM generate_series(1, 5000) n;
             INSERT INTO booking_service (id, booking_id, service_id, service_name_snapshot, price_at_booking_paise, duration_minutes)
               SELECT 's' || n, 'b' || n, 'svc', 'Haircut', 1, 1 FROM generate_series(1, 5000) n;
             ANALYZE booking_service",
        )
        .await
        .unwrap();
    let name = "booking_service_booking_id_idx";
    assert!(create(&database).await.unwrap().contains(&name));
    let sql = "EXPLAIN SELECT * FROM booking_service WHERE booking_id = ANY (ARRAY(SELECT 'b' || n FROM generate_series(1, 20) n))";
    let lines = client.query(sql, &[]).await.unwrap();
    let plan: Vec<String> = lines.iter().map(|line| line.get(0)).collect();
    assert!(plan.join("\n").contains(name), "{plan:?}");
}
