//! Tags and their assignments.

use async_trait::async_trait;
use crm_domain::{
    ids::{TagId, UserId},
    store_error::StoreError,
    tag::{
        Assignment, CountedTag, Tag, TagSlug,
        ports::{AssignmentTarget, TagReads, TagWrites},
    },
};
use diesel::{
    ExpressionMethods as _, QueryDsl as _, QueryableByName, deserialize,
    pg::Pg,
    row::NamedRow,
    sql_types::{BigInt, Bool, Nullable, Text, Timestamptz},
};

use super::{
    Postgres,
    schema::{customer_tag, customer_tag_assignment},
    statement::{Statement, by_name, column, named_row, record_row},
    timestamp::PgTimestamp,
    unit_of_work::PgUnitOfWork,
};

record_row! {
    /// A tag.
    pub(super) struct TagRow {
        id: Text => String,
        name: Text => String,
        slug: Text => String,
        color: Nullable<Text> => Option<String>,
        description: Nullable<Text> => Option<String>,
        created_at: Timestamptz => PgTimestamp,
    }
}

impl From<TagRow> for Tag {
    fn from(row: TagRow) -> Self {
        let TagRow { id, name, slug, color, description, created_at } = row;
        Self { id: TagId::from_stored(id), name, slug, color, description, created_at: created_at.into() }
    }
}

/// A tag with the number of its customers.
pub(super) struct CountedTagRow {
    tag: TagRow,
    customer_count: i64,
}

impl QueryableByName<Pg> for CountedTagRow {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        Ok(Self { tag: TagRow::build(row)?, customer_count: column::<BigInt, i64>(row, "customer_count")? })
    }
}

impl From<CountedTagRow> for CountedTag {
    fn from(row: CountedTagRow) -> Self {
        Self { tag: row.tag.into(), customer_count: row.customer_count.unsigned_abs() }
    }
}

named_row! {
    struct AssignmentRow {
        customer_id: Text => String,
        tag_id: Text => String,
        assigned_by: Text => String,
        assigned_at: Timestamptz => PgTimestamp,
    }
}

impl From<AssignmentRow> for Assignment {
    fn from(row: AssignmentRow) -> Self {
        let AssignmentRow { customer_id, tag_id, assigned_by, assigned_at } = row;
        Self {
            customer: UserId::from_stored(customer_id),
            tag: TagId::from_stored(tag_id),
            assigned_by: UserId::from_stored(assigned_by),
            assigned_at: assigned_at.into(),
        }
    }
}

named_row! {
    struct IdRow {
        id: Text => String,
    }
}

named_row! {
    struct IsRow {
        is: Bool => bool,
    }
}

named_row! {
    struct NumberRow {
        number: BigInt => i64,
    }
}

/// The columns of a [`TagRow`].
macro_rules! tag_columns {
    () => {
        "SELECT t.id, t.name, t.slug, t.color, t.description, t.created_at FROM customer_tag t"
    };
}

/// The query for all tags, as [`TagRow`]s.
pub(super) const TAGS_BY_NAME: &str = concat!(tag_columns!(), " ORDER BY ", by_name!("t"));

named_row! {
    /// What an assignment would connect.
    struct TargetRow {
        customer_exists: Bool => bool,
        tag_exists: Bool => bool,
    }
}

#[async_trait]
impl TagReads for Postgres {
    async fn list_tags(&self) -> Result<Vec<Tag>, StoreError> {
        let statement = || Statement::new(TAGS_BY_NAME);
        let rows: Vec<TagRow> = self.pool.read_rows(statement).await?;
        Ok(rows.into_iter().map(Tag::from).collect())
    }

    async fn list_counted_tags(&self) -> Result<Vec<CountedTag>, StoreError> {
        if let Some(tags) = self.counted_tags_from_model().await? {
            return Ok(tags);
        }
        let statement = || {
            Statement::new(concat!(
                "SELECT t.id, t.name, t.slug, t.color, t.description, t.created_at, coalesce(c.n, 0) AS customer_count ",
                "FROM customer_tag t LEFT JOIN (SELECT a.tag_id, count(*) AS n FROM customer_tag_assignment a ",
                "JOIN \"user\" u ON u.id = a.customer_id JOIN customer_profile p ON p.user_id = u.id ",
                "WHERE u.role = 'customer' GROUP BY a.tag_id) c ON c.tag_id = t.id ORDER BY ",
                by_name!("t")
            ))
        };
        let rows: Vec<CountedTagRow> = self.pool.read_rows(statement).await?;
        Ok(rows.into_iter().map(CountedTag::from).collect())
    }
}

#[async_trait]
impl TagWrites for PgUnitOfWork {
    async fn insert_tag(&mut self, tag: &Tag) -> Result<bool, StoreError> {
        let Tag { id, name, slug, color, description, created_at } = tag;
        let statement = diesel::insert_into(customer_tag::table)
            .values((
                customer_tag::id.eq(id.as_str()),
                customer_tag::name.eq(name),
                customer_tag::slug.eq(slug),
                customer_tag::color.eq(color.as_deref()),
                customer_tag::description.eq(description.as_deref()),
                customer_tag::created_at.eq(created_at),
            ))
            .on_conflict(customer_tag::slug)
            .do_nothing();
        let inserted = self.execute(statement).await?;
        Ok(inserted == 1)
    }

    async fn lock_assignment(&mut self, customer: &UserId, tag: &TagId) -> Result<AssignmentTarget, StoreError> {
        // By hand: the lock and both look-ups in one round trip. An advisory lock, because the row need not exist.
        let statement = Statement::new("SELECT pg_advisory_xact_lock(")
            .sql(ASSIGNMENT_KEY)
            .text(tag.as_str())
            .sql("), 4919))::text AS locked, ")
            .customer_exists(customer)
            .sql(", EXISTS (SELECT FROM customer_tag WHERE id = ")
            .text(tag.as_str())
            .sql(") AS tag_exists FROM (SELECT CAST(")
            .text(customer.as_str())
            .sql(" AS text) AS customer_id) pair");
        let row: Option<TargetRow> = self.row(statement).await?;
        let row = row.ok_or_else(|| StoreError::Unexpected("a statement without a row".into()))?;
        let TargetRow { customer_exists, tag_exists } = row;
        Ok(AssignmentTarget { customer_exists, tag_exists })
    }

    async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<bool, StoreError> {
        let Assignment { customer, tag, assigned_by, assigned_at } = assignment;
        let statement = diesel::insert_into(customer_tag_assignment::table)
            .values((
                customer_tag_assignment::customer_id.eq(customer.as_str()),
                customer_tag_assignment::tag_id.eq(tag.as_str()),
                customer_tag_assignment::assigned_by.eq(assigned_by.as_str()),
                customer_tag_assignment::assigned_at.eq(assigned_at),
            ))
            .on_conflict((customer_tag_assignment::customer_id, customer_tag_assignment::tag_id))
            .do_nothing();
        let inserted = self.execute(statement).await?;
        Ok(inserted == 1)
    }

    async fn delete_assignment(&mut self, customer: &UserId, tag: &TagId) -> Result<Option<Assignment>, StoreError> {
        let statement = diesel::delete(customer_tag_assignment::table.find((customer.as_str(), tag.as_str())))
            .returning((customer_tag_assignment::assigned_by, customer_tag_assignment::assigned_at));
        let removed: Option<(String, PgTimestamp)> = self.row(statement).await?;
        Ok(removed.map(|(assigned_by, assigned_at)| Assignment {
            customer: customer.clone(),
            tag: tag.clone(),
            assigned_by: UserId::from_stored(assigned_by),
            assigned_at: assigned_at.into(),
        }))
    }

    async fn lock_tags(&mut self, ids: &[TagId]) -> Result<Vec<Tag>, StoreError> {
        let statement = Statement::new(tag_columns!())
            .sql(" WHERE t.id = ANY (")
            .texts(ids.iter().map(TagId::as_str).collect())
            .sql(") ORDER BY t.id COLLATE \"C\" FOR NO KEY UPDATE");
        let rows: Vec<TagRow> = self.rows(statement).await?;
        Ok(rows.into_iter().map(Tag::from).collect())
    }

    async fn bar_assignments(&mut self, id: &TagId) -> Result<(), StoreError> {
        // An assignment's foreign key takes `FOR KEY SHARE` of its tag.
        let statement = Statement::new("SELECT id FROM customer_tag WHERE id = ").text(id.as_str()).sql(" FOR UPDATE");
        let _: Option<IdRow> = self.row(statement).await?;
        Ok(())
    }

    async fn hold_tag(&mut self, id: &TagId) -> Result<bool, StoreError> {
        let statement = Statement::new("SELECT id FROM customer_tag WHERE id = ").text(id.as_str()).sql(" FOR SHARE");
        let row: Option<IdRow> = self.row(statement).await?;
        Ok(row.is_some())
    }

    async fn has_slug(&mut self, slug: &TagSlug, except: &TagId) -> Result<bool, StoreError> {
        let statement = Statement::new("SELECT EXISTS (SELECT FROM customer_tag WHERE slug = ")
            .text(slug.as_str())
            .sql(" AND id <> ")
            .text(except.as_str())
            .sql(") AS \"is\"");
        let row: Option<IsRow> = self.row(statement).await?;
        Ok(row.is_some_and(|row| row.is))
    }

    async fn save_tag(&mut self, tag: &Tag) -> Result<(), StoreError> {
        let statement = Statement::new("UPDATE customer_tag SET name = ")
            .text(&*tag.name)
            .sql(", color = ")
            .text(tag.color.as_deref())
            .sql(", description = ")
            .text(tag.description.as_deref())
            .sql(" WHERE id = ")
            .text(tag.id.as_str());
        match self.execute(statement).await? {
            1 => Ok(()),
            _ => Err(StoreError::Unexpected("the locked tag was not updated".into())),
        }
    }

    async fn delete_tag(&mut self, id: &TagId) -> Result<(), StoreError> {
        self.execute(Statement::new("DELETE FROM customer_tag WHERE id = ").text(id.as_str())).await?;
        Ok(())
    }

    async fn count_assignments(&mut self, tag: &TagId) -> Result<u64, StoreError> {
        let statement =
            Statement::new("SELECT count(*) AS number FROM customer_tag_assignment WHERE tag_id = ").text(tag.as_str());
        let row: Option<NumberRow> = self.row(statement).await?;
        Ok(row.map_or(0, |row| row.number.unsigned_abs()))
    }

    async fn lock_assignments(&mut self, tag: &TagId, customers: &[UserId]) -> Result<Vec<UserId>, StoreError> {
        let ids = || customers.iter().map(UserId::as_str).collect::<Vec<_>>();
        let statement = Statement::new("SELECT count(pg_advisory_xact_lock(")
            .sql(ASSIGNMENT_KEY)
            .text(tag.as_str())
            .sql("), 4919))::text) AS number FROM unnest(")
            .texts(ids())
            .sql(") customer_id");
        let _: Option<NumberRow> = self.row(statement).await?;
        // Another statement, whose snapshot begins under the locks.
        let statement =
            Statement::new("SELECT user_id AS id FROM customer_profile WHERE user_id = ANY (").texts(ids()).sql(")");
        let rows: Vec<IdRow> = self.rows(statement).await?;
        Ok(rows.into_iter().map(|row| UserId::from_stored(row.id)).collect())
    }

    async fn insert_assignments(&mut self, assignments: &[Assignment]) -> Result<Vec<Assignment>, StoreError> {
        let Some(Assignment { tag, assigned_by, assigned_at, .. }) = assignments.first() else { return Ok(Vec::new()) };
        let statement = Statement::new(
            "INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by, assigned_at) SELECT customer_id, ",
        )
        .text(tag.as_str())
        .sql(", ")
        .text(assigned_by.as_str())
        .sql(", ")
        .timestamp(*assigned_at)
        .sql(" FROM unnest(")
        .texts(assignments.iter().map(|assignment| assignment.customer.as_str()).collect())
        .sql(") customer_id ON CONFLICT (customer_id, tag_id) DO NOTHING")
        .sql(RETURNING_ASSIGNMENTS);
        let rows: Vec<AssignmentRow> = self.rows(statement).await?;
        Ok(rows.into_iter().map(Assignment::from).collect())
    }

    async fn copy_assignments(&mut self, tag: &TagId, into: &TagId) -> Result<Vec<Assignment>, StoreError> {
        let statement = Statement::new(
            "INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by, assigned_at) SELECT a.customer_id, ",
        )
        .text(into.as_str())
        .sql(", a.assigned_by, a.assigned_at FROM customer_tag_assignment a WHERE a.tag_id = ")
        .text(tag.as_str())
        .sql(" ORDER BY a.customer_id COLLATE \"C\" ON CONFLICT (customer_id, tag_id) DO NOTHING")
        .sql(RETURNING_ASSIGNMENTS);
        let rows: Vec<AssignmentRow> = self.rows(statement).await?;
        Ok(rows.into_iter().map(Assignment::from).collect())
    }

    async fn delete_assignments(&mut self, tag: &TagId, customers: &[UserId]) -> Result<Vec<Assignment>, StoreError> {
        if customers.is_empty() {
            return Ok(Vec::new());
        }
        let statement = Statement::new(DELETE_ASSIGNMENTS)
            .text(tag.as_str())
            .sql(" AND customer_id = ANY (")
            .texts(customers.iter().map(UserId::as_str).collect())
            .sql(")");
        let rows: Vec<AssignmentRow> = self.rows(statement.sql(RETURNING_ASSIGNMENTS)).await?;
        Ok(rows.into_iter().map(Assignment::from).collect())
    }

    async fn delete_all_assignments(&mut self, tag: &TagId) -> Result<Vec<Assignment>, StoreError> {
        let statement = Statement::new(DELETE_ASSIGNMENTS).text(tag.as_str()).sql(RETURNING_ASSIGNMENTS);
        let rows: Vec<AssignmentRow> = self.rows(statement).await?;
        Ok(rows.into_iter().map(Assignment::from).collect())
    }
}

const DELETE_ASSIGNMENTS: &str = "DELETE FROM customer_tag_assignment WHERE tag_id = ";

/// The columns of an [`AssignmentRow`].
const RETURNING_ASSIGNMENTS: &str = " RETURNING customer_id, tag_id, assigned_by, assigned_at";

/// The key of the advisory lock of an assignment, before the tag's id. It holds the length, so that no two pairs of ids are
/// written alike.
const ASSIGNMENT_KEY: &str = "hashtextextended(concat_ws(':', length(customer_id), customer_id, ";
