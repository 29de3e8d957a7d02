//! `crm serve`: from the configuration to the last response.

mod kpi_refresh;

use std::{process::ExitCode, sync::Arc, time::Duration};

use actix_web::web;
use anyhow::{Context as _, bail};
use crm_adapters::postgres::{
    Pool, Postgres,
    connect::{PlatformSchema, PoolMode},
    schema_check::{self, Lack},
};
use crm_domain::store_error::StoreError;
use sd_notify::NotifyState;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::check::POOLER_ADVICE;
use crate::{
    bootstrap, build,
    config::{Config, Environment, warnings::warnings},
    http::server::{self, metrics_server, tls::CertificateInForce},
    observability::logging::{self, chain},
    services::Services,
    shutdown::{self, Lifecycle, Signals, handle_signals},
};

/// How often a database that does not answer yet is asked again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// Serves until a signal ends it.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let config = Config::read(&Environment)?;
    let telemetry = logging::init(&config.telemetry)?;
    for warning in warnings(&config, &Environment) {
        tracing::warn!("{warning}");
    }
    // actix runs its workers on threads of their own; this thread starts, waits for signals and stops.
    let outcome = actix_web::rt::System::new().block_on(serve(&config));
    telemetry.shutdown();
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    // From the first moment on, so that none is lost.
    let mut signals = Signals::listen()?;
    let pool = bootstrap::pool(config);
    let found = tokio::select! {
        found = lacks_once_it_answers(&pool, config.lifecycle.startup_timeout) => found,
        () = signals.stop() => return Ok(()),
    };
    // Before what was found: behind such a pooler any statement may fail.
    if config.database.pool.session.mode == PoolMode::Session {
        match config.database.connector.is_behind_transaction_pooler().await {
            Ok(true) => bail!(POOLER_ADVICE),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a pooler in transaction mode could not be looked for"),
        }
    }
    refuse_lacks(&pool, &found?, config.database.connector.schema()).await?;
    if !schema_check::messages_are_english(&pool).await? {
        tracing::warn!("{}", schema_check::ENGLISH_ADVICE);
    }
    let postgres = Arc::new(Postgres::new(pool.clone()));
    let services = web::Data::new(Services::new(bootstrap::ports(config, postgres.clone(), &pool)?));
    // Until the process ends.
    let (model, keys, timeline) = (postgres.clone(), postgres.clone(), postgres.clone());
    actix_web::rt::spawn(async move { model.maintain_directory_model().await });
    let clock = services.clock.clone();
    actix_web::rt::spawn(async move { keys.sweep_idempotency_keys_regularly(clock).await });
    actix_web::rt::spawn(async move { timeline.fill_audit_customers_to_the_end().await });
    if let Some(every) = config.kpi_refresh_interval {
        let kpis = bootstrap::kpis(&config.database, &config.time_zone, Some(&postgres));
        actix_web::rt::spawn(kpi_refresh::refresh_regularly(kpis, every));
    }
    let watched = services.clone();
    let deadline = config.http.request_timeout / 2;
    actix_web::rt::spawn(async move { watched.health.watch(deadline).await });
    let lifecycle = Arc::new(Lifecycle::default());
    let metrics_server = config.metrics_address.map(|address| {
        metrics_server::start(services.clone(), &config.http, lifecycle.clone(), address)
            .with_context(|| format!("cannot listen on {address}"))
    });
    let metrics_server = metrics_server.transpose()?;
    let server = server::start(services, &config.http, lifecycle.clone())
        .with_context(|| format!("cannot listen on {}", config.http.bind_address))?;
    tracing::info!(
        address = %server.address,
        tls = config.http.tls.is_some(),
        metrics_address = metrics_server.as_ref().map(|server| server.address.to_string()),
        cookie = config.session.cookie_name.as_str(),
        secret_sha256 = config.session.secret.fingerprint(),
        pool = config.database.pool.size,
        available = pool.available_parts().unwrap_or_default().names(),
        version = build::VERSION,
        commit = build::COMMIT,
        "serving"
    );
    if let Some(metrics_server) = metrics_server {
        // Until the process ends: what happens at shutdown is worth a last scrape.
        actix_web::rt::spawn(metrics_server.running);
    }
    shutdown::tell_systemd(NotifyState::Ready);
    let handle = server.running.handle();
    let delay = config.lifecycle.shutdown_delay;
    let certificate = server.certificate.clone();
    actix_web::rt::spawn(handle_signals(signals, handle, lifecycle, delay, move || reload(certificate.as_ref())));
    server.running.await?;
    tracing::info!("stopped");
    Ok(())
}

/// Ends the start when the database lacks anything, and says what to do.
async fn refuse_lacks(pool: &Pool, lacks: &[Lack], schema: &PlatformSchema) -> anyhow::Result<()> {
    if lacks.is_empty() {
        return Ok(());
    }
    let role = schema_check::role(pool).await?;
    let lines: Vec<_> = lacks.iter().map(Lack::to_string).collect();
    let advice = schema_check::advice(lacks, &role, schema);
    bail!("the database lacks what this service needs:\n  {}\n{}", lines.join("\n  "), advice.join("\n"))
}

/// What the database lacks, as soon as it can be asked. A standby is asked again too: it may be promoted.
async fn lacks_once_it_answers(pool: &Pool, patience: Duration) -> anyhow::Result<Vec<Lack>> {
    let deadline = Instant::now() + patience;
    let mut retry = interval(RETRY_INTERVAL);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last, mut read_only) = (None, None);
    let found = timeout_at(deadline, async {
        loop {
            retry.tick().await;
            match schema_check::lacks(pool).await {
                Err(error @ StoreError::Unavailable(_)) => {
                    if last.is_none() {
                        tracing::warn!(cause = chain(&error), "the database does not answer yet");
                    }
                    last = Some(error);
                }
                Ok(lacks) if lacks.iter().any(|lack| matches!(lack, Lack::Writable(_))) => {
                    if read_only.is_none() {
                        tracing::warn!("the database refuses writes yet");
                    }
                    read_only = Some(lacks);
                    // The address may lead to another server later.
                    pool.close_idle();
                }
                found => break found,
            }
        }
    });
    match found.await {
        Ok(found) => found.context("the database cannot be checked"),
        Err(_) if read_only.is_some() => Ok(read_only.unwrap_or_default()),
        Err(_) => Err(last.map_or_else(|| anyhow::anyhow!("no answer"), Into::into))
            .with_context(|| format!("the database did not answer within {} ms", patience.as_millis())),
    }
}

fn reload(certificate: Option<&CertificateInForce>) {
    match certificate.map(CertificateInForce::reload) {
        Some(Ok(())) => tracing::info!("the certificate was read again"),
        Some(Err(errors)) => {
            tracing::error!(
                chain = errors.chain,
                key = errors.key,
                "the certificate could not be read again; the former one stays in force"
            );
        }
        None => tracing::info!("SIGHUP: there is no certificate to read again"),
    }
}
