//! What the platform's own programs write: users, profiles, tags, bookings, sessions.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio_postgres::{Client, types::ToSql};

/// The platform's secret in tests.
pub const SECRET: &str = "test-secret-of-at-least-32-characters-long!!";

async fn execute(client: &Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) {
    client.execute(sql, parameters).await.expect("a row of the platform's");
}

/// A user with that role and no profile.
pub async fn user(client: &Client, id: &str, name: &str, role: Option<&str>) {
    let email = format!("{id}@example.com");
    let sql =
        "INSERT INTO \"user\" (id, name, email, role, created_at) VALUES ($1, $2, $3, $4, '2025-01-02T03:04:05.678Z')";
    execute(client, sql, &[&id, &name, &email, &role]).await;
}

/// A user with role `customer` and an empty profile, `prof_<id>`.
pub async fn customer(client: &Client, id: &str, name: &str) {
    user(client, id, name, Some("customer")).await;
    profile(client, id).await;
}

/// An empty profile of that user, `prof_<id>`.
pub async fn profile(client: &Client, user_id: &str) {
    let sql = "INSERT INTO customer_profile (id, user_id, created_at, updated_at) \
               VALUES ('prof_' || $1, $1, '2025-01-02T03:04:05.678Z', '2025-01-02T03:04:05.678Z')";
    execute(client, sql, &[&user_id]).await;
}

/// A tag with the slug that its name gives.
pub async fn tag(client: &Client, id: &str, name: &str, color: Option<&str>) {
    let sql = "INSERT INTO customer_tag (id, name, slug, color, created_at) \
               VALUES ($1, $2, replace(lower($2), ' ', '-'), $3, '2025-01-02T03:04:05.678Z')";
    execute(client, sql, &[&id, &name, &color]).await;
}

/// Puts a tag on a customer.
pub async fn assign(client: &Client, customer: &str, tag: &str, by: &str) {
    let sql = "INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by) VALUES ($1, $2, $3)";
    execute(client, sql, &[&customer, &tag, &by]).await;
}

/// A booking of that customer.
pub async fn booking(client: &Client, id: &str, customer: &str) {
    let sql = "INSERT INTO booking (id, booking_number, branch_id, customer_id, service_type, booking_date, start_time, end_time) \
               VALUES ($1, $1, 'branch_1', $2, 'salon', '2026-11-23', '10:00', '11:00')";
    execute(client, sql, &[&id, &customer]).await;
}

/// A session of that user for 30 days, and the signed value of its cookie.
pub async fn sign_in(client: &Client, user_id: &str) -> String {
    let token = format!("token-of-{user_id}");
    let sql = "INSERT INTO session (id, user_id, expires_at, token) VALUES ('ses_' || $1, $1, now() + interval '30 days', $2)";
    execute(client, sql, &[&user_id, &token]).await;
    signed(&token, SECRET)
}

/// A cookie's value as Better Auth signs and encodes it.
#[must_use]
pub fn signed(token: &str, secret: &str) -> String {
    let key = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("an HMAC key may have any length");
    let signature = STANDARD.encode(key.chain_update(token.as_bytes()).finalize().into_bytes());
    format!("{token}.{}", signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"))
}
