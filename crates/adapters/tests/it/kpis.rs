//! The figures of customers: random lives against a plain computation in Rust, other programs at work, locks, the read model.

use std::sync::Arc;

use crm_adapters::{
    postgres::directory::install,
    testing::{TestDatabase, platform},
};
use crm_domain::{
    calendar::SalonTimeZone,
    ids::UserId,
    kpis::{
        Differences, KpiError,
        ports::KpiStore as _,
        usecases::{Kpis, Refreshed},
    },
    store_error::StoreError,
    testing::{NOW, clock},
};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use time::{Duration, OffsetDateTime, PrimitiveDateTime, macros::datetime};
use tokio_postgres::Client;

fn kpis(database: &TestDatabase, zone: &str) -> Kpis {
    Kpis { store: Arc::new(database.postgres()), clock: clock(), time_zone: SalonTimeZone::parse(zone).unwrap() }
}

async fn refresh(kpis: &Kpis) -> Refreshed {
    let mut claim = kpis.claim().await.unwrap();
    let refreshed = kpis.refresh(&mut *claim, &mut |_| ()).await.unwrap();
    claim.release().await;
    refreshed
}

async fn compare(kpis: &Kpis) -> Differences {
    kpis.compare(&mut |_| ()).await.unwrap()
}

/// What happens in a salon.
#[derive(Debug, Clone)]
enum Event {
    /// Customer `of` books for a day and minute.
    Book { of: usize, day: i64, minute: i64 },
    /// A booking gets another status, and perhaps the moment of its completion.
    Settle { booking: usize, status: usize, noted: Option<i64> },
    /// A booking is billed.
    Bill { booking: usize, paise: i32, status: usize },
    /// An invoice gets another status.
    Pay { invoice: usize, status: usize },
    /// A booking and its invoices become another customer's.
    Move { booking: usize, to: usize },
    /// A booking goes, with its invoices.
    Delete { booking: usize },
    /// Another program writes figures.
    Write { of: usize, visits: i32 },
}

const STATUSES: [&str; 4] = ["pending", "completed", "completed", "cancelled"];
const PAYMENTS: [&str; 4] = ["pending", "paid", "paid", "refunded"];
const CUSTOMERS: usize = 4;

fn event() -> impl Strategy<Value = Event> {
    let booking = 0..12_usize;
    prop_oneof![
        4 => (0..CUSTOMERS, 0..60_i64, 0..1440_i64).prop_map(|(of, day, minute)| Event::Book { of, day, minute }),
        4 => (booking.clone(), 0..STATUSES.len(), proptest::option::of(0..100_000_i64))
            .prop_map(|(booking, status, noted)| Event::Settle { booking, status, noted }),
        4 => (booking.clone(), prop_oneof![0..500_000_i32, 1_500_000_000..i32::MAX], 0..PAYMENTS.len())
            .prop_map(|(booking, paise, status)| Event::Bill { booking, paise, status }),
        2 => (0..12_usize, 0..PAYMENTS.len()).prop_map(|(invoice, status)| Event::Pay { invoice, status }),
        1 => (booking.clone(), 0..CUSTOMERS).prop_map(|(booking, to)| Event::Move { booking, to }),
        1 => booking.prop_map(|booking| Event::Delete { booking }),
        1 => (0..CUSTOMERS, 0..9_i32).prop_map(|(of, visits)| Event::Write { of, visits }),
    ]
}

/// A booking as the plain computation keeps it.
#[derive(Debug, Clone)]
struct Booking {
    id: String,
    of: usize,
    ends: PrimitiveDateTime,
    status: &'static str,
    completed_at: Option<OffsetDateTime>,
}

/// An invoice as the plain computation keeps it.
#[derive(Debug, Clone)]
struct Invoice {
    id: String,
    booking: String,
    of: usize,
    paise: i64,
    status: &'static str,
}

/// The salon as the plain computation sees it.
#[derive(Default)]
struct Salon {
    bookings: Vec<Booking>,
    invoices: Vec<Invoice>,
    made: usize,
}

impl Salon {
    /// Lets that happen, here and in the database.
    async fn happen(&mut self, client: &Client, event: &Event) {
        self.made += 1;
        let made = self.made;
        let sql = match *event {
            Event::Book { of, day, minute } => {
                let ends = datetime!(2026-03-01 0:00) + Duration::days(day) + Duration::minutes(minute);
                let (id, date, time) = (format!("b{made}"), ends.date(), ends.time());
                self.bookings.push(Booking { id: id.clone(), of, ends, status: "pending", completed_at: None });
                format!(
                    "INSERT INTO booking (id, booking_number, branch_id, customer_id, service_type, booking_date, start_time, end_time)
                     VALUES ('{id}', '{id}', 'br', 'c{of}', 'salon', '{date}', '00:00', '{}:{}')",
                    time.hour(),
                    time.minute()
                )
            }
            Event::Settle { booking, status, noted } => {
                let Some(booking) = self.bookings.get_mut(booking) else { return };
                booking.status = STATUSES[status];
                booking.completed_at = noted.map(|minutes| datetime!(2026-03-01 0:00 UTC) + Duration::minutes(minutes));
                let noted = noted.map_or("NULL".to_owned(), |minutes| {
                    format!("timestamptz '2026-03-01T00:00:00Z' + interval '{minutes} minutes'")
                });
                format!(
                    "UPDATE booking SET status = '{}', completed_at = {noted} WHERE id = '{}'",
                    booking.status, booking.id
                )
            }
            Event::Bill { booking, paise, status } => {
                let Some(booking) = self.bookings.get(booking) else { return };
                let (id, of, status) = (format!("i{made}"), booking.of, PAYMENTS[status]);
                let booking = booking.id.clone();
                self.invoices.push(Invoice {
                    id: id.clone(),
                    booking: booking.clone(),
                    of,
                    paise: paise.into(),
                    status,
                });
                format!(
                    "INSERT INTO invoice (id, invoice_number, branch_id, booking_id, customer_id, subtotal_paise, total_amount_paise,
                     payment_status) VALUES ('{id}', '{id}', 'br', '{booking}', 'c{of}', {paise}, {paise}, '{status}')"
                )
            }
            Event::Pay { invoice, status } => {
                let Some(invoice) = self.invoices.get_mut(invoice) else { return };
                invoice.status = PAYMENTS[status];
                format!("UPDATE invoice SET payment_status = '{}' WHERE id = '{}'", invoice.status, invoice.id)
            }
            Event::Move { booking, to } => {
                let Some(booking) = self.bookings.get_mut(booking) else { return };
                booking.of = to;
                let id = booking.id.clone();
                self.invoices.iter_mut().filter(|invoice| invoice.booking == id).for_each(|invoice| invoice.of = to);
                format!(
                    "UPDATE booking SET customer_id = 'c{to}' WHERE id = '{id}';
                     UPDATE invoice SET customer_id = 'c{to}' WHERE booking_id = '{id}'"
                )
            }
            Event::Delete { booking } => {
                if booking >= self.bookings.len() {
                    return;
                }
                let Booking { id, .. } = self.bookings.remove(booking);
                self.invoices.retain(|invoice| invoice.booking != id);
                format!("DELETE FROM invoice WHERE booking_id = '{id}'; DELETE FROM booking WHERE id = '{id}'")
            }
            Event::Write { of, visits } => format!(
                "UPDATE customer_profile SET total_visits = {visits}, last_visit_at = '2020-01-01Z' WHERE user_id = 'c{of}'"
            ),
        };
        client.batch_execute(&sql).await.unwrap();
    }

    /// Visits, first and last visit, and spend of a customer. The salon is in Kolkata, which is always 5:30 ahead.
    fn figures(&self, of: usize) -> (i32, Option<OffsetDateTime>, Option<OffsetDateTime>, i32) {
        let completed = self.bookings.iter().filter(|booking| booking.of == of && booking.status == "completed");
        let moments: Vec<OffsetDateTime> = completed
            .map(|booking| booking.completed_at.unwrap_or(booking.ends.assume_utc() - Duration::minutes(330)))
            .collect();
        let paid = self.invoices.iter().filter(|invoice| invoice.of == of && invoice.status == "paid");
        let spent = paid.map(|invoice| invoice.paise).sum::<i64>().min(2_147_483_647);
        let visits = i32::try_from(moments.len()).unwrap();
        (visits, moments.iter().min().copied(), moments.iter().max().copied(), i32::try_from(spent).unwrap())
    }
}

/// The figures of a customer as stored, in microseconds and paise.
async fn stored(client: &Client, of: usize) -> (i32, Option<i64>, Option<i64>, i32) {
    let sql = "SELECT total_visits, (extract(epoch FROM first_visit_at) * 1000000)::bigint,
                 (extract(epoch FROM last_visit_at) * 1000000)::bigint, total_spent_paise
               FROM customer_profile WHERE user_id = $1";
    let row = client.query_one(sql, &[&format!("c{of}")]).await.unwrap();
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

async fn arrange_customers(client: &Client) {
    for of in 0..CUSTOMERS {
        platform::customer(client, &format!("c{of}"), "Asha").await;
    }
}

#[tokio::test]
async fn random_lives_give_the_figures_of_a_plain_computation() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange_customers(&client).await;
    let kpis = kpis(&database, "Asia/Kolkata");
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let lives = proptest::collection::vec(proptest::collection::vec(event(), 1..12), 1..8);
    for _ in 0..25 {
        client.batch_execute("DELETE FROM invoice; DELETE FROM booking").await.unwrap();
        let mut salon = Salon::default();
        for events in lives.new_tree(&mut runner).unwrap().current() {
            for event in &events {
                salon.happen(&client, event).await;
            }
            let before = compare(&kpis).await;
            let refreshed = refresh(&kpis).await;
            assert_eq!(
                (refreshed.compared, refreshed.changed, refreshed.locked),
                (4, before.customers, 0),
                "{events:?}"
            );
            for of in 0..CUSTOMERS {
                let (visits, first, last, spent) = salon.figures(of);
                let micros = |moment: Option<OffsetDateTime>| {
                    moment.map(|moment| i64::try_from(moment.unix_timestamp_nanos() / 1000).unwrap())
                };
                assert_eq!(
                    stored(&client, of).await,
                    (visits, micros(first), micros(last), spent),
                    "{of} after {events:?}"
                );
            }
            assert_eq!(compare(&kpis).await.customers, 0);
        }
    }
}

#[tokio::test]
async fn only_what_differs_is_written_and_nothing_else_moves() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange_customers(&client).await;
    client
        .batch_execute(
            "UPDATE customer_profile SET noshow_count = 3, late_cancellation_count = 2, consecutive_completed_bookings = 7;
             INSERT INTO booking (id, booking_number, branch_id, customer_id, status, service_type, booking_date, start_time, end_time)
               VALUES ('b', 'b', 'br', 'c1', 'completed', 'salon', '2026-10-25', '01:00', '02:30'),
                 ('odd', 'odd', 'br', 'c2', 'completed', 'salon', 'infinity', '01:00', '24:00'),
                 ('odder', 'odder', 'br', 'c2', 'completed', 'salon', '-infinity', '00:05', '00:10'),
                 ('oddest', 'oddest', 'br', 'c3', 'completed', 'salon', '5874897-01-01', '01:00', '02:00')",
        )
        .await
        .unwrap();
    let rows = async || {
        let sql =
            "SELECT (to_jsonb(p) - '{total_visits,first_visit_at,last_visit_at,total_spent_paise,updated_at}'::text[])::text,
                     user_id, updated_at::text FROM customer_profile p ORDER BY user_id";
        let rows = client.query(sql, &[]).await.unwrap();
        let text = |row: &tokio_postgres::Row| (row.get::<_, String>(0), row.get::<_, String>(2));
        rows.iter().map(text).collect::<Vec<_>>()
    };
    let before = rows().await;
    let kpis = kpis(&database, "Europe/Berlin");
    assert_eq!(refresh(&kpis).await.changed, 3);
    let after = rows().await;
    for (of, (before, after)) in before.iter().zip(&after).enumerate() {
        assert_eq!(before.0, after.0, "c{of}");
        assert_eq!(before.1 == after.1, of == 0, "c{of}: updated_at moves only with the figures");
    }
    // That hour is shown twice; the first one counts.
    assert_eq!(stored(&client, 1).await.1, Some(datetime!(2026-10-25 00:30 UTC).unix_timestamp() * 1_000_000));
    assert_eq!(refresh(&kpis).await.changed, 0);
    assert_eq!(rows().await, after);
}

#[tokio::test]
async fn a_locked_row_is_passed_over_and_done_later() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange_customers(&client).await;
    client.batch_execute("UPDATE customer_profile SET total_visits = 5").await.unwrap();
    let other = database.client().await;
    other.batch_execute("BEGIN; SELECT FROM customer_profile WHERE user_id IN ('c3', 'c1') FOR UPDATE").await.unwrap();
    let kpis = kpis(&database, "Asia/Kolkata");
    let refreshed = refresh(&kpis).await;
    assert_eq!((refreshed.changed, refreshed.locked), (2, 2));
    assert_eq!(compare(&kpis).await.customers, 2);
    other.batch_execute("COMMIT").await.unwrap();
    let refreshed = refresh(&kpis).await;
    assert_eq!((refreshed.changed, refreshed.locked), (2, 0));
}

#[tokio::test]
async fn one_instance_refreshes_at_a_time() {
    let database = TestDatabase::migrated();
    let first = database.postgres();
    let claim = first.claim_refresh().await.unwrap().unwrap();
    let kpis = kpis(&database, "Asia/Kolkata");
    assert!(matches!(kpis.claim().await, Err(KpiError::Busy)));
    assert_eq!(compare(&kpis).await.customers, 0, "a comparison needs no claim");
    claim.release().await;
    refresh(&kpis).await;
    // A claim that is dropped, as when its process ends, is given back too.
    drop(first.claim_refresh().await.unwrap().unwrap());
    // The server may take a moment to notice that the connection is closed.
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
    let outcome = loop {
        ticks.tick().await;
        match kpis.claim().await {
            Err(KpiError::Busy) => {}
            outcome => break outcome,
        }
    };
    let mut claim = outcome.unwrap();

    // A refresh that has lost its claim notices, and another one begins.
    let client = database.client().await;
    let sql = "SELECT pg_terminate_backend(l.pid, 5000) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
               WHERE l.locktype = 'advisory' AND d.datname = current_database()";
    assert!(client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
    let outcome = kpis.refresh(&mut *claim, &mut |_| ()).await;
    assert!(matches!(outcome, Err(KpiError::Store(StoreError::Unavailable(_)))), "{outcome:?}");
    refresh(&kpis).await;
}

/// The platform completes, cancels, bills and moves while the figures are refreshed again and again. Its transactions
/// write two profiles each, in any order; nothing may fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshing_beside_other_writers_ends_in_agreement() {
    refresh_beside_other_writers(&TestDatabase::migrated()).await;
}

/// The same where a refresh takes its changes into the read model itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refreshing_with_the_read_model_beside_other_writers_ends_in_agreement() {
    let database = TestDatabase::migrated();
    install::install(&database.connector(), &mut |_| {}).await.unwrap();
    refresh_beside_other_writers(&database).await;
    database.postgres().maintain_directory_model_once().await.unwrap();
    let differences = install::verify(&database.connector()).await.unwrap().unwrap();
    assert_eq!((differences.entries, differences.searches, differences.counts), (0, 0, 0));
}

async fn refresh_beside_other_writers(database: &TestDatabase) {
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO \"user\" (id, name, email, role) SELECT 'c' || n, 'Asha', 'c' || n || '@example.com', 'customer' FROM generate_series(0, 199) n;
             INSERT INTO customer_profile (id, user_id) SELECT 'p' || n, 'c' || n FROM generate_series(0, 199) n;
             INSERT INTO booking (id, booking_number, branch_id, customer_id, service_type, booking_date, start_time, end_time)
               SELECT 'b' || n, 'b' || n, 'br', 'c' || n % 200, 'salon', date '2026-01-01' + n % 300, '10:00', '11:00' FROM generate_series(0, 999) n",
        )
        .await
        .unwrap();
    let mut writers = Vec::new();
    for writer in 0..3_u32 {
        let client = database.client().await;
        writers.push(tokio::spawn(async move {
            for round in 0..150_u32 {
                let (a, b) = ((round * 37 + writer * 61) % 1000, (round * 53 + writer * 17) % 200);
                // Each writer has profiles of its own, so that only the refresh can be in their way.
                let (low, high) = (writer * 66 + b % 66, writer * 66 + (b + 7) % 66);
                let sql = format!(
                    "BEGIN; UPDATE booking SET status = 'completed', completed_at = now() WHERE id = 'b{a}';
                     UPDATE customer_profile SET noshow_count = noshow_count + 1 WHERE user_id = 'c{high}';
                     INSERT INTO invoice (id, invoice_number, branch_id, booking_id, customer_id, subtotal_paise, total_amount_paise, payment_status)
                       VALUES ('i{writer}_{round}', 'i{writer}_{round}', 'br', 'b{a}', 'c{b}', 100, 100, 'paid');
                     UPDATE customer_profile SET noshow_count = noshow_count + 1 WHERE user_id = 'c{low}';
                     UPDATE booking SET customer_id = 'c{b}' WHERE id = 'b{}'; COMMIT",
                    (a + 500) % 1000
                );
                client.batch_execute(&sql).await.unwrap();
            }
        }));
    }
    let kpis = kpis(database, "Asia/Kolkata");
    let mut changed = 0;
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        changed += refresh(&kpis).await.changed;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    changed += refresh(&kpis).await.changed;
    assert!(changed > 0);
    assert_eq!(compare(&kpis).await, Differences { compared: 200, ..Differences::default() });
    let counted: i64 = client.query_one("SELECT sum(noshow_count) FROM customer_profile", &[]).await.unwrap().get(0);
    assert_eq!(counted, 3 * 150 * 2, "nobody's write is lost");
}

#[tokio::test]
async fn the_read_model_follows() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO \"user\" (id, name, email, role) SELECT 'c' || n, 'Asha', 'c' || n || '@example.com', 'customer' FROM generate_series(1, 1200) n;
             INSERT INTO customer_profile (id, user_id) SELECT 'p' || n, 'c' || n FROM generate_series(1, 1200) n;
             INSERT INTO booking (id, booking_number, branch_id, customer_id, status, service_type, booking_date, start_time, end_time)
               SELECT 'b' || n, 'b' || n, 'br', 'c' || n, 'completed', 'salon', '2026-01-01', '10:00', '11:00' FROM generate_series(1, 1200) n",
        )
        .await
        .unwrap();
    install::install(&database.connector(), &mut |_| {}).await.unwrap();
    assert_eq!(refresh(&kpis(&database, "Asia/Kolkata")).await.changed, 1200);
    let queued =
        async || -> i64 { client.query_one("SELECT count(*) FROM crm.directory_queue", &[]).await.unwrap().get(0) };
    assert_eq!(queued().await, 0, "the refresh applies what it queues");

    // While others hold the model's lock, the figures are written, and the model follows later.
    client.batch_execute("UPDATE booking SET status = 'cancelled' WHERE id = 'b7'").await.unwrap();
    let other = database.client().await;
    other.batch_execute("BEGIN; LOCK TABLE crm.directory_lock IN EXCLUSIVE MODE").await.unwrap();
    assert_eq!(refresh(&kpis(&database, "Asia/Kolkata")).await.changed, 1);
    assert_eq!(queued().await, 1);
    other.batch_execute("COMMIT").await.unwrap();
    database.postgres().maintain_directory_model_once().await.unwrap();
    assert_eq!(queued().await, 0);
    let differences = install::verify(&database.connector()).await.unwrap().unwrap();
    assert_eq!((differences.entries, differences.searches, differences.counts), (0, 0, 0));
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client.batch_execute("DROP TABLE invoice CASCADE; ALTER TABLE booking ALTER completed_at TYPE date").await.unwrap();
    let outcome = kpis(&database, "Asia/Kolkata").claim().await.err().unwrap().to_string();
    assert!(outcome.contains("table invoice") && outcome.contains("booking.completed_at"), "{outcome}");
}

#[tokio::test]
async fn the_next_batch_begins_after_the_last_customer() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO \"user\" (id, name, email, role) SELECT 'c' || n, 'Asha', 'c' || n || '@example.com', 'customer' FROM generate_series(1, 1201) n;
             INSERT INTO customer_profile (id, user_id) SELECT 'p' || n, 'c' || n FROM generate_series(1, 1201) n",
        )
        .await
        .unwrap();
    let store = database.postgres();
    let (mut after, mut seen) = (None::<UserId>, Vec::new());
    loop {
        let batch = store.read_figures(after.clone()).await.unwrap();
        let Some(last) = batch.last() else { break };
        after = Some(last.customer.clone());
        seen.extend(batch.into_iter().map(|row| row.customer.to_string()));
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((count, seen.len()), (1201, 1201));
    assert_eq!(kpis(&database, "UTC").clock.now(), NOW);
}
