//! The binary `crm`. Everything it does is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    crm_app::cli::run()
}
