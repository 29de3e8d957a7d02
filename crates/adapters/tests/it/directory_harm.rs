//! The read model beside the platform's writers: nobody waits for anybody because of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crm_adapters::{
    postgres::directory::install::{self, Differences},
    testing::{TestDatabase, platform},
};
use crm_domain::{
    directory::{DirectoryQuery, ports::DirectoryReads as _},
    health::{DirectoryModelState, StoreHealth as _},
};
use tokio::sync::Barrier;
use tokio_postgres::Client;

const WRITERS: usize = 8;
const CUSTOMERS: usize = 24;
const ROUNDS: usize = 6;

async fn arrange(client: &Client) {
    platform::user(client, "desk", "Desk", Some("receptionist")).await;
    client
        .batch_execute(&format!(
            "INSERT INTO \"user\" (id, name, email, role)
               SELECT 'c' || n, 'Asha', 'c' || n || '@x.io', 'customer' FROM generate_series(1, {CUSTOMERS}) n;
             INSERT INTO customer_profile (id, user_id) SELECT 'p' || n, 'c' || n FROM generate_series(1, {CUSTOMERS}) n;
             INSERT INTO loyalty_account (id, customer_id) SELECT 'l' || n, 'c' || n FROM generate_series(1, {CUSTOMERS}) n;
             INSERT INTO customer_tag (id, name, slug) VALUES ('vip', 'VIP', 'vip')"
        ))
        .await
        .unwrap();
}

/// What a writer does to a customer. No two writers touch the same row of the platform's: each has a table of its own, or
/// half of its rows. But all change the same customers, so a trigger that wrote to a row for each customer or tag would
/// make them wait for each other.
fn statement(writer: usize, customer: usize, round: usize) -> String {
    match writer % 4 {
        0 => format!(
            "UPDATE customer_profile SET total_spent_paise = {round}, phone = '98{round}' WHERE user_id = 'c{customer}'"
        ),
        1 => format!("UPDATE \"user\" SET name = 'Asha {round}' WHERE id = 'c{customer}'"),
        2 => format!("UPDATE loyalty_account SET gems_balance = {round} WHERE customer_id = 'c{customer}'"),
        _ if round.is_multiple_of(2) => {
            format!(
                "INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by) VALUES ('c{customer}', 'vip', 'desk')"
            )
        }
        _ => format!("DELETE FROM customer_tag_assignment WHERE customer_id = 'c{customer}' AND tag_id = 'vip'"),
    }
}

/// Eight transactions that change the same customers in opposite orders, and that commit only after all of them have changed
/// all: whoever had to wait for another one's end would wait until `lock_timeout`. Gives the number of statements that
/// failed.
async fn failed_statements(database: &TestDatabase, lock_timeout: &str) -> usize {
    let barrier = Arc::new(Barrier::new(WRITERS));
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let client = database.client().await;
        client.batch_execute(&format!("SET lock_timeout = '{lock_timeout}'")).await.unwrap();
        let barrier = barrier.clone();
        writers.push(tokio::spawn(async move {
            let mut customers: Vec<usize> = (1..=CUSTOMERS).filter(|customer| customer % 2 == writer / 4).collect();
            // Half of the writers of each customer go up, the other half down.
            if writer.is_multiple_of(2) {
                customers.reverse();
            }
            let mut failed = 0;
            for round in 0..ROUNDS {
                client.batch_execute("BEGIN").await.unwrap();
                for &customer in &customers {
                    if client.batch_execute(&statement(writer, customer, round)).await.is_err() {
                        failed += 1;
                        break;
                    }
                }
                barrier.wait().await;
                client.batch_execute("COMMIT").await.unwrap();
                barrier.wait().await;
            }
            failed
        }));
    }
    let mut failed = 0;
    for writer in writers {
        failed += writer.await.unwrap();
    }
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_in_hostile_orders_never_wait_for_each_other_because_of_the_model() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange(&client).await;
    assert_eq!(failed_statements(&database, "20s").await, 0, "without the model");

    install::install(&database.connector(), &mut |_| {}).await.unwrap();
    let model = database.postgres();
    model.maintain_directory_model_once().await.unwrap();
    // Readers compute queued customers anew all the while.
    let is_done = Arc::new(AtomicBool::new(false));
    let reading = tokio::spawn({
        let (model, is_done) = (model.clone(), is_done.clone());
        async move {
            while !is_done.load(Ordering::Relaxed) {
                model.list_customers(&DirectoryQuery::default()).await.unwrap();
                // A lock that another step holds is no failure.
                let _ = model.maintain_directory_model_once().await;
            }
        }
    });
    assert_eq!(failed_statements(&database, "20s").await, 0, "with the model");
    is_done.store(true, Ordering::Relaxed);
    reading.await.unwrap();
    model.list_customers(&DirectoryQuery::default()).await.unwrap();
    assert_eq!(model.directory_reads().model, DirectoryModelState::InUse);
    assert_eq!(install::verify(&database.connector()).await.unwrap(), Some(Differences::default()));
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(client.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// The check above notices a trigger that waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_counts_in_one_row_makes_writers_wait() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange(&client).await;
    client
        .batch_execute(
            "CREATE TABLE counter (customer text PRIMARY KEY, n int NOT NULL);
             INSERT INTO counter SELECT id, 0 FROM \"user\";
             CREATE FUNCTION count_change() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN UPDATE counter SET n = n + 1 WHERE customer = NEW.customer_id; RETURN NULL; END $$;
             CREATE TRIGGER counted AFTER UPDATE ON loyalty_account FOR EACH ROW EXECUTE FUNCTION count_change();
             CREATE TRIGGER counted AFTER INSERT ON customer_tag_assignment FOR EACH ROW EXECUTE FUNCTION count_change()",
        )
        .await
        .unwrap();
    assert!(failed_statements(&database, "100ms").await > 0);
}
