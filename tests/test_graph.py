"""Who feeds whom: the trace of a network."""

import pytest
import torch
from torch import nn

from bnnlib.graph import NotTraceable, registered_names, trace
from bnnlib.layers import BinLinear, HardTanh, Residual, RPReLU


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        self.pool, self.mul = nn.MaxPool2d(2), nn.Conv2d(4, 4, 1)

    def forward(self, x, mask=None):
        x = self.act(self.norm(self.conv(x)))
        if mask is not None:
            x = x * mask
        return torch.cat([self.pool(x), self.act(self.mul(self.pool(x)))], 1).log1p()


def test_nodes_stand_in_the_order_of_execution_and_know_their_neighbours():
    net = Net()
    graph = trace(net)
    assert [node.what for node in graph.nodes if node.module is not None] == [
        "Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "MaxPool2d", "Conv2d", "ReLU",
    ]  # fmt: skip
    first, second = graph.calls(net.act)
    assert [node.module for node in first.fed_by] == [net.norm]
    assert [node.module for node in first.feeds] == [net.pool, net.pool]
    assert second.feeds[0].function is torch.cat
    assert [node.kind for node in graph.nodes][-1] == "output"


def test_a_map_is_non_negative_because_of_its_sources_and_known_by_its_parts():
    net = Net()
    graph = trace(net)
    joined = next(node for node in graph.nodes if node.function is torch.cat)
    assert graph.sources_of_non_negative(joined) == set(graph.calls(net.act))
    assert [graph.sources_of_non_negative(part) for part in graph.parts(joined)] == [{c} for c in graph.calls(net.act)]
    (conv,) = graph.calls(net.mul)
    assert graph.sources_of_non_negative(conv) is None, "a module named mul is no product"
    assert graph.sources_of_non_negative([joined, conv]) is None


def test_the_ends_of_a_map_and_what_relies_on_its_sign():
    net = Net()
    graph = trace(net)
    first, second = graph.calls(net.act)
    assert [end.what for end in graph.ends(first)] == ["Conv2d", "a functional log1p"]
    assert graph.relies_on_sign(second).what == "a functional log1p"


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [([nn.Conv1d(2, 6, 1), nn.BatchNorm1d(6)], (6, -2)), ([nn.Linear(2, 6), nn.BatchNorm1d(6)], (6, -1)),
     ([nn.Conv2d(2, 6, 1), nn.Dropout(), nn.ReLU()], (6, -3)), ([nn.Linear(2, 6), nn.LayerNorm(6)], (6, -1)),
     ([nn.BatchNorm1d(6)], (6, None)), ([nn.Conv2d(2, 6, 1), nn.Flatten()], None)],
)  # fmt: skip
def test_the_channels_of_a_map_and_their_axis(layers, wanted):
    graph = trace(nn.Sequential(*layers))
    found = graph.channels(graph.nodes[-2])
    assert (found and found[:2]) == wanted


def test_the_norm_after_a_layer_is_the_one_that_alone_sees_it():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Tanh(),
        nn.BatchNorm2d(4),
    )  # fmt: skip
    graph = trace(net)
    assert graph.norm_after(graph.calls(net[0])[0]) is net[3]
    assert graph.norm_after(graph.calls(net[4])[0]) is None


def test_the_librarys_layers_are_seen_as_they_are_and_shortcuts_through():
    net = nn.Sequential(Residual(BinLinear(4, 4), nn.Identity()), HardTanh(), RPReLU(4))
    assert [node.what for node in trace(net).nodes[1:-1]] == [
        "BinLinear", "Identity", "a functional add", "HardTanh", "RPReLU",
    ]  # fmt: skip


def test_names_of_a_shared_module():
    net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()))
    net[1].append(net[0])
    assert registered_names(net)[net[0]] == ["0", "1.1"]


def test_a_network_that_asks_its_data_cannot_be_traced():
    class Asking(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(NotTraceable, match="cannot be traced \\(TraceError"):
        trace(Asking())
    assert torch.backends.mha.get_fastpath_enabled()
