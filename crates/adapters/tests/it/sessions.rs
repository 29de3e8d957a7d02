//! Sessions: every recorded result of the real library, and the rules that depend on the database.

use std::sync::Arc;

use crm_adapters::{
    better_auth::{
        BetterAuth,
        cookie::{CookieName, Secret},
    },
    postgres::schema_check,
    testing::{
        TestDatabase,
        platform::{self, SECRET},
    },
};
use crm_domain::{
    ids::{TagId, UserId},
    role::Role,
    session::{NotSignedIn, SessionLookup, Sessions as _},
    tag::usecases::Tags,
    testing::{SequentialIds, actor, clock, clock_at},
};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::datetime};
use tokio_postgres::Client;

#[derive(Deserialize)]
struct Vector {
    name: String,
    cookie_name: String,
    cookie_header: String,
    secret: String,
    now: String,
    session: Option<VectorSession>,
    user: Option<VectorUser>,
    service_answer: String,
}

#[derive(Deserialize)]
struct VectorSession {
    token: String,
    user_id: String,
    expires_at: String,
}

#[derive(Deserialize)]
struct VectorUser {
    id: String,
    role: Option<String>,
    banned: Option<bool>,
    ban_expires: Option<String>,
}

fn parse_timestamp(text: &str) -> OffsetDateTime {
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

/// Inserts the rows of a vector. Timestamps are text parameters, because tokio-postgres is built here without a time
/// library.
async fn arrange(client: &Client, vector: &Vector) {
    client.batch_execute("DELETE FROM session; DELETE FROM \"user\"").await.unwrap();
    if let Some(user) = &vector.user {
        let VectorUser { id, role, banned, ban_expires } = user;
        let sql = "INSERT INTO \"user\" (id, name, email, role, banned, ban_expires) \
                   VALUES ($1, 'A name', 'a@example.com', $2, $3, $4::text::timestamptz)";
        client.execute(sql, &[id, role, banned, ban_expires]).await.unwrap();
    }
    if let Some(session) = &vector.session {
        let VectorSession { token, user_id, expires_at } = session;
        let sql = "INSERT INTO session (id, user_id, expires_at, token) VALUES ('s', $1, $2::text::timestamptz, $3)";
        client.execute(sql, &[user_id, expires_at, token]).await.unwrap();
    }
}

#[tokio::test]
async fn every_recorded_vector_gives_the_specified_result() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("../fixtures/better-auth-vectors.json")).unwrap();
    assert_eq!(vectors.len(), 130);
    let database = TestDatabase::migrated();
    let client = database.client().await;
    // Vectors with an orphan session row or a token that contains a NUL cannot be stored under the platform's keys.
    client.batch_execute("ALTER TABLE session DROP CONSTRAINT session_user_id_fkey").await.unwrap();
    let pool = database.pool();
    let mut sessions = 0;
    for vector in &vectors {
        arrange(&client, vector).await;
        let reader = BetterAuth {
            cookie_name: CookieName::new(false, "", Some(&vector.cookie_name)),
            secret: Secret::new(&vector.secret).unwrap(),
            pool: pool.clone(),
            clock: clock_at(parse_timestamp(&vector.now)),
        };
        let actor = reader.find_actor(vector.cookie_header.as_bytes()).await.unwrap().actor();
        let answer = if actor.is_some() { "session" } else { "none" };
        assert_eq!(answer, vector.service_answer, "{}", vector.name);
        if let Some(actor) = actor {
            sessions += 1;
            let user = vector.user.as_ref().unwrap();
            assert_eq!(actor.id.as_str(), user.id, "{}", vector.name);
            assert_eq!(actor.role, Role::from_stored(user.role.as_deref()), "{}", vector.name);
        }
    }
    assert!(sessions > 40, "only {sessions} vectors came to a session");
}

const NOW: OffsetDateTime = datetime!(2026-11-23 10:00 UTC);

fn reader(database: &TestDatabase) -> BetterAuth {
    BetterAuth {
        cookie_name: CookieName::new(false, "better-auth", None),
        secret: Secret::new(SECRET).unwrap(),
        pool: database.pool(),
        clock: clock_at(NOW),
    }
}

#[tokio::test]
async fn a_session_is_valid_through_its_expiry_and_ends_with_a_ban() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::user(&client, "usr_1", "A name", Some("manager")).await;
    let header = format!("better-auth.session_token={}", platform::sign_in(&client, "usr_1").await);
    let reader = reader(&database);

    let table = [
        ("UPDATE session SET expires_at = '2026-11-23T10:00:00Z'", true),
        ("UPDATE session SET expires_at = '2026-11-23T09:59:59.999999Z'", false),
        ("UPDATE session SET expires_at = 'infinity'", true),
        ("UPDATE \"user\" SET banned = true", false),
        ("UPDATE \"user\" SET ban_expires = '2026-11-23T10:00:00.000001Z'", false),
        ("UPDATE \"user\" SET ban_expires = 'infinity'", false),
        ("UPDATE \"user\" SET ban_expires = '2026-11-23T10:00:00Z'", true),
        ("UPDATE \"user\" SET banned = false, ban_expires = 'infinity'", true),
        ("UPDATE \"user\" SET banned = null", true),
        ("DELETE FROM \"user\"", false),
    ];
    for (change, valid) in table {
        client.batch_execute(change).await.unwrap();
        let actor = reader.find_actor(header.as_bytes()).await.unwrap().actor();
        assert_eq!(actor.is_some(), valid, "{change}");
    }
}

#[tokio::test]
async fn the_role_is_read_at_every_request() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::user(&client, "usr_1", "A name", Some("manager")).await;
    let header = format!("better-auth.session_token={}", platform::sign_in(&client, "usr_1").await);
    let reader = reader(&database);
    for (stored, role) in [("manager", Role::Manager), ("staff,owner", Role::Owner), ("admin", Role::Customer)] {
        client.execute("UPDATE \"user\" SET role = $1", &[&stored]).await.unwrap();
        assert_eq!(reader.find_actor(header.as_bytes()).await.unwrap().actor().unwrap().role, role);
    }
    client.batch_execute("UPDATE \"user\" SET role = null").await.unwrap();
    assert_eq!(reader.find_actor(header.as_bytes()).await.unwrap().actor().unwrap().role, Role::Customer);
}

/// Drizzle's generator also creates `timestamp` columns that contain UTC, and a role or database may have another
/// default time zone.
#[tokio::test]
async fn columns_without_a_time_zone_are_read_as_utc() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::user(&client, "usr_1", "A name", Some("manager")).await;
    let header = format!("better-auth.session_token={}", platform::sign_in(&client, "usr_1").await);
    client
        .batch_execute(
            "SET TimeZone = 'UTC';
             ALTER TABLE session ALTER expires_at TYPE timestamp;
             ALTER TABLE \"user\" ALTER ban_expires TYPE timestamp;
             UPDATE session SET expires_at = '2026-11-23 10:00:00';
             DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET TimeZone = ''Asia/Kolkata''', current_database()); END $$",
        )
        .await
        .unwrap();
    let reader = reader(&database);
    assert!(reader.find_actor(header.as_bytes()).await.unwrap().actor().is_some());
    client.batch_execute("UPDATE session SET expires_at = '2026-11-23 09:59:59.999999'").await.unwrap();
    assert!(reader.find_actor(header.as_bytes()).await.unwrap().actor().is_none());
    client
        .batch_execute(
            "UPDATE session SET expires_at = 'infinity';
             UPDATE \"user\" SET banned = true, ban_expires = '2026-11-23 10:00:00.000001'",
        )
        .await
        .unwrap();
    assert!(reader.find_actor(header.as_bytes()).await.unwrap().actor().is_none());
    client.batch_execute("UPDATE \"user\" SET ban_expires = '2026-11-23 10:00:00'").await.unwrap();
    assert!(reader.find_actor(header.as_bytes()).await.unwrap().actor().is_some());
}

/// A cookie with a wrong signature is rejected without a query: in this test there is no database.
#[tokio::test]
async fn a_cookie_without_a_valid_signature_causes_no_query() {
    let nowhere = crm_adapters::postgres::connect::Connector::parse("postgres://nobody@127.0.0.1:1/none").unwrap();
    let reader = BetterAuth {
        cookie_name: CookieName::new(false, "better-auth", None),
        secret: Secret::new(SECRET).unwrap(),
        pool: crm_adapters::postgres::Pool::new(nowhere, crm_adapters::testing::pool_settings(1)),
        clock: clock(),
    };
    for (header, reason) in [
        ("", NotSignedIn::NoCookie),
        ("other=1", NotSignedIn::NoCookie),
        ("better-auth.session_token=", NotSignedIn::BadSignature),
        ("better-auth.session_token=token.AAAA", NotSignedIn::BadSignature),
    ] {
        assert_eq!(reader.find_actor(header.as_bytes()).await.unwrap(), SessionLookup::NotSignedIn(reason), "{header}");
    }
    let signed = format!("better-auth.session_token={}", platform::signed("token", SECRET));
    assert!(reader.find_actor(signed.as_bytes()).await.is_err(), "a signed cookie needs the database");
}

#[tokio::test]
async fn the_session_lookup_uses_the_token_index() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    client
        .batch_execute(
            "INSERT INTO \"user\" (id, name, email) SELECT 'u' || n, 'n', 'e' || n FROM generate_series(1, 5000) n;
             INSERT INTO session (id, user_id, expires_at, token)
               SELECT 's' || n, 'u' || n, now(), 't' || n FROM generate_series(1, 5000) n;
             ANALYZE",
        )
        .await
        .unwrap();
    let rows = client
        .query(
            "EXPLAIN SELECT u.id, u.role FROM session s JOIN \"user\" u ON u.id = s.user_id \
             WHERE s.token = 't7' AND s.expires_at >= now() AND (u.banned IS DISTINCT FROM true OR u.ban_expires <= now())",
            &[],
        )
        .await
        .unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("session_token_unique") && plan.contains("user_pkey"), "{plan}");
    assert!(!plan.contains("Seq Scan"), "{plan}");
}

/// Better Auth's admin plugin adds a column that says who acts as the user. It is optional, and so is the right to read it.
#[tokio::test]
async fn an_impersonated_session_names_the_administrator_where_the_platform_says_so() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::user(&client, "usr_desk", "Desk", Some("receptionist")).await;
    let cookie = platform::sign_in(&client, "usr_desk").await;
    let header = format!("better-auth.session_token={cookie}");
    let reader = reader(&database);
    let impersonator = async || {
        let actor = reader.find_actor(header.as_bytes()).await.unwrap().actor().expect("a session");
        actor.impersonator.map(|id| id.to_string())
    };
    assert_eq!(impersonator().await, None);
    let column =
        "ALTER TABLE session ADD COLUMN impersonated_by text; UPDATE session SET impersonated_by = 'usr_admin'";
    client.batch_execute(column).await.unwrap();
    schema_check::lacks(&reader.pool).await.unwrap();
    assert_eq!(impersonator().await.as_deref(), Some("usr_admin"));
    // The column goes before the schema is looked at again.
    client.batch_execute("ALTER TABLE session DROP COLUMN impersonated_by").await.unwrap();
    assert_eq!(impersonator().await, None);
    client.batch_execute("ALTER TABLE session ADD COLUMN impersonated_by integer").await.unwrap();
    schema_check::lacks(&reader.pool).await.unwrap();
    assert_eq!(impersonator().await, None);
}

/// The audit log says who acted as the actor.
#[tokio::test]
async fn audit_entries_of_an_impersonated_session_name_the_administrator() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::customer(&client, "usr_1", "Asha").await;
    platform::user(&client, "usr_desk", "Desk", Some("receptionist")).await;
    platform::tag(&client, "tag_vip", "VIP", None).await;
    let postgres = Arc::new(database.postgres());
    let tags =
        Tags { store: postgres.clone(), reads: postgres, clock: clock(), ids: Arc::new(SequentialIds::default()) };
    let mut desk = actor("usr_desk", Role::Receptionist);
    desk.impersonator = Some(UserId::parse("usr_admin").unwrap());
    let (customer, tag) = (UserId::parse("usr_1").unwrap(), TagId::parse("tag_vip").unwrap());
    tags.assign(&desk, customer.clone(), tag.clone()).await.unwrap();
    tags.unassign(&desk, &customer, &tag).await.unwrap();
    let sql = "SELECT action::text, actor_id, new_values ->> 'impersonatedBy', new_values ->> 'tagId' FROM audit_log ORDER BY id";
    let entries: Vec<(String, String, Option<String>, Option<String>)> = client
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    let admin = Some("usr_admin".to_owned());
    assert_eq!(
        entries,
        [
            ("create".to_owned(), "usr_desk".to_owned(), admin.clone(), Some("tag_vip".to_owned())),
            ("delete".to_owned(), "usr_desk".to_owned(), admin, None),
        ]
    );
}
