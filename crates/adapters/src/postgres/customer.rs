//! Customers: reads one profile, locks and updates its row.

use async_trait::async_trait;
use crm_domain::{
    customer::{
        CustomerView, Profile,
        ports::{CustomerReads, ProfileWrites},
    },
    ids::{ProfileId, UserId},
    store_error::StoreError,
};
use diesel::sql_types::{BigInt, Bool, Date, Json, Nullable, Text, Timestamptz};
use time::OffsetDateTime;

use super::{
    Postgres,
    chip::Chips,
    integer::ApiInteger,
    statement::{Statement, join_chips, named_row},
    timestamp::{PgDate, PgTimestamp},
    unit_of_work::PgUnitOfWork,
};

named_row! {
    /// A customer with profile, gems and chips.
    pub(super) struct CustomerRow {
        id: Text => String,
        name: Text => String,
        email: Text => String,
        role: Nullable<Text> => Option<String>,
        image: Nullable<Text> => Option<String>,
        phone: Nullable<Text> => Option<String>,
        gender: Nullable<Text> => Option<String>,
        date_of_birth: Nullable<Date> => Option<PgDate>,
        total_visits: BigInt => ApiInteger,
        total_spent_paise: BigInt => ApiInteger,
        noshow_count: BigInt => ApiInteger,
        late_cancellation_count: BigInt => ApiInteger,
        booking_requires_approval: Bool => bool,
        first_visit_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        last_visit_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        gems_balance: Nullable<BigInt> => Option<ApiInteger>,
        created_at: Timestamptz => PgTimestamp,
        tags: Json => Chips,
    }
}

impl From<CustomerRow> for CustomerView {
    fn from(row: CustomerRow) -> Self {
        let CustomerRow {
            id,
            name,
            email,
            role,
            image,
            phone,
            gender,
            date_of_birth,
            total_visits,
            total_spent_paise,
            noshow_count,
            late_cancellation_count,
            booking_requires_approval,
            first_visit_at,
            last_visit_at,
            gems_balance,
            created_at,
            tags,
        } = row;
        Self {
            id: UserId::from_stored(id),
            name,
            email,
            role,
            image,
            phone,
            gender,
            date_of_birth: date_of_birth.map(time::Date::from),
            total_visits: total_visits.into(),
            total_spent_paise: total_spent_paise.into(),
            noshow_count: noshow_count.into(),
            late_cancellation_count: late_cancellation_count.into(),
            booking_requires_approval,
            first_visit_at: first_visit_at.map(OffsetDateTime::from),
            last_visit_at: last_visit_at.map(OffsetDateTime::from),
            gems_balance: gems_balance.map(i64::from),
            created_at: created_at.into(),
            tags: tags.into(),
        }
    }
}

named_row! {
    /// A whole profile.
    struct ProfileRow {
        id: Text => String,
        user_id: Text => String,
        phone: Nullable<Text> => Option<String>,
        gender: Nullable<Text> => Option<String>,
        date_of_birth: Nullable<Date> => Option<PgDate>,
        marketing_consent: Bool => bool,
        marketing_consent_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        appointment_reminders_enabled: Bool => bool,
        membership_alerts_enabled: Bool => bool,
        acquisition_source: Nullable<Text> => Option<String>,
        utm_campaign: Nullable<Text> => Option<String>,
        utm_medium: Nullable<Text> => Option<String>,
        utm_source: Nullable<Text> => Option<String>,
        first_visit_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        last_visit_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        total_visits: BigInt => ApiInteger,
        total_spent_paise: BigInt => ApiInteger,
        noshow_count: BigInt => ApiInteger,
        late_cancellation_count: BigInt => ApiInteger,
        consecutive_completed_bookings: BigInt => ApiInteger,
        booking_requires_approval: Bool => bool,
        created_at: Timestamptz => PgTimestamp,
        updated_at: Timestamptz => PgTimestamp,
    }
}

impl From<ProfileRow> for Profile {
    fn from(row: ProfileRow) -> Self {
        let ProfileRow {
            id,
            user_id,
            phone,
            gender,
            date_of_birth,
            marketing_consent,
            marketing_consent_at,
            appointment_reminders_enabled,
            membership_alerts_enabled,
            acquisition_source,
            utm_campaign,
            utm_medium,
            utm_source,
            first_visit_at,
            last_visit_at,
            total_visits,
            total_spent_paise,
            noshow_count,
            late_cancellation_count,
            consecutive_completed_bookings,
            booking_requires_approval,
            created_at,
            updated_at,
        } = row;
        Self {
            id: ProfileId::from_stored(id),
            user_id: UserId::from_stored(user_id),
            phone,
            gender,
            date_of_birth: date_of_birth.map(time::Date::from),
            marketing_consent,
            marketing_consent_at: marketing_consent_at.map(OffsetDateTime::from),
            appointment_reminders_enabled,
            membership_alerts_enabled,
            acquisition_source,
            utm_campaign,
            utm_medium,
            utm_source,
            first_visit_at: first_visit_at.map(OffsetDateTime::from),
            last_visit_at: last_visit_at.map(OffsetDateTime::from),
            total_visits: total_visits.into(),
            total_spent_paise: total_spent_paise.into(),
            noshow_count: noshow_count.into(),
            late_cancellation_count: late_cancellation_count.into(),
            consecutive_completed_bookings: consecutive_completed_bookings.into(),
            booking_requires_approval,
            created_at: created_at.into(),
            updated_at: updated_at.into(),
        }
    }
}

#[async_trait]
impl CustomerReads for Postgres {
    async fn find_customer(&self, id: &UserId) -> Result<Option<CustomerView>, StoreError> {
        let row: Option<CustomerRow> = self.pool.read_row(|| customer_of(id)).await?;
        Ok(row.map(CustomerView::from))
    }

    async fn find_profile(&self, id: &UserId) -> Result<Option<Profile>, StoreError> {
        let row: Option<ProfileRow> = self.pool.read_row(|| profile_of(id)).await?;
        Ok(row.map(Profile::from))
    }
}

/// The columns of a [`CustomerRow`].
const CUSTOMER_COLUMNS: &str = "SELECT u.id, u.name, u.email, u.role, u.image, p.phone, p.gender::text AS gender, \
    p.date_of_birth, p.total_visits, p.total_spent_paise, p.noshow_count, p.late_cancellation_count, \
    p.booking_requires_approval, p.first_visit_at, p.last_visit_at, l.gems_balance, u.created_at, chips.tags";

fn customer_of(id: &UserId) -> Statement<'_> {
    customer_and(Statement::new(""), id, |statement| statement)
}

/// The statement of a customer and of more columns, which `add_columns` adds, a comma before each. `begun` may have CTEs. By
/// hand: diesel has no lateral joins.
pub(super) fn customer_and<'q>(
    begun: Statement<'q>,
    id: &'q UserId,
    add_columns: impl FnOnce(Statement<'q>) -> Statement<'q>,
) -> Statement<'q> {
    add_columns(begun.sql(CUSTOMER_COLUMNS))
        .sql(concat!(
            " FROM \"user\" u JOIN customer_profile p ON p.user_id = u.id",
            " LEFT JOIN loyalty_account l ON l.customer_id = u.id",
            join_chips!(),
            " WHERE u.id = "
        ))
        .text(id.as_str())
}

/// By hand, as all rows are read: so an unexpected `NULL` names its column.
fn profile_of(id: &UserId) -> Statement<'_> {
    Statement::new(
        "SELECT id, user_id, phone, gender::text AS gender, date_of_birth, marketing_consent, \
             marketing_consent_at, appointment_reminders_enabled, membership_alerts_enabled, \
             acquisition_source, utm_campaign, utm_medium, utm_source, first_visit_at, last_visit_at, \
             total_visits, total_spent_paise, noshow_count, late_cancellation_count, \
             consecutive_completed_bookings, booking_requires_approval, created_at, updated_at \
         FROM customer_profile WHERE user_id = ",
    )
    .text(id.as_str())
}

#[async_trait]
impl ProfileWrites for PgUnitOfWork {
    async fn lock_profile(&mut self, id: &UserId) -> Result<Option<Profile>, StoreError> {
        // `NO KEY`: rows that point to the profile may be added meanwhile, other writers of it wait.
        let statement = profile_of(id).sql(" FOR NO KEY UPDATE");
        let row: Option<ProfileRow> = self.row(statement).await?;
        Ok(row.map(Profile::from))
    }

    async fn view_customer(&mut self, id: &UserId) -> Result<Option<CustomerView>, StoreError> {
        let row: Option<CustomerRow> = self.row(customer_of(id)).await?;
        Ok(row.map(CustomerView::from))
    }

    async fn save_gates(&mut self, profile: &Profile) -> Result<(), StoreError> {
        // By hand: diesel prepares an `UPDATE` anew each time, in two round trips of its own.
        let statement = Statement::new("UPDATE customer_profile SET noshow_count = ")
            .bigint(profile.noshow_count)
            .sql(", booking_requires_approval = ")
            .sql(if profile.booking_requires_approval { "true" } else { "false" })
            .sql(", updated_at = ")
            .timestamp(profile.updated_at)
            .sql(" WHERE id = ")
            .text(profile.id.as_str());
        match self.execute(statement).await? {
            1 => Ok(()),
            // The row is locked, so only row level security can hide it.
            _ => Err(StoreError::Unexpected("the locked profile was not updated".into())),
        }
    }
}
