//! Customers: the view of one, and the profile row under a lock.

use async_trait::async_trait;
use crm_domain::{
    customer::{
        CustomerView, Profile,
        ports::{CustomerReads, ProfileWrites},
    },
    ids::{ProfileId, UserId},
    store::StoreError,
};
use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _,
    dsl::exists,
    select,
    sql_types::{Array, Bool, Date, Integer, Nullable, Text, Timestamptz},
};
use diesel_async::RunQueryDsl as _;
use time::OffsetDateTime;

use super::{
    Postgres,
    directory::chips,
    moment::{Day, Moment},
    pool::read_optional,
    schema::customer_profile,
    statement::{Statement, join_chips},
    tx::PgTx,
};

type CustomerSql = (
    Text,
    Text,
    Text,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Date>,
    Integer,
    Integer,
    Integer,
    Integer,
    Bool,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    Nullable<Integer>,
    Timestamptz,
    Array<Text>,
    Array<Text>,
    Array<Nullable<Text>>,
);

#[derive(diesel::Queryable)]
struct CustomerRow {
    id: String,
    name: String,
    email: String,
    role: Option<String>,
    image: Option<String>,
    phone: Option<String>,
    gender: Option<String>,
    date_of_birth: Option<Day>,
    total_visits: i32,
    total_spent_paise: i32,
    noshow_count: i32,
    late_cancellation_count: i32,
    booking_requires_approval: bool,
    first_visit_at: Option<Moment>,
    last_visit_at: Option<Moment>,
    gems_balance: Option<i32>,
    created_at: Moment,
    slugs: Vec<String>,
    names: Vec<String>,
    colors: Vec<Option<String>>,
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
            slugs,
            names,
            colors,
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
            total_visits,
            total_spent_paise,
            noshow_count,
            late_cancellation_count,
            booking_requires_approval,
            first_visit_at: first_visit_at.map(OffsetDateTime::from),
            last_visit_at: last_visit_at.map(OffsetDateTime::from),
            gems_balance,
            created_at: created_at.into(),
            tags: chips(slugs, names, colors),
        }
    }
}

type ProfileSql = (
    Text,
    Text,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Date>,
    Bool,
    Nullable<Timestamptz>,
    Bool,
    Bool,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    Integer,
    Integer,
    Integer,
    Integer,
    Integer,
    Bool,
    Timestamptz,
    Timestamptz,
);

#[derive(diesel::Queryable)]
struct ProfileRow {
    id: String,
    user_id: String,
    phone: Option<String>,
    gender: Option<String>,
    date_of_birth: Option<Day>,
    marketing_consent: bool,
    marketing_consent_at: Option<Moment>,
    appointment_reminders_enabled: bool,
    membership_alerts_enabled: bool,
    acquisition_source: Option<String>,
    utm_campaign: Option<String>,
    utm_medium: Option<String>,
    utm_source: Option<String>,
    first_visit_at: Option<Moment>,
    last_visit_at: Option<Moment>,
    total_visits: i32,
    total_spent_paise: i32,
    noshow_count: i32,
    late_cancellation_count: i32,
    consecutive_completed_bookings: i32,
    booking_requires_approval: bool,
    created_at: Moment,
    updated_at: Moment,
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
            total_visits,
            total_spent_paise,
            noshow_count,
            late_cancellation_count,
            consecutive_completed_bookings,
            booking_requires_approval,
            created_at: created_at.into(),
            updated_at: updated_at.into(),
        }
    }
}

const PROFILE: &str = "SELECT id, user_id, phone, gender::text, date_of_birth, \
    marketing_consent, marketing_consent_at, appointment_reminders_enabled, membership_alerts_enabled, \
    acquisition_source, utm_campaign, utm_medium, utm_source, \
    first_visit_at, last_visit_at, total_visits, total_spent_paise, noshow_count, late_cancellation_count, \
    consecutive_completed_bookings, booking_requires_approval, created_at, updated_at \
    FROM customer_profile WHERE user_id = ";

#[async_trait]
impl CustomerReads for Postgres {
    async fn find_customer(&self, id: &UserId) -> Result<Option<CustomerView>, StoreError> {
        let row: Option<CustomerRow> = read_optional!(self.pool, |connection| {
            Statement::<CustomerSql>::new(concat!(
            "SELECT u.id, u.name, u.email, u.role, u.image, p.phone, p.gender::text, p.date_of_birth, p.total_visits,",
            " p.total_spent_paise, p.noshow_count, p.late_cancellation_count, p.booking_requires_approval,",
            " p.first_visit_at, p.last_visit_at, l.gems_balance, u.created_at, chips.slugs, chips.names, chips.colors",
            " FROM \"user\" u JOIN customer_profile p ON p.user_id = u.id",
            " LEFT JOIN loyalty_account l ON l.customer_id = u.id",
            join_chips!(),
            " WHERE u.id = "
        )).text(id.as_str()).get_result(connection)
        })?;
        Ok(row.map(CustomerView::from))
    }

    async fn find_profile(&self, id: &UserId) -> Result<Option<Profile>, StoreError> {
        let row: Option<ProfileRow> = read_optional!(self.pool, |connection| Statement::<ProfileSql>::new(PROFILE)
            .text(id.as_str())
            .get_result(connection))?;
        Ok(row.map(Profile::from))
    }
}

#[async_trait]
impl ProfileWrites for PgTx {
    async fn lock_profile(&mut self, id: &UserId) -> Result<Option<Profile>, StoreError> {
        // `NO KEY`: rows that point to the profile may be added meanwhile, other writers of it wait.
        let statement = Statement::<ProfileSql>::new(PROFILE).text(id.as_str()).sql(" FOR NO KEY UPDATE");
        let row: Option<ProfileRow> =
            self.run(async |connection| statement.get_result(connection).await.optional()).await?;
        Ok(row.map(Profile::from))
    }

    async fn save_gates(&mut self, profile: &Profile) -> Result<(), StoreError> {
        let statement = diesel::update(customer_profile::table.find(profile.id.as_str())).set((
            customer_profile::noshow_count.eq(profile.noshow_count),
            customer_profile::booking_requires_approval.eq(profile.booking_requires_approval),
            customer_profile::updated_at.eq(profile.updated_at),
        ));
        self.run(async |connection| statement.execute(connection).await).await?;
        Ok(())
    }

    async fn customer_exists(&mut self, id: &UserId) -> Result<bool, StoreError> {
        let statement = select(exists(customer_profile::table.filter(customer_profile::user_id.eq(id.as_str()))));
        self.run(async |connection| statement.get_result(connection).await).await
    }
}
