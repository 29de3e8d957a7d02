//! The command line: `crm serve`, `crm migrate`, `crm check`, `crm settings`, `crm directory …`, `crm kpis …`,
//! `crm indexes`, `crm healthcheck`, `crm openapi`.

use std::{io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    build,
    commands::{
        check,
        directory::{self, DirectoryCommand},
        exit_code::exit_code,
        healthcheck, indexes,
        kpis::{self, KpisCommand},
        migrate, openapi, serve, settings,
    },
    config::Problems,
};

/// The customer CRM service of the Royal Glow salon platform.
#[derive(Debug, Parser)]
#[command(
    name = "crm",
    version = build::LONG_VERSION,
    after_help = "Settings come from the environment; `crm settings` prints them all.\nExit codes: 0 done, 1 not done or something found, 2 the database cannot be reached or wrong usage, 78 wrong configuration."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer HTTP requests until SIGTERM or Ctrl-C.
    Serve,
    /// Bring the database's schema up to date. Safe to run from several instances at once.
    Migrate {
        /// Change nothing: print what is pending, and exit with 1 when anything is.
        #[arg(long)]
        check: bool,
        /// Make the platform's tables too where they are missing, in an empty database for a demonstration or for tests.
        #[arg(long)]
        standalone: bool,
    },
    /// Say whether `serve` would work on this database, and what to do where it would not; exits with 0 or 1.
    Check {
        /// Print the grants of the service's role instead. Reads `DATABASE_SCHEMA` and needs no database.
        #[arg(long, value_name = "ROLE")]
        grants: Option<String>,
        /// With `--grants`: print those of a customer's history instead. Leave out the tables that the platform lacks.
        #[arg(long, requires = "grants", conflicts_with = "kpis")]
        history: bool,
        /// With `--grants`: print those of `crm kpis` instead.
        #[arg(long, requires = "grants")]
        kpis: bool,
    },
    /// Print every setting with its default and meaning.
    Settings,
    /// Install, check or remove the directory's read model, which keeps pages fast with many customers.
    Directory {
        #[command(subcommand)]
        command: DirectoryCommand,
    },
    /// Compare or refresh the figures of customers, which follow from their bookings and invoices.
    Kpis {
        #[command(subcommand)]
        command: KpisCommand,
    },
    /// List indexes on the platform's tables that this service would use and that are missing; exits with 1 when any is.
    Indexes {
        /// Create them, beside running reads and writes. Can be repeated after an interruption.
        #[arg(long)]
        create: bool,
    },
    /// Ask the service that runs with the same settings whether it lives: exits with 0 when it does. For containers.
    Healthcheck {
        /// Ask whether it is ready for requests, too: then a database that is away is a failure.
        #[arg(long)]
        ready: bool,
    },
    /// Print the API's description, OpenAPI 3.1 in JSON. Needs neither settings nor a database.
    Openapi,
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn run() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    // The default provider of every TLS client that names none. Only a second call could fail.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = match command {
        Command::Serve => serve::run(),
        Command::Healthcheck { ready } => healthcheck::run(ready),
        Command::Openapi => openapi::run(),
        Command::Migrate { check, standalone } => migrate::run(check, standalone),
        Command::Check { grants: Some(role), history, kpis } => check::print_grants(&role, history, kpis),
        Command::Check { grants: None, .. } => check::run(),
        Command::Settings => settings::run(),
        Command::Directory { command } => directory::run(&command),
        Command::Kpis { command } => kpis::run(&command),
        Command::Indexes { create } => indexes::run(create),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let mut stderr = std::io::stderr().lock();
            // Nobody is left to tell when even this fails.
            let _ = match error.downcast_ref::<Problems>() {
                Some(problems) => write!(stderr, "{problems}"),
                None => writeln!(stderr, "crm: {error:#}"),
            };
            exit_code(&error)
        }
    }
}
