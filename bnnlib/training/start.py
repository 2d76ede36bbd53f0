"""Starting a training from another network's weights: two-step training, and few bits from a trained float network."""

from collections.abc import Iterator

import torch
from torch import nn

from bnnlib.layers import QuantizedLayer
from bnnlib.quantizers import Quantizer

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORM = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def start_from(model: nn.Module, source: nn.Module) -> None:
    """Takes over the weights of another network of the same layers, trained under any method.

    Layers and norms are paired in the order in which the networks register them, whatever is around them. What a
    quantizer learns (a step size, a scale) is set from the new weights, or copied where the source has the same
    quantizer of the same width; what both networks learn beside that under the same name (thresholds, slopes) is
    copied.

    Args:
        model: changed in place.
        source: left as it is.

    Raises:
        ValueError: the networks have different layers, or only one of a pair has a bias; the first pair that differs is
            named.
    """
    ours, theirs = _parts(model), _parts(source)
    for (name, part), (other, given) in zip(ours, theirs, strict=False):
        if _shapes(part) != _shapes(given):
            raise ValueError(
                f"the networks differ: {name} is a {type(part).__name__} with {_shapes(part)}, {other} of the source a "
                f"{type(given).__name__} with {_shapes(given)}"
            )
    if len(ours) != len(theirs):
        raise ValueError(f"the networks differ: {len(ours)} layers and norms, the source has {len(theirs)}")
    for (_, part), (_, given) in zip(ours, theirs, strict=True):
        if isinstance(part, QuantizedLayer):
            part.take_weights_(given.weight, given.bias)
        else:
            own = part.state_dict()
            part.load_state_dict({name: value for name, value in given.state_dict().items() if name in own})
    taken = {id(value) for _, part in ours for value in (*part.parameters(recurse=False), *part.buffers(recurse=False))}
    refitted = {id(value) for value in _of_other_quantizers(model, source)}
    state, given_state = model.state_dict(keep_vars=True), source.state_dict()
    for name, value in state.items():
        copied = name in given_state and given_state[name].shape == value.shape
        if copied and id(value) not in taken | refitted:
            value.copy_(given_state[name])


def _parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, m) for name, m in model.named_modules() if isinstance(m, (*_WEIGHTED, _NORM))]


def _shapes(part: nn.Module) -> str:
    """The weights of a layer or norm in words."""
    weight, bias = (None if p is None else tuple(p.shape) for p in (part.weight, part.bias))
    kind = "norm over" if isinstance(part, _NORM) else "weights"
    return f"{kind} {weight}, {'no bias' if bias is None else 'a bias'}"


def _of_other_quantizers(model: nn.Module, source: nn.Module) -> Iterator[torch.Tensor]:
    """What the model's quantizers learn for which the source has another quantizer, or one of another width."""
    theirs = dict(source.named_modules())
    for name, quantizer in model.named_modules():
        if isinstance(quantizer, Quantizer) and repr(theirs.get(name)) != repr(quantizer):
            yield from (*quantizer.parameters(), *quantizer.buffers())
