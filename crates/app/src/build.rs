//! What this program was built from.

/// The version of the package (docs/OPERATIONS.md, "Versions").
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, or `unknown`.
pub const COMMIT: &str = env!("CRM_COMMIT");

/// Both, as `crm --version` prints them.
pub const LONG_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("CRM_COMMIT"), ")");
