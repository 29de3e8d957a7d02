//! The note use cases: list, write, edit, pin and delete notes.

use std::sync::Arc;

use super::{ListedNote, Note, NoteContent, NoteError, NoteUpdate, Revision, ports::NoteReads};
use crate::{
    audit::AuditEntry,
    clock::Clock,
    ids::{BookingId, Ids, NoteId, UserId},
    page::{Page, PageRequest},
    precondition::Precondition,
    role::Actor,
    store_error::{Reference, StoreError},
    unit_of_work::Store,
};

/// The notes' use cases.
#[derive(Clone)]
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
    /// The same use cases on another store.
    #[must_use]
    pub fn on(&self, store: Arc<dyn Store>) -> Self {
        Self { store, ..self.clone() }
    }

    /// A page of the customer's notes: the pinned ones first, then newest first.
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
    ) -> Result<ListedNote, NoteError> {
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
            Ok(ListedNote { note, author_name: target.author_name.unwrap_or_default(), pinned: false, edit: None })
        });
        written.await
    }

    /// Edits the text, sets or removes the pin, and gives the note as it is then. What equals the stored state changes
    /// nothing and leaves neither a revision nor an audit entry.
    pub async fn update(
        &self,
        actor: &Actor,
        customer: &UserId,
        note: &NoteId,
        update: NoteUpdate,
        precondition: &Precondition<'_, ListedNote>,
    ) -> Result<ListedNote, NoteError> {
        let updated = self.store.transaction(async |unit| {
            let listed = unit.lock_note(customer, note).await?.found()?;
            // Under the lock, so that the times of one note's edits never go back.
            let now = self.clock.now();
            let change = listed.plan(actor, update, now)?;
            precondition.check(&listed)?;
            let Some(change) = change else { return Ok(listed) };
            if let Some(content) = &change.content {
                unit.save_content(&listed.note, content, &actor.id, now).await?;
            }
            if let Some(pinned) = change.pinned {
                unit.save_pin(note, pinned, &actor.id, now).await?;
            }
            unit.insert_audit_entry(&AuditEntry::new(self.ids.audit(), actor, change.audit, now)).await?;
            unit.view_note(note).await?.ok_or(NoteError::NotFound)
        });
        updated.await
    }

    /// Deletes a note for good, with everything that it said before.
    pub async fn delete(
        &self,
        actor: &Actor,
        customer: &UserId,
        note: &NoteId,
        precondition: &Precondition<'_, ListedNote>,
    ) -> Result<(), NoteError> {
        let deleted = self.store.transaction(async |unit| {
            let listed = unit.lock_note(customer, note).await?.found()?;
            if !listed.note.is_editable_by(actor) {
                return Err(NoteError::NotAuthor);
            }
            precondition.check(&listed)?;
            let now = self.clock.now();
            unit.delete_note(note).await?;
            let entry = AuditEntry::new(self.ids.audit(), actor, listed.note.deletion(), now);
            unit.insert_audit_entry(&entry).await?;
            Ok(())
        });
        deleted.await
    }

    /// A page of what the note said before, newest first.
    pub async fn revisions(
        &self,
        customer: &UserId,
        note: &NoteId,
        page: PageRequest,
    ) -> Result<Page<Revision>, NoteError> {
        self.reads.list_revisions(customer, note, page).await?.found()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        note::{
            NoteLookup,
            ports::{MockNoteReads, NoteTarget},
        },
        role::Role,
        testing::{
            MockUnitOfWork, NOW, SequentialIds, actor, clock, listed_note, store_of, store_that_must_not_begin,
            unavailable,
        },
    };

    fn notes(store: Arc<dyn Store>, reads: MockNoteReads) -> Notes {
        Notes { store, reads: Arc::new(reads), clock: clock(), ids: Arc::new(SequentialIds::default()) }
    }

    async fn write(unit: MockUnitOfWork, booking: Option<&str>) -> Result<ListedNote, NoteError> {
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
        unit.expect_find_note_target().times(1).returning(move |_| {
            let author_name = Some("Desk".to_owned());
            Ok(NoteTarget { customer_exists, booking_is_of_customer, author_name })
        });
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

        let ListedNote { note, author_name, pinned, edit } = write(unit, Some("bkg_1")).await.unwrap();
        assert_eq!((author_name.as_str(), pinned, edit), ("Desk", false, None));
        assert!(note.id.as_str().starts_with("note_"));
        assert_eq!(note.content.as_str(), "patch test first");
    }

    #[tokio::test]
    async fn a_note_needs_no_booking() {
        let mut unit = unit_that_finds(true, true);
        unit.expect_insert_note().returning(|_| Ok(()));
        unit.expect_insert_audit_entry().returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));
        assert_eq!(write(unit, None).await.unwrap().note.booking, None);
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

    /// A unit of work that finds the note of `listed_note`.
    fn unit_with_note() -> MockUnitOfWork {
        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_note().times(1).returning(|_, _| Ok(NoteLookup::Found(listed_note())));
        unit
    }

    async fn update(
        unit: MockUnitOfWork,
        actor: &Actor,
        content: &str,
        precondition: Precondition<'_, ListedNote>,
    ) -> Result<ListedNote, NoteError> {
        let ListedNote { note, .. } = listed_note();
        let wanted = NoteUpdate { content: Some(NoteContent::parse(content).unwrap()), pinned: Some(true) };
        let notes = notes(store_of(unit), MockNoteReads::new());
        notes.update(actor, &note.customer, &note.id, wanted, &precondition).await
    }

    async fn delete(
        unit: MockUnitOfWork,
        actor: &Actor,
        precondition: Precondition<'_, ListedNote>,
    ) -> Result<(), NoteError> {
        let ListedNote { note, .. } = listed_note();
        notes(store_of(unit), MockNoteReads::new()).delete(actor, &note.customer, &note.id, &precondition).await
    }

    #[tokio::test]
    async fn an_edit_keeps_a_revision_pins_audits_and_commits() {
        let mut unit = unit_with_note();
        unit.expect_save_content()
            .times(1)
            .withf(|note, content, by, at| {
                *note == listed_note().note && content.as_str() == "new" && by.as_str() == "usr_desk" && *at == NOW
            })
            .returning(|_, _, _, _| Ok(()));
        unit.expect_save_pin().times(1).withf(|_, pinned, _, _| *pinned).returning(|_, _, _, _| Ok(()));
        unit.expect_insert_audit_entry().times(1).returning(|_| Ok(()));
        unit.expect_view_note().times(1).returning(|_| Ok(Some(listed_note())));
        unit.expect_commit().times(1).returning(|| Ok(()));
        let answer = update(unit, &actor("usr_desk", Role::Receptionist), "new", Precondition::none()).await;
        assert_eq!(answer.unwrap(), listed_note());
    }

    #[tokio::test]
    async fn a_refused_edit_changes_nothing_at_all() {
        let (author, other) = (actor("usr_desk", Role::Receptionist), actor("usr_2", Role::Receptionist));
        for (actor, precondition) in [(&other, Precondition::none()), (&author, Precondition::new(|_| false))] {
            let mut unit = unit_with_note();
            unit.expect_rollback().times(1).returning(|| Ok(()));
            let is_other = precondition.is_none();
            let answer = update(unit, actor, "new", precondition).await;
            assert!(matches!(
                (is_other, answer),
                (true, Err(NoteError::NotAuthor)) | (false, Err(NoteError::PreconditionFailed))
            ));
        }
    }

    #[tokio::test]
    async fn a_note_is_deleted_by_its_author_and_audited() {
        let mut unit = unit_with_note();
        unit.expect_delete_note().times(1).returning(|_| Ok(()));
        unit.expect_insert_audit_entry()
            .times(1)
            .withf(|entry| entry.change.new_values.is_none())
            .returning(|_| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));
        delete(unit, &actor("usr_desk", Role::Receptionist), Precondition::none()).await.unwrap();

        let mut unit = unit_with_note();
        unit.expect_rollback().times(1).returning(|| Ok(()));
        let answer = delete(unit, &actor("usr_2", Role::Receptionist), Precondition::none()).await;
        assert!(matches!(answer, Err(NoteError::NotAuthor)), "{answer:?}");

        let mut unit = MockUnitOfWork::new();
        unit.expect_lock_note().returning(|_, _| Ok(NoteLookup::NoNote));
        unit.expect_rollback().times(1).returning(|| Ok(()));
        let answer = delete(unit, &actor("usr_2", Role::Manager), Precondition::none()).await;
        assert!(matches!(answer, Err(NoteError::NotFound)), "{answer:?}");
    }
}
