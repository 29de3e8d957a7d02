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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockStore, MockUnitOfWork, NOW, clock, unavailable};

    type Outcomes = Outcome<Result<&'static str, StoreError>>;

    fn request() -> IdempotentRequest {
        IdempotentRequest { scope: "scope".to_owned(), body: "body".to_owned() }
    }

    fn answer(status: u16) -> KeptAnswer {
        KeptAnswer { status, body: Some("{}".to_owned()), entity_tag: None, note: None }
    }

    /// A unit of work whose claim has that outcome.
    fn claiming(claim: Claim) -> MockUnitOfWork {
        let mut unit = MockUnitOfWork::new();
        unit.expect_claim_key()
            .times(1)
            .withf(|request, since| request.scope == "scope" && *since == NOW - LIFETIME)
            .returning(move |_, _| Ok(claim.clone()));
        unit
    }

    fn keeping(mut unit: MockUnitOfWork, status: u16) -> MockUnitOfWork {
        unit.expect_keep_answer().times(1).withf(move |_, kept, _| kept.status == status).returning(|_, _, _| Ok(()));
        unit.expect_commit().times(1).returning(|| Ok(()));
        unit
    }

    /// Runs work on these units of work, one after the other.
    async fn run(units: Vec<MockUnitOfWork>, work: Result<&'static str, StoreError>) -> Result<Outcomes, StoreError> {
        let mut store = MockStore::new();
        let mut units = units.into_iter();
        store.expect_begin().times(units.len()).returning(move || Ok(Box::new(units.next().unwrap())));
        let idempotency = Idempotency { store: Arc::new(store), clock: clock() };
        let work = async |store: Arc<dyn Store>| store.transaction(async |_| work).await;
        idempotency.run(request(), work, |result| Some(answer(if result.is_ok() { 201 } else { 404 }))).await
    }

    #[tokio::test]
    async fn the_answer_is_kept_in_the_unit_of_work_of_the_change() {
        let outcome = run(vec![keeping(claiming(Claim::Free), 201)], Ok("done")).await.unwrap();
        assert!(matches!(outcome, Outcome::Done(Ok("done"))), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_refusal_is_kept_in_a_unit_of_work_of_its_own() {
        let mut refused = claiming(Claim::Free);
        refused.expect_rollback().times(1).returning(|| Ok(()));
        let outcome = run(vec![refused, keeping(claiming(Claim::Free), 404)], Err(unavailable())).await.unwrap();
        assert!(matches!(outcome, Outcome::Done(Err(_))), "{outcome:?}");
    }

    #[tokio::test]
    async fn nothing_is_done_when_the_key_is_not_free() {
        for claim in [Claim::InProgress, Claim::Reused, Claim::Kept(answer(201))] {
            let mut unit = claiming(claim.clone());
            unit.expect_rollback().times(1).returning(|| Ok(()));
            let outcome = run(vec![unit], Ok("done")).await.unwrap();
            assert!(matches!(
                (claim, outcome),
                (Claim::InProgress, Outcome::InProgress)
                    | (Claim::Reused, Outcome::Reused)
                    | (Claim::Kept(_), Outcome::Replayed(KeptAnswer { status: 201, .. }))
            ));
        }
    }

    #[tokio::test]
    async fn a_failed_commit_is_an_error_although_the_work_succeeded() {
        let mut unit = claiming(Claim::Free);
        unit.expect_keep_answer().returning(|_, _, _| Ok(()));
        unit.expect_commit().times(1).returning(|| Err(unavailable()));
        assert!(run(vec![unit], Ok("done")).await.is_err());
    }

    #[tokio::test]
    async fn work_that_begins_anew_claims_the_key_anew() {
        let mut first = claiming(Claim::Free);
        first.expect_rollback().times(1).returning(|| Ok(()));
        let mut units = vec![first, keeping(claiming(Claim::Free), 201)].into_iter();
        let mut store = MockStore::new();
        store.expect_begin().times(2).returning(move || Ok(Box::new(units.next().unwrap())));
        let idempotency = Idempotency { store: Arc::new(store), clock: clock() };
        let work = async |store: Arc<dyn Store>| {
            let _ = store.transaction(async |_| Err::<(), _>(unavailable())).await;
            store.transaction(async |_| Ok::<_, StoreError>("done")).await
        };
        let outcome = idempotency.run(request(), work, |_| Some(answer(201))).await.unwrap();
        assert!(matches!(outcome, Outcome::Done(Ok("done"))), "{outcome:?}");
    }
}
