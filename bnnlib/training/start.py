"""Starting a training from another network's weights: two-step training, and few bits from a trained float network."""

import torch
from torch import nn

from bnnlib.layers import QuantizedLayer

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORM = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def start_from(model: nn.Module, source: nn.Module) -> None:
    """Takes over the weights of another network of the same layers, trained under any method.

    Layers and norms are paired in the order in which the networks register them, whatever stands around them. What a
    quantizer learns (a step size, a scale) is set from the new weights; what both networks learn beside that under the
    same name (thresholds, slopes) is copied.

    Args:
        model: changed in place.
        source: left as it is.

    Raises:
        ValueError: the networks have different layers; the first pair that differs is named.
    """
    ours, theirs = _parts(model), _parts(source)
    for (name, part), (other, given) in zip(ours, theirs, strict=False):
        shapes = [None if p.weight is None else tuple(p.weight.shape) for p in (part, given)]
        kinds = [isinstance(p, _NORM) for p in (part, given)]
        if shapes[0] != shapes[1] or kinds[0] != kinds[1]:
            raise ValueError(
                f"the networks differ: {name} is a {type(part).__name__} with weights {shapes[0]}, {other} of the "
                f"source a {type(given).__name__} with {shapes[1]}"
            )
    if len(ours) != len(theirs):
        raise ValueError(f"the networks differ: {len(ours)} layers and norms, the source has {len(theirs)}")
    for (_, part), (_, given) in zip(ours, theirs, strict=True):
        if isinstance(part, QuantizedLayer):
            part.take_weights_(given.weight, given.bias if part.bias is not None else None)
        else:
            own = {name: value for name, value in given.state_dict().items() if name in part.state_dict()}
            part.load_state_dict(own)
    state, given_state = model.state_dict(), source.state_dict()
    done = {
        f"{name}.{key}" for name, part in ours for key in ("weight", "bias", *dict(part.named_buffers(recurse=False)))
    }
    for name, value in state.items():
        if name not in done and name in given_state and given_state[name].shape == value.shape:
            value.copy_(given_state[name])


def _parts(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, m) for name, m in model.named_modules() if isinstance(m, (*_WEIGHTED, _NORM))]
