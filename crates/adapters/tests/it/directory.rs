//! The directory: sort keys, search, tag filter, paging, total counts, one statement per page.

use crm_adapters::{
    postgres::directory::install,
    testing::{TestDatabase, platform},
};
use crm_domain::{
    directory::{DirectoryQuery, SearchTerm, SortKey, TagFilter, ports::DirectoryReads as _},
    health::{DirectoryReadCounts, StoreHealth as _},
    page::{PageNumber, PageRequest, PageSize},
};
use time::macros::datetime;
use tokio_postgres::Client;

fn page(number: i128, size: i128) -> PageRequest {
    PageRequest { number: PageNumber::parse(number).unwrap(), size: PageSize::parse(size).unwrap() }
}

fn everyone() -> DirectoryQuery {
    DirectoryQuery { page: page(1, 100), ..DirectoryQuery::default() }
}

fn sorted(sort: SortKey) -> DirectoryQuery {
    DirectoryQuery { sort, ..everyone() }
}

fn search(text: &str) -> DirectoryQuery {
    DirectoryQuery { search: SearchTerm::parse(text).unwrap(), sort: SortKey::Name, ..everyone() }
}

fn tagged(slug: &str) -> DirectoryQuery {
    DirectoryQuery { tag: TagFilter::parse(slug).unwrap(), ..everyone() }
}

/// Lists from the platform's tables and from the read model, and requires that both agree.
async fn list(database: &TestDatabase, query: &DirectoryQuery) -> (Vec<String>, u64) {
    let postgres = database.postgres();
    let page = postgres.list_customers(query).await.unwrap();
    install::install(&database.connector(), &mut |_| {}).await.unwrap();
    postgres.maintain_directory_model_once().await.unwrap();
    let from_model = postgres.list_customers(query).await.unwrap();
    assert_eq!(page, from_model, "{query:?}");
    let DirectoryReadCounts { clean, applied, direct, .. } = postgres.directory_reads();
    assert_eq!((clean + applied, direct), (1, 1), "both ways were used");
    (page.items.into_iter().map(|customer| customer.id.to_string()).collect(), page.total_count)
}

async fn ids(database: &TestDatabase, query: &DirectoryQuery) -> Vec<String> {
    list(database, query).await.0
}

async fn execute(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_customer_summary_has_user_profile_loyalty_balance_and_chips() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::user(&client, "usr_desk", "Desk", Some("receptionist")).await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    for (id, name, color) in
        [("t3", "vip", Some("#FF0000")), ("t2", "Bridal", None), ("t1", "VIP", None), ("t4", "Élite", None)]
    {
        let slug = format!("slug-{id}");
        let sql = "INSERT INTO customer_tag (id, name, slug, color) VALUES ($1, $2, $3, $4)";
        client.execute(sql, &[&id, &name, &slug, &color]).await.unwrap();
        platform::assign(&client, "usr_1", id, "usr_desk").await;
    }
    execute(
        &client,
        "UPDATE customer_profile SET phone = '+919800000001', total_visits = 4, total_spent_paise = 1250000, noshow_count = 1,
           first_visit_at = '2025-09-10T05:30:00Z', last_visit_at = '2025-10-10T05:30:00.123456Z';
         INSERT INTO loyalty_account (id, customer_id, gems_balance) VALUES ('l', 'usr_1', 42)",
    )
    .await;

    let page = database.postgres().list_customers(&everyone()).await.unwrap();
    assert_eq!(page.total_count, 1);
    let customer = &page.items[0];
    assert_eq!((customer.name.as_str(), customer.email.as_str()), ("Asha Rao", "usr_1@example.com"));
    assert_eq!(customer.phone.as_deref(), Some("+919800000001"));
    assert_eq!((customer.total_visits, customer.total_spent_paise, customer.noshow_count), (4, 1_250_000, 1));
    assert_eq!(customer.first_visit_at, Some(datetime!(2025-09-10 05:30 UTC)));
    assert_eq!(customer.last_visit_at, Some(datetime!(2025-10-10 05:30:00.123456 UTC)));
    assert_eq!(customer.gems_balance, Some(42));
    assert_eq!(customer.created_at, datetime!(2025-01-02 03:04:05.678 UTC));
    // Chips are ordered by name ignoring case, then by id.
    let chips: Vec<_> =
        customer.tags.iter().map(|chip| (chip.slug.as_str(), chip.name.as_str(), chip.color.as_deref())).collect();
    assert_eq!(
        chips,
        [
            ("slug-t2", "Bridal", None),
            ("slug-t4", "Élite", None),
            ("slug-t1", "VIP", None),
            ("slug-t3", "vip", Some("#FF0000"))
        ]
    );
}

#[tokio::test]
async fn only_users_stored_as_customers_with_a_profile_are_listed() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::customer(&client, "usr_listed", "Listed").await;
    platform::user(&client, "usr_without_profile", "Without", Some("customer")).await;
    for (id, role) in [("usr_null", None), ("usr_staff", Some("staff")), ("usr_two", Some("customer,staff"))] {
        platform::user(&client, id, "Other", role).await;
        platform::profile(&client, id).await;
    }
    assert_eq!(list(&database, &everyone()).await, (vec!["usr_listed".to_owned()], 1));
}

#[tokio::test]
async fn every_sort_key_has_its_order_and_breaks_ties_by_id() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    for (id, name) in
        [("B", "bela"), ("a", "Émile"), ("C", "anita"), ("d", "Anita"), ("e", "éa"), ("f", "Zoya"), ("g", "Ärla")]
    {
        platform::customer(&client, id, name).await;
    }
    execute(
        &client,
        "UPDATE customer_profile SET total_spent_paise = 500, total_visits = 5, noshow_count = 5 WHERE user_id IN ('a', 'B');
         UPDATE customer_profile SET total_spent_paise = 900, total_visits = 9, noshow_count = 9 WHERE user_id = 'f';
         UPDATE customer_profile SET last_visit_at = '2026-01-01' WHERE user_id IN ('a', 'B');
         UPDATE customer_profile SET last_visit_at = '2026-02-01' WHERE user_id = 'f';
         INSERT INTO loyalty_account (id, customer_id, gems_balance) VALUES ('1', 'a', 5), ('2', 'B', 5), ('3', 'f', 9), ('4', 'g', 0)",
    )
    .await;
    // The ids in code point order are B, C, a, d, e, f, g.
    for sort in [SortKey::Ltv, SortKey::Visits, SortKey::LastVisit, SortKey::NoShows] {
        assert_eq!(ids(&database, &sorted(sort)).await, ["f", "B", "a", "C", "d", "e", "g"], "{sort:?}");
    }
    assert_eq!(ids(&database, &sorted(SortKey::Gems)).await, ["f", "B", "a", "g", "C", "d", "e"]);
    assert_eq!(ids(&database, &sorted(SortKey::Name)).await, ["C", "d", "g", "B", "e", "a", "f"]);
}

#[tokio::test]
async fn pages_partition_the_list_and_total_count_is_exact_past_the_end() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    execute(
        &client,
        "INSERT INTO \"user\" (id, name, email) SELECT 'u' || n, 'Same', 'e' || n FROM generate_series(1, 57) n;
         INSERT INTO customer_profile (id, user_id, total_visits) SELECT 'p' || n, 'u' || n, n % 3 FROM generate_series(1, 57) n",
    )
    .await;
    for sort in SortKey::ALL {
        let whole = ids(&database, &sorted(sort)).await;
        assert_eq!(whole.len(), 57);
        let mut paged = Vec::new();
        for number in 1..=6 {
            let (ids, total) = list(&database, &DirectoryQuery { sort, page: page(number, 10), ..everyone() }).await;
            assert_eq!(total, 57);
            paged.extend(ids);
        }
        assert_eq!(paged, whole, "{sort:?}");
        for number in [7, (1 << 53) - 1] {
            let beyond = DirectoryQuery { sort, page: page(number, 100), ..everyone() };
            assert_eq!(list(&database, &beyond).await, (vec![], 57));
        }
    }
}

/// Source: contract extensions, "Search as people type".
#[tokio::test]
async fn a_search_finds_what_people_type() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    for (id, name, email, phone) in [
        ("1", "Élodie D’Souza", "e1@x.io", None),
        ("2", "STRASSE", "e2@x.io", None),
        ("3", "Straße", "e3@x.io", None),
        ("4", "ИВАН Петров", "e4@x.io", None),
        ("5", "Νίκος", "e5@x.io", None),
        ("6", "İpek Yıldız", "e6@x.io", None),
        ("7", "अनन्या शर्मा", "e7@x.io", None),
        ("8", "50%_off\\", "e8@x.io", None),
        ("9", "plain", "Mixed.Case@Example.ORG", Some("+91 98-000")),
        ("a", "Aarav Sharma", "aarav@y.io", Some("+91 98123-45678")),
        ("b", "Aarav  Shah", "sharma.family@y.io", Some("9812345679")),
        ("c", "Zoë\u{301} O\u{200B}hm", "soft\u{AD}hyphen@y.io", Some("(022) 2345 678")),
        ("d", "ﬁne Ｗｉｄｅ", "e\u{2060}d@y.io", Some("００４４ 20")),
        ("e", "Flat 981 23", "e@y.io", Some("0091 70000 00001")),
    ] {
        platform::customer(&client, id, name).await;
        client.execute("UPDATE \"user\" SET email = $2 WHERE id = $1", &[&id, &email]).await.unwrap();
        client.execute("UPDATE customer_profile SET phone = $2 WHERE user_id = $1", &[&id, &phone]).await.unwrap();
    }
    let everyone: &[&str] = &["1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e"];
    let table: &[(&str, &[&str])] = &[
        // Case, accents and invisible characters.
        ("élodie", &["1"]),
        ("ÉLODIE", &["1"]),
        ("elodie", &["1"]),
        ("E\u{301}LODIE", &["1"]),
        ("d’s", &["1"]),
        ("strasse", &["2", "3"]),
        ("STRASSE", &["2", "3"]),
        ("straße", &["2", "3"]),
        ("иван", &["4"]),
        ("ПЕТРОВ", &["4"]),
        ("νίκοσ", &["5"]),
        ("ΝΙΚΟΣ", &["5"]),
        ("İPEK", &["6"]),
        ("ipek", &["6"]),
        ("शर्मा", &["7"]),
        ("शर्म", &["7"]),
        ("शरमा", &[]),
        ("zoe", &["c"]),
        ("ZOË ohm", &["c"]),
        ("zo\u{FEFF}e", &["c"]),
        ("softhyphen", &["c"]),
        ("fine", &["d"]),
        ("ﬁNE", &["d"]),
        ("wide", &["d"]),
        ("ed@y", &["d"]),
        // `%`, `_` and `\` stand for themselves, also when folding makes them.
        ("%", &["8"]),
        ("_", &["8"]),
        ("\\", &["8"]),
        ("50%_OFF", &["8"]),
        ("50％＿off＼", &["8"]),
        ("p_ain", &[]),
        // Words, in any order and in any field.
        ("sharma aarav", &["a", "b"]),
        ("aarav 98123", &["a", "b"]),
        ("aarav 45678", &["a"]),
        ("aarav shah family", &["b"]),
        ("aarav  shah", &["b"]),
        ("aarav nobody", &[]),
        ("a r v s h m", &["a", "b"]),
        ("mixed.case@EXAMPLE plain", &["9"]),
        ("nobody", &[]),
        // Fields do not run into each other.
        ("plainmixed", &[]),
        ("io+91", &[]),
        ("\u{1f}", &[]),
        // Phone numbers, however they are stored and typed.
        ("98-0", &["9"]),
        ("+91", &["9", "a"]),
        ("98123", &["a", "b"]),
        ("981 23", &["a", "b", "e"]),
        ("981-23", &["a", "b"]),
        ("0981 23", &["a", "b"]),
        ("+91 98123 45678", &["a"]),
        ("0091 9812345679", &["b"]),
        ("09812345678", &["a"]),
        ("9123", &[]),
        ("0222345678", &["c"]),
        ("022 2345", &["c"]),
        ("0044", &["d"]),
        ("4420", &["d"]),
        ("+44", &[]),
        ("000", &["9", "e"]),
        ("12 34", &["a", "b"]),
        ("123 45", &["a", "b"]),
        // A search that folds to nothing is no filter.
        ("\u{200B}", everyone),
        ("\u{301} \u{AD}", everyone),
    ];
    for (text, expected) in table {
        let mut found = ids(&database, &search(text)).await;
        found.sort();
        assert_eq!(&found, expected, "{text:?}");
    }
}

#[tokio::test]
async fn a_tag_filter_narrows_the_list_and_combines_with_a_search() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::user(&client, "usr_desk", "Desk", Some("receptionist")).await;
    platform::tag(&client, "tag_1", "At risk", None).await;
    platform::tag(&client, "tag_2", "VIP", None).await;
    for (id, name) in [("1", "Asha"), ("2", "Bela"), ("3", "Asha")] {
        platform::customer(&client, id, name).await;
    }
    for (customer, tag) in [("1", "tag_1"), ("1", "tag_2"), ("2", "tag_1")] {
        platform::assign(&client, customer, tag, "usr_desk").await;
    }
    assert_eq!(list(&database, &tagged("at-risk")).await, (vec!["1".to_owned(), "2".to_owned()], 2));
    assert_eq!(ids(&database, &tagged("vip")).await, ["1"]);
    for unknown in ["VIP", "none", " vip"] {
        assert_eq!(list(&database, &tagged(unknown)).await, (vec![], 0), "{unknown}");
    }
    let both = DirectoryQuery { search: SearchTerm::parse("ASHA").unwrap(), ..tagged("at-risk") };
    assert_eq!(list(&database, &both).await, (vec!["1".to_owned()], 1));
    // A filtered customer summary still has the chips of other tags.
    let page = database.postgres().list_customers(&tagged("vip")).await.unwrap();
    assert_eq!(page.items[0].tags.len(), 2);
}

#[tokio::test]
async fn a_page_with_chips_and_total_count_takes_one_statement() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    for n in 0..30 {
        platform::customer(&client, &format!("usr_{n}"), "Asha").await;
    }
    execute(&client, "CREATE EXTENSION pg_stat_statements").await;
    let postgres = database.postgres();
    let query = DirectoryQuery { page: page(1, 20), ..search("asha") };
    // The first run sets up the connection and prepares the statement.
    postgres.list_customers(&query).await.unwrap();
    execute(
        &client,
        "SELECT pg_stat_statements_reset(0, (SELECT oid FROM pg_database WHERE datname = current_database()), 0)",
    )
    .await;
    for _ in 0..5 {
        postgres.list_customers(&query).await.unwrap();
    }
    let calls: i64 = client
        .query_one(
            "SELECT sum(calls)::bigint FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
             WHERE d.datname = current_database() AND query NOT LIKE '%pg_stat_statements%'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(calls, 5);
}
