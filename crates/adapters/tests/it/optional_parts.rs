//! The parts that work only where the platform has certain tables: their documented grants, and what happens without them.

use std::sync::Arc;

use crm_adapters::{
    postgres::{
        Pool, Postgres,
        parts::{AvailableParts, Part},
        schema_check,
    },
    testing::{TestDatabase, platform},
};
use crm_domain::{
    calendar::SalonTimeZone,
    history::{
        BookingFilter, Labels,
        ports::{HistoryLookup, HistoryReads as _},
    },
    ids::UserId,
    kpis::{
        KpiError,
        usecases::{Kpis, Refreshed},
    },
    page::PageRequest,
    testing::{NOW, clock},
};
use tokio_postgres::Client;

use crate::schema_check::{RestrictedRole, grants_below};

pub(crate) const HISTORY: &str = "## A customer's history";
pub(crate) const KPIS: &str = "## Figures of customers";

/// What a role may do, as the database knows it: `SELECT (id) ON booking`.
async fn rights(client: &Client, role: &str) -> Vec<String> {
    let sql = "SELECT format('%s (%I) ON %I', privilege_type, column_name, table_name)
               FROM information_schema.column_privileges WHERE grantee = $1 AND table_schema = 'public' ORDER BY 1";
    client.query(sql, &[&role]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Which parts the lists have, as far as a role can read them.
async fn parts_shown(pool: &Pool) -> AvailableParts {
    let postgres = Postgres::new(pool.clone());
    let customer = UserId::parse("usr_1").unwrap();
    let now = SalonTimeZone::parse("Asia/Kolkata").unwrap().wall_clock_at(NOW);
    let page = PageRequest::default();
    let (bookings, labels) = (BookingFilter::default(), Labels::default());
    let mut shown = AvailableParts::default();
    if let HistoryLookup::Found(page) = postgres.list_bookings(&customer, &bookings, now, page).await.unwrap() {
        shown = shown.with(Part::Bookings);
        if !page.items[0].services.is_empty() {
            shown = shown.with(Part::BookingServices);
        }
    }
    if let HistoryLookup::Found(page) = postgres.list_invoices(&customer, &labels, page).await.unwrap() {
        assert_eq!(page.total_count, 1);
        shown = shown.with(Part::Invoices);
    }
    if let HistoryLookup::Found(memberships) = postgres.list_memberships(&customer).await.unwrap() {
        assert_eq!(memberships.past.len(), 1);
        shown = shown.with(Part::Memberships);
    }
    if let HistoryLookup::Found(gems) = postgres.list_gems(&customer, page).await.unwrap() {
        assert_eq!(gems.transactions.total_count, 1);
        shown = shown.with(Part::Gems);
    }
    let overview = postgres.find_overview(&customer, now).await.unwrap().unwrap();
    assert_eq!(overview.bookings.is_some(), shown.has(Part::Bookings));
    assert_eq!(overview.invoices.is_some(), shown.has(Part::Invoices));
    assert_eq!(overview.memberships.is_some(), shown.has(Part::Memberships));
    shown
}

async fn arrange(client: &Client) {
    platform::customer(client, "usr_1", "Asha").await;
    platform::booking(client, "bkg_1", "usr_1").await;
    client
        .batch_execute(
            "UPDATE booking SET status = 'completed';
             INSERT INTO booking_service (id, booking_id, service_id, service_name_snapshot, price_at_booking_paise,
               duration_minutes) VALUES ('s', 'bkg_1', 'svc', 'Haircut', 100, 30);
             INSERT INTO invoice (id, invoice_number, branch_id, booking_id, customer_id, subtotal_paise, total_amount_paise,
               payment_status) VALUES ('i', 'i', 'br', 'bkg_1', 'usr_1', 100, 118, 'paid');
             INSERT INTO spa_membership (id, membership_number, customer_id, tier_id, tier_name_snapshot, total_hours_minutes,
               price_paid_paise, starts_at, expires_at, status, created_by)
               VALUES ('m', 'm', 'usr_1', 't', 'Gold', 600, 100, now(), now(), 'expired', 'usr_1');
             INSERT INTO loyalty_account (id, customer_id) VALUES ('l', 'usr_1') ON CONFLICT DO NOTHING;
             INSERT INTO loyalty_transaction (id, loyalty_account_id, type, gems_amount)
               SELECT 'g', id, 'earned', 5 FROM loyalty_account",
        )
        .await
        .unwrap();
}

async fn grant(client: &Client, heading: &str, role: &str) {
    client.batch_execute(&grants_below(heading, role).join(";")).await.unwrap();
}

fn kpis(pool: &Pool) -> Kpis {
    let time_zone = SalonTimeZone::parse("Asia/Kolkata").unwrap();
    Kpis { store: Arc::new(Postgres::new(pool.clone())), clock: clock(), time_zone }
}

async fn refresh(pool: &Pool) -> Result<Refreshed, KpiError> {
    let kpis = kpis(pool);
    let mut claim = kpis.claim().await?;
    let outcome = kpis.refresh(&mut *claim, &mut |_| ()).await;
    claim.release().await;
    outcome
}

/// The documented grants make every part available, and no right of them is one that no statement needs: without it a part
/// goes, that part alone, and the service serves.
#[tokio::test]
async fn every_right_to_a_history_is_needed_by_its_part_alone() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange(&client).await;
    let role = RestrictedRole::create(&database).await;
    let pool = role.pool(&database);
    let before = rights(&client, &role.name).await;
    assert_eq!(schema_check::check(&pool).await.unwrap().available_parts(), AvailableParts::default());
    assert_eq!(parts_shown(&pool).await, AvailableParts::default());

    grant(&client, HISTORY, &role.name).await;
    let history = [Part::Bookings, Part::BookingServices, Part::Invoices, Part::Memberships, Part::Gems];
    let all = history.into_iter().fold(AvailableParts::default(), AvailableParts::with);
    assert_eq!(schema_check::check(&pool).await.unwrap().available_parts(), all);
    assert_eq!(parts_shown(&pool).await, all);

    let optional: Vec<_> =
        rights(&client, &role.name).await.into_iter().filter(|right| !before.contains(right)).collect();
    assert!(!optional.is_empty());
    for right in optional {
        client.batch_execute(&format!("REVOKE {right} FROM {}", role.name)).await.unwrap();
        // Before the check has noticed, and after.
        let shown = parts_shown(&pool).await;
        let findings = schema_check::check(&pool).await.unwrap();
        assert_eq!(findings.lacks, [], "{right}");
        let gone: Vec<_> = history.into_iter().filter(|part| !findings.available_parts().has(*part)).collect();
        assert_eq!(gone.len(), 1, "{right}: {gone:?}");
        // A list of bookings that is not there has no services either.
        let expected = history
            .into_iter()
            .filter(|part| !gone.contains(part) && (*part != Part::BookingServices || !gone.contains(&Part::Bookings)));
        let expected = expected.fold(AvailableParts::default(), AvailableParts::with);
        assert_eq!(shown, expected, "{right}");
        assert_eq!(parts_shown(&pool).await, expected, "{right}");
        client.batch_execute(&format!("GRANT {right} TO {}", role.name)).await.unwrap();
        schema_check::check(&pool).await.unwrap();
    }
    role.drop(&database).await;
}

/// The same of `crm kpis`, which names the right that it lacks.
#[tokio::test]
async fn every_right_of_the_figures_is_needed() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    arrange(&client).await;
    let role = RestrictedRole::create(&database).await;
    let pool = role.pool_of(&database, 2);
    let before = rights(&client, &role.name).await;
    assert!(matches!(refresh(&pool).await, Err(KpiError::NotAvailable(_))));

    grant(&client, KPIS, &role.name).await;
    let refreshed = refresh(&pool).await.unwrap();
    assert_eq!((refreshed.compared, refreshed.changed), (1, 1));

    let optional: Vec<_> =
        rights(&client, &role.name).await.into_iter().filter(|right| !before.contains(right)).collect();
    assert!(!optional.is_empty());
    for right in optional {
        client.batch_execute(&format!("REVOKE {right} FROM {}", role.name)).await.unwrap();
        let Err(KpiError::NotAvailable(lacks)) = refresh(&pool).await else { panic!("{right} is not needed") };
        assert_eq!(lacks.len(), 1, "{right}: {lacks:?}");
        // Comparing needs no right to write.
        let compared = kpis(&pool).compare(&mut |_| ()).await;
        assert_eq!(compared.is_ok(), right.starts_with("UPDATE"), "{right}: {compared:?}");
        client.batch_execute(&format!("GRANT {right} TO {}", role.name)).await.unwrap();
    }
    role.drop(&database).await;
}
