"""What comes before a sign: a map that is never negative would make it +1 everywhere."""

from torch import nn

from bnnlib.catalogue import Method
from bnnlib.convert.sharing import replace_everywhere
from bnnlib.graph import Channels, Graph, Node, registered_names
from bnnlib.layers import HardTanh, RPReLU

RECTIFIERS = (nn.ReLU, nn.ReLU6)
Row = tuple[str, str, str, str]
_FEED = ("feeds", "feed")  # one, several


def mend_activations(
    model: nn.Module, graph: Graph, binary: dict[nn.Module, str], method: Method
) -> tuple[list[Row], list[str]]:
    """Replaces the rectifiers that feed a sign, in place; says what else does.

    Args:
        model: the network, changed in place.
        graph: its trace.
        binary: the layers that take signs of their input, as the trace has them, and their names.
        method: its block says what a rectifier is replaced by.

    Returns:
        Rows for the report, and what is to be warned of.

    Raises:
        ValueError: a rectifier that is called several times feeds a sign in one place, and in another reaches what may
            rely on its values not being negative.
    """
    names = registered_names(model)
    feeds: dict[Node, dict[str, nn.Module]] = {}  # what makes a map non-negative -> the layers whose signs see it
    for layer, name in binary.items():
        for call in graph.calls(layer):
            for part in graph.parts(call.input):
                sources = graph.sources_of_non_negative(part) or frozenset()
                # a sum or product with a rectified map can be negative as soon as the rectifier is replaced
                for source in {s for s in sources if isinstance(s.module, RECTIFIERS)} or sources:
                    feeds.setdefault(source, {})[name] = layer
    rows, warned = [], []
    for source in (node for node in graph.nodes if node in feeds):
        if isinstance(source.module, RECTIFIERS):
            continue
        why = (
            f"{source.what} feeds the sign of {', '.join(sorted(feeds[source]))}, which is always +1: put a norm "
            "between (an nn.ReLU module would be replaced)"
        )
        rows.append((source.name, source.what, "note", why))
        warned.append(why)
    for module in dict.fromkeys(node.module for node in graph.nodes if isinstance(node.module, RECTIFIERS)):
        calls = graph.calls(module)
        layers = {name: layer for call in calls for name, layer in feeds.get(call, {}).items()}
        if not layers:
            continue
        name = names[module][0]
        why = f"feeds the sign of {', '.join(sorted(layers))}, which would be +1 everywhere"
        for call in calls:
            relying = graph.relies_on_sign(call)
            if relying is not None and call not in feeds:
                raise ValueError(
                    f"{name} is called {len(calls)} times. In one place it {why}, so it must be replaced; in another "
                    f"it reaches {_described(relying)}, which may rely on its values not being negative: give each "
                    f"place an nn.{type(module).__name__} of its own"
                )
            if relying is not None:
                why += f"; {_described(relying)}, which it reaches too, can be negative now"
        if idle := sum(call not in feeds for call in calls):
            why += f"; replaced in all of its {len(calls)} calls, though {idle} of them {_FEED[idle > 1]} no sign"
        found = {graph.channels(call.input) for call in calls}
        instead = _replacement(method, found, next(iter(layers.values())))
        replace_everywhere(model, module, instead)
        rows.append((name, type(module).__name__, "replaced", f"by {type(instead).__name__}: {why}"))
    return rows, warned


def mend_untraced(model: nn.Module, like: nn.Module, method: Method) -> list[Row]:
    """Replaces every rectifier of a network that can't be traced, in place; returns rows for the report.

    Args:
        model: the network, changed in place.
        like: a layer whose device and dtype new parameters get.
        method: its block says what a rectifier is replaced by.
    """
    rows = []
    for module, names in registered_names(model).items():
        if isinstance(module, RECTIFIERS):
            instead = _replacement(method, set(), like)
            replace_everywhere(model, module, instead)
            why = f"by {type(instead).__name__}: the network cannot be traced"
            rows.append((names[0], type(module).__name__, "replaced", why))
    return rows


def _described(node: Node) -> str:
    return "the network's output" if node.kind == "output" else node.what


def _replacement(method: Method, found: set[Channels | None], fed: nn.Module) -> nn.Module:
    """What a method's block has in place of a rectifier.

    Args:
        method: the record.
        found: the channels of the maps that it takes, None among them where they are unknown.
        fed: the layer whose sign it feeds; new parameters are like the module's that made the map, or else like its.
    """
    after_norm = method.activation is not None and method.block.index(method.activation) > method.block.index("norm")
    if after_norm and method.activation == "hardtanh":
        return HardTanh()
    if after_norm and method.activation == "rprelu":
        made = next((channels.module for channels in found if channels is not None), fed)
        weight = next(iter(made.parameters()), None)
        weight = fed.weight if weight is None else weight
        like = {"device": weight.device, "dtype": weight.dtype}
        shapes = {channels and channels[:2] for channels in found}
        if len(shapes) == 1 and (shape := shapes.pop()) is not None:
            return RPReLU(shape[0], channel_axis=shape[1], **like)
        return nn.PReLU(**like)
    return nn.Identity()
