"""Training and test pictures: rendered by the simulator's example, prepared exactly as the product prepares photos.

Whole pictures are stretched to the input size with an antialiased triangle filter (Pillow's BILINEAR). Crops are taken
around a box, enlarged by the manifest's margin, made square around the box's centre, cut at the picture's edge, and then
stretched in the same way.
"""

import concurrent.futures
import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

CHUNK = 250


def render(binary, folder, arguments, first_seed, count):
    """Yields (record, pixels) of `count` pictures; runs two renderers at a time and keeps little on disk."""

    def chunk(start):
        out = Path(folder) / f"chunk-{start}"
        size = min(CHUNK, first_seed + count - start)
        command = [str(binary), *map(str, arguments), "--first-seed", str(start), "--count", str(size), "--out", str(out)]
        subprocess.run(command, check=True)
        return out

    starts = range(first_seed, first_seed + count, CHUNK)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for out in pool.map(chunk, starts):
            pixels = np.fromfile(out / "pictures.bin", np.uint8)
            for line in open(out / "pictures.jsonl", encoding="utf-8"):
                record = json.loads(line)
                size = record["width"] * record["height"] * 3
                at = record["offset"]
                yield record, pixels[at : at + size].reshape(record["height"], record["width"], 3)
            shutil.rmtree(out)


def through_jpeg(pixels, random):
    """What a camera's compression does; every fifth picture stays as it is."""
    image = Image.fromarray(pixels)
    if random.random() < 0.2:
        return image
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=int(random.integers(60, 96)))
    buffer.seek(0)
    return Image.open(buffer).convert("RGB")


def stretch(image, size, box=None):
    """Resizes without regard to the aspect ratio, with a triangle filter whose support grows with the reduction."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def crop_window(box, margin, width, height):
    """The square around a box in pixels (left, top, right, bottom), enlarged and cut at the picture's edge."""
    left, top, box_width, box_height = box
    centre_x, centre_y = left + box_width / 2, top + box_height / 2
    side = max(box_width, box_height) * margin
    window = (
        max(0, round(centre_x - side / 2)),
        max(0, round(centre_y - side / 2)),
        min(width, round(centre_x + side / 2)),
        min(height, round(centre_y + side / 2)),
    )
    return window


def jitter(box, random, strength):
    """A box as a detector might have found it."""
    left, top, width, height = box
    shift_x, shift_y = random.uniform(-strength, strength, 2)
    grow_x, grow_y = np.exp(random.uniform(-strength * 1.6, strength * 1.6, 2))
    centre_x, centre_y = left + width / 2 + shift_x * width, top + height / 2 + shift_y * height
    width, height = width * grow_x, height * grow_y
    return (centre_x - width / 2, centre_y - height / 2, width, height)


def in_pixels(box, width, height):
    return (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
