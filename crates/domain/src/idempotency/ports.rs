//! The ports of idempotent requests.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Claim, IdempotentRequest, KeptAnswer};
use crate::store_error::StoreError;

/// Claiming keys and keeping answers, as part of a unit of work.
#[async_trait]
pub trait IdempotencyWrites {
    /// Claims the key of that request until the unit of work ends, without waiting for another one that holds it. An answer
    /// that was kept before `since` does not count.
    async fn claim_key(&mut self, request: &IdempotentRequest, since: OffsetDateTime) -> Result<Claim, StoreError>;

    /// Keeps the answer to a request whose key is claimed, in place of one that has expired.
    async fn keep_answer(
        &mut self,
        request: &IdempotentRequest,
        answer: &KeptAnswer,
        at: OffsetDateTime,
    ) -> Result<(), StoreError>;
}
