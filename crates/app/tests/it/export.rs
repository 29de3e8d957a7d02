//! The export of the directory as CSV.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use crm_adapters::testing::platform;
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, net::TcpStream, process::Command, time::timeout};

use crate::{
    app::{TestApp, parse_response, send},
    service::{PATIENCE, Service, arrange_database, eventually},
};

const PATH: &str = "/api/customers.csv";

#[actix_web::test]
async fn the_file_has_the_fields_of_the_list_and_is_audited() {
    let app = TestApp::with_customers().await;
    app.client
        .batch_execute("UPDATE \"user\" SET name = 'Rao, \"Asha\"' WHERE id = 'usr_1'; UPDATE customer_profile SET phone = '=1+1' WHERE user_id = 'usr_2'")
        .await
        .unwrap();
    let answer = app.get(&format!("{PATH}?sort=name&q=a&spentMin=0&lastVisitTo=9999-12-31"), "manager").await;
    let head = "\u{FEFF}id,name,email,phone,totalVisits,totalSpentPaise,noshowCount,firstVisitAt,lastVisitAt,gemsBalance,createdAt,tags\r\n";
    let asha = "usr_1,\"Rao, \"\"Asha\"\"\",usr_1@example.com,+919800000001,4,1250000,2,2025-09-10T05:30:00.000Z,2025-10-10T05:30:00.987Z,120,2025-01-02T03:04:05.678Z,bridal;vip\r\n";
    assert_eq!(answer.text, format!("{head}{asha}"));
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8"));
    // The salon's day: 10 o'clock UTC is half past three in the afternoon.
    assert_eq!(answer.header("content-disposition"), Some("attachment; filename=\"customers-2026-11-23.csv\""));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let entries = app
        .client
        .query("SELECT actor_id, action::text, entity_type, entity_id LIKE 'export_%', old_values IS NULL, new_values::text FROM audit_log", &[])
        .await
        .unwrap();
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!(
        (entry.get::<_, &str>(0), entry.get::<_, &str>(1), entry.get::<_, &str>(2)),
        ("usr_manager", "create", "customer_export")
    );
    assert!(entry.get::<_, bool>(3) && entry.get::<_, bool>(4));
    assert_eq!(entry.get::<_, &str>(5), r#"{"filters": "q,spentMin,lastVisitTo", "filterCount": 3}"#);

    let all = app.get(&format!("{PATH}?sort=name"), "owner").await;
    assert!(
        all.text.contains("\r\nusr_2,Élodie D’Souza,usr_2@example.com,'=1+1,0,0,0,,,,2025-01-02T03:04:05.678Z,\r\n"),
        "{}",
        all.text
    );
    let nobody = app.get(&format!("{PATH}?tagAny=nothing"), "owner").await;
    assert_eq!(nobody.text, head);
}

#[actix_web::test]
async fn contact_data_is_the_managers_and_head_exports_nothing() {
    let app = TestApp::with_customers().await;
    for role in ["staff", "receptionist"] {
        assert_eq!(app.get(PATH, role).await.error(), "FORBIDDEN");
    }
    let head = send(app.request("HEAD", PATH, Some("manager"))).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(head.header("content-type"), Some("text/csv; charset=utf-8"));
    assert_eq!(app.count("audit_log").await, 0);
}

/// Customers whom one batch does not hold, on a database with a read model or without.
async fn arrange_many(app: &TestApp, customers: u32) {
    app.client
        .batch_execute(&format!(
            "INSERT INTO \"user\" (id, name, email, role)
               SELECT 'c' || n, 'Customer ' || n % 97, 'c' || n || '@x.io', 'customer' FROM generate_series(1, {customers}) n;
             INSERT INTO customer_profile (id, user_id, total_spent_paise, last_visit_at, phone)
               SELECT 'p' || n, 'c' || n, n % 50, CASE WHEN n % 3 > 0 THEN '2026-01-01Z'::timestamptz + n % 400 * interval '1 day' END, '98' || n
               FROM generate_series(1, {customers}) n;
             INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by)
               SELECT 'c' || n, 'tag_vip', 'usr_owner' FROM generate_series(1, {customers}, 2) n;
             INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by)
               SELECT 'c' || n, 'tag_new', 'usr_owner' FROM generate_series(1, {customers}, 3) n"
        ))
        .await
        .unwrap();
}

/// Every filter and order exports exactly what the pages list, in their order, with the read model and without it.
#[actix_web::test]
async fn an_export_lists_what_the_pages_list() {
    let app = TestApp::with_customers().await;
    arrange_many(&app, 1_700).await;
    let queries = [
        "sort=ltv",
        "sort=name&tag=vip",
        "sort=gems&q=customer 1",
        "sort=last_visit&tagAll=vip&tagAll=new&visited=true",
        "sort=visits&tagNone=vip&spentMax=20",
        "sort=noshows&lastVisitFrom=2026-03-01&tagged=true&q=98",
    ];
    let mut first_files = BTreeMap::new();
    for has_model in [false, true] {
        if has_model {
            app.install_directory_model().await;
        }
        for query in queries {
            let file = app.get(&format!("{PATH}?{query}"), "manager").await;
            assert_eq!(file.status, 200, "{}", file.text);
            let mut reader = csv::Reader::from_reader(file.text.trim_start_matches('\u{FEFF}').as_bytes());
            let exported: Vec<String> = reader.records().map(|record| record.unwrap()[0].to_owned()).collect();
            let mut listed = Vec::new();
            for page in 1.. {
                let page = app.get(&format!("/api/customers?{query}&pageSize=100&page={page}"), "manager").await.json();
                let customers = page["data"]["customers"].as_array().unwrap().clone();
                if customers.is_empty() {
                    break;
                }
                listed.extend(customers.iter().map(|customer| customer["id"].as_str().unwrap().to_owned()));
            }
            assert!(listed.len() > 100, "{query}: {}", listed.len());
            assert_eq!(exported, listed, "{query}, model: {has_model}");
            let first = first_files.entry(query).or_insert_with(|| file.text.clone());
            assert_eq!(*first, file.text, "{query}: the same file from either");
        }
    }
}

/// A connection that reads the header of an export and then no more.
async fn begin_export(address: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let cookie = TestApp::cookie("manager");
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: crm\r\nCookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut beginning = [0; 12];
    stream.read_exact(&mut beginning).await.unwrap();
    assert_eq!(&beginning, b"HTTP/1.1 200");
    stream
}

/// Two exports at once, in whichever instance; a client that stops reading is cut off and gives its place back; other requests
/// go on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_exports_run_at_once_and_a_client_that_stops_reading_is_cut_off() {
    let app_database = arrange_database().await;
    let client = app_database.client().await;
    client
        .batch_execute(
            "INSERT INTO \"user\" (id, name, email, role)
               SELECT 'c' || n, repeat('x', 300), 'c' || n || '@x.io', 'customer' FROM generate_series(1, 30000) n;
             INSERT INTO customer_profile (id, user_id) SELECT 'p' || n, 'c' || n FROM generate_series(1, 30000) n",
        )
        .await
        .unwrap();
    let settings = [("HTTP_WRITE_TIMEOUT_MS", "1500"), ("RATE_LIMIT_USER_REQUESTS", "0")];
    let (one, two) = (Service::start(&app_database, &settings).await, Service::start(&app_database, &settings).await);
    let mut stalled = begin_export(&one.address).await;
    let _other = begin_export(&two.address).await;
    let refused = two.get(PATH, "manager").await;
    assert_eq!((refused.status, refused.error().as_str()), (503, "SERVICE_UNAVAILABLE"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(one.get("/api/customers", "manager").await.status, 200);
    // An audit entry for each that has begun, none for the one that was refused.
    let entries: i64 = client.query_one("SELECT count(*) FROM audit_log", &[]).await.unwrap().get(0);
    assert_eq!(entries, 2);
    eventually(PATIENCE, "a place is free again", async || one.get(PATH, "manager").await.status == 200).await;
    // No half file passes for a whole one: the chunked body has no end.
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stalled.read_to_end(&mut rest)).await.unwrap();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the file seems to be whole");
}

/// A failure midway breaks the connection off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_fails_or_takes_too_long_breaks_off() {
    let database = arrange_database().await;
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO \"user\" (id, name, email, role)
               SELECT 'c' || n, repeat('x', 300), 'c' || n || '@x.io', 'customer' FROM generate_series(1, 30000) n;
             INSERT INTO customer_profile (id, user_id) SELECT 'p' || n, 'c' || n FROM generate_series(1, 30000) n",
        )
        .await
        .unwrap();
    let service = Service::start(&database, &[]).await;
    let mut stream = begin_export(&service.address).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    eventually(PATIENCE, "the export waits for its client", async || !client.query(end, &[]).await.unwrap().is_empty())
        .await;
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(!rest.is_empty() && !rest.ends_with(b"0\r\n\r\n"), "the file seems to be whole");

    let hasty = Service::start(&database, &[("EXPORT_TIMEOUT_MS", "1")]).await;
    let mut stream = TcpStream::connect(&hasty.address).await.unwrap();
    let cookie = TestApp::cookie("manager");
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: crm\r\nCookie: {cookie}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the file seems to be whole");
}

/// A real spreadsheet reads the file: Devanagari stays, and no cell is a formula.
#[actix_web::test]
async fn a_spreadsheet_reads_the_file_and_finds_no_formula() {
    let app = TestApp::start().await;
    let names = [
        "अनन्या शर्मा",
        "=HYPERLINK(\"http://evil.example\";\"click\")",
        "@SUM(1;2)",
        "Rao, \"Asha\"\nsecond line",
        "+1+cmd",
    ];
    for (n, name) in names.iter().enumerate() {
        platform::customer(&app.client, &format!("usr_{n}"), name).await;
    }
    app.client
        .batch_execute("UPDATE customer_profile SET phone = '+91 98123-45678' WHERE user_id = 'usr_0'")
        .await
        .unwrap();
    let file = app.get(PATH, "manager").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("customers.csv"), &file.text).unwrap();
    // To a flat spreadsheet document, which tells a formula from text. 44,34,76: comma, quotation mark, UTF-8.
    let converted = Command::new("soffice")
        .args(["--headless", "--infilter=CSV:44,34,76", "--convert-to", "fods", "customers.csv"])
        .arg(format!("-env:UserInstallation=file://{}/profile", folder.path().display()))
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    let status =
        timeout(Duration::from_secs(120), converted).await.expect("an end").expect("soffice: `just test` installs it");
    assert!(status.success());
    let document = std::fs::read_to_string(folder.path().join("customers.fods")).unwrap();
    assert!(!document.contains("table:formula"), "a cell is a formula");
    for text in ["अनन्या शर्मा", "HYPERLINK(", "SUM(1;2)", "Rao, ", "second line", "+1+cmd", "+91 98123-45678"]
    {
        assert!(document.contains(text), "{text}");
    }
}

/// HTTP/1.0 has no chunks: a file that broke off would pass for a whole one.
#[actix_web::test]
async fn a_client_of_http_1_0_is_refused() {
    let app = TestApp::with_customers().await;
    let request = format!("GET {PATH} HTTP/1.0\r\nHost: crm\r\nCookie: {}\r\n\r\n", TestApp::cookie("manager"));
    assert_eq!(parse_response(&app.send_raw(request.as_bytes()).await).error(), "VALIDATION_ERROR");
    assert_eq!(app.count("audit_log").await, 0);
}
