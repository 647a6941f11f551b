//! Which firms are to be served.

use crate::{
    domain::{Firm, FirmStatus},
    ports::{Firms, StateError},
};

/// Reads the active firms.
pub struct DiscoverFirms<'a> {
    /// The firms.
    pub firms: &'a dyn Firms,
}

impl DiscoverFirms<'_> {
    /// The firms that are not paused, in the order of their ids.
    pub async fn run(&self) -> Result<Vec<Firm>, StateError> {
        let mut firms = self.firms.firms().await?;
        firms.retain(|firm| firm.status == FirmStatus::Active);
        Ok(firms)
    }
}
