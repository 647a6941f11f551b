//! The reference packs, part of the program: trained on synthetic pictures, for demonstration only.

use skin_assist_core::domain::Route;

use super::{EmbeddedPack, Error, Pack};

const SOLITARY: EmbeddedPack = EmbeddedPack {
    manifest: include_str!("../../../../models/reference-solitary/pack.toml"),
    files: &[
        (
            "detector.onnx",
            include_bytes!("../../../../models/reference-solitary/detector.onnx"),
        ),
        (
            "classifier.onnx",
            include_bytes!("../../../../models/reference-solitary/classifier.onnx"),
        ),
        (
            "golden.jpg",
            include_bytes!("../../../../models/reference-solitary/golden.jpg"),
        ),
    ],
};

const WIDESPREAD: EmbeddedPack = EmbeddedPack {
    manifest: include_str!("../../../../models/reference-widespread/pack.toml"),
    files: &[
        (
            "classifier.onnx",
            include_bytes!("../../../../models/reference-widespread/classifier.onnx"),
        ),
        (
            "golden.jpg",
            include_bytes!("../../../../models/reference-widespread/golden.jpg"),
        ),
    ],
};

impl Pack {
    /// The reference pack of a route: **synthetic, not for clinical use**.
    pub fn reference(route: Route) -> Result<Self, Error> {
        Self::from_embedded(match route {
            Route::Solitary => &SOLITARY,
            Route::Widespread => &WIDESPREAD,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_has_a_reference_pack_that_says_what_it_is() {
        for route in Route::ALL {
            let pack = Pack::reference(route).expect("a whole pack");
            assert_eq!(pack.route(), route);
            assert!(pack.manifest().intended_use.contains("Not for clinical use"), "{route}");
        }
    }
}
