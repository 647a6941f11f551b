//! The seam between the client and the network.
//!
//! The client builds requests and reads replies; a [`Transport`] carries them. Over HTTP that is
//! [`crate::ReqwestTransport`], under virtual time an adapter around a practice EHR, in tests a script.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};

/// An extension of a request that must not be sent on trial, to a host that may not answer: its lost reply would leave
/// something undecided.
#[derive(Debug, Clone, Copy)]
pub struct NotOnTrial;

/// Carries one request to its host and brings the reply back.
///
/// # Contract
/// - Sends the request at most once, as it is: no redirect is followed, nothing is sent again. (A connection that turns
///   out dead before a byte of the request was written may be replaced.)
/// - [`TransportError::NotSent`] and [`TransportError::AddressRefused`] are returned only when the server certainly has
///   not seen the request. Whoever is not certain returns [`TransportError::Unknown`]: a draft is posted again after the
///   first and never after the second.
/// - The body is whole, decoded (gzip; unless the request has its own `Accept-Encoding`) and has at most `limit_bytes`; reading stops at the limit, before more is held.
#[async_trait]
pub trait Transport: Send + Sync {
    /// One exchange.
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError>;
}

/// There is no whole reply. The difference that matters is whether the server may have seen the request.
///
/// The texts are of this software, since URLs and bodies name patients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The server certainly has not seen it: no connection, no name, no TLS.
    #[error("the request was not sent: {what}")]
    NotSent {
        /// Why.
        what: &'static str,
    },
    /// It was not sent because of where the host's name led to.
    #[error("the request was not sent: the host's address is not allowed")]
    AddressRefused,
    /// It was sent, at least in part, and there is no whole reply.
    #[error("the reply was lost: {what}")]
    Unknown {
        /// What happened.
        what: &'static str,
        /// The status, when the reply had begun.
        status: Option<StatusCode>,
    },
    /// The reply's body is larger than the limit.
    #[error("the reply is larger than allowed")]
    TooLarge {
        /// The reply's status.
        status: StatusCode,
    },
}
