//! For tests of this and the other crates (feature `testing`): the mock of a unit of work, builders, a fixed clock,
//! sequential ids. The other ports' mocks stand beside their ports.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use time::{OffsetDateTime, macros::datetime};
use ulid::Ulid;

use crate::{
    audit::{AuditEntry, AuditWrites},
    clock::{Clock, MockClock, MockMonotonicClock, MonotonicClock},
    customer::{Profile, ports::ProfileWrites},
    ids::{Ids, ProfileId, TagId, UserId},
    note::{
        Note,
        ports::{NoteTarget, NoteWrites},
    },
    role::{Actor, Role},
    store_error::StoreError,
    tag::{
        Assignment, Tag,
        ports::{AssignmentTarget, TagWrites},
    },
    unit_of_work::{MockStore, Store, UnitOfWork},
};

mockall::mock! {
    /// A mocked unit of work. Like every mockall mock it panics on a call that was not expected, so a test that does
    /// not expect `commit` proves that there is none.
    pub UnitOfWork {}

    #[async_trait]
    impl ProfileWrites for UnitOfWork {
        async fn lock_profile(&mut self, id: &UserId) -> Result<Option<Profile>, StoreError>;
        async fn save_gates(&mut self, profile: &Profile) -> Result<(), StoreError>;
    }

    #[async_trait]
    impl NoteWrites for UnitOfWork {
        async fn find_note_target(&mut self, note: &Note) -> Result<NoteTarget, StoreError>;
        async fn insert_note(&mut self, note: &Note) -> Result<(), StoreError>;
    }

    #[async_trait]
    impl TagWrites for UnitOfWork {
        async fn insert_tag(&mut self, tag: &Tag) -> Result<bool, StoreError>;
        async fn lock_assignment(&mut self, customer: &UserId, tag: &TagId) -> Result<AssignmentTarget, StoreError>;
        async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<bool, StoreError>;
        async fn delete_assignment(&mut self, customer: &UserId, tag: &TagId) -> Result<Option<Assignment>, StoreError>;
    }

    #[async_trait]
    impl AuditWrites for UnitOfWork {
        async fn insert_audit_entry(&mut self, entry: &AuditEntry) -> Result<(), StoreError>;
    }

    #[async_trait]
    impl UnitOfWork for UnitOfWork {
        async fn commit(self: Box<Self>) -> Result<(), StoreError>;
        async fn rollback(self: Box<Self>) -> Result<(), StoreError>;
    }
}

/// The time that [`clock`] tells.
pub const NOW: OffsetDateTime = datetime!(2026-11-23 10:00:00.123456 UTC);

/// A clock that stands at [`NOW`].
#[must_use]
pub fn clock() -> Arc<dyn Clock> {
    clock_at(NOW)
}

/// A clock that stands at `now`.
#[must_use]
pub fn clock_at(now: OffsetDateTime) -> Arc<dyn Clock> {
    let mut clock = MockClock::new();
    clock.expect_now().return_const(now);
    Arc::new(clock)
}

/// A monotonic clock that stands still.
#[must_use]
pub fn monotonic_clock() -> Arc<dyn MonotonicClock> {
    let mut clock = MockMonotonicClock::new();
    clock.expect_elapsed().return_const(std::time::Duration::from_secs(1));
    Arc::new(clock)
}

/// Ids that count up: 1, 2, 3 …
#[derive(Debug, Default)]
pub struct SequentialIds(AtomicU64);

impl Ids for SequentialIds {
    fn ulid(&self) -> Ulid {
        Ulid::from_parts(0, u128::from(self.0.fetch_add(1, Ordering::Relaxed)) + 1)
    }
}

/// A store whose only unit of work is `unit`.
#[must_use]
pub fn store_of(unit: MockUnitOfWork) -> Arc<dyn Store> {
    let mut store = MockStore::new();
    store.expect_begin().times(1).return_once(move || Ok(Box::new(unit)));
    Arc::new(store)
}

/// A store that fails the test when a unit of work is begun.
#[must_use]
pub fn store_that_must_not_begin() -> Arc<dyn Store> {
    Arc::new(MockStore::new())
}

/// What a port says when the database is away.
#[must_use]
pub fn unavailable() -> StoreError {
    StoreError::Unavailable("the test took the database away".into())
}

/// An actor with that id and role.
///
/// # Panics
///
/// When `id` is not an id.
#[must_use]
pub fn actor(id: &str, role: Role) -> Actor {
    Actor { id: UserId::parse(id).expect("an id for a test"), role, impersonator: None }
}

/// A stored profile of that user with those gates.
#[must_use]
pub fn profile(user_id: &str, noshow_count: i64, booking_requires_approval: bool) -> Profile {
    let then = datetime!(2025-09-10 05:30 UTC);
    Profile {
        id: ProfileId::from_stored(format!("prof_of_{user_id}")),
        user_id: UserId::from_stored(user_id.to_owned()),
        phone: Some("+919800000001".to_owned()),
        gender: Some("female".to_owned()),
        date_of_birth: None,
        marketing_consent: false,
        marketing_consent_at: None,
        appointment_reminders_enabled: true,
        membership_alerts_enabled: true,
        acquisition_source: None,
        utm_campaign: None,
        utm_medium: None,
        utm_source: None,
        first_visit_at: Some(then),
        last_visit_at: Some(then),
        total_visits: 4,
        total_spent_paise: 1_250_000,
        noshow_count,
        late_cancellation_count: 0,
        consecutive_completed_bookings: 2,
        booking_requires_approval,
        created_at: then,
        updated_at: then,
    }
}
