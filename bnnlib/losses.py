"""The losses that methods prescribe, and those of a teacher. Each gives a scalar, the mean over the batch."""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["LABEL_LOSSES", "LOSSES", "cross_entropy", "distillation", "distributional", "squared_hinge"]


def cross_entropy(scores: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Softmax cross-entropy: what a float network uses unless its method says otherwise.

    Args:
        scores: (N, classes); labels: int64, (N,).
        label_smoothing: share of the target that is spread over all classes (Szegedy et al. 2016, sec. 7).
    """
    return F.cross_entropy(scores, labels, label_smoothing=label_smoothing)


def squared_hinge(scores: Tensor, labels: Tensor) -> Tensor:
    r"""Mean over batch *and* classes of :math:`\max(0, 1 - t\,o)^2`, targets t = +1 for the label, -1 elsewhere.

    Args:
        scores: (N, classes); labels: int64, (N,).

    Source: BinaryConnect (arXiv:1511.00363, sec. 3.1) and its code, where the last layer ends in batch norm.
    """
    targets = 2 * F.one_hot(labels, scores.shape[1]).to(scores.dtype) - 1
    return F.relu(1 - targets * scores).square().mean()


def distributional(scores: Tensor, teacher_scores: Tensor) -> Tensor:
    r"""Cross-entropy between the class distributions of a teacher and the network.

    :math:`-\frac1N\sum_n\sum_c \mathrm{softmax}(t_n)_c \log\mathrm{softmax}(s_n)_c`; labels are not used, and no
    gradient flows to the teacher.

    Args:
        scores, teacher_scores: (N, classes).

    Source: ReActNet (Liu et al. 2020, arXiv:2003.03488), eq. 8, which prints a divergence: it differs by a constant.
    """
    return F.cross_entropy(scores, teacher_scores.detach().softmax(1))


def distillation(scores: Tensor, teacher_scores: Tensor, temperature: float) -> Tensor:
    r"""Cross-entropy with a teacher's class distribution, both softened by a temperature T, times :math:`T^2`.

    The factor keeps the size of the gradient as T changes. No gradient flows to the teacher.

    Args:
        scores, teacher_scores: (N, classes).
        temperature: T > 0; the larger, the more the teacher's small scores count.

    Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, sec. 2.
    """
    return temperature**2 * distributional(scores / temperature, teacher_scores / temperature)


LABEL_LOSSES = {"cross_entropy": cross_entropy, "squared_hinge": squared_hinge}
LOSSES = {**LABEL_LOSSES, "distributional": distributional}
