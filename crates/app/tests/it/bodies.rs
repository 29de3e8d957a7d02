//! Bodies: the rule of every field, and bodies that are not JSON objects. A rejected request changes no row.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::app::{TestApp, parse_response, send};

/// Three endpoints that require a body, and one with an optional body.
const WRITES: [(&str, &str); 4] = [
    ("POST", "/api/tags"),
    ("POST", "/api/customers/usr_1/notes"),
    ("POST", "/api/customers/usr_1/tags"),
    ("PATCH", "/api/customers/usr_1"),
];

#[actix_web::test]
async fn validation_errors_list_every_invalid_field() {
    let app = TestApp::with_customers().await;
    let before = app.rows().await;
    let string = json!(["must be a string"]);
    let count = json!(["must be between 0 and 2147483647"]);
    let integer = json!(["must be an integer"]);
    let boolean = json!(["must be true or false"]);
    let color = json!(["must be a colour such as #1A2b3C: a hash and six hexadecimal digits"]);
    let empty = json!(["must not be empty"]);
    let nul = json!(["must not contain a NUL character"]);
    let once = json!(["must be given only once"]);
    let table: [(usize, String, Value); 36] = [
        (0, "{}".into(), json!({"name": ["is required"]})),
        (0, r#"{"name":null}"#.into(), json!({"name": string})),
        (0, r#"{"name":7,"color":7}"#.into(), json!({"name": string, "color": string})),
        (0, r#"{"name":" \t\ufeff"}"#.into(), json!({"name": empty})),
        (0, r#"{"name":"a\u0000b"}"#.into(), json!({"name": nul})),
        (0, format!(r#"{{"name":"{}"}}"#, "é".repeat(41)), json!({"name": ["must be at most 40 characters"]})),
        (0, r#"{"name":"a","color":null}"#.into(), json!({"color": string})),
        (0, r##"{"name":"a","color":"#12345"}"##.into(), json!({"color": color})),
        (0, r#"{"name":"a","color":" #123456"}"#.into(), json!({"color": color})),
        (0, r#"{"name":"a","color":""}"#.into(), json!({"color": color})),
        (0, r#"{"color":"red"}"#.into(), json!({"name": ["is required"], "color": color})),
        (0, r#"{"name":"a","name":"b"}"#.into(), json!({"name": once})),
        (1, "{}".into(), json!({"content": ["is required"]})),
        (1, r#"{"content":"  \n "}"#.into(), json!({"content": empty})),
        (
            1,
            format!(r#"{{"content":"{}"}}"#, "x".repeat(1001)),
            json!({"content": ["must be at most 1000 characters"]}),
        ),
        (1, r#"{"content":"a\u0000","bookingId":""}"#.into(), json!({"content": nul, "bookingId": empty})),
        (1, r#"{"content":"a","bookingId":null}"#.into(), json!({"bookingId": string})),
        (1, r#"{"content":"a","bookingId":"b\u0000"}"#.into(), json!({"bookingId": nul})),
        (1, r#"{"content":["a"],"bookingId":{}}"#.into(), json!({"content": string, "bookingId": string})),
        (2, "{}".into(), json!({"tagId": ["is required"]})),
        (2, r#"{"tagId":""}"#.into(), json!({"tagId": empty})),
        (2, r#"{"tagId":null}"#.into(), json!({"tagId": string})),
        (2, r#"{"tagId":"\u0000"}"#.into(), json!({"tagId": nul})),
        (
            3,
            r#"{"noshowCount":null,"bookingRequiresApproval":null}"#.into(),
            json!({"noshowCount": integer, "bookingRequiresApproval": boolean}),
        ),
        (
            3,
            r#"{"noshowCount":"3","bookingRequiresApproval":"true"}"#.into(),
            json!({"noshowCount": integer, "bookingRequiresApproval": boolean}),
        ),
        (
            3,
            r#"{"noshowCount":1.5,"bookingRequiresApproval":1}"#.into(),
            json!({"noshowCount": integer, "bookingRequiresApproval": boolean}),
        ),
        (3, r#"{"noshowCount":-1}"#.into(), json!({"noshowCount": count})),
        (3, r#"{"noshowCount":2147483648}"#.into(), json!({"noshowCount": count})),
        (3, r#"{"noshowCount":9007199254740993}"#.into(), json!({"noshowCount": count})),
        (3, r#"{"noshowCount":18446744073709551616}"#.into(), json!({"noshowCount": count})),
        (3, r#"{"noshowCount":1e300}"#.into(), json!({"noshowCount": count})),
        (3, r#"{"noshowCount":-1e-999}"#.into(), json!({})),
        (3, r#"{"noshowCount":[1]}"#.into(), json!({"noshowCount": integer})),
        (
            3,
            r#"{"noshowCount":true,"bookingRequiresApproval":[]}"#.into(),
            json!({"noshowCount": integer, "bookingRequiresApproval": boolean}),
        ),
        (3, r#"{"noshowCount":1,"noshowCount":1}"#.into(), json!({"noshowCount": once})),
        (3, r#"{"noshowCount":1,"bookingRequiresApproval":"no"}"#.into(), json!({"bookingRequiresApproval": boolean})),
    ];
    for (write, body, details) in table {
        let (method, target) = WRITES[write];
        let answer = app.send_text(method, target, "manager", body.clone()).await;
        if details == json!({}) {
            // A number that rounds to zero is zero.
            assert_eq!(answer.status, 200, "{body}: {}", answer.text);
            app.client.batch_execute("UPDATE customer_profile SET noshow_count = 2, updated_at = created_at WHERE user_id = 'usr_1'; DELETE FROM audit_log").await.unwrap();
            continue;
        }
        assert_eq!(answer.details(), details, "{method} {target} {body}");
        assert_eq!(answer.json()["error"]["message"], "Invalid request data");
    }
    assert_eq!(app.rows().await, before);
}

#[actix_web::test]
async fn a_body_that_is_not_a_json_object_is_rejected_without_field_errors() {
    let app = TestApp::with_customers().await;
    let before = app.rows().await;
    let deep = format!(r#"{{"content":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let deep_elsewhere = format!(r#"{{"noshowCount":0,"x":{}1{}}}"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let bodies: [&[u8]; 17] = [
        b"null",
        b"[]",
        b"\"text\"",
        b"7",
        b"{",
        b"{}{}",
        b"{'name':'a'}",
        b"{\"name\":\"a\",}",
        b"{\"name\":\"\\ud800\"}",
        b"{\"name\":\"\xff\"}",
        b"\xef\xbb\xbf{}",
        b"name=a",
        b"{\"noshowCount\":1e999}",
        b"\x00",
        b" ",
        deep.as_bytes(),
        deep_elsewhere.as_bytes(),
    ];
    for (method, target) in WRITES {
        for body in bodies {
            let answer = app.send_text(method, target, "manager", body.to_vec()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            assert_eq!(answer.details(), json!({}), "{method} {target} {shown}");
            assert_eq!(answer.json()["error"]["message"], "Invalid request data");
        }
    }
    for (method, target) in &WRITES[..3] {
        let none = send(app.request(method, target, Some("manager"))).await;
        assert_eq!(none.details(), json!({}), "{target}: a POST without a body");
        let empty = app.send_text(method, target, "manager", "").await;
        assert_eq!(empty.details(), json!({}), "{target}");
    }
    assert_eq!(app.rows().await, before);
}

#[actix_web::test]
async fn a_body_without_a_json_content_type_is_rejected_with_415() {
    let app = TestApp::with_customers().await;
    let before = app.rows().await;
    for (method, target) in WRITES {
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/jsonp"),
            Some("application/problem+json"),
            Some(""),
        ] {
            let mut request = app.request(method, target, Some("manager")).body("{}");
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let answer = send(request).await;
            assert_eq!(
                (answer.status, answer.error().as_str()),
                (415, "UNSUPPORTED_MEDIA_TYPE"),
                "{method} {target} {content_type:?}"
            );
        }
    }
    assert_eq!(app.rows().await, before);
    for content_type in ["application/json", "application/json; charset=utf-8", "Application/JSON ;x=y"] {
        let request = app
            .request("PATCH", "/api/customers/usr_1", Some("manager"))
            .header("content-type", content_type)
            .body("{}");
        assert_eq!(send(request).await.status, 200, "{content_type}");
    }
}

#[actix_web::test]
async fn a_body_over_64_kib_is_rejected_with_413() {
    let app = TestApp::with_customers().await;
    let of_size = |size: usize| format!(r#"{{"noshowCount":2,"x":"{}"}}"#, "x".repeat(size - 24));
    assert_eq!(of_size(65_536).len(), 65_536);
    let path = "/api/customers/usr_1";
    assert_eq!(app.send_text("PATCH", path, "manager", of_size(65_536)).await.status, 200);
    let answer = app.send_text("PATCH", path, "manager", of_size(65_537)).await;
    assert_eq!((answer.status, answer.error().as_str()), (413, "PAYLOAD_TOO_LARGE"));

    // The same in chunks, without a `Content-Length`.
    for (size, status) in [(65_536, 200), (65_537, 413)] {
        let body = of_size(size);
        let mut request = format!(
            "PATCH {path} HTTP/1.1\r\nHost: crm\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nCookie: {}\r\n\r\n",
            TestApp::cookie("manager")
        );
        for chunk in body.as_bytes().chunks(8000) {
            write!(request, "{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()).unwrap();
        }
        request.push_str("0\r\n\r\n");
        assert_eq!(parse_response(&app.send_raw(request.as_bytes()).await).status, status, "{size}");
    }
    // An empty chunked body counts as an empty body.
    let request = format!(
        "PATCH {path} HTTP/1.1\r\nHost: crm\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nCookie: {}\r\n\r\n0\r\n\r\n",
        TestApp::cookie("manager")
    );
    assert_eq!(parse_response(&app.send_raw(request.as_bytes()).await).status, 200);
}

#[actix_web::test]
async fn an_integer_is_accepted_in_every_json_notation() {
    let app = TestApp::with_customers().await;
    for (written, count) in [("5", 5), ("6.0", 6), ("7e0", 7), ("0.8e1", 8), ("-0", 0), ("-0.0", 0)] {
        let answer =
            app.send_text("PATCH", "/api/customers/usr_1", "manager", format!(r#"{{"noshowCount":{written}}}"#)).await;
        assert_eq!(answer.json()["data"]["customer"]["noshowCount"], count, "{written}");
    }
}

/// `serde_json::Value` would read such a member as raw JSON, without the type rules and the depth limit.
#[actix_web::test]
async fn internal_keys_of_serde_json_have_no_special_meaning() {
    let app = TestApp::with_customers().await;
    let before = app.rows().await;
    for key in ["$serde_json::private::RawValue", "$serde_json::private::Number"] {
        let answer = app.send("PATCH", "/api/customers/usr_1", "manager", &json!({"noshowCount": {key: "42"}})).await;
        assert_eq!(answer.details(), json!({"noshowCount": ["must be an integer"]}));
        let answer =
            app.send("POST", "/api/customers/usr_1/notes", "manager", &json!({"content": {key: "\"smuggled\""}})).await;
        assert_eq!(answer.details(), json!({"content": ["must be a string"]}));
    }
    assert_eq!(app.rows().await, before);
}

#[actix_web::test]
async fn validation_errors_of_path_query_and_body_are_reported_together() {
    let app = TestApp::with_customers().await;
    let nul = json!(["must not contain a NUL character"]);
    let answer = app.send("PATCH", "/api/customers/%00", "manager", &json!({"noshowCount": -1})).await;
    assert_eq!(answer.details(), json!({"id": nul, "noshowCount": ["must be between 0 and 2147483647"]}));
    let answer = app.send("DELETE", "/api/customers/%00/tags/%00", "manager", &json!({})).await;
    assert_eq!(answer.details(), json!({"id": nul, "tagId": nul}));
    let answer = app.get("/api/customers/%00/notes?page=0", "manager").await;
    assert_eq!(answer.details(), json!({"id": nul, "page": ["must be at least 1"]}));
    let body = r#"{"noshowCount":1,"noshowCount":1,"bookingRequiresApproval":3,"x":1,"x":2}"#;
    let answer = app.send_text("PATCH", "/api/customers/usr_1", "manager", body).await;
    let expected =
        json!({"noshowCount": ["must be given only once"], "bookingRequiresApproval": ["must be true or false"]});
    assert_eq!(answer.details(), expected);
}
