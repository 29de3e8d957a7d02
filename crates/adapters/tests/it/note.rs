//! Notes: writing, listing, rejection, rows deleted during a request.

use std::sync::Arc;

use crm_adapters::{
    postgres::Postgres,
    system::{RandomIds, SystemClock},
    testing::{TestDatabase, platform},
};
use crm_domain::{
    ids::{BookingId, UserId},
    note::{NoteContent, NoteError, ports::NoteReads as _, usecases::Notes},
    page::{PageNumber, PageRequest, PageSize},
    role::Role,
    testing::actor,
};
use tokio_postgres::Client;

use crate::customer::wait_for_blocked_statement;

fn notes(postgres: &Postgres) -> Notes {
    let postgres = Arc::new(postgres.clone());
    Notes { store: postgres.clone(), reads: postgres, clock: Arc::new(SystemClock::new()), ids: Arc::new(RandomIds) }
}

fn id(text: &str) -> UserId {
    UserId::parse(text).unwrap()
}

fn content(text: &str) -> NoteContent {
    NoteContent::parse(text).unwrap()
}

fn booking(text: &str) -> BookingId {
    BookingId::parse(text).unwrap()
}

async fn arrange(database: &TestDatabase) -> Client {
    let client = database.client().await;
    platform::user(&client, "usr_desk", "Desk Person", Some("receptionist")).await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    platform::customer(&client, "usr_2", "Bela Shah").await;
    platform::booking(&client, "bkg_1", "usr_1").await;
    platform::booking(&client, "bkg_2", "usr_2").await;
    client
}

async fn count(client: &Client, from: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {from}"), &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_note_is_stored_as_written_and_its_audit_entry_omits_the_text() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    let postgres = database.postgres();
    let desk = actor("usr_desk", Role::Receptionist);
    let written = notes(&postgres)
        .write(&desk, id("usr_1"), content("allergic to ammonia"), Some(booking("bkg_1")))
        .await
        .unwrap();
    let page = postgres.list_notes(&id("usr_1"), PageRequest::default()).await.unwrap().unwrap();
    assert_eq!(page.total_count, 1);
    assert_eq!(page.items[0], written);
    assert_eq!(written.author_name, "Desk Person");
    let audit = client
        .query_one(
            "SELECT action::text, entity_type, entity_id, old_values IS NULL, audit_log::text FROM audit_log",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(audit.get::<_, String>(0), "create");
    assert_eq!(audit.get::<_, String>(1), "customer_note");
    assert_eq!(audit.get::<_, String>(2), written.note.id.to_string());
    assert!(audit.get::<_, bool>(3));
    assert!(!audit.get::<_, String>(4).contains("ammonia"));
}

#[tokio::test]
async fn notes_are_listed_newest_first_and_pages_have_the_exact_total() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    client
        .batch_execute(
            "INSERT INTO customer_note (id, customer_id, author_id, content, created_at)
               SELECT 'note_' || n, 'usr_1', 'usr_desk', 'text', timestamptz '2026-01-01' + (n / 2) * interval '1 day' FROM generate_series(1, 9) n",
        )
        .await
        .unwrap();
    let postgres = database.postgres();
    let mut listed = Vec::new();
    for number in 1..=4 {
        let request = PageRequest { number: PageNumber::parse(number).unwrap(), size: PageSize::parse(4).unwrap() };
        let page = postgres.list_notes(&id("usr_1"), request).await.unwrap().unwrap();
        assert_eq!(page.total_count, 9);
        listed.extend(page.items.into_iter().map(|listed| listed.note.id.to_string()));
    }
    assert_eq!(listed, ["note_9", "note_8", "note_7", "note_6", "note_5", "note_4", "note_3", "note_2", "note_1"]);

    let none = postgres.list_notes(&id("usr_2"), PageRequest::default()).await.unwrap().unwrap();
    assert_eq!((none.items.len(), none.total_count), (0, 0));
    assert_eq!(postgres.list_notes(&id("usr_desk"), PageRequest::default()).await.unwrap(), None);
    assert_eq!(postgres.list_notes(&id("nobody"), PageRequest::default()).await.unwrap(), None);
}

#[tokio::test]
async fn rejected_notes_leave_no_rows() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    let notes = notes(&database.postgres());
    let desk = actor("usr_desk", Role::Receptionist);
    for customer in ["nobody", "usr_desk"] {
        let outcome = notes.write(&desk, id(customer), content("text"), Some(booking("bkg_1"))).await;
        assert!(matches!(outcome, Err(NoteError::CustomerNotFound)), "{outcome:?}");
    }
    for wrong in ["bkg_2", "nothing"] {
        let outcome = notes.write(&desk, id("usr_1"), content("text"), Some(booking(wrong))).await;
        assert!(matches!(outcome, Err(NoteError::BookingNotOfCustomer)), "{outcome:?}");
    }
    client.batch_execute("ALTER TABLE audit_log ADD CONSTRAINT no_more CHECK (false)").await.unwrap();
    assert!(matches!(notes.write(&desk, id("usr_1"), content("text"), None).await, Err(NoteError::Store(_))));
    assert_eq!(count(&client, "customer_note").await, 0);
    assert_eq!(count(&client, "audit_log").await, 0);
}

/// The platform deletes a row that the note references, between the check and the insert.
#[tokio::test(flavor = "local")]
async fn rows_deleted_while_a_note_is_written_give_the_matching_error() {
    for (deletion, customer_gone) in [
        ("DELETE FROM booking WHERE id = 'bkg_1'; DELETE FROM \"user\" WHERE id = 'usr_1'", true),
        ("DELETE FROM booking WHERE id = 'bkg_1'", false),
    ] {
        let database = TestDatabase::migrated();
        let mut platform = arrange(&database).await;
        let transaction = platform.transaction().await.unwrap();
        transaction.batch_execute(deletion).await.unwrap();
        let notes = notes(&database.postgres());
        let waiting = tokio::task::spawn_local(async move {
            let desk = actor("usr_desk", Role::Receptionist);
            notes.write(&desk, id("usr_1"), content("text"), Some(booking("bkg_1"))).await
        });
        wait_for_blocked_statement(&database).await;
        transaction.commit().await.unwrap();
        let outcome = waiting.await.unwrap();
        if customer_gone {
            assert!(matches!(outcome, Err(NoteError::CustomerNotFound)), "{outcome:?}");
        } else {
            assert!(matches!(outcome, Err(NoteError::BookingNotOfCustomer)), "{outcome:?}");
        }
        assert_eq!(count(&database.client().await, "audit_log").await, 0);
    }
}
