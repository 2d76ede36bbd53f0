"""Ternary weight networks (Li et al. 2016, arXiv:1605.04711): weights in {-alpha, 0, +alpha}, log2(3) = 1.58 bits."""

from typing import Literal

import torch
from torch import Tensor

from bnnlib.quantizers.base import Quantizer, per_filter


class Ternary(Quantizer):
    r"""Three-valued weights with a threshold and a scale.

    Forward: :math:`\Delta = 0.7\,\mathrm{mean}|W|`; codes :math:`\mathrm{sign}(W)\,1_{|W| > \Delta}`; scale α, the mean
    of \|W\| over the weights beyond Δ (eqs. 5 and 6).

    Gradient: straight through, no mask.

    Parameters: ``per``: ``"filter"`` (Δ and α for each output filter, shape (O, 1, ...)) or ``"layer"`` (one for the
    tensor), as some code has it. No trained parameters. ``bits`` is 2: a sign plane and a mask plane when packed.

    Source: arXiv:1605.04711, sec. 2.3. An all-zero filter gives zeros, scale 0.
    """

    bits = 2

    def __init__(self, per: Literal["filter", "layer"] = "filter"):
        super().__init__()
        if per not in ("filter", "layer"):
            raise ValueError(f'per must be "filter" or "layer", received {per!r}')
        self.per = per

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach()
        size = x.abs()
        rows = size.flatten(1) if self.per == "filter" else size.reshape(1, -1)
        kept = rows > 0.7 * rows.mean(1, keepdim=True)
        scale = (rows * kept).sum(1) / kept.sum(1).clamp(min=1)
        codes = torch.sign(x).mul_(kept.reshape(x.shape))
        return codes, per_filter(scale, x) if self.per == "filter" else scale.reshape(())

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return upstream

    def extra_repr(self) -> str:
        return f"per={self.per!r}"
