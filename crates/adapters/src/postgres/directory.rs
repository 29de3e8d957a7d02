//! The directory: chooses how a page is read, from the read model (`model.rs`) where it is installed, or from the platform's
//! tables (`direct.rs`). Either way one statement gives the page, its chips and the exact total.

mod direct;
mod export;
mod filter;
mod filtered;
pub mod install;
pub(super) mod maintenance;
mod model;
pub(super) mod state;
mod words;

use async_trait::async_trait;
use crm_domain::{
    directory::{
        CustomerSummary, DirectoryFilter, DirectoryQuery,
        ports::{CustomerExport, DirectoryReads},
    },
    ids::UserId,
    page::Page,
    store_error::StoreError,
    tag::CountedTag,
};
use diesel::{
    QueryableByName,
    pg::Pg,
    sql_types::{BigInt, Json, Nullable, Text, Timestamptz},
};
use time::OffsetDateTime;

use self::{
    model::{AppliedRow, ModelLine},
    state::Way,
    words::Words,
};
use super::{
    Postgres,
    chip::Chips,
    error::store_error,
    integer::ApiInteger,
    statement::{PageLine, Statement, named_row},
    tag::CountedTagRow,
    timestamp::PgTimestamp,
};

named_row! {
    /// A customer as the directory lists them.
    struct CustomerRow {
        id: Text => String,
        name: Text => String,
        email: Text => String,
        phone: Nullable<Text> => Option<String>,
        total_visits: BigInt => ApiInteger,
        total_spent_paise: BigInt => ApiInteger,
        noshow_count: BigInt => ApiInteger,
        first_visit_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        last_visit_at: Nullable<Timestamptz> => Option<PgTimestamp>,
        gems_balance: Nullable<BigInt> => Option<ApiInteger>,
        created_at: Timestamptz => PgTimestamp,
        tags: Json => Chips,
    }
}

impl From<CustomerRow> for CustomerSummary {
    fn from(row: CustomerRow) -> Self {
        let CustomerRow {
            id,
            name,
            email,
            phone,
            total_visits,
            total_spent_paise,
            noshow_count,
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
            phone,
            total_visits: total_visits.into(),
            total_spent_paise: total_spent_paise.into(),
            noshow_count: noshow_count.into(),
            first_visit_at: first_visit_at.map(OffsetDateTime::from),
            last_visit_at: last_visit_at.map(OffsetDateTime::from),
            gems_balance: gems_balance.map(i64::from),
            created_at: created_at.into(),
            tags: tags.into(),
        }
    }
}

#[async_trait]
impl DirectoryReads for Postgres {
    async fn list_customers(&self, query: &DirectoryQuery) -> Result<Page<CustomerSummary>, StoreError> {
        if let Some(page) = self.read_from_model(query).await? {
            return Ok(page);
        }
        self.directory_model.count(Way::Direct);
        let words = Words::without_index(query.search.as_ref());
        let lines = self.pool.read_rows(|| direct::page_statement(query, &words)).await?;
        Ok(page_of(lines))
    }

    async fn begin_export(&self, query: &DirectoryQuery) -> Result<Option<Box<dyn CustomerExport>>, StoreError> {
        self.open_export(query).await
    }
}

impl Postgres {
    /// The page from the read model; `None` when the direct statement has to answer.
    async fn read_from_model(&self, query: &DirectoryQuery) -> Result<Option<Page<CustomerSummary>>, StoreError> {
        let words = Words::with_index(query.search.as_ref());
        Ok(self.rows_from_model(|| page_statement(query, &words)).await?.map(page_of_model))
    }

    /// Every tag with its number of customers, from the counters of the read model; `None` when they have to be counted.
    pub(super) async fn counted_tags_from_model(&self) -> Result<Option<Vec<CountedTag>>, StoreError> {
        let lines: Option<Vec<ModelLine<CountedTagRow>>> = self.rows_from_model(model::counted_tags_statement).await?;
        Ok(lines.map(|lines| lines.into_iter().filter_map(|line| line.line.item.map(CountedTag::from)).collect()))
    }

    /// The rows of a statement on the read model; `None` when the model cannot answer.
    ///
    /// First without any lock, which is exact when nothing is queued in the statement's snapshot. Else the queued customers
    /// are computed anew in the snapshot in which the statement runs, so one pass is exact however busy the platform is.
    async fn rows_from_model<'f, Item>(
        &'f self,
        statement: impl Fn() -> Statement<'f> + Send + Sync + 'f,
    ) -> Result<Option<Vec<ModelLine<Item>>>, StoreError>
    where
        Item: QueryableByName<Pg> + Send + 'static,
    {
        if !self.directory_model.is_usable() {
            return Ok(None);
        }
        let lines: Vec<ModelLine<Item>> = match self.pool.read_rows(&statement).await {
            Ok(lines) => lines,
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            Err(error) => {
                self.directory_model.give_up(&error);
                return Ok(None);
            }
        };
        match lines.first() {
            Some(line) if line.is_usable && line.pending == 0 => {
                self.directory_model.count(Way::Clean);
                Ok(Some(lines))
            }
            Some(line) if line.is_usable && line.pending <= model::MAX_APPLIED_BY_READ => {
                // Whatever failed, most likely that another reader holds the model's lock, the direct statement answers.
                Ok(self.apply_and_read(statement()).await.unwrap_or_default())
            }
            _ => Ok(None),
        }
    }

    /// Computes the queued customers anew and runs the statement in the same snapshot. `None` when more are queued than a read
    /// waits for.
    async fn apply_and_read<Item: QueryableByName<Pg> + Send + 'static>(
        &self,
        statement: Statement<'_>,
    ) -> Result<Option<Vec<ModelLine<Item>>>, StoreError> {
        let mut connection = self.pool.begin_model_update().await?;
        let apply = model::apply_statement(model::MAX_APPLIED_BY_READ);
        let _: Vec<AppliedRow> = connection.rows(apply).await.map_err(store_error)?;
        let lines: Vec<ModelLine<Item>> = connection.rows(statement).await.map_err(store_error)?;
        // What was read stands, whether or not the model keeps what was computed.
        let _ = connection.end("COMMIT").await;
        let is_exact = lines.first().is_some_and(|line| line.is_usable && line.pending == 0);
        if is_exact {
            self.directory_model.count(Way::Applied);
        }
        Ok(is_exact.then_some(lines))
    }
}

/// The read model's statement of a page.
fn page_statement<'q>(query: &'q DirectoryQuery, words: &Words<'q>) -> Statement<'q> {
    if query.filter == DirectoryFilter::default() {
        model::page_statement(query, words)
    } else {
        filtered::page_statement(query, words)
    }
}

fn page_of(lines: Vec<PageLine<CustomerRow>>) -> Page<CustomerSummary> {
    let total_count = lines.first().map_or(0, |line| line.total_count.unsigned_abs());
    let items = lines.into_iter().filter_map(|line| line.item.map(CustomerSummary::from)).collect();
    Page { items, total_count }
}

fn page_of_model(lines: Vec<ModelLine<CustomerRow>>) -> Page<CustomerSummary> {
    page_of(lines.into_iter().map(|line| line.line).collect())
}
