//! HTTP, the only place where the HTTP library is known.
//!
//! TLS 1.2 or newer with the Mozilla roots, always verified; for services also with the certificates of a private authority, and a
//! certificate of ours where they ask for one. No redirects, no proxy from the environment, no cookies, no
//! retries. Two flavours: one for services (the EHR and its token endpoint, model endpoints), and one for photos, which
//! carries nothing of ours and goes to public addresses only.

use std::{
    error::Error as StdError,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use reqwest::{
    Client,
    dns::{Addrs, Name, Resolve, Resolving},
};
use url::{Host, Url};
use zeroize::Zeroizing;

use crate::{
    addresses::{is_loopback_host, is_loopback_name, is_public},
    exchange::{Transport, TransportError},
};

/// How connections are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// For name, TCP and TLS.
    pub connect_timeout: Duration,
    /// For each wait for bytes of the reply. Taken as at least a little more than `connect_timeout`, since the library
    /// counts it from the start, and a connection that never came to be has to be known as such.
    pub read_timeout: Duration,
    /// For the whole exchange; at least as `read_timeout`.
    pub total_timeout: Duration,
    /// Whether plain http, and https, may go to this very machine.
    pub allow_loopback_http: bool,
    /// A proxy to go through; the environment's is never used. A proxy resolves names itself, so it has to refuse
    /// private addresses for photos.
    pub proxy: Option<Url>,
    /// Certificates (PEM) of a private authority that services' may be of, beside the public ones. Nothing else of the check changes.
    pub private_ca: Option<Vec<u8>>,
    /// What this client proves itself with to services that ask for it in TLS. Photo hosts are not shown it.
    pub identity: Option<ClientIdentity>,
}

/// A client certificate with its private key, as PEM. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientIdentity(Zeroizing<Vec<u8>>);

impl ClientIdentity {
    /// Of the certificate, with intermediate ones after it, and its key.
    pub fn new(certificates: &[u8], key: &[u8]) -> Self {
        // Of the right size from the start: one that grows would leave copies of the key behind.
        let mut pem = Zeroizing::new(Vec::with_capacity(key.len() + 1 + certificates.len()));
        pem.extend_from_slice(key);
        pem.push(b'\n');
        pem.extend_from_slice(certificates);
        Self(pem)
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(60),
            allow_loopback_http: false,
            proxy: None,
            private_ca: None,
            identity: None,
        }
    }
}

/// The HTTP library cannot be set up so.
#[derive(Debug, thiserror::Error)]
#[error("HTTP cannot be set up with these options")]
pub struct HttpSetupError(#[source] reqwest::Error);

/// A [`Transport`] over HTTP/1.1 and HTTP/2.
#[derive(Debug, Clone)]
pub struct ReqwestTransport {
    /// For requests that may be repeated: connections are kept and shared.
    pooled: Client,
    /// For those that may not: a kept connection that the server closes at that very moment would make an unknown
    /// outcome of what was never taken, so each has a connection of its own.
    fresh: Client,
    /// For those that say themselves what encodings they accept: they get the reply as it is.
    plain: Client,
    allow_loopback: bool,
    public_only: bool,
}

impl ReqwestTransport {
    /// For services: the EHR and its token endpoint, endpoints of models.
    ///
    /// # Errors
    /// [`HttpSetupError`] when the proxy or TLS cannot be set up.
    pub fn for_api(options: &HttpOptions) -> Result<Self, HttpSetupError> {
        let builder = || {
            let user_agent = concat!("skin-assist/", env!("CARGO_PKG_VERSION"));
            let mut builder = common(options)?.user_agent(user_agent);
            if let Some(pem) = &options.private_ca {
                for certificate in reqwest::Certificate::from_pem_bundle(pem).map_err(HttpSetupError)? {
                    builder = builder.add_root_certificate(certificate);
                }
            }
            if let Some(identity) = &options.identity {
                builder = builder.identity(reqwest::Identity::from_pem(&identity.0).map_err(HttpSetupError)?);
            }
            Ok(builder)
        };
        Self::new(options, false, true, builder)
    }

    /// For photos: no header of ours, and public addresses only, checked after the name was resolved and used as
    /// checked.
    ///
    /// # Errors
    /// [`HttpSetupError`] when the proxy or TLS cannot be set up.
    pub fn for_photos(options: &HttpOptions) -> Result<Self, HttpSetupError> {
        Self::for_photos_by(options, Arc::new(SystemNames))
    }

    /// The same, with names looked up elsewhere than where the system looks. What is found is checked all the same.
    ///
    /// # Errors
    /// [`HttpSetupError`] when the proxy or TLS cannot be set up.
    pub fn for_photos_by(options: &HttpOptions, names: Arc<dyn Names>) -> Result<Self, HttpSetupError> {
        let resolver = Arc::new(PublicResolver {
            allow_loopback: options.allow_loopback_http,
            names,
        });
        Self::new(options, true, false, || {
            Ok(common(options)?.dns_resolver(Arc::clone(&resolver)))
        })
    }

    fn new(
        options: &HttpOptions,
        public_only: bool,
        gzip: bool,
        builder: impl Fn() -> Result<reqwest::ClientBuilder, HttpSetupError>,
    ) -> Result<Self, HttpSetupError> {
        Ok(Self {
            pooled: builder()?.gzip(gzip).build().map_err(HttpSetupError)?,
            fresh: builder()?
                .gzip(gzip)
                .pool_max_idle_per_host(0)
                .build()
                .map_err(HttpSetupError)?,
            plain: builder()?.gzip(false).build().map_err(HttpSetupError)?,
            allow_loopback: options.allow_loopback_http,
            public_only,
        })
    }

    fn check(&self, url: &Url) -> Result<(), TransportError> {
        let loopback = self.allow_loopback && is_loopback_host(url);
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            _ => {
                return Err(TransportError::NotSent {
                    what: "only https is allowed",
                });
            }
        }
        // A host that is an address is never resolved, so the resolver does not see it.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if self.public_only && !loopback && literal.is_some_and(|address| !is_public(address)) {
            return Err(TransportError::AddressRefused);
        }
        Ok(())
    }
}

fn common(options: &HttpOptions) -> Result<reqwest::ClientBuilder, HttpSetupError> {
    let shortest = options.connect_timeout + Duration::from_millis(500);
    let builder = Client::builder()
        .https_only(!options.allow_loopback_http)
        .min_tls_version(reqwest::tls::Version::TLS_1_2)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.read_timeout.max(shortest))
        .timeout(options.total_timeout.max(shortest))
        .referer(false)
        .no_proxy();
    match &options.proxy {
        None => Ok(builder),
        Some(proxy) => Ok(builder.proxy(reqwest::Proxy::all(proxy.as_str()).map_err(HttpSetupError)?)),
    }
}

#[async_trait]
impl Transport for ReqwestTransport {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        let request = reqwest::Request::try_from(request).map_err(|_| TransportError::NotSent {
            what: "the request cannot be sent over HTTP",
        })?;
        self.check(request.url())?;
        let client = if request.headers().contains_key(header::ACCEPT_ENCODING) {
            &self.plain
        } else if *request.method() == Method::GET {
            &self.pooled
        } else {
            &self.fresh
        };
        let mut response = client.execute(request).await.map_err(|error| classify(&error, None))?;
        let status = response.status();
        let mut body = BytesMut::new();
        if response
            .content_length()
            .is_some_and(|length| length > limit_bytes as u64)
        {
            return Err(TransportError::TooLarge { status });
        }
        while let Some(chunk) = response.chunk().await.map_err(|error| classify(&error, Some(status)))? {
            if body.len() + chunk.len() > limit_bytes {
                return Err(TransportError::TooLarge { status });
            }
            body.extend_from_slice(&chunk);
        }
        let mut reply = Response::new(body.freeze());
        *reply.status_mut() = status;
        *reply.headers_mut() = std::mem::take(response.headers_mut());
        Ok(reply)
    }
}

/// What an error of the HTTP library means. Only what happens while there is no connection yet, or no request, is known
/// not to have been seen by the server.
fn classify(error: &reqwest::Error, status: Option<StatusCode>) -> TransportError {
    let mut causes = std::iter::successors(error.source(), |cause: &&(dyn StdError + 'static)| (*cause).source());
    if error.is_builder() {
        return TransportError::NotSent {
            what: "the request cannot be sent over HTTP",
        };
    }
    if error.is_connect() {
        if causes.clone().any(<dyn StdError>::is::<AddressNotPublic>) {
            return TransportError::AddressRefused;
        }
        let what = if error.is_timeout() {
            "connecting took too long"
        } else {
            let io_kind = causes
                .find_map(|cause| cause.downcast_ref::<io::Error>())
                .map(innermost_kind);
            match io_kind {
                Some(io::ErrorKind::ConnectionRefused) => "the connection was refused",
                Some(io::ErrorKind::InvalidData) => "TLS failed: the certificate or the protocol is not accepted",
                Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => {
                    "there is no way to the host"
                }
                _ => "no connection: the name is not known, or the host does not answer",
            }
        };
        return TransportError::NotSent { what };
    }
    let of_http = causes.find_map(|cause| cause.downcast_ref::<hyper::Error>());
    let what = if error.is_timeout() {
        "it took too long"
    } else if of_http.is_some_and(hyper::Error::is_parse) {
        "its head is not HTTP, or longer than allowed"
    } else {
        "the connection broke"
    };
    TransportError::Unknown { what, status }
}

/// Errors of TLS come wrapped in I/O errors, and those in others; `source` passes over the inner one.
fn innermost_kind(error: &io::Error) -> io::ErrorKind {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>());
    inner.map_or_else(|| error.kind(), innermost_kind)
}

/// The name led to an address that photos may not come from.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to an address that is not public")]
struct AddressNotPublic;

/// Resolves names, and refuses those that lead to anything but public addresses. What it returns is what is connected
/// to, so a name cannot change its mind in between.
struct PublicResolver {
    allow_loopback: bool,
    names: Arc<dyn Names>,
}

/// Where names lead to.
#[async_trait]
pub trait Names: Send + Sync {
    /// The addresses of a host.
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own resolver.
struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0))
            .await?
            .map(|found| found.ip())
            .collect())
    }
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let may_be_loopback = self.allow_loopback && is_loopback_name(name.as_str());
        let names = Arc::clone(&self.names);
        Box::pin(async move {
            // The port is the URL's; the library fills it in.
            let found = names.addresses(name.as_str()).await?.into_iter();
            let found = found.map(|address| SocketAddr::new(address, 0)).collect();
            checked(found, may_be_loopback)
                .map(|found| Box::new(found.into_iter()) as Addrs)
                .map_err(Into::into)
        })
    }
}

/// One refused address refuses the name: a name with both kinds is not an honest one.
fn checked(found: Vec<SocketAddr>, may_be_loopback: bool) -> Result<Vec<SocketAddr>, AddressNotPublic> {
    let allowed = |found: &SocketAddr| {
        let address = found.ip();
        if may_be_loopback {
            address.is_loopback()
        } else {
            is_public(address)
        }
    };
    if found.iter().all(allowed) {
        Ok(found)
    } else {
        Err(AddressNotPublic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts
            .iter()
            .map(|text| SocketAddr::new(text.parse().unwrap(), 0))
            .collect()
    }

    #[test]
    fn one_private_address_refuses_the_name() {
        assert!(checked(addresses(&["8.8.8.8", "2600:1f18::1"]), false).is_ok());
        assert!(checked(addresses(&["8.8.8.8", "10.0.0.1"]), false).is_err());
        assert!(checked(addresses(&["169.254.169.254"]), false).is_err());
        assert!(checked(addresses(&["::ffff:8.8.8.8"]), false).is_err());
        assert!(checked(addresses(&["127.0.0.1", "::1"]), true).is_ok());
        assert!(checked(addresses(&["10.0.0.1"]), true).is_err());
    }
}
