//! Which addresses a subscriber may have.

use std::net::IpAddr;

use skin_assist_transport::{is_loopback_host, is_public};
use url::{Host, Url};

/// Why an endpoint cannot be a subscriber's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointRefused {
    /// It is no URL.
    #[error("it is not a URL")]
    NotAUrl,
    /// It would be called without TLS.
    #[error("only https is allowed")]
    NotHttps,
    /// It has a user name, a password or a fragment.
    #[error("it has parts that a request does not send as they are: a user name, a password or a fragment")]
    Parts,
    /// It is an address of a private network.
    #[error("it is a private address")]
    Private,
}

/// Checks an endpoint before anything is sent there. A name is checked besides when it is looked up, each time.
///
/// # Errors
/// [`EndpointRefused`].
pub fn check_endpoint(text: &str, allow_loopback_http: bool, allow_private: bool) -> Result<Url, EndpointRefused> {
    let url = Url::parse(text).map_err(|_| EndpointRefused::NotAUrl)?;
    let is_this_machine = allow_loopback_http && is_loopback_host(&url);
    match url.scheme() {
        "https" => {}
        "http" if is_this_machine => {}
        _ => return Err(EndpointRefused::NotHttps),
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(EndpointRefused::Parts);
    }
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) => None,
        None => return Err(EndpointRefused::NotAUrl),
    };
    let is_private = address.is_some_and(|address| !is_public(address)) || is_loopback_host(&url);
    if is_private && !is_this_machine && !allow_private {
        return Err(EndpointRefused::Private);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_to_public_addresses_and_what_was_allowed() {
        let refused = |text| check_endpoint(text, false, false).err();
        assert_eq!(refused("https://subscriber.example/hook?a=b"), None);
        assert_eq!(refused("hook"), Some(EndpointRefused::NotAUrl));
        assert_eq!(refused("http://subscriber.example/"), Some(EndpointRefused::NotHttps));
        assert_eq!(refused("http://127.0.0.1:9/"), Some(EndpointRefused::NotHttps));
        assert_eq!(
            refused("https://me:secret@subscriber.example/"),
            Some(EndpointRefused::Parts)
        );
        for private in [
            "https://10.0.0.1/",
            "https://169.254.169.254/",
            "https://[::1]/",
            "https://localhost/",
        ] {
            assert_eq!(refused(private), Some(EndpointRefused::Private), "{private}");
        }
        assert!(check_endpoint("http://127.0.0.1:9/", true, false).is_ok());
        assert!(check_endpoint("http://10.0.0.1/", true, true).is_err());
        assert!(check_endpoint("https://10.0.0.1/", false, true).is_ok());
    }
}
