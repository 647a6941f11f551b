//! The reference packs, part of the program: trained on synthetic pictures, for demonstration only.

use skin_assist_core::domain::Route;

use super::EmbeddedPack;

/// The reference pack of a route.
pub const fn reference(_route: Route) -> Option<EmbeddedPack> {
    None
}
