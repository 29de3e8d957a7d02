//! The filters of the directory beside its search.
//!
//! Source: contract extensions, "Filters of the directory".

use thiserror::Error;

use crate::{
    calendar::Period,
    page::MAX_NUMBER,
    text::{self, TextError},
};

/// The most slugs that one parameter may have.
pub const MAX_TAGS: usize = 10;

/// The slug of a tag to filter by. Opaque: an unknown slug is a tag that nobody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter(String);

impl TagFilter {
    /// Takes `text` as it stands; empty means no filter, a NUL is refused.
    pub fn parse(text: &str) -> Result<Option<Self>, TextError> {
        match text::parse_opaque(text) {
            Ok(text) => Ok(Some(Self(text.to_owned()))),
            Err(TextError::Empty) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The slug.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a list of slugs was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TagFiltersError {
    /// More than [`MAX_TAGS`].
    #[error("must be given at most {MAX_TAGS} times")]
    TooMany,
    /// One of them is refused.
    #[error(transparent)]
    Text(#[from] TextError),
}

/// The slugs of a parameter that may be repeated: each once, at most [`MAX_TAGS`], without empty ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagFilters(Vec<TagFilter>);

impl TagFilters {
    /// Takes the texts as they stand.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, TagFiltersError> {
        let mut slugs = Vec::new();
        for (count, text) in (1..).zip(texts) {
            if count > MAX_TAGS {
                return Err(TagFiltersError::TooMany);
            }
            slugs.extend(TagFilter::parse(text)?.filter(|slug| !slugs.contains(slug)));
        }
        Ok(Self(slugs))
    }

    /// The slugs.
    #[must_use]
    pub fn as_slice(&self) -> &[TagFilter] {
        &self.0
    }

    /// Whether there are none: no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The slugs as text.
    #[must_use]
    pub fn as_texts(&self) -> Vec<&str> {
        self.0.iter().map(TagFilter::as_str).collect()
    }
}

/// Why a bound was refused. Shown to people as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("must be a whole number from 0 to {MAX_NUMBER}")]
pub struct BoundError;

/// A bound of a figure: 0 to 2^53 − 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound(i64);

impl Bound {
    /// Accepts 0 to 2^53 − 1.
    pub fn parse(value: i128) -> Result<Self, BoundError> {
        i64::try_from(value)
            .ok()
            .filter(|value| (0..=MAX_NUMBER.cast_signed()).contains(value))
            .map(Self)
            .ok_or(BoundError)
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

/// A minimum and a maximum, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The least value.
    pub min: Option<Bound>,
    /// The greatest value.
    pub max: Option<Bound>,
}

impl Bounds {
    /// Whether there is neither: no filter.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.min.is_none() && self.max.is_none()
    }
}

/// What a customer must meet, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectoryFilter {
    /// At least one of these tags, if there are any.
    pub tag_any: TagFilters,
    /// All of these tags.
    pub tag_all: TagFilters,
    /// None of these tags.
    pub tag_none: TagFilters,
    /// Any tag at all, or none.
    pub tagged: Option<bool>,
    /// Spend in paise.
    pub spent: Bounds,
    /// Visits.
    pub visits: Bounds,
    /// No-shows.
    pub noshows: Bounds,
    /// The loyalty balance; nobody without a loyalty account meets a bound.
    pub gems: Bounds,
    /// When the last visit was.
    pub last_visit: Option<Period>,
    /// When the user was made.
    pub created: Option<Period>,
    /// Has ever visited, or never.
    pub visited: Option<bool>,
    /// Whether bookings must be approved.
    pub requires_approval: Option<bool>,
}

impl DirectoryFilter {
    /// The API's name of each filter, and whether it is in use.
    pub(super) fn names(&self) -> Vec<(bool, &'static str)> {
        // A period without either end is one up to the last day that can be written.
        let has_end = |period: Period| period.until.is_some() || period.from.is_none();
        let Self {
            tag_any,
            tag_all,
            tag_none,
            tagged,
            spent,
            visits,
            noshows,
            gems,
            last_visit,
            created,
            visited,
            requires_approval,
        } = self;
        vec![
            (!tag_any.is_empty(), "tagAny"),
            (!tag_all.is_empty(), "tagAll"),
            (!tag_none.is_empty(), "tagNone"),
            (tagged.is_some(), "tagged"),
            (spent.min.is_some(), "spentMin"),
            (spent.max.is_some(), "spentMax"),
            (visits.min.is_some(), "visitsMin"),
            (visits.max.is_some(), "visitsMax"),
            (noshows.min.is_some(), "noshowsMin"),
            (noshows.max.is_some(), "noshowsMax"),
            (gems.min.is_some(), "gemsMin"),
            (gems.max.is_some(), "gemsMax"),
            (last_visit.is_some_and(|period| period.from.is_some()), "lastVisitFrom"),
            (last_visit.is_some_and(has_end), "lastVisitTo"),
            (created.is_some_and(|period| period.from.is_some()), "createdFrom"),
            (created.is_some_and(has_end), "createdTo"),
            (visited.is_some(), "visited"),
            (requires_approval.is_some(), "requiresApproval"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_filter_is_opaque() {
        assert_eq!(TagFilter::parse(""), Ok(None));
        assert_eq!(TagFilter::parse(" ").unwrap().unwrap().as_str(), " ");
        assert_eq!(TagFilter::parse("\0"), Err(TextError::Nul));
    }

    #[test]
    fn slugs_count_once_and_are_limited() {
        assert_eq!(TagFilters::parse(["vip", "", "vip", "new"]).unwrap().as_texts(), ["vip", "new"]);
        assert_eq!(TagFilters::parse(["a\0"]), Err(TagFiltersError::Text(TextError::Nul)));
        assert!(TagFilters::parse(["a"; MAX_TAGS]).is_ok());
        assert_eq!(TagFilters::parse(["a"; MAX_TAGS + 1]), Err(TagFiltersError::TooMany));
    }

    #[test]
    fn bounds_are_whole_numbers_that_every_client_can_hold() {
        for (value, expected) in [(0, Ok(0)), (9_007_199_254_740_991, Ok(9_007_199_254_740_991))] {
            assert_eq!(Bound::parse(value).map(Bound::get), expected);
        }
        for value in [-1, 9_007_199_254_740_992, i128::MAX, i128::MIN] {
            assert_eq!(Bound::parse(value), Err(BoundError));
        }
    }
}
