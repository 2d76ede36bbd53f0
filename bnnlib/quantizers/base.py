"""What a quantizer is.

A quantizer maps a real tensor to one with few values. It computes small-integer *codes* once and builds its output as
``codes * scale``, so that what training sees (``q(x)``) and what is packed (``q.codes(x)``) cannot disagree.
"""

import torch
from torch import Tensor, nn


class NotPackable(TypeError):
    """The quantizer's output has no exact few-valued form; the message says why."""


class Quantizer(nn.Module):
    """Base of all quantizers: ``q(x)`` for training, ``q.codes(x)`` for exact arithmetic.

    Subclasses implement :meth:`codes` and :meth:`forward`, with ``forward(x) == codes * scale`` by value, and the
    paper's gradient. ``bits`` is the width of a code, ``None`` where there is none.
    """

    bits: int | None = None

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (same shape and dtype as ``x``, small integers) and the scale (broadcasts against ``x``)."""
        raise NotPackable(f"{type(self).__name__} has no codes: it does not map to few values")

    def sample(self, x: Tensor) -> Tensor:
        """One draw of the output, in any mode; for a deterministic quantizer its ordinary output."""
        return self(x)

    @torch.no_grad()
    def init_latent_(self, weight: Tensor) -> None:
        """Initialises a latent weight in place as the paper does; the default leaves the layer's own choice."""


class Identity(Quantizer):
    r"""Leaves its input real: the quantizer of a float network.

    Forward: :math:`q(x) = x`.

    Gradient: :math:`\partial q / \partial x = 1`.

    Raises :class:`NotPackable` from :meth:`codes`.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotPackable("Identity keeps real values: a float layer cannot be packed into bits")
