use super::*;

const SOLITARY: &str = include_str!("../../../../../models/reference-solitary/pack.toml");
const WIDESPREAD: &str = include_str!("../../../../../models/reference-widespread/pack.toml");

/// The reference manifest with the first line that begins so replaced: whatever value the training wrote there. Where
/// the replacement ends as the line begins, the rest of the line stays.
fn changed(text: &str, begins: &str, by: &str) -> Result<Manifest, Error> {
    let line = text
        .lines()
        .find(|line| line.starts_with(begins))
        .expect("such a line is in the manifest");
    let rest = if by.ends_with(begins) {
        &line[begins.len()..]
    } else {
        ""
    };
    Manifest::parse("the pack", &text.replacen(line, &format!("{by}{rest}"), 1))
}

#[test]
fn the_reference_manifests_are_understood() {
    let solitary = Manifest::parse("the pack", SOLITARY).expect("understood");
    assert_eq!(solitary.route, Route::Solitary);
    let detector = solitary.detector.expect("a detector");
    assert_eq!(
        (detector.file.name.as_str(), detector.file.output.as_str()),
        ("detector.onnx", "detections")
    );
    assert!(detector.crop_margin > 1.0 && detector.max_detections > 0);
    assert!(solitary.classifier.labels.iter().any(|label| label.must_not_miss));
    let widespread = Manifest::parse("the pack", WIDESPREAD).expect("understood");
    assert!(widespread.detector.is_none() && widespread.route == Route::Widespread);
}

#[test]
fn an_unknown_key_is_refused_by_name_wherever_it_stands() {
    for (from, to) in [
        ("title =", "colour = 1\ntitle ="),
        ("temperature =", "colour = 1\ntemperature ="),
        ("width =", "colour = 1\nwidth ="),
        ("name = \"logits\"", "colour = 1\nname = \"logits\""),
        ("display =", "colour = 1\ndisplay ="),
        ("[[model]]", "[quality]\ncolour = 1\n[[model]]"),
    ] {
        let error = changed(WIDESPREAD, from, to).expect_err("unknown");
        let Error::ManifestSyntax { pack, problem } = &error else {
            panic!("{error}");
        };
        assert!(
            pack == "the pack" && problem.contains("colour") && problem.contains("line"),
            "{error}"
        );
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn a_value_that_does_not_do_is_named_with_its_field() {
    let cases = [
        ("format_version = 1", "format_version = 2", "format_version"),
        ("id = \"reference-solitary\"", "id = \"a b\"", "id"),
        ("route = \"solitary\"", "route = \"widespread\"", "model"),
        ("score_threshold =", "score_threshold = 1.4", "model[0].score_threshold"),
        ("score_threshold =", "score_threshold = nan", "model[0].score_threshold"),
        ("score_threshold =", "", "model[0].score_threshold"),
        ("crop_margin =", "crop_margin = 0.3", "model[0].crop_margin"),
        ("max_detections =", "max_detections = 0", "model[0].max_detections"),
        (
            "file = \"detector.onnx\"",
            "file = \"../detector.onnx\"",
            "model[0].file",
        ),
        ("sha256 =", "sha256 = \"X\"", "model[0].sha256"),
        ("layout = \"yolov8\"", "layout = \"detr\"", "model[0].output.layout"),
        ("layout = \"nchw\"", "layout = \"nhwc\"", "model[0].input.layout"),
        (
            "resize = \"stretch-triangle\"",
            "resize = \"letterbox\"",
            "model[0].input.resize",
        ),
        ("width =", "width = 0", "model[0].input.width"),
        ("scale =", "scale = -0.1", "model[0].input.scale"),
        ("std =", "std = [0.0, 0.25, 0.25]", "model[0].input.std"),
        (
            "task = \"detector\"",
            "task = \"detector\"\ntemperature = 1.0",
            "model[0].temperature",
        ),
        (
            "abstain_below =",
            "abstain_below = 0.5\ncrop_margin = 1.3",
            "model[1].crop_margin",
        ),
        (
            "id = \"melanoma\"",
            "id = \"melanocytic-nevus\"",
            "model[1].labels[1].id",
        ),
        (
            "snomed_ct = \"372244006\"",
            "snomed_ct = \"372244007\"",
            "model[1].labels[0].snomed_ct",
        ),
        (
            "icd_10_cm = \"C43.9\"",
            "icd_10_cm = \"43.9\"",
            "model[1].labels[0].icd_10_cm",
        ),
        (
            "display = \"Melanoma\"",
            "display = \" \"",
            "model[1].labels[0].display",
        ),
    ];
    for (from, to, expected) in cases {
        let error = changed(SOLITARY, from, to).expect_err(to);
        let Error::Field { field, hint, .. } = &error else {
            panic!("{to}: {error}");
        };
        assert_eq!(field, expected, "{error}");
        assert!(!hint.is_empty() && error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn models_missing_or_twice_are_named() {
    let head = &WIDESPREAD[..WIDESPREAD.find("[[model]]").expect("a model")];
    let error = Manifest::parse("the pack", head).expect_err("no model");
    assert!(error.to_string().contains("no classifier"), "{error}");
    let twice = format!("{WIDESPREAD}\n{}", &WIDESPREAD[head.len()..]);
    let error = Manifest::parse("the pack", &twice).expect_err("two classifiers");
    assert!(
        error.to_string().contains("model[1].task is a second classifier"),
        "{error}"
    );
    let error = changed(WIDESPREAD, "route = \"widespread\"", "route = \"solitary\"").expect_err("no detector");
    assert!(error.to_string().contains("no detector"), "{error}");
}

#[test]
fn text_that_is_no_manifest_is_refused() {
    for text in ["", "format_version", "= = =", "[[model]]", "\u{0}\u{1}"] {
        let error = Manifest::parse("the pack", text).expect_err(text);
        assert!(matches!(error, Error::ManifestSyntax { .. }), "{error}");
    }
}

#[test]
fn quality_limits_admit_what_lies_within() {
    let quality = |sharpness, brightness| Quality { sharpness, brightness };
    assert!(QualityLimits::default().admit(quality(0.0, 0.0)));
    let limits = QualityLimits {
        min_sharpness: Some(10.0),
        min_brightness: Some(0.1),
        max_brightness: Some(0.9),
    };
    assert!(limits.admit(quality(10.0, 0.5)));
    assert!(!limits.admit(quality(9.0, 0.5)));
    assert!(!limits.admit(quality(10.0, 0.05)));
    assert!(!limits.admit(quality(10.0, 0.95)));
}

#[test]
fn snomed_ct_identifiers_have_a_check_digit() {
    // Clinical finding, melanoma, psoriasis; an extension concept of the specification.
    for code in ["404684003", "372244006", "9014002", "101291009"] {
        assert!(is_snomed_ct(code), "{code}");
    }
    for code in ["404684004", "9014020", "12345", "", "40468400E"] {
        assert!(!is_snomed_ct(code), "{code}");
    }
}
