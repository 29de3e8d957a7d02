//! What this process knows of the read model, and how often it used it.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use crm_domain::{
    health::{DirectoryModelState, DirectoryReadCounts},
    store_error::StoreError,
};

/// The read model as this process knows it.
#[derive(Debug, Default)]
pub(in crate::postgres) struct DirectoryModel {
    state: RwLock<DirectoryModelState>,
    repaired: AtomicU64,
    clean: AtomicU64,
    applied: AtomicU64,
    direct: AtomicU64,
}

/// The way in which a page was read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// From the model; nothing was queued.
    Clean,
    /// From the model; queued customers were computed anew first.
    Applied,
    /// By the direct statement.
    Direct,
}

impl DirectoryModel {
    /// Whether reads may try the model. Each of them makes sure in its own snapshot.
    pub(in crate::postgres) fn is_usable(&self) -> bool {
        self.state() == DirectoryModelState::InUse
    }

    /// How the directory was read.
    pub(in crate::postgres) fn reads(&self) -> DirectoryReadCounts {
        let Self { state: _, repaired, clean, applied, direct } = self;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DirectoryReadCounts {
            clean: count(clean),
            applied: count(applied),
            direct: count(direct),
            repaired: count(repaired),
            model: self.state(),
        }
    }

    pub(super) fn count(&self, way: Way) {
        let counter = match way {
            Way::Clean => &self.clean,
            Way::Applied => &self.applied,
            Way::Direct => &self.direct,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts customers that were wrong in the model and were repaired.
    pub(super) fn count_repaired(&self, customers: u64) {
        self.repaired.fetch_add(customers, Ordering::Relaxed);
    }

    /// Lets the direct statement answer until the model has been looked at again.
    pub(super) fn give_up(&self, error: &StoreError) {
        if self.swap(DirectoryModelState::Unreadable) == DirectoryModelState::InUse {
            tracing::warn!(%error, "the directory's read model cannot be read; the direct statement answers");
        }
    }

    /// Notes what was found. Logs when it is something new.
    pub(super) fn set(&self, state: DirectoryModelState) {
        if self.swap(state) == state {
            return;
        }
        match (state, state.advice()) {
            (DirectoryModelState::InUse, _) => tracing::info!("the directory is read from its read model"),
            (_, None) => tracing::info!("the directory is read from its tables"),
            (_, Some(advice)) => tracing::warn!(advice, "the directory is read from its tables"),
        }
    }

    fn state(&self) -> DirectoryModelState {
        *self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn swap(&self, state: DirectoryModelState) -> DirectoryModelState {
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, state)
    }
}
