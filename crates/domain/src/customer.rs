//! Customers: the profile, and the gates a manager may override.
//!
//! Source: contract, "GET /api/customers/{id}" and "PATCH /api/customers/{id}".

pub mod ports;
pub mod usecases;

use thiserror::Error;
use time::{Date, Duration, OffsetDateTime};

use crate::{
    audit::{AuditAction, AuditEntity, AuditFields, AuditValue, Change},
    ids::{ProfileId, UserId},
    precondition::PreconditionFailed,
    store_error::StoreError,
    tag::Chip,
};

/// Why a customer's use case was refused.
#[derive(Debug, Error)]
pub enum CustomerError {
    /// No user with that id has a customer profile.
    #[error("no such customer")]
    NotFound,
    /// The customer is not as the client requires.
    #[error("the customer has changed")]
    PreconditionFailed,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PreconditionFailed> for CustomerError {
    fn from(_: PreconditionFailed) -> Self {
        Self::PreconditionFailed
    }
}

/// Why a no-show count was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be between 0 and {}", i32::MAX)]
pub struct NoShowCountError;

/// How often a customer did not come: 0 to 2147483647, what the column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoShowCount(i64);

impl NoShowCount {
    /// Accepts 0 to 2147483647.
    pub fn parse(value: i128) -> Result<Self, NoShowCountError> {
        i32::try_from(value).ok().filter(|value| *value >= 0).map(|value| Self(value.into())).ok_or(NoShowCountError)
    }
}

/// A customer as the front desk sees one: the user, the profile, the loyalty balance and the tags in one view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerView {
    /// The customer.
    pub id: UserId,
    /// The user's name.
    pub name: String,
    /// The user's e-mail address.
    pub email: String,
    /// The role as stored, perhaps none, perhaps unknown.
    pub role: Option<String>,
    /// The URL of a picture.
    pub image: Option<String>,
    /// The profile's phone number, as typed.
    pub phone: Option<String>,
    /// As stored.
    pub gender: Option<String>,
    /// The birthday.
    pub date_of_birth: Option<Date>,
    /// Completed visits.
    pub total_visits: i64,
    /// Spend in paise.
    pub total_spent_paise: i64,
    /// No-shows.
    pub noshow_count: i64,
    /// Cancellations too late.
    pub late_cancellation_count: i64,
    /// Whether the salon confirms each booking by hand.
    pub booking_requires_approval: bool,
    /// First visit, UTC.
    pub first_visit_at: Option<OffsetDateTime>,
    /// Last visit, UTC.
    pub last_visit_at: Option<OffsetDateTime>,
    /// The loyalty balance; `None` without a loyalty account.
    pub gems_balance: Option<i64>,
    /// When the user was made, UTC.
    pub created_at: OffsetDateTime,
    /// The customer's tags, by name.
    pub tags: Vec<Chip>,
}

/// A whole `customer_profile` row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The profile's own id.
    pub id: ProfileId,
    /// The customer.
    pub user_id: UserId,
    /// Phone number, as typed.
    pub phone: Option<String>,
    /// As stored.
    pub gender: Option<String>,
    /// The birthday.
    pub date_of_birth: Option<Date>,
    /// Whether marketing is welcome.
    pub marketing_consent: bool,
    /// Since when, UTC.
    pub marketing_consent_at: Option<OffsetDateTime>,
    /// Whether reminders are wanted.
    pub appointment_reminders_enabled: bool,
    /// Whether membership alerts are wanted.
    pub membership_alerts_enabled: bool,
    /// How the customer found us.
    pub acquisition_source: Option<String>,
    /// Campaign tracking.
    pub utm_campaign: Option<String>,
    /// Campaign tracking.
    pub utm_medium: Option<String>,
    /// Campaign tracking.
    pub utm_source: Option<String>,
    /// First visit, UTC.
    pub first_visit_at: Option<OffsetDateTime>,
    /// Last visit, UTC.
    pub last_visit_at: Option<OffsetDateTime>,
    /// Completed visits.
    pub total_visits: i64,
    /// Spend in paise.
    pub total_spent_paise: i64,
    /// Gate: no-shows.
    pub noshow_count: i64,
    /// Cancellations too late.
    pub late_cancellation_count: i64,
    /// Completed bookings in a row.
    pub consecutive_completed_bookings: i64,
    /// Gate: whether the salon confirms each booking by hand.
    pub booking_requires_approval: bool,
    /// When the row was made, UTC.
    pub created_at: OffsetDateTime,
    /// When the row last changed, UTC.
    pub updated_at: OffsetDateTime,
}

/// A manager's override of the gates; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GateOverride {
    /// The no-show count to set.
    pub noshow_count: Option<NoShowCount>,
    /// Whether bookings shall need approval.
    pub booking_requires_approval: Option<bool>,
}

impl GateOverride {
    /// Whether nothing is to be set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Profile {
    /// Sets the gates that `wanted` names and that differ from the stored ones, and moves `updated_at` to `now`, or just past
    /// the stored time when that is later. Returns `None` when nothing differs: then there is nothing to save or to audit.
    pub fn change_gates(&mut self, wanted: GateOverride, now: OffsetDateTime) -> Option<Change> {
        let mut old_values = AuditFields::new();
        let mut new_values = AuditFields::new();
        if let Some(NoShowCount(count)) = wanted.noshow_count
            && count != self.noshow_count
        {
            old_values.push(("noshowCount", AuditValue::Integer(self.noshow_count)));
            new_values.push(("noshowCount", AuditValue::Integer(count)));
            self.noshow_count = count;
        }
        if let Some(required) = wanted.booking_requires_approval
            && required != self.booking_requires_approval
        {
            old_values.push(("bookingRequiresApproval", AuditValue::Boolean(self.booking_requires_approval)));
            new_values.push(("bookingRequiresApproval", AuditValue::Boolean(required)));
            self.booking_requires_approval = required;
        }
        if new_values.is_empty() {
            return None;
        }
        // Whatever clock the row's last writer had, a change moves it forward. What cannot move forward (PostgreSQL knows
        // `infinity`) becomes now.
        self.updated_at = self.updated_at.checked_add(Duration::MICROSECOND).map_or(now, |next| now.max(next));
        Some(Change {
            action: AuditAction::Update,
            entity: AuditEntity::Profile(self.user_id.clone()),
            old_values: Some(old_values),
            new_values: Some(new_values),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;
    use crate::testing::profile;

    const NOW: OffsetDateTime = datetime!(2026-11-23 10:00 UTC);

    fn gates(noshow_count: Option<i128>, booking_requires_approval: Option<bool>) -> GateOverride {
        GateOverride {
            noshow_count: noshow_count.map(|count| NoShowCount::parse(count).unwrap()),
            booking_requires_approval,
        }
    }

    #[test]
    fn a_noshow_count_has_the_range_of_its_column() {
        for value in [0, 1, 2_147_483_647] {
            assert!(NoShowCount::parse(value).is_ok(), "{value}");
        }
        for value in [-1, 2_147_483_648, i128::MIN, i128::MAX] {
            assert_eq!(NoShowCount::parse(value), Err(NoShowCountError), "{value}");
        }
        assert_eq!(NoShowCountError.to_string(), "must be between 0 and 2147483647");
    }

    #[test]
    fn only_different_values_are_changed_and_audited() {
        use AuditValue::{Boolean, Integer};
        // The stored gates are (3, true).
        type Fields = Vec<(&'static str, AuditValue)>;
        let table: [(GateOverride, Fields, Fields); 3] = [
            (gates(Some(0), None), vec![("noshowCount", Integer(3))], vec![("noshowCount", Integer(0))]),
            (
                gates(Some(3), Some(false)),
                vec![("bookingRequiresApproval", Boolean(true))],
                vec![("bookingRequiresApproval", Boolean(false))],
            ),
            (
                gates(Some(0), Some(false)),
                vec![("noshowCount", Integer(3)), ("bookingRequiresApproval", Boolean(true))],
                vec![("noshowCount", Integer(0)), ("bookingRequiresApproval", Boolean(false))],
            ),
        ];
        for (wanted, old_values, new_values) in table {
            let mut profile = profile("usr_1", 3, true);
            let change = profile.change_gates(wanted, NOW).unwrap();
            assert_eq!(change.action, AuditAction::Update);
            assert_eq!(change.entity, AuditEntity::Profile(profile.user_id.clone()));
            assert_eq!(change.old_values, Some(old_values));
            assert_eq!(change.new_values, Some(new_values));
            assert_eq!(profile.updated_at, NOW);
        }
    }

    #[test]
    fn equal_or_absent_values_change_nothing() {
        for wanted in [gates(None, None), gates(Some(3), None), gates(Some(3), Some(true))] {
            let mut stored = profile("usr_1", 3, true);
            assert_eq!(stored.change_gates(wanted, NOW), None);
            assert_eq!(stored, profile("usr_1", 3, true));
        }
    }

    #[test]
    fn a_change_increases_updated_at_even_if_the_stored_value_is_later() {
        let gate_override = gates(Some(0), None);
        for (stored, moved) in [
            (datetime!(2026-11-23 9:00 UTC), NOW),
            (NOW, NOW + Duration::MICROSECOND),
            (datetime!(2027-01-01 0:00 UTC), datetime!(2027-01-01 0:00:00.000_001 UTC)),
        ] {
            let mut profile = Profile { updated_at: stored, ..profile("usr_1", 3, true) };
            profile.change_gates(gate_override, NOW).unwrap();
            assert_eq!(profile.updated_at, moved, "{stored}");
        }
    }

    proptest! {
        #[test]
        fn a_change_succeeds_for_any_stored_timestamp(seconds in -377_705_116_800_i64..=253_402_300_799, nanoseconds in 0_i64..1_000_000_000) {
            let stored = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            let stored = stored.checked_add(Duration::nanoseconds(nanoseconds)).unwrap_or(stored);
            for stored in [stored, datetime!(9999-12-31 23:59:59.999_999_999 UTC)] {
                let mut profile = Profile { updated_at: stored, ..profile("usr_1", 3, true) };
                prop_assert!(profile.change_gates(gates(Some(0), None), NOW).is_some());
                prop_assert_ne!(profile.updated_at, stored);
            }
        }
    }
}
