//! The platform's migration tool, drizzle-kit, on a database with everything of this service in it: it drops nothing.

use std::{path::Path, process::Stdio};

use crm_adapters::{
    postgres::{
        directory::install::{self, Differences},
        indexes, migrate,
    },
    testing::{TestDatabase, platform},
};
use tokio::process::Command;
use tokio_postgres::Client;

use crate::interop::node;

/// Runs drizzle-kit as the platform does. `out` has the declared schema.
async fn drizzle_kit(command: &[&str], database: &TestDatabase, out: &Path) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drizzle");
    let packages = folder.join("node_modules");
    assert!(packages.exists(), "`just test` installs drizzle-kit; or `npm ci` in {}", folder.display());
    let output = Command::new(node())
        .arg(packages.join("drizzle-kit/bin.cjs"))
        .args(command)
        .args(["--config", "drizzle.config.mjs"])
        .current_dir(folder)
        .env("DATABASE_URL", database.address())
        .env("DRIZZLE_OUT", out)
        // The declared schema lies in another folder than the packages that it imports.
        .env("NODE_PATH", packages)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}");
    printed
}

/// All tables, columns, indexes, functions and triggers of the database, but for the platform's own.
async fn objects(client: &Client) -> Vec<String> {
    let sql = "SELECT c.oid::regclass || ' ' || coalesce(a.attname, '') FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
               WHERE c.relnamespace IN ('crm'::regnamespace, 'public'::regnamespace)
               UNION ALL SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'crm'::regnamespace
               UNION ALL SELECT tgname || ' ' || tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal
               UNION ALL SELECT extname::text FROM pg_extension ORDER BY 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn drizzle_kit_finds_nothing_of_this_service_to_drop() {
    // The platform's database before this service came, whose schema drizzle-kit declares.
    let platform = TestDatabase::empty();
    let sql = include_str!("../fixtures/platform-schema.sql");
    platform.client().await.batch_execute(sql).await.unwrap();
    let out = tempfile::tempdir().unwrap();
    drizzle_kit(&["pull"], &platform, out.path()).await;
    let declared = std::fs::read_to_string(out.path().join("schema.ts")).unwrap();
    assert!(declared.contains("customerNote"), "{declared}");

    // The same with everything that this service adds.
    let database = TestDatabase::empty();
    let client = database.client().await;
    client.batch_execute(sql).await.unwrap();
    platform::customer(&client, "c1", "Asha").await;
    migrate::migrate(&database.connector(), migrate::Platform::Existing).await.unwrap();
    install::install(&database.connector(), &mut |_| {}).await.unwrap();
    let before = objects(&client).await;
    assert!(before.iter().any(|object| object.contains("directory_entry")));
    let printed = drizzle_kit(&["push", "--force", "--verbose"], &database, out.path()).await;
    assert!(printed.contains("No changes detected"), "{printed}");
    assert_eq!(objects(&client).await, before);
    let pulled = tempfile::tempdir().unwrap();
    drizzle_kit(&["pull"], &database, pulled.path()).await;
    assert_eq!(std::fs::read_to_string(pulled.path().join("schema.ts")).unwrap(), declared);

    // What the platform does not know in its own schema is dropped: an index of `crm indexes` too, unless it is declared.
    client.batch_execute("CREATE TABLE public.unknown (id int)").await.unwrap();
    indexes::create_missing(&database.connector(), &mut |_| {}).await.unwrap();
    let printed = drizzle_kit(&["push", "--force", "--verbose"], &database, out.path()).await;
    assert!(printed.contains("DROP TABLE \"unknown\""), "{printed}");
    assert!(printed.contains("DROP INDEX \"customer_note_customer_id_created_at_idx\""), "{printed}");
    let line = indexes::WANTED[0].drizzle();
    let place = "index(\"customer_note_booking_id_idx\")";
    assert!(declared.contains(place), "{declared}");
    std::fs::write(out.path().join("schema.ts"), declared.replace(place, &format!("{line}\n\t{place}"))).unwrap();
    indexes::create_missing(&database.connector(), &mut |_| {}).await.unwrap();
    let printed = drizzle_kit(&["push", "--force", "--verbose"], &database, out.path()).await;
    assert!(printed.contains("No changes detected"), "{printed}");

    assert_eq!(objects(&client).await.len(), before.len() + 2, "the two columns of the index");
    assert_eq!(install::verify(&database.connector()).await.unwrap(), Some(Differences::default()));
}
