//! A customer's history, from tables that a platform may lack: each statement names only what is available.

use async_trait::async_trait;
use crm_domain::{
    calendar::WallClock,
    customer::CustomerView,
    history::{
        BookedService, Booking, BookingFilter, GemTransaction, GemsPage, Invoice, Labels, Membership, Memberships,
        Overview, SETTLED_BOOKINGS, When,
        ports::{HistoryLookup, HistoryReads},
    },
    ids::{BookingId, GemTransactionId, InvoiceId, MembershipId, UserId},
    page::{Page, PageRequest},
    store_error::StoreError,
};
use diesel::{
    QueryableByName, deserialize,
    pg::Pg,
    row::NamedRow,
    sql_types::{BigInt, Bool, Date, Nullable, Text, Time, Timestamptz},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use time::OffsetDateTime;

use super::{
    Postgres,
    customer::{CustomerRow, customer_and},
    integer::ApiInteger,
    note::{self, NoteRow},
    parts::{AvailableParts, Part},
    schema_check,
    statement::{
        CustomerPageLine, PAGE_BEGINS, PAGE_ENDS, RecordRow, Statement, column, named_row, record_row, records,
    },
    tag::{TAGS_BY_NAME, TagRow},
    timestamp::{PgDate, PgTimeOfDay, PgTimestamp},
};

record_row! {
    struct BookingRow {
        id: Text => String,
        booking_number: Text => String,
        status: Text => String,
        service_type: Text => String,
        booking_date: Date => PgDate,
        start_time: Time => PgTimeOfDay,
        end_time: Time => PgTimeOfDay,
        total_amount_paise: BigInt => ApiInteger,
        total_duration_minutes: BigInt => ApiInteger,
        is_walkin: Bool => bool,
        is_membership_session: Bool => bool,
        created_at: Timestamptz => PgTimestamp,
    }
}

record_row! {
    struct ServiceRow {
        booking_id: Text => String,
        name: Text => String,
        duration_minutes: BigInt => ApiInteger,
        price_paise: BigInt => ApiInteger,
    }
}

record_row! {
    struct InvoiceRow {
        id: Text => String,
        invoice_number: Text => String,
        invoice_type: Text => String,
        payment_status: Text => String,
        payment_method: Text => String,
        subtotal_paise: BigInt => ApiInteger,
        discount_amount_paise: BigInt => ApiInteger,
        gst_amount_paise: BigInt => ApiInteger,
        total_amount_paise: BigInt => ApiInteger,
        gems_earned: BigInt => ApiInteger,
        gems_redeemed: BigInt => ApiInteger,
        booking_id: Text => String,
        paid_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        created_at: Timestamptz => PgTimestamp,
    }
}

record_row! {
    struct MembershipRow {
        id: Text => String,
        membership_number: Text => String,
        tier_name_snapshot: Text => String,
        status: Text => String,
        total_hours_minutes: BigInt => ApiInteger,
        used_hours_minutes: BigInt => ApiInteger,
        price_paid_paise: BigInt => ApiInteger,
        starts_at: Timestamptz => PgTimestamp,
        expires_at: Timestamptz => PgTimestamp,
    }
}

named_row! {
    struct GemRow {
        id: Text => String,
        transaction_type: Text => String,
        gems_amount: BigInt => ApiInteger,
        description: Nullable<Text> => Option<String>,
        invoice_id: Nullable<Text> => Option<String>,
        expires_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        created_at: Timestamptz => PgTimestamp,
    }
}

named_row! {
    struct ExistsRow {
        customer_exists: Bool => bool,
    }
}

/// A page of bookings, and whether the customer exists.
struct BookingsRow {
    customer_exists: bool,
    page: Page<Booking>,
}

impl QueryableByName<Pg> for BookingsRow {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let mut page = page::<BookingRow, Booking>(row, "bookings", "booking_count")?.ok_or("no bookings")?;
        give_services(page.items.iter_mut().collect(), row)?;
        Ok(Self { customer_exists: column::<Bool, bool>(row, "customer_exists")?, page })
    }
}

/// Gives bookings the services of the column `services`, which has those of all of them.
fn give_services<'a>(mut bookings: Vec<&mut Booking>, row: &impl NamedRow<'a, Pg>) -> deserialize::Result<()> {
    for (booking, service) in records::<ServiceRow, (String, BookedService)>(row, "services")?.unwrap_or_default() {
        for found in bookings.iter_mut().filter(|found| found.id.as_str() == booking) {
            found.services.push(service.clone());
        }
    }
    Ok(())
}

/// All memberships, and whether the customer exists.
struct MembershipsRow {
    customer_exists: bool,
    memberships: Vec<Membership>,
}

impl QueryableByName<Pg> for MembershipsRow {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let memberships = records::<MembershipRow, _>(row, "memberships")?.unwrap_or_default();
        Ok(Self { customer_exists: column::<Bool, bool>(row, "customer_exists")?, memberships })
    }
}

/// A line of a page of the loyalty account, and its balance.
struct GemLine {
    balance: Option<ApiInteger>,
    line: CustomerPageLine<GemRow>,
}

impl QueryableByName<Pg> for GemLine {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let balance = column::<Nullable<BigInt>, Option<ApiInteger>>(row, "balance")?;
        Ok(Self { balance, line: CustomerPageLine::build(row)? })
    }
}

/// The overview; each list is an array of records.
struct OverviewRow(Overview);

impl QueryableByName<Pg> for OverviewRow {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let mut next_booking =
            records::<BookingRow, Booking>(row, "next_booking")?.and_then(|bookings| bookings.into_iter().next());
        let mut bookings = page::<BookingRow, Booking>(row, "bookings", "booking_count")?;
        let listed = bookings.iter_mut().flat_map(|page| &mut page.items);
        give_services(listed.chain(next_booking.as_mut()).collect(), row)?;
        let memberships = records::<MembershipRow, Membership>(row, "memberships")?;
        let notes = page::<NoteRow, _>(row, "notes", "note_count")?;
        Ok(Self(Overview {
            customer: CustomerView::from(CustomerRow::build(row)?),
            next_booking,
            bookings,
            invoices: page::<InvoiceRow, _>(row, "invoices", "invoice_count")?,
            notes: notes.ok_or("no notes")?,
            memberships: memberships.map(Memberships::from_newest_first),
            tags: records::<TagRow, _>(row, "every_tag")?.unwrap_or_default(),
        }))
    }
}

/// The page of which one column is an array of records, and another the total.
fn page<'a, Row: RecordRow, Item: From<Row>>(
    row: &impl NamedRow<'a, Pg>,
    name: &str,
    count: &str,
) -> deserialize::Result<Option<Page<Item>>> {
    let total_count = column::<Nullable<BigInt>, Option<i64>>(row, count)?;
    let items = records::<Row, Item>(row, name)?;
    Ok(items.zip(total_count).map(|(items, count)| Page { items, total_count: count.unsigned_abs() }))
}

impl From<BookingRow> for Booking {
    fn from(row: BookingRow) -> Self {
        Self {
            id: BookingId::from_stored(row.id),
            number: row.booking_number,
            status: row.status,
            service_type: row.service_type,
            date: row.booking_date.into(),
            start_time: row.start_time.into(),
            end_time: row.end_time.into(),
            total_amount_paise: row.total_amount_paise.into(),
            total_duration_minutes: row.total_duration_minutes.into(),
            is_walkin: row.is_walkin,
            is_membership_session: row.is_membership_session,
            services: Vec::new(),
            created_at: row.created_at.into(),
        }
    }
}

/// A service, and the id of its booking.
impl From<ServiceRow> for (String, BookedService) {
    fn from(row: ServiceRow) -> Self {
        let ServiceRow { booking_id, name, duration_minutes, price_paise } = row;
        let (duration_minutes, price_paise) = (duration_minutes.into(), price_paise.into());
        (booking_id, BookedService { name, duration_minutes, price_paise })
    }
}

impl From<InvoiceRow> for Invoice {
    fn from(row: InvoiceRow) -> Self {
        Self {
            id: InvoiceId::from_stored(row.id),
            number: row.invoice_number,
            invoice_type: row.invoice_type,
            payment_status: row.payment_status,
            payment_method: row.payment_method,
            subtotal_paise: row.subtotal_paise.into(),
            discount_amount_paise: row.discount_amount_paise.into(),
            gst_amount_paise: row.gst_amount_paise.into(),
            total_amount_paise: row.total_amount_paise.into(),
            gems_earned: row.gems_earned.into(),
            gems_redeemed: row.gems_redeemed.into(),
            booking: BookingId::from_stored(row.booking_id),
            paid_at: row.paid_at.map(OffsetDateTime::from),
            created_at: row.created_at.into(),
        }
    }
}

impl From<MembershipRow> for Membership {
    fn from(row: MembershipRow) -> Self {
        Self {
            id: MembershipId::from_stored(row.id),
            number: row.membership_number,
            tier_name: row.tier_name_snapshot,
            status: row.status,
            total_hours_minutes: row.total_hours_minutes.into(),
            used_hours_minutes: row.used_hours_minutes.into(),
            price_paid_paise: row.price_paid_paise.into(),
            starts_at: row.starts_at.into(),
            expires_at: row.expires_at.into(),
        }
    }
}

impl From<GemRow> for GemTransaction {
    fn from(row: GemRow) -> Self {
        Self {
            id: GemTransactionId::from_stored(row.id),
            transaction_type: row.transaction_type,
            gems_amount: row.gems_amount.into(),
            description: row.description,
            invoice: row.invoice_id.map(InvoiceId::from_stored),
            expires_at: row.expires_at.map(OffsetDateTime::from),
            created_at: row.created_at.into(),
        }
    }
}

impl Postgres {
    /// Runs a read that depends on which parts are available. When the database refuses it, the parts are looked at anew: a
    /// table may have come, gone or changed since the last look.
    async fn read_parts<'f, T>(
        &'f self,
        read: impl Fn(AvailableParts) -> BoxFuture<'f, Result<T, StoreError>> + Send + Sync,
    ) -> Result<T, StoreError> {
        let noted = match self.pool.available_parts() {
            Some(parts) => parts,
            None => schema_check::check(&self.pool).await?.available_parts(),
        };
        match read(noted).await {
            Err(StoreError::Unexpected(cause)) => {
                let parts = schema_check::check(&self.pool).await?.available_parts();
                if parts == noted { Err(StoreError::Unexpected(cause)) } else { read(parts).await }
            }
            outcome => outcome,
        }
    }

    /// Reads a list that needs that part.
    async fn read_list<'f, T: Send + 'f>(
        &'f self,
        part: Part,
        customer: &'f UserId,
        read: impl Fn(AvailableParts) -> BoxFuture<'f, Result<Option<T>, StoreError>> + Send + Sync,
    ) -> Result<HistoryLookup<T>, StoreError> {
        self.read_parts(|parts| {
            if parts.has(part) {
                let found = read(parts);
                return async { Ok(found.await?.map_or(HistoryLookup::NoCustomer, HistoryLookup::Found)) }.boxed();
            }
            async {
                let row: Option<ExistsRow> =
                    self.pool.read_row(|| Statement::new("SELECT ").customer_exists(customer)).await?;
                let exists = row.is_some_and(|row| row.customer_exists);
                Ok(if exists { HistoryLookup::NotAvailable } else { HistoryLookup::NoCustomer })
            }
            .boxed()
        })
        .await
    }
}

#[async_trait]
impl HistoryReads for Postgres {
    async fn list_bookings(
        &self,
        customer: &UserId,
        filter: &BookingFilter,
        now: WallClock,
        page: PageRequest,
    ) -> Result<HistoryLookup<Page<Booking>>, StoreError> {
        self.read_list(Part::Bookings, customer, |parts| {
            async move {
                let (wanted, services) =
                    (WantedBookings { customer, filter, now, open: false }, parts.has(Part::BookingServices));
                let row: Option<BookingsRow> = self.pool.read_row(|| wanted.list_statement(services, page)).await?;
                Ok(row.filter(|row| row.customer_exists).map(|row| row.page))
            }
            .boxed()
        })
        .await
    }

    async fn list_invoices(
        &self,
        customer: &UserId,
        payment_statuses: &Labels,
        page: PageRequest,
    ) -> Result<HistoryLookup<Page<Invoice>>, StoreError> {
        self.read_list(Part::Invoices, customer, |_| {
            async move {
                let statement = || {
                    let statement = Statement::new("SELECT ").customer_exists(customer).sql(", (");
                    let statement = add_invoice_count(statement, customer, payment_statuses).sql(PAGE_BEGINS);
                    add_invoices(statement, customer, payment_statuses, page)
                        .sql(PAGE_ENDS)
                        .sql(" ORDER BY page.created_at DESC, page.id COLLATE \"C\" DESC")
                };
                Ok(CustomerPageLine::<InvoiceRow>::into_page(self.pool.read_rows(statement).await?))
            }
            .boxed()
        })
        .await
    }

    async fn list_memberships(&self, customer: &UserId) -> Result<HistoryLookup<Memberships>, StoreError> {
        self.read_list(Part::Memberships, customer, |_| {
            async move {
                let statement = || {
                    let statement = Statement::new("SELECT ").customer_exists(customer).sql(LIST_BEGINS);
                    add_memberships(statement, customer).sql(") row) AS memberships")
                };
                let row: Option<MembershipsRow> = self.pool.read_row(statement).await?;
                let row = row.filter(|row| row.customer_exists);
                Ok(row.map(|row| Memberships::from_newest_first(row.memberships)))
            }
            .boxed()
        })
        .await
    }

    async fn list_gems(&self, customer: &UserId, page: PageRequest) -> Result<HistoryLookup<GemsPage>, StoreError> {
        self.read_list(Part::Gems, customer, |_| {
            async move {
                let lines: Vec<GemLine> = self.pool.read_rows(|| gems_statement(customer, page)).await?;
                let balance = lines.first().and_then(|line| line.balance).map(i64::from);
                let transactions = CustomerPageLine::into_page(lines.into_iter().map(|line| line.line).collect());
                Ok(transactions.map(|transactions| GemsPage { balance, transactions }))
            }
            .boxed()
        })
        .await
    }

    async fn find_overview(&self, customer: &UserId, now: WallClock) -> Result<Option<Overview>, StoreError> {
        self.read_parts(|parts| {
            async move {
                let row: Option<OverviewRow> = self.pool.read_row(|| overview_statement(customer, now, parts)).await?;
                Ok(row.map(|OverviewRow(overview)| overview))
            }
            .boxed()
        })
        .await
    }
}

/// Begins a column that is an array of the rows of the query that follows; see [`record_row`].
const LIST_BEGINS: &str = ", ARRAY(SELECT row FROM (";

/// Which bookings a query is for.
#[derive(Clone, Copy)]
struct WantedBookings<'q> {
    customer: &'q UserId,
    filter: &'q BookingFilter,
    now: WallClock,
    /// Without those that take place no more.
    open: bool,
}

impl<'q> WantedBookings<'q> {
    /// The statement of a page of them, as a [`BookingsRow`].
    fn list_statement(self, services: bool, page: PageRequest) -> Statement<'q> {
        let statement = self.add_cte(Statement::new("WITH page AS MATERIALIZED ("), page);
        let statement = statement.sql(") SELECT ").customer_exists(self.customer).sql(", (");
        let statement = self.add_count(statement).sql(") AS booking_count");
        let statement = self.add_records(statement, "page").sql("bookings");
        add_services(statement, services.then_some("page"))
    }

    /// Adds the query for their number.
    fn add_count(self, statement: Statement<'q>) -> Statement<'q> {
        self.add_conditions(statement.sql("SELECT count(*) FROM booking b"))
    }

    /// Adds the query of a CTE with a page of them.
    fn add_cte(self, statement: Statement<'q>, page: PageRequest) -> Statement<'q> {
        let statement = statement.sql(
            "SELECT b.id, b.booking_number, b.status, b.service_type, b.booking_date, b.start_time, b.end_time, \
             b.total_amount_paise, b.total_duration_minutes, b.is_walkin, b.is_membership_session, b.created_at FROM booking b",
        );
        self.add_conditions(statement)
            .sql(self.order())
            .sql(" LIMIT ")
            .bigint(page.limit().cast_signed())
            .sql(" OFFSET ")
            .bigint(page.offset().cast_signed())
    }

    /// Adds a column with the [`BookingRow`]s of that CTE; the column's name follows.
    fn add_records(self, statement: Statement<'q>, cte: &'static str) -> Statement<'q> {
        statement
            .sql(LIST_BEGINS)
            .sql(
                "SELECT b.id, b.booking_number, b.status::text, b.service_type::text, b.booking_date, b.start_time, b.end_time, \
                 b.total_amount_paise, b.total_duration_minutes, b.is_walkin, b.is_membership_session, b.created_at FROM ",
            )
            .sql(cte)
            .sql(" b")
            .sql(self.order())
            .sql(") row) AS ")
    }

    fn order(self) -> &'static str {
        match self.filter.when {
            Some(When::Upcoming) => " ORDER BY b.booking_date, b.start_time, b.id COLLATE \"C\"",
            _ => " ORDER BY b.booking_date DESC, b.start_time DESC, b.id COLLATE \"C\" DESC",
        }
    }

    fn add_conditions(self, statement: Statement<'q>) -> Statement<'q> {
        let mut statement = statement.sql(" WHERE b.customer_id = ").text(self.customer.as_str());
        if !self.filter.statuses.is_empty() {
            statement = statement.sql(" AND b.status::text = ANY (").texts(self.filter.statuses.as_texts()).sql(")");
        }
        if self.open {
            statement = statement.sql(" AND b.status::text <> ALL (").texts(SETTLED_BOOKINGS.to_vec()).sql(")");
        }
        let comparison = match self.filter.when {
            Some(When::Upcoming) => " AND (b.booking_date, b.start_time) >= (",
            Some(When::Past) => " AND (b.booking_date, b.start_time) < (",
            None => return statement,
        };
        statement.sql(comparison).date(self.now.date).sql(", ").time(self.now.time).sql(")")
    }
}

/// Adds the column `services` with the [`ServiceRow`]s of the bookings that `ids` selects, in display order; null without
/// `ids`. A join finds those of all bookings in one go where the platform has no index on them.
fn add_services<'q>(statement: Statement<'q>, ids: Option<&'static str>) -> Statement<'q> {
    let Some(ids) = ids else { return statement.sql(", NULL::record[] AS services") };
    statement
        .sql(LIST_BEGINS)
        .sql("SELECT s.booking_id, s.service_name_snapshot, s.duration_minutes, s.price_at_booking_paise FROM ")
        .sql(ids)
        .sql(
            " b JOIN booking_service s ON s.booking_id = b.id ORDER BY s.display_order, s.id COLLATE \"C\") row) AS services",
        )
}

fn add_invoice_conditions<'q>(
    statement: Statement<'q>,
    customer: &'q UserId,
    payment_statuses: &'q Labels,
) -> Statement<'q> {
    let statement = statement.sql(" FROM invoice i WHERE i.customer_id = ").text(customer.as_str());
    if payment_statuses.is_empty() {
        return statement;
    }
    statement.sql(" AND i.payment_status::text = ANY (").texts(payment_statuses.as_texts()).sql(")")
}

/// Adds the query for the number of the invoices.
fn add_invoice_count<'q>(
    statement: Statement<'q>,
    customer: &'q UserId,
    payment_statuses: &'q Labels,
) -> Statement<'q> {
    add_invoice_conditions(statement.sql("SELECT count(*)"), customer, payment_statuses)
}

/// Adds the query for a page of the invoices, as [`InvoiceRow`]s.
fn add_invoices<'q>(
    statement: Statement<'q>,
    customer: &'q UserId,
    payment_statuses: &'q Labels,
    page: PageRequest,
) -> Statement<'q> {
    let statement = statement.sql(
        "SELECT i.id, i.invoice_number, i.invoice_type::text AS invoice_type, \
         i.payment_status::text AS payment_status, i.payment_method::text AS payment_method, i.subtotal_paise, \
         i.discount_amount_paise, i.gst_amount_paise, i.total_amount_paise, i.gems_earned, i.gems_redeemed, i.booking_id, \
         i.paid_at, i.created_at",
    );
    add_invoice_conditions(statement, customer, payment_statuses)
        .sql(" ORDER BY i.created_at DESC, i.id COLLATE \"C\" DESC LIMIT ")
        .bigint(page.limit().cast_signed())
        .sql(" OFFSET ")
        .bigint(page.offset().cast_signed())
}

/// Adds the query for all memberships, as [`MembershipRow`]s, newest first.
fn add_memberships<'q>(statement: Statement<'q>, customer: &'q UserId) -> Statement<'q> {
    statement
        .sql(
            "SELECT m.id, m.membership_number, m.tier_name_snapshot, m.status::text AS status, m.total_hours_minutes, \
             m.used_hours_minutes, m.price_paid_paise, m.starts_at, m.expires_at FROM spa_membership m \
             WHERE m.customer_id = ",
        )
        .text(customer.as_str())
        .sql(" ORDER BY m.created_at DESC, m.id COLLATE \"C\" DESC")
}

/// The statement of a page of the loyalty account.
fn gems_statement(customer: &UserId, page: PageRequest) -> Statement<'_> {
    Statement::new("WITH account AS MATERIALIZED (SELECT id, gems_balance FROM loyalty_account WHERE customer_id = ")
        .text(customer.as_str())
        .sql(") SELECT ")
        .customer_exists(customer)
        .sql(
            ", (SELECT gems_balance FROM account) AS balance, (SELECT count(*) FROM loyalty_transaction t \
               WHERE t.loyalty_account_id = (SELECT id FROM account)) AS total_count, page.* \
             FROM (SELECT) nothing LEFT JOIN (SELECT true AS has_item, t.id, t.type::text AS transaction_type, t.gems_amount, \
                 t.description, t.invoice_id, t.expires_at, t.created_at FROM loyalty_transaction t \
               WHERE t.loyalty_account_id = (SELECT id FROM account) \
               ORDER BY t.created_at DESC, t.id COLLATE \"C\" DESC LIMIT ",
        )
        .bigint(page.limit().cast_signed())
        .sql(" OFFSET ")
        .bigint(page.offset().cast_signed())
        .sql(") page ON true ORDER BY page.created_at DESC, page.id COLLATE \"C\" DESC")
}

/// Every booking, in the order of the list.
static EVERY_BOOKING: BookingFilter = BookingFilter { statuses: Labels::NONE, when: None };

/// The bookings to come, soonest first.
static UPCOMING_BOOKINGS: BookingFilter = BookingFilter { statuses: Labels::NONE, when: Some(When::Upcoming) };

/// The statement of the overview: the customer, and each list as an array of records, so that one statement has them all.
fn overview_statement(customer: &UserId, now: WallClock, parts: AvailableParts) -> Statement<'_> {
    let first_page = PageRequest::default();
    let all = WantedBookings { customer, filter: &EVERY_BOOKING, now, open: false };
    let next = WantedBookings { filter: &UPCOMING_BOOKINGS, open: true, ..all };
    let bookings = parts.has(Part::Bookings);
    let begun = if bookings {
        let statement = all.add_cte(Statement::new("WITH page AS MATERIALIZED ("), first_page);
        next.add_cte(statement.sql("), next AS MATERIALIZED ("), PageRequest::first_item()).sql(") ")
    } else {
        Statement::new("")
    };
    customer_and(begun, customer, |mut statement| {
        statement = note::add_count(statement.sql(", ("), customer).sql(") AS note_count");
        statement = note::add_page(statement.sql(LIST_BEGINS), customer, first_page).sql(") row) AS notes");
        statement = statement.sql(LIST_BEGINS).sql(TAGS_BY_NAME).sql(") row) AS every_tag");
        statement = if bookings {
            statement = all.add_count(statement.sql(", (")).sql(") AS booking_count");
            statement = all.add_records(statement, "page").sql("bookings");
            next.add_records(statement, "next").sql("next_booking")
        } else {
            statement.sql(", NULL::bigint AS booking_count, NULL::record[] AS bookings, NULL::record[] AS next_booking")
        };
        let services = bookings && parts.has(Part::BookingServices);
        statement = add_services(statement, services.then_some("(SELECT id FROM page UNION SELECT id FROM next)"));
        statement = if parts.has(Part::Invoices) {
            statement =
                add_invoice_count(statement.sql(", ("), customer, &EVERY_BOOKING.statuses).sql(") AS invoice_count");
            add_invoices(statement.sql(LIST_BEGINS), customer, &EVERY_BOOKING.statuses, first_page)
                .sql(") row) AS invoices")
        } else {
            statement.sql(", NULL::bigint AS invoice_count, NULL::record[] AS invoices")
        };
        if parts.has(Part::Memberships) {
            add_memberships(statement.sql(LIST_BEGINS), customer).sql(") row) AS memberships")
        } else {
            statement.sql(", NULL::record[] AS memberships")
        }
    })
}
