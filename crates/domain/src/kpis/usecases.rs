//! The figures' use cases: compare them, refresh them.

use std::sync::Arc;

use super::{
    Differences, KpiError,
    ports::{CustomerFigures, KpiStore, RefreshClaim, Saved},
};
use crate::{calendar::SalonTimeZone, clock::Clock, ids::UserId};

/// The figures' use cases.
pub struct Kpis {
    /// Reading and writing the figures.
    pub store: Arc<dyn KpiStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The salon's time zone.
    pub time_zone: SalonTimeZone,
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Customers who have been compared.
    pub done: u64,
    /// Customers there were at the beginning.
    pub total: u64,
}

/// What a refresh did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refreshed {
    /// Customers who were compared.
    pub compared: u64,
    /// Customers whose figures were written.
    pub changed: u64,
    /// Customers whose figures may be wrong, because another program had their row locked. Refresh again.
    pub locked: u64,
}

impl Kpis {
    /// Compares the figures of all customers with what follows from their bookings and invoices. Changes nothing.
    pub async fn compare(&self, show: &mut (dyn FnMut(Progress) + Send)) -> Result<Differences, KpiError> {
        self.require_all(false).await?;
        let total = self.store.count_customers().await?;
        let mut differences = Differences::default();
        let mut after = None;
        loop {
            let batch = self.store.read_figures(after.clone()).await?;
            let Some(last) = batch.last() else { return Ok(differences) };
            after = Some(last.customer.clone());
            for CustomerFigures { stored, facts, .. } in &batch {
                differences.count(stored, &facts.figures(&self.time_zone));
            }
            show(Progress { done: differences.compared, total });
        }
    }

    /// Claims the right to refresh, so that one instance does at a time. Dropping the claim gives it back too, once the store
    /// notices.
    ///
    /// # Errors
    ///
    /// [`KpiError::Busy`] while another instance has it, [`KpiError::NotAvailable`] where nobody could refresh.
    pub async fn claim(&self) -> Result<Box<dyn RefreshClaim>, KpiError> {
        self.require_all(true).await?;
        self.store.claim_refresh().await?.ok_or(KpiError::Busy)
    }

    /// Writes the figures that differ, batch by batch, and nothing else. What was written stays when this is interrupted; the
    /// next refresh does the rest.
    pub async fn refresh(
        &self,
        claim: &mut dyn RefreshClaim,
        show: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Refreshed, KpiError> {
        let total = self.store.count_customers().await?;
        let mut refreshed = Refreshed::default();
        let mut after = None;
        loop {
            claim.keep().await?;
            let batch = self.store.read_figures(after.clone()).await?;
            let Some(last) = batch.last() else { return Ok(refreshed) };
            after = Some(last.customer.clone());
            let differs = |row: &&CustomerFigures| row.stored != row.facts.figures(&self.time_zone);
            let differing: Vec<UserId> = batch.iter().filter(differs).map(|row| row.customer.clone()).collect();
            if !differing.is_empty() {
                let saved = self.store.save_figures(&differing, &self.time_zone, self.clock.now()).await?;
                let Saved { changed, locked } = saved;
                refreshed.changed += changed;
                refreshed.locked += locked;
            }
            refreshed.compared += u64::try_from(batch.len()).unwrap_or_default();
            show(Progress { done: refreshed.compared, total });
        }
    }

    async fn require_all(&self, with_writing: bool) -> Result<(), KpiError> {
        let lacks = self.store.find_kpi_lacks(with_writing).await?;
        if lacks.is_empty() { Ok(()) } else { Err(KpiError::NotAvailable(lacks)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kpis::{
            Facts, Figures,
            ports::{MockKpiStore, MockRefreshClaim},
        },
        store_error::StoreError,
        testing::{NOW, clock},
    };

    fn kpis(store: MockKpiStore) -> Kpis {
        Kpis { store: Arc::new(store), clock: clock(), time_zone: SalonTimeZone::parse("Asia/Kolkata").unwrap() }
    }

    fn customer(id: &str, stored_visits: i64, completed_bookings: u64) -> CustomerFigures {
        let stored =
            Figures { total_visits: stored_visits, first_visit_at: None, last_visit_at: None, total_spent_paise: 0 };
        let facts = Facts { completed_bookings, ..Facts::default() };
        CustomerFigures { customer: UserId::parse(id).unwrap(), stored, facts }
    }

    fn store() -> MockKpiStore {
        let mut store = MockKpiStore::new();
        store.expect_find_kpi_lacks().returning(|_| Ok(Vec::new()));
        store.expect_count_customers().returning(|| Ok(3));
        store.expect_read_figures().returning(|after| {
            Ok(match after.as_ref().map(UserId::as_str) {
                None => vec![customer("a", 1, 1), customer("b", 0, 2)],
                Some("b") => vec![customer("c", 1, 1)],
                _ => Vec::new(),
            })
        });
        store
    }

    /// A claim that is lost when it has been kept so many times.
    fn claim(lasts: usize) -> MockRefreshClaim {
        let (mut claim, mut kept) = (MockRefreshClaim::new(), 0);
        claim.expect_keep().returning(move || {
            kept += 1;
            if kept > lasts { Err(StoreError::Unavailable("lost".into())) } else { Ok(()) }
        });
        claim
    }

    #[tokio::test]
    async fn a_comparison_goes_through_all_batches_and_writes_nothing() {
        let mut shown = Vec::new();
        let differences = kpis(store()).compare(&mut |progress| shown.push(progress.done)).await.unwrap();
        assert_eq!((differences.compared, differences.customers, differences.total_visits), (3, 1, 1));
        assert_eq!(shown, [2, 3]);
    }

    #[tokio::test]
    async fn a_refresh_writes_those_that_differ() {
        let mut store = store();
        store
            .expect_save_figures()
            .times(1)
            .withf(|customers, _, at| customers.len() == 1 && customers[0].as_str() == "b" && *at == NOW)
            .returning(|_, _, _| Ok(Saved { changed: 1, locked: 0 }));
        let refreshed = kpis(store).refresh(&mut claim(3), &mut |_| ()).await.unwrap();
        assert_eq!(refreshed, Refreshed { compared: 3, changed: 1, locked: 0 });
    }

    #[tokio::test]
    async fn a_refresh_whose_claim_is_lost_writes_no_further_batch() {
        let mut store = store();
        store.expect_save_figures().times(1).returning(|_, _, _| Ok(Saved { changed: 1, locked: 0 }));
        let mut shown = Vec::new();
        let outcome = kpis(store).refresh(&mut claim(1), &mut |progress| shown.push(progress.done)).await;
        assert!(matches!(outcome, Err(KpiError::Store(StoreError::Unavailable(_)))), "{outcome:?}");
        assert_eq!(shown, [2]);
    }

    #[tokio::test]
    async fn a_claim_needs_everything_and_no_other_one() {
        let outcome_of = async |store| kpis(store).claim().await.err().unwrap();
        let mut busy = store();
        busy.expect_claim_refresh().returning(|| Ok(None));
        let outcome = outcome_of(busy).await;
        assert!(matches!(outcome, KpiError::Busy), "{outcome:?}");
        let mut lacking = MockKpiStore::new();
        lacking.expect_find_kpi_lacks().returning(|_| Ok(vec!["table invoice".to_owned()]));
        let outcome = outcome_of(lacking).await;
        assert!(matches!(outcome, KpiError::NotAvailable(_)), "{outcome:?}");
        let mut free = store();
        free.expect_claim_refresh().returning(|| Ok(Some(Box::new(claim(0)))));
        assert!(kpis(free).claim().await.is_ok());
    }
}
