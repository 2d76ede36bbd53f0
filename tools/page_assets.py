"""Writes what the page "A network in the page" needs: the network as a script, and test images of the built-in sample.

Run by hand when the network changes: `python tools/page_assets.py`. A test compares.
"""

import base64
import json
from pathlib import Path

import numpy as np

import bnnlib
from bnnlib.data import CLASSES, samples
from bnnlib.data.idx import read_idx
from bnnlib.files import replaced
from bnnlib.packed.export.wasm import write_wasm

FOLDER = Path(__file__).parents[1] / "book" / "_static"
NETWORK = "fashion-mnist-1-bit"
EACH = 10  # images of each class


def images_script() -> str:
    """The first test images of each class, class by class in turn, with what prepares them for the network."""
    images = read_idx(samples.find("FashionMNIST", "raw/t10k-images-idx3-ubyte.gz"))
    labels = read_idx(samples.find("FashionMNIST", "raw/t10k-labels-idx1-ubyte.gz"))
    chosen = np.stack([np.flatnonzero(labels == c)[:EACH] for c in range(len(CLASSES["FashionMNIST"]))], 1).ravel()
    how = bnnlib.pretrained(NETWORK).about["input"]
    content = {
        "mean": how["mean"],
        "deviation": how["deviation"],
        "labels": labels[chosen].tolist(),
        "images": base64.b64encode(images[chosen].tobytes()).decode(),
    }
    return (
        "// Test images of Fashion-MNIST (© 2017 Zalando SE, MIT licence), written by tools/page_assets.py.\n"
        f"const FashionImages = {json.dumps(content)};\n"
    )


def main() -> None:
    write_wasm(bnnlib.pretrained(NETWORK), FOLDER / "FashionBits.js")
    text = images_script()
    replaced(FOLDER / "fashion-images.js", lambda partial: partial.write_text(text, encoding="utf-8", newline="\n"))


if __name__ == "__main__":
    main()
