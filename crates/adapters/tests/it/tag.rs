//! Tags: order, concurrent creations and assignments, rows deleted during a request.

use std::{sync::Arc, time::Duration};

use crm_adapters::{
    postgres::Postgres,
    system::{RandomIds, SystemClock},
    testing::{TestDatabase, platform},
};
use crm_domain::{
    ids::{TagId, UserId},
    role::Role,
    tag::{TagError, TagName, ports::TagReads as _, usecases::Tags},
    testing::actor,
    unit_of_work::Store as _,
};
use tokio::time::timeout;
use tokio_postgres::Client;

use crate::customer::wait_for_blocked_statement;

fn tags(postgres: &Postgres) -> Tags {
    let postgres = Arc::new(postgres.clone());
    Tags { store: postgres.clone(), reads: postgres, clock: Arc::new(SystemClock::new()), ids: Arc::new(RandomIds) }
}

fn customer() -> UserId {
    UserId::parse("usr_1").unwrap()
}

fn tag() -> TagId {
    TagId::parse("tag_1").unwrap()
}

async fn arrange(database: &TestDatabase) -> Client {
    let client = database.client().await;
    for n in 0..10 {
        platform::user(&client, &format!("usr_desk_{n}"), "Desk", Some("receptionist")).await;
    }
    platform::customer(&client, "usr_1", "Asha Rao").await;
    platform::tag(&client, "tag_1", "VIP", None).await;
    client
}

async fn count(client: &Client, from: &str) -> i64 {
    client.query_one(&format!("SELECT count(*) FROM {from}"), &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn tags_are_listed_by_name_ignoring_case_then_id() {
    let database = TestDatabase::migrated();
    let client = database.client().await;
    for (id, name) in [("b", "vip"), ("a", "VIP"), ("c", "Élite"), ("d", "eager"), ("e", "Zoo"), ("f", "bridal")] {
        let sql = "INSERT INTO customer_tag (id, name, slug) VALUES ($1, $2, $1)";
        client.execute(sql, &[&id, &name]).await.unwrap();
    }
    let listed: Vec<String> =
        database.postgres().list_tags().await.unwrap().into_iter().map(|tag| tag.id.to_string()).collect();
    assert_eq!(listed, ["f", "d", "c", "a", "b", "e"]);
}

#[tokio::test(flavor = "local")]
async fn fifty_concurrent_creations_of_one_tag_create_it_once() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    let postgres = database.postgres();
    let attempts: Vec<_> = (0..50)
        .map(|n| {
            let tags = tags(&postgres);
            // Different names with the same slug.
            let name = TagName::parse(if n % 2 == 0 { "At Risk" } else { " at  RISK " }).unwrap();
            tokio::task::spawn_local(async move { tags.create(&actor("usr_desk_0", Role::Manager), &name, None).await })
        })
        .collect();
    let (mut made, mut taken) = (0, 0);
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => made += 1,
            Err(TagError::SlugTaken) => taken += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((made, taken), (1, 49));
    assert_eq!(count(&client, "customer_tag WHERE slug = 'at-risk'").await, 1);
    assert_eq!(count(&client, "audit_log").await, 1);
}

#[tokio::test(flavor = "local")]
async fn fifty_concurrent_assignments_of_one_tag_create_one_row() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    let postgres = database.postgres();
    let attempts: Vec<_> = (0..50)
        .map(|n| {
            let tags = tags(&postgres);
            let desk = actor(&format!("usr_desk_{}", n % 10), Role::Receptionist);
            tokio::task::spawn_local(async move { tags.assign(&desk, customer(), tag()).await })
        })
        .collect();
    for attempt in attempts {
        attempt.await.unwrap().unwrap();
    }
    assert_eq!(count(&client, "customer_tag_assignment").await, 1);
    let same: i64 = count(
        &client,
        "customer_tag_assignment a JOIN audit_log l ON l.actor_id = a.assigned_by AND l.entity_id = 'usr_1:tag_1'",
    )
    .await;
    assert_eq!((same, count(&client, "audit_log").await), (1, 1), "who assigned it first is who is audited");
}

#[tokio::test(flavor = "local")]
async fn fifty_concurrent_unassignments_of_one_tag_are_audited_once() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    platform::assign(&client, "usr_1", "tag_1", "usr_desk_3").await;
    let postgres = database.postgres();
    let attempts: Vec<_> = (0..50)
        .map(|_| {
            let tags = tags(&postgres);
            tokio::task::spawn_local(async move {
                tags.unassign(&actor("usr_desk_0", Role::Receptionist), &customer(), &tag()).await
            })
        })
        .collect();
    for attempt in attempts {
        attempt.await.unwrap().unwrap();
    }
    assert_eq!(count(&client, "customer_tag_assignment").await, 0);
    assert_eq!(
        count(&client, "audit_log WHERE action = 'delete' AND old_values->>'assignedBy' = 'usr_desk_3'").await,
        1
    );
    assert_eq!(count(&client, "audit_log").await, 1);
}

#[tokio::test]
async fn unknown_customers_and_tags_give_different_errors() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    let tags = tags(&database.postgres());
    let desk = actor("usr_desk_0", Role::Receptionist);
    let nobody = UserId::parse("nobody").unwrap();
    let nothing = TagId::parse("nothing").unwrap();
    assert!(matches!(tags.assign(&desk, nobody.clone(), nothing.clone()).await, Err(TagError::CustomerNotFound)));
    // A user without a profile is not a customer.
    let staff = UserId::parse("usr_desk_1").unwrap();
    assert!(matches!(tags.assign(&desk, staff, tag()).await, Err(TagError::CustomerNotFound)));
    assert!(matches!(tags.assign(&desk, customer(), nothing.clone()).await, Err(TagError::NotFound)));
    tags.unassign(&desk, &nobody, &nothing).await.unwrap();
    assert_eq!(count(&client, "audit_log").await, 0);
}

/// The platform deletes a row that the assignment references, between the check and the insert.
#[tokio::test(flavor = "local")]
async fn a_customer_or_tag_deleted_during_an_assignment_is_not_found() {
    for (deletion, customer_gone) in
        [("DELETE FROM \"user\" WHERE id = 'usr_1'", true), ("DELETE FROM customer_tag WHERE id = 'tag_1'", false)]
    {
        let database = TestDatabase::migrated();
        let mut platform = arrange(&database).await;
        let transaction = platform.transaction().await.unwrap();
        transaction.batch_execute(deletion).await.unwrap();
        let tags = tags(&database.postgres());
        let waiting = tokio::task::spawn_local(async move {
            tags.assign(&actor("usr_desk_0", Role::Receptionist), customer(), tag()).await
        });
        wait_for_blocked_statement(&database).await;
        transaction.commit().await.unwrap();
        let outcome = waiting.await.unwrap();
        if customer_gone {
            assert!(matches!(outcome, Err(TagError::CustomerNotFound)), "{outcome:?}");
        } else {
            assert!(matches!(outcome, Err(TagError::NotFound)), "{outcome:?}");
        }
        assert_eq!(count(&database.client().await, "audit_log").await, 0);
    }
}

#[tokio::test]
async fn a_failed_audit_entry_rolls_back_the_change() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    client.batch_execute("ALTER TABLE audit_log ADD CONSTRAINT no_more CHECK (false)").await.unwrap();
    let tags = tags(&database.postgres());
    let desk = actor("usr_desk_0", Role::Manager);
    let name = TagName::parse("New").unwrap();
    assert!(matches!(tags.create(&desk, &name, None).await, Err(TagError::Store(_))));
    assert!(matches!(tags.assign(&desk, customer(), tag()).await, Err(TagError::Store(_))));
    assert_eq!(count(&client, "customer_tag").await, 1);
    assert_eq!(count(&client, "customer_tag_assignment").await, 0);
}

/// Someone who writes to the platform's table directly, and takes no lock but those of its foreign keys. The merge waits for
/// them, and they must not wait for the merge.
#[tokio::test]
async fn a_merge_waits_for_a_direct_assignment_of_the_tag_that_stays() {
    let database = TestDatabase::migrated();
    let client = arrange(&database).await;
    platform::tag(&client, "tag_2", "Gold", None).await;
    platform::assign(&client, "usr_1", "tag_1", "usr_desk_0").await;
    let mut unit = database.postgres().begin().await.unwrap();
    let (from, into) = (tag(), TagId::parse("tag_2").unwrap());
    assert_eq!(unit.lock_tags(&[from.clone(), into.clone()]).await.unwrap().len(), 2);
    unit.bar_assignments(&from).await.unwrap();

    let mut platform = database.client().await;
    let direct = platform.transaction().await.unwrap();
    let insert = "INSERT INTO customer_tag_assignment (customer_id, tag_id, assigned_by) VALUES ('usr_1', 'tag_2', 'usr_desk_1')";
    timeout(Duration::from_secs(60), direct.batch_execute(insert)).await.expect("it waits for nobody").unwrap();

    let (copied, ()) = futures_util::future::join(unit.copy_assignments(&from, &into), async {
        wait_for_blocked_statement(&database).await;
        direct.commit().await.unwrap();
    })
    .await;
    assert_eq!(copied.unwrap(), [], "usr_1 has the tag already");
    unit.delete_all_assignments(&from).await.unwrap();
    unit.delete_tag(&from).await.unwrap();
    unit.commit().await.unwrap();
    assert_eq!(
        count(&client, "customer_tag_assignment WHERE tag_id = 'tag_2' AND assigned_by = 'usr_desk_1'").await,
        1
    );
}
