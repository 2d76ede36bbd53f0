"""What is recorded of a training, epoch by epoch."""

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. Accuracies are in percent; shares lie in [0, 1]; None where a method or a study has no such figure.

    Attributes:
        epoch: 1, 2, ...
        train_seconds: the training loop alone, evaluation not counted.
        seconds: the whole epoch, evaluation included.
        train_loss, train_accuracy: mean over the epoch's batches, with the weights of each step.
        validation_loss, validation_accuracy, test_accuracy: in the method's selection form at the end of the epoch; on
            the test split only where the epoch may be reported (see ``Settings.select``).
        learning_rate: that of the real weights after the epoch's last step.
        flips: share of binary weights whose sign differs from the end of the epoch before (the start, for epoch 1).
        saturated: share of latent weights with an absolute value above 0.99 of the clip.
        validation_balanced_accuracy, test_balanced_accuracy: mean of the accuracies on each class.
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
    validation_balanced_accuracy: float | None = None
    test_balanced_accuracy: float | None = None


@dataclass
class History:
    """The records of a training so far.

    Attributes:
        epochs: a record for each.
        histograms: of latent weights, layer -> (epochs + 1, bins) counts.
        layers: what was measured inside the binary layers, a row for each layer and epoch; the columns are those of
            :data:`bnnlib.training.measurements.COLUMNS`.

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
