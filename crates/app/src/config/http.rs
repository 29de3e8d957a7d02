//! The settings of the HTTP side.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crm_domain::rate_limit::Quota;
use ipnet::IpNet;

use super::certificate::Certificate;

/// How the service listens, and its limits of time and size.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Where to listen.
    pub bind_address: SocketAddr,
    /// The certificate of HTTPS; `None`: plain HTTP.
    pub tls: Option<Certificate>,
    /// The longest a TLS handshake may take.
    pub tls_handshake_timeout: Duration,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// The origins whose pages may read and write.
    pub origins: Origins,
    /// How many threads answer requests.
    pub workers: usize,
    /// The most client connections at once.
    pub max_connections: usize,
    /// The most client connections at once of one address that is no trusted proxy.
    pub max_connections_per_address: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// The longest a client may take to send a request's header.
    pub header_timeout: Duration,
    /// The longest a client may take to send a request's body.
    pub body_timeout: Duration,
    /// The longest a client may read nothing of an answer that waits for it.
    pub write_timeout: Duration,
    /// The longest a request may take.
    pub request_timeout: Duration,
    /// The longest an export may take.
    pub export_timeout: Duration,
    /// The longest that requests in flight are waited for at shutdown.
    pub shutdown_timeout: Duration,
    /// The rate limits.
    pub quotas: Quotas,
    /// Whether the description of the API and its reference page are served.
    pub docs: bool,
}

/// The origins whose pages may write.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    /// The platform's own public origin.
    pub public: String,
    /// Further origins, exactly as browsers send them.
    pub allowed: HashSet<String>,
}

/// The quotas of requests; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Of each signed-in user.
    pub user: Option<Quota>,
    /// Of each client address, for requests without a valid session.
    pub address: Option<Quota>,
}

/// The networks of the networks of the proxies whose forwarding headers are trusted. By default there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads CIDRs separated by commas; an address alone stands for itself.
    #[must_use]
    pub fn parse(list: &str) -> Option<Self> {
        let networks = list.split(',').map(str::trim).filter(|network| !network.is_empty());
        networks
            .map(|network| network.parse().ok().or_else(|| network.parse::<IpAddr>().ok().map(IpNet::from)))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Whether the machine at that address is a trusted proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_networks_with_an_invalid_entry_is_rejected() {
        for list in ["10.0.0.0/8, ::1/128", "127.0.0.1", "", " , "] {
            assert!(TrustedProxies::parse(list).is_some(), "{list}");
        }
        for list in ["10.0.0.0/33", "proxy.example.com", "10.0.0.0/8,x", "10.0.0.0/8;::1/128"] {
            assert!(TrustedProxies::parse(list).is_none(), "{list}");
        }
    }
}
