"""A study of a data set of one's own, in one file: `bnnlib study run waves.py`."""

import math

import torch
from torch import nn

from bnnlib import catalogue, data, models
from bnnlib.models.blocks import Builder
from bnnlib.studies import Run, Study
from bnnlib.training import Settings


def series(count: int, seed: int, noise: float) -> data.TensorSplit:
    """Waves of one of three frequencies in noise, (N, 1, 32)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    time = torch.arange(32) / 32 + torch.rand(count, 1, 1, generator=generator)
    waves = torch.sin(2 * math.pi * (2 + 3 * labels[:, None, None]) * time)
    return data.TensorSplit(waves + noise * torch.randn(waves.shape, generator=generator), labels, torch.arange(count))


def load(profile: str, *, test: bool = True, progress: bool = False, noise: float = 0.3) -> data.Splits:
    return data.Splits(
        "Waves", f"waves, noise {noise:g}", ("slow", "middle", "fast"),
        series(300, 1, noise), series(90, 2, noise), series(90, 3, noise) if test else None,
    )  # fmt: skip


class WaveNet(nn.Module):
    """Two convolutions and a linear layer over (N, 1, 32)."""

    def __init__(self, method="float"):
        super().__init__()
        build = Builder(catalogue.get(method))
        self.layers = nn.Sequential(
            *build.conv(1, 8, dimensions=1, pool=True, place="first"),
            *build.conv(8, 8, dimensions=1, pool=True), nn.Flatten(),
            *build.linear(64, 3, place="last"),
        )  # fmt: skip

    def forward(self, x):
        return self.layers(x)


data.LOADERS["Waves"] = load
models.MODELS["wave-net"] = WaveNet

SETTINGS = Settings(epochs=3, batch_size=30, learning_rate=5e-3)
TEACHER = Run("float", "float", "wave-net", "Waves", SETTINGS)
STUDY = Study(
    name="waves",
    question="Do binary networks hear the difference?",
    runs=(
        Run("bi-real", "bi-real", "wave-net", "Waves", SETTINGS, data_options={"noise": 0.5}),
        Run("reactnet", "reactnet", "wave-net", "Waves", SETTINGS, teacher=TEACHER, start=TEACHER),
        TEACHER,
    ),
)
