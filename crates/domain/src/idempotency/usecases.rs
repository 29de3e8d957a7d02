//! The use case of idempotent requests: does the work of a request once and keeps its answer in the same unit of work.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Claim, IdempotentRequest, KeptAnswer, LIFETIME};
use crate::{
    clock::Clock,
    store_error::StoreError,
    unit_of_work::{Store, UnitOfWork},
};

/// The use case of idempotent requests.
pub struct Idempotency {
    /// Units of work.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What became of an idempotent request.
#[derive(Debug)]
pub enum Outcome<R> {
    /// It did its work, with this result.
    Done(R),
    /// The first answer is given again.
    Replayed(KeptAnswer),
    /// The first request is still at work.
    InProgress,
    /// The key belongs to a request with another body.
    Reused,
}

impl Idempotency {
    /// Does `work` on a store whose unit of work also keeps the answer: both are committed, or neither.
    ///
    /// A refusal changes nothing, so its answer is kept in a unit of work of its own. `answer_of` gives the answer that is to
    /// be kept; `None` for one that a repeat might not get.
    pub async fn run<T, E: From<StoreError>>(
        &self,
        request: IdempotentRequest,
        work: impl AsyncFnOnce(Arc<dyn Store>) -> Result<T, E>,
        answer_of: impl Fn(&Result<T, E>) -> Option<KeptAnswer>,
    ) -> Result<Outcome<Result<T, E>>, E> {
        let store = Arc::new(ClaimingStore {
            store: self.store.clone(),
            clock: self.clock.clone(),
            request,
            unit: Mutex::default(),
        });
        match store.claim().await? {
            Ok(unit) => store.put(unit),
            Err(Claim::Kept(answer)) => return Ok(Outcome::Replayed(answer)),
            Err(Claim::Reused) => return Ok(Outcome::Reused),
            Err(Claim::InProgress | Claim::Free) => return Ok(Outcome::InProgress),
        }
        let result = work(store.clone()).await;
        let answer = answer_of(&result);
        match (store.take(), answer) {
            (Some(unit), answer) => self.keep(&store.request, unit, answer).await?,
            (None, Some(answer)) if result.is_err() => {
                // The refusal stands whether or not it is kept: a repeat would be refused anew.
                if let Ok(Ok(unit)) = store.claim().await {
                    let _ = self.keep(&store.request, unit, Some(answer)).await;
                }
            }
            (None, _) => {}
        }
        Ok(Outcome::Done(result))
    }

    async fn keep(
        &self,
        request: &IdempotentRequest,
        mut unit: Box<dyn UnitOfWork>,
        answer: Option<KeptAnswer>,
    ) -> Result<(), StoreError> {
        if let Some(answer) = answer {
            unit.keep_answer(request, &answer, self.clock.now()).await?;
        }
        unit.commit().await
    }
}

/// A store whose units of work hold the claim of a request's key, and stay open when they succeed.
struct ClaimingStore {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    request: IdempotentRequest,
    unit: Mutex<Option<Box<dyn UnitOfWork>>>,
}

impl ClaimingStore {
    /// A unit of work that has claimed the key, or why it could not.
    async fn claim(&self) -> Result<Result<Box<dyn UnitOfWork>, Claim>, StoreError> {
        let mut unit = self.store.begin().await?;
        match unit.claim_key(&self.request, self.clock.now() - LIFETIME).await? {
            Claim::Free => Ok(Ok(unit)),
            claim => {
                let _ = unit.rollback().await;
                Ok(Err(claim))
            }
        }
    }

    fn put(&self, unit: Box<dyn UnitOfWork>) {
        *self.unit.lock().unwrap_or_else(PoisonError::into_inner) = Some(unit);
    }

    fn take(&self) -> Option<Box<dyn UnitOfWork>> {
        self.unit.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Store for ClaimingStore {
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        if let Some(unit) = self.take() {
            return Ok(unit);
        }
        // The work begins anew after a roll-back, which has ended the claim.
        self.claim().await?.map_err(|_| StoreError::Unavailable("another request has taken the key meanwhile".into()))
    }

    async fn finish(&self, unit: Box<dyn UnitOfWork>) -> Result<(), StoreError> {
        self.put(unit);
        Ok(())
    }
}
