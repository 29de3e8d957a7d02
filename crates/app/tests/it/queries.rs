//! The query of the directory: the rule of every parameter, and the customers that it finds.

use crm_adapters::testing::platform;
use serde_json::{Value, json};

use crate::app::TestApp;

async fn ids(app: &TestApp, query: &str) -> Vec<String> {
    let answer = app.get(&format!("/api/customers?{query}"), "receptionist").await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    let body = answer.json();
    body["data"]["customers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|customer| customer["id"].as_str().unwrap().to_owned())
        .collect()
}

#[actix_web::test]
async fn validation_errors_list_every_invalid_parameter() {
    let app = TestApp::start().await;
    let integer = json!(["must be an integer"]);
    let small = json!(["must be at least 1"]);
    let decodable = json!(["must be percent-encoded UTF-8 text"]);
    let sorts = json!(["must be one of ltv, visits, last_visit, name, gems, noshows"]);
    let table: [(&str, Value); 26] = [
        ("page=0", json!({"page": small})),
        ("page=-1", json!({"page": small})),
        ("page=", json!({"page": integer})),
        ("page", json!({"page": integer})),
        ("page=1.5", json!({"page": integer})),
        ("page=1e3", json!({"page": integer})),
        ("page=abc", json!({"page": integer})),
        ("page=1%002", json!({"page": integer})),
        ("page=9007199254740992", json!({"page": ["must be at most 9007199254740991"]})),
        ("page=9223372036854775808", json!({"page": ["must be at most 9007199254740991"]})),
        ("page=99999999999999999999999999999999999999999999", json!({"page": ["must be at most 9007199254740991"]})),
        ("pageSize=0", json!({"pageSize": small})),
        ("pageSize=101", json!({"pageSize": ["must be at most 100"]})),
        ("pageSize=ten", json!({"pageSize": integer})),
        ("sort=", json!({"sort": sorts})),
        ("sort=spend", json!({"sort": sorts})),
        ("sort=LTV", json!({"sort": sorts})),
        ("sort=ltv%00", json!({"sort": sorts})),
        ("q=%zz", json!({"q": decodable})),
        ("q=%ff", json!({"q": decodable})),
        ("q=%", json!({"q": decodable})),
        ("q=a%00", json!({"q": ["must not contain a NUL character"]})),
        ("tag=%00", json!({"tag": ["must not contain a NUL character"]})),
        ("tag=%c3%28", json!({"tag": decodable})),
        ("page=1&page=0", json!({"page": small})),
        (
            "page=x&pageSize=0&sort=y&q=%00&tag=%00",
            json!({
                "page": integer, "pageSize": small, "sort": sorts,
                "q": ["must not contain a NUL character"], "tag": ["must not contain a NUL character"],
            }),
        ),
    ];
    for (query, details) in table {
        let answer = app.get_raw(format!("/api/customers?{query}").as_bytes(), "receptionist").await;
        assert_eq!(answer.details(), details, "{query}");
        assert_eq!(answer.json()["error"]["message"], "Invalid query parameters");
    }
    let long = "é".repeat(121);
    let answer = app.get(&format!("/api/customers?q={long}"), "receptionist").await;
    assert_eq!(answer.details(), json!({"q": ["must be at most 120 characters"]}));
}

#[actix_web::test]
async fn valid_queries_are_accepted() {
    let app = TestApp::with_customers().await;
    let padded = format!("q=%20{}%E3%80%80", "%C3%A9".repeat(120));
    for query in [
        "",
        "page=+1",
        "page=%2B1",
        "page=001&pageSize=%20020%09",
        "page=%EF%BB%BF1",
        "page=0&page=1",
        "page=x&page=1",
        "q=%zz&q=a",
        "unknown=%zz&other",
        "&&=&page=1",
        "q=&tag=",
        "q=%20%09",
        "page=9007199254740991&pageSize=100",
        "sort=ltv&sort=gems",
        &padded,
    ] {
        let answer = app.get_raw(format!("/api/customers?{query}").as_bytes(), "receptionist").await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    }
}

#[actix_web::test]
async fn meta_has_the_exact_page_and_total_count() {
    let app = TestApp::start().await;
    for n in 0..45 {
        platform::customer(&app.client, &format!("usr_{n:02}"), "Asha").await;
    }
    for (query, meta) in [
        ("", json!({"page": 1, "totalPages": 3, "totalCount": 45})),
        ("page=3", json!({"page": 3, "totalPages": 3, "totalCount": 45})),
        ("page=4", json!({"page": 4, "totalPages": 3, "totalCount": 45})),
        ("pageSize=45", json!({"page": 1, "totalPages": 1, "totalCount": 45})),
        (
            "pageSize=1&page=9007199254740991",
            json!({"page": 9_007_199_254_740_991_u64, "totalPages": 45, "totalCount": 45}),
        ),
        ("q=nobody", json!({"page": 1, "totalPages": 1, "totalCount": 0})),
        ("tag=none&page=2", json!({"page": 2, "totalPages": 1, "totalCount": 0})),
    ] {
        let body = app.get(&format!("/api/customers?{query}"), "receptionist").await.json();
        assert_eq!(body["meta"], meta, "{query}");
    }
    let mut all = Vec::new();
    for page in 1..=3 {
        all.extend(ids(&app, &format!("page={page}")).await);
    }
    assert_eq!(all.len(), 45);
    assert!(all.is_sorted(), "ties by id");
}

#[actix_web::test]
async fn filters_and_sort_keys_reach_the_directory() {
    let app = TestApp::with_customers().await;
    assert_eq!(ids(&app, "").await, ["usr_1", "usr_2"]);
    assert_eq!(ids(&app, "sort=name").await, ["usr_1", "usr_2"]);
    app.client.batch_execute("UPDATE \"user\" SET name = 'Zoya' WHERE id = 'usr_1'").await.unwrap();
    assert_eq!(ids(&app, "sort=name").await, ["usr_2", "usr_1"]);
    for sort in ["ltv", "visits", "last_visit", "gems", "noshows"] {
        assert_eq!(ids(&app, &format!("sort={sort}")).await, ["usr_1", "usr_2"], "{sort}");
    }
    assert_eq!(ids(&app, "q=%C3%89LODIE+d%E2%80%99souza").await, ["usr_2"]);
    assert_eq!(ids(&app, "q=9800000").await, ["usr_1"]);
    assert_eq!(ids(&app, "q=USR_2%40EXAMPLE").await, ["usr_2"]);
    assert_eq!(ids(&app, "q=%25").await, Vec::<String>::new());
    assert_eq!(ids(&app, "tag=vip").await, ["usr_1"]);
    assert_eq!(ids(&app, "tag=VIP").await, Vec::<String>::new());
    assert_eq!(ids(&app, "tag=vip&tag=bridal&q=zoya").await, ["usr_1"]);
}
