//! Foreign keys: the missing row that a violation reports.

use crm_adapters::testing::{TestDatabase, platform};
use crm_domain::{
    audit::{AuditAction, AuditEntity, AuditEntry, Change},
    ids::{AuditId, BookingId, NoteId, TagId, UserId},
    note::{Note, NoteContent},
    store_error::{Reference, StoreError},
    tag::Assignment,
    testing::NOW,
    unit_of_work::Store as _,
};

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn note(customer: &str, author: &str, booking: &str) -> Note {
    Note {
        id: NoteId::parse("note_1").unwrap(),
        customer: user(customer),
        author: user(author),
        booking: Some(BookingId::parse(booking).unwrap()),
        content: NoteContent::parse("text").unwrap(),
        created_at: NOW,
    }
}

fn assignment(customer: &str, tag: &str, by: &str) -> Assignment {
    Assignment { customer: user(customer), tag: TagId::parse(tag).unwrap(), assigned_by: user(by), assigned_at: NOW }
}

/// The platform chooses the names of its constraints, and PostgreSQL allows the same name on several tables.
#[tokio::test]
async fn a_foreign_key_violation_names_the_missing_row_for_any_constraint_name() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    platform::customer(&client, "usr_1", "Asha Rao").await;
    platform::user(&client, "usr_desk", "Desk", Some("receptionist")).await;
    platform::booking(&client, "bkg_1", "usr_1").await;
    platform::tag(&client, "tag_1", "VIP", None).await;
    client
        .batch_execute(
            "DO $$ DECLARE key record; BEGIN
               FOR key IN
                 SELECT conrelid::regclass AS source, conname, row_number() OVER (PARTITION BY conrelid ORDER BY conname) AS number
                 FROM pg_constraint WHERE contype = 'f'
                   AND conrelid IN ('customer_note'::regclass, 'customer_tag_assignment'::regclass, 'audit_log'::regclass)
               LOOP
                 EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', key.source, key.conname, 'fk_' || key.number);
               END LOOP;
             END $$",
        )
        .await
        .unwrap();
    let postgres = database.postgres();

    for (note, missing) in [
        (note("nobody", "usr_desk", "bkg_1"), Reference::Customer),
        (note("usr_1", "nobody", "bkg_1"), Reference::Actor),
        (note("usr_1", "usr_desk", "nothing"), Reference::Booking),
    ] {
        let outcome = postgres.begin().await.unwrap().insert_note(&note).await;
        assert!(matches!(outcome, Err(StoreError::Missing(found)) if found == missing), "{missing:?}: {outcome:?}");
    }
    for (assignment, missing) in [
        (assignment("nobody", "tag_1", "usr_desk"), Reference::Customer),
        (assignment("usr_1", "nothing", "usr_desk"), Reference::Tag),
        (assignment("usr_1", "tag_1", "nobody"), Reference::Actor),
    ] {
        let outcome = postgres.begin().await.unwrap().insert_assignment(&assignment).await;
        assert!(matches!(outcome, Err(StoreError::Missing(found)) if found == missing), "{missing:?}: {outcome:?}");
    }
    let entity = AuditEntity::Tag(TagId::parse("tag_1").unwrap());
    let change = Change { action: AuditAction::Create, entity, old_values: None, new_values: None };
    let id = AuditId::parse("audit_1").unwrap();
    let entry = AuditEntry { id, actor: user("nobody"), impersonator: None, change, created_at: NOW };
    let outcome = postgres.begin().await.unwrap().insert_audit_entry(&entry).await;
    assert!(matches!(outcome, Err(StoreError::Missing(Reference::Actor))), "{outcome:?}");
}
