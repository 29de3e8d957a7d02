//! The history use cases.

use std::sync::Arc;

use super::{
    Booking, BookingFilter, GemsPage, HistoryError, HistoryList, Invoice, Labels, Memberships, Overview,
    ports::{HistoryLookup, HistoryReads},
};
use crate::{
    calendar::{SalonTimeZone, WallClock},
    clock::Clock,
    ids::UserId,
    page::{Page, PageRequest},
};

/// The history's use cases.
pub struct History {
    /// Reading the history.
    pub reads: Arc<dyn HistoryReads>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The salon's time zone.
    pub time_zone: SalonTimeZone,
}

impl History {
    /// What the salon's clock shows.
    fn now(&self) -> WallClock {
        self.time_zone.wall_clock_at(self.clock.now())
    }

    /// A page of the customer's bookings: latest first, or soonest first when only upcoming ones are wanted.
    pub async fn bookings(
        &self,
        customer: &UserId,
        filter: &BookingFilter,
        page: PageRequest,
    ) -> Result<Page<Booking>, HistoryError> {
        found(HistoryList::Bookings, self.reads.list_bookings(customer, filter, self.now(), page).await?)
    }

    /// A page of the customer's invoices, newest first.
    pub async fn invoices(
        &self,
        customer: &UserId,
        payment_statuses: &Labels,
        page: PageRequest,
    ) -> Result<Page<Invoice>, HistoryError> {
        found(HistoryList::Invoices, self.reads.list_invoices(customer, payment_statuses, page).await?)
    }

    /// All memberships of the customer.
    pub async fn memberships(&self, customer: &UserId) -> Result<Memberships, HistoryError> {
        found(HistoryList::Memberships, self.reads.list_memberships(customer).await?)
    }

    /// The customer's balance, and a page of the account's entries, newest first.
    pub async fn gems(&self, customer: &UserId, page: PageRequest) -> Result<GemsPage, HistoryError> {
        found(HistoryList::Gems, self.reads.list_gems(customer, page).await?)
    }

    /// Everything that a profile page shows, from one snapshot.
    pub async fn overview(&self, customer: &UserId) -> Result<Overview, HistoryError> {
        self.reads.find_overview(customer, self.now()).await?.ok_or(HistoryError::CustomerNotFound)
    }
}

fn found<T>(list: HistoryList, lookup: HistoryLookup<T>) -> Result<T, HistoryError> {
    match lookup {
        HistoryLookup::Found(value) => Ok(value),
        HistoryLookup::NoCustomer => Err(HistoryError::CustomerNotFound),
        HistoryLookup::NotAvailable => Err(HistoryError::NotAvailable(list)),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime, time};

    use super::*;
    use crate::{history::ports::MockHistoryReads, testing::clock_at};

    fn history(reads: MockHistoryReads) -> History {
        History {
            reads: Arc::new(reads),
            clock: clock_at(datetime!(2026-11-26 18:59:30 UTC)),
            time_zone: SalonTimeZone::parse("Asia/Kolkata").unwrap(),
        }
    }

    fn customer() -> UserId {
        UserId::parse("usr_1").unwrap()
    }

    #[tokio::test]
    async fn now_is_what_the_clock_of_the_salon_shows() {
        let mut reads = MockHistoryReads::new();
        reads
            .expect_list_bookings()
            .withf(|_, _, now, _| *now == WallClock { date: date!(2026 - 11 - 27), time: time!(00:29:30) })
            .returning(|_, _, _, _| Ok(HistoryLookup::Found(Page { items: Vec::new(), total_count: 0 })));
        let bookings = history(reads).bookings(&customer(), &BookingFilter::default(), PageRequest::default()).await;
        assert_eq!(bookings.unwrap().total_count, 0);
    }

    #[tokio::test]
    async fn a_missing_customer_and_a_missing_list_are_told_apart() {
        let mut reads = MockHistoryReads::new();
        reads.expect_list_invoices().returning(|_, _, _| Ok(HistoryLookup::NoCustomer));
        reads.expect_list_memberships().returning(|_| Ok(HistoryLookup::NotAvailable));
        reads.expect_list_gems().returning(|_, _| Ok(HistoryLookup::NotAvailable));
        reads.expect_find_overview().returning(|_, _| Ok(None));
        let history = history(reads);
        let page = PageRequest::default();
        let invoices = history.invoices(&customer(), &Labels::default(), page).await;
        assert!(matches!(invoices, Err(HistoryError::CustomerNotFound)), "{invoices:?}");
        let memberships = history.memberships(&customer()).await;
        assert!(matches!(memberships, Err(HistoryError::NotAvailable(HistoryList::Memberships))), "{memberships:?}");
        let gems = history.gems(&customer(), page).await;
        assert!(matches!(gems, Err(HistoryError::NotAvailable(HistoryList::Gems))), "{gems:?}");
        let overview = history.overview(&customer()).await;
        assert!(matches!(overview, Err(HistoryError::CustomerNotFound)), "{overview:?}");
    }
}
