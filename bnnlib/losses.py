"""The losses that methods prescribe. Each takes scores (N, classes) and integer labels (N,), and gives a scalar."""

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


LOSSES = {"cross_entropy": cross_entropy, "squared_hinge": squared_hinge}
