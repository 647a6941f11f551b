"""Makes the reference model packs: renders pictures, trains three small networks, measures them, writes the packs.

    python models/train/train.py            # everything, from the repository's root

Pictures are kept under `--work` (default target/train), so that a second run starts with the training. See
models/README.md for the preparation.
"""

import argparse
import functools
import hashlib
import io
import json
import shutil
import subprocess
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from jax import lax
from PIL import Image

import networks
import pictures
import golden
from packs import CLASSIFIERS, write_pack

ROOT = Path(__file__).resolve().parents[2]
VERSION = "2026.11.0"

# Seeds. Training, calibration and test pictures share none.
TRAINING = {"detector": (0, 5000), "solitary": (1_000_000, 4000), "widespread": (2_000_000, 4000)}
CALIBRATION = {"solitary": (6_000_000, 500), "widespread": (7_000_000, 500)}
TEST = {"solitary": (8_000_000, 400), "widespread": (9_000_000, 300)}
# The longest and the shortest side; the aspect ratios vary between 1:1 and 16:9, upright and lying.
TEST_SIZE = (2667, 1500)
HEALTHY = {"solitary": 0.2, "widespread": 0.1}

SIZES = {"detector": 224, "solitary": 96, "widespread": 128}
MEAN, DEVIATION = 0.5, 0.25
CROP_MARGIN = 1.3
SCORE_THRESHOLD = 0.3
OVERLAP = 0.45
MAXIMUM = 8
ABSTAIN_BELOW = {"solitary": 0.5, "widespread": 0.5}
SMOOTHING = 0.02
LARGEST_TRUTH = 2
JITTERS = 2


def log(text):
    print(time.strftime("%H:%M:%S"), text, flush=True)


# Pictures


def renderer(route, width, height, *more):
    return ["--route", route, "--width", width, "--height", height, *more]


def detector_set(binary, work, seeds):
    random = np.random.default_rng(seeds[0])
    size = SIZES["detector"]
    images, boxes = [], []
    options = renderer("solitary", 455, 256, "--shapes", "--healthy", HEALTHY["solitary"])
    for record, pixels in pictures.render(binary, work, options, *seeds):
        images.append(pictures.stretch(pictures.through_jpeg(pixels, random), size))
        truth = np.zeros((LARGEST_TRUTH, 4), np.float32)
        for index, (x, y, width, height) in enumerate(record["boxes"]):
            truth[index] = np.array([x + width / 2, y + height / 2, width, height]) * size
        boxes.append(truth)
    return {"images": np.stack(images), "boxes": np.stack(boxes)}


def crop_set(binary, work, seeds):
    random = np.random.default_rng(seeds[0])
    labels = [label["id"] for label in CLASSIFIERS["solitary"]]
    images, chosen = [], []
    options = renderer("solitary", 1422, 800, "--shapes", "--crops", 1.9)
    for record, pixels in pictures.render(binary, work, options, *seeds):
        image = pictures.through_jpeg(pixels, random)
        box = pictures.in_pixels(record["boxes"][min(record["part"], len(record["boxes"]) - 1)], *image.size)
        for _ in range(JITTERS):
            found = pictures.jitter(box, random, 0.1)
            window = pictures.crop_window(found, CROP_MARGIN, *image.size)
            images.append(pictures.stretch(image, SIZES["solitary"], window))
            chosen.append(labels.index(record["condition"]))
    return {"images": np.stack(images), "labels": np.array(chosen)}


def whole_set(binary, work, seeds):
    random = np.random.default_rng(seeds[0])
    labels = [label["id"] for label in CLASSIFIERS["widespread"]]
    images, chosen = [], []
    options = renderer("widespread", 569, 320, "--shapes", "--healthy", HEALTHY["widespread"])
    for record, pixels in pictures.render(binary, work, options, *seeds):
        images.append(pictures.stretch(pictures.through_jpeg(pixels, random), SIZES["widespread"]))
        # Healthy skin has no label: the network learns to prefer none.
        chosen.append(labels.index(record["condition"]) if record["condition"] else -1)
    return {"images": np.stack(images), "labels": np.array(chosen)}


MAKERS = {"detector": detector_set, "solitary": crop_set, "widespread": whole_set}


def data_set(binary, work, task, purpose, seeds):
    """Renders once, then reads from the work folder; the name says which renderer and seeds made it."""
    fingerprint = hashlib.sha256(Path(binary).read_bytes()).hexdigest()[:8]
    path = work / f"{task}-{purpose}-{fingerprint}-{seeds[0]}-{seeds[1]}.npz"
    if not path.exists():
        log(f"rendering {task} pictures for {purpose}")
        np.savez(path, **MAKERS[task](binary, work, seeds))
    return dict(np.load(path))


# Training


def normalise(images):
    return (images.astype(jnp.float32) / 255.0 - MEAN) / DEVIATION


def turn(images, which):
    """One of the eight symmetries of the square, the same for the batch."""
    if which & 1:
        images = images[:, :, ::-1]
    if which & 2:
        images = images[:, ::-1]
    if which & 4:
        images = images.transpose(0, 2, 1, 3)
    return images


def turn_boxes(boxes, which, size):
    x, y, width, height = (boxes[..., index] for index in range(4))
    real = width > 0
    if which & 1:
        x = np.where(real, size - x, x)
    if which & 2:
        y = np.where(real, size - y, y)
    if which & 4:
        x, y, width, height = y, x, height, width
    return np.stack([x, y, width, height], -1)


def targets(labels, count):
    """What the probabilities should be: nearly certain, or undecided where there is no label."""
    certain = jax.nn.one_hot(labels, count) * (1 - SMOOTHING) + SMOOTHING / count
    return jnp.where(labels[:, None] >= 0, certain, 1 / count)


def classifier_loss(layers, parameters, statistics, images, labels):
    logits, seen = networks.classify(layers, parameters, statistics, normalise(images), True)
    return -(targets(labels, logits.shape[1]) * jax.nn.log_softmax(logits)).sum(-1).mean(), seen


def overlap(one, other):
    """Intersection over union of boxes as centre, width and height, and the smallest enclosing area's waste."""
    low = jnp.maximum(one[..., :2] - one[..., 2:] / 2, other[..., :2] - other[..., 2:] / 2)
    high = jnp.minimum(one[..., :2] + one[..., 2:] / 2, other[..., :2] + other[..., 2:] / 2)
    shared = jnp.prod(jnp.maximum(high - low, 0), -1)
    union = one[..., 2] * one[..., 3] + other[..., 2] * other[..., 3] - shared
    low = jnp.minimum(one[..., :2] - one[..., 2:] / 2, other[..., :2] - other[..., 2:] / 2)
    high = jnp.maximum(one[..., :2] + one[..., 2:] / 2, other[..., :2] + other[..., 2:] / 2)
    around = jnp.prod(high - low, -1)
    return shared / (union + 1e-6), (around - union) / (around + 1e-6)


def detector_loss(size, layers, parameters, statistics, images, truth):
    truth = truth * (size / images.shape[1])
    images = jax.image.resize(images.astype(jnp.float32), (len(images), size, size, 3), "linear")
    scores, boxes, seen = networks.detect(layers, parameters, statistics, normalise(images), True)
    centres = networks.cell_centres(size // networks.STRIDE, size // networks.STRIDE)
    extent = truth[:, None, :, 2:]
    offset = jnp.abs(centres[None, :, None] - truth[:, None, :, :2])
    real = extent[..., 0] > 0
    # The middle of a box, but at least one cell, claims it; the cells around may score as they like. All cells inside
    # learn the box, so that the suppression of overlaps recognises what they find.
    own = real & (offset < jnp.maximum(extent * 0.2, networks.STRIDE * 0.55)).all(-1)
    around = real & (offset < jnp.maximum(extent * 0.4, networks.STRIDE * 1.1)).all(-1)
    inside = own | (real & (offset < extent * 0.5).all(-1))
    positive = own.any(-1)
    learning = inside.any(-1)
    which = jnp.argmax(own * 2 + inside, -1)
    target = jnp.take_along_axis(truth, which[..., None], 1)
    target = jnp.where(learning[..., None], target, boxes)
    similar, waste = overlap(boxes, target)
    ratio = jnp.abs(jnp.log(boxes[..., 2:] / jnp.maximum(target[..., 2:], 1e-3))).sum(-1)
    weight = jnp.where(positive, 1.0, 0.3) * learning
    box_loss = (weight * (1 - similar + waste + 0.3 * ratio)).sum() / jnp.maximum(weight.sum(), 1)
    # A score says how good its box is (quality focal loss), so that the best box survives the suppression.
    quality = jnp.where(positive, lax.stop_gradient(jnp.clip(similar, 0.05, 1.0)), 0.0)
    probability = jax.nn.sigmoid(scores)
    entropy = jax.nn.softplus(scores) - scores * quality
    counted = positive | ~around.any(-1)
    score_loss = (counted * 2.0 * (probability - quality) ** 2 * entropy).sum() / jnp.maximum(positive.sum(), 1)
    return score_loss + 2.0 * box_loss, seen


@functools.partial(jax.jit, static_argnums=0)
def step(loss, parameters, statistics, moments, images, targets, rate, number):
    """One step of AdamW."""
    (value, seen), slope = jax.value_and_grad(loss, has_aux=True)(parameters, statistics, images, targets)
    first = jax.tree.map(lambda old, new: 0.9 * old + 0.1 * new, moments[0], slope)
    second = jax.tree.map(lambda old, new: 0.99 * old + 0.01 * new * new, moments[1], slope)
    correction = jnp.sqrt(1 - 0.99**number) / (1 - 0.9**number)

    def move(value, one, two):
        decay = 1 - 0.02 * rate if value.ndim > 1 else 1.0
        return value * decay - rate * correction * one / (jnp.sqrt(two) + 1e-8)

    return jax.tree.map(move, parameters, first, second), seen, (first, second), value


def train(name, layers, heads, stages, data, targets_of, batch=32, peak=3e-3):
    """Trains through stages of (epochs, loss) with one learning rate schedule over all of them."""
    random = np.random.default_rng(1)
    parameters, statistics = networks.initialise(layers, heads, jax.random.key(1))
    if name == "detector":
        parameters["heads"]["score"]["bias"] -= 4.0
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    moments = (zeros, zeros)
    schedule = []
    for epochs, loss in stages:
        schedule += [functools.partial(loss, tuple(layers))] * epochs
    images = data["images"]
    steps = len(images) // batch
    total, number = steps * len(schedule), 0
    for epoch, loss in enumerate(schedule):
        order = random.permutation(len(images))
        losses = []
        for index in range(steps):
            number += 1
            rate = peak * min(1.0, number / 100) * 0.5 * (1 + np.cos(np.pi * number / total))
            rows, which = order[index * batch : (index + 1) * batch], int(random.integers(8))
            parameters, statistics, moments, value = step(
                loss,
                parameters,
                statistics,
                moments,
                np.ascontiguousarray(turn(images[rows], which)),
                targets_of(rows, which),
                np.float32(rate),
                np.float32(number),
            )
            losses.append(value)
        log(f"{name}: epoch {epoch + 1} of {len(schedule)}, loss {float(np.mean(losses)):.4f}")
    return parameters, statistics


def classifier(name, data, epochs):
    heads = {"logits": len(CLASSIFIERS[name])}
    labels = data["labels"]
    return train(name, networks.CLASSIFIER, heads, [(epochs, classifier_loss)], data, lambda rows, _: labels[rows])


def detector(data, coarse, fine):
    """Most of the epochs see small pictures, which is quick; the last ones see them at the size of the input."""
    heads = {"centre": 2, "size": 2, "score": 1}
    boxes, size = data["boxes"], SIZES["detector"]
    stages = [(coarse, functools.partial(detector_loss, 128)), (fine, functools.partial(detector_loss, size))]
    return train(
        "detector", networks.DETECTOR, heads, stages, data, lambda rows, which: turn_boxes(boxes[rows], which, size)
    )


# Measuring, with ONNX Runtime and the product's preprocessing


class Session:
    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, image):
        tensor = ((image.astype(np.float32) / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)[None]
        return self.session.run(None, {"image": tensor})[0]


def find(output, width, height, size):
    """Boxes (left, top, width, height) in picture pixels and scores, best first, after non-maximum suppression."""
    candidates = output[0].T
    candidates = candidates[candidates[:, 4] >= SCORE_THRESHOLD]
    candidates = candidates[np.argsort(-candidates[:, 4])]
    kept = []
    for candidate in candidates:
        similar = [float(overlap(candidate[:4], other[:4])[0]) for other in kept]
        if not similar or max(similar) <= OVERLAP:
            kept.append(candidate)
        if len(kept) == MAXIMUM:
            break
    scale = np.array([width, height, width, height]) / size
    return [(tuple((np.r_[c[:2] - c[2:4] / 2, c[2:4]]) * scale), float(c[4])) for c in kept]


def similarity(one, other):
    centre = [np.array([b[0] + b[2] / 2, b[1] + b[3] / 2, b[2], b[3]]) for b in (one, other)]
    return float(overlap(*centre)[0])


def as_photo(pixels, quality=85):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")


def measure_solitary(binary, work, folder, temperature):
    """Detector and classifier together, on full-size photos of seeds that nothing was fitted to."""
    labels = [label["id"] for label in CLASSIFIERS["solitary"]]
    finder, judge = Session(folder / "detector.onnx"), Session(folder / "classifier.onnx")
    counts = dict(truth=0, found=0, extra=0, healthy=0, healthy_with_finding=0, judged=0, right=0, abstained=0)
    right_given_box = kept_right = 0
    confidence = 0.0
    confusion = np.zeros((len(labels), len(labels)), int)
    options = renderer("solitary", *TEST_SIZE, "--shapes", "--healthy", HEALTHY["solitary"])
    for record, pixels in pictures.render(binary, work, options, *TEST["solitary"]):
        image = as_photo(pixels)
        size = SIZES["detector"]
        found = find(finder.run(pictures.stretch(image, size)), *image.size, size)
        if record["condition"] is None:
            counts["healthy"] += 1
            counts["healthy_with_finding"] += bool(found)
            continue
        truth = [pictures.in_pixels(box, *image.size) for box in record["boxes"]]
        counts["truth"] += len(truth)
        target = labels.index(record["condition"])
        for box, _ in found:
            counts["extra"] += all(similarity(box, other) < 0.5 for other in truth)
        for box in truth:
            window = pictures.crop_window(box, CROP_MARGIN, *image.size)
            logits = judge.run(pictures.stretch(image, SIZES["solitary"], window))[0]
            right_given_box += int(logits.argmax()) == target
            hits = [other for other, _ in found if similarity(box, other) >= 0.5]
            if not hits:
                continue
            counts["found"] += 1
            window = pictures.crop_window(hits[0], CROP_MARGIN, *image.size)
            logits = judge.run(pictures.stretch(image, SIZES["solitary"], window))[0]
            counts["judged"] += 1
            counts["right"] += int(logits.argmax()) == target
            confusion[target, logits.argmax()] += 1
            probability = softmax(logits / temperature).max()
            confidence += float(probability)
            sure = probability >= ABSTAIN_BELOW["solitary"]
            counts["abstained"] += int(not sure)
            kept_right += bool(sure) and int(logits.argmax()) == target
    return {
        "pictures": TEST["solitary"][1],
        "detector_recall": counts["found"] / counts["truth"],
        "extra_boxes_per_picture": counts["extra"] / (TEST["solitary"][1] - counts["healthy"]),
        "healthy_pictures_with_a_finding": counts["healthy_with_finding"] / counts["healthy"],
        "top1_on_detected_boxes": counts["right"] / counts["judged"],
        "top1_on_true_boxes": right_given_box / counts["truth"],
        "mean_confidence": confidence / counts["judged"],
        "abstained": counts["abstained"] / counts["judged"],
        "top1_when_not_abstaining": kept_right / (counts["judged"] - counts["abstained"]),
        "counts": counts,
        "confusion": confusion.tolist(),
    }


def measure_widespread(binary, work, folder, temperature):
    labels = [label["id"] for label in CLASSIFIERS["widespread"]]
    judge = Session(folder / "classifier.onnx")
    count = right = abstained = kept_right = healthy = healthy_abstained = 0
    confidence = 0.0
    confusion = np.zeros((len(labels), len(labels)), int)
    options = renderer("widespread", *TEST_SIZE, "--shapes", "--healthy", HEALTHY["widespread"])
    for record, pixels in pictures.render(binary, work, options, *TEST["widespread"]):
        logits = judge.run(pictures.stretch(as_photo(pixels), SIZES["widespread"]))[0]
        probability = softmax(logits / temperature).max()
        sure = probability >= ABSTAIN_BELOW["widespread"]
        if record["condition"] is None:
            healthy += 1
            healthy_abstained += int(not sure)
            continue
        target = labels.index(record["condition"])
        confusion[target, logits.argmax()] += 1
        count += 1
        confidence += float(probability)
        right += int(logits.argmax()) == target
        abstained += int(not sure)
        kept_right += bool(sure) and int(logits.argmax()) == target
    return {
        "pictures": TEST["widespread"][1],
        "top1": right / count,
        "mean_confidence": confidence / count,
        "abstained": abstained / count,
        "top1_when_not_abstaining": kept_right / (count - abstained),
        "healthy_pictures_with_abstention": healthy_abstained / healthy,
        "counts": {"with_condition": count, "healthy": healthy},
        "confusion": confusion.tolist(),
    }


def softmax(logits):
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


def fit_temperature(path, data):
    """The temperature with the least cross-entropy to the targets of training.

    Those targets are not quite certain, and undecided on healthy skin. Against plain labels the best temperature of a
    network that makes no mistake on the calibration pictures would be zero.
    """
    session = Session(path)
    logits = np.stack([session.run(image)[0] for image in data["images"]]).astype(np.float64)
    target = np.asarray(targets(data["labels"], logits.shape[1]))

    def cost(temperature):
        scaled = logits / temperature
        scaled -= scaled.max(1, keepdims=True)
        chosen = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        return float(-(target * chosen).sum(1).mean())

    candidates = np.exp(np.linspace(np.log(0.5), np.log(3), 181))
    best = min(candidates, key=cost)
    labelled = data["labels"] >= 0
    top1 = float((logits.argmax(1) == data["labels"])[labelled].mean())
    return round(float(best), 3), {"before": cost(1.0), "after": cost(best), "top1": top1}


def compare_runtimes(path, expected, images):
    """The largest difference between JAX before folding and the exported file in ONNX Runtime."""
    session = Session(path)
    worst = 0.0
    for image in images:
        worst = max(worst, float(np.abs(session.run(image) - expected(image)).max()))
    return worst


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--work", type=Path, default=ROOT / "target" / "train")
    options.add_argument("--out", type=Path, default=ROOT / "models")
    options.add_argument("--renderer", type=Path, help="a built `pictures` example; by default cargo builds it")
    options.add_argument("--only", choices=["solitary", "widespread"], help="one pack only")
    options.add_argument("--keep", nargs="*", choices=["detector", "classifier"], default=[], help="train these not again")
    options.add_argument("--epochs", type=float, default=1.0, help="factor on the number of epochs")
    options = options.parse_args()
    work = options.work / "pictures"
    work.mkdir(parents=True, exist_ok=True)
    binary = options.renderer
    if binary is None:
        package = ["-p", "skin-assist-simulator", "--example", "pictures"]
        subprocess.run(["cargo", "build", "--release", *package], check=True, cwd=ROOT)
        binary = ROOT / "target" / "release" / "examples" / "pictures"
    common = dict(version=VERSION, mean=MEAN, deviation=DEVIATION, sizes=SIZES)

    def times(epochs):
        return max(1, round(epochs * options.epochs))

    def classifier_of(route, folder, epochs):
        held_out = data_set(binary, work, route, "calibration", CALIBRATION[route])
        path = folder / "classifier.onnx"
        if "classifier" not in options.keep:
            data = data_set(binary, work, route, "training", TRAINING[route])
            trained = classifier(route, data, times(epochs))
            export_classifier(path, route, trained, held_out)
        temperature, fit = fit_temperature(path, held_out)
        log(f"{route}: temperature {temperature}, {fit}")
        return temperature, fit

    if options.only != "solitary":
        pack = options.out / "reference-widespread"
        folder = stage(pack, work, options.keep)
        temperature, fit = classifier_of("widespread", folder, 7)
        measured = measure_widespread(binary, work, folder, temperature)
        log(f"widespread: {json.dumps(measured)}")
        install(folder, pack)
        write_pack(
            pack,
            "widespread",
            temperature=temperature,
            abstain_below=ABSTAIN_BELOW["widespread"],
            metrics={**measured, "calibration": fit, "seeds": seeds("widespread")},
            **common,
        )
        golden.add(pack, binary)
    if options.only != "widespread":
        pack = options.out / "reference-solitary"
        folder = stage(pack, work, options.keep)
        temperature, fit = classifier_of("solitary", folder, 6)
        if "detector" not in options.keep:
            data = data_set(binary, work, "detector", "training", TRAINING["detector"])
            export_detector(folder / "detector.onnx", detector(data, times(8), times(4)), data)
        measured = measure_solitary(binary, work, folder, temperature)
        log(f"solitary: {json.dumps(measured)}")
        install(folder, pack)
        write_pack(
            pack,
            "solitary",
            temperature=temperature,
            abstain_below=ABSTAIN_BELOW["solitary"],
            detector=dict(
                score_threshold=SCORE_THRESHOLD,
                nms_iou_threshold=OVERLAP,
                max_detections=MAXIMUM,
                crop_margin=CROP_MARGIN,
            ),
            metrics={**measured, "calibration": fit, "seeds": seeds("solitary", "detector")},
            **common,
        )
        golden.add(pack, binary)


def seeds(*tasks):
    ranges = {}
    for purpose, table in [("training", TRAINING), ("calibration", CALIBRATION), ("test", TEST)]:
        for task in tasks:
            if task in table:
                first, count = table[task]
                ranges[f"{purpose} {task}"] = [first, first + count - 1]
    return ranges


def stage(pack, work, keep):
    """A folder for networks under training, so that a pack's files and its manifest change together at the end."""
    folder = work / pack.name
    folder.mkdir(parents=True, exist_ok=True)
    for task in keep:
        if (pack / f"{task}.onnx").exists():
            shutil.copy(pack / f"{task}.onnx", folder)
    return folder


def install(folder, pack):
    pack.mkdir(parents=True, exist_ok=True)
    for network in folder.glob("*.onnx"):
        shutil.copy(network, pack)


def export_classifier(path, route, trained, data):
    layers = networks.CLASSIFIER
    networks.export_classifier(path, layers, *trained, SIZES[route], f"Classifies synthetic pictures: {route}.")

    def expected(image):
        return np.asarray(networks.classify(layers, *trained, normalise(image[None]))[0])

    log(f"{route}: JAX against ONNX Runtime {compare_runtimes(path, expected, data['images'][:20]):.1e}")


def export_detector(path, trained, data):
    layers, size = networks.DETECTOR, SIZES["detector"]
    networks.export_detector(path, layers, *trained, size, "Finds lesions in synthetic pictures.")

    def expected(image):
        scores, boxes, _ = networks.detect(layers, *trained, normalise(image[None]))
        return np.concatenate([np.asarray(boxes)[0].T, np.asarray(jax.nn.sigmoid(scores))])[None]

    log(f"detector: JAX against ONNX Runtime {compare_runtimes(path, expected, data['images'][:20]):.1e}")


if __name__ == "__main__":
    main()
