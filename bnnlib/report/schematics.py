"""Drawings of ideas, made by code: what flows where in a binary layer, a block, a word, a network."""

from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from bnnlib import catalogue

__all__ = ["block_orders", "image_road", "latent_weight", "word_of_signs"]

REAL, BITS, PLAIN = "#E69F00", "#0072B2", "#999999"  # what flows: real numbers, bits; and what is done to them
FORWARD, BACKWARD = "#333333", "#D55E00"
# The parts of a method's block: the text of its box, and its colour.
_PARTS = {
    "sign": ("sign", BITS),
    "codes": ("2-bit\ncodes", BITS),
    "layer": ("layer", "#56B4E9"),
    "pool": ("max\npool", PLAIN),
    "norm": ("batch\nnorm", "#F0E442"),
    "shortcut": ("+", "#CC79A7"),
    "relu": ("ReLU", "#009E73"),
    "hardtanh": ("hard\ntanh", "#009E73"),
    "rprelu": ("RPReLU", "#009E73"),
}


def _empty(width: float, height: float) -> Axes:
    """Axes without ticks in which a unit is an inch."""
    ax = plt.subplots(figsize=(width, height))[1]
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.set_aspect("equal")
    ax.axis("off")
    return ax


def _box(ax: Axes, centre: tuple[float, float], size: tuple[float, float], text: str, colour: str) -> None:
    x, y = centre
    width, height = size
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=colour, edgecolor=colour, alpha=0.35, linewidth=0,
        )
    )  # fmt: skip
    ax.text(x, y, text, ha="center", va="center", fontsize=8)


def _arrow(
    ax: Axes, start, end, text: str = "", *, colour: str = FORWARD, bend: float = 0.0, above=0.08, **text_options
) -> None:
    ax.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>", mutation_scale=9, color=colour, linewidth=1.2,
            connectionstyle=f"arc3,rad={bend}", shrinkA=0, shrinkB=0,
        )
    )  # fmt: skip
    if text:
        options = {"ha": "center", "va": "bottom", "fontsize": 7.5, "color": colour} | text_options
        ax.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + above, text, **options)


def latent_weight() -> Figure:
    """A latent weight and its sign: what the forward pass uses, where the gradient goes, what the optimiser changes."""
    ax = _empty(6.0, 2.35)
    size = (1.15, 0.5)
    latent, binary, output, loss = (0.75, 1.35), (2.8, 1.35), (4.35, 1.35), (5.55, 1.35)
    _box(ax, latent, size, "latent weight\n$W$ (real)", REAL)
    _box(ax, binary, size, "binary weight\n$W_b$ (±1)", BITS)
    _box(ax, output, (0.95, 0.5), "layer\n$y = W_b\\,x$", PLAIN)
    _box(ax, loss, (0.75, 0.5), "loss", PLAIN)
    _arrow(ax, (4.35, 2.1), (4.35, 1.63))
    ax.text(4.35, 2.15, "input $x$", ha="center", fontsize=8)
    up, down = 0.1, -0.1
    for (start, end), forward, backward in (
        ((1.35, 2.2), "sign", "straight\nthrough"),
        ((3.4, 3.85), "", ""),
        ((4.85, 5.15), "", ""),
    ):
        _arrow(ax, (start, 1.35 + up), (end, 1.35 + up), forward)
        _arrow(ax, (end, 1.35 + down), (start, 1.35 + down), backward, colour=BACKWARD, above=-0.1, va="top")
    _arrow(ax, (0.45, 1.08), (1.05, 1.08), colour=REAL, bend=1.3)
    ax.text(0.75, 0.52, "optimiser's step,\nthen the clip to [-1, 1]", ha="center", va="top", fontsize=7.5)
    ax.text(3.2, 0.5, "forward pass", ha="left", fontsize=8, color=FORWARD)
    ax.text(3.2, 0.28, "backward pass: gradient of the loss", ha="left", fontsize=8, color=BACKWARD)
    return ax.figure


def block_orders(methods: Iterable[str]) -> Figure:
    """The block of each method as a row of boxes, from the catalogue: what comes after what, and where a shortcut ends.

    Args:
        methods: names of ``bnnlib.methods``.
    """
    records = [catalogue.get(name) for name in methods]
    row, first, step = 0.62, 1.75, 0.68
    longest = max(len(record.block) + (record.activation_bits < 32) for record in records)
    ax = _empty(first + step * longest, row * len(records) + 0.1)
    for index, record in enumerate(records):
        y = row * (len(records) - index) - row / 2
        ax.text(first - 0.5, y, record.name, ha="right", va="center", fontsize=8)
        codes = () if record.activation_bits == 32 else ("sign",) if record.activation_bits == 1 else ("codes",)
        parts = (*codes, *record.block)
        for place, part in enumerate(parts):
            x = first + step * place
            _box(ax, (x, y), (0.54, 0.36), *_PARTS[part])
            if place:
                _arrow(ax, (x - step + 0.28, y), (x - 0.28, y))
        if "shortcut" in parts:
            end = first + step * parts.index("shortcut")
            _arrow(ax, (first - 0.36, y + 0.08), (end, y + 0.19), bend=-0.16, colour=_PARTS["shortcut"][1])
    return ax.figure


def word_of_signs(signs: Sequence[float]) -> Figure:
    """Up to 64 signs as the bits of a word: the first one in the lowest bit, four rows of sixteen.

    Args:
        signs: real numbers; a number >= 0 is a 1. What is missing of the 64 is 0.
    """
    signs = np.asarray(signs, float)
    if signs.ndim != 1 or not 1 <= len(signs) <= 64:
        raise ValueError(f"a word holds 1 to 64 signs in one row, received shape {signs.shape}")
    bits = np.zeros(64, int)
    bits[: len(signs)] = signs >= 0
    ax = _empty(6.0, 1.9)
    side, left = 0.3, 0.75
    for place in range(64):
        line, column = divmod(place, 16)
        x, y = left + side * (column + 0.5), 1.55 - 0.4 * line
        used = place < len(signs)
        colour = BITS if bits[place] else PLAIN
        _box(ax, (x, y), (0.27, 0.27), str(bits[place]) if used else "0", colour if used else "#dddddd")
        if column == 0:
            ax.text(left - 0.1, y, f"bit {place}", ha="right", va="center", fontsize=7.5)
    word = sum(int(bit) << place for place, bit in enumerate(bits))
    ax.text(left, 0.02, f"as a number: 0x{word:016X}", fontsize=8, family="monospace")
    return ax.figure


def image_road(stages: Sequence[tuple[str, str, bool]]) -> Figure:
    """The road of an image through a network: a box for each stage, and what flows between them.

    Args:
        stages: (what is done, what comes out with its size, whether that is bits), in order.
    """
    step = 0.52
    ax = _empty(6.0, step * len(stages) + 0.2)
    top = step * len(stages)
    for index, (name, out, is_bits) in enumerate(stages):
        y = top - step * index - 0.12
        _box(ax, (1.7, y), (3.2, 0.3), name, BITS if is_bits else REAL)
        ax.text(3.45, y, out, va="center", fontsize=8)
        if index:
            _arrow(ax, (1.7, y + step - 0.16), (1.7, y + 0.17))
    return ax.figure
