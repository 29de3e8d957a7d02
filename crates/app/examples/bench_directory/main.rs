//! Measures the directory's read model beside the direct statement, in this process, without HTTP: a part of
//! `just bench-directory`. Prints Markdown tables.
//!
//! Reads `DATABASE_URL` (with the demo data, the model and `pg_stat_statements`) and `BENCH_FULL`, which measures every
//! combination instead of a selection, and `BENCH_ONLY=filters`.

use std::time::{Duration, Instant};

use crm_adapters::{
    postgres::{
        Pool, PoolSettings, Postgres,
        connect::{Connector, PoolMode, SessionSettings},
    },
    system::SystemClock,
};
use crm_domain::{
    calendar::Period,
    clock::Clock as _,
    directory::{
        Bound, Bounds, DirectoryFilter, DirectoryQuery, SearchTerm, SortKey, TagFilter, TagFilters,
        ports::DirectoryReads as _,
    },
    health::{DirectoryModelState, StoreHealth as _},
    page::{PageNumber, PageRequest, PageSize},
};
use tokio_postgres::{Client, NoTls};

/// How long a figure of the model is measured, and one of the direct statement.
const MODEL_TIME: Duration = Duration::from_millis(400);
const DIRECT_TIME: Duration = Duration::from_millis(800);

/// The fewest and the most runs of a figure.
const RUNS: std::ops::Range<usize> = 3..400;

/// The rows of a page.
const PAGE_SIZE: u64 = 20;

#[derive(Debug, Clone, Copy)]
struct Figures {
    /// Milliseconds.
    p50: f64,
    p99: f64,
    /// Buffers of 8 kB that a run touched.
    buffers: u64,
    total: u64,
}

struct Bench {
    admin: Client,
    model: Postgres,
    direct: Postgres,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let address = variable("DATABASE_URL").ok_or_else(|| anyhow::anyhow!("DATABASE_URL is not set"))?;
    let is_full = variable("BENCH_FULL").is_some();
    let (admin, connection) = tokio_postgres::connect(&address, NoTls).await?;
    tokio::spawn(connection);
    let (model, direct) = (postgres(&address)?, postgres(&address)?);
    // The other one never looks at the model.
    model.maintain_directory_model_once().await?;
    anyhow::ensure!(model.directory_reads().model == DirectoryModelState::InUse, "the model is not in use");
    let bench = Bench { admin, model, direct };
    if variable("BENCH_ONLY").as_deref() != Some("filters") {
        bench.pages(is_full).await?;
        bench.searches().await?;
    }
    bench.filters().await?;
    bench.queued().await
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this program is not the service and has no configuration file")]
    std::env::var(name).ok()
}

fn postgres(address: &str) -> anyhow::Result<Postgres> {
    let session = SessionSettings {
        mode: PoolMode::Session,
        statement_timeout: Duration::from_secs(120),
        lock_timeout: Duration::from_secs(10),
        idle_in_transaction_timeout: Duration::from_secs(120),
    };
    let settings = PoolSettings {
        size: 1,
        wait: Duration::from_secs(10),
        connect: Duration::from_secs(10),
        max_age: Duration::from_secs(86_400),
        session,
    };
    Ok(Postgres::new(Pool::new(Connector::parse(address)?, settings)))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

impl Bench {
    /// Runs a query again and again.
    async fn measure(&self, reads: &Postgres, query: &DirectoryQuery, time: Duration) -> anyhow::Result<Figures> {
        // Once before: then the connection has prepared the statement.
        let total = reads.list_customers(query).await?.total_count;
        self.admin.execute("SELECT pg_stat_statements_reset()", &[]).await?;
        let began = Instant::now();
        let mut durations = Vec::new();
        while durations.len() < RUNS.start || durations.len() < RUNS.end && began.elapsed() < time {
            let began = Instant::now();
            reads.list_customers(query).await?;
            durations.push(began.elapsed());
        }
        durations.sort();
        let buffers = "SELECT (sum(shared_blks_hit + shared_blks_read) / greatest(max(calls), 1))::bigint FROM pg_stat_statements
                       WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND query LIKE 'WITH %'";
        let buffers: Option<i64> = self.admin.query_one(buffers, &[]).await?.get(0);
        Ok(Figures {
            p50: milliseconds(durations[durations.len() / 2]),
            p99: milliseconds(durations[durations.len() * 99 / 100]),
            buffers: buffers.unwrap_or(0).unsigned_abs(),
            total,
        })
    }

    /// A row of a table, with both ways.
    async fn row(&self, label: &str, query: &DirectoryQuery) -> anyhow::Result<Figures> {
        let model = self.measure(&self.model, query, MODEL_TIME).await?;
        let direct = self.measure(&self.direct, query, DIRECT_TIME).await?;
        anyhow::ensure!(model.total == direct.total, "{label}: the totals differ");
        print(&format!(
            "| {label} | {} | {:.2} | {:.2} | {} | {:.1} | {:.1} | {} | {:.0} |",
            model.total,
            model.p50,
            model.p99,
            model.buffers,
            direct.p50,
            direct.p99,
            direct.buffers,
            direct.p50 / model.p50
        ));
        Ok(model)
    }

    async fn pages(&self, is_full: bool) -> anyhow::Result<()> {
        let slugs = "SELECT t.slug FROM customer_tag t JOIN customer_tag_assignment a ON a.tag_id = t.id GROUP BY t.slug ORDER BY count(*)";
        let slugs: Vec<String> = self.admin.query(slugs, &[]).await?.iter().map(|row| row.get(0)).collect();
        let (rare, common) = slugs.first().zip(slugs.last()).ok_or_else(|| anyhow::anyhow!("no tags"))?;
        table("page (sort, tag, place)");
        for sort in SortKey::ALL {
            for tag in ["", rare, common] {
                let mut query = DirectoryQuery { sort, tag: TagFilter::parse(tag)?, ..DirectoryQuery::default() };
                let last = self.model.list_customers(&query).await?.total_count.div_ceil(PAGE_SIZE).max(1);
                for (place, number) in
                    [("first", 1), ("50th", 50.min(last)), ("middle", last.div_ceil(2)), ("last", last)]
                {
                    let is_selected = sort == SortKey::Ltv || tag.is_empty() && place == "first";
                    if !is_full && !is_selected {
                        continue;
                    }
                    query.page = PageRequest {
                        number: PageNumber::parse(number.into())?,
                        size: PageSize::parse(PAGE_SIZE.into())?,
                    };
                    let tag = if tag.is_empty() { "–" } else { tag };
                    self.row(&format!("{}, {tag}, {place}", sort.as_str()), &query).await?;
                }
            }
        }
        Ok(())
    }

    /// Each filter, and some of them together.
    async fn filters(&self) -> anyhow::Result<()> {
        let slugs = "SELECT t.slug FROM customer_tag t JOIN customer_tag_assignment a ON a.tag_id = t.id GROUP BY t.slug ORDER BY count(*)";
        let slugs: Vec<String> = self.admin.query(slugs, &[]).await?.iter().map(|row| row.get(0)).collect();
        let [rare, .., second, common] = slugs.as_slice() else { anyhow::bail!("too few tags") };
        let tags = |slugs: &[&String]| TagFilters::parse(slugs.iter().map(|slug| slug.as_str()));
        let bound = |value: i128| Bound::parse(value).ok();
        let least = |value| Bounds { min: bound(value), max: None };
        let most = |value| Bounds { min: None, max: bound(value) };
        let days = |from: i64, until: i64| {
            let day = |days| Some(SystemClock::new().now() - time::Duration::days(days));
            Some(Period { from: day(from), until: day(until) })
        };
        let none = DirectoryFilter::default;
        table("filter (sorted by spend, first page)");
        let filters = [
            ("tagAny, a rare tag", DirectoryFilter { tag_any: tags(&[rare])?, ..none() }),
            ("tagAny, three tags", DirectoryFilter { tag_any: tags(&[rare, second, common])?, ..none() }),
            ("tagAll, a rare and a common tag", DirectoryFilter { tag_all: tags(&[rare, common])?, ..none() }),
            ("tagAll, two common tags", DirectoryFilter { tag_all: tags(&[second, common])?, ..none() }),
            ("tagNone, a common tag", DirectoryFilter { tag_none: tags(&[common])?, ..none() }),
            ("tagged", DirectoryFilter { tagged: Some(true), ..none() }),
            ("not tagged", DirectoryFilter { tagged: Some(false), ..none() }),
            ("spentMin, few", DirectoryFilter { spent: least(30_000_000), ..none() }),
            ("spentMax, many", DirectoryFilter { spent: most(5_000_000), ..none() }),
            ("visitsMin", DirectoryFilter { visits: least(5), ..none() }),
            ("noshowsMin", DirectoryFilter { noshows: least(1), ..none() }),
            ("gemsMin", DirectoryFilter { gems: least(100), ..none() }),
            ("lastVisitFrom, lastVisitTo", DirectoryFilter { last_visit: days(60, 30), ..none() }),
            ("createdFrom, createdTo", DirectoryFilter { created: days(400, 100), ..none() }),
            ("visited=false", DirectoryFilter { visited: Some(false), ..none() }),
            ("requiresApproval=true", DirectoryFilter { requires_approval: Some(true), ..none() }),
            ("requiresApproval=false, nearly everyone", DirectoryFilter { requires_approval: Some(false), ..none() }),
            (
                "win back: spent, not seen for long, not tagged",
                DirectoryFilter {
                    spent: least(1_000_000),
                    last_visit: days(2000, 180),
                    tag_none: tags(&[common])?,
                    ..none()
                },
            ),
        ];
        for (label, filter) in filters {
            self.row(label, &DirectoryQuery { filter, ..DirectoryQuery::default() }).await?;
        }
        let filter = DirectoryFilter { requires_approval: Some(false), ..none() };
        for sort in [SortKey::Name, SortKey::LastVisit, SortKey::Gems] {
            let label = format!("requiresApproval=false, sorted by {}", sort.as_str());
            self.row(&label, &DirectoryQuery { filter: filter.clone(), sort, ..DirectoryQuery::default() }).await?;
        }
        let search = SearchTerm::parse("sharma")?;
        let filter = DirectoryFilter { visited: Some(true), tag_none: tags(&[common])?, ..none() };
        self.row(
            "a common name, visited, without a tag",
            &DirectoryQuery { search, filter, ..DirectoryQuery::default() },
        )
        .await?;
        Ok(())
    }

    async fn searches(&self) -> anyhow::Result<()> {
        table("search");
        let phone = "SELECT right(phone, 7) FROM customer_profile WHERE phone IS NOT NULL ORDER BY id LIMIT 1";
        let phone: String = self.admin.query_one(phone, &[]).await?.get(0);
        let rare = "SELECT name FROM \"user\" WHERE role = 'customer' GROUP BY name ORDER BY count(*), name COLLATE \"C\" LIMIT 1";
        let rare: String = self.admin.query_one(rare, &[]).await?.get(0);
        let searches = [
            ("a rare name", rare.as_str(), ""),
            ("a common name", "sharma", ""),
            ("phone digits", phone.as_str(), ""),
            ("two words", "sharma priya", ""),
            ("two letters", "sh", ""),
            ("a common name, a tag", "sharma", "walk-in"),
        ];
        for (label, text, tag) in searches {
            let query = DirectoryQuery {
                search: SearchTerm::parse(text)?,
                tag: TagFilter::parse(tag)?,
                ..DirectoryQuery::default()
            };
            self.row(label, &query).await?;
        }
        Ok(())
    }

    /// How long a page takes that must first compute queued customers anew, and how long the background task takes.
    async fn queued(&self) -> anyhow::Result<()> {
        print("\n| queued customers | applied by | ms |\n| --- | --- | --- |");
        let query = DirectoryQuery::default();
        for (count, by) in [(1_i64, "a read"), (100, "a read"), (2000, "the background task")] {
            let mut durations = Vec::new();
            for _ in 0..5 {
                let sql = "UPDATE customer_profile SET total_spent_paise = total_spent_paise + 100
                           WHERE id IN (SELECT id FROM customer_profile ORDER BY id LIMIT $1)";
                self.admin.execute(sql, &[&count]).await?;
                let began = Instant::now();
                if count > 500 {
                    self.model.maintain_directory_model_once().await?;
                } else {
                    self.model.list_customers(&query).await?;
                }
                durations.push(began.elapsed());
            }
            durations.sort();
            print(&format!("| {count} | {by} | {:.1} |", milliseconds(durations[durations.len() / 2])));
        }
        Ok(())
    }
}

fn table(what: &str) {
    print(&format!(
        "\n| {what} | total | model p50 ms | p99 | buffers | direct p50 ms | p99 | buffers | direct / model |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    ));
}

#[expect(clippy::print_stdout, reason = "printing is what this program is for")]
fn print(line: &str) {
    println!("{line}");
}
