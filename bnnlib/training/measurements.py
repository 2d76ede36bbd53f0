"""What happens inside binary layers while they train: measured every twentieth step, a row per layer and epoch."""

import math
from collections import defaultdict

import torch
from torch import Tensor, nn

from bnnlib.layers import QuantizedLayer, binary_layers, latent_weights, quantized_layers
from bnnlib.quantizers import NotPackable
from bnnlib.quantizers.base import filter_mean

EVERY = 20  # steps; the measurement of one step costs about as much as a tenth of it
HISTOGRAM_BINS = 41
SATURATION = 0.99  # a latent weight beyond this share of the clip counts as saturated

COLUMNS = {
    "flips_per_step": "share of the weights' codes that one optimiser step changes",
    "saturated": "share of latent weights beyond 0.99 of the clip (one-bit weights)",
    "frozen": "share of latent weights at the clip or beyond whose gradient is exactly zero",
    "latent_mean": "mean absolute latent weight",
    "latent_spread": "deviation of the absolute latent weights of a filter over their mean",
    "weight_gradient": "norm of the latent weight's gradient, after the weight's estimator",
    "input_gradient": "norm of the gradient that the layer passes down, after the input's estimator",
    "input_bits": "width of the input's codes, None for real input",
    "input_slope": "mean of the input estimator's derivative",
    "input_positive": "share of the quantized input above zero",
    "input_zero": "share of the quantized input at zero",
    "input_size": "mean absolute value of the real input",
    "scale": "mean scale of the weight: alpha, or the step size",
    "scale_change": "relative change of that scale in one step",
    "input_scale": "step size of the input's quantizer",
    "input_scale_change": "relative change of that in one step",
    "dead_filters": "share of filters with scale zero",
    "schedule": "the estimator's scheduled t",
}


class LayerMeasurements:
    """Follows the binary layers of a network through an epoch; see :data:`COLUMNS` for what is measured.

    The training loop calls :meth:`begin` before the forward pass of a step, :meth:`before_step` after the backward
    pass, :meth:`after_step` after the optimiser's step, and :meth:`epoch` at the end of each epoch. It draws no random
    numbers and changes nothing.
    """

    def __init__(self, model: nn.Module, every: int = EVERY):
        self.every = every
        self._layers = dict(quantized_layers(model))
        self._sums: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in self._layers}
        self._before: dict[str, tuple[Tensor, float | None, float | None]] = {}
        self._hooks: list = []

    def begin(self, step: int) -> bool:
        """Whether this step (counted from 0) is measured; if so, inputs are watched until :meth:`after_step`."""
        self.close()
        if step % self.every or not self._layers:
            return False
        for name, layer in self._layers.items():
            self._hooks.append(layer.register_forward_pre_hook(self._watch_input(name)))
        return True

    def close(self) -> None:
        """Stops watching inputs."""
        while self._hooks:
            self._hooks.pop().remove()

    @torch.no_grad()
    def before_step(self) -> None:
        """Measures gradients and latent weights, after the backward pass."""
        for name, layer in self._layers.items():
            sums, weight, size = self._sums[name], layer.weight, layer.weight.detach().abs()
            limit = getattr(layer.weight_quantizer, "amplitude", 1.0) if layer.weight_quantizer.bits == 1 else math.inf
            sums["saturated"].append((size >= SATURATION * limit).float().mean().item())
            sums["latent_mean"].append(size.mean().item())
            rows = size.flatten(1)
            spread = rows.std(1) / rows.mean(1).clamp(min=1e-12) if rows.shape[1] > 1 else rows.new_zeros(1)
            sums["latent_spread"].append(spread.mean().item())
            if weight.grad is not None:
                sums["weight_gradient"].append(weight.grad.norm().item())
                sums["frozen"].append(((size >= limit) & (weight.grad == 0)).float().mean().item())
            scale = _scale(layer)
            if scale is not None:
                sums["scale"].append(scale.abs().mean().item())
                sums["dead_filters"].append((scale == 0).float().mean().item())
            step = getattr(layer.input_quantizer, "step", None)
            if step is not None:
                sums["input_scale"].append(step.item())
            for quantizer in (layer.weight_quantizer, layer.input_quantizer):
                if hasattr(quantizer, "t"):
                    sums["schedule"].append(quantizer.t)
            self._before[name] = (
                _codes(layer)[0],
                None if scale is None else scale.abs().mean().item(),
                None if step is None else step.item(),
            )

    @torch.no_grad()
    def after_step(self) -> None:
        """Measures what the optimiser and the method's hook have changed."""
        self.close()
        for name, (codes, scale, step) in self._before.items():
            layer, sums = self._layers[name], self._sums[name]
            after = _codes(layer)[0]
            sums["flips_per_step"].append((after != codes).float().mean().item())
            now = _scale(layer)
            if scale:
                sums["scale_change"].append(abs(now.abs().mean().item() - scale) / scale)
            if step:
                sums["input_scale_change"].append(abs(layer.input_quantizer.step.item() - step) / step)
        self._before.clear()

    def epoch(self, epoch: int) -> list[dict]:
        """The means of what was measured since the last call, a row for each layer; None where nothing was."""
        rows = []
        for name, sums in self._sums.items():
            means = {column: sum(sums[column]) / len(sums[column]) if sums[column] else None for column in COLUMNS}
            rows.append({"epoch": epoch, "layer": name, **means})
            sums.clear()
        return rows

    def _watch_input(self, name: str):
        def hook(layer: QuantizedLayer, arguments: tuple[Tensor, ...]) -> tuple[Tensor] | None:
            (x,), sums, quantizer = arguments, self._sums[name], layer.input_quantizer
            with torch.no_grad():
                real = x.detach()
                value = quantizer.value(real) if quantizer.bits is not None else real
                if quantizer.bits is not None:
                    sums["input_bits"].append(quantizer.bits)
                sums["input_positive"].append((value > 0).float().mean().item())
                sums["input_zero"].append((value == 0).float().mean().item())
                sums["input_size"].append(real.abs().mean().item())
                if quantizer.bits is not None:
                    try:
                        slope = quantizer.gradient(real, torch.ones_like(real))
                        sums["input_slope"].append(slope.float().mean().item())
                    except NotPackable:  # a rule of several arguments: no single slope
                        pass
            if not x.requires_grad:
                return None
            own = x.view_as(x)  # a tensor of the layer's own: a shortcut beside it has a gradient too
            own.register_hook(lambda gradient: sums["input_gradient"].append(gradient.norm().item()))
            return (own,)

        return hook


class LatentMeasurements:
    """Follows the latent weights of a network from epoch to epoch."""

    def __init__(self, model: nn.Module):
        self._model = model
        self._signs = self._now()

    def _now(self) -> dict[str, Tensor]:
        return {name: weight >= 0 for name, weight in latent_weights(self._model).items()}

    def flips(self) -> float | None:
        """Share of binary weights whose sign changed since the last call (or since this object was made)."""
        before, self._signs = self._signs, self._now()
        total = sum(signs.numel() for signs in before.values())
        return sum((self._signs[n] != before[n]).sum().item() for n in before) / total if total else None

    def saturated(self) -> float | None:
        """Share of latent weights beyond 0.99 of the clip."""
        total = beyond = 0
        for _, layer in binary_layers(self._model):
            total += layer.weight.numel()
            limit = SATURATION * getattr(layer.weight_quantizer, "amplitude", 1.0)
            beyond += (layer.weight.detach().abs() >= limit).sum().item()
        return beyond / total if total else None

    def histograms(self) -> dict[str, list[int]]:
        """Layer -> counts of its latent weights in 41 equal parts of [-1, 1]."""
        return {
            name: torch.histc(w.float().clamp(-1, 1).cpu(), HISTOGRAM_BINS, -1, 1).int().tolist()
            for name, w in latent_weights(self._model).items()
        }


def _codes(layer: QuantizedLayer) -> tuple[Tensor, Tensor]:
    """Codes and scale of the weight as evaluation has them: of a stochastic quantizer the sign, not a draw."""
    quantizer, mode = layer.weight_quantizer, layer.weight_quantizer.training
    quantizer.training = False
    try:
        return quantizer.codes(layer.weight)
    finally:
        quantizer.training = mode


def _scale(layer: QuantizedLayer) -> Tensor | None:
    """The weight's scale; of a layer in XNOR-Net's procedure that of the latent weight."""
    try:
        return _codes(layer)[1].detach()
    except NotPackable:
        return None


def dead_filters(model: nn.Module) -> dict[str, int]:
    """Layer -> number of filters that are zero whatever their input, for the binary layers that have any."""
    found = {}
    for name, layer in binary_layers(model):
        scale = _scale(layer)
        if scale is not None and (dead := int((scale == 0).sum())):
            found[name] = dead if scale.dim() else layer.weight.shape[0]
        elif not filter_mean(layer.weight.detach().abs()).any():
            found[name] = layer.weight.shape[0]
    return found
