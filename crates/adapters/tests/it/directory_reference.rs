//! The direct statement against a plain computation in Rust. The read model is compared with the direct statement.

use std::cmp::Reverse;

use crm_adapters::testing::{TestDatabase, platform};
use crm_domain::{
    calendar::Period,
    directory::{
        Bound, Bounds, DirectoryFilter, DirectoryQuery, SearchTerm, SortKey, TagFilter, TagFilters,
        ports::DirectoryReads as _,
    },
    page::{PageNumber, PageRequest, PageSize},
};
use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use time::{Duration, OffsetDateTime, macros::datetime};

/// Names in their order ignoring case, each with its folded form; those that differ in case alone stand side by side.
const NAMES: [(&str, &str); 8] = [
    ("aarav Sharma", "AARAV SHARMA"),
    ("AARAV SHARMA", "AARAV SHARMA"),
    ("Élodie D’Souza", "ELODIE D’SOUZA"),
    ("İpek Yıldız", "IPEK YILDIZ"),
    ("Kerstin Weiß", "KERSTIN WEISS"),
    ("ﬁona", "FIONA"),
    ("Zoë", "ZOE"),
    ("अनन्या शर्मा", "अनन्या शर्मा"),
];

/// The place of each name in that order: the first two are equal.
const NAME_ORDER: [usize; 8] = [0, 0, 1, 3, 4, 2, 5, 6];

/// Phone numbers and their digits, as a search compares them.
const PHONES: [(Option<&str>, &str); 4] = [
    (None, ""),
    (Some("9812345678"), "9812345678"),
    (Some("+91 98-123 45679"), "919812345679"),
    (Some("(0)22 555"), "022555"),
];

const ROLES: [Option<&str>; 4] = [Some("customer"), Some("customer"), Some("customer"), Some("staff")];

#[derive(Debug, Clone)]
struct Customer {
    id: String,
    name: usize,
    phone: usize,
    role: usize,
    has_profile: bool,
    visits: i32,
    spent: i32,
    noshows: i32,
    gems: Option<i32>,
    last_visit: Option<i32>,
    created: i32,
    requires_approval: bool,
    tags: Vec<bool>,
}

/// The first moment of the days that customers are made and visit on.
const DAYS: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);

fn moment(day: i32) -> OffsetDateTime {
    DAYS + Duration::days(day.into())
}

/// Filters: most of them one or two conditions, on figures and days as small as those of the tests.
pub(crate) fn filter() -> impl Strategy<Value = DirectoryFilter> {
    let bounds = || {
        let bound = || prop::option::weighted(0.15, (0..4_i128).prop_map(|value| Bound::parse(value).unwrap()));
        (bound(), bound()).prop_map(|(min, max)| Bounds { min, max })
    };
    let period = || {
        let moment = || prop::option::of((-2..4_i32).prop_map(moment));
        prop::option::weighted(0.1, (moment(), moment()).prop_map(|(from, until)| Period { from, until }))
    };
    let tags = || {
        let slug = select(vec!["tag-0", "tag-1", "tag-2", "tag-3", "unknown"]);
        let slugs = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(slug, 1..4)];
        slugs.prop_map(|slugs| TagFilters::parse(slugs).unwrap())
    };
    let flag = || prop::option::weighted(0.15, any::<bool>());
    let figures = (bounds(), bounds(), bounds(), bounds());
    ((tags(), tags(), tags(), flag()), figures, (period(), period()), (flag(), flag())).prop_map(
        |((tag_any, tag_all, tag_none, tagged), (spent, visits, noshows, gems), (last_visit, created), flags)| {
            let (visited, requires_approval) = flags;
            DirectoryFilter {
                tag_any,
                tag_all,
                tag_none,
                tagged,
                spent,
                visits,
                noshows,
                gems,
                last_visit,
                created,
                visited,
                requires_approval,
            }
        },
    )
}

fn meets(customer: &Customer, filter: &DirectoryFilter) -> bool {
    let has = |slug: &TagFilter| {
        let number = slug.as_str().strip_prefix("tag-").and_then(|number| number.parse::<usize>().ok());
        number.is_some_and(|number| customer.tags.get(number) == Some(&true))
    };
    let is_within = |bounds: Bounds, value: Option<i32>| {
        bounds.is_empty()
            || value.is_some_and(|value| {
                bounds.min.is_none_or(|min| min.get() <= value.into())
                    && bounds.max.is_none_or(|max| max.get() >= value.into())
            })
    };
    let is_in = |period: Option<Period>, day: Option<i32>| {
        period.is_none_or(|Period { from, until }| {
            day.map(moment)
                .is_some_and(|day| from.is_none_or(|from| from <= day) && until.is_none_or(|until| day < until))
        })
    };
    (filter.tag_any.is_empty() || filter.tag_any.as_slice().iter().any(has))
        && filter.tag_all.as_slice().iter().all(has)
        && !filter.tag_none.as_slice().iter().any(has)
        && filter.tagged.is_none_or(|tagged| customer.tags.contains(&true) == tagged)
        && is_within(filter.spent, Some(customer.spent))
        && is_within(filter.visits, Some(customer.visits))
        && is_within(filter.noshows, Some(customer.noshows))
        && is_within(filter.gems, customer.gems)
        && is_in(filter.last_visit, customer.last_visit)
        && is_in(filter.created, Some(customer.created))
        && filter.visited.is_none_or(|visited| customer.last_visit.is_some() == visited)
        && filter.requires_approval.is_none_or(|required| customer.requires_approval == required)
}

fn customer() -> impl Strategy<Value = Customer> {
    let figures = (-2..4_i32, -2..4_i32, 0..3_i32, prop::option::of(-1..3_i32), prop::option::of(-2..3_i32));
    let rest = (-2..3_i32, any::<bool>(), prop::collection::vec(any::<bool>(), 3));
    ("[a-zA-Z0-9_]{3}", 0..NAMES.len(), 0..PHONES.len(), 0..ROLES.len(), 0..8_u8, figures, rest).prop_map(
        |(id, name, phone, role, profile, figures, (created, requires_approval, tags))| {
            let (visits, spent, noshows, gems, last_visit) = figures;
            Customer {
                id,
                name,
                phone,
                role,
                has_profile: profile > 0,
                visits,
                spent,
                noshows,
                gems,
                last_visit,
                created,
                requires_approval,
                tags,
            }
        },
    )
}

/// The folded words of a search, each with the number that the digits of the phone number must hold instead.
type Words = &'static [(&'static str, Option<&'static str>)];

/// Searches, and their words: all must occur in name, e-mail address or phone number.
const SEARCHES: [(&str, Words); 12] = [
    ("", &[]),
    ("  \u{200B} ", &[]),
    ("aarav", &[("AARAV", None)]),
    ("sharma  AARAV", &[("SHARMA", None), ("AARAV", None)]),
    ("elodie", &[("ELODIE", None)]),
    ("ipek", &[("IPEK", None)]),
    ("WEISS", &[("WEISS", None)]),
    ("fi", &[("FI", None)]),
    ("शर्मा", &[("शर्मा", None)]),
    ("098 123", &[("098 123", Some("98123"))]),
    ("0091 98123 45679", &[("0091 98123 45679", Some("9812345679"))]),
    ("zoë example.com", &[("ZOE", None), ("EXAMPLE.COM", None)]),
];

/// The ids that a page must hold, and the total, computed from the customers alone.
fn expected(customers: &[Customer], query: &DirectoryQuery, search: usize, tag: Option<usize>) -> (Vec<String>, u64) {
    let is_found = |customer: &Customer| {
        let (phone, digits) = PHONES[customer.phone];
        let email = format!("{}@example.com", customer.id).to_uppercase();
        SEARCHES[search].1.iter().all(|(word, number)| {
            NAMES[customer.name].1.contains(word)
                || email.contains(word)
                || phone.is_some_and(|phone| phone.contains(word))
                || number.is_some_and(|number| digits.contains(number))
        })
    };
    let mut found: Vec<&Customer> = customers
        .iter()
        .filter(|customer| customer.has_profile && ROLES[customer.role] == Some("customer"))
        .filter(|customer| is_found(customer) && tag.is_none_or(|tag| customer.tags.get(tag) == Some(&true)))
        .filter(|customer| meets(customer, &query.filter))
        .collect();
    found.sort_by_key(|customer| customer.id.clone());
    match query.sort {
        SortKey::Ltv => found.sort_by_key(|customer| Reverse(customer.spent)),
        SortKey::Visits => found.sort_by_key(|customer| Reverse(customer.visits)),
        SortKey::NoShows => found.sort_by_key(|customer| Reverse(customer.noshows)),
        // Those without a value come last: `None` is the least.
        SortKey::Gems => found.sort_by_key(|customer| Reverse(customer.gems)),
        SortKey::LastVisit => found.sort_by_key(|customer| Reverse(customer.last_visit)),
        SortKey::Name => found.sort_by_key(|customer| NAME_ORDER[customer.name]),
    }
    let ids = found.iter().map(|customer| customer.id.clone());
    let (offset, limit) = (query.page.offset(), query.page.limit());
    (
        ids.skip(usize::try_from(offset).unwrap()).take(usize::try_from(limit).unwrap()).collect(),
        u64::try_from(found.len()).unwrap(),
    )
}

fn query() -> impl Strategy<Value = (DirectoryQuery, usize, Option<usize>)> {
    let page = (1..5_i128, select(vec![1, 4, 20, 100_i128]));
    // The tag with the number 3 does not exist.
    let tag = prop::option::of(0..4_usize);
    let filter = prop_oneof![1 => Just(DirectoryFilter::default()), 3 => filter()];
    (select(SortKey::ALL.to_vec()), 0..SEARCHES.len(), tag, page, filter).prop_map(
        |(sort, search, tag, (number, size), filter)| {
            let slug = tag.map(|tag| format!("tag-{tag}")).unwrap_or_default();
            let query = DirectoryQuery {
                sort,
                search: SearchTerm::parse(SEARCHES[search].0).unwrap(),
                tag: TagFilter::parse(&slug).unwrap(),
                filter,
                page: PageRequest { number: PageNumber::parse(number).unwrap(), size: PageSize::parse(size).unwrap() },
            };
            (query, search, tag)
        },
    )
}

#[tokio::test]
async fn the_direct_statement_gives_what_a_plain_computation_gives() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::user(&client, "desk", "Desk", Some("receptionist")).await;
    client
        .batch_execute(
            "INSERT INTO customer_tag (id, name, slug) SELECT 't' || n, 'T', 'tag-' || n FROM generate_series(0, 2) n",
        )
        .await
        .unwrap();
    let postgres = database.postgres();
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut rows = 0;
    for _ in 0..12 {
        let mut customers = prop::collection::vec(customer(), 40).new_tree(&mut runner).unwrap().current();
        customers.sort_by_key(|customer| customer.id.to_lowercase());
        customers.dedup_by(|a, b| a.id.eq_ignore_ascii_case(&b.id));
        client.batch_execute("DELETE FROM \"user\" WHERE id <> 'desk'").await.unwrap();
        for customer in &customers {
            let Customer { id, name, phone, role, visits, spent, noshows, gems, last_visit, .. } = customer;
            platform::user(&client, id, NAMES[*name].0, ROLES[*role]).await;
            let created =
                "UPDATE \"user\" SET created_at = timestamptz '2026-01-01Z' + $2::int * interval '1 day' WHERE id = $1";
            client.execute(created, &[&id, &customer.created]).await.unwrap();
            if customer.has_profile {
                platform::profile(&client, id).await;
                let sql = "UPDATE customer_profile SET phone = $2, total_visits = $3, total_spent_paise = $4, noshow_count = $5,
                             last_visit_at = timestamptz '2026-01-01Z' + $6::int * interval '1 day', booking_requires_approval = $7
                           WHERE user_id = $1";
                let approval = &customer.requires_approval;
                client
                    .execute(sql, &[&id, &PHONES[*phone].0, visits, spent, noshows, last_visit, approval])
                    .await
                    .unwrap();
            }
            if gems.is_some() {
                let sql = "INSERT INTO loyalty_account (id, customer_id, gems_balance) VALUES ($1, $1, $2)";
                client.execute(sql, &[&id, gems]).await.unwrap();
            }
            for (tag, _) in customer.tags.iter().enumerate().filter(|(_, has)| **has) {
                platform::assign(&client, id, &format!("t{tag}"), "desk").await;
            }
        }
        for _ in 0..100 {
            let (query, search, tag) = query().new_tree(&mut runner).unwrap().current();
            let page = postgres.list_customers(&query).await.unwrap();
            let ids: Vec<_> = page.items.into_iter().map(|customer| customer.id.to_string()).collect();
            rows += ids.len();
            assert_eq!((ids, page.total_count), expected(&customers, &query, search, tag), "{query:?} {customers:?}");
        }
    }
    assert!(rows > 500, "{rows}");
}
