//! What the front desk and managers do with tags.

use std::sync::Arc;

use super::{Assignment, Tag, TagColor, TagError, TagName, ports::TagReads};
use crate::{
    audit::AuditEntry,
    clock::Clock,
    ids::{Ids, TagId, UserId},
    role::Actor,
    store::{Reference, Store, StoreError, Tx, conclude},
};

/// The tags' use cases.
pub struct Tags {
    /// Units of work.
    pub store: Arc<dyn Store>,
    /// Reading tags.
    pub reads: Arc<dyn TagReads>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn Ids>,
}

impl Tags {
    /// Every tag, by name.
    pub async fn list(&self) -> Result<Vec<Tag>, StoreError> {
        self.reads.list_tags().await
    }

    /// Makes a tag.
    pub async fn create(&self, actor: &Actor, name: &TagName, color: Option<&TagColor>) -> Result<Tag, TagError> {
        let tag = Tag::new(self.ids.tag(), name, color, self.clock.now());
        let mut tx = self.store.begin().await?;
        let outcome = self.create_in(&mut *tx, actor, tag).await;
        conclude(tx, outcome).await
    }

    async fn create_in(&self, tx: &mut dyn Tx, actor: &Actor, tag: Tag) -> Result<Tag, TagError> {
        if !tx.insert_tag(&tag).await? {
            return Err(TagError::SlugTaken);
        }
        let change = tag.creation();
        let entry = AuditEntry { id: self.ids.audit(), actor: actor.id.clone(), change, created_at: tag.created_at };
        tx.insert_audit_entry(&entry).await?;
        Ok(tag)
    }

    /// Puts a tag on a customer. Idempotent: a second assignment changes nothing, who assigned it first included.
    pub async fn assign(&self, actor: &Actor, customer: UserId, tag: TagId) -> Result<(), TagError> {
        let assignment = Assignment { customer, tag, assigned_by: actor.id.clone(), assigned_at: self.clock.now() };
        let mut tx = self.store.begin().await?;
        let outcome = self.assign_in(&mut *tx, actor, &assignment).await;
        conclude(tx, outcome).await
    }

    async fn assign_in(&self, tx: &mut dyn Tx, actor: &Actor, assignment: &Assignment) -> Result<(), TagError> {
        if !tx.customer_exists(&assignment.customer).await? {
            return Err(TagError::CustomerNotFound);
        }
        if !tx.tag_exists(&assignment.tag).await? {
            return Err(TagError::NotFound);
        }
        // Both were there a moment ago; either may be gone by now.
        let inserted = tx.insert_assignment(assignment).await.map_err(|error| match error {
            StoreError::Missing(Reference::Customer) => TagError::CustomerNotFound,
            StoreError::Missing(Reference::Tag) => TagError::NotFound,
            other => TagError::Store(other),
        })?;
        if inserted {
            let entry = AuditEntry {
                id: self.ids.audit(),
                actor: actor.id.clone(),
                change: assignment.creation(),
                created_at: assignment.assigned_at,
            };
            tx.insert_audit_entry(&entry).await?;
        }
        Ok(())
    }

    /// Takes a tag off a customer; fine when there was nothing to take off.
    pub async fn unassign(&self, actor: &Actor, customer: &UserId, tag: &TagId) -> Result<(), TagError> {
        let mut tx = self.store.begin().await?;
        let outcome = self.unassign_in(&mut *tx, actor, customer, tag).await;
        conclude(tx, outcome).await
    }

    async fn unassign_in(
        &self,
        tx: &mut dyn Tx,
        actor: &Actor,
        customer: &UserId,
        tag: &TagId,
    ) -> Result<(), TagError> {
        if let Some(removed) = tx.delete_assignment(customer, tag).await? {
            let entry = AuditEntry {
                id: self.ids.audit(),
                actor: actor.id.clone(),
                change: removed.deletion(),
                created_at: self.clock.now(),
            };
            tx.insert_audit_entry(&entry).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{AuditAction, AuditEntity},
        role::Role,
        tag::ports::MockTagReads,
        testing::{MockTx, NOW, SequentialIds, actor, clock, store_of, unavailable},
    };

    fn tags(store: Arc<dyn Store>) -> Tags {
        Tags { store, reads: Arc::new(MockTagReads::new()), clock: clock(), ids: Arc::new(SequentialIds::default()) }
    }

    fn desk() -> Actor {
        actor("usr_desk", Role::Receptionist)
    }

    fn ids() -> (UserId, TagId) {
        (UserId::parse("usr_1").unwrap(), TagId::parse("tag_1").unwrap())
    }

    /// A unit of work that sees the customer and the tag, ends in a roll-back, and never audits.
    fn refusing_tx() -> MockTx {
        let mut tx = MockTx::new();
        tx.expect_customer_exists().returning(|_| Ok(true));
        tx.expect_tag_exists().returning(|_| Ok(true));
        tx.expect_rollback().times(1).returning(|| Ok(()));
        tx
    }

    async fn assign(tx: MockTx) -> Result<(), TagError> {
        let (customer, tag) = ids();
        tags(store_of(tx)).assign(&desk(), customer, tag).await
    }

    #[tokio::test]
    async fn a_new_tag_is_inserted_audited_and_committed() {
        let mut tx = MockTx::new();
        tx.expect_insert_tag().times(1).withf(|tag| tag.slug == "at-risk").returning(|_| Ok(true));
        tx.expect_insert_audit_entry()
            .times(1)
            .withf(|entry| entry.change.action == AuditAction::Create && entry.actor.as_str() == "usr_desk")
            .returning(|_| Ok(()));
        tx.expect_commit().times(1).returning(|| Ok(()));

        let name = TagName::parse("At Risk").unwrap();
        let tag = tags(store_of(tx)).create(&desk(), &name, None).await.unwrap();
        assert_eq!((tag.name.as_str(), tag.created_at), ("At Risk", NOW));
        assert!(tag.id.as_str().starts_with("tag_"));
    }

    #[tokio::test]
    async fn a_taken_slug_is_refused_without_an_effect() {
        let mut tx = MockTx::new();
        tx.expect_insert_tag().returning(|_| Ok(false));
        tx.expect_rollback().times(1).returning(|| Ok(()));

        let name = TagName::parse("VIP").unwrap();
        let answer = tags(store_of(tx)).create(&desk(), &name, None).await;
        assert!(matches!(answer, Err(TagError::SlugTaken)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_failing_audit_undoes_the_tag() {
        let mut tx = MockTx::new();
        tx.expect_insert_tag().returning(|_| Ok(true));
        tx.expect_insert_audit_entry().returning(|_| Err(unavailable()));
        tx.expect_rollback().times(1).returning(|| Ok(()));

        let name = TagName::parse("VIP").unwrap();
        let answer = tags(store_of(tx)).create(&desk(), &name, None).await;
        assert!(matches!(answer, Err(TagError::Store(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn a_first_assignment_is_audited() {
        let mut tx = MockTx::new();
        tx.expect_customer_exists().returning(|_| Ok(true));
        tx.expect_tag_exists().returning(|_| Ok(true));
        tx.expect_insert_assignment()
            .times(1)
            .withf(|row| row.assigned_by.as_str() == "usr_desk" && row.assigned_at == NOW)
            .returning(|_| Ok(true));
        tx.expect_insert_audit_entry()
            .times(1)
            .withf(|entry| {
                let (customer, tag) = ids();
                entry.change.entity == AuditEntity::TagAssignment(customer, tag)
            })
            .returning(|_| Ok(()));
        tx.expect_commit().times(1).returning(|| Ok(()));
        assign(tx).await.unwrap();
    }

    #[tokio::test]
    async fn a_second_assignment_is_fine_and_not_audited() {
        let mut tx = MockTx::new();
        tx.expect_customer_exists().returning(|_| Ok(true));
        tx.expect_tag_exists().returning(|_| Ok(true));
        tx.expect_insert_assignment().returning(|_| Ok(false));
        tx.expect_commit().times(1).returning(|| Ok(()));
        assign(tx).await.unwrap();
    }

    #[tokio::test]
    async fn the_customer_is_looked_for_before_the_tag() {
        let mut tx = MockTx::new();
        tx.expect_customer_exists().returning(|_| Ok(false));
        tx.expect_rollback().times(1).returning(|| Ok(()));
        let answer = assign(tx).await;
        assert!(matches!(answer, Err(TagError::CustomerNotFound)), "{answer:?}");
    }

    #[tokio::test]
    async fn an_unknown_tag_is_refused() {
        let mut tx = MockTx::new();
        tx.expect_customer_exists().returning(|_| Ok(true));
        tx.expect_tag_exists().returning(|_| Ok(false));
        tx.expect_rollback().times(1).returning(|| Ok(()));
        let answer = assign(tx).await;
        assert!(matches!(answer, Err(TagError::NotFound)), "{answer:?}");
    }

    #[tokio::test]
    async fn what_went_away_meanwhile_is_not_found() {
        let mut tx = refusing_tx();
        tx.expect_insert_assignment().returning(|_| Err(StoreError::Missing(Reference::Customer)));
        let answer = assign(tx).await;
        assert!(matches!(answer, Err(TagError::CustomerNotFound)), "{answer:?}");

        let mut tx = refusing_tx();
        tx.expect_insert_assignment().returning(|_| Err(StoreError::Missing(Reference::Tag)));
        let answer = assign(tx).await;
        assert!(matches!(answer, Err(TagError::NotFound)), "{answer:?}");

        let mut tx = refusing_tx();
        tx.expect_insert_assignment().returning(|_| Err(unavailable()));
        let answer = assign(tx).await;
        assert!(matches!(answer, Err(TagError::Store(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn removing_tells_the_audit_what_was_there() {
        let mut tx = MockTx::new();
        tx.expect_delete_assignment().times(1).returning(|customer, tag| {
            Ok(Some(Assignment {
                customer: customer.clone(),
                tag: tag.clone(),
                assigned_by: UserId::parse("usr_first").unwrap(),
                assigned_at: NOW,
            }))
        });
        tx.expect_insert_audit_entry()
            .times(1)
            .withf(|entry| entry.change.action == AuditAction::Delete && entry.change.old_values.is_some())
            .returning(|_| Ok(()));
        tx.expect_commit().times(1).returning(|| Ok(()));
        let (customer, tag) = ids();
        tags(store_of(tx)).unassign(&desk(), &customer, &tag).await.unwrap();
    }

    #[tokio::test]
    async fn removing_nothing_is_fine_and_not_audited() {
        let mut tx = MockTx::new();
        tx.expect_delete_assignment().returning(|_, _| Ok(None));
        tx.expect_commit().times(1).returning(|| Ok(()));
        let (customer, tag) = ids();
        tags(store_of(tx)).unassign(&desk(), &customer, &tag).await.unwrap();
    }
}
