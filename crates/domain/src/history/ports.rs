//! The port of the history use cases.

use async_trait::async_trait;

use super::{BookingFilter, GemsPage, Invoice, Labels, Memberships, Overview};
use crate::{
    calendar::WallClock,
    history::Booking,
    ids::UserId,
    page::{Page, PageRequest},
    store_error::StoreError,
};

/// What was found of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistoryLookup<T> {
    /// No user with that id has a customer profile.
    NoCustomer,
    /// The platform lacks the list, or does not let this service read it.
    NotAvailable,
    /// The list.
    Found(T),
}

/// Reading a customer's history.
#[cfg_attr(feature = "testing", mockall::automock)]
#[async_trait]
pub trait HistoryReads: Send + Sync {
    /// A page of the customer's bookings. Those that begin before `now` are past.
    async fn list_bookings(
        &self,
        customer: &UserId,
        filter: &BookingFilter,
        now: WallClock,
        page: PageRequest,
    ) -> Result<HistoryLookup<Page<Booking>>, StoreError>;

    /// A page of the customer's invoices with one of these payment statuses, if there are any; newest first.
    async fn list_invoices(
        &self,
        customer: &UserId,
        payment_statuses: &Labels,
        page: PageRequest,
    ) -> Result<HistoryLookup<Page<Invoice>>, StoreError>;

    /// All memberships of the customer.
    async fn list_memberships(&self, customer: &UserId) -> Result<HistoryLookup<Memberships>, StoreError>;

    /// The customer's balance, and a page of the account's entries, newest first.
    async fn list_gems(&self, customer: &UserId, page: PageRequest) -> Result<HistoryLookup<GemsPage>, StoreError>;

    /// Everything that a profile page shows, from one snapshot; `None` when no user with that id has a customer profile.
    async fn find_overview(&self, customer: &UserId, now: WallClock) -> Result<Option<Overview>, StoreError>;
}
