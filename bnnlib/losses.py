"""The losses that methods prescribe. Each takes scores (N, classes) and targets, and gives a scalar.

Targets are integer labels (N,), but for :func:`distributional`, which takes a teacher's scores (N, classes).
"""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy, mean over the batch: what a float network uses unless its method says otherwise."""
    return F.cross_entropy(scores, labels)


def squared_hinge(scores: Tensor, labels: Tensor) -> Tensor:
    r"""Mean over batch *and* classes of :math:`\max(0, 1 - t\,o)^2`, targets t = +1 for the label, -1 elsewhere.

    Source: BinaryConnect (arXiv:1511.00363, sec. 3.1) and its code, where the last layer ends in batch norm.
    """
    targets = 2 * F.one_hot(labels, scores.shape[1]).to(scores.dtype) - 1
    return F.relu(1 - targets * scores).square().mean()


def distributional(scores: Tensor, teacher_scores: Tensor) -> Tensor:
    r"""Cross-entropy between the class distributions of a teacher and the network, mean over the batch.

    :math:`-\frac1N\sum_n\sum_c \mathrm{softmax}(t_n)_c \log\mathrm{softmax}(s_n)_c`; labels are not used, and no
    gradient flows to the teacher.

    Source: ReActNet (Liu et al. 2020, arXiv:2003.03488), eq. 8, which prints a divergence: it differs by a constant.
    """
    return F.cross_entropy(scores, teacher_scores.detach().softmax(1))


LOSSES = {"cross_entropy": cross_entropy, "squared_hinge": squared_hinge, "distributional": distributional}
