//! The address of the client, also behind trusted proxies.

use std::net::{IpAddr, Ipv6Addr};

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName, X_FORWARDED_FOR};

use crate::config::http::TrustedProxies;

/// The address of the client at the far end: the last one that no trusted proxy vouches for. `X-Forwarded-For` is read, or,
/// only if there is none, `Forwarded` (RFC 7239). A proxy that sets neither is itself the client.
#[must_use]
pub fn client_address(proxies: &TrustedProxies, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut client = peer.to_canonical();
    let hops = if headers.contains_key(X_FORWARDED_FOR) {
        elements(headers, &X_FORWARDED_FOR).map(address_of).collect::<Vec<_>>()
    } else {
        elements(headers, &FORWARDED).map(forwarded_for).collect()
    };
    // Each hop was written by the machine at the address before it, the nearest last.
    for hop in hops.into_iter().rev() {
        if !proxies.contains(client) {
            break;
        }
        // Something that is not an address hides the hops before it.
        let Some(hop) = hop else { break };
        client = hop.to_canonical();
    }
    client
}

/// The addresses that are counted together as one client: an IPv6 network of 64 bits is one household's or one
/// server's.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// The elements of a list header, over all of its fields.
fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).flat_map(|value| value.to_str().unwrap_or_default().split(',')).map(str::trim)
}

/// An address, in brackets or not, with a port or not.
fn address_of(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some((address, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    text.rsplit_once(':').and_then(|(address, _)| address.parse().ok())
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pair = element.split(';').map(str::trim).find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    })?;
    address_of(pair.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &str, peer: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        client_address(&TrustedProxies::parse(proxies).unwrap(), peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn only_trusted_proxies_determine_the_client_address() {
        let forged = ("x-forwarded-for", "198.51.100.1");
        for (proxies, peer, headers, expected) in [
            ("", "203.0.113.7", &[][..], "203.0.113.7"),
            ("", "203.0.113.7", &[forged], "203.0.113.7"),
            ("10.0.0.0/8", "203.0.113.7", &[forged], "203.0.113.7"),
            ("10.0.0.0/8", "10.1.2.3", &[forged], "198.51.100.1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", &[forged], "198.51.100.1"),
            ("10.1.2.3", "10.1.2.3", &[forged], "198.51.100.1"),
            ("10.0.0.0/8", "10.1.2.3", &[], "10.1.2.3"),
            // Entries that the client sent precede the entry that the proxy added.
            ("10.0.0.0/8", "10.1.2.3", &[("x-forwarded-for", "1.1.1.1, 198.51.100.1")], "198.51.100.1"),
            (
                "10.0.0.0/8",
                "10.1.2.3",
                &[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "198.51.100.1")],
                "198.51.100.1",
            ),
            // Through two trusted proxies.
            (
                "10.0.0.0/8,192.0.2.9/32",
                "10.1.2.3",
                &[("x-forwarded-for", "1.1.1.1, 198.51.100.1, 192.0.2.9")],
                "198.51.100.1",
            ),
            ("10.0.0.0/8", "10.1.2.3", &[("x-forwarded-for", "10.9.9.9, 10.8.8.8")], "10.9.9.9"),
            ("10.0.0.0/8", "10.1.2.3", &[("x-forwarded-for", "198.51.100.1, unknown")], "10.1.2.3"),
            ("10.0.0.0/8", "10.1.2.3", &[("x-forwarded-for", "198.51.100.1:4711")], "198.51.100.1"),
            ("10.0.0.0/8", "10.1.2.3", &[("x-forwarded-for", "[2001:db8::1]:4711")], "2001:db8::1"),
            ("::1/128", "::1", &[("forwarded", "for=1.1.1.1, for=\"[2001:db8::1]:4711\";proto=https")], "2001:db8::1"),
            ("::1/128", "::1", &[("forwarded", "proto=https;For=198.51.100.1")], "198.51.100.1"),
            ("::1/128", "::1", &[("forwarded", "for=_hidden")], "::1"),
            // A proxy that sets only one of the two headers passes the other on from the client.
            ("::1/128", "::1", &[("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "198.51.100.1")], "198.51.100.1"),
        ] {
            assert_eq!(client(proxies, peer, headers), expected, "{proxies} {peer} {headers:?}");
        }
    }

    #[test]
    fn an_ipv6_network_counts_as_one_client() {
        let counted = |address: &str| network_of(address.parse().unwrap()).to_string();
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(counted("198.51.100.1"), "198.51.100.1");
    }
}
