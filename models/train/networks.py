"""Three small convolutional networks: their forward pass in JAX and their export to ONNX, from one description.

A network is a list of layers `(kind, channels, stride, dilation)` with `kind` "conv" or "residual"; every layer is a 3x3
convolution, batch normalisation and ReLU, a residual one adds its input. Convolutions are padded symmetrically.
"""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax import lax
from onnx import TensorProto, helper, numpy_helper

DETECTOR = [
    ("conv", 12, 2, 1),
    ("conv", 24, 2, 1),
    ("conv", 40, 2, 1),
    ("residual", 40, 1, 1),
    ("residual", 40, 1, 2),
    ("residual", 40, 1, 4),
    ("residual", 40, 1, 2),
]
CLASSIFIER = [
    ("conv", 16, 2, 1),
    ("conv", 32, 2, 1),
    ("residual", 32, 1, 1),
    ("conv", 48, 2, 1),
    ("residual", 48, 1, 1),
    ("conv", 64, 2, 1),
    ("residual", 64, 1, 1),
]
STRIDE = 8
# The width and height at which the detector's exponential starts.
ANCHOR = 28.0
EPSILON = 1e-3


def initialise(layers, heads, key):
    """Parameters and running statistics. `heads` maps a name to a number of outputs."""
    parameters, statistics, inputs = [], [], 3
    for _, channels, _, _ in layers:
        key, part = jax.random.split(key)
        weight = jax.random.normal(part, (3, 3, inputs, channels)) * np.sqrt(2 / (9 * inputs))
        parameters.append({"weight": weight, "scale": jnp.ones(channels), "shift": jnp.zeros(channels)})
        statistics.append({"mean": jnp.zeros(channels), "variance": jnp.ones(channels)})
        inputs = channels
    ends = {}
    for name, outputs in heads.items():
        key, part = jax.random.split(key)
        ends[name] = {"weight": jax.random.normal(part, (inputs, outputs)) * 0.02, "bias": jnp.zeros(outputs)}
    return {"layers": parameters, "heads": ends}, statistics


def convolve(pixels, weight, stride, dilation):
    return lax.conv_general_dilated(
        pixels,
        weight,
        (stride, stride),
        [(dilation, dilation)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def features(layers, parameters, statistics, pixels, training):
    """The last layer's output and the statistics to remember."""
    seen = []
    for (kind, _, stride, dilation), layer, known in zip(layers, parameters["layers"], statistics):
        result = convolve(pixels, layer["weight"], stride, dilation)
        if training:
            mean, variance = result.mean((0, 1, 2)), result.var((0, 1, 2))
            seen.append(
                {
                    "mean": 0.95 * known["mean"] + 0.05 * mean,
                    "variance": 0.95 * known["variance"] + 0.05 * variance,
                }
            )
        else:
            mean, variance = known["mean"], known["variance"]
            seen.append(known)
        result = (result - mean) * lax.rsqrt(variance + EPSILON) * layer["scale"] + layer["shift"]
        result = jax.nn.relu(result)
        pixels = pixels + result if kind == "residual" else result
    return pixels, seen


def end(parameters, name, values):
    return values @ parameters["heads"][name]["weight"] + parameters["heads"][name]["bias"]


def classify(layers, parameters, statistics, pixels, training=False):
    """Logits [batch, labels]."""
    values, seen = features(layers, parameters, statistics, pixels, training)
    return end(parameters, "logits", values.mean((1, 2))), seen


def detect(layers, parameters, statistics, pixels, training=False):
    """Score logits [batch, cells] and boxes [batch, cells, 4] as centre, width and height in input pixels."""
    values, seen = features(layers, parameters, statistics, pixels, training)
    batch, rows, columns, _ = values.shape
    grid = cell_centres(rows, columns)
    centre = end(parameters, "centre", values).reshape(batch, -1, 2) * STRIDE + grid
    size = jnp.exp(end(parameters, "size", values).reshape(batch, -1, 2)) * ANCHOR
    score = end(parameters, "score", values).reshape(batch, -1)
    return score, jnp.concatenate([centre, size], -1), seen


def cell_centres(rows, columns):
    y, x = np.mgrid[0:rows, 0:columns]
    return ((np.stack([x, y], -1).reshape(-1, 2) + 0.5) * STRIDE).astype(np.float32)


class Graph:
    """An ONNX graph under construction."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, value, kind=np.float32):
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, kind), name))
        return name

    def node(self, operation, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def convolution(self, name, source, weight, bias, **attributes):
        weight = self.constant(f"{name}.weight", weight)
        bias = self.constant(f"{name}.bias", bias)
        return self.node("Conv", [source, weight, bias], name, **attributes)

    def save(self, path, size, output, shape, description):
        source = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])
        target = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
        graph = helper.make_graph(self.nodes, "skin-assist-reference", [source], [target], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="skin-assist")
        model.ir_version = 8
        model.doc_string = description
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))


def export_features(graph, layers, parameters, statistics):
    source = "image"
    for index, ((kind, _, stride, dilation), layer, known) in enumerate(
        zip(layers, parameters["layers"], statistics)
    ):
        factor = np.asarray(layer["scale"]) / np.sqrt(np.asarray(known["variance"]) + EPSILON)
        weight = (np.asarray(layer["weight"]) * factor).transpose(3, 2, 0, 1)
        bias = np.asarray(layer["shift"]) - np.asarray(known["mean"]) * factor
        name = f"layer{index}"
        result = graph.convolution(
            f"{name}.conv",
            source,
            weight,
            bias,
            kernel_shape=[3, 3],
            strides=[stride, stride],
            dilations=[dilation, dilation],
            pads=[dilation] * 4,
        )
        result = graph.node("Relu", [result], f"{name}.relu")
        source = graph.node("Add", [source, result], f"{name}.add") if kind == "residual" else result
    return source


def export_classifier(path, layers, parameters, statistics, size, description):
    graph = Graph()
    source = export_features(graph, layers, parameters, statistics)
    head = {name: np.asarray(value) for name, value in parameters["heads"]["logits"].items()}
    pooled = graph.node("GlobalAveragePool", [source], "pooled")
    shape = graph.constant("flat.shape", [1, head["weight"].shape[0]], np.int64)
    flat = graph.node("Reshape", [pooled, shape], "flat")
    weight = graph.constant("logits.weight", head["weight"].T)
    bias = graph.constant("logits.bias", head["bias"])
    graph.node("Gemm", [flat, weight, bias], "logits", transB=1)
    graph.save(path, size, "logits", [1, head["weight"].shape[1]], description)


def export_detector(path, layers, parameters, statistics, size, description):
    graph = Graph()
    source = export_features(graph, layers, parameters, statistics)
    cells = size // STRIDE

    def head(name, factor, offset):
        end = {key: np.asarray(value) for key, value in parameters["heads"][name].items()}
        weight = (end["weight"].T * factor)[:, :, None, None]
        return graph.convolution(f"{name}.conv", source, weight, end["bias"] * factor + offset, kernel_shape=[1, 1])

    grid = cell_centres(cells, cells).T.reshape(1, 2, cells, cells)
    centre = graph.node("Add", [head("centre", STRIDE, 0.0), graph.constant("grid", grid)], "centre")
    box = graph.node("Exp", [head("size", 1.0, np.log(ANCHOR))], "size")
    score = graph.node("Sigmoid", [head("score", 1.0, 0.0)], "score")
    joined = graph.node("Concat", [centre, box, score], "joined", axis=1)
    shape = graph.constant("detections.shape", [1, 5, cells * cells], np.int64)
    graph.node("Reshape", [joined, shape], "detections")
    graph.save(path, size, "detections", [1, 5, cells * cells], description)
