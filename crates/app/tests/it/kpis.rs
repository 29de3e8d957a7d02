//! `crm kpis`, and the refresh in the background of `crm serve`: the real processes.

use std::{process::Stdio, time::Duration};

use crm_adapters::testing::TestDatabase;
use tokio::time::timeout;

use crate::service::{PATIENCE, Service, arrange_database, crm, eventually, run};

/// A database with so many customers, each with two completed bookings and a paid invoice, and no figures.
async fn arrange_customers(customers: u32) -> TestDatabase {
    let database = arrange_database().await;
    let sql = format!(
        "INSERT INTO \"user\" (id, name, email, role)
           SELECT 'k' || n, 'Asha', 'k' || n || '@example.com', 'customer' FROM generate_series(1, {customers}) n;
         INSERT INTO customer_profile (id, user_id) SELECT 'p' || n, 'k' || n FROM generate_series(1, {customers}) n;
         INSERT INTO booking (id, booking_number, branch_id, customer_id, status, service_type, booking_date, start_time, end_time)
           SELECT 'b' || n || '_' || i, 'b' || n || '_' || i, 'br', 'k' || n, 'completed', 'salon', date '2026-01-01' + i, '10:00', '11:00'
           FROM generate_series(1, {customers}) n, generate_series(1, 2) i;
         INSERT INTO invoice (id, invoice_number, branch_id, booking_id, customer_id, subtotal_paise, total_amount_paise, payment_status)
           SELECT 'i' || n, 'i' || n, 'br', 'b' || n || '_1', 'k' || n, 100, 118, 'paid' FROM generate_series(1, {customers}) n;
         ANALYZE"
    );
    database.client().await.batch_execute(&sql).await.unwrap();
    database
}

#[tokio::test]
async fn status_counts_what_differs_and_refresh_writes_it() {
    let database = arrange_customers(20).await;
    let address = database.address();
    let settings = [("DATABASE_URL", address.as_str())];
    let (output, printed) = run(&["kpis", "status"], &settings).await;
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for line in
        ["differ       20\n", "visits       20\n", "first visit  20\n", "last visit   20\n", "spend        20\n"]
    {
        assert!(printed.contains(line), "{line:?} is missing from:\n{printed}");
    }
    assert!(printed.contains(" of 2"), "progress in lines: {printed}");
    let (output, printed) = run(&["kpis", "refresh"], &settings).await;
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("wrote the figures of 20."), "{printed}");
    let (output, printed) = run(&["kpis", "status"], &settings).await;
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let client = database.client().await;
    let row = client
        .query_one("SELECT total_visits, total_spent_paise, first_visit_at = '2026-01-02T05:30Z' FROM customer_profile WHERE user_id = 'k7'", &[])
        .await
        .unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, i32>(1), row.get::<_, bool>(2)), (2, 118, true));

    client.batch_execute("DROP TABLE invoice CASCADE").await.unwrap();
    let (output, printed) = run(&["kpis", "refresh"], &settings).await;
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains("the database lacks table invoice"), "{printed}");
    let wrong = [settings[0], ("SALON_TIME_ZONE", "Mars")];
    assert_eq!(run(&["kpis", "status"], &wrong).await.0.status.code(), Some(78));
}

/// Ended by SIGKILL after so many batches, and run again until nothing is left.
#[tokio::test]
async fn a_refresh_that_is_killed_leaves_nothing_wrong_behind() {
    let database = arrange_customers(4_000).await;
    let address = database.address();
    let settings = [("DATABASE_URL", address.as_str())];
    let client = database.client().await;
    let done = async || -> i64 {
        client.query_one("SELECT count(*) FROM customer_profile WHERE total_visits = 2", &[]).await.unwrap().get(0)
    };
    for kill_after in [1, 700, 1_600] {
        let mut process =
            crm(&["kpis", "refresh"], &settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually(PATIENCE, "some are done", async || done().await >= kill_after).await;
        process.kill().await.unwrap();
        // Each customer has all new figures or none.
        let sql = "SELECT count(*) FROM customer_profile WHERE (total_visits = 2) <> (total_spent_paise = 118)
                   OR (total_visits = 2) <> (first_visit_at IS NOT NULL) OR (total_visits = 2) <> (last_visit_at IS NOT NULL)";
        assert_eq!(client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
    }
    // The lock of the killed process ends with its connection.
    eventually(PATIENCE, "a refresh ends", async || {
        run(&["kpis", "refresh"], &settings).await.0.status.code() == Some(0)
    })
    .await;
    assert_eq!(done().await, 4_000);
    assert_eq!(run(&["kpis", "status"], &settings).await.0.status.code(), Some(0));
}

#[tokio::test]
async fn the_service_refreshes_the_figures_in_the_background() {
    let database = arrange_customers(600).await;
    let client = database.client().await;
    let mut first = Service::start(&database, &[("KPI_REFRESH_INTERVAL_SECONDS", "1")]).await;
    let _second = Service::start(&database, &[("KPI_REFRESH_INTERVAL_SECONDS", "1")]).await;
    let is_done = async |visits: i32| {
        let sql = "SELECT NOT EXISTS (SELECT FROM customer_profile WHERE user_id LIKE 'k%' AND total_visits <> $1)";
        client.query_one(sql, &[&visits]).await.unwrap().get::<_, bool>(0)
    };
    eventually(PATIENCE, "the figures follow", async || is_done(2).await).await;
    client.batch_execute("UPDATE booking SET status = 'cancelled' WHERE id LIKE '%_2'").await.unwrap();
    eventually(PATIENCE, "the figures follow again", async || is_done(1).await).await;
    first.log.wait_for_line("the figures of customers were refreshed").await;
    let serving = first.log.wait_for_line("\"message\":\"serving\"").await;
    assert!(
        serving.contains("bookings, services of bookings, invoices, memberships, gems, crm kpis status"),
        "{serving}"
    );
    // A table that goes is told of, and the service goes on.
    client.batch_execute("DROP TABLE invoice CASCADE").await.unwrap();
    first.log.wait_for_line("an optional part is not available any more").await;
    first.log.wait_for_line("the figures of customers cannot be refreshed").await;
    assert_eq!(timeout(Duration::from_secs(10), first.get("/readyz", "manager")).await.unwrap().status, 200);
    let invoices = first.get("/api/customers/k1/invoices", "manager").await;
    assert_eq!((invoices.status, invoices.error()), (404, "NOT_FOUND".to_owned()), "{}", invoices.text);
}
