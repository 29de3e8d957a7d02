//! The figures of customers that the directory sorts by, derived from bookings and invoices.
//!
//! Source: contract extensions, "Figures that are true".

pub mod ports;
pub mod usecases;

use thiserror::Error;
use time::{OffsetDateTime, PrimitiveDateTime};

use crate::{
    calendar::{FIRST, LAST, SalonTimeZone},
    store_error::StoreError,
};

/// The highest spend in paise: what PostgreSQL's `integer` holds.
pub const MAX_SPENT_PAISE: i64 = i32::MAX as i64;

/// Why the figures could not be compared or refreshed.
#[derive(Debug, Error)]
pub enum KpiError {
    /// The platform lacks bookings or invoices, or this service may not read or write what it needs: a line each.
    #[error("the figures cannot be derived; the database lacks {}", .0.join("; "))]
    NotAvailable(Vec<String>),
    /// Another instance is refreshing.
    #[error("another instance is refreshing the figures; wait until it ends")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The derived figures of a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Completed bookings.
    pub total_visits: i64,
    /// When the first of them was completed, UTC.
    pub first_visit_at: Option<OffsetDateTime>,
    /// When the last of them was completed, UTC.
    pub last_visit_at: Option<OffsetDateTime>,
    /// The sum of the paid invoices in paise, at most [`MAX_SPENT_PAISE`].
    pub total_spent_paise: i64,
}

/// What the platform knows of a customer that figures are derived from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// The number of completed bookings.
    pub completed_bookings: u64,
    /// When the first of them was completed, of those for which that was noted.
    pub first_completed_at: Option<OffsetDateTime>,
    /// When the last of those was completed.
    pub last_completed_at: Option<OffsetDateTime>,
    /// When the others ended, by the salon's clock.
    pub other_ends: Vec<PrimitiveDateTime>,
    /// The sum of the paid invoices in paise.
    pub paid_paise: i64,
}

impl Facts {
    /// The figures that follow.
    #[must_use]
    pub fn figures(&self, zone: &SalonTimeZone) -> Figures {
        let timestamp = |end: &PrimitiveDateTime| zone.timestamp_of(*end).clamp(FIRST, LAST);
        let ends: Vec<OffsetDateTime> = self.other_ends.iter().map(timestamp).collect();
        let completed = |noted: Option<OffsetDateTime>| noted.into_iter().chain(ends.iter().copied());
        Figures {
            total_visits: self.completed_bookings.try_into().unwrap_or(i64::MAX),
            first_visit_at: completed(self.first_completed_at).min(),
            last_visit_at: completed(self.last_completed_at).max(),
            total_spent_paise: self.paid_paise.min(MAX_SPENT_PAISE),
        }
    }
}

/// How many customers differ from what follows from their bookings and invoices, and in which figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Differences {
    /// Customers who were compared.
    pub compared: u64,
    /// Customers who differ in any figure.
    pub customers: u64,
    /// … in the visits.
    pub total_visits: u64,
    /// … in the first visit.
    pub first_visit_at: u64,
    /// … in the last visit.
    pub last_visit_at: u64,
    /// … in the spend.
    pub total_spent_paise: u64,
}

impl Differences {
    /// Counts a customer.
    fn count(&mut self, stored: &Figures, derived: &Figures) {
        self.compared += 1;
        self.customers += u64::from(stored != derived);
        self.total_visits += u64::from(stored.total_visits != derived.total_visits);
        self.first_visit_at += u64::from(stored.first_visit_at != derived.first_visit_at);
        self.last_visit_at += u64::from(stored.last_visit_at != derived.last_visit_at);
        self.total_spent_paise += u64::from(stored.total_spent_paise != derived.total_spent_paise);
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn kolkata() -> SalonTimeZone {
        SalonTimeZone::parse("Asia/Kolkata").unwrap()
    }

    #[test]
    fn who_has_done_nothing_has_no_figures() {
        let nothing = Figures { total_visits: 0, first_visit_at: None, last_visit_at: None, total_spent_paise: 0 };
        assert_eq!(Facts::default().figures(&kolkata()), nothing);
    }

    #[test]
    fn a_completion_that_was_not_noted_is_the_end_by_the_clock_of_the_salon() {
        let facts = Facts {
            completed_bookings: 3,
            first_completed_at: Some(datetime!(2026-03-01 10:00 UTC)),
            last_completed_at: Some(datetime!(2026-03-01 10:00 UTC)),
            other_ends: vec![datetime!(2026-03-02 00:30), datetime!(2026-02-01 11:00)],
            paid_paise: 4_200,
        };
        let figures = Figures {
            total_visits: 3,
            first_visit_at: Some(datetime!(2026-02-01 05:30 UTC)),
            last_visit_at: Some(datetime!(2026-03-01 19:00 UTC)),
            total_spent_paise: 4_200,
        };
        assert_eq!(facts.figures(&kolkata()), figures);
        let facts = Facts { other_ends: Vec::new(), ..facts };
        assert_eq!(facts.figures(&kolkata()).first_visit_at, facts.first_completed_at);
        assert_eq!(facts.figures(&kolkata()).last_visit_at, facts.last_completed_at);
    }

    #[test]
    fn the_spend_has_a_highest_value() {
        for (paid, spent) in [(MAX_SPENT_PAISE, MAX_SPENT_PAISE), (MAX_SPENT_PAISE + 1, MAX_SPENT_PAISE), (-5, -5)] {
            let facts = Facts { paid_paise: paid, ..Facts::default() };
            assert_eq!(facts.figures(&kolkata()).total_spent_paise, spent);
        }
    }

    #[test]
    fn differences_are_counted_by_figure() {
        let figures = Figures { total_visits: 1, first_visit_at: None, last_visit_at: None, total_spent_paise: 5 };
        let mut differences = Differences::default();
        differences.count(&figures, &figures);
        differences.count(&figures, &Figures { total_visits: 2, total_spent_paise: 6, ..figures });
        differences.count(&figures, &Figures { last_visit_at: Some(datetime!(2026-03-01 10:00 UTC)), ..figures });
        let expected = Differences {
            compared: 3,
            customers: 2,
            total_visits: 1,
            first_visit_at: 0,
            last_visit_at: 1,
            total_spent_paise: 1,
        };
        assert_eq!(differences, expected);
    }
}
