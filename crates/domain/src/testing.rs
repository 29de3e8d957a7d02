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
    customer::{CustomerView, Profile, ports::ProfileWrites},
    idempotency::{Claim, IdempotentRequest, KeptAnswer, ports::IdempotencyWrites},
    ids::{Ids, NoteId, ProfileId, TagId, UserId},
    note::{
        ListedNote, Note, NoteContent, NoteLookup,
        ports::{NoteTarget, NoteWrites},
    },
    role::{Actor, Role},
    store_error::StoreError,
    tag::{
        Assignment, Tag, TagSlug,
        ports::{AssignmentTarget, TagWrites},
    },
    unit_of_work::{Store, UnitOfWork},
};

mockall::mock! {
    /// A mocked unit of work. Like every mockall mock it panics on a call that was not expected, so a test that does
    /// not expect `commit` proves that there is none.
    pub UnitOfWork {}

    #[async_trait]
    impl ProfileWrites for UnitOfWork {
        async fn lock_profile(&mut self, id: &UserId) -> Result<Option<Profile>, StoreError>;
        async fn view_customer(&mut self, id: &UserId) -> Result<Option<CustomerView>, StoreError>;
        async fn save_gates(&mut self, profile: &Profile) -> Result<(), StoreError>;
    }

    #[async_trait]
    impl NoteWrites for UnitOfWork {
        async fn find_note_target(&mut self, note: &Note) -> Result<NoteTarget, StoreError>;
        async fn insert_note(&mut self, note: &Note) -> Result<(), StoreError>;
        async fn lock_note(&mut self, customer: &UserId, note: &NoteId) -> Result<NoteLookup<ListedNote>, StoreError>;
        async fn save_content(
            &mut self,
            note: &Note,
            content: &NoteContent,
            by: &UserId,
            at: OffsetDateTime,
        ) -> Result<(), StoreError>;
        async fn save_pin(&mut self, note: &NoteId, pinned: bool, by: &UserId, at: OffsetDateTime) -> Result<(), StoreError>;
        async fn view_note(&mut self, note: &NoteId) -> Result<Option<ListedNote>, StoreError>;
        async fn delete_note(&mut self, note: &NoteId) -> Result<(), StoreError>;
    }

    #[async_trait]
    impl TagWrites for UnitOfWork {
        async fn insert_tag(&mut self, tag: &Tag) -> Result<bool, StoreError>;
        async fn lock_assignment(&mut self, customer: &UserId, tag: &TagId) -> Result<AssignmentTarget, StoreError>;
        async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<bool, StoreError>;
        async fn delete_assignment(&mut self, customer: &UserId, tag: &TagId) -> Result<Option<Assignment>, StoreError>;
        async fn lock_tags(&mut self, ids: &[TagId]) -> Result<Vec<Tag>, StoreError>;
        async fn bar_assignments(&mut self, id: &TagId) -> Result<(), StoreError>;
        async fn hold_tag(&mut self, id: &TagId) -> Result<bool, StoreError>;
        async fn has_slug(&mut self, slug: &TagSlug, except: &TagId) -> Result<bool, StoreError>;
        async fn save_tag(&mut self, tag: &Tag) -> Result<(), StoreError>;
        async fn delete_tag(&mut self, id: &TagId) -> Result<(), StoreError>;
        async fn count_assignments(&mut self, tag: &TagId) -> Result<u64, StoreError>;
        async fn lock_assignments(&mut self, tag: &TagId, customers: &[UserId]) -> Result<Vec<UserId>, StoreError>;
        async fn insert_assignments(&mut self, assignments: &[Assignment]) -> Result<Vec<Assignment>, StoreError>;
        async fn copy_assignments(&mut self, tag: &TagId, into: &TagId) -> Result<Vec<Assignment>, StoreError>;
        async fn delete_assignments(&mut self, tag: &TagId, customers: &[UserId]) -> Result<Vec<Assignment>, StoreError>;
        async fn delete_all_assignments(&mut self, tag: &TagId) -> Result<Vec<Assignment>, StoreError>;
    }

    #[async_trait]
    impl IdempotencyWrites for UnitOfWork {
        async fn claim_key(&mut self, request: &IdempotentRequest, since: OffsetDateTime) -> Result<Claim, StoreError>;
        async fn keep_answer(
            &mut self,
            request: &IdempotentRequest,
            answer: &KeptAnswer,
            at: OffsetDateTime,
        ) -> Result<(), StoreError>;
    }

    #[async_trait]
    impl AuditWrites for UnitOfWork {
        async fn insert_audit_entries(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError>;
        async fn insert_audit_entry(&mut self, entry: &AuditEntry) -> Result<(), StoreError>;
    }

    #[async_trait]
    impl UnitOfWork for UnitOfWork {
        async fn commit(self: Box<Self>) -> Result<(), StoreError>;
        async fn rollback(self: Box<Self>) -> Result<(), StoreError>;
    }
}

mockall::mock! {
    /// A mocked store. It finishes units of work as a real one does.
    pub Store {}

    #[async_trait]
    impl Store for Store {
        async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError>;
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

/// A note of `usr_desk` on the customer `usr_1`, neither pinned nor edited.
#[must_use]
pub fn listed_note() -> ListedNote {
    let note = Note {
        id: NoteId::from_stored("note_1".to_owned()),
        customer: UserId::from_stored("usr_1".to_owned()),
        author: UserId::from_stored("usr_desk".to_owned()),
        booking: None,
        content: NoteContent::from_stored("allergic to ammonia".to_owned()),
        created_at: datetime!(2025-09-10 05:30 UTC),
    };
    ListedNote { note, author_name: "Desk".to_owned(), pinned: false, edit: None }
}

/// A customer as the front desk sees one.
#[must_use]
pub fn customer_view(user_id: &str) -> CustomerView {
    let Profile { phone, gender, total_visits, total_spent_paise, first_visit_at, last_visit_at, .. } =
        profile(user_id, 3, true);
    CustomerView {
        id: UserId::from_stored(user_id.to_owned()),
        name: "Asha Rao".to_owned(),
        email: "asha@example.com".to_owned(),
        role: Some("customer".to_owned()),
        image: None,
        phone,
        gender,
        date_of_birth: None,
        total_visits,
        total_spent_paise,
        noshow_count: 3,
        late_cancellation_count: 0,
        booking_requires_approval: true,
        first_visit_at,
        last_visit_at,
        gems_balance: None,
        created_at: datetime!(2025-09-10 05:30 UTC),
        tags: Vec::new(),
    }
}
