//! The parts of this service that work only where the platform has certain tables, and which of them are available.
//! [`super::schema_check`] knows what each needs, and finds out.

/// A part of the service that works only where the platform has what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// The list of bookings.
    Bookings,
    /// The services of each booking.
    BookingServices,
    /// The list of invoices.
    Invoices,
    /// The memberships.
    Memberships,
    /// The loyalty account's entries.
    Gems,
    /// Deriving the figures of customers (`crm kpis status`).
    Kpis,
    /// Deriving and writing them (`crm kpis refresh`).
    KpiRefresh,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 7] = [
        Self::Bookings,
        Self::BookingServices,
        Self::Invoices,
        Self::Memberships,
        Self::Gems,
        Self::Kpis,
        Self::KpiRefresh,
    ];

    /// What operators read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookings => "bookings",
            Self::BookingServices => "services of bookings",
            Self::Invoices => "invoices",
            Self::Memberships => "memberships",
            Self::Gems => "gems",
            Self::Kpis => "crm kpis status",
            Self::KpiRefresh => "crm kpis refresh",
        }
    }
}

/// The optional parts that are available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AvailableParts(u8);

impl AvailableParts {
    /// Whether that part is available.
    #[must_use]
    pub fn has(self, part: Part) -> bool {
        self.0 & (1 << part as u8) != 0
    }

    /// These and that part.
    #[must_use]
    pub fn with(self, part: Part) -> Self {
        Self(self.0 | (1 << part as u8))
    }

    /// The names of the parts, separated by commas; `none` when there are none.
    #[must_use]
    pub fn names(self) -> String {
        let names: Vec<_> = Part::ALL.into_iter().filter(|part| self.has(*part)).map(Part::name).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}
