//! A customer's history with the platform: bookings, invoices, memberships and gems. Read only, and a platform may lack any
//! of these lists.
//!
//! Source: contract extensions, "A customer's history".

pub mod ports;
pub mod usecases;

use thiserror::Error;
use time::{Date, OffsetDateTime};

use crate::{
    calendar::TimeOfDay,
    customer::CustomerView,
    ids::{BookingId, GemTransactionId, InvoiceId, MembershipId},
    note::ListedNote,
    page::Page,
    store_error::StoreError,
    tag::Tag,
    text::{self, TextError},
};

/// The most labels that one parameter may have.
pub const MAX_LABELS: usize = 10;

/// The statuses of bookings that will not take place any more, by the platform's labels.
pub const SETTLED_BOOKINGS: [&str; 4] = ["completed", "cancelled", "rejected", "no_show"];

/// The label of the membership that is in force.
pub const ACTIVE_MEMBERSHIP: &str = "active";

/// A list of a customer's history, which a platform may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryList {
    /// Bookings.
    Bookings,
    /// Invoices.
    Invoices,
    /// Memberships of the spa.
    Memberships,
    /// The entries of the loyalty account.
    Gems,
}

/// Why a list was refused.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// No user with that id has a customer profile.
    #[error("no such customer")]
    CustomerNotFound,
    /// The platform lacks the list, or does not let this service read it.
    #[error("this platform has no such list")]
    NotAvailable(HistoryList),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why labels were refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LabelsError {
    /// More than [`MAX_LABELS`].
    #[error("must be given at most {MAX_LABELS} times")]
    TooMany,
    /// One of them is refused.
    #[error(transparent)]
    Text(#[from] TextError),
}

/// The platform's labels to filter by: an item matches if it has any of them. Opaque: an unknown label is one that nothing has.
/// Without any: no filter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels(Vec<String>);

impl Labels {
    /// No filter.
    pub const NONE: Self = Self(Vec::new());

    /// Takes at most [`MAX_LABELS`] texts as they stand, without empty ones.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, LabelsError> {
        let mut labels = Vec::new();
        for (count, text) in (1..).zip(texts) {
            if count > MAX_LABELS {
                return Err(LabelsError::TooMany);
            }
            match text::parse_opaque(text) {
                Ok(label) => labels.push(label.to_owned()),
                Err(TextError::Empty) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(labels))
    }

    /// Whether there are none: no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels as text.
    #[must_use]
    pub fn as_texts(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

/// Why the value of `when` was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be upcoming or past")]
pub struct WhenError;

/// Whether a booking has begun, by the salon's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Begins now or later.
    Upcoming,
    /// Has begun.
    Past,
}

impl When {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Upcoming, Self::Past];

    /// Accepts the name alone.
    pub fn parse(text: &str) -> Result<Self, WhenError> {
        Self::ALL.into_iter().find(|when| when.as_str() == text).ok_or(WhenError)
    }

    /// The name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upcoming => "upcoming",
            Self::Past => "past",
        }
    }
}

/// Which bookings are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BookingFilter {
    /// With one of these statuses, if there are any.
    pub statuses: Labels,
    /// Upcoming, soonest first, or past; without it all, latest first.
    pub when: Option<When>,
}

/// A booking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    /// Its id.
    pub id: BookingId,
    /// Its number, as people read it.
    pub number: String,
    /// The platform's label.
    pub status: String,
    /// The platform's label: salon or spa.
    pub service_type: String,
    /// The day, by the salon's calendar.
    pub date: Date,
    /// When it begins, by the salon's clock.
    pub start_time: TimeOfDay,
    /// When it ends, by the salon's clock.
    pub end_time: TimeOfDay,
    /// Paise.
    pub total_amount_paise: i64,
    /// Minutes.
    pub total_duration_minutes: i64,
    /// Whether the customer came without having booked before.
    pub is_walkin: bool,
    /// Whether a membership pays for it.
    pub is_membership_session: bool,
    /// What is done, in the platform's order.
    pub services: Vec<BookedService>,
    /// When it was made, UTC.
    pub created_at: OffsetDateTime,
}

/// A service of a booking, as it was when it was booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedService {
    /// Its name.
    pub name: String,
    /// Minutes.
    pub duration_minutes: i64,
    /// Paise.
    pub price_paise: i64,
}

/// An invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Its id.
    pub id: InvoiceId,
    /// Its number, as people read it.
    pub number: String,
    /// The platform's label.
    pub invoice_type: String,
    /// The platform's label.
    pub payment_status: String,
    /// The platform's label.
    pub payment_method: String,
    /// Paise.
    pub subtotal_paise: i64,
    /// Paise.
    pub discount_amount_paise: i64,
    /// Tax in paise.
    pub gst_amount_paise: i64,
    /// Paise.
    pub total_amount_paise: i64,
    /// Gems.
    pub gems_earned: i64,
    /// Gems.
    pub gems_redeemed: i64,
    /// What it is for.
    pub booking: BookingId,
    /// When it was paid, UTC.
    pub paid_at: Option<OffsetDateTime>,
    /// When it was made, UTC.
    pub created_at: OffsetDateTime,
}

/// A membership of the spa.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Its id.
    pub id: MembershipId,
    /// Its number, as people read it.
    pub number: String,
    /// The name of its tier when it was bought.
    pub tier_name: String,
    /// The platform's label.
    pub status: String,
    /// Minutes.
    pub total_hours_minutes: i64,
    /// Minutes.
    pub used_hours_minutes: i64,
    /// Paise.
    pub price_paid_paise: i64,
    /// UTC.
    pub starts_at: OffsetDateTime,
    /// UTC.
    pub expires_at: OffsetDateTime,
}

/// The memberships of a customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memberships {
    /// The one that the platform calls active.
    pub active: Option<Membership>,
    /// The others, newest first.
    pub past: Vec<Membership>,
}

impl Memberships {
    /// Separates the newest active one from memberships that are newest first.
    #[must_use]
    pub fn from_newest_first(mut memberships: Vec<Membership>) -> Self {
        let active = memberships.iter().position(|membership| membership.status == ACTIVE_MEMBERSHIP);
        Self { active: active.map(|index| memberships.remove(index)), past: memberships }
    }
}

/// A gem transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GemTransaction {
    /// Its id.
    pub id: GemTransactionId,
    /// The platform's label.
    pub transaction_type: String,
    /// Gems, negative when they were taken.
    pub gems_amount: i64,
    /// What it was for.
    pub description: Option<String>,
    /// The invoice that it belongs to.
    pub invoice: Option<InvoiceId>,
    /// When the gems expire, UTC.
    pub expires_at: Option<OffsetDateTime>,
    /// UTC.
    pub created_at: OffsetDateTime,
}

/// A page of the loyalty account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GemsPage {
    /// Gems; `None` without a loyalty account.
    pub balance: Option<i64>,
    /// Newest first.
    pub transactions: Page<GemTransaction>,
}

/// Everything that a profile page shows, from one snapshot. `None` is what the platform lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// The customer.
    pub customer: CustomerView,
    /// The soonest booking that begins now or later and is not one of [`SETTLED_BOOKINGS`].
    pub next_booking: Option<Booking>,
    /// The first bookings of the list.
    pub bookings: Option<Page<Booking>>,
    /// The first invoices of the list.
    pub invoices: Option<Page<Invoice>>,
    /// The first notes of the list.
    pub notes: Page<ListedNote>,
    /// All memberships.
    pub memberships: Option<Memberships>,
    /// Every tag that there is, by name.
    pub tags: Vec<Tag>,
}

impl Overview {
    /// Paise for each visit, half a paisa rounded up; `None` without visits.
    #[must_use]
    pub fn average_spend_paise(&self) -> Option<i64> {
        let (spent, visits) = (i128::from(self.customer.total_spent_paise), i128::from(self.customer.total_visits));
        if visits <= 0 {
            return None;
        }
        i64::try_from((2 * spent + visits).div_euclid(2 * visits)).ok()
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::testing::customer_view;

    #[test]
    fn labels_are_opaque_and_at_most_ten() {
        let labels = Labels::parse(["no_show", "", "ongoing?"]).unwrap();
        assert_eq!(labels.as_texts(), ["no_show", "ongoing?"]);
        assert!(Labels::parse([""]).unwrap().is_empty());
        assert_eq!(Labels::parse(["a\0"]), Err(LabelsError::Text(TextError::Nul)));
        assert!(Labels::parse(["a"; 10]).is_ok());
        assert_eq!(Labels::parse(["a"; 11]), Err(LabelsError::TooMany));
        assert_eq!(Labels::parse([""; 11]), Err(LabelsError::TooMany));
    }

    #[test]
    fn when_has_two_names() {
        assert_eq!(When::parse("upcoming"), Ok(When::Upcoming));
        assert_eq!(When::parse("past"), Ok(When::Past));
        for text in ["", "Past", "past ", "today", "upcoming\0"] {
            assert_eq!(When::parse(text), Err(WhenError), "{text:?}");
        }
    }

    fn membership(id: &str, status: &str) -> Membership {
        Membership {
            id: MembershipId::from_stored(id.to_owned()),
            number: format!("SPA-{id}"),
            tier_name: "Gold".to_owned(),
            status: status.to_owned(),
            total_hours_minutes: 600,
            used_hours_minutes: 60,
            price_paid_paise: 100,
            starts_at: datetime!(2026-01-01 0:00 UTC),
            expires_at: datetime!(2027-01-01 0:00 UTC),
        }
    }

    #[test]
    fn the_newest_active_membership_stands_apart() {
        let newest_first = vec![
            membership("4", "cancelled"),
            membership("3", "active"),
            membership("2", "active"),
            membership("1", "x"),
        ];
        let Memberships { active, past } = Memberships::from_newest_first(newest_first);
        assert_eq!(active.unwrap().id.as_str(), "3");
        assert_eq!(past.iter().map(|membership| membership.id.as_str()).collect::<Vec<_>>(), ["4", "2", "1"]);
        assert_eq!(Memberships::from_newest_first(Vec::new()), Memberships { active: None, past: Vec::new() });
    }

    #[test]
    fn the_average_is_rounded_half_up() {
        for (spent, visits, average) in [
            (0, 0, None),
            (500, 0, None),
            (500, -1, None),
            (0, 3, Some(0)),
            (10, 4, Some(3)),
            (9, 4, Some(2)),
            (100, 3, Some(33)),
            (200, 3, Some(67)),
            (-10, 4, Some(-2)),
            (i64::MAX, 1, Some(i64::MAX)),
        ] {
            let mut customer = customer_view("usr_1");
            (customer.total_spent_paise, customer.total_visits) = (spent, visits);
            let overview = Overview {
                customer,
                next_booking: None,
                bookings: None,
                invoices: None,
                notes: Page { items: Vec::new(), total_count: 0 },
                memberships: None,
                tags: Vec::new(),
            };
            assert_eq!(overview.average_spend_paise(), average, "{spent} / {visits}");
        }
    }
}
