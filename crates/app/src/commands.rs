//! The commands of the command line, a file for each.

pub(crate) mod check;
pub(crate) mod directory;
pub(crate) mod exit_code;
pub(crate) mod healthcheck;
pub(crate) mod indexes;
pub(crate) mod kpis;
pub(crate) mod migrate;
pub(crate) mod openapi;
mod progress;
pub(crate) mod serve;
pub(crate) mod settings;
