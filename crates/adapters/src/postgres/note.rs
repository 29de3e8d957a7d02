//! Notes.

use async_trait::async_trait;
use crm_domain::{
    ids::{BookingId, NoteId, UserId},
    note::{
        ListedNote, Note, NoteContent,
        ports::{NoteReads, NoteWrites},
    },
    page::{Page, PageRequest},
    store::StoreError,
};
use diesel::{
    ExpressionMethods as _, QueryDsl as _,
    dsl::exists,
    select,
    sql_types::{BigInt, Bool, Nullable, Text, Timestamptz},
};
use diesel_async::RunQueryDsl as _;

use super::{
    Postgres,
    moment::Moment,
    pool::read,
    schema::{booking, customer_note},
    statement::Statement,
    tx::PgTx,
};

/// A line of the page: whether the customer exists, the total, and a note, or none when the page is past the end.
type LineSql = (Bool, BigInt, Nullable<NoteSql>);
type NoteSql = (Text, Text, Text, Nullable<Text>, Text, Timestamptz, Text);

#[derive(diesel::Queryable)]
struct NoteRow {
    id: String,
    customer_id: String,
    author_id: String,
    booking_id: Option<String>,
    content: String,
    created_at: Moment,
    author_name: String,
}

impl From<NoteRow> for ListedNote {
    fn from(row: NoteRow) -> Self {
        let NoteRow { id, customer_id, author_id, booking_id, content, created_at, author_name } = row;
        let note = Note {
            id: NoteId::from_stored(id),
            customer: UserId::from_stored(customer_id),
            author: UserId::from_stored(author_id),
            booking: booking_id.map(BookingId::from_stored),
            content: NoteContent::from_stored(content),
            created_at: created_at.into(),
        };
        Self { note, author_name }
    }
}

#[async_trait]
impl NoteReads for Postgres {
    async fn list_notes(&self, customer: &UserId, page: PageRequest) -> Result<Option<Page<ListedNote>>, StoreError> {
        let lines: Vec<(bool, i64, Option<NoteRow>)> = read!(self.pool, |connection| Statement::<LineSql>::new(
            "SELECT EXISTS (SELECT FROM customer_profile WHERE user_id = "
        )
        .text(customer.as_str())
        .sql("), (SELECT count(*) FROM customer_note WHERE customer_id = ")
        .text(customer.as_str())
        .sql(concat!(
            "), page.* FROM (SELECT) nothing LEFT JOIN (SELECT n.id, n.customer_id, n.author_id, n.booking_id,",
            " n.content, n.created_at, author.name",
            " FROM customer_note n JOIN \"user\" author ON author.id = n.author_id WHERE n.customer_id = "
        ))
        .text(customer.as_str())
        .sql(" ORDER BY n.created_at DESC, n.id COLLATE \"C\" DESC LIMIT ")
        .bigint(page.limit().cast_signed())
        .sql(" OFFSET ")
        .bigint(page.offset().cast_signed())
        .sql(") page ON true ORDER BY page.created_at DESC, page.id COLLATE \"C\" DESC")
        .load(connection))?;
        let [(true, total, _), ..] = lines.as_slice() else {
            return Ok(None);
        };
        let total_count = total.unsigned_abs();
        let items = lines.into_iter().filter_map(|(_, _, row)| row.map(ListedNote::from)).collect();
        Ok(Some(Page { items, total_count }))
    }
}

#[async_trait]
impl NoteWrites for PgTx {
    async fn booking_is_of_customer(&mut self, booking: &BookingId, customer: &UserId) -> Result<bool, StoreError> {
        let statement =
            select(exists(booking::table.find(booking.as_str()).filter(booking::customer_id.eq(customer.as_str()))));
        self.run(async |connection| statement.get_result(connection).await).await
    }

    async fn insert_note(&mut self, note: &Note) -> Result<(), StoreError> {
        let Note { id, customer, author, booking, content, created_at } = note;
        let statement = diesel::insert_into(customer_note::table).values((
            customer_note::id.eq(id.as_str()),
            customer_note::customer_id.eq(customer.as_str()),
            customer_note::author_id.eq(author.as_str()),
            customer_note::booking_id.eq(booking.as_ref().map(BookingId::as_str)),
            customer_note::content.eq(content.as_str()),
            customer_note::created_at.eq(created_at),
        ));
        self.run(async |connection| statement.execute(connection).await).await?;
        Ok(())
    }
}
