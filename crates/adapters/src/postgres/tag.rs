//! Tags and their assignments.

use async_trait::async_trait;
use crm_domain::{
    ids::{TagId, UserId},
    store_error::StoreError,
    tag::{
        Assignment, Tag,
        ports::{AssignmentTarget, TagReads, TagWrites},
    },
};
use diesel::{
    ExpressionMethods as _, QueryDsl as _,
    sql_types::{Bool, Nullable, Text, Timestamptz},
};

use super::{
    Postgres,
    schema::{customer_tag, customer_tag_assignment},
    statement::{Statement, by_name, named_row},
    timestamp::PgTimestamp,
    unit_of_work::PgUnitOfWork,
};

named_row! {
    /// A tag.
    struct TagRow {
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
        let statement = || {
            Statement::new(concat!(
                "SELECT t.id, t.name, t.slug, t.color, t.description, t.created_at FROM customer_tag t ORDER BY ",
                by_name!("t")
            ))
        };
        let rows: Vec<TagRow> = self.pool.read_rows(statement).await?;
        Ok(rows.into_iter().map(Tag::from).collect())
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
        // By hand: the lock and both look-ups in one round trip. An advisory lock, because the row need not exist; its key
        // holds the lengths, so that no two pairs of ids are written alike.
        let statement = Statement::new("SELECT pg_advisory_xact_lock(hashtextextended(concat_ws(':', length(")
            .text(customer.as_str())
            .sql("), ")
            .text(customer.as_str())
            .sql(", ")
            .text(tag.as_str())
            .sql("), 4919))::text AS locked, EXISTS (SELECT FROM customer_profile WHERE user_id = ")
            .text(customer.as_str())
            .sql(") AS customer_exists, EXISTS (SELECT FROM customer_tag WHERE id = ")
            .text(tag.as_str())
            .sql(") AS tag_exists");
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
}
