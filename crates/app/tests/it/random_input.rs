//! Thousands of generated requests: for any input no 5xx, no leak, the contract's envelope, no partial write.

use proptest::{collection::vec, prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner};

use crate::app::{Answer, TestApp};

/// Text that no response may contain.
const INSIDES: [&str; 12] = [
    "customer_profile",
    "customer_tag",
    "customer_note",
    "audit_log",
    "SELECT ",
    "INSERT ",
    "crm_app",
    "crm_domain",
    "panicked",
    "src/",
    "serde",
    "diesel",
];

/// The number of requests of each kind.
const CASES: usize = 1000;

fn check_response(answer: &Answer, sent: &str) {
    assert!(answer.status < 500, "{sent} → {} {}", answer.status, answer.text);
    for inside in INSIDES {
        assert!(!answer.text.contains(inside), "{sent} → {}", answer.text);
    }
    assert!(!answer.text.is_empty(), "{sent} → {answer:?}");
    if answer.status >= 400 {
        answer.error();
    } else {
        assert_eq!(answer.json()["success"], true, "{sent}");
    }
}

/// Text that an HTTP request target can contain (other text is rejected before there is a request), with many edge
/// cases.
fn target_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-zA-Z0-9_.~-]{0,8}",
        select(vec![
            "%00",
            "%zz",
            "%",
            "%4",
            "%ff",
            "%C3%A9",
            "%c3%28",
            "%2F",
            "%25",
            "+",
            "..",
            "%EF%BB%BF",
            "'",
            "%27;--",
            "%ED%A0%80",
            "@",
            ":",
            ","
        ])
        .prop_map(str::to_owned),
        "[!$'()*,;:@~]{1,3}",
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn query() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => select(vec![
            "q", "sort", "page", "pageSize", "tag", "tagAny", "tagAll", "tagNone", "tagged", "spentMin", "spentMax", "gemsMin",
            "gemsMax", "lastVisitFrom", "lastVisitTo", "createdFrom", "createdTo", "visited", "requiresApproval", "limit",
            "cursor", "counts", "unassign",
        ])
        .prop_map(str::to_owned),
        1 => target_text(),
    ];
    let value = prop_oneof![
        target_text(),
        any::<i128>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}",
        select(vec![
            "ltv",
            "name",
            "gems",
            "1",
            "100",
            "9007199254740991",
            "9007199254740992",
            "",
            "true",
            "vip",
            "9999-12-31"
        ])
        .prop_map(str::to_owned),
    ];
    vec((name, value), 0..6)
        .prop_map(|pairs| pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
}

fn path() -> impl Strategy<Value = String> {
    let known = select(vec![
        "/api/customers",
        "/api/tags",
        "/api/customers/usr_1",
        "/api/customers/usr_1/notes",
        "/api/customers/usr_1/timeline",
        "/api/customers/usr_1/bookings",
        "/api/customers/usr_1/invoices",
        "/api/customers/usr_1/memberships",
        "/api/customers/usr_1/gems",
        "/api/customers/usr_1/overview",
        "/api/customers/usr_1/notes/note_1/revisions",
    ])
    .prop_map(str::to_owned);
    prop_oneof![
        3 => known,
        3 => target_text().prop_map(|id| format!("/api/customers/{id}")),
        2 => target_text().prop_map(|id| format!("/api/customers/{id}/notes")),
        1 => vec(target_text(), 0..4).prop_map(|parts| format!("/{}", parts.join("/"))),
    ]
}

fn json_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        select(vec![
            "null",
            "true",
            "false",
            "0",
            "-1",
            "1.5",
            "1e999",
            "-1e999",
            "1e-999",
            "2147483648",
            "\"\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"tag_vip\"",
            "\"bkg_1\"",
            "01",
            "nul",
            "'a'"
        ])
        .prop_map(str::to_owned),
        any::<i64>().prop_map(|n| n.to_string()),
        ".{0,30}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec(("[a-zA-Z]{0,5}", inner), 0..4).prop_map(|members| {
                format!(
                    "{{{}}}",
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(",")
                )
            }),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let name = select(vec![
        "name",
        "color",
        "content",
        "bookingId",
        "tagId",
        "noshowCount",
        "bookingRequiresApproval",
        "pinned",
        "description",
        "into",
        "assign",
        "remove",
        "x",
        "\\u0000",
        "\\ud800",
    ]);
    let object = vec((name, json_value()), 0..5).prop_map(|members| {
        format!(
            "{{{}}}",
            members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(",")
        )
        .into_bytes()
    });
    prop_oneof![
        6 => object,
        1 => json_value().prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..200),
        1 => (1..10_000_usize).prop_map(|depth| format!("{{\"x\":{}", "[".repeat(depth)).into_bytes()),
    ]
}

fn cookie() -> impl Strategy<Value = Vec<u8>> {
    let good = TestApp::cookie("manager").into_bytes();
    let cut = (0..good.len()).prop_map({
        let good = good.clone();
        move |at| good[..at].to_vec()
    });
    let flipped = (0..good.len(), 33..127_u8).prop_map(move |(at, byte)| {
        let mut cookie = good.clone();
        cookie[at] = byte;
        cookie
    });
    let junk = vec(prop_oneof![32..127_u8, 128..=255_u8, Just(9_u8)], 0..80);
    let named = junk.clone().prop_map(|junk| [b"better-auth.session_token=".as_slice(), &junk].concat());
    prop_oneof![cut, flipped, junk, named]
}

fn generate<S: Strategy>(strategy: &S, cases: usize) -> impl Iterator<Item = S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..cases).map(move |_| strategy.new_tree(&mut runner).expect("a value").current())
}

#[actix_web::test]
async fn any_target_gets_a_response_of_the_contract() {
    let app = TestApp::with_customers().await;
    for (path, query) in generate(&(path(), query()), CASES) {
        let target = format!("{path}?{query}");
        check_response(&app.get_raw(target.as_bytes(), "manager").await, &target);
    }
}

#[actix_web::test]
async fn any_body_gets_a_response_of_the_contract_and_errors_change_no_row() {
    let app = TestApp::with_customers().await;
    let writes = select(vec![
        ("POST", "/api/tags"),
        ("POST", "/api/customers/usr_1/notes"),
        ("POST", "/api/customers/usr_1/tags"),
        ("PATCH", "/api/customers/usr_1"),
        ("PATCH", "/api/customers/usr_1/notes/note_1"),
        ("PATCH", "/api/tags/tag_bridal"),
        ("POST", "/api/tags/tag_bridal/merge"),
        ("POST", "/api/tags/tag_bridal/assignments"),
    ]);
    let note = "INSERT INTO customer_note (id, customer_id, author_id, content) VALUES ('note_1', 'usr_1', 'usr_manager', 'text')";
    app.client.batch_execute(note).await.unwrap();
    let mut refused = 0;
    let mut before = app.rows().await;
    for ((method, target), body) in generate(&(writes, body()), CASES) {
        let answer = app.send_text(method, target, "manager", body.clone()).await;
        check_response(&answer, &format!("{method} {target} {}", String::from_utf8_lossy(&body)));
        let after = app.rows().await;
        if answer.status >= 400 {
            refused += 1;
            assert_eq!(after, before, "{}", String::from_utf8_lossy(&body));
        }
        before = after;
    }
    assert!(refused > CASES / 2 && refused < CASES, "{refused} of {CASES} refused");
}

#[actix_web::test]
async fn forged_cookies_and_malformed_headers_are_rejected_with_401() {
    let app = TestApp::with_customers().await;
    for cookie in generate(&cookie(), CASES) {
        if cookie == TestApp::cookie("manager").as_bytes() {
            continue;
        }
        let mut request = b"GET /api/tags HTTP/1.1\r\nHost: crm\r\nConnection: close\r\nX-Request-Id: ".to_vec();
        request.extend_from_slice(&cookie);
        request.extend_from_slice(b"\r\nCookie: ");
        request.extend_from_slice(&cookie);
        request.extend_from_slice(b"\r\n\r\n");
        let answer = crate::app::parse_response(&app.send_raw(&request).await);
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (401, "UNAUTHENTICATED"),
            "{}",
            String::from_utf8_lossy(&cookie)
        );
    }
}

/// Preconditions and keys that are anything at all: an answer of the contract, and never the same work twice.
#[actix_web::test]
async fn any_precondition_and_any_key_get_a_response_of_the_contract() {
    let app = TestApp::with_customers().await;
    let piece = prop_oneof![
        select(vec!["\"", "W/", "*", ",", " ", "\"a\"", "W/\"b\"", "\t"]).prop_map(|text| text.as_bytes().to_vec()),
        vec(prop_oneof![33..127_u8, 128..=255_u8], 0..6),
    ];
    let header = vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    let requests = select(vec![
        ("PATCH", "/api/customers/usr_1", "{\"noshowCount\":#}"),
        ("POST", "/api/tags", "{\"name\":\"#\"}"),
    ]);
    for (number, ((method, target, body), header)) in generate(&(requests, header), CASES / 2).enumerate() {
        let name = if method == "POST" { "idempotency-key" } else { "if-match" };
        let request = |body: String| {
            let request = app.request(method, target, Some("manager")).header("content-type", "application/json");
            crate::app::send(request.header(name, header.as_slice()).body(body))
        };
        let body = body.replace('#', &number.to_string());
        let answer = request(body.clone()).await;
        check_response(&answer, &format!("{method} {header:?}"));
        if method == "POST" && answer.status == 201 {
            let again = request(body).await;
            assert_eq!((again.status, again.text), (201, answer.text), "{header:?}");
        }
    }
}
