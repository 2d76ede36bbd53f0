"""torch.compile down to machine code: what the quick tests trace only."""

import copy

import pytest
import torch

from bnnlib import models


@pytest.mark.parametrize("name", ["xnor-operator", "lsq-w2a2", "ir-net"])
def test_compiled_networks_agree_with_eager_ones(name):
    torch.manual_seed(0)
    net, x = models.MLP(name, width=32).train(), torch.randn(16, 784)
    net(x)  # LSQ reads its first step size from data
    compiled = torch.compile(copy.deepcopy(net))
    one, two = net(x), compiled(x)
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-4)
    one.square().mean().backward()
    two.square().mean().backward()
    for p, q in zip(net.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, rtol=1e-3, atol=1e-4)
