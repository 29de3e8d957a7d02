//! The note use cases: list and write notes.

use std::sync::Arc;

use super::{ListedNote, Note, NoteContent, NoteError, ports::NoteReads};
use crate::{
    audit::AuditEntry,
    clock::Clock,
    ids::{BookingId, Ids, UserId},
    page::{Page, PageRequest},
    role::Actor,
    store_error::{Reference, StoreError},
    unit_of_work::Store,
};

/// The notes' use cases.
pub struct Notes {
    /// Units of work.
    pub store: Arc<dyn Store>,
    /// Reading notes.
    pub reads: Arc<dyn NoteReads>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn Ids>,
}

impl Notes {
    /// A page of the customer's notes, newest first.
    pub async fn list(&self, customer: &UserId, page: PageRequest) -> Result<Page<ListedNote>, NoteError> {
        self.reads.list_notes(customer, page).await?.ok_or(NoteError::CustomerNotFound)
    }

    /// Writes a note; its author is the actor.
    pub async fn write(
        &self,
        actor: &Actor,
        customer: UserId,
        content: NoteContent,
        booking: Option<BookingId>,
    ) -> Result<Note, NoteError> {
        let written = self.store.transaction(async |unit| {
            // Not before the unit of work has begun, which may have waited for a connection.
            let created_at = self.clock.now();
            let note = Note { id: self.ids.note(), customer, author: actor.id.clone(), booking, content, created_at };
            let target = unit.find_note_target(&note).await?;
            if !target.customer_exists {
                return Err(NoteError::CustomerNotFound);
            }
            if !target.booking_is_of_customer {
                return Err(NoteError::BookingNotOfCustomer);
            }
            // Both were there a moment ago; either may be gone by now.
            unit.insert_note(&note).await.map_err(|error| match error {
                StoreError::Missing(Reference::Customer) => NoteError::CustomerNotFound,
                StoreError::Missing(Reference::Booking) => NoteError::BookingNotOfCustomer,
                other => NoteError::Store(other),
            })?;
            let change = note.creation();
            let entry = AuditEntry::new(self.ids.audit(), actor, change, created_at);
            unit.insert_audit_entry(&entry).await?;
            Ok(note)
        });
        written.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        note::ports::{MockNoteReads, NoteTarget},
        role::Role,
        testing::{MockUnitOfWork, NOW, SequentialIds, actor, clock, store_of, store_that_must_not_begin, unavailable},
    };

    fn notes(store: Arc<dyn Store>, reads: MockNoteReads) -> Notes {
        Notes { store, reads: Arc::new(reads), clock: clock(), ids: Arc::new(SequentialIds::default()) }
    }

    async fn write(unit: MockUnitOfWork, booking: Option<&str>) -> Result<Note, NoteError> {
        notes(store_of(unit), MockNoteReads::new())
            .write(
                &actor("usr_desk", Role::Receptionist),
                UserId::parse("usr_1").unwrap(),
                NoteContent::parse("patch test first").unwrap(),
                booking.map(|id| BookingId::parse(id).unwrap()),
            )
            .await
    }

    /// A unit of work that looks once for what the note refers to.
    fn unit_that_finds(customer_exists: bool, booking_is_of_customer: bool) -> MockUnitOfWork {
        let mut unit = MockUnitOfWork::new();
        unit.expect_find_note_target()
            .times(1)
            .returning(move |_| Ok(NoteTarget { customer_exists, booking_is_of_customer }));
        unit
    }

    /// A unit of work that finds the customer and the booking and must be rolled back.
    fn unit_that_rolls_back() -> MockUnitOfWork {
        let mut unit = unit_that_finds(true, true);
        unit.expect_rollback().times(1).returning(|| Ok(()));
        unit
    }

    #[tokio::test]
    async fn a_note_is_inserted_audited_and_committed() {
        let mut unit = unit_that_finds(true, true);
        unit.expect_insert_note()
            .times(1)
            .withf(|note| note.author.as_str() == "usr_desk" && note.created_at == NOW)
            .returning(|_| Ok(()));
        unit.expect_insert_audit_entry()
            .times(1)
            .withf(|entry| !format!("{entry:?}").contains("patch test"))
            .returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));

        let note = write(unit, Some("bkg_1")).await.unwrap();
        assert!(note.id.as_str().starts_with("note_"));
        assert_eq!(note.content.as_str(), "patch test first");
    }

    #[tokio::test]
    async fn a_note_needs_no_booking() {
        let mut unit = unit_that_finds(true, true);
        unit.expect_insert_note().returning(|_| Ok(()));
        unit.expect_insert_audit_entry().returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));
        assert_eq!(write(unit, None).await.unwrap().booking, None);
    }

    #[tokio::test]
    async fn an_unknown_customer_is_reported_before_the_booking() {
        let mut unit = unit_that_finds(false, false);
        unit.expect_rollback().times(1).returning(|| Ok(()));
        let answer = write(unit, Some("bkg_of_another")).await;
        assert!(matches!(answer, Err(NoteError::CustomerNotFound)), "{answer:?}");
    }

    #[tokio::test]
    async fn a_booking_of_another_customer_is_rejected() {
        let mut unit = unit_that_finds(true, false);
        unit.expect_rollback().times(1).returning(|| Ok(()));
        let answer = write(unit, Some("bkg_of_another")).await;
        assert!(matches!(answer, Err(NoteError::BookingNotOfCustomer)), "{answer:?}");
    }

    #[tokio::test]
    async fn missing_references_of_a_note_give_different_errors() {
        let mut unit = unit_that_rolls_back();
        unit.expect_insert_note().returning(|_| Err(StoreError::Missing(Reference::Customer)));
        assert!(matches!(write(unit, None).await, Err(NoteError::CustomerNotFound)));

        let mut unit = unit_that_rolls_back();
        unit.expect_insert_note().returning(|_| Err(StoreError::Missing(Reference::Booking)));
        assert!(matches!(write(unit, Some("bkg_1")).await, Err(NoteError::BookingNotOfCustomer)));

        let mut unit = unit_that_rolls_back();
        unit.expect_insert_note().returning(|_| Err(StoreError::Missing(Reference::Actor)));
        let answer = write(unit, None).await;
        assert!(matches!(answer, Err(NoteError::Store(StoreError::Missing(Reference::Actor)))), "{answer:?}");
    }

    #[tokio::test]
    async fn a_failed_audit_entry_rolls_back_the_note() {
        let mut unit = unit_that_rolls_back();
        unit.expect_insert_note().returning(|_| Ok(()));
        unit.expect_insert_audit_entry().returning(|_| Err(unavailable()));
        let answer = write(unit, None).await;
        assert!(matches!(answer, Err(NoteError::Store(StoreError::Unavailable(_)))), "{answer:?}");
    }

    #[tokio::test]
    async fn notes_of_an_unknown_customer_are_not_found() {
        let mut reads = MockNoteReads::new();
        reads.expect_list_notes().returning(|_, _| Ok(None));
        let notes = notes(store_that_must_not_begin(), reads);
        let answer = notes.list(&UserId::parse("usr_1").unwrap(), PageRequest::default()).await;
        assert!(matches!(answer, Err(NoteError::CustomerNotFound)), "{answer:?}");
    }
}
