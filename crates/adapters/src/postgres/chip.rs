//! The chips of a customer: their tags as [`super::statement::join_chips`] selects them.

use crm_domain::tag::Chip;
use serde::Deserialize;

use super::json::JsonRows;

/// The chips, in the order of the statement.
pub(super) type Chips = JsonRows<ChipRow>;

#[derive(Debug, Deserialize)]
pub(super) struct ChipRow {
    slug: String,
    name: String,
    color: Option<String>,
}

impl From<ChipRow> for Chip {
    fn from(ChipRow { slug, name, color }: ChipRow) -> Self {
        Self { slug, name, color }
    }
}
