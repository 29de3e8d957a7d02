//! The tag use cases: list, create, change, merge and delete tags, assign and remove them.

use std::sync::Arc;

use time::OffsetDateTime;

use super::{
    Assignment, BulkAssignment, BulkOutcome, CountedTag, Tag, TagColor, TagError, TagMerge, TagName, TagUpdate,
    ports::{AssignmentTarget, TagReads},
};
use crate::{
    audit::{AuditEntry, Change},
    clock::Clock,
    ids::{Ids, TagId, UserId},
    precondition::Precondition,
    role::Actor,
    store_error::{Reference, StoreError},
    unit_of_work::{Store, UnitOfWork},
};

/// The tags' use cases.
#[derive(Clone)]
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
    /// The same use cases on another store.
    #[must_use]
    pub fn on(&self, store: Arc<dyn Store>) -> Self {
        Self { store, ..self.clone() }
    }

    /// Every tag, by name, with the number of customers who have it.
    pub async fn list_counted(&self) -> Result<Vec<CountedTag>, StoreError> {
        self.reads.list_counted_tags().await
    }

    /// Every tag, by name.
    pub async fn list(&self) -> Result<Vec<Tag>, StoreError> {
        self.reads.list_tags().await
    }

    /// Creates a tag.
    pub async fn create(&self, actor: &Actor, name: &TagName, color: Option<&TagColor>) -> Result<Tag, TagError> {
        let created = self.store.transaction(async |unit| {
            // Not before the unit of work has begun, which may have waited for a connection.
            let tag = Tag::new(self.ids.tag(), name, color, self.clock.now());
            if !unit.insert_tag(&tag).await? {
                return Err(TagError::SlugTaken);
            }
            unit.insert_audit_entry(&self.entry(actor, tag.creation(), tag.created_at)).await?;
            Ok(tag)
        });
        created.await
    }

    /// Assigns a tag to a customer. Idempotent: a second assignment changes nothing, who assigned it first included.
    pub async fn assign(&self, actor: &Actor, customer: UserId, tag: TagId) -> Result<(), TagError> {
        let assigned = self.store.transaction(async |unit| {
            let AssignmentTarget { customer_exists, tag_exists } = unit.lock_assignment(&customer, &tag).await?;
            if !customer_exists {
                return Err(TagError::CustomerNotFound);
            }
            if !tag_exists {
                return Err(TagError::NotFound);
            }
            // Under the lock, so that the times of one assignment's changes never go back.
            let assigned_at = self.clock.now();
            let assignment = Assignment { customer, tag, assigned_by: actor.id.clone(), assigned_at };
            // Both were there a moment ago; either may be gone by now.
            let inserted = unit.insert_assignment(&assignment).await.map_err(|error| match error {
                StoreError::Missing(Reference::Customer) => TagError::CustomerNotFound,
                StoreError::Missing(Reference::Tag) => TagError::NotFound,
                other => TagError::Store(other),
            })?;
            if inserted {
                unit.insert_audit_entry(&self.entry(actor, assignment.creation(), assigned_at)).await?;
            }
            Ok(())
        });
        assigned.await
    }

    /// Removes a tag from a customer. It succeeds also when there was nothing to remove.
    pub async fn unassign(&self, actor: &Actor, customer: &UserId, tag: &TagId) -> Result<(), TagError> {
        let removed = self.store.transaction(async |unit| {
            unit.lock_assignment(customer, tag).await?;
            // Under the lock, so that the times of one assignment's changes never go back.
            let now = self.clock.now();
            if let Some(removed) = unit.delete_assignment(customer, tag).await? {
                unit.insert_audit_entry(&self.entry(actor, removed.deletion(), now)).await?;
            }
            Ok(())
        });
        removed.await
    }

    /// Changes a tag's name, colour or description, and gives the tag as it is then. What equals the stored values changes
    /// nothing and leaves no audit entry.
    pub async fn update(
        &self,
        actor: &Actor,
        id: &TagId,
        update: TagUpdate,
        precondition: &Precondition<'_, Tag>,
    ) -> Result<Tag, TagError> {
        let updated = self.store.transaction(async |unit| {
            let mut tag = lock_one(unit, id).await?;
            precondition.check(&tag)?;
            let new_name = update.name.as_ref().filter(|name| name.as_str() != tag.name);
            let slug = new_name.map(TagName::slug);
            let Some(change) = tag.update(update) else { return Ok(tag) };
            if let Some(slug) = slug
                && unit.has_slug(&slug, id).await?
            {
                return Err(TagError::SlugTaken);
            }
            let now = self.clock.now();
            unit.save_tag(&tag).await?;
            unit.insert_audit_entry(&self.entry(actor, change, now)).await?;
            Ok(tag)
        });
        updated.await
    }

    /// Deletes a tag. Customers who have it keep it from being deleted, unless `unassign` takes it off them first.
    pub async fn delete(
        &self,
        actor: &Actor,
        id: &TagId,
        unassign: bool,
        precondition: &Precondition<'_, Tag>,
    ) -> Result<(), TagError> {
        let deleted = self.store.transaction(async |unit| {
            let tag = lock_one(unit, id).await?;
            precondition.check(&tag)?;
            unit.bar_assignments(id).await?;
            if !unassign {
                let count = unit.count_assignments(id).await?;
                if count > 0 {
                    return Err(TagError::InUse(count));
                }
            }
            let now = self.clock.now();
            let removed = unit.delete_all_assignments(id).await?;
            unit.delete_tag(id).await?;
            let changes = removed.iter().map(Assignment::deletion).chain([tag.deletion()]);
            unit.insert_audit_entries(&self.entries(actor, changes, now)).await.map_err(TagError::from)
        });
        deleted.await
    }

    /// Merges a tag into another one: everyone who has the one has the other afterwards, and the one is deleted. Gives the
    /// one that stays.
    pub async fn merge(&self, actor: &Actor, merge: &TagMerge) -> Result<Tag, TagError> {
        let TagMerge { id, into } = merge;
        let merged = self.store.transaction_on_many(async |unit: &mut dyn UnitOfWork| {
            let tags = unit.lock_tags(&[id.clone(), into.clone()]).await?;
            let of = |id: &TagId| tags.iter().find(|tag| tag.id == *id);
            let tag = of(id).ok_or(TagError::NotFound)?;
            let stays = of(into).ok_or(TagError::IntoNotFound)?;
            // Of the one that goes alone. An assignment of the other one that waits for this would be waited for by the copy.
            unit.bar_assignments(id).await?;
            let now = self.clock.now();
            // First added, then removed: the other order could make this and a deletion of a customer wait for each other.
            let added = unit.copy_assignments(id, into).await?;
            let removed = unit.delete_all_assignments(id).await?;
            unit.delete_tag(id).await?;
            let added = added.iter().map(Assignment::creation);
            let changes = added.chain(removed.iter().map(Assignment::deletion)).chain([tag.deletion()]);
            unit.insert_audit_entries(&self.entries(actor, changes, now)).await?;
            Ok(stays.clone())
        });
        merged.await
    }

    /// Assigns a tag to many customers and takes it off others: all of it, or nothing. Idempotent. Unknown customers are
    /// named, not refused.
    pub async fn assign_many(
        &self,
        actor: &Actor,
        tag: &TagId,
        bulk: &BulkAssignment,
    ) -> Result<BulkOutcome, TagError> {
        let assigned = self.store.transaction_on_many(async |unit: &mut dyn UnitOfWork| {
            if !unit.hold_tag(tag).await? {
                return Err(TagError::NotFound);
            }
            let all = bulk.all();
            let known = unit.lock_assignments(tag, &all).await?;
            // Under the locks, so that the times of one assignment's changes never go back.
            let now = self.clock.now();
            let assignments = bulk.assign().into_iter().filter(|customer| known.contains(customer)).map(|customer| {
                Assignment { customer, tag: tag.clone(), assigned_by: actor.id.clone(), assigned_at: now }
            });
            let assignments: Vec<Assignment> = assignments.collect();
            let added = unit.insert_assignments(&assignments).await?;
            let removed = unit.delete_assignments(tag, &bulk.remove()).await?;
            let changes = added.iter().map(Assignment::creation).chain(removed.iter().map(Assignment::deletion));
            unit.insert_audit_entries(&self.entries(actor, changes, now)).await?;
            let is_changed = |id: &UserId| removed.iter().any(|assignment| assignment.customer == *id);
            let (found, not_found): (Vec<_>, Vec<_>) =
                all.into_iter().partition(|id| known.contains(id) || is_changed(id));
            let count = |items: usize| u64::try_from(items).unwrap_or(u64::MAX);
            Ok(BulkOutcome {
                assigned: count(added.len()),
                removed: count(removed.len()),
                unchanged: count(found.len() - added.len() - removed.len()),
                not_found,
            })
        });
        assigned.await
    }

    fn entry(&self, actor: &Actor, change: Change, created_at: OffsetDateTime) -> AuditEntry {
        AuditEntry::new(self.ids.audit(), actor, change, created_at)
    }

    fn entries(&self, actor: &Actor, changes: impl Iterator<Item = Change>, at: OffsetDateTime) -> Vec<AuditEntry> {
        changes.map(|change| self.entry(actor, change, at)).collect()
    }
}

async fn lock_one(unit: &mut dyn UnitOfWork, id: &TagId) -> Result<Tag, TagError> {
    unit.lock_tags(std::slice::from_ref(id)).await?.pop().ok_or(TagError::NotFound)
}

#[cfg(test)]
mod tests {
    use mockall::Sequence;

    use super::*;
    use crate::{
        audit::{AuditAction, AuditEntity},
        clock::MockClock,
        role::Role,
        tag::{MergeError, ports::MockTagReads},
        testing::{
            MockStore, MockUnitOfWork, NOW, SequentialIds, actor, clock, store_of, store_that_must_not_begin,
            unavailable,
        },
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

    /// A unit of work that finds the customer and the tag, must be rolled back, and writes no audit entry.
    fn unit_that_rolls_back() -> MockUnitOfWork {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_assignment()
            .times(1)
            .returning(|_, _| Ok(AssignmentTarget { customer_exists: true, tag_exists: true }));
        unit.expect_rollback().times(1).returning(|| Ok(()));
        unit
    }

    async fn assign(unit: MockUnitOfWork) -> Result<(), TagError> {
        let (customer, tag) = ids();
        tags(store_of(unit)).assign(&desk(), customer, tag).await
    }

    #[tokio::test]
    async fn a_new_tag_is_inserted_audited_and_committed() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_insert_tag().times(1).withf(|tag| tag.slug == "at-risk").returning(|_| Ok(true));
        unit.expect_insert_audit_entry()
            .times(1)
            .withf(|entry| entry.change.action == AuditAction::Create && entry.actor.as_str() == "usr_desk")
            .returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));

        let name = TagName::parse("At Risk").unwrap();
        let tag = tags(store_of(unit)).create(&desk(), &name, None).await.unwrap();
        assert_eq!((tag.name.as_str(), tag.created_at), ("At Risk", NOW));
        assert!(tag.id.as_str().starts_with("tag_"));
    }

    #[tokio::test]
    async fn a_taken_slug_is_rejected_and_rolled_back() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_insert_tag().returning(|_| Ok(false));
        unit.expect_rollback().times(1).returning(|| Ok(()));

        let name = TagName::parse("VIP").unwrap();
        let answer = tags(store_of(unit)).create(&desk(), &name, None).await;
        assert!(matches!(answer, Err(TagError::SlugTaken)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_failed_audit_entry_rolls_back_the_tag() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_insert_tag().returning(|_| Ok(true));
        unit.expect_insert_audit_entry().returning(|_| Err(unavailable()));
        unit.expect_rollback().times(1).returning(|| Ok(()));

        let name = TagName::parse("VIP").unwrap();
        let answer = tags(store_of(unit)).create(&desk(), &name, None).await;
        assert!(matches!(answer, Err(TagError::Store(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn a_first_assignment_is_audited() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_assignment()
            .times(1)
            .returning(|_, _| Ok(AssignmentTarget { customer_exists: true, tag_exists: true }));
        unit.expect_insert_assignment()
            .times(1)
            .withf(|row| row.assigned_by.as_str() == "usr_desk" && row.assigned_at == NOW)
            .returning(|_| Ok(true));
        unit.expect_insert_audit_entry()
            .times(1)
            .withf(|entry| {
                let (customer, tag) = ids();
                entry.change.entity == AuditEntity::TagAssignment(customer, tag)
            })
            .returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));
        assign(unit).await.unwrap();
    }

    #[tokio::test]
    async fn a_repeated_assignment_succeeds_and_is_not_audited() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_assignment()
            .times(1)
            .returning(|_, _| Ok(AssignmentTarget { customer_exists: true, tag_exists: true }));
        unit.expect_insert_assignment().returning(|_| Ok(false));
        unit.expect_commit().times(1).returning(|| Ok(()));
        assign(unit).await.unwrap();
    }

    #[tokio::test]
    async fn an_unknown_customer_is_reported_before_an_unknown_tag() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_assignment()
            .times(1)
            .returning(|_, _| Ok(AssignmentTarget { customer_exists: false, tag_exists: false }));
        unit.expect_rollback().times(1).returning(|| Ok(()));
        let answer = assign(unit).await;
        assert!(matches!(answer, Err(TagError::CustomerNotFound)), "{answer:?}");
    }

    #[tokio::test]
    async fn an_unknown_tag_is_not_found() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_assignment()
            .times(1)
            .returning(|_, _| Ok(AssignmentTarget { customer_exists: true, tag_exists: false }));
        unit.expect_rollback().times(1).returning(|| Ok(()));
        let answer = assign(unit).await;
        assert!(matches!(answer, Err(TagError::NotFound)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_row_deleted_during_an_assignment_is_not_found() {
        let mut unit = unit_that_rolls_back();
        unit.expect_insert_assignment().returning(|_| Err(StoreError::Missing(Reference::Customer)));
        let answer = assign(unit).await;
        assert!(matches!(answer, Err(TagError::CustomerNotFound)), "{answer:?}");

        let mut unit = unit_that_rolls_back();
        unit.expect_insert_assignment().returning(|_| Err(StoreError::Missing(Reference::Tag)));
        let answer = assign(unit).await;
        assert!(matches!(answer, Err(TagError::NotFound)), "{answer:?}");

        let mut unit = unit_that_rolls_back();
        unit.expect_insert_assignment().returning(|_| Err(unavailable()));
        let answer = assign(unit).await;
        assert!(matches!(answer, Err(TagError::Store(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn unassigning_audits_the_deleted_assignment() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_assignment()
            .times(1)
            .returning(|_, _| Ok(AssignmentTarget { customer_exists: true, tag_exists: true }));
        unit.expect_delete_assignment().times(1).returning(|customer, tag| {
            Ok(Some(Assignment {
                customer: customer.clone(),
                tag: tag.clone(),
                assigned_by: UserId::parse("usr_first").unwrap(),
                assigned_at: NOW,
            }))
        });
        unit.expect_insert_audit_entry()
            .times(1)
            .withf(|entry| entry.change.action == AuditAction::Delete && entry.change.old_values.is_some())
            .returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));
        let (customer, tag) = ids();
        tags(store_of(unit)).unassign(&desk(), &customer, &tag).await.unwrap();
    }

    #[tokio::test]
    async fn unassigning_a_missing_assignment_succeeds_and_is_not_audited() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_assignment()
            .times(1)
            .returning(|_, _| Ok(AssignmentTarget { customer_exists: false, tag_exists: false }));
        unit.expect_delete_assignment().returning(|_, _| Ok(None));
        unit.expect_commit().times(1).returning(|| Ok(()));
        let (customer, tag) = ids();
        tags(store_of(unit)).unassign(&desk(), &customer, &tag).await.unwrap();
    }

    /// Otherwise the timestamps of two changes could be in another order than the changes.
    #[tokio::test]
    async fn the_clock_is_read_under_the_lock() {
        for is_assignment in [true, false] {
            let mut order = Sequence::new();
            let mut unit = MockUnitOfWork::new();
            let target = AssignmentTarget { customer_exists: true, tag_exists: true };
            unit.expect_lock_assignment().times(1).in_sequence(&mut order).returning(move |_, _| Ok(target));
            let mut clock = MockClock::new();
            clock.expect_now().times(1).in_sequence(&mut order).return_const(NOW);
            unit.expect_insert_assignment().returning(|_| Ok(false));
            unit.expect_delete_assignment().returning(|_, _| Ok(None));
            unit.expect_commit().times(1).returning(|| Ok(()));
            let tags = Tags { clock: Arc::new(clock), ..tags(store_of(unit)) };
            let (customer, tag) = ids();
            if is_assignment {
                tags.assign(&desk(), customer, tag).await.unwrap();
            } else {
                tags.unassign(&desk(), &customer, &tag).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn all_tags_are_listed() {
        let mut reads = MockTagReads::new();
        let tag = Tag::new(TagId::parse("tag_1").unwrap(), &TagName::parse("VIP").unwrap(), None, NOW);
        let stored = vec![tag.clone()];
        reads.expect_list_tags().times(1).return_once(move || Ok(stored));
        let tags = Tags { reads: Arc::new(reads), ..tags(store_that_must_not_begin()) };
        assert_eq!(tags.list().await.unwrap(), [tag]);
    }

    fn stored_tag(id: &str, name: &str) -> Tag {
        Tag::new(TagId::parse(id).unwrap(), &TagName::parse(name).unwrap(), None, NOW)
    }

    fn assignment(customer: &str, tag: &str) -> Assignment {
        let (customer, tag) = (UserId::parse(customer).unwrap(), TagId::parse(tag).unwrap());
        Assignment { customer, tag, assigned_by: UserId::parse("usr_desk").unwrap(), assigned_at: NOW }
    }

    fn unit_with_tags(tags: Vec<Tag>) -> MockUnitOfWork {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_tags().times(1).returning(move |_| Ok(tags.clone()));
        unit.expect_bar_assignments().withf(|id| id.as_str() == "tag_1").returning(|_| Ok(()));
        unit
    }

    #[tokio::test]
    async fn a_changed_name_is_checked_against_the_slugs_of_other_tags() {
        for is_taken in [false, true] {
            let mut unit = unit_with_tags(vec![stored_tag("tag_1", "VIP")]);
            unit.expect_has_slug()
                .times(1)
                .withf(|slug, except| slug.as_str() == "gold" && except.as_str() == "tag_1")
                .returning(move |_, _| Ok(is_taken));
            if is_taken {
                unit.expect_rollback().times(1).returning(|| Ok(()));
            } else {
                unit.expect_save_tag()
                    .times(1)
                    .withf(|tag| tag.name == "Gold" && tag.slug == "vip")
                    .returning(|_| Ok(()));
                unit.expect_insert_audit_entry().times(1).returning(|_| Ok(()));
                unit.expect_commit().times(1).returning(|| Ok(()));
            }
            let update = TagUpdate { name: TagName::parse("Gold").ok(), ..TagUpdate::default() };
            let answer = tags(store_of(unit)).update(&desk(), &ids().1, update, &Precondition::none()).await;
            assert_eq!(matches!(answer, Err(TagError::SlugTaken)), is_taken);
        }
    }

    /// Another tag may have the slug of this one's name, since a slug stays when the name changes.
    #[tokio::test]
    async fn a_name_that_stays_is_not_checked() {
        let mut unit = unit_with_tags(vec![stored_tag("tag_1", "VIP")]);
        unit.expect_save_tag().times(1).returning(|_| Ok(()));
        unit.expect_insert_audit_entry().times(1).returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));
        let color = Some(TagColor::parse("#112233").ok());
        let update = TagUpdate { name: TagName::parse("VIP").ok(), color, ..TagUpdate::default() };
        tags(store_of(unit)).update(&desk(), &ids().1, update, &Precondition::none()).await.unwrap();
    }

    #[tokio::test]
    async fn a_tag_in_use_is_deleted_only_with_its_assignments() {
        for unassign in [false, true] {
            let mut unit = unit_with_tags(vec![stored_tag("tag_1", "VIP")]);
            if unassign {
                unit.expect_delete_all_assignments().times(1).returning(|_| Ok(vec![assignment("usr_1", "tag_1")]));
                unit.expect_delete_tag().times(1).returning(|_| Ok(()));
                unit.expect_insert_audit_entries().times(1).withf(|entries| entries.len() == 2).returning(|_| Ok(()));
                unit.expect_commit().times(1).returning(|| Ok(()));
            } else {
                unit.expect_count_assignments().times(1).returning(|_| Ok(1));
                unit.expect_rollback().times(1).returning(|| Ok(()));
            }
            let answer = tags(store_of(unit)).delete(&desk(), &ids().1, unassign, &Precondition::none()).await;
            assert_eq!(matches!(answer, Err(TagError::InUse(1))), !unassign, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_deletion_of_a_tag_that_has_changed_is_refused() {
        let mut unit = unit_with_tags(vec![stored_tag("tag_1", "VIP")]);
        unit.expect_rollback().times(1).returning(|| Ok(()));
        let answer = tags(store_of(unit)).delete(&desk(), &ids().1, true, &Precondition::new(|_| false)).await;
        assert!(matches!(answer, Err(TagError::PreconditionFailed)), "{answer:?}");
    }

    async fn merge(store: Arc<dyn Store>, into: &str) -> Result<Tag, TagError> {
        tags(store).merge(&desk(), &TagMerge::new(ids().1, TagId::parse(into).unwrap()).unwrap()).await
    }

    #[tokio::test]
    async fn a_merge_adds_before_it_removes_and_audits_everything_at_once() {
        let mut unit = unit_with_tags(vec![stored_tag("tag_1", "VIP"), stored_tag("tag_2", "Gold")]);
        let mut steps = Sequence::new();
        unit.expect_copy_assignments()
            .times(1)
            .in_sequence(&mut steps)
            .returning(|_, _| Ok(vec![assignment("usr_1", "tag_2")]));
        unit.expect_delete_all_assignments()
            .times(1)
            .in_sequence(&mut steps)
            .returning(|_| Ok(vec![assignment("usr_1", "tag_1"), assignment("usr_2", "tag_1")]));
        unit.expect_delete_tag().times(1).in_sequence(&mut steps).returning(|_| Ok(()));
        unit.expect_insert_audit_entries().times(1).withf(|entries| entries.len() == 4).returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));
        assert_eq!(merge(store_of(unit), "tag_2").await.unwrap().name, "Gold");
    }

    #[tokio::test]
    async fn a_merge_into_itself_or_of_unknown_tags_is_refused() {
        assert_eq!(TagMerge::new(ids().1, ids().1), Err(MergeError));
        for (found, is_source) in [(vec![stored_tag("tag_1", "VIP")], true), (vec![stored_tag("tag_2", "Gold")], false)]
        {
            let mut unit = unit_with_tags(found);
            unit.expect_rollback().times(1).returning(|| Ok(()));
            let answer = merge(store_of(unit), "tag_2").await;
            assert_eq!(matches!(answer, Err(TagError::IntoNotFound)), is_source, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_merge_begins_anew_when_a_customer_was_deleted_meanwhile_and_gives_up_in_the_end() {
        let mut store = MockStore::new();
        store.expect_begin().times(5).returning(|| {
            let mut unit = unit_with_tags(vec![stored_tag("tag_1", "VIP"), stored_tag("tag_2", "Gold")]);
            unit.expect_copy_assignments().returning(|_, _| Err(StoreError::Missing(Reference::Customer)));
            unit.expect_rollback().times(1).returning(|| Ok(()));
            Ok(Box::new(unit))
        });
        let answer = merge(Arc::new(store), "tag_2").await;
        assert!(matches!(answer, Err(TagError::Store(StoreError::Unavailable(_)))), "{answer:?}");
    }

    /// Of four customers, one gets the tag, one has it, one loses it, and one does not exist.
    #[tokio::test]
    async fn a_bulk_assignment_counts_each_customer_once() {
        let id = |id: &str| UserId::parse(id).unwrap();
        let mut unit = MockUnitOfWork::new();
        unit.expect_hold_tag().times(1).returning(|_| Ok(true));
        unit.expect_lock_assignments()
            .times(1)
            .withf(|_, customers| customers.is_sorted_by_key(UserId::as_str) && customers.len() == 4)
            .returning(move |_, _| Ok(vec![id("a"), id("b"), id("c")]));
        unit.expect_insert_assignments()
            .times(1)
            .withf(|assignments| assignments.len() == 2)
            .returning(|_| Ok(vec![assignment("a", "tag_1")]));
        unit.expect_delete_assignments().times(1).returning(|_, _| Ok(vec![assignment("c", "tag_1")]));
        unit.expect_insert_audit_entries().times(1).withf(|entries| entries.len() == 2).returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));
        let bulk = BulkAssignment::new(&[id("x"), id("b"), id("a")], &[id("c")]).unwrap();
        let outcome = tags(store_of(unit)).assign_many(&desk(), &ids().1, &bulk).await.unwrap();
        let expected = BulkOutcome { assigned: 1, removed: 1, unchanged: 1, not_found: vec![id("x")] };
        assert_eq!(outcome, expected);
    }
}
