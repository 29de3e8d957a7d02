//! Pages of a list.
//!
//! Source: contract, "GET /api/customers".

use thiserror::Error;

/// The largest page number: 2^53 − 1, the largest integer every JavaScript client can hold exactly.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;
/// The page size when none is asked for.
pub const DEFAULT_SIZE: u64 = 20;
/// The largest page size.
pub const MAX_SIZE: u64 = 100;

/// Why a page number or size was refused. The messages are shown to people as they stand.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PageError {
    /// Below 1.
    #[error("must be at least 1")]
    TooSmall,
    /// Above `max`.
    #[error("must be at most {max}")]
    TooLarge {
        /// The largest value allowed.
        max: u64,
    },
}

fn within(value: i128, max: u64) -> Result<u64, PageError> {
    if value < 1 {
        return Err(PageError::TooSmall);
    }
    u64::try_from(value).ok().filter(|value| *value <= max).ok_or(PageError::TooLarge { max })
}

/// A page number: 1 to [`MAX_NUMBER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageNumber(u64);

impl PageNumber {
    /// Accepts 1 to [`MAX_NUMBER`].
    pub fn parse(value: i128) -> Result<Self, PageError> {
        within(value, MAX_NUMBER).map(Self)
    }
}

impl Default for PageNumber {
    fn default() -> Self {
        Self(1)
    }
}

/// How many items a page has at most: 1 to [`MAX_SIZE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize(u64);

impl PageSize {
    /// Accepts 1 to [`MAX_SIZE`].
    pub fn parse(value: i128) -> Result<Self, PageError> {
        within(value, MAX_SIZE).map(Self)
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self(DEFAULT_SIZE)
    }
}

/// Which page of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageRequest {
    /// The page's number, from 1.
    pub number: PageNumber,
    /// Items a page.
    pub size: PageSize,
}

impl PageRequest {
    /// The first item alone.
    #[must_use]
    pub fn first_item() -> Self {
        Self { number: PageNumber(1), size: PageSize(1) }
    }

    /// The page's number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.number.0
    }

    /// How many items to fetch at most.
    #[must_use]
    pub fn limit(self) -> u64 {
        self.size.0
    }

    /// How many items come before this page. At most 2^53 × 100, so it fits PostgreSQL's `bigint`.
    #[must_use]
    pub fn offset(self) -> u64 {
        (self.number.0 - 1) * self.size.0
    }

    /// How many pages `total_count` items fill; an empty list has one page.
    #[must_use]
    pub fn total_pages(self, total_count: u64) -> u64 {
        total_count.div_ceil(self.size.0).max(1)
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The page's items; empty past the end.
    pub items: Vec<T>,
    /// How many items the whole list has, exactly.
    pub total_count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: i128, size: i128) -> PageRequest {
        PageRequest { number: PageNumber::parse(number).unwrap(), size: PageSize::parse(size).unwrap() }
    }

    #[test]
    fn page_numbers_and_page_sizes_have_bounds() {
        assert_eq!(PageNumber::parse(0), Err(PageError::TooSmall));
        assert_eq!(PageNumber::parse(-5), Err(PageError::TooSmall));
        assert_eq!(PageNumber::parse(i128::from(MAX_NUMBER)), Ok(PageNumber(MAX_NUMBER)));
        assert_eq!(PageNumber::parse(1 << 53), Err(PageError::TooLarge { max: MAX_NUMBER }));
        assert_eq!(PageNumber::parse(i128::MAX), Err(PageError::TooLarge { max: MAX_NUMBER }));
        assert_eq!(PageSize::parse(100), Ok(PageSize(100)));
        assert_eq!(PageSize::parse(101), Err(PageError::TooLarge { max: 100 }));
        assert_eq!(PageSize::parse(0), Err(PageError::TooSmall));
    }

    #[test]
    fn a_request_keeps_its_number_and_limits_a_page_to_its_size() {
        let request = request(3, 20);
        assert_eq!((request.number(), request.limit()), (3, 20));
    }

    #[test]
    fn the_offset_of_the_last_page_fits_a_bigint() {
        assert_eq!(request(1, 20).offset(), 0);
        assert_eq!(request(3, 20).offset(), 40);
        assert!(i64::try_from(request(i128::from(MAX_NUMBER), 100).offset()).is_ok());
    }

    #[test]
    fn total_pages_is_at_least_one() {
        for (total, pages) in [(0, 1), (1, 1), (20, 1), (21, 2), (48, 3), (u64::MAX, u64::MAX / 20 + 1)] {
            assert_eq!(PageRequest::default().total_pages(total), pages, "{total}");
        }
    }
}
