"""Writes a pack's manifest and keeps its measurements."""

import hashlib
import json

# Codes: SNOMED CT International (concept identifiers), ICD-10-CM. Order is the order of the logits.
CLASSIFIERS = {
    "solitary": [
        dict(id="melanoma", display="Melanoma", snomed_ct="372244006", icd_10_cm="C43.9", must_not_miss=True),
        dict(
            id="melanocytic-nevus",
            display="Melanocytic nevus",
            snomed_ct="400096001",
            icd_10_cm="D22.9",
            must_not_miss=False,
        ),
        dict(
            id="basal-cell-carcinoma",
            display="Basal cell carcinoma",
            snomed_ct="254701007",
            icd_10_cm="C44.91",
            must_not_miss=True,
        ),
        dict(
            id="seborrheic-keratosis",
            display="Seborrheic keratosis",
            snomed_ct="25499005",
            icd_10_cm="L82.1",
            must_not_miss=False,
        ),
        dict(
            id="actinic-keratosis",
            display="Actinic keratosis",
            snomed_ct="201101007",
            icd_10_cm="L57.0",
            must_not_miss=False,
        ),
    ],
    "widespread": [
        dict(
            id="atopic-dermatitis",
            display="Atopic dermatitis",
            snomed_ct="24079001",
            icd_10_cm="L20.9",
            must_not_miss=False,
        ),
        dict(id="psoriasis", display="Psoriasis", snomed_ct="9014002", icd_10_cm="L40.9", must_not_miss=False),
        dict(id="urticaria", display="Urticaria", snomed_ct="126485001", icd_10_cm="L50.9", must_not_miss=False),
        dict(
            id="tinea-corporis", display="Tinea corporis", snomed_ct="84849002", icd_10_cm="B35.4", must_not_miss=False
        ),
    ],
}

TITLES = {
    "solitary": "Reference pack: single lesions",
    "widespread": "Reference pack: widespread conditions",
}


def text(value):
    """A TOML value; JSON's strings, numbers and flat lists are TOML too."""
    return json.dumps(value)


def table(lines, name, entries):
    lines.append(f"{name}")
    lines.extend(f"{key} = {text(value)}" for key, value in entries.items())
    lines.append("")


def model(lines, folder, task, file, size, mean, deviation, output, settings):
    content = (folder / file).read_bytes()
    table(
        lines, "[[model]]", {"task": task, "file": file, "sha256": hashlib.sha256(content).hexdigest(), **settings}
    )
    table(
        lines,
        "[model.input]",
        {
            "name": "image",
            "width": size,
            "height": size,
            "colour_order": "rgb",
            "layout": "nchw",
            "resize": "stretch-triangle",
            "scale": 1 / 255,
            "mean": [mean] * 3,
            "std": [deviation] * 3,
        },
    )
    table(lines, "[model.output]", output)


def write_pack(folder, route, *, version, mean, deviation, sizes, temperature, abstain_below, metrics, detector=None):
    lines = [
        "# Written by models/train/train.py; do not edit by hand.",
        "# A pixel enters the network as (value * scale - mean) / std, channel by channel.",
        "",
    ]
    table(
        lines,
        "format_version = 1",
        {
            "id": f"reference-{route}",
            "version": version,
            "route": route,
            "title": TITLES[route],
            "intended_use": "Demonstration on synthetic pictures only. Not for clinical use.",
        },
    )
    if detector is not None:
        output = {"name": "detections", "layout": "yolov8"}
        model(lines, folder, "detector", "detector.onnx", sizes["detector"], mean, deviation, output, detector)
    settings = {"temperature": temperature, "abstain_below": abstain_below}
    output = {"name": "logits", "layout": "logits"}
    model(lines, folder, "classifier", "classifier.onnx", sizes[route], mean, deviation, output, settings)
    for label in CLASSIFIERS[route]:
        table(lines, "[[model.labels]]", label)
    (folder / "pack.toml").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    write_card(folder, route, metrics)


def percent(value):
    return f"{100 * value:.1f} %"


CARD = """# Model card: {title}

**Demonstration on synthetic pictures only. Not for clinical use.** This pack has never seen a photo of real skin. Nothing
in it, and no number below, says anything about patients.

## What it is

{what}

## What it was trained on

Pictures rendered by the simulator's generator (`crates/simulator/src/picture`), which paints caricatures of textbook
descriptions on procedural skin: light to dark tones, varied light, colour cast, blur, hair, freckles, sensor noise, JPEG
compression. Every picture follows from its seed. All ranges of the generator's parameters occur in training, calibration
and test; the seeds do not overlap.

| purpose | seeds |
| --- | --- |
{seeds}

## What was measured

On {pictures} rendered photos with 1500 pixels on the short side and aspect ratios from 1:1 to 16:9, stored as JPEG, prepared
as the manifest says, run in ONNX Runtime, with seeds that were used for nothing else. Measured by
`python models/train/train.py`, kept in `metrics.json`:

| measure | value |
| --- | --- |
{measures}

Which label was chosen (columns) for which condition (rows):

{confusion}

The temperature was fitted to {calibration}, by cross-entropy to the smoothed targets of the training:
{before:.4f} before, {after:.4f} after.

## Limits

- The distributions of training and test are the same. On anything else, real photos above all, the outputs are meaningless.
- Every picture shows one of the listed conditions or healthy skin; there is no "something else". The temperature is
  calibrated for this closed world only.
{limits}- Fairness across skin tones was not assessed: dark skin in the generator is a darker colour, not a model of how
  conditions look on it.
- Codes: {codes}
"""

WORDS = {
    "solitary": dict(
        what="""A detector that finds single lesions in a whole picture (a convolutional network of 0.1 million weights,
one scale, stride 8, output in YOLOv8's layout), and a classifier that names the lesion in a crop: {labels}.""",
        limits="""- Lesions measure 8.5 to 40 % of the picture's short side; smaller or larger ones were not trained.
- A mole on a picture of a widespread condition was never shown.
""",
        codes="""372244006 is melanoma of any site and 400096001 melanocytic nevus of any site; 93655004 (malignant melanoma
  of skin) and 400010006 (melanocytic nevus of skin) are narrower. Check digits are valid; the concepts were not looked up
  in a licensed release of SNOMED CT. Check before any other use.""",
    ),
    "widespread": dict(
        what="""A classifier of a whole picture (a convolutional network of 0.1 million weights):
{labels}.""",
        limits="""- It has no label for healthy skin. It was trained to prefer none of the labels there, so that it abstains.
""",
        codes="""check digits are valid; the concepts were not looked up in a licensed release of SNOMED CT. Check before any
  other use.""",
    ),
}


def measures(route, metrics):
    if route == "widespread":
        return [
            ("first choice right", percent(metrics["top1"])),
            ("mean probability of the first choice", percent(metrics["mean_confidence"])),
            ("abstained", percent(metrics["abstained"])),
            ("first choice right when not abstaining", percent(metrics["top1_when_not_abstaining"])),
            ("abstained on healthy skin", percent(metrics["healthy_pictures_with_abstention"])),
        ]
    return [
        ("lesions found (overlap of at least 0.5)", percent(metrics["detector_recall"])),
        ("extra boxes per picture with a lesion", f"{metrics['extra_boxes_per_picture']:.3f}"),
        ("pictures of healthy skin with a finding", percent(metrics["healthy_pictures_with_a_finding"])),
        ("first choice right, crops of the detector's boxes", percent(metrics["top1_on_detected_boxes"])),
        ("first choice right, crops of the true boxes", percent(metrics["top1_on_true_boxes"])),
        ("mean probability of the first choice", percent(metrics["mean_confidence"])),
        ("abstained", percent(metrics["abstained"])),
        ("first choice right when not abstaining", percent(metrics["top1_when_not_abstaining"])),
    ]


def write_card(folder, route, metrics):
    labels = [label["display"] for label in CLASSIFIERS[route]]
    words = WORDS[route]
    confusion = [f"| | {' | '.join(labels)} |", "| --- |" + " --- |" * len(labels)]
    confusion += [f"| {label} | {' | '.join(map(str, row))} |" for label, row in zip(labels, metrics["confusion"])]
    seeds = [f"| {name} | {low} to {high} |" for name, (low, high) in metrics["seeds"].items()]
    first, last = metrics["seeds"][f"calibration {route}"]
    card = CARD.format(
        title=f"reference-{route}",
        what=words["what"].format(labels=", ".join(label.lower() for label in labels)),
        seeds="\n".join(seeds),
        pictures=metrics["pictures"],
        measures="\n".join(f"| {name} | {value} |" for name, value in measures(route, metrics)),
        confusion="\n".join(confusion),
        calibration=f"the pictures of seeds {first} to {last}",
        before=metrics["calibration"]["before"],
        after=metrics["calibration"]["after"],
        limits=words["limits"],
        codes=words["codes"],
    )
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
