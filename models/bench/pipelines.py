"""The Python pipelines that the vision benchmark compares with: from the bytes of a photo to probabilities.

    python models/bench/pipelines.py --packs DIR --route solitary --pipeline pillow --processes 2 --seconds 5 PHOTO...

`customary` is what services do: OpenCV decodes the whole photo, resizes it, and one session uses all cores. It is told how many
there are: left to itself ONNX Runtime starts a thread for each core of the machine and binds it there, also where the process
is confined to fewer, so that a contest on one core would not be one. `pillow` and
`opencv` are the best that could be written: JPEG's scaled decoding (draft mode, IMREAD_REDUCED_*), one-thread sessions in
as many processes as there are cores; on the solitary route the photo is decoded at half size for detector and crop, and
in full only when the crop would be too small. Two are for comparing findings: `exact` decodes the whole photo in full, by
Pillow, which is how the reference packs were trained; `same` decodes, in Pillow's draft mode, at the size that Skin Assist
decodes at, the photo and the crop each for itself, and is the same in everything else.

Prints a line `ready` when all is loaded, then one JSON object: photos, seconds, latencies in milliseconds. With
`--findings` prints one JSON object for each photo instead: the probabilities, and the detector's box. With `--peak`
prints the multiplications and additions per second that one core reaches in a product of matrices. With `--floor` the
sessions run on zeros, as `--pipeline` opens them, and no photo is looked at and nothing imported for it. With `--versions`
prints the packages' versions.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
import tomllib
from pathlib import Path


class Pipeline:
    """One pack, one way to run it."""

    def __init__(self, pack, kind, cores):
        import numpy
        import onnxruntime

        self.numpy, self.kind, self.cores = numpy, kind, cores
        # Of the detector's best box, also where it is too low.
        self.score = None
        manifest = tomllib.loads((pack / "pack.toml").read_text())
        self.models = {model["task"]: model for model in manifest["model"]}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores if kind == "customary" else 1
        options.inter_op_num_threads = 1
        self.sessions = {
            task: onnxruntime.InferenceSession(pack / model["file"], options, providers=["CPUExecutionProvider"])
            for task, model in self.models.items()
        }

    def run(self, task, pixels):
        """The output for an RGB image of the right size."""
        numpy, given = self.numpy, self.models[task]["input"]
        scale, mean, std = (numpy.asarray(given[name], numpy.float32) for name in ("scale", "mean", "std"))
        tensor = numpy.ascontiguousarray(((pixels * scale - mean) / std).transpose(2, 0, 1)[None], numpy.float32)
        return self.sessions[task].run(None, {given["name"]: tensor})[0]

    def detect(self, pixels):
        """The best box in fractions of the image, or none. With one box wanted suppression has nothing to do."""
        model = self.models["detector"]
        rows = self.run("detector", pixels)[0]
        scores = rows[4:].max(0)
        best = scores.argmax()
        self.score = float(scores[best])
        if scores[best] < model["score_threshold"]:
            return None
        x, y, width, height = rows[:4, best] / model["input"]["width"]
        return float(x), float(y), float(width), float(height)

    def probabilities(self, pixels):
        model = self.models["classifier"]
        logits = self.run("classifier", pixels)[0].astype(self.numpy.float64) / model.get("temperature", 1.0)
        powers = self.numpy.exp(logits - logits.max())
        return powers / powers.sum()

    def side(self, task):
        return self.models[task]["input"]["width"], self.models[task]["input"]["height"]

    def square(self, box, width, height):
        """The crop in pixels: a square around the box, cut at the edges."""
        x, y = box[0] * width, box[1] * height
        half = max(box[2] * width, box[3] * height) * self.models["detector"]["crop_margin"] / 2
        return max(round(x - half), 0), max(round(y - half), 0), min(round(x + half), width), min(round(y + half), height)

    def look_same(self, data):
        """As Skin Assist: a JPEG is decoded at an eighth, a quarter, a half or in full, at least 1.15 times as large as needed."""
        import io

        from PIL import Image

        def reduced(box, task):
            """What the network of a task sees of a part of the photo."""
            image = Image.open(io.BytesIO(data))
            if image.getexif().get(0x0112, 1) != 1:
                sys.exit("photos for this comparison are upright")
            sizes = list(zip((box[2] - box[0], box[3] - box[1]), self.side(task), strict=True))
            part = next((part for part in (8, 4, 2) if all(size / part >= 1.15 * side for size, side in sizes)), 1)
            if part > 1:
                image.draft(None, (image.size[0] // part, image.size[1] // part))
            small = image.resize(self.side(task), Image.Resampling.BILINEAR, box=[edge / part for edge in box])
            return self.numpy.asarray(small.convert("RGB"))

        whole = Image.open(io.BytesIO(data)).size
        if "detector" not in self.models:
            return self.probabilities(reduced((0, 0, *whole), "classifier")), None
        box = self.detect(reduced((0, 0, *whole), "detector"))
        if box is None:
            return None, None
        return self.probabilities(reduced(self.square(box, *whole), "classifier")), box

    def look(self, data):
        """Probabilities and box."""
        if self.kind == "same":
            return self.look_same(data)
        return self.look_opencv(data) if self.kind in ("customary", "opencv") else self.look_pillow(data)

    def look_pillow(self, data):
        import io

        from PIL import Image, ImageOps

        asarray, draft = self.numpy.asarray, self.kind == "pillow"

        def opened(reduction=None):
            image = Image.open(io.BytesIO(data))
            if reduction is not None:
                image.draft("RGB", reduction(image.size))
            return image

        def small(image, size):
            # Turning the small image is cheaper; the copy keeps the tag.
            turned = image.getexif().get(0x0112, 1) >= 5
            return ImageOps.exif_transpose(image.resize(size[::-1] if turned else size, Image.Resampling.BILINEAR))

        if "detector" not in self.models:
            image = opened((lambda _: self.side("classifier")) if draft else None)
            return self.probabilities(asarray(small(image, self.side("classifier")))), None
        image = opened((lambda size: (size[0] // 2, size[1] // 2)) if draft else None)
        full = image if not draft else opened()
        box = self.detect(asarray(small(image, self.side("detector"))))
        if box is None:
            return None, None
        turned = image.getexif().get(0x0112, 1) >= 5
        upright = full.size[::-1] if turned else full.size
        wanted = self.square(box, *upright)
        reduced = image.size[0] / full.size[0]
        if (wanted[2] - wanted[0]) * reduced < self.side("classifier")[0]:
            image, reduced = full, 1.0
        wanted = [edge * reduced for edge in wanted]
        crop = ImageOps.exif_transpose(image).resize(self.side("classifier"), Image.Resampling.BILINEAR, box=wanted)
        return self.probabilities(asarray(crop)), box

    def look_opencv(self, data):
        import cv2

        numpy = self.numpy
        data = numpy.frombuffer(data, numpy.uint8)
        best = self.kind == "opencv"
        cv2.setNumThreads(1 if best else self.cores)

        def decoded(flag):
            # Turns by EXIF itself.
            return cv2.imdecode(data, flag if best else cv2.IMREAD_COLOR)

        def small(image, size):
            # Linear is what services use; area is what comes close to the training's filter and costs little after a reduction.
            method = cv2.INTER_AREA if best else cv2.INTER_LINEAR
            return cv2.cvtColor(cv2.resize(image, size, interpolation=method), cv2.COLOR_BGR2RGB)

        if "detector" not in self.models:
            return self.probabilities(small(decoded(cv2.IMREAD_REDUCED_COLOR_8), self.side("classifier"))), None
        image = decoded(cv2.IMREAD_REDUCED_COLOR_2)
        box = self.detect(small(image, self.side("detector")))
        if box is None:
            return None, None
        left, top, right, bottom = self.square(box, image.shape[1], image.shape[0])
        if best and right - left < self.side("classifier")[0]:
            image = decoded(cv2.IMREAD_COLOR)
            left, top, right, bottom = self.square(box, image.shape[1], image.shape[0])
        return self.probabilities(small(image[top:bottom, left:right], self.side("classifier"))), box


def work(arguments, photos, ready, start, results):
    pipeline = Pipeline(arguments.packs / arguments.route, arguments.pipeline, arguments.cores)
    for photo in photos[:2]:
        pipeline.look(photo.read_bytes())
    ready.put(None)
    start.wait()
    latencies = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < arguments.seconds:
        at = time.perf_counter()
        pipeline.look(photos[len(latencies) % len(photos)].read_bytes())
        latencies.append((time.perf_counter() - at) * 1000)
    results.put((latencies, time.perf_counter() - begun))


def floor(arguments):
    """The sessions alone, in one process."""
    pipeline = Pipeline(arguments.packs / arguments.route, arguments.pipeline, arguments.cores)
    inputs = {
        task: pipeline.numpy.zeros((1, 3, *reversed(pipeline.side(task))), pipeline.numpy.float32) for task in pipeline.models
    }
    print("ready", flush=True)
    latencies = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < arguments.seconds:
        at = time.perf_counter()
        for task, given in inputs.items():
            pipeline.sessions[task].run(None, {pipeline.models[task]["input"]["name"]: given})
        latencies.append((time.perf_counter() - at) * 1000)
    print(json.dumps({"photos": len(latencies), "seconds": time.perf_counter() - begun, "latencies_ms": latencies}))


def peak():
    import numpy

    one = numpy.random.default_rng(1).random((1536, 1536), numpy.float32)
    best = 0.0
    for _ in range(12):
        at = time.perf_counter()
        one @ one
        best = max(best, 2 * 1536**3 / (time.perf_counter() - at))
    print(json.dumps({"flops": best}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--packs", type=Path)
    parser.add_argument("--route", help="a folder in --packs")
    parser.add_argument("--pipeline", choices=["customary", "pillow", "opencv", "exact", "same"])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--cores", type=int, default=1, help="that the customary pipeline may use")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--findings", action="store_true")
    parser.add_argument("--peak", action="store_true")
    parser.add_argument("--floor", action="store_true")
    parser.add_argument("--versions", action="store_true")
    parser.add_argument("photos", nargs="*", type=Path)
    arguments = parser.parse_args()
    if arguments.peak:
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        return peak()
    if arguments.versions:
        import importlib.metadata

        names = ["numpy", "onnxruntime", "opencv-python-headless", "pillow"]
        print(json.dumps({name: importlib.metadata.version(name) for name in names}))
        return None
    if arguments.floor:
        return floor(arguments)
    photos = arguments.photos
    if arguments.findings:
        pipeline = Pipeline(arguments.packs / arguments.route, arguments.pipeline, arguments.cores)
        for photo in photos:
            probabilities, box = pipeline.look(photo.read_bytes())
            shown = None if probabilities is None else [float(value) for value in probabilities]
            print(json.dumps({"photo": photo.name, "probabilities": shown, "box": box, "score": pipeline.score}))
        return None
    context = multiprocessing.get_context("spawn")
    ready, results, start = context.Queue(), context.Queue(), context.Event()
    given = (arguments, photos, ready, start, results)
    workers = [context.Process(target=work, args=given) for _ in range(arguments.processes)]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.get()
    print("ready", flush=True)
    start.set()
    outcomes = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    latencies = [latency for outcome, _ in outcomes for latency in outcome]
    seconds = max(seconds for _, seconds in outcomes)
    print(json.dumps({"photos": len(latencies), "seconds": seconds, "latencies_ms": latencies}))
    return None


if __name__ == "__main__":
    sys.exit(main())
