//! The directory: the searchable, sortable list of customers.
//!
//! Source: contract, "GET /api/customers".

mod filter;
pub mod ports;
mod search;
pub mod usecases;

pub use filter::{Bound, BoundError, Bounds, DirectoryFilter, MAX_TAGS, TagFilter, TagFilters, TagFiltersError};
pub use search::{MAX_SEARCH, SearchTerm, SearchWord};
use thiserror::Error;
use time::OffsetDateTime;

use crate::{
    audit::{AuditAction, AuditEntity, AuditValue, Change},
    ids::{ExportId, UserId},
    page::PageRequest,
    store_error::StoreError,
    tag::Chip,
};

/// Why a sort was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be one of ltv, visits, last_visit, name, gems, noshows")]
pub struct UnknownSort;

/// What the directory is sorted by. Ties are broken by the user id, so that paging never repeats or skips anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SortKey {
    /// Spend, highest first.
    #[default]
    Ltv,
    /// Visits, most first.
    Visits,
    /// Last visit, latest first; the never-visited last.
    LastVisit,
    /// Name, A to Z ignoring case.
    Name,
    /// Gems, most first; those without an account last.
    Gems,
    /// No-shows, most first.
    NoShows,
}

impl SortKey {
    /// Every sort.
    pub const ALL: [Self; 6] = [Self::Ltv, Self::Visits, Self::LastVisit, Self::Name, Self::Gems, Self::NoShows];

    /// The sort's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ltv => "ltv",
            Self::Visits => "visits",
            Self::LastVisit => "last_visit",
            Self::Name => "name",
            Self::Gems => "gems",
            Self::NoShows => "noshows",
        }
    }

    /// The sort of that name; case-sensitive, empty is refused.
    pub fn parse(text: &str) -> Result<Self, UnknownSort> {
        Self::ALL.into_iter().find(|sort| sort.as_str() == text).ok_or(UnknownSort)
    }
}

/// Which part of the directory is wanted, in which order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectoryQuery {
    /// Only customers who match this search.
    pub search: Option<SearchTerm>,
    /// Only customers with this tag.
    pub tag: Option<TagFilter>,
    /// Only customers who meet this filter.
    pub filter: DirectoryFilter,
    /// The order.
    pub sort: SortKey,
    /// The page.
    pub page: PageRequest,
}

impl DirectoryQuery {
    /// The tags that a customer must have, each once.
    #[must_use]
    pub fn required_tags(&self) -> Vec<&TagFilter> {
        let mut tags: Vec<&TagFilter> = self.tag.iter().collect();
        tags.extend(self.filter.tag_all.as_slice().iter().filter(|slug| Some(*slug) != self.tag.as_ref()));
        tags
    }

    /// The API's names of the filters that are in use, the search included.
    #[must_use]
    pub fn filter_names(&self) -> Vec<&'static str> {
        let Self { search, tag, filter, sort: _, page: _ } = self;
        let mut names = vec![(search.is_some(), "q"), (tag.is_some(), "tag")];
        names.extend(filter.names());
        names.into_iter().filter(|(is_used, _)| *is_used).map(|(_, name)| name).collect()
    }

    /// What an export leaves in the audit log: how many filters of which names, never their values.
    #[must_use]
    pub fn export_change(&self, id: ExportId) -> Change {
        let names = self.filter_names();
        let count = i64::try_from(names.len()).unwrap_or(i64::MAX);
        Change {
            action: AuditAction::Create,
            entity: AuditEntity::Export(id),
            old_values: None,
            new_values: Some(vec![
                ("filterCount", AuditValue::Integer(count)),
                ("filters", AuditValue::Text(names.join(","))),
            ]),
        }
    }
}

/// Why an export was refused.
#[derive(Debug, Error)]
pub enum ExportError {
    /// Two exports are under way.
    #[error("two exports are under way")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One line of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerSummary {
    /// The customer.
    pub id: UserId,
    /// The user's name.
    pub name: String,
    /// The user's e-mail address.
    pub email: String,
    /// The profile's phone number, as typed.
    pub phone: Option<String>,
    /// Completed visits.
    pub total_visits: i64,
    /// Spend in paise.
    pub total_spent_paise: i64,
    /// No-shows.
    pub noshow_count: i64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_keys_are_parsed_only_from_their_exact_names() {
        for sort in SortKey::ALL {
            assert_eq!(SortKey::parse(sort.as_str()), Ok(sort));
        }
        for text in ["", "LTV", " ltv", "spend", "ltv\0"] {
            assert_eq!(SortKey::parse(text), Err(UnknownSort), "{text:?}");
        }
        let message = UnknownSort.to_string();
        assert!(SortKey::ALL.iter().all(|sort| message.contains(sort.as_str())), "{message}");
    }
}
