//! The network: one exchange of HTTP at a time, and which addresses it may go to.
//!
//! Clients build requests and read replies; a [`Transport`] carries them. Over HTTP that is [`ReqwestTransport`], the only
//! place where the HTTP library is known; under virtual time an adapter around a practice EHR; in tests a script.

mod addresses;
mod exchange;
mod reqwest_transport;
mod times;

pub use addresses::{is_loopback_host, is_loopback_name, is_public};
pub use exchange::{NotOnTrial, Transport, TransportError};
pub use reqwest_transport::{ClientIdentity, HttpOptions, HttpSetupError, Names, ReqwestTransport};
pub use times::{date_millis, retry_after};
