//! The customer use cases: show a profile, override the booking gates.

use std::sync::Arc;

use super::{CustomerError, CustomerView, GateOverride, Profile, ports::CustomerReads};
use crate::{
    audit::AuditEntry,
    clock::Clock,
    ids::{Ids, UserId},
    precondition::Precondition,
    role::Actor,
    unit_of_work::Store,
};

/// The customers' use cases.
pub struct Customers {
    /// Units of work.
    pub store: Arc<dyn Store>,
    /// Reading customers.
    pub reads: Arc<dyn CustomerReads>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn Ids>,
}

impl Customers {
    /// The customer with that id.
    pub async fn find(&self, id: &UserId) -> Result<CustomerView, CustomerError> {
        self.reads.find_customer(id).await?.ok_or(CustomerError::NotFound)
    }

    /// Overrides the gates of a customer and answers the profile and the customer as they are now. What equals the stored
    /// values changes nothing and leaves no audit entry.
    pub async fn override_gates(
        &self,
        actor: &Actor,
        id: &UserId,
        wanted: GateOverride,
        precondition: &Precondition<'_, CustomerView>,
    ) -> Result<(Profile, CustomerView), CustomerError> {
        if wanted.is_empty() && precondition.is_none() {
            // First the customer: should they change in between, their tag is the older one, and the next change is refused.
            let view = self.find(id).await?;
            let profile = self.reads.find_profile(id).await?.ok_or(CustomerError::NotFound)?;
            return Ok((profile, view));
        }
        let changed = self.store.transaction(async |unit| {
            let mut profile = unit.lock_profile(id).await?.ok_or(CustomerError::NotFound)?;
            if !precondition.is_none() {
                precondition.check(&unit.view_customer(id).await?.ok_or(CustomerError::NotFound)?)?;
            }
            // Under the lock, so that `updated_at` never goes back between two overrides.
            let now = self.clock.now();
            if let Some(change) = profile.change_gates(wanted, now) {
                unit.save_gates(&profile).await?;
                let entry = AuditEntry::new(self.ids.audit(), actor, change, now);
                unit.insert_audit_entry(&entry).await?;
            }
            let view = unit.view_customer(id).await?.ok_or(CustomerError::NotFound)?;
            Ok((profile, view))
        });
        changed.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::AuditValue,
        customer::{NoShowCount, ports::MockCustomerReads},
        role::Role,
        testing::{
            MockUnitOfWork, NOW, SequentialIds, actor, clock, customer_view, profile, store_of,
            store_that_must_not_begin, unavailable,
        },
    };

    fn customers(store: Arc<dyn Store>, reads: MockCustomerReads) -> Customers {
        Customers { store, reads: Arc::new(reads), clock: clock(), ids: Arc::new(SequentialIds::default()) }
    }

    fn gate_override() -> GateOverride {
        GateOverride { noshow_count: Some(NoShowCount::parse(0).unwrap()), booking_requires_approval: None }
    }

    async fn override_with(
        store: Arc<dyn Store>,
        reads: MockCustomerReads,
        wanted: GateOverride,
        precondition: Precondition<'_, CustomerView>,
    ) -> Result<Profile, CustomerError> {
        let manager = actor("usr_manager", Role::Manager);
        let answer = customers(store, reads).override_gates(&manager, &customer(), wanted, &precondition).await;
        answer.map(|(profile, _)| profile)
    }

    async fn override_one(unit: MockUnitOfWork) -> Result<Profile, CustomerError> {
        override_with(store_of(unit), MockCustomerReads::new(), gate_override(), Precondition::none()).await
    }

    fn customer() -> UserId {
        UserId::parse("usr_1").unwrap()
    }

    #[tokio::test]
    async fn an_override_is_saved_audited_and_committed() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_profile().times(1).returning(|_| Ok(Some(profile("usr_1", 3, true))));
        unit.expect_save_gates()
            .times(1)
            .withf(|saved| saved.noshow_count == 0 && saved.booking_requires_approval && saved.updated_at == NOW)
            .returning(|_| Ok(()));
        unit.expect_insert_audit_entry()
            .times(1)
            .withf(|entry| {
                entry.actor.as_str() == "usr_manager"
                    && entry.created_at == NOW
                    && entry.change.new_values == Some(vec![("noshowCount", AuditValue::Integer(0))])
            })
            .returning(|_| Ok(()));
        unit.expect_view_customer().times(1).returning(|_| Ok(Some(customer_view("usr_1"))));
        unit.expect_commit().times(1).returning(|| Ok(()));

        let answer = override_one(unit).await;
        assert_eq!(answer.unwrap().noshow_count, 0);
    }

    #[tokio::test]
    async fn equal_values_are_neither_saved_nor_audited() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_profile().returning(|_| Ok(Some(profile("usr_1", 0, true))));
        unit.expect_view_customer().times(1).returning(|_| Ok(Some(customer_view("usr_1"))));
        unit.expect_commit().times(1).returning(|| Ok(()));

        let answer = override_one(unit).await;
        assert_eq!(answer.unwrap(), profile("usr_1", 0, true));
    }

    #[tokio::test]
    async fn an_empty_override_only_reads() {
        let mut reads = MockCustomerReads::new();
        reads.expect_find_profile().times(1).returning(|_| Ok(Some(profile("usr_1", 3, true))));

        reads.expect_find_customer().times(1).returning(|_| Ok(Some(customer_view("usr_1"))));
        let nothing = GateOverride::default();
        let answer = override_with(store_that_must_not_begin(), reads, nothing, Precondition::none()).await;
        assert_eq!(answer.unwrap(), profile("usr_1", 3, true));
    }

    #[tokio::test]
    async fn an_override_of_a_customer_who_has_changed_is_refused() {
        for (wanted, holds) in
            [(gate_override(), false), (GateOverride::default(), false), (GateOverride::default(), true)]
        {
            let mut unit = MockUnitOfWork::new();
            unit.expect_lock_profile().returning(|_| Ok(Some(profile("usr_1", 3, true))));
            unit.expect_view_customer().returning(|_| Ok(Some(customer_view("usr_1"))));
            if holds {
                unit.expect_commit().times(1).returning(|| Ok(()));
            } else {
                unit.expect_rollback().times(1).returning(|| Ok(()));
            }
            let precondition = Precondition::new(move |_| holds);
            let answer = override_with(store_of(unit), MockCustomerReads::new(), wanted, precondition).await;
            assert_eq!(answer.is_ok(), holds, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn an_override_of_an_unknown_customer_is_rolled_back() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_profile().returning(|_| Ok(None));
        unit.expect_rollback().times(1).returning(|| Ok(()));

        let answer = override_one(unit).await;
        assert!(matches!(answer, Err(CustomerError::NotFound)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_failed_audit_entry_rolls_back_the_change() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_profile().returning(|_| Ok(Some(profile("usr_1", 3, true))));
        unit.expect_save_gates().returning(|_| Ok(()));
        unit.expect_insert_audit_entry().returning(|_| Err(unavailable()));
        unit.expect_rollback().times(1).returning(|| Ok(()));

        let answer = override_one(unit).await;
        assert!(matches!(answer, Err(CustomerError::Store(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn a_failed_commit_is_an_error() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_profile().returning(|_| Ok(Some(profile("usr_1", 3, true))));
        unit.expect_save_gates().returning(|_| Ok(()));
        unit.expect_insert_audit_entry().returning(|_| Ok(()));
        unit.expect_view_customer().returning(|_| Ok(Some(customer_view("usr_1"))));
        unit.expect_commit().returning(|| Err(unavailable()));

        let answer = override_one(unit).await;
        assert!(matches!(answer, Err(CustomerError::Store(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn an_unknown_customer_is_not_found() {
        let mut reads = MockCustomerReads::new();
        reads.expect_find_customer().returning(|_| Ok(None));
        let customers = customers(store_that_must_not_begin(), reads);
        assert!(matches!(customers.find(&customer()).await, Err(CustomerError::NotFound)));
    }
}
