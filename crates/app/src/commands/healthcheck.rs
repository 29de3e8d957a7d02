//! `crm healthcheck`: requests `/livez` of the service in the same container.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;

use crate::config::{Environment, HealthAddress};

/// The longest an answer is waited for: less than container engines wait for a check.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Exits with 0 when `/livez` (or `/readyz`) answers 200, else with 1.
pub(crate) fn run(ready: bool) -> anyhow::Result<ExitCode> {
    let HealthAddress { address, tls } = HealthAddress::read(&Environment)?;
    let scheme = if tls { "https" } else { "http" };
    let path = if ready { "readyz" } else { "livez" };
    let client = reqwest::blocking::Client::builder()
        .timeout(TIMEOUT)
        // It asks itself, by an address that no certificate names.
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
        .build()?;
    let response = client
        .get(format!("{scheme}://{}/{path}", reachable(address)))
        .send()
        .with_context(|| format!("nothing answers on {address}"))?;
    Ok(if response.status().is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// "Every address" is nothing to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
