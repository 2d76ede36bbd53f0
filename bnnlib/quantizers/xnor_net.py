"""XNOR-Net (Rastegari et al. 2016, arXiv:1603.05279): the paper's formulas, and what two implementations do.

The paper binarises a weight as ``alpha * sign(W)`` with the mean absolute weight of each filter
(:class:`XnorSign`). The code of its authors (allenai/XNOR-Net, Lua) and its PyTorch port
(jiecaoyu/XNOR-Net-PyTorch) do more: before each step they *centre* the latent weight over its input channels and
*clamp* it to [-1, 1], and both stay in it (:class:`XnorProcedure`).
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from bnnlib.quantizers.base import FilterScaledSign, Sign, binary_sign, filter_mean, masked


class StrictSign(Sign):
    r"""The sign of activations with a strict mask, as both well-known implementations have it.

    Forward: :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.

    Gradient: :math:`\partial C/\partial x := \partial C/\partial q \cdot 1_{-1 < x < 1}`.

    Source: ``BinActive`` of jiecaoyu/XNOR-Net-PyTorch, ``BinarySigned`` of allenai/XNOR-Net; both have sign(0) = 0
    (``zero=0``). The paper's mask includes ±1 (:class:`~bnnlib.quantizers.SteSign`).
    """

    def derivative(self, x: Tensor) -> Tensor:
        return (x.abs() < 1).to(x.dtype)

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return masked(upstream, x, inclusive=False)


class XnorSign(FilterScaledSign):
    r"""The paper's binary weight: the sign times the mean absolute weight of its filter.

    Forward: :math:`q(W) = \alpha_o\,\mathrm{sign}(W)`, :math:`\alpha_o = \frac1n\sum|W_o|` (eqs. 5 and 6).

    Gradient, with :math:`G = \partial C/\partial q` and n weights in a filter, by name:

    * ``"printed"``: :math:`G\,(\frac1n + \alpha_o 1_{|W| \le 1})`, as the paper prints it (sec. 3.1). Its 1/n is only
      the diagonal of the derivative of α.
    * ``"exact"``: :math:`\frac{\mathrm{sign}(W)}{n} \sum_j G_j\,\mathrm{sign}(W_j) + \alpha_o G\,1_{|W| \le 1}`, the
      sum over the filter: α depends on every weight of it.

    Parameters: ``rule``; ``zero`` (the value of sign(0)). No trained parameters. α has shape (O, 1, ...).

    Source: arXiv:1603.05279. Known implementations centre and clamp as well: :class:`XnorProcedure`. NaN in a filter
    makes its α, and so its whole output, NaN; an all-zero filter gives zeros.
    """

    def __init__(self, rule: Literal["printed", "exact"] = "printed", *, zero: float = 1.0):
        super().__init__(zero=zero)
        if rule not in ("printed", "exact"):
            raise ValueError(f'rule must be "printed" or "exact", received {rule!r}')
        self.rule = rule

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        straight = upstream * filter_mean(x.abs()) * (x.abs() <= 1)
        if self.rule == "printed":
            return straight.add_(upstream, alpha=1 / x[0].numel())
        signs = binary_sign(x, self.zero)
        return straight.addcmul_(signs, filter_mean(upstream * signs))

    def extra_repr(self) -> str:
        return f"rule={self.rule!r}" + (f", zero={self.zero:g}" if self.zero != 1 else "")


def centred_clamped(weight: Tensor) -> Tensor:
    """The latent weight less its mean over the input channels (axis 1), clamped to [-1, 1]: a new tensor, no gradient.

    For a convolution there is a mean for each filter and tap, for a linear layer one for each row. With one input
    channel the result is zero: such a layer would be dead, so centring methods leave it real.
    """
    weight = weight.detach()
    return (weight - weight.mean(1, keepdim=True)).clamp_(-1, 1)


Rule = Literal["port", "port-imagenet", "allenai-sgd", "allenai-adam"]


def procedure_gradient(weight: Tensor, upstream: Tensor, rule: Rule = "port", zero: float = 1.0) -> Tensor:
    r"""The gradient that the well-known implementations give the centred, clamped latent weight :math:`\hat W`.

    With n weights and C input channels in a filter and :math:`G` the gradient of the binarised weight:

    * ``"port"``:
      :math:`n(1-\frac1C)\,[\alpha_o G + \frac{\mathrm{sign}(\hat W)}{n}\sum_j G_j\,\mathrm{sign}(\hat W_j)]`; the clip
      mask that its code also computes is always one after the clamp.
    * ``"port-imagenet"``: that times :math:`10^9`.
    * ``"allenai-sgd"``: :math:`n(1-\frac1C)\,G\,(\alpha_o 1_{|\hat W|<1} + \frac1n)`: the paper's diagonal, and a
      strict mask that stops α's term where the clamp bites.
    * ``"allenai-adam"``: :math:`10^9 (1-\frac1C)\,G\,(\alpha_o 1_{|\hat W|<1} + \frac1n)`, without the n.

    Args:
        weight: centred and clamped, (O, C, ...); upstream: same shape.
        zero: the value of sign(0).

    Source: ``updateBinaryGradWeight`` of jiecaoyu/XNOR-Net-PyTorch and allenai/XNOR-Net. Where a large L2 decay or
    Adam's epsilon meets them the constant factors matter; otherwise they cancel under Adam.
    """
    n, channels = weight[0].numel(), weight.shape[1]
    shrink = 1 - 1 / channels
    alpha = filter_mean(weight.abs())
    if rule.startswith("port"):
        signs = binary_sign(weight, zero)
        exact = (alpha * upstream).addcmul_(signs, filter_mean(upstream * signs))
        return exact.mul_(n * shrink * (1e9 if rule == "port-imagenet" else 1))
    diagonal = upstream * (alpha * (weight.abs() < 1) + 1 / n)
    return diagonal.mul_(shrink * (n if rule == "allenai-sgd" else 1e9))


class CentredSign(FilterScaledSign):
    r"""The binary weight of XNOR-Net's operator: what :class:`XnorProcedure` does, as one function of the weight.

    Forward: :math:`\alpha_o\,\mathrm{sign}(\hat W)` with :math:`\hat W` the centred, clamped weight.

    Gradient: :func:`procedure_gradient` by name, with respect to :math:`\hat W`; centring and clamping are not
    differentiated.

    Parameters: ``rule``; ``zero`` (the value of sign(0)). The procedure's centring persists in the latent weight: the
    operator layers (:class:`bnnlib.layers.OperatorConv2d` and its kin) write it there, an ordinary layer with this
    quantizer does not, and its trajectory differs from the first step on.

    Source: as :class:`XnorProcedure`.
    """

    def __init__(self, rule: Rule = "port", *, zero: float = 1.0):
        super().__init__(zero=zero)
        if rule not in get_args(Rule):
            raise ValueError(f"no rule {rule!r}; known: {', '.join(get_args(Rule))}")
        self.rule = rule

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().codes(centred_clamped(x))

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return procedure_gradient(centred_clamped(x), upstream, self.rule, self.zero)

    def extra_repr(self) -> str:
        return f"rule={self.rule!r}" + (f", zero={self.zero:g}" if self.zero != 1 else "")


class XnorProcedure(CentredSign):
    r"""The procedure of the implementations, in which a hook centres and clamps the latent weight before each step.

    Forward, in training: :math:`\alpha_o\,\mathrm{sign}(W)` of the latent weight as it is, which
    :meth:`centre_`, called by the catalogue's hook ``centre_weights``, has centred and clamped in place. In eval: of a
    centred, clamped copy (:func:`centred_clamped`).

    Gradient: :func:`procedure_gradient` by name.

    Parameters: ``rule``; ``zero`` (0 in both codes). Raises RuntimeError in a training forward pass if the weight has
    changed since it was last centred, because the hook was not called.

    Source: ``binop`` / ``util.py`` of jiecaoyu/XNOR-Net-PyTorch, ``util.lua`` of allenai/XNOR-Net. They save the
    centred weight, put the binary one in its place, and after the backward pass restore it and overwrite its gradient
    by the rule; the same numbers, but gradients of two backward passes before a step cannot add up there. Left out: the
    port's evaluation writes the centred weight back; allenai's evaluation binarises without centring and then restores
    the weight of before the last step, so that each epoch's last update is lost.
    """

    def __init__(self, rule: Rule = "port", *, zero: float = 1.0):
        super().__init__(rule, zero=zero)
        self._centred: int | None = None  # the version of the weight that was centred last

    @torch.no_grad()
    def centre_(self, weight: Tensor) -> None:
        """Centres and clamps a latent weight in place, as often as it is called."""
        weight.copy_(centred_clamped(weight))
        self._centred = weight._version

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return FilterScaledSign.codes(self, x) if self.training else super().codes(x)

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        if self.training:
            return procedure_gradient(x, upstream, self.rule, self.zero)
        return super().gradient(x, upstream)

    def sample(self, x: Tensor) -> Tensor:
        codes, scale = super().codes(x)
        return codes * scale

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling() and self._centred != x._version:
            raise RuntimeError(
                "a network of XNOR-Net's procedure was run in training mode without its hook: call "
                "method.before_forward(model) before the forward pass, and again after each change of the weights, as "
                "bnnlib.fit does"
            )
        return super().forward(x)
