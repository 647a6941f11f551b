"""Gives a pack its golden image: a rendered photo, and what the pipeline of the training finds on it.

    python models/train/golden.py [--renderer PATH] [PACK...]

writes `golden.jpg` into each pack's folder and its numbers into `pack.toml`; without PACK, into the reference packs. Needs
numpy, onnxruntime and Pillow. `train.py` does it by itself.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models" / "bench"))

# A seed that is used for nothing else.
SEED = 9_900_000
FILE = "golden.jpg"
# Decoders differ by a level or two of 255, runtimes by less.
TOLERANCE = 0.02
MARK = "\n[golden]\n"


def add(folder, binary):
    from pipelines import Pipeline

    manifest = folder / "pack.toml"
    text = manifest.read_text(encoding="utf-8").split(MARK)[0]
    route = tomllib.loads(text)["route"]
    with tempfile.TemporaryDirectory() as rendered:
        size = ["--width", "640", "--height", "480"]
        render = ["--jpeg", "--route", route, "--count", "1", "--first-seed", str(SEED), *size, "--out", rendered]
        subprocess.run([binary, *render], check=True)
        photo = next(Path(rendered).glob("*.jpg")).read_bytes()
    probabilities, box = Pipeline(folder, "exact").look(photo)
    golden = {
        "file": FILE,
        "sha256": hashlib.sha256(photo).hexdigest(),
        "probabilities": [round(float(value), 5) for value in probabilities],
    }
    if box is not None:
        x, y, width, height = box
        golden["box"] = [round(value, 5) for value in (x - width / 2, y - height / 2, width, height)]
    golden["tolerance"] = TOLERANCE
    (folder / FILE).write_bytes(photo)
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in golden.items())
    manifest.write_text(text + MARK + lines, encoding="utf-8")


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--renderer", type=Path, default=ROOT / "target" / "release" / "examples" / "pictures")
    options.add_argument("packs", nargs="*", type=Path)
    options = options.parse_args()
    for folder in options.packs or sorted((ROOT / "models").glob("reference-*")):
        add(folder, options.renderer)


if __name__ == "__main__":
    main()
