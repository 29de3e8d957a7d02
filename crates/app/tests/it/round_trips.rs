//! How often each endpoint asks the database: counted by a proxy between the service and PostgreSQL.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use crm_adapters::{
    postgres::{Pool, connect::Connector},
    testing::{TestDatabase, platform, pool_settings},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::app::{TestApp, send, settings};

/// Copies bytes one way, and calls `seen` for each piece.
async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, seen: impl Fn()) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        seen();
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// A proxy to the database, on a port of its own. It counts round trips: how often a client speaks after the server did.
async fn proxy(database: &TestDatabase) -> (String, Arc<AtomicUsize>) {
    let address = database.address();
    let (credentials, rest) = address.split_once('@').unwrap();
    let (server, name) = rest.split_once('/').unwrap();
    let server = server.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let round_trips = Arc::new(AtomicUsize::new(0));
    let counter = round_trips.clone();
    actix_web::rt::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(&server).await.unwrap();
            let counter = counter.clone();
            actix_web::rt::spawn(async move {
                let server_spoke = AtomicBool::new(true);
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = upstream.into_split();
                let ask = copy(from_client, to_server, || {
                    if server_spoke.swap(false, Ordering::Relaxed) {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                });
                let answer = copy(from_server, to_client, || server_spoke.store(true, Ordering::Relaxed));
                futures_util::future::join(ask, answer).await;
            });
        }
    });
    (format!("{credentials}@127.0.0.1:{port}/{name}?sslmode=disable"), round_trips)
}

/// One for the session, one for each read, and for a write its statements with `BEGIN` and `COMMIT`.
#[actix_web::test]
async fn each_endpoint_makes_as_few_round_trips_as_it_needs() {
    let database = TestDatabase::migrated();
    let (address, round_trips) = proxy(&database).await;
    let pool = Pool::new(Connector::parse(&address).unwrap(), pool_settings(1));
    let app = TestApp::start_on(database, pool, settings()).await;
    platform::customer(&app.client, "usr_1", "Asha Rao").await;
    platform::booking(&app.client, "bkg_1", "usr_1").await;
    for tag in ["tag_1", "tag_2"] {
        platform::tag(&app.client, tag, tag, None).await;
    }
    let note = "INSERT INTO customer_note (id, customer_id, author_id, content) VALUES ('note_1', 'usr_1', 'usr_manager', 'text')";
    app.client.batch_execute(note).await.unwrap();
    // Each request is sent twice, with 1 and 2 for `#`: a connection prepares each statement once.
    let note = r#"{"content": "Patch test first."}"#;
    let note_of_booking = r#"{"content": "Patch test first.", "bookingId": "bkg_1"}"#;
    let table = [
        ("GET", "/api/customers", "", 2),
        ("GET", "/api/customers?q=asha&tag=vip&sort=name", "", 2),
        ("GET", "/api/customers/usr_1", "", 2),
        ("GET", "/api/customers/usr_1/notes", "", 2),
        ("GET", "/api/tags", "", 2),
        ("GET", "/api/tags?counts=true", "", 2),
        ("GET", "/api/customers/usr_1/timeline", "", 2),
        ("GET", "/api/customers/usr_1/bookings?when=upcoming&status=pending", "", 2),
        ("GET", "/api/customers/usr_1/invoices", "", 2),
        ("GET", "/api/customers/usr_1/memberships", "", 2),
        ("GET", "/api/customers/usr_1/gems", "", 2),
        ("GET", "/api/customers/usr_1/overview", "", 2),
        ("GET", "/api/customers/usr_1/notes/note_1/revisions", "", 2),
        // BEGIN, the lock, the note, text and revision, the audit entry, the note as it is then, COMMIT.
        ("PATCH", "/api/customers/usr_1/notes/note_1", r##"{"content": "#"}"##, 8),
        // BEGIN, the lock, the slug, the tag, the audit entry, COMMIT.
        ("PATCH", "/api/tags/tag_1", r#"{"name": "Changed #"}"#, 7),
        // BEGIN, a look at what it refers to, the note, the audit entry, COMMIT.
        ("POST", "/api/customers/usr_1/notes", note, 6),
        ("POST", "/api/customers/usr_1/notes", note_of_booking, 6),
        // BEGIN, the lock, the gates, the audit entry, the customer for the entity tag, COMMIT.
        ("PATCH", "/api/customers/usr_1", r#"{"noshowCount": #}"#, 7),
        // BEGIN, the tag, the audit entry, COMMIT.
        ("POST", "/api/tags", r#"{"name": "Name #"}"#, 5),
        // BEGIN, the lock, the assignment, the audit entry, COMMIT.
        ("POST", "/api/customers/usr_1/tags", r#"{"tagId": "tag_#"}"#, 6),
        ("DELETE", "/api/customers/usr_1/tags/tag_#", "", 6),
        // BEGIN, the tag, the locks, who exists, the assignments, the audit entries, COMMIT.
        ("POST", "/api/tags/tag_#/assignments", r#"{"assign": ["usr_1"]}"#, 8),
    ];
    for (method, target, body, expected) in table {
        let mut count = 0;
        for number in ["1", "2"] {
            let before = round_trips.load(Ordering::Relaxed);
            let request = app.request(method, &target.replace('#', number), Some("manager"));
            let request = match body {
                "" => request,
                body => request.header("content-type", "application/json").body(body.replace('#', number)),
            };
            let answer = send(request).await;
            assert!(answer.status < 300, "{method} {target}: {}", answer.text);
            count = round_trips.load(Ordering::Relaxed) - before;
        }
        assert_eq!(count, expected, "{method} {target} {body}");
    }
}
