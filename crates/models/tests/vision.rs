//! The whole way from bytes to findings, on networks of a few operators whose answers can be computed by hand.

mod support;

use std::{fs, num::NonZeroUsize, path::Path};

use bytes::Bytes;
use futures::{
    executor::block_on,
    future::{join, join_all},
};
use sha2::{Digest, Sha256};
use skin_assist_core::{
    domain::{Abstention, Concern, Findings, PhotoBytes, Route},
    phi::Phi,
    ports::{PhotoRefusal, VisionError, VisionModel},
};
use skin_assist_models::{
    PackVision, ReloadingVision, VisionOptions, VisionSetupError,
    pack::{self, EmbeddedPack, Pack},
    photo::Limits,
    runtime::{Runtime, RuntimeChoice},
    verify::{Report, Verdict, verify},
};
use support::fixture;

const CLASSIFIER: &str = r#"
[[model]]
task = "classifier"
file = "classifier.onnx"
sha256 = "CLASSIFIER_HASH"
temperature = 2.0
abstain_below = 0.4
[model.input]
name = "image"
width = 8
height = 8
colour_order = "rgb"
layout = "nchw"
resize = "stretch-triangle"
scale = 0.00392156862745098
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
[model.output]
name = "logits"
layout = "logits"
[[model.labels]]
id = "red"
display = "Red"
snomed_ct = "372244006"
icd_10_cm = "C43.9"
must_not_miss = true
[[model.labels]]
id = "green"
display = "Green"
snomed_ct = "400096001"
[[model.labels]]
id = "blue"
display = "Blue"
snomed_ct = "9014002"
"#;

const DETECTOR: &str = r#"
[[model]]
task = "detector"
file = "detector.onnx"
sha256 = "DETECTOR_HASH"
score_threshold = 0.25
nms_iou_threshold = 0.5
max_detections = 3
crop_margin = 1.5
[model.input]
name = "image"
width = 16
height = 16
colour_order = "rgb"
layout = "nchw"
resize = "stretch-triangle"
scale = 0.00392156862745098
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
[model.output]
name = "detections"
layout = "yolov8"
"#;

fn head(route: Route) -> String {
    format!(
        "format_version = 1\nid = \"test-{route}\"\nversion = \"1.2\"\nroute = \"{route}\"\n\
         title = \"Test\"\nintended_use = \"Tests only.\"\n"
    )
}

fn manifest(route: Route) -> String {
    let detector = if route == Route::Solitary { DETECTOR } else { "" };
    format!("{}{detector}{CLASSIFIER}", head(route))
}

/// Writes a pack's folder; the networks are fixtures, their hashes are filled in.
fn write(folder: &Path, manifest: &str, classifier: &str) {
    fs::write(folder.join("pack.toml"), filled(manifest, classifier)).expect("the manifest");
    fs::write(folder.join("classifier.onnx"), fixture(classifier)).expect("the classifier");
    fs::write(folder.join("detector.onnx"), fixture("detector.onnx")).expect("the detector");
}

/// The manifest with the fixtures' hashes.
fn filled(manifest: &str, classifier: &str) -> String {
    let hash = |name: &str| hex::encode(Sha256::digest(fixture(name)));
    manifest
        .replace("CLASSIFIER_HASH", &hash(classifier))
        .replace("DETECTOR_HASH", &hash("detector.onnx"))
}

/// A pack whose files last as long as the test.
fn load(manifest: &str, classifier: &str) -> Result<Pack, pack::Error> {
    let kept = |name: &str| -> &'static [u8] { Box::leak(fixture(name).into_boxed_slice()) };
    Pack::from_embedded(&EmbeddedPack {
        manifest: Box::leak(filled(manifest, classifier).into_boxed_str()),
        files: Box::leak(Box::new([
            ("classifier.onnx", kept(classifier)),
            ("detector.onnx", kept("detector.onnx")),
        ])),
    })
}

fn vision(packs: &[Pack], workers: usize) -> PackVision {
    let runtime = Runtime::open(&RuntimeChoice::Rten).expect("rten is built in");
    PackVision::new(&runtime, packs, options(workers)).unwrap_or_else(|error| panic!("{error}"))
}

fn options(workers: usize) -> VisionOptions {
    let workers = NonZeroUsize::new(workers).expect("not none");
    VisionOptions {
        workers,
        queue: 1,
        limits: Limits { max_pixels: 1_000_000 },
        ..VisionOptions::default()
    }
}

fn test_vision(workers: usize) -> PackVision {
    let packs = Route::ALL.map(|route| load(&manifest(route), "classifier.onnx").expect("a pack"));
    vision(&packs, workers)
}

/// A PNG of one colour.
fn plain(colour: [u8; 3], width: u32, height: u32) -> PhotoBytes {
    let image = image::RgbImage::from_pixel(width, height, image::Rgb(colour));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
    Phi::new(Bytes::from(bytes.into_inner()))
}

fn look(vision: &PackVision, route: Route, photo: &PhotoBytes) -> Result<Findings, VisionError> {
    block_on(vision.look(route, photo))
}

fn ids(findings: &Findings) -> Vec<&str> {
    findings.ranked.iter().map(|class| class.label.id.as_str()).collect()
}

#[test]
fn widespread_ranks_the_classes_of_the_whole_image() {
    let vision = test_vision(1);
    let findings = look(&vision, Route::Widespread, &plain([255, 0, 51], 40, 30)).expect("findings");
    assert_eq!(ids(&findings), ["red", "blue", "green"]);
    // Logits 4, 0.5 and 0.8; temperature 2.
    let powers = [2.0_f32.exp(), 0.4_f32.exp(), 0.25_f32.exp()];
    let sum: f32 = powers.iter().sum();
    for (class, power) in findings.ranked.iter().zip(powers) {
        assert!((class.probability - power / sum).abs() < 1e-5, "{findings:?}");
    }
    assert!(findings.ranked[0].label.must_not_miss);
    assert_eq!(findings.abstention, None);
    assert!(findings.regions.is_empty());
    assert_eq!((findings.image.width, findings.image.height), (40, 30));
    assert_eq!(findings.image.format, "png");
    assert_eq!(findings.models, vision.versions(Route::Widespread));
    assert_eq!(findings.models[0].to_string(), "test-widespread 1.2");
    let expected = (0.299 * 255.0 + 0.114 * 51.0) / 255.0;
    assert!((findings.image.quality.brightness - expected).abs() < 1e-3);
}

#[test]
fn when_no_class_stands_out_it_is_undecided_and_still_ranked() {
    let findings = look(&test_vision(1), Route::Widespread, &plain([32, 0, 32], 10, 10)).expect("findings");
    assert_eq!(findings.abstention, Some(Abstention::Undecided));
    assert_eq!(findings.ranked.len(), 3);
}

#[test]
fn solitary_judges_each_lesion_in_its_own_crop() {
    // White, apart from a blue corner at the top left: in the detector's pixels up to (8, 8).
    let mut image = image::RgbImage::from_pixel(160, 160, image::Rgb([255, 255, 255]));
    for y in 0..80 {
        for x in 0..80 {
            image.put_pixel(x, y, image::Rgb([200, 200, 255]));
        }
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).expect("a PNG");
    let photo = Phi::new(Bytes::from(bytes.into_inner()));
    let findings = look(&test_vision(1), Route::Solitary, &photo).expect("findings");
    // Four boxes: the second is suppressed by the first, the last is cut at the edge.
    assert_eq!(findings.regions.len(), 3, "{findings:?}");
    let areas: Vec<_> = findings.regions.iter().map(|region| region.area).collect();
    assert_eq!(
        (areas[0].x, areas[0].y, areas[0].width, areas[0].height),
        (0.125, 0.125, 0.25, 0.25)
    );
    assert_eq!((areas[2].x + areas[2].width, areas[2].y), (1.0, 0.375));
    assert!(findings.regions.windows(2).all(|pair| pair[0].score > pair[1].score));
    assert_eq!(
        findings.ranked, findings.regions[0].classes,
        "the strongest detection speaks for the photo"
    );
    // The classifier favours green by its bias on white; the first crop is bluish: 4·255/255 against 4·200/255 + 0.5.
    assert_eq!(ids(&findings)[0], "blue");
    assert_eq!(findings.regions[1].classes[0].label.id, "green");
}

#[test]
fn no_lesion_is_an_abstention() {
    let findings = look(&test_vision(1), Route::Solitary, &plain([9, 9, 9], 50, 50)).expect("findings");
    assert_eq!(findings.abstention, Some(Abstention::NoLesionFound));
    assert!(findings.regions.is_empty() && findings.ranked.is_empty());
}

#[test]
fn a_pack_may_refuse_poor_images() {
    let text = manifest(Route::Widespread).replacen("[[model]]", "[quality]\nmin_brightness = 0.2\n\n[[model]]", 1);
    let vision = vision(&[load(&text, "classifier.onnx").expect("a pack")], 1);
    let findings = look(&vision, Route::Widespread, &plain([9, 9, 9], 20, 20)).expect("findings");
    assert_eq!(findings.abstention, Some(Abstention::PoorImage));
    assert!(findings.ranked.is_empty());
    let findings = look(&vision, Route::Widespread, &plain([200, 9, 9], 20, 20)).expect("findings");
    assert_eq!(findings.abstention, None);
}

#[test]
fn bad_photos_are_refused_and_the_next_is_unaffected() {
    let vision = test_vision(1);
    let refused = |bytes: &[u8]| {
        look(&vision, Route::Widespread, &Phi::new(Bytes::copy_from_slice(bytes))).expect_err("no photo")
    };
    assert!(matches!(refused(b""), VisionError::Photo(PhotoRefusal::Empty)));
    assert!(matches!(
        refused(b"words"),
        VisionError::Photo(PhotoRefusal::UnsupportedFormat)
    ));
    assert!(matches!(
        refused(&fixture("restart.jpg")[..700]),
        VisionError::Photo(PhotoRefusal::Broken)
    ));
    let large = plain([0, 0, 0], 1001, 1000);
    let error = look(&vision, Route::Widespread, &large).expect_err("over the limit");
    assert!(matches!(error, VisionError::Photo(PhotoRefusal::TooManyPixels)));
    assert!(look(&vision, Route::Widespread, &plain([255, 0, 0], 8, 8)).is_ok());
}

#[test]
fn a_route_without_a_pack_is_unavailable() {
    let vision = vision(
        &[load(&manifest(Route::Widespread), "classifier.onnx").expect("a pack")],
        1,
    );
    let error = look(&vision, Route::Solitary, &plain([1, 2, 3], 8, 8)).expect_err("no pack");
    assert!(matches!(error, VisionError::Unavailable { .. }), "{error}");
    assert!(vision.versions(Route::Solitary).is_empty());
}

#[test]
fn what_is_not_a_number_is_no_answer() {
    let vision = vision(
        &[load(&manifest(Route::Widespread), "not-a-number.onnx").expect("a pack")],
        1,
    );
    for _ in 0..2 {
        let error = look(&vision, Route::Widespread, &plain([1, 2, 3], 8, 8)).expect_err("not a number");
        assert!(matches!(error, VisionError::Model { .. }), "{error}");
    }
}

#[test]
fn many_callers_share_a_few_workers_and_get_the_same_findings() {
    let vision = test_vision(2);
    let photos: Vec<_> = (0..40_u8)
        .map(|level| plain([level * 6, 255 - level * 6, 40], 32, 24))
        .collect();
    let one_by_one: Vec<_> = photos
        .iter()
        .map(|photo| look(&vision, Route::Solitary, photo).expect("findings"))
        .collect();
    let together = block_on(join_all(photos.iter().map(|photo| vision.look(Route::Solitary, photo))));
    for (one, other) in one_by_one.iter().zip(together) {
        assert_eq!(one, &other.expect("findings"));
    }
}

#[test]
fn callers_that_go_away_block_nobody() {
    let vision = test_vision(1);
    let photo = plain([255, 0, 0], 600, 600);
    for _ in 0..20 {
        // Polled once, then dropped: some are waiting, some in the queue, one in work.
        let mut looking = vision.look(Route::Widespread, &photo);
        block_on(futures::future::poll_fn(|context| {
            let _ = looking.as_mut().poll(context);
            std::task::Poll::Ready(())
        }));
    }
    let (one, other) = block_on(join(
        vision.look(Route::Widespread, &photo),
        vision.look(Route::Solitary, &photo),
    ));
    assert!(one.is_ok() && other.is_ok());
}

#[test]
fn a_changed_file_is_named_with_both_hashes() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &manifest(Route::Solitary), "classifier.onnx");
    let path = folder.path().join("detector.onnx");
    let mut bytes = fs::read(&path).expect("the detector");
    bytes[100] ^= 1;
    fs::write(&path, bytes).expect("the detector");
    let error = Pack::from_directory(folder.path()).expect_err("changed");
    let pack::Error::Hash {
        pack,
        file,
        expected,
        found,
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((pack.as_str(), file.as_str()), ("test-solitary", "detector.onnx"));
    assert!(expected != found && error.to_string().contains(found) && error.to_string().contains(expected));
    assert!(error.hint().contains("copy the pack again"));
    // One that was changed after it was looked at is not loaded.
    let runtime = Runtime::open(&RuntimeChoice::Rten).expect("rten is built in");
    let opened = Pack::open(folder.path()).expect("the manifest is as it was");
    let error = opened.load(&runtime).expect_err("changed");
    assert!(matches!(error, pack::Error::Hash { .. }), "{error}");
    fs::remove_file(path).expect("removed");
    let error = Pack::from_directory(folder.path()).expect_err("gone");
    assert!(matches!(error, pack::Error::FileUnreadable { .. }), "{error}");
    fs::remove_file(folder.path().join("pack.toml")).expect("removed");
    let error = Pack::from_directory(folder.path()).expect_err("gone");
    assert!(matches!(error, pack::Error::ManifestUnreadable { .. }), "{error}");
}

#[test]
fn a_model_that_is_not_what_the_manifest_says_is_named() {
    let runtime = Runtime::open(&RuntimeChoice::Rten).expect("rten is built in");
    let solitary = manifest(Route::Solitary);
    let load = |text: &str| {
        let pack = load(text, "classifier.onnx").expect("the manifest is well-formed");
        pack.load(&runtime).expect_err("it does not fit")
    };
    // A label more than the classifier has numbers.
    let more = format!("{solitary}[[model.labels]]\nid = \"grey\"\ndisplay = \"Grey\"\nsnomed_ct = \"84849002\"\n");
    assert!(matches!(load(&more), pack::Error::Shape { found, .. } if found == [1, 3]));
    // The detector's file under the classifier's entry and the other way round.
    let swapped = solitary
        .replace("detector.onnx", "swap")
        .replace("classifier.onnx", "detector.onnx")
        .replace("swap", "classifier.onnx")
        .replace("DETECTOR_HASH", "SWAP")
        .replace("CLASSIFIER_HASH", "DETECTOR_HASH")
        .replace("SWAP", "CLASSIFIER_HASH");
    assert!(matches!(load(&swapped), pack::Error::Model { .. }));
    let wide = solitary.replace("width = 8", "width = 9");
    assert!(matches!(load(&wide), pack::Error::Model { .. }));
    let renamed = solitary.replace("\"logits\"\nlayout", "\"scores\"\nlayout");
    let error = load(&renamed);
    assert!(
        matches!(error, pack::Error::Model { .. }) && error.hint().contains("name"),
        "{error}"
    );
}

/// A pack's folder with more in its manifest: lines for the classifier, and for the top.
fn write_with(folder: &Path, route: Route, classifier: &str, top: &str) {
    let text = manifest(route)
        .replacen("abstain_below", &format!("{classifier}\nabstain_below"), 1)
        .replacen("[[model]]", &format!("{top}\n[[model]]"), 1);
    write(folder, &text, "classifier.onnx");
}

fn golden(photo: &[u8], probabilities: &str, area: &str) -> String {
    format!(
        "[golden]\nfile = \"golden.png\"\nsha256 = \"{}\"\nprobabilities = {probabilities}\n{area}\ntolerance = 0.01\n",
        hex::encode(Sha256::digest(photo))
    )
}

fn verdicts(report: &Report) -> Vec<(&str, Verdict)> {
    report
        .checks
        .iter()
        .map(|check| (check.what.as_str(), check.verdict))
        .collect()
}

#[test]
fn a_pack_is_verified_by_its_golden_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let photo = plain([255, 0, 0], 32, 32).expose().to_vec();
    fs::write(folder.path().join("golden.png"), &photo).expect("the photo");
    fs::write(folder.path().join("MODEL_CARD.md"), "# Test").expect("the card");
    let runtimes = [Runtime::open(&RuntimeChoice::Rten).expect("rten is built in")];
    let vision = vision(
        &[load(&manifest(Route::Widespread), "classifier.onnx").expect("a pack")],
        1,
    );
    let findings = look(&vision, Route::Widespread, &Phi::new(Bytes::from(photo.clone()))).expect("findings");
    let of = |id: &str| {
        findings
            .ranked
            .iter()
            .find(|class| class.label.id == id)
            .expect("a class")
            .probability
    };
    let expected = format!("[{}, {}, {}]", of("red"), of("green"), of("blue"));
    let populations = "[[populations]]\nname = \"plain colours\"\nphotos = 3\n";
    write_with(
        folder.path(),
        Route::Widespread,
        "",
        &format!("{populations}{}", golden(&photo, &expected, "")),
    );
    let report = verify(folder.path(), &runtimes);
    assert!(report.passed(), "{report:?}");
    let expected = [
        ("manifest and files", Verdict::Passed),
        ("model card", Verdict::Passed),
        ("populations", Verdict::Passed),
        ("shapes, rten", Verdict::Passed),
        ("agreement of the runtimes", Verdict::NotMade),
        ("golden image, rten", Verdict::Passed),
    ];
    assert_eq!(verdicts(&report), expected);
    // Other numbers, as another preprocessing would give.
    write_with(
        folder.path(),
        Route::Widespread,
        "",
        &golden(&photo, "[0.2, 0.5, 0.3]", ""),
    );
    let report = verify(folder.path(), &runtimes);
    let wrong = report
        .checks
        .iter()
        .find(|check| check.verdict == Verdict::Failed)
        .expect("it fails");
    assert!(
        wrong.what == "golden image, rten" && wrong.says.contains("preprocessing"),
        "{wrong:?}"
    );
    // Another photo than the manifest means.
    fs::write(folder.path().join("golden.png"), b"another").expect("the photo");
    let report = verify(folder.path(), &runtimes);
    assert!(
        !report.passed() && report.checks[0].says.contains("golden.png"),
        "{report:?}"
    );
}

#[test]
fn two_runtimes_that_are_the_same_agree() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &manifest(Route::Solitary), "classifier.onnx");
    let runtime = || Runtime::open(&RuntimeChoice::Rten).expect("rten is built in");
    let report = verify(folder.path(), &[runtime(), runtime()]);
    let agreement = report
        .checks
        .iter()
        .find(|check| check.what == "agreement of the runtimes")
        .expect("a check");
    assert_eq!(agreement.verdict, Verdict::Passed, "{agreement:?}");
    // What answers with what is not a number agrees with nobody, not even with itself.
    write(folder.path(), &manifest(Route::Widespread), "not-a-number.onnx");
    let report = verify(folder.path(), &[runtime(), runtime()]);
    let agreement = report
        .checks
        .iter()
        .find(|check| check.what == "agreement of the runtimes")
        .expect("a check");
    assert_eq!(agreement.verdict, Verdict::Failed, "{agreement:?}");
    assert!(
        report
            .checks
            .iter()
            .any(|check| check.what == "model card" && check.verdict == Verdict::Failed)
    );
}

#[test]
fn changed_packs_take_over_between_photos_and_broken_ones_do_not() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &manifest(Route::Widespread), "classifier.onnx");
    let runtime = Runtime::open(&RuntimeChoice::Rten).expect("rten is built in");
    let every = std::time::Duration::from_millis(20);
    let vision = ReloadingVision::new(runtime, folder.path().to_owned(), options(1), every).expect("packs");
    let photo = plain([255, 0, 0], 8, 8);
    let version = || {
        let findings = block_on(vision.look(Route::Widespread, &photo)).expect("no photo is lost");
        findings.models[0].version.clone()
    };
    assert_eq!(version(), "1.2");
    // A damaged file: the old pack stays.
    let text = manifest(Route::Widespread).replace("version = \"1.2\"", "version = \"1.3\"");
    write(folder.path(), &text, "classifier.onnx");
    fs::write(folder.path().join("classifier.onnx"), b"half of it").expect("a file");
    for _ in 0..20 {
        assert_eq!(version(), "1.2");
        std::thread::sleep(every / 2);
    }
    // Whole again: it takes over, and says so on the results.
    write(folder.path(), &text, "classifier.onnx");
    let taken_over = (0..3000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        version() == "1.3"
    });
    assert!(taken_over);
    assert_eq!(vision.versions(Route::Widespread)[0].version, "1.3");
}

#[test]
fn an_unknown_image_a_wrong_kind_and_a_small_lesion_are_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let findings = |classifier: &str, top: &str, route, photo: &PhotoBytes| {
        write_with(folder.path(), route, classifier, top);
        let pack = Pack::from_directory(folder.path()).expect("a pack");
        look(&vision(&[pack], 1), route, photo).expect("findings")
    };
    let red = plain([255, 0, 0], 32, 32);
    let rule = |least| format!("out_of_distribution = {{ score = \"max-logit\", least = {least} }}");
    let unknown = findings(&rule("1000000.0"), "", Route::Widespread, &red);
    assert_eq!(unknown.abstention, Some(Abstention::OutOfDistribution));
    assert_eq!(unknown.concerns, [Concern::OutOfDistribution]);
    let known = findings(&rule("-1000000.0"), "", Route::Widespread, &red);
    assert!(known.abstention.is_none() && known.concerns.is_empty(), "{known:?}");
    // Pure red is no colour of skin.
    let quality = "[quality]\nmin_skin = 0.5";
    let other = findings("", quality, Route::Widespread, &red);
    assert_eq!(other.abstention, Some(Abstention::OutOfDistribution));
    assert_eq!(other.concerns, [Concern::NotSkin]);
    let reported = findings("", &format!("{quality}\nreport_only = true"), Route::Widespread, &red);
    assert_eq!((reported.abstention, reported.concerns), (None, vec![Concern::NotSkin]));
    assert!(!reported.ranked.is_empty());
    let small = findings("", "[quality]\nmin_lesion_pixels = 5000", Route::Solitary, &red);
    assert_eq!(small.abstention, Some(Abstention::PoorImage));
    assert_eq!(small.concerns, [Concern::LesionTooSmall]);
}

#[test]
fn a_photo_without_a_lesion_is_judged_whole_where_the_pack_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = manifest(Route::Solitary).replace(
        "score_threshold = 0.25",
        "score_threshold = 1.0\nwithout_lesion = \"whole-image\"",
    );
    write(folder.path(), &text, "classifier.onnx");
    let vision = vision(&[Pack::from_directory(folder.path()).expect("a pack")], 1);
    let findings = look(&vision, Route::Solitary, &plain([0, 0, 255], 32, 32)).expect("findings");
    assert_eq!(
        (findings.abstention, findings.concerns),
        (None, vec![Concern::WholeImage])
    );
    assert_eq!(findings.ranked[0].label.id, "blue");
}

#[test]
fn flips_change_nothing_where_the_image_is_symmetric() {
    let folder = tempfile::tempdir().expect("a folder");
    write_with(folder.path(), Route::Widespread, "flips = true", "");
    let with = vision(&[Pack::from_directory(folder.path()).expect("a pack")], 1);
    let photo = plain([10, 200, 30], 16, 16);
    let without = test_vision(1);
    let (one, other) = (
        look(&with, Route::Widespread, &photo),
        look(&without, Route::Widespread, &photo),
    );
    assert_eq!(one.expect("findings").ranked, other.expect("findings").ranked);
}

#[test]
fn two_packs_for_one_route_are_refused() {
    let pack = load(&manifest(Route::Widespread), "classifier.onnx").expect("a pack");
    let runtime = Runtime::open(&RuntimeChoice::Rten).expect("rten is built in");
    let error = PackVision::new(&runtime, &[pack.clone(), pack], options(1)).expect_err("two");
    assert!(matches!(error, VisionSetupError::TwoPacks { .. }), "{error}");
}

#[test]
fn packs_are_found_in_a_folder_of_packs() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["b", "a"] {
        fs::create_dir(folder.path().join(name)).expect("a folder");
        write(
            &folder.path().join(name),
            &manifest(Route::Widespread),
            "classifier.onnx",
        );
    }
    fs::create_dir(folder.path().join("train")).expect("a folder");
    let found = pack::find(folder.path()).expect("readable");
    assert_eq!(found, [folder.path().join("a"), folder.path().join("b")]);
    assert_eq!(pack::find(&found[0]).expect("readable"), found[..1]);
}

#[test]
fn the_reference_packs_look_at_a_photo() {
    let packs = Route::ALL.map(|route| Pack::reference(route).expect("a whole pack"));
    let vision = vision(&packs, 1);
    let photo = Phi::new(Bytes::from(fixture("orientation-6.jpg")));
    for route in Route::ALL {
        let findings = look(&vision, route, &photo).expect("findings");
        assert_eq!((findings.image.width, findings.image.height), (64, 48));
        assert_eq!(
            look(&vision, route, &photo).expect("findings"),
            findings,
            "the same again"
        );
    }
}
