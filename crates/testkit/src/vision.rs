//! What every `VisionModel` promises, wherever its models run: one list of cases for packs in process, a model server and
//! SageMaker endpoints.

use bytes::Bytes;
use skin_assist_core::{
    domain::{PhotoBytes, Route},
    phi::Phi,
    ports::{VisionError, VisionModel},
};
use skin_assist_simulator::picture::{Condition, PictureParameters, render};

/// A synthetic photo as a camera writes it, of a condition of the route.
pub fn photo(route: Route, seed: u64) -> PhotoBytes {
    let condition = match route {
        Route::Solitary => Condition::SOLITARY[0],
        Route::Widespread => Condition::WIDESPREAD[0],
    };
    let picture = render(&PictureParameters::new(seed, Some(condition), 320, 240));
    Phi::new(Bytes::from(picture.to_jpeg(90, 6)))
}

/// Files that are no photo that could be looked at, and the code of the reason.
pub fn refused_files() -> Vec<(&'static str, Bytes, &'static str)> {
    let whole = photo(Route::Solitary, 1).into_exposed();
    // A PNG of 45 bytes that claims 40,000 by 40,000 pixels.
    let mut bomb = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x9c\x40\x00\x00\x9c\x40\x08\x02\x00\x00\x00".to_vec();
    bomb.extend_from_slice(&[0x26, 0x41, 0x08, 0x2c]);
    bomb.extend_from_slice(b"\x00\x00\x00\x00IDAT\x35\xaf\x06\x1e");
    vec![
        ("nothing", Bytes::new(), "photo.empty"),
        (
            "words",
            Bytes::from_static(b"Dear colleague,"),
            "photo.unsupported-format",
        ),
        ("half a photo", whole.slice(..whole.len() / 2), "photo.broken"),
        (
            "a file of a phone",
            Bytes::from_static(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1"),
            "photo.heic",
        ),
        ("a bomb", Bytes::from(bomb), "photo.too-many-pixels"),
    ]
}

/// Checks `vision` against `reference`, which runs the same packs in this process.
///
/// # Panics
/// When a promise is not kept.
pub async fn check(vision: &dyn VisionModel, reference: &dyn VisionModel) {
    for route in Route::ALL {
        assert_eq!(
            vision.versions(route),
            reference.versions(route),
            "known before the first look"
        );
        assert!(!vision.versions(route).is_empty());
        for seed in [11, 12] {
            let photo = photo(route, seed);
            let seen = vision.look(route, &photo).await.expect("findings");
            assert_eq!(seen.models, vision.versions(route), "the models that looked");
            assert_eq!(
                seen,
                reference.look(route, &photo).await.expect("findings"),
                "{route} {seed}"
            );
            assert_eq!(seen, vision.look(route, &photo).await.expect("findings"), "again");
        }
        for (what, bytes, code) in refused_files() {
            let bytes = Phi::new(bytes);
            let error = vision.look(route, &bytes).await.expect_err(what);
            assert_eq!(error.reason().code(), code, "{what}");
            let expected = reference.look(route, &bytes).await.expect_err(what);
            assert_eq!(error.reason(), expected.reason(), "{what}");
            assert_eq!(error.class(), expected.class(), "{what}");
            assert!(matches!(error, VisionError::Photo(_)), "{what}: {error:?}");
        }
        assert!(
            vision.look(route, &photo(route, 11)).await.is_ok(),
            "the next photo is unaffected"
        );
    }
}
