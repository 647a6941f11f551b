"""Writes the networks of the vision benchmark as model packs: the architectures are real, the weights are random.

    python models/bench/networks.py DIR

makes `DIR/solitary` (a detector like YOLOv8n at 640 x 640, then EfficientNet-B0 at 224 x 224) and `DIR/widespread`
(MobileNetV3-Large at 224 x 224). Layers, widths and activations are those of the papers (Howard et al. 2019, Tan and Le
2019) and of Ultralytics' published configuration, with batch normalisation folded into the convolutions, as an export
does. What they say about a photo means nothing; how long they take does not depend on the weights.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Graph:
    """An ONNX graph that is written from its input to its output."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.channels = [], [], {}
        self.flops = 0
        self.sides = {}

    def name(self, kind):
        return f"{kind}_{len(self.nodes)}"

    def constant(self, value, kind="constant"):
        name = f"{kind}_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, kind, inputs, **attributes):
        output = self.name(kind)
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        first = inputs[0]
        self.channels[output], self.sides[output] = self.channels.get(first), self.sides.get(first)
        return output

    def convolution(self, x, width, kernel=1, stride=1, groups=1, bias=0.0, gain=2.0):
        incoming = self.channels[x] // groups
        deviation = np.sqrt(gain / (incoming * kernel * kernel))
        weight = self.random.normal(0, deviation, (width, incoming, kernel, kernel)).astype(np.float32)
        inputs = [x, self.constant(weight, "weight"), self.constant(np.full(width, bias, np.float32), "bias")]
        pad = kernel // 2
        output = self.add(
            "Conv", inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, group=groups
        )
        side = (self.sides[x] + 2 * pad - kernel) // stride + 1
        self.channels[output], self.sides[output] = width, side
        self.flops += 2 * side * side * width * incoming * kernel * kernel
        return output

    def activation(self, x, kind):
        if kind == "relu":
            return self.add("Relu", [x])
        if kind == "hard-swish":
            return self.add("HardSwish", [x])
        return self.add("Mul", [x, self.add("Sigmoid", [x])])

    def squeeze_and_excite(self, x, width, inner, outer):
        pooled = self.add("GlobalAveragePool", [x])
        self.sides[pooled] = 1
        squeezed = self.activation(self.convolution(pooled, width), inner)
        excited = self.convolution(squeezed, self.channels[x])
        gate = self.add("HardSigmoid", [excited], alpha=1 / 6, beta=0.5) if outer == "hard" else self.add("Sigmoid", [excited])
        return self.add("Mul", [x, gate])

    def concatenate(self, parts, axis=1):
        output = self.add("Concat", parts, axis=axis)
        self.channels[output] = sum(self.channels[part] for part in parts)
        return output

    def reshape(self, x, shape):
        return self.add("Reshape", [x, self.constant(np.array(shape, np.int64))])

    def begin(self, side):
        self.channels["image"], self.sides["image"] = 3, side
        self.input = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])
        return "image"

    def save(self, output, name, shape, path):
        self.nodes.append(helper.make_node("Identity", [output], [name]))
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, path.stem, [self.input], [out], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())
        print(f"{path.parent.name}/{path.name}: {self.flops / 1e9:.2f} GFLOP, {path.stat().st_size / 1e6:.1f} MB")


def head(graph, x, widths, activation, classes, path):
    x = graph.add("GlobalAveragePool", [x])
    graph.sides[x] = 1
    for width in widths:
        x = graph.activation(graph.convolution(x, width), activation)
    x = graph.add("Flatten", [graph.convolution(x, classes)])
    graph.save(x, "logits", [1, classes], path)


def mobilenet_v3_large(path, classes):
    graph = Graph(1)
    x = graph.activation(graph.convolution(graph.begin(224), 16, 3, 2), "hard-swish")
    # Kernel, expanded width, width, squeeze and excite, activation, stride.
    for kernel, expanded, width, excite, activation, stride in [
        (3, 16, 16, False, "relu", 1), (3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1),
        (5, 72, 40, True, "relu", 2), (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1),
        (3, 240, 80, False, "hard-swish", 2), (3, 200, 80, False, "hard-swish", 1),
        (3, 184, 80, False, "hard-swish", 1), (3, 184, 80, False, "hard-swish", 1),
        (3, 480, 112, True, "hard-swish", 1), (3, 672, 112, True, "hard-swish", 1),
        (5, 672, 160, True, "hard-swish", 2), (5, 960, 160, True, "hard-swish", 1), (5, 960, 160, True, "hard-swish", 1),
    ]:  # fmt: skip
        before = x
        if expanded != graph.channels[x]:
            x = graph.activation(graph.convolution(x, expanded), activation)
        x = graph.activation(graph.convolution(x, expanded, kernel, stride, expanded), activation)
        if excite:
            squeezed = max(8, (expanded // 4 + 4) // 8 * 8)
            x = graph.squeeze_and_excite(x, squeezed, "relu", "hard")
        x = graph.convolution(x, width, gain=1.0)
        if stride == 1 and graph.channels[before] == width:
            x = graph.add("Add", [x, before])
    x = graph.activation(graph.convolution(x, 960), "hard-swish")
    head(graph, x, [1280], "hard-swish", classes, path)


def efficientnet_b0(path, classes):
    graph = Graph(2)
    x = graph.activation(graph.convolution(graph.begin(224), 32, 3, 2), "swish")
    # Expansion, width, repeats, stride, kernel.
    for expansion, width, repeats, stride, kernel in [
        (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
    ]:  # fmt: skip
        for repeat in range(repeats):
            before, step = x, stride if repeat == 0 else 1
            expanded = expansion * graph.channels[x]
            squeezed = graph.channels[x] // 4
            if expansion != 1:
                x = graph.activation(graph.convolution(x, expanded), "swish")
            x = graph.activation(graph.convolution(x, expanded, kernel, step, expanded), "swish")
            x = graph.squeeze_and_excite(x, squeezed, "swish", "sigmoid")
            x = graph.convolution(x, width, gain=1.0)
            if step == 1 and graph.channels[before] == width:
                x = graph.add("Add", [x, before])
    x = graph.activation(graph.convolution(x, 1280), "swish")
    head(graph, x, [], "swish", classes, path)


def yolo_v8_nano(path, classes, side=640, bins=16):
    graph = Graph(3)

    def unit(x, width, kernel=1, stride=1):
        return graph.activation(graph.convolution(x, width, kernel, stride), "swish")

    def slice_channels(x, begin, end):
        bounds = [graph.constant(np.array([value], np.int64)) for value in (begin, end, 1)]
        output = graph.add("Slice", [x, *bounds])
        graph.channels[output] = end - begin
        return output

    def c2f(x, width, repeats, shortcut):
        x = unit(x, width)
        half = width // 2
        parts = [slice_channels(x, 0, half), slice_channels(x, half, width)]
        for _ in range(repeats):
            y = unit(unit(parts[-1], half, 3), half, 3)
            parts.append(graph.add("Add", [y, parts[-1]]) if shortcut else y)
        return unit(graph.concatenate(parts), width)

    def upsampled(x):
        scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
        output = graph.add("Resize", [x, "", scales], mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")
        graph.sides[output] = graph.sides[x] * 2
        return output

    x = unit(graph.begin(side), 16, 3, 2)
    x = c2f(unit(x, 32, 3, 2), 32, 1, True)
    eighth = c2f(unit(x, 64, 3, 2), 64, 2, True)
    sixteenth = c2f(unit(eighth, 128, 3, 2), 128, 2, True)
    x = unit(c2f(unit(sixteenth, 256, 3, 2), 256, 1, True), 128)
    pooled = [x]
    for _ in range(3):
        pooled.append(graph.add("MaxPool", [pooled[-1]], kernel_shape=[5, 5], pads=[2] * 4))
    deep = unit(graph.concatenate(pooled), 256)
    middle = c2f(graph.concatenate([upsampled(deep), sixteenth]), 128, 1, False)
    fine = c2f(graph.concatenate([upsampled(middle), eighth]), 64, 1, False)
    middle = c2f(graph.concatenate([unit(fine, 64, 3, 2), middle]), 128, 1, False)
    coarse = c2f(graph.concatenate([unit(middle, 128, 3, 2), deep]), 256, 1, False)

    boxes, scores, centres, strides = [], [], [], []
    for x in (fine, middle, coarse):
        cells = graph.sides[x]
        box = graph.convolution(unit(unit(x, 64, 3), 64, 3), 4 * bins, gain=1.0)
        width = max(64, min(classes, 100))
        score = graph.convolution(unit(unit(x, width, 3), width, 3), classes, bias=-4.6, gain=1.0)
        boxes.append(graph.reshape(box, [1, 4 * bins, cells * cells]))
        scores.append(graph.reshape(score, [1, classes, cells * cells]))
        y, x_ = np.mgrid[0:cells, 0:cells].astype(np.float32) + 0.5
        centres.append(np.stack([x_.ravel(), y.ravel()]))
        strides.append(np.full(cells * cells, side / cells, np.float32))
    candidates = sum(len(stride) for stride in strides)
    box = graph.add("Concat", boxes, axis=2)
    # The distribution over distances to the four edges, and its mean (Li et al. 2020).
    box = graph.add("Transpose", [graph.reshape(box, [1, 4, bins, candidates])], perm=[0, 2, 1, 3])
    box = graph.add("Softmax", [box], axis=1)
    weight = graph.constant(np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1), "weight")
    box = graph.reshape(graph.add("Conv", [box, weight], kernel_shape=[1, 1]), [1, 4, candidates])
    near, far = slice_channels(box, 0, 2), slice_channels(box, 2, 4)
    centre = graph.constant(np.concatenate(centres, 1)[None])
    stride = graph.constant(np.concatenate(strides)[None, None])
    low, high = graph.add("Sub", [centre, near]), graph.add("Add", [far, centre])
    middle = graph.add("Mul", [graph.add("Add", [low, high]), graph.constant(np.float32(0.5))])
    size = graph.add("Sub", [high, low])
    box = graph.add("Mul", [graph.add("Concat", [middle, size], axis=1), stride])
    score = graph.add("Sigmoid", [graph.add("Concat", scores, axis=2)])
    output = graph.add("Concat", [box, score], axis=1)
    graph.save(output, "detections", [1, 4 + classes, candidates], path)


LABELS = [
    ("melanoma", "Melanoma", "372244006", "C43.9"),
    ("melanocytic-nevus", "Melanocytic nevus", "400096001", "D22.9"),
    ("basal-cell-carcinoma", "Basal cell carcinoma", "254701007", "C44.91"),
    ("seborrheic-keratosis", "Seborrheic keratosis", "25499005", "L82.1"),
    ("actinic-keratosis", "Actinic keratosis", "201101007", "L57.0"),
    ("psoriasis", "Psoriasis", "9014002", "L40.9"),
    ("urticaria", "Urticaria", "126485001", "L50.9"),
]


def model(task, file, side, mean, std, output, layout, options):
    lines = [
        "[[model]]",
        f'task = "{task}"',
        f'file = "{file.name}"',
        f'sha256 = "{hashlib.sha256(file.read_bytes()).hexdigest()}"',
        *options,
        "",
        "[model.input]",
        'name = "image"',
        f"width = {side}",
        f"height = {side}",
        'colour_order = "rgb"',
        'layout = "nchw"',
        'resize = "stretch-triangle"',
        f"scale = {1 / 255!r}",
        f"mean = {mean}",
        f"std = {std}",
        "",
        "[model.output]",
        f'name = "{output}"',
        f'layout = "{layout}"',
        "",
    ]
    return "\n".join(lines) + "\n"


def pack(folder, route, detector):
    text = "\n".join(
        [
            "format_version = 1",
            f'id = "bench-{route}"',
            'version = "1"',
            f'route = "{route}"',
            'title = "Benchmark"',
            'intended_use = "Benchmark with random weights. Not for clinical use."',
            "",
            "",
        ]
    )
    if detector:
        options = ["score_threshold = 0.0001", "nms_iou_threshold = 0.45", "max_detections = 1", "crop_margin = 1.2"]
        text += model("detector", detector, 640, [0.0] * 3, [1.0] * 3, "detections", "yolov8", options)
        text += "\n"
    options = ["temperature = 1.0", "abstain_below = 0.0"]
    text += model("classifier", folder / "classifier.onnx", 224, MEAN, STD, "logits", "logits", options)
    for identifier, display, snomed, icd in LABELS:
        text += f'\n[[model.labels]]\nid = "{identifier}"\ndisplay = "{display}"\n'
        text += f'snomed_ct = "{snomed}"\nicd_10_cm = "{icd}"\n'
    (folder / "pack.toml").write_text(text)


def main():
    out = Path(sys.argv[1])
    for route in ("solitary", "widespread"):
        (out / route).mkdir(parents=True, exist_ok=True)
    yolo_v8_nano(out / "solitary/detector.onnx", 1)
    efficientnet_b0(out / "solitary/classifier.onnx", len(LABELS))
    mobilenet_v3_large(out / "widespread/classifier.onnx", len(LABELS))
    pack(out / "solitary", "solitary", out / "solitary/detector.onnx")
    pack(out / "widespread", "widespread", None)


if __name__ == "__main__":
    main()
