"""Weights of mean 0 and variance 1 in each filter, and the gradient through that: IR-Net's and IE-Net's."""

from torch import Tensor

from bnnlib.quantizers.base import filter_mean, per_filter


def standardised(weight: Tensor, eps: float = 0.0) -> tuple[Tensor, Tensor]:
    """A weight (O, ...) with mean 0 and variance 1 in each filter, and its deviation (O, 1, ...).

    The variance is unbiased (n - 1); ``eps`` is added to it.
    """
    centred = weight - filter_mean(weight)
    n = weight[0].numel() if len(weight) else 0
    variance = per_filter(centred.flatten(1).square().sum(1), weight) / (n - 1)
    deviation = (variance + eps).sqrt_()
    return centred / deviation, deviation


def through_standardisation(inner: Tensor, normal: Tensor, deviation: Tensor) -> Tensor:
    """The gradient of a weight, given that of its standardised form; all (O, ...), ``deviation`` (O, 1, ...)."""
    n = normal[0].numel()
    along = per_filter((inner * normal).flatten(1).sum(1), normal) / (n - 1)
    return (inner - filter_mean(inner)).addcmul_(normal, along, value=-1).div_(deviation)
