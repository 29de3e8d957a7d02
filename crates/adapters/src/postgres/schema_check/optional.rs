//! Everything that the statements on optional tables name: a platform may lack these tables, or not grant them.
//!
//! Source: contract extensions, "A customer's history" and "Figures that are true".

use super::super::parts::Part;
use super::needed::{
    Kind::{Boolean, Date, Integer, Label, Text as Words, TimeOfDay, Timestamp, WrittenInteger},
    NeededColumn, NeededTable, READ, READ_UPDATE, column, unique,
};

/// A part and the tables and columns that it needs. Some of them the service needs in any case (`needed.rs`).
#[derive(Debug, Clone, Copy)]
pub struct OptionalPart {
    /// The part.
    pub part: Part,
    /// The tables.
    pub tables: &'static [NeededTable],
}

const fn table(name: &'static str, columns: &'static [NeededColumn]) -> NeededTable {
    NeededTable { name, columns, unique: &[], is_deleted_from: false }
}

/// Every optional part.
pub const OPTIONAL: &[OptionalPart] = &[
    OptionalPart {
        part: Part::Bookings,
        tables: &[table(
            "booking",
            &[
                column("id", Words, READ).not_null(),
                column("customer_id", Words, READ).not_null(),
                column("booking_number", Words, READ).not_null(),
                column("status", Label, READ).not_null(),
                column("service_type", Label, READ).not_null(),
                column("booking_date", Date, READ).not_null(),
                column("start_time", TimeOfDay, READ).not_null(),
                column("end_time", TimeOfDay, READ).not_null(),
                column("total_amount_paise", Integer, READ).not_null(),
                column("total_duration_minutes", Integer, READ).not_null(),
                column("is_walkin", Boolean, READ).not_null(),
                column("is_membership_session", Boolean, READ).not_null(),
                column("created_at", Timestamp, READ).not_null(),
            ],
        )],
    },
    OptionalPart {
        part: Part::BookingServices,
        tables: &[table(
            "booking_service",
            &[
                column("id", Words, READ).not_null(),
                column("booking_id", Words, READ).not_null(),
                column("service_name_snapshot", Words, READ).not_null(),
                column("price_at_booking_paise", Integer, READ).not_null(),
                column("duration_minutes", Integer, READ).not_null(),
                column("display_order", Integer, READ).not_null(),
            ],
        )],
    },
    OptionalPart {
        part: Part::Invoices,
        tables: &[table(
            "invoice",
            &[
                column("id", Words, READ).not_null(),
                column("customer_id", Words, READ).not_null(),
                column("invoice_number", Words, READ).not_null(),
                column("booking_id", Words, READ).not_null(),
                column("invoice_type", Label, READ).not_null(),
                column("payment_status", Label, READ).not_null(),
                column("payment_method", Label, READ).not_null(),
                column("subtotal_paise", Integer, READ).not_null(),
                column("discount_amount_paise", Integer, READ).not_null(),
                column("gst_amount_paise", Integer, READ).not_null(),
                column("total_amount_paise", Integer, READ).not_null(),
                column("gems_earned", Integer, READ).not_null(),
                column("gems_redeemed", Integer, READ).not_null(),
                column("paid_at", Timestamp, READ),
                column("created_at", Timestamp, READ).not_null(),
            ],
        )],
    },
    OptionalPart {
        part: Part::Memberships,
        tables: &[table(
            "spa_membership",
            &[
                column("id", Words, READ).not_null(),
                column("customer_id", Words, READ).not_null(),
                column("membership_number", Words, READ).not_null(),
                column("tier_name_snapshot", Words, READ).not_null(),
                column("status", Label, READ).not_null(),
                column("total_hours_minutes", Integer, READ).not_null(),
                column("used_hours_minutes", Integer, READ).not_null(),
                column("price_paid_paise", Integer, READ).not_null(),
                column("starts_at", Timestamp, READ).not_null(),
                column("expires_at", Timestamp, READ).not_null(),
                column("created_at", Timestamp, READ).not_null(),
            ],
        )],
    },
    OptionalPart {
        part: Part::Gems,
        tables: &[
            NeededTable {
                name: "loyalty_account",
                columns: &[column("id", Words, READ).not_null(), column("customer_id", Words, READ).not_null()],
                unique: &[unique(&["id"])],
                is_deleted_from: false,
            },
            table(
                "loyalty_transaction",
                &[
                    column("id", Words, READ).not_null(),
                    column("loyalty_account_id", Words, READ).not_null(),
                    column("type", Label, READ).not_null(),
                    column("gems_amount", Integer, READ).not_null(),
                    column("invoice_id", Words, READ),
                    column("description", Words, READ),
                    column("expires_at", Timestamp, READ),
                    column("created_at", Timestamp, READ).not_null(),
                ],
            ),
        ],
    },
    OptionalPart { part: Part::Kpis, tables: &[KPI_BOOKING, KPI_INVOICE] },
    OptionalPart {
        part: Part::KpiRefresh,
        tables: &[
            KPI_BOOKING,
            KPI_INVOICE,
            table(
                "customer_profile",
                &[
                    column("user_id", Words, READ).not_null(),
                    column("first_visit_at", Timestamp, READ_UPDATE),
                    column("last_visit_at", Timestamp, READ_UPDATE),
                    column("total_visits", WrittenInteger, READ_UPDATE).not_null(),
                    column("total_spent_paise", WrittenInteger, READ_UPDATE).not_null(),
                    column("updated_at", Timestamp, READ_UPDATE).not_null(),
                ],
            ),
        ],
    },
];

const KPI_BOOKING: NeededTable = table(
    "booking",
    &[
        column("customer_id", Words, READ).not_null(),
        column("status", Label, READ).not_null(),
        column("booking_date", Date, READ).not_null(),
        column("end_time", TimeOfDay, READ).not_null(),
        column("completed_at", Timestamp, READ),
    ],
);

const KPI_INVOICE: NeededTable = table(
    "invoice",
    &[
        column("customer_id", Words, READ).not_null(),
        column("payment_status", Label, READ).not_null(),
        column("total_amount_paise", Integer, READ).not_null(),
    ],
);
