//! The exit codes of commands that fail.

use std::process::ExitCode;

use crm_adapters::postgres::{directory::install::DirectoryModelError, indexes::IndexError, migrate::MigrateError};

use crm_domain::{kpis::KpiError, store_error::StoreError};

use crate::config::Problems;

/// 78 (`EX_CONFIG` of sysexits.h) for a wrong configuration, 2 for a database that cannot be reached, else 1.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<Problems>() {
        return ExitCode::from(78);
    }
    let is_unreachable = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(StoreError::Unavailable(_))))
        || matches!(error.downcast_ref(), Some(MigrateError::Connect(_)))
        || matches!(error.downcast_ref(), Some(DirectoryModelError::Connect(_)))
        || matches!(error.downcast_ref(), Some(IndexError::Connect(_)))
        || matches!(error.downcast_ref(), Some(KpiError::Store(StoreError::Unavailable(_))));
    ExitCode::from(if is_unreachable { 2 } else { 1 })
}
