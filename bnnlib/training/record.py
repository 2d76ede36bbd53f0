"""What is recorded of a training, epoch by epoch."""

from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor, nn

from bnnlib.layers import binary_layers, latent_weights
from bnnlib.training.diagnostics import SATURATION

HISTOGRAM_BINS = 41


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. Accuracies are in percent; shares lie in [0, 1]; None where a method or a study has no such figure.

    Attributes:
        epoch: 1, 2, ...
        train_seconds: the training loop alone, evaluation not counted.
        seconds: the whole epoch, evaluation included.
        train_loss, train_accuracy: mean over the epoch's batches, with the weights of each step.
        validation_loss, validation_accuracy, test_accuracy: in the method's selection form at the end of the epoch.
        learning_rate: base learning rate at the end of the epoch.
        flips: share of binary weights whose sign differs from the end of the epoch before (the start, for epoch 1).
        saturated: share of latent weights with an absolute value above 0.99 of the clip.
    """

    epoch: int
    train_seconds: float
    seconds: float
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    test_accuracy: float | None
    learning_rate: float
    flips: float | None
    saturated: float | None


@dataclass
class History:
    """The records of a training so far.

    Attributes:
        epochs: a record for each.
        histograms: of latent weights, layer -> (epochs + 1, bins) counts.
        layers: what was measured inside the binary layers, a row for each layer and epoch; the columns are those of
            :data:`bnnlib.training.diagnostics.COLUMNS`.

    Histogram rows begin with the initial weights; bins are equal parts of [-1, 1], values outside count at the ends.
    """

    epochs: list[EpochRecord] = field(default_factory=list)
    histograms: dict[str, list[list[int]]] = field(default_factory=dict)
    layers: list[dict] = field(default_factory=list)

    def frame(self):
        """The epochs as a pandas data frame, a row for each."""
        import pandas as pd

        return pd.DataFrame([asdict(record) for record in self.epochs])

    def layer_frame(self):
        """What was measured inside the binary layers, as a pandas data frame."""
        import pandas as pd

        return pd.DataFrame(self.layers)


class LatentWatch:
    """Follows the latent weights of a network from epoch to epoch."""

    def __init__(self, model: nn.Module):
        self._model = model
        self._signs = self._now()

    def _now(self) -> dict[str, Tensor]:
        return {name: weight >= 0 for name, weight in latent_weights(self._model).items()}

    def flips(self) -> float | None:
        """Share of binary weights whose sign changed since the last call (or since the watch began)."""
        before, self._signs = self._signs, self._now()
        total = sum(signs.numel() for signs in before.values())
        return sum((self._signs[n] != before[n]).sum().item() for n in before) / total if total else None

    def saturated(self) -> float | None:
        """Share of latent weights beyond 0.99 of the clip."""
        total = beyond = 0
        for _, layer in binary_layers(self._model):
            total += layer.weight.numel()
            limit = SATURATION * getattr(layer.weight_quantizer, "amplitude", 1.0)
            beyond += (layer.weight.detach().abs() >= limit).sum().item()
        return beyond / total if total else None

    def histograms(self) -> dict[str, list[int]]:
        """Layer -> counts of its latent weights in 41 equal parts of [-1, 1]."""
        return {
            name: torch.histc(w.float().clamp(-1, 1).cpu(), HISTOGRAM_BINS, -1, 1).int().tolist()
            for name, w in latent_weights(self._model).items()
        }
