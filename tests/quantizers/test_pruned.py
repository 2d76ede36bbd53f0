"""Pruning by magnitude, beside PyTorch's own."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import bnnlib
from bnnlib import data, models
from bnnlib.layers import BinLinear
from bnnlib.quantizers import LSQ, Identity, Pruned, SteSign
from bnnlib.training import Settings, fit, seeded, start_from

NO_ZERO = ("dorefa-w2a2", "dorefa-w2a32")  # grids of odd codes
PRUNABLE = [name for name, method in bnnlib.methods.items() if not method.centring and name not in NO_ZERO]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.99])
def test_the_weights_that_stay_are_those_of_pytorch(share):
    theirs = nn.Linear(37, 11)
    quantizer = Pruned(Identity(), share)
    quantizer.fit_to_(theirs.weight)
    prune.l1_unstructured(theirs, "weight", round(share * 37 * 11))
    assert torch.equal(quantizer.left, theirs.weight_mask.bool())
    assert torch.equal(quantizer(theirs.weight_orig), theirs.weight)


def test_of_equal_weights_the_earlier_go():
    quantizer = Pruned(SteSign(), 0.5)
    quantizer.fit_to_(torch.tensor([[1.0, -1.0, 1.0, -1.0]]))
    assert quantizer.left.tolist() == [[False, False, True, True]]


def test_signs_become_ternary_and_pruned_weights_stand_still():
    layer = BinLinear(6, 4, bias=False, weight_quantizer=Pruned(SteSign(), 0.5))
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-0.9, 0.9, 24).reshape(4, 6))
    layer.weight_quantizer.fit_to_(layer.weight)
    x = torch.randn(5, 6)
    layer(x).square().sum().backward()
    left = layer.weight_quantizer.left
    assert layer.weight_quantizer.bits == 2
    codes, _ = layer.weight_quantizer.codes(layer.weight)
    assert torch.equal(codes, torch.where(layer.weight.abs() > 0.47, torch.sign(layer.weight), 0.0).detach())
    assert (layer.weight.grad[~left] == 0).all()
    assert (layer.weight.grad[left] != 0).all()


def test_it_is_the_quantizers_value_where_weights_stay():
    quantizer = LSQ(2)
    wrapped, weight = Pruned(copy.deepcopy(quantizer), 0.4), torch.randn(8, 5)
    quantizer.fit_to_(weight)
    wrapped.fit_to_(weight)
    left = wrapped.left
    assert torch.equal(wrapped(weight)[left], quantizer(weight)[left])
    assert (wrapped(weight)[~left] == 0).all()
    assert torch.equal(wrapped(weight), wrapped.value(weight))


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_outside_are_refused(share):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        Pruned(Identity(), share)


def test_what_has_no_zero_or_centres_whole_filters_is_refused():
    for name in ("xnor-operator", "bwn-port"):
        with pytest.raises(ValueError, match=f"{name} has no pruned to vary"):
            bnnlib.methods[name].varied(pruned=0.5)
    for name in NO_ZERO:
        with pytest.raises(ValueError, match="no 0 for weights that are pruned"):
            models.CompactCNN(bnnlib.methods[name].varied(pruned=0.5))


def zeros(model):
    """The share of zeros among the weights as they are used, by layer."""
    return {
        name: (layer.weight_quantizer.value(layer.weight) == 0).float().mean().item()
        for name, layer in model.named_modules()
        if isinstance(getattr(layer, "weight_quantizer", None), Pruned)
    }


@pytest.fixture(scope="module")
def splits():
    return data.load("FashionMNIST", "quick", train_size=300)


@pytest.mark.parametrize("name", PRUNABLE)
def test_every_method_trains_pruned_and_packs(name, splits):
    method = bnnlib.methods[name].varied(pruned=0.5, loss="cross_entropy")
    seeded(0)
    trained = fit(models.CompactCNN(method), method, splits, Settings(epochs=1, batch_size=50, select="last")).model
    shares = zeros(trained)
    assert len(shares) == (6 if not method.real_layers else 4)
    assert all(share >= 0.499 for share in shares.values())
    if not bnnlib.methods[name].packable and bnnlib.methods[name].quantizes:
        return
    packed = bnnlib.pack(trained, (1, 28, 28))
    x = splits.test.inputs(torch.arange(100))
    with torch.no_grad():
        theirs = trained(x).argmax(1).numpy()
    assert (packed.predict(x.numpy()) != theirs).mean() <= 0.01
    assert packed.bytes == bnnlib.summary(trained, (1, 28, 28)).bytes


def test_a_trained_network_loses_its_own_smallest_weights(splits):
    seeded(0)
    trained = fit(models.MLP("float", width=30), "float", splits, Settings(epochs=1, batch_size=50)).model
    method = bnnlib.methods["float"].varied(pruned=0.6)
    seeded(1)
    pruned = models.MLP(method, width=20)
    with pytest.raises(ValueError, match="the networks differ"):
        start_from(pruned, trained)
    seeded(0)
    source = models.MLP("float", width=20)
    start_from(pruned, source)
    (quantizer,) = (m for m in pruned.modules() if isinstance(m, Pruned))
    hidden = [m for m in source.modules() if isinstance(m, nn.Linear)][1].weight.detach()
    threshold = np.quantile(hidden.abs().numpy(), 0.6)
    assert torch.equal(quantizer.left, hidden.abs() > threshold)


def test_a_resumed_training_prunes_the_same(splits, tmp_path):
    method = bnnlib.methods["bnn"].varied(pruned=0.5)
    results = []
    for stops in ((2,), (1, 2)):
        checkpoint = tmp_path / f"{len(stops)}.pt"
        for epochs in stops:
            seeded(0)
            settings = Settings(epochs=2, batch_size=50, schedule="constant", select="last")
            observers = [Stop()] if epochs == 1 else []
            model = models.CompactCNN(method)
            try:
                result = fit(model, method, splits, settings, checkpoint=checkpoint, observers=observers)
            except KeyboardInterrupt:
                continue
        results.append(result)
    first, second = (result.model.state_dict() for result in results)
    assert all(torch.equal(first[name], second[name]) for name in first)


class Stop(bnnlib.training.Observer):
    """Interrupts after the first epoch."""

    def epoch(self, record):
        raise KeyboardInterrupt
