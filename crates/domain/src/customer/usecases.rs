//! The customer use cases: show a profile, override the booking gates.

use std::sync::Arc;

use super::{CustomerError, CustomerView, GateOverride, Profile, ports::CustomerReads};
use crate::{
    audit::AuditEntry,
    clock::Clock,
    ids::{Ids, UserId},
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

    /// Overrides the gates of a customer and answers the profile as it is now. What equals the stored values
    /// changes nothing and leaves no audit entry.
    pub async fn override_gates(
        &self,
        actor: &Actor,
        id: &UserId,
        wanted: GateOverride,
    ) -> Result<Profile, CustomerError> {
        if wanted.is_empty() {
            return self.reads.find_profile(id).await?.ok_or(CustomerError::NotFound);
        }
        let changed = self.store.transaction(async |unit| {
            let mut profile = unit.lock_profile(id).await?.ok_or(CustomerError::NotFound)?;
            // Under the lock, so that `updated_at` never goes back between two overrides.
            let now = self.clock.now();
            if let Some(change) = profile.change_gates(wanted, now) {
                unit.save_gates(&profile).await?;
                let entry = AuditEntry::new(self.ids.audit(), actor, change, now);
                unit.insert_audit_entry(&entry).await?;
            }
            Ok(profile)
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
            MockUnitOfWork, NOW, SequentialIds, actor, clock, profile, store_of, store_that_must_not_begin, unavailable,
        },
    };

    fn customers(store: Arc<dyn Store>, reads: MockCustomerReads) -> Customers {
        Customers { store, reads: Arc::new(reads), clock: clock(), ids: Arc::new(SequentialIds::default()) }
    }

    fn gate_override() -> GateOverride {
        GateOverride { noshow_count: Some(NoShowCount::parse(0).unwrap()), booking_requires_approval: None }
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
        unit.expect_commit().times(1).returning(|| Ok(()));

        let customers = customers(store_of(unit), MockCustomerReads::new());
        let answer = customers.override_gates(&actor("usr_manager", Role::Manager), &customer(), gate_override()).await;
        assert_eq!(answer.unwrap().noshow_count, 0);
    }

    #[tokio::test]
    async fn equal_values_are_neither_saved_nor_audited() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_profile().returning(|_| Ok(Some(profile("usr_1", 0, true))));
        unit.expect_commit().times(1).returning(|| Ok(()));

        let customers = customers(store_of(unit), MockCustomerReads::new());
        let answer = customers.override_gates(&actor("usr_manager", Role::Manager), &customer(), gate_override()).await;
        assert_eq!(answer.unwrap(), profile("usr_1", 0, true));
    }

    #[tokio::test]
    async fn an_empty_override_only_reads() {
        let mut reads = MockCustomerReads::new();
        reads.expect_find_profile().times(1).returning(|_| Ok(Some(profile("usr_1", 3, true))));

        let customers = customers(store_that_must_not_begin(), reads);
        let nothing = GateOverride::default();
        let answer = customers.override_gates(&actor("usr_manager", Role::Manager), &customer(), nothing).await;
        assert_eq!(answer.unwrap(), profile("usr_1", 3, true));
    }

    #[tokio::test]
    async fn an_override_of_an_unknown_customer_is_rolled_back() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_profile().returning(|_| Ok(None));
        unit.expect_rollback().times(1).returning(|| Ok(()));

        let customers = customers(store_of(unit), MockCustomerReads::new());
        let answer = customers.override_gates(&actor("usr_manager", Role::Manager), &customer(), gate_override()).await;
        assert!(matches!(answer, Err(CustomerError::NotFound)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_failed_audit_entry_rolls_back_the_change() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_profile().returning(|_| Ok(Some(profile("usr_1", 3, true))));
        unit.expect_save_gates().returning(|_| Ok(()));
        unit.expect_insert_audit_entry().returning(|_| Err(unavailable()));
        unit.expect_rollback().times(1).returning(|| Ok(()));

        let customers = customers(store_of(unit), MockCustomerReads::new());
        let answer = customers.override_gates(&actor("usr_manager", Role::Manager), &customer(), gate_override()).await;
        assert!(matches!(answer, Err(CustomerError::Store(_))), "{answer:?}");
    }

    #[tokio::test]
    async fn a_failed_commit_is_an_error() {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_profile().returning(|_| Ok(Some(profile("usr_1", 3, true))));
        unit.expect_save_gates().returning(|_| Ok(()));
        unit.expect_insert_audit_entry().returning(|_| Ok(()));
        unit.expect_commit().returning(|| Err(unavailable()));

        let customers = customers(store_of(unit), MockCustomerReads::new());
        let answer = customers.override_gates(&actor("usr_manager", Role::Manager), &customer(), gate_override()).await;
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
