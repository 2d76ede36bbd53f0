"""What a training minimises: a loss with the labels, with a teacher's scores, or with both."""

from dataclasses import dataclass

from torch import Tensor

from bnnlib.catalogue import Method
from bnnlib.losses import LABEL_LOSSES, LOSSES, cross_entropy, distillation
from bnnlib.training.settings import Settings


@dataclass(frozen=True)
class Objective:
    """(scores, labels, teacher's scores) -> loss.

    Attributes:
        loss: a name of ``bnnlib.losses.LOSSES``; ``"distributional"`` compares with a teacher alone.
        label_smoothing: of cross-entropy with the labels.
        distillation: share of :func:`bnnlib.losses.distillation` in the loss, 0 to 1; the rest is ``loss``.
        temperature: of the distillation.

    Raises:
        ValueError: the loss is unknown, or has no use for label smoothing or distillation that it was given.
    """

    loss: str = "cross_entropy"
    label_smoothing: float = 0.0
    distillation: float = 0.0
    temperature: float = 4.0

    def __post_init__(self):
        if self.loss not in LOSSES:
            raise ValueError(f"no loss {self.loss!r}; known: {', '.join(LOSSES)}")
        if self.label_smoothing and self.loss != "cross_entropy":
            raise ValueError(
                f"label smoothing is defined for cross_entropy, not for {self.loss}: leave label_smoothing at 0, or "
                'vary the method by .varied(loss="cross_entropy")'
            )
        if self.distillation and self.loss not in LABEL_LOSSES:
            raise ValueError(
                f"the loss {self.loss} compares with the teacher already: leave distillation at 0, or vary the method "
                'by .varied(loss="cross_entropy")'
            )

    @classmethod
    def of(cls, method: Method, settings: Settings) -> "Objective":
        """What a training under a method with these settings minimises."""
        return cls(method.loss, settings.label_smoothing, settings.distillation, settings.temperature)

    @property
    def needs_teacher(self) -> bool:
        """Whether it compares with a teacher's scores."""
        return self.distillation > 0 or self.loss not in LABEL_LOSSES

    def __call__(self, scores: Tensor, labels: Tensor, teacher_scores: Tensor | None = None) -> Tensor:
        """The loss of a batch, a scalar.

        Args:
            scores: (N, classes), float32.
            labels: int64, (N,).
            teacher_scores: (N, classes) where it :attr:`needs_teacher`, else None.

        Raises:
            ValueError: a teacher's scores are missing, would not be used, or have another shape.
        """
        if (teacher_scores is None) == self.needs_teacher:
            missing = "needs a teacher's scores" if self.needs_teacher else "makes no use of a teacher's scores"
            raise ValueError(f"the objective {self} {missing}")
        if teacher_scores is not None and teacher_scores.shape != scores.shape:
            raise ValueError(
                f"the teacher gives scores of shape {tuple(teacher_scores.shape)}, the network {tuple(scores.shape)}: "
                "both must know the same classes"
            )
        if self.loss not in LABEL_LOSSES:
            return LOSSES[self.loss](scores, teacher_scores)
        if not self.distillation:
            return self._with_labels(scores, labels)
        soft = self.distillation * distillation(scores, teacher_scores, self.temperature)
        return soft if self.distillation == 1 else soft + (1 - self.distillation) * self._with_labels(scores, labels)

    def on_evaluation(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The loss with the labels alone, as an evaluation records it; cross-entropy if the loss knows no labels."""
        return LABEL_LOSSES.get(self.loss, cross_entropy)(scores, labels)

    def _with_labels(self, scores: Tensor, labels: Tensor) -> Tensor:
        if self.label_smoothing:
            return cross_entropy(scores, labels, self.label_smoothing)
        return LABEL_LOSSES[self.loss](scores, labels)
