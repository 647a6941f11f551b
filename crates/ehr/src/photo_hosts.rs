//! Which hosts and addresses photos may come from.
//!
//! A photo's URL comes from outside and is hostile until checked: its scheme and host here, its addresses once more when
//! the name has been resolved, so that a name cannot lead into the machine's own network.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use skin_assist_transport::{is_loopback_host, is_loopback_name, is_public};
use url::{Host, Url};

/// A host, as configuration names it: `photos.example.com`, `*.s3.amazonaws.com`, `minio.example.com:9000`.
///
/// `*.` in front stands for one or more labels, `*` elsewhere for exactly one. Without a port, the default port of https
/// is meant (any port on a loopback host).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    host: String,
    port: Option<u16>,
}

/// The text does not name a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a host, such as photos.example.com or *.s3.amazonaws.com")]
pub struct NotAHost(String);

impl TryFrom<String> for HostPattern {
    type Error = NotAHost;
    fn try_from(text: String) -> Result<Self, NotAHost> {
        Self::parse(&text)
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        match pattern.port {
            Some(port) => format!("{}:{port}", pattern.host),
            None => pattern.host,
        }
    }
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`NotAHost`] for URLs, paths, empty labels, and a pattern that would match every host.
    pub fn parse(text: &str) -> Result<Self, NotAHost> {
        let refuse = || NotAHost(text.to_owned());
        let (host, port) = match text.rsplit_once(':') {
            // The last colon of a bracketed IPv6 address is inside the brackets.
            Some((host, port)) if !port.contains(']') => (host, Some(port.parse().map_err(|_| refuse())?)),
            _ => (text, None),
        };
        let host = host.to_ascii_lowercase();
        let is_ipv6 =
            host.starts_with('[') && host.ends_with(']') && host[1..host.len() - 1].parse::<Ipv6Addr>().is_ok();
        let labels: Vec<&str> = host.split('.').collect();
        let sound = |label: &&str| {
            *label == "*"
                || !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        // At least the last two labels are given, or the whole host is.
        let given = labels.iter().rev().take_while(|label| **label != "*").count();
        if is_ipv6 || labels.iter().all(sound) && (given == labels.len() || given >= 2) {
            Ok(Self { host, port })
        } else {
            Err(refuse())
        }
    }

    fn matches(&self, host: &str, port: Option<u16>, any_port: bool) -> bool {
        let port_fits = match self.port {
            Some(own) => port == Some(own),
            None => any_port || port == Some(443),
        };
        if !port_fits {
            return false;
        }
        if self.host.starts_with('[') {
            return self.host == host;
        }
        let labels_match = |pattern: &str, host: &str| {
            let (pattern, host): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
            pattern.len() == host.len()
                && pattern
                    .iter()
                    .zip(&host)
                    .all(|(pattern, label)| *pattern == "*" && !label.is_empty() || pattern == label)
        };
        let host = host.strip_suffix('.').unwrap_or(host);
        match self.host.strip_prefix("*.") {
            None => labels_match(&self.host, host),
            Some(rest) => {
                let (given, labels) = (rest.split('.').count(), host.split('.').collect::<Vec<_>>());
                labels.len() > given
                    && labels.iter().all(|label| !label.is_empty())
                    && labels_match(rest, &labels[labels.len() - given..].join("."))
            }
        }
    }
}

/// Whether a photo may be fetched from this URL: scheme, host, port, and the address where the host is one.
pub(crate) fn is_allowed<'a>(
    url: &Url,
    patterns: impl IntoIterator<Item = &'a HostPattern>,
    allow_loopback_http: bool,
) -> bool {
    let loopback = allow_loopback_http && is_loopback_host(url);
    let scheme_fits = url.scheme() == "https" || url.scheme() == "http" && loopback;
    if !scheme_fits || !url.username().is_empty() || url.password().is_some() {
        return false;
    }
    let address_fits = match url.host() {
        None => false,
        Some(Host::Domain(name)) => loopback || !is_loopback_name(name),
        Some(Host::Ipv4(address)) => loopback || is_public(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => loopback || is_public(IpAddr::V6(address)),
    };
    let host = url.host_str().unwrap_or_default();
    address_fits
        && patterns
            .into_iter()
            .any(|pattern| pattern.matches(host, url.port_or_known_default(), loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(url: &str, patterns: &[&str], loopback: bool) -> bool {
        let patterns: Vec<_> = patterns.iter().map(|text| HostPattern::parse(text).unwrap()).collect();
        is_allowed(&Url::parse(url).unwrap(), &patterns, loopback)
    }

    #[test]
    fn hosts_by_pattern() {
        let s3 = ["*.s3.amazonaws.com", "*.s3.*.amazonaws.com"];
        for url in [
            "https://clinic.s3.amazonaws.com/a?b",
            "https://clinic.photos.s3.us-east-1.amazonaws.com/a",
            "https://CLINIC.S3.AMAZONAWS.COM/a",
        ] {
            assert!(allowed(url, &s3, false), "{url}");
        }
        for url in [
            "http://clinic.s3.amazonaws.com/a",
            "https://s3.amazonaws.com/a",
            "https://s3.amazonaws.com.evil.example/a",
            "https://evils3.amazonaws.com/a",
            "https://clinic.s3.amazonaws.com:8443/a",
            "https://user@clinic.s3.amazonaws.com/a",
            "https://clinic.s3.a.b.amazonaws.com/a",
            "ftp://clinic.s3.amazonaws.com/a",
            "file:///etc/passwd",
        ] {
            assert!(!allowed(url, &s3, false), "{url}");
        }
        assert!(allowed(
            "https://minio.example.com:9000/a",
            &["minio.example.com:9000"],
            false
        ));
        assert!(!allowed(
            "https://minio.example.com/a",
            &["minio.example.com:9000"],
            false
        ));
    }

    #[test]
    fn literal_addresses_are_checked_however_they_are_written() {
        let listed = ["127.0.0.1", "localhost", "[::1]", "10.0.0.5", "169.254.169.254"];
        for url in [
            "https://127.0.0.1/a",
            "https://localhost/a",
            "https://10.0.0.5/a",
            "https://0x0a000005/a",
            "https://167772165/a",
            "https://169.254.169.254/latest/meta-data",
            "https://[::ffff:10.0.0.5]/a",
        ] {
            assert!(!allowed(url, &listed, false), "{url}");
        }
        for url in [
            "http://127.0.0.1:4711/a",
            "http://localhost:4711/a",
            "http://[::1]:4711/a",
            "https://localhost/a",
        ] {
            assert!(allowed(url, &listed, true), "{url}");
        }
        // Allowing loopback does not allow what is not listed, nor other private addresses.
        assert!(!allowed("http://127.0.0.1:4711/a", &["localhost"], true));
        assert!(!allowed("https://10.0.0.5/a", &listed, true));
    }

    #[test]
    fn patterns_that_name_no_host_are_refused() {
        for text in [
            "",
            "*",
            "*.com",
            "*.*",
            "s3.*",
            "https://s3.amazonaws.com",
            "a..b",
            "a/b",
            "a b",
            "host:http",
            "[::g]",
        ] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
        for text in ["localhost", "127.0.0.1:80", "[::1]:80", "[::1]", "*.example.com"] {
            assert!(HostPattern::parse(text).is_ok(), "{text}");
        }
    }
}
