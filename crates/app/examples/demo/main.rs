//! Fills an empty database with demo data and prints a `curl` line for each role: the end of `just run`.
//!
//! Reads `DATABASE_URL`, `BETTER_AUTH_SECRET`, `BASE_URL`, `CURL_OPTIONS` (what `curl` needs besides) and, for other
//! sizes than the demo's, `DEMO_CUSTOMERS`.
//! A database that has users already is somebody's: it is left alone.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio_postgres::{Client, NoTls};

const ROLES: [&str; 6] = ["customer", "staff", "receptionist", "manager", "owner", "developer"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let database = variable("DATABASE_URL")?;
    let secret = variable("BETTER_AUTH_SECRET")?;
    let base_url = variable("BASE_URL")?;
    let options = variable("CURL_OPTIONS").unwrap_or_default();
    let customers = variable("DEMO_CUSTOMERS").unwrap_or_else(|_| "400".to_owned());

    let (client, connection) = tokio_postgres::connect(&database, NoTls).await?;
    let connection = tokio::spawn(connection);

    let users: i64 = client.query_one("SELECT count(*) FROM \"user\"", &[]).await?.get(0);
    if users == 0 {
        client.execute("SELECT set_config('demo.customers', $1, false)", &[&customers]).await?;
        // Some bookings are still to come, today.
        let today = "SELECT set_config('demo.today', (now() AT TIME ZONE 'Asia/Kolkata')::date::text, false)";
        client.execute(today, &[]).await?;
        client.batch_execute(include_str!("demo.sql")).await?;
        print(&format!("demo: {customers} customers loaded"));
    }
    if client.query_opt("SELECT FROM \"user\" WHERE id = 'usr_demo_developer'", &[]).await?.is_none() {
        print("demo: this database has users of its own; sign in at the platform to get a session cookie");
        return Ok(());
    }

    print("\nOne line for each role, to be pasted (customer and staff are refused, as they should be):\n");
    for role in ROLES {
        let cookie = sign(&session(&client, role).await?, &secret);
        print(&format!(
            "# {role}\ncurl {options}--cookie 'better-auth.session_token={cookie}' '{base_url}/api/customers?pageSize=3'"
        ));
    }
    print("");
    drop(client);
    connection.await??;
    Ok(())
}

/// Prints a line. A reader that has read enough, such as `head`, is no failure.
fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn variable(name: &str) -> anyhow::Result<String> {
    #[expect(clippy::disallowed_methods, reason = "this program is not the service and has no configuration file")]
    std::env::var(name).map_err(|error| anyhow::anyhow!("{name}: {error}"))
}

/// The token of a session of that role's demo user, for 30 days from now. Better Auth makes random ones; here the
/// token stays the same, so that a printed line goes on working.
async fn session(client: &Client, role: &str) -> anyhow::Result<String> {
    let token = format!("demo-session-of-the-{role}");
    client
        .execute(
            "INSERT INTO session (id, user_id, expires_at, token) \
             VALUES ('ses_demo_' || $1, 'usr_demo_' || $1, now() + interval '30 days', $2) \
             ON CONFLICT (id) DO UPDATE SET expires_at = excluded.expires_at",
            &[&role, &token],
        )
        .await?;
    Ok(token)
}

/// The cookie's value as Better Auth signs and encodes it (`docs/SESSIONS.md`).
fn sign(token: &str, secret: &str) -> String {
    let mac =
        Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|key| key.chain_update(token.as_bytes()).finalize());
    let signature = mac.map(|mac| STANDARD.encode(mac.into_bytes())).unwrap_or_default();
    format!("{token}.{}", signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"))
}
