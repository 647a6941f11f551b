use super::*;

const SOLITARY: &str = without_golden(include_str!("../../../../../models/reference-solitary/pack.toml"));
const WIDESPREAD: &str = without_golden(include_str!("../../../../../models/reference-widespread/pack.toml"));

/// A manifest up to its last table, the golden image's: what is changed or added here has one of its own or none.
const fn without_golden(text: &str) -> &str {
    let bytes = text.as_bytes();
    let mut end = bytes.len();
    while end > 0 {
        end -= 1;
        if bytes[end] == b'[' && bytes[end + 1] == b'g' {
            return text.split_at(end).0;
        }
    }
    text
}

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
        ("layout = \"yolov8\"", "layout = \"ssd\"", "model[0].output.layout"),
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
    let quality = |sharpness, brightness| Quality {
        sharpness,
        brightness,
        clipped: Some(0.3),
        skin: Some(0.6),
    };
    assert!(QualityLimits::default().admit(quality(0.0, 0.0)));
    let limits = QualityLimits {
        min_sharpness: Some(10.0),
        min_brightness: Some(0.1),
        max_brightness: Some(0.9),
        max_clipped: Some(0.3),
        min_skin: Some(0.6),
        ..QualityLimits::default()
    };
    assert!(limits.admit(quality(10.0, 0.5)));
    assert!(!limits.admit(quality(9.0, 0.5)));
    assert!(!limits.admit(quality(10.0, 0.05)));
    assert!(!limits.admit(quality(10.0, 0.95)));
    let poor = Quality {
        clipped: Some(0.31),
        skin: Some(0.59),
        ..quality(1.0, 0.01)
    };
    let expected = [Concern::Blurred, Concern::TooDark, Concern::Clipped, Concern::NotSkin];
    assert_eq!(limits.concerns(poor), expected);
    let reported = QualityLimits {
        report_only: true,
        ..limits
    };
    assert!(reported.admit(poor) && reported.concerns(poor) == expected);
}

/// The widespread manifest with lines put in front of the labels' heading, the output's and the first model's.
fn extended(model: &str, output: &str, top: &str) -> Result<Manifest, Error> {
    let text = WIDESPREAD
        .replacen("abstain_below", &format!("{model}\nabstain_below"), 1)
        .replacen("layout = \"logits\"", output, 1)
        .replacen("[[model]]", &format!("{top}\n[[model]]"), 1);
    Manifest::parse("the pack", &text)
}

#[test]
fn calibration_flips_and_unknown_images_are_understood() {
    let logits = "layout = \"logits\"";
    let manifest = extended(
        "isotonic = [[0.0, 0.0], [0.5, 0.3], [1.0, 1.0]]\nflips = true\n\
         out_of_distribution = { score = \"energy\", least = 1.5 }",
        logits,
        "[[populations]]\nname = \"adults\"\nphotos = 1200\nskin_types = [1, 6]",
    );
    let manifest = manifest.expect("understood");
    let classifier = &manifest.classifier;
    assert!(classifier.flips && classifier.isotonic.len() == 3);
    assert_eq!(
        classifier.out_of_distribution.map(|rule| rule.score),
        Some(Score::Energy)
    );
    assert_eq!(manifest.populations[0].photos, 1200);
    let probabilities = extended("", "layout = \"probabilities\"", "").expect("understood");
    assert_eq!(probabilities.classifier.head, ClassifierHead::Probabilities);
    for (model, output, top, expected) in [
        ("isotonic = [[0.0, 0.5], [1.0, 0.4]]", logits, "", "model[0].isotonic"),
        ("isotonic = [[0.0, 0.5]]", logits, "", "model[0].isotonic"),
        ("isotonic = [[0.0, 0.0], [1.0, 1.5]]", logits, "", "model[0].isotonic"),
        ("kinds = [\"clinical\"]", logits, "", "model[0].kinds"),
        (
            "out_of_distribution = { score = \"max-logit\", least = 1.0 }",
            "layout = \"probabilities\"",
            "",
            "model[0].out_of_distribution",
        ),
        ("", "layout = \"logits\"\nlogits = \"x\"", "", "model[0].output.logits"),
        (
            "",
            logits,
            "[[populations]]\nname = \"a\"\nphotos = 1\nskin_types = [7]",
            "populations[0].skin_types",
        ),
        ("", logits, "[quality]\nmin_skin = 1.5", "quality.min_skin"),
        (
            "",
            logits,
            &format!(
                "[golden]\nfile = \"g.jpg\"\nsha256 = \"{}\"\nprobabilities = [1.0]\ntolerance = 0.1",
                "0".repeat(64)
            ),
            "golden.probabilities",
        ),
    ] {
        let error = extended(model, output, top).expect_err(expected);
        assert!(
            matches!(&error, Error::Field { field, .. } if field == expected),
            "{error}"
        );
    }
}

#[test]
fn a_detr_has_two_outputs_and_a_gate_accepts_kinds() {
    let detr = "layout = \"detr\"\nlogits = \"logits\"\nactivation = \"softmax\"";
    let manifest = changed(SOLITARY, "layout = \"yolov8\"", detr).expect("understood");
    let expected = DetectorHead::Detr {
        logits: "logits".into(),
        activation: Activation::Softmax,
    };
    assert_eq!(manifest.detector.expect("a detector").head, expected);
    let model = &WIDESPREAD
        [WIDESPREAD.find("[[model]]").expect("a model")..WIDESPREAD.find("[[model.labels]]").expect("labels")];
    let gate = model.replace(
        "task = \"classifier\"",
        "task = \"gate\"\nkinds = [\"clinical\", \"other\"]\naccepts = [\"clinical\"]\nleast = 0.5",
    );
    let others = |line: &&str| !line.starts_with("temperature") && !line.starts_with("abstain");
    let gate = gate.lines().filter(others).collect::<Vec<_>>().join("\n");
    let manifest = Manifest::parse("the pack", &format!("{WIDESPREAD}\n{gate}")).expect("understood");
    assert_eq!(manifest.gate.expect("a gate").kinds.len(), 2);
    let error = Manifest::parse(
        "the pack",
        &format!(
            "{WIDESPREAD}\n{}",
            gate.replace("accepts = [\"clinical\"]", "accepts = [\"skin\"]")
        ),
    );
    assert!(
        error
            .expect_err("no such kind")
            .to_string()
            .contains("model[1].accepts")
    );
}

/// The reference manifest with this list before its first table.
fn with_further(list: &str) -> Result<Manifest, Error> {
    changed(SOLITARY, "title =", &format!("further_conditions = [{list}]\ntitle ="))
}

#[test]
fn further_conditions_are_coded_and_no_labels() {
    let carcinoma =
        "{ id = \"squamous-cell-carcinoma\", display = \"Squamous cell carcinoma\", snomed_ct = \"254651007\" }";
    let manifest = with_further(carcinoma).expect("understood");
    assert_eq!(manifest.further_conditions[0].snomed_ct, "254651007");
    for (list, field) in [
        (
            carcinoma.replace("254651007", "254651008"),
            "further_conditions[0].snomed_ct",
        ),
        (carcinoma.replace("254651007", "372244006"), "further_conditions[0]"),
        (format!("{carcinoma}, {carcinoma}"), "further_conditions[1]"),
        (
            carcinoma.replace(" }", ", must_not_miss = true }"),
            "further_conditions[0].must_not_miss",
        ),
        (vec![carcinoma; 65].join(", "), "further_conditions"),
    ] {
        match with_further(&list) {
            Err(Error::Field { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}
