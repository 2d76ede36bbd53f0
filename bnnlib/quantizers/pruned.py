"""Magnitude pruning (Han et al. 2015, arXiv:1506.02626): the smallest weights are 0, under any weight quantizer."""

import torch
from torch import Tensor

from bnnlib.quantizers.base import Quantizer
from bnnlib.quantizers.dorefa import DoReFaWeight


class Pruned(Quantizer):
    r"""Another weight quantizer whose smallest latent weights are 0: float becomes sparse, signs become ternary.

    Forward: :math:`q(W) \odot M`, where M is 0 at the share of a layer's weights that are smallest in absolute value
    and 1 elsewhere; of equals the earlier ones go. M is set from the layer's initial weights, and again when weights
    are replaced (:func:`bnnlib.training.start_from`), and stays: training goes on with what is left.

    Gradient: that of q, times M, so that pruned weights stand still.

    Parameters: ``quantizer``: of the weights that are left; ``share``: of a layer's weights that go, in [0, 1). No
    trained parameters of its own. A scale that q computes is computed of all weights. ``bits`` is 2 where q has signs:
    -1, 0 and +1.

    Source: arXiv:1506.02626, sec. 3, in one step; a threshold for each layer by its share, where the paper takes a
    multiple of its standard deviation.

    Raises:
        ValueError: a share outside [0, 1), or a quantizer whose grid has no 0.
    """

    def __init__(self, quantizer: Quantizer, share: float):
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"the share of weights that are pruned must lie in [0, 1), received {share!r}")
        if isinstance(quantizer, DoReFaWeight) and quantizer.bits > 1:
            raise ValueError(f"{quantizer!r} has odd codes, and no 0 for weights that are pruned")
        self.quantizer, self.share = quantizer, float(share)
        self.bits = 2 if quantizer.bits == 1 else quantizer.bits
        self.register_buffer("left", torch.ones((), dtype=torch.bool))  # set with the first weight

    def __getattr__(self, name: str):
        """What the quantizer has beside the methods below: a scale, an amplitude."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("quantizer"), name)

    @torch.no_grad()
    def init_latent_(self, weight: Tensor) -> None:
        self.quantizer.init_latent_(weight)

    @torch.no_grad()
    def fit_to_(self, weight: Tensor) -> None:
        self.quantizer.fit_to_(weight)
        left = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
        smallest = weight.abs().flatten().argsort(stable=True)[: round(self.share * weight.numel())]
        left[smallest] = False
        self.left = left.reshape(weight.shape)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        codes, scale = self.quantizer.codes(x)
        return codes * self.left, scale

    def value(self, x: Tensor) -> Tensor:
        return self.quantizer.value(x) * self.left

    def sample(self, x: Tensor) -> Tensor:
        return self.quantizer.sample(x) * self.left

    def forward(self, x: Tensor) -> Tensor:
        return self.quantizer(x) * self.left

    def extra_repr(self) -> str:
        return f"share={self.share:g}"
