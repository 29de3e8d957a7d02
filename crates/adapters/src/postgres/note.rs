//! Notes.

use async_trait::async_trait;
use crm_domain::{
    ids::{BookingId, NoteId, UserId},
    note::{
        ListedNote, Note, NoteContent,
        ports::{NoteReads, NoteTarget, NoteWrites},
    },
    page::{Page, PageRequest},
    store_error::StoreError,
};
use diesel::{
    ExpressionMethods as _, QueryableByName, deserialize,
    pg::Pg,
    row::NamedRow,
    sql_types::{Bool, Nullable, Text, Timestamptz},
};

use super::{
    Postgres,
    schema::customer_note,
    statement::{PageLine, Statement, column, named_row},
    timestamp::PgTimestamp,
    unit_of_work::PgUnitOfWork,
};

named_row! {
    /// A note with its author's name.
    struct NoteRow {
        id: Text => String,
        customer_id: Text => String,
        author_id: Text => String,
        booking_id: Nullable<Text> => Option<String>,
        content: Text => String,
        created_at: Timestamptz => PgTimestamp,
        author_name: Text => String,
    }
}

named_row! {
    struct TargetRow {
        customer_exists: Bool => bool,
        booking_is_of_customer: Bool => bool,
    }
}

/// A line of the page, and whether the customer exists.
struct NoteLine {
    customer_exists: bool,
    line: PageLine<NoteRow>,
}

impl QueryableByName<Pg> for NoteLine {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let customer_exists = column::<Bool, bool>(row, "customer_exists")?;
        Ok(Self { customer_exists, line: PageLine::build(row)? })
    }
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
        let lines: Vec<NoteLine> = self.pool.read_rows(|| page_statement(customer, page)).await?;
        let Some(NoteLine { customer_exists: true, line }) = lines.as_slice().first() else { return Ok(None) };
        let total_count = line.total_count.unsigned_abs();
        let items = lines.into_iter().filter_map(|line| line.line.item.map(ListedNote::from)).collect();
        Ok(Some(Page { items, total_count }))
    }
}

/// The statement of a page. By hand: it has three results (whether the customer exists, the total, the page).
fn page_statement(customer: &UserId, page: PageRequest) -> Statement<'_> {
    Statement::new("SELECT EXISTS (SELECT FROM customer_profile WHERE user_id = ")
        .text(customer.as_str())
        .sql(") AS customer_exists, (SELECT count(*) FROM customer_note WHERE customer_id = ")
        .text(customer.as_str())
        .sql(concat!(
            ") AS total_count, page.* FROM (SELECT) nothing LEFT JOIN (SELECT true AS has_item, n.id, n.customer_id,",
            " n.author_id, n.booking_id, n.content, n.created_at, author.name AS author_name",
            " FROM customer_note n JOIN \"user\" author ON author.id = n.author_id WHERE n.customer_id = "
        ))
        .text(customer.as_str())
        .sql(" ORDER BY n.created_at DESC, n.id COLLATE \"C\" DESC LIMIT ")
        .bigint(page.limit().cast_signed())
        .sql(" OFFSET ")
        .bigint(page.offset().cast_signed())
        .sql(") page ON true ORDER BY page.created_at DESC, page.id COLLATE \"C\" DESC")
}

#[async_trait]
impl NoteWrites for PgUnitOfWork {
    async fn find_note_target(&mut self, note: &Note) -> Result<NoteTarget, StoreError> {
        // By hand: both look-ups in one round trip.
        let mut statement = Statement::new("SELECT EXISTS (SELECT FROM customer_profile WHERE user_id = ")
            .text(note.customer.as_str())
            .sql(") AS customer_exists, ");
        statement = match &note.booking {
            Some(booking) => statement
                .sql("EXISTS (SELECT FROM booking WHERE id = ")
                .text(booking.as_str())
                .sql(" AND customer_id = ")
                .text(note.customer.as_str())
                .sql(")"),
            None => statement.sql("true"),
        };
        let row: Option<TargetRow> = self.row(statement.sql(" AS booking_is_of_customer")).await?;
        let row = row.ok_or_else(|| StoreError::Unexpected("a statement without a row".into()))?;
        let TargetRow { customer_exists, booking_is_of_customer } = row;
        Ok(NoteTarget { customer_exists, booking_is_of_customer })
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
        self.execute(statement).await?;
        Ok(())
    }
}
