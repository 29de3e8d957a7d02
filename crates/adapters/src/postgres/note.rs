//! Notes.

use async_trait::async_trait;
use crm_domain::{
    ids::{BookingId, NoteId, UserId},
    note::{
        Edit, ListedNote, Note, NoteContent, NoteLookup, Revision,
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
use time::OffsetDateTime;

use super::{
    Postgres,
    schema::customer_note,
    statement::{CustomerPageLine, PAGE_BEGINS, PAGE_ENDS, PageLine, Statement, column, named_row, record_row},
    timestamp::PgTimestamp,
    unit_of_work::PgUnitOfWork,
};

record_row! {
    /// A note with its author's name.
    pub(super) struct NoteRow {
        id: Text => String,
        customer_id: Text => String,
        author_id: Text => String,
        booking_id: Nullable<Text> => Option<String>,
        content: Text => String,
        created_at: Timestamptz => PgTimestamp,
        author_name: Text => String,
        pinned: Bool => bool,
        edited_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        edited_by_name: Nullable<Text> => Option<String>,
    }
}

/// The columns of a [`NoteRow`], and what a note `n` is joined with for them.
macro_rules! note_columns {
    () => {
        "n.id, n.customer_id, n.author_id, n.booking_id, n.content, n.created_at, author.name AS author_name, \
         pin.note_id IS NOT NULL AS pinned, edit.edited_at, editor.name AS edited_by_name"
    };
}

macro_rules! note_joins {
    () => {
        " JOIN \"user\" author ON author.id = n.author_id LEFT JOIN crm.note_pin pin ON pin.note_id = n.id \
         LEFT JOIN LATERAL (SELECT r.edited_at, r.edited_by FROM crm.note_revision r WHERE r.note_id = n.id \
           ORDER BY r.number DESC LIMIT 1) edit ON true LEFT JOIN \"user\" editor ON editor.id = edit.edited_by"
    };
}

named_row! {
    struct RevisionRow {
        content: Text => String,
        edited_at: Timestamptz => PgTimestamp,
        edited_by_name: Nullable<Text> => Option<String>,
    }
}

/// A line of the page of revisions, and what exists.
struct RevisionLine {
    customer_exists: bool,
    note_exists: bool,
    line: PageLine<RevisionRow>,
}

impl QueryableByName<Pg> for RevisionLine {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let customer_exists = column::<Bool, bool>(row, "customer_exists")?;
        let note_exists = column::<Bool, bool>(row, "note_exists")?;
        Ok(Self { customer_exists, note_exists, line: PageLine::build(row)? })
    }
}

named_row! {
    struct LockedRow {
        id: Text => String,
    }
}

named_row! {
    struct CustomerRow {
        customer_exists: Bool => bool,
    }
}

named_row! {
    struct TargetRow {
        customer_exists: Bool => bool,
        booking_is_of_customer: Bool => bool,
        author_name: Nullable<Text> => Option<String>,
    }
}

impl From<NoteRow> for ListedNote {
    fn from(row: NoteRow) -> Self {
        let NoteRow {
            id,
            customer_id,
            author_id,
            booking_id,
            content,
            created_at,
            author_name,
            pinned,
            edited_at,
            edited_by_name,
        } = row;
        let note = Note {
            id: NoteId::from_stored(id),
            customer: UserId::from_stored(customer_id),
            author: UserId::from_stored(author_id),
            booking: booking_id.map(BookingId::from_stored),
            content: NoteContent::from_stored(content),
            created_at: created_at.into(),
        };
        let edit = edited_at.map(|at| Edit { at: at.into(), by_name: edited_by_name });
        Self { note, author_name, pinned, edit }
    }
}

impl From<RevisionRow> for Revision {
    fn from(row: RevisionRow) -> Self {
        let RevisionRow { content, edited_at, edited_by_name } = row;
        Self { content: NoteContent::from_stored(content), edited_at: edited_at.into(), edited_by_name }
    }
}

#[async_trait]
impl NoteReads for Postgres {
    async fn list_notes(&self, customer: &UserId, page: PageRequest) -> Result<Option<Page<ListedNote>>, StoreError> {
        let lines = self.pool.read_rows(|| page_statement(customer, page)).await?;
        Ok(CustomerPageLine::<NoteRow>::into_page(lines))
    }

    async fn list_revisions(
        &self,
        customer: &UserId,
        note: &NoteId,
        page: PageRequest,
    ) -> Result<NoteLookup<Page<Revision>>, StoreError> {
        let lines: Vec<RevisionLine> = self.pool.read_rows(|| revisions_statement(customer, note, page)).await?;
        let (customer_exists, note_exists, total_count) = match lines.as_slice().first() {
            Some(line) => (line.customer_exists, line.note_exists, line.line.total_count.unsigned_abs()),
            None => (false, false, 0),
        };
        Ok(match (customer_exists, note_exists) {
            (false, _) => NoteLookup::NoCustomer,
            (_, false) => NoteLookup::NoNote,
            _ => {
                let items = lines.into_iter().filter_map(|line| line.line.item.map(Revision::from)).collect();
                NoteLookup::Found(Page { items, total_count })
            }
        })
    }
}

/// The statement of a page of revisions. By hand: it has several results.
fn revisions_statement<'q>(customer: &'q UserId, note: &'q NoteId, page: PageRequest) -> Statement<'q> {
    Statement::new("WITH note AS MATERIALIZED (SELECT id FROM customer_note WHERE id = ")
        .text(note.as_str())
        .sql(" AND customer_id = ")
        .text(customer.as_str())
        .sql(") SELECT ")
        .customer_exists(customer)
        .sql(
            ", EXISTS (SELECT FROM note) AS note_exists, \
             (SELECT count(*) FROM crm.note_revision r JOIN note ON note.id = r.note_id) AS total_count, page.* \
             FROM (SELECT) nothing LEFT JOIN (SELECT true AS has_item, r.number, r.content, r.edited_at, editor.name AS edited_by_name \
               FROM crm.note_revision r JOIN note ON note.id = r.note_id LEFT JOIN \"user\" editor ON editor.id = r.edited_by \
               ORDER BY r.number DESC LIMIT ",
        )
        .bigint(page.limit().cast_signed())
        .sql(" OFFSET ")
        .bigint(page.offset().cast_signed())
        .sql(") page ON true ORDER BY page.number DESC")
}

/// The statement of a page. By hand: it has three results (whether the customer exists, the total, the page).
fn page_statement(customer: &UserId, page: PageRequest) -> Statement<'_> {
    let statement = Statement::new("SELECT ").customer_exists(customer).sql(", (");
    let statement = add_count(statement, customer).sql(PAGE_BEGINS);
    add_page(statement, customer, page)
        .sql(PAGE_ENDS)
        .sql(" ORDER BY page.pinned DESC, page.created_at DESC, page.id COLLATE \"C\" DESC")
}

/// Adds the query for the number of a customer's notes.
pub(super) fn add_count<'q>(statement: Statement<'q>, customer: &'q UserId) -> Statement<'q> {
    statement.sql("SELECT count(*) FROM customer_note WHERE customer_id = ").text(customer.as_str())
}

/// Adds the query for a page of a customer's notes, as [`NoteRow`]s.
pub(super) fn add_page<'q>(statement: Statement<'q>, customer: &'q UserId, page: PageRequest) -> Statement<'q> {
    statement
        .sql(concat!("SELECT ", note_columns!(), " FROM customer_note n", note_joins!(), " WHERE n.customer_id = "))
        .text(customer.as_str())
        .sql(" ORDER BY pinned DESC, n.created_at DESC, n.id COLLATE \"C\" DESC LIMIT ")
        .bigint(page.limit().cast_signed())
        .sql(" OFFSET ")
        .bigint(page.offset().cast_signed())
}

#[async_trait]
impl NoteWrites for PgUnitOfWork {
    async fn find_note_target(&mut self, note: &Note) -> Result<NoteTarget, StoreError> {
        // By hand: both look-ups in one round trip.
        let mut statement = Statement::new("SELECT ").customer_exists(&note.customer).sql(", ");
        statement = match &note.booking {
            Some(booking) => statement
                .sql("EXISTS (SELECT FROM booking WHERE id = ")
                .text(booking.as_str())
                .sql(" AND customer_id = ")
                .text(note.customer.as_str())
                .sql(")"),
            None => statement.sql("true"),
        };
        statement = statement
            .sql(" AS booking_is_of_customer, (SELECT name FROM \"user\" WHERE id = ")
            .text(note.author.as_str())
            .sql(") AS author_name");
        let row: Option<TargetRow> = self.row(statement).await?;
        let row = row.ok_or_else(|| StoreError::Unexpected("a statement without a row".into()))?;
        let TargetRow { customer_exists, booking_is_of_customer, author_name } = row;
        Ok(NoteTarget { customer_exists, booking_is_of_customer, author_name })
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

    async fn lock_note(&mut self, customer: &UserId, note: &NoteId) -> Result<NoteLookup<ListedNote>, StoreError> {
        let statement = Statement::new("SELECT id FROM customer_note WHERE id = ")
            .text(note.as_str())
            .sql(" AND customer_id = ")
            .text(customer.as_str())
            .sql(" FOR NO KEY UPDATE");
        let locked: Option<LockedRow> = self.row(statement).await?;
        // Read by another statement, whose snapshot begins under the lock: the pin and the edits belong to other tables.
        if let Some(LockedRow { id }) = locked
            && let Some(listed) = self.view_note(&NoteId::from_stored(id)).await?
        {
            return Ok(NoteLookup::Found(listed));
        }
        let row: Option<CustomerRow> = self.row(Statement::new("SELECT ").customer_exists(customer)).await?;
        Ok(if row.is_some_and(|row| row.customer_exists) { NoteLookup::NoNote } else { NoteLookup::NoCustomer })
    }

    async fn save_content(
        &mut self,
        note: &Note,
        content: &NoteContent,
        by: &UserId,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        // By hand: the revision and the text in one statement. The number is the note's own, because it is locked.
        let statement = Statement::new(
            "WITH former AS (INSERT INTO crm.note_revision (note_id, number, content, edited_by, edited_at) \
             SELECT id, coalesce((SELECT max(r.number) FROM crm.note_revision r WHERE r.note_id = n.id), 0) + 1, content, ",
        )
        .text(by.as_str())
        .sql(", ")
        .timestamp(at)
        .sql(" FROM customer_note n WHERE id = ")
        .text(note.id.as_str())
        .sql(") UPDATE customer_note SET content = ")
        .text(content.as_str())
        .sql(" WHERE id = ")
        .text(note.id.as_str());
        match self.execute(statement).await? {
            1 => Ok(()),
            _ => Err(StoreError::Unexpected("the locked note was not updated".into())),
        }
    }

    async fn save_pin(
        &mut self,
        note: &NoteId,
        pinned: bool,
        by: &UserId,
        at: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let statement = if pinned {
            Statement::new("INSERT INTO crm.note_pin (note_id, pinned_by, pinned_at) VALUES (")
                .text(note.as_str())
                .sql(", ")
                .text(by.as_str())
                .sql(", ")
                .timestamp(at)
                .sql(")")
        } else {
            Statement::new("DELETE FROM crm.note_pin WHERE note_id = ").text(note.as_str())
        };
        self.execute(statement).await?;
        Ok(())
    }

    async fn view_note(&mut self, note: &NoteId) -> Result<Option<ListedNote>, StoreError> {
        let statement = Statement::new(concat!(
            "SELECT ",
            note_columns!(),
            " FROM customer_note n",
            note_joins!(),
            " WHERE n.id = "
        ))
        .text(note.as_str());
        let row: Option<NoteRow> = self.row(statement).await?;
        Ok(row.map(ListedNote::from))
    }

    async fn delete_note(&mut self, note: &NoteId) -> Result<(), StoreError> {
        // Pin and revisions follow by their foreign keys. A kept answer loses its body, and stays: the request that wrote the
        // note must not write it again.
        let statement = Statement::new("WITH kept AS (UPDATE crm.idempotency_key SET body = NULL WHERE note_id = ")
            .text(note.as_str())
            .sql(") DELETE FROM customer_note WHERE id = ")
            .text(note.as_str());
        self.execute(statement).await?;
        Ok(())
    }
}
