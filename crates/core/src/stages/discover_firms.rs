//! Which firms are to be served.

use crate::{
    domain::Firm,
    ports::{Firms, StateError},
};

/// Reads the firms that are served.
pub struct DiscoverFirms<'a> {
    /// The firms.
    pub firms: &'a dyn Firms,
}

impl DiscoverFirms<'_> {
    /// The firms that are neither paused nor off, in the order of their ids.
    pub async fn run(&self) -> Result<Vec<Firm>, StateError> {
        let mut firms = self.firms.firms().await?;
        firms.retain(Firm::is_served);
        Ok(firms)
    }
}
