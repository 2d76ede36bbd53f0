import pytest
import torch

import bnnlib
from bnnlib import catalogue, models
from bnnlib.catalogue import UnknownMethod
from bnnlib.layers import binary_layers

METHODS = list(bnnlib.methods)


def test_the_catalogue_prints_every_method_with_its_widths():
    text = repr(bnnlib.methods)
    for name, method in bnnlib.methods.items():
        line = next(line for line in text.splitlines() if line.startswith(name))
        assert f"W{method.weight_bits}A{method.activation_bits}" in line


def test_an_unknown_method_lists_the_known_and_the_nearest():
    with pytest.raises(UnknownMethod) as caught:
        catalogue.get("binaryconnect-stocastic")
    message = str(caught.value)
    assert all(name in message for name in METHODS)
    assert "did you mean 'binaryconnect-stochastic'?" in message


@pytest.mark.parametrize("name", METHODS)
def test_a_record_is_complete(name):
    method = bnnlib.methods[name]
    assert method.name == name
    assert method.title
    assert method.loss in bnnlib.losses.LOSSES
    assert set(method.block) == {"layer", "norm", "relu"}
    assert method.paper or name == "float"


@pytest.mark.parametrize("name", METHODS)
def test_declared_properties_hold(name):
    method = bnnlib.methods[name]
    quantizer = method.weight_quantizer().eval()
    w = torch.randn(8, 5)
    if "packable" in method.properties:
        codes, scale = quantizer.codes(w)
        assert torch.equal(codes * scale, quantizer(w))
    if "two-valued" in method.properties:
        assert len(quantizer(w).unique()) == 2
    if "idempotent" in method.properties:
        assert torch.equal(quantizer(quantizer(w)), quantizer(w))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("model", list(models.MODELS))
def test_every_network_builds_under_every_method_and_back_propagates(model, name):
    net = models.build(model, name)
    out = net(torch.randn(4, 1, 28, 28))
    assert out.shape == (4, 10)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_binaryconnect_binarises_every_layer_and_float_none():
    assert len(list(binary_layers(models.CompactCNN("binaryconnect-deterministic")))) == 6
    assert list(binary_layers(models.CompactCNN("float"))) == []


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("model", list(models.MODELS))
def test_the_float_twin_has_the_same_parameters(model, name):
    twin, net = models.build(model, "float"), models.build(model, name)
    assert {k: v.shape for k, v in net.state_dict().items()} == {k: v.shape for k, v in twin.state_dict().items()}


def test_a_step_clips_latent_weights():
    net = models.MLP("binaryconnect-deterministic", width=8)
    for _, layer in binary_layers(net):
        torch.nn.init.constant_(layer.weight, 7.0)
    bnnlib.methods["binaryconnect-deterministic"].step_done(net)
    assert all((layer.weight == 1).all() for _, layer in binary_layers(net))


def test_varied_changes_what_it_says_and_nothing_else():
    method = bnnlib.methods["binaryconnect-stochastic"]
    assert method.varied(clip=False).after_step is None
    assert method.varied(update_scaling=False).update_scale is None
    assert method.varied(probability="logistic").weight_quantizer().probability == "logistic"
    assert method.varied(clip=False).update_scale is method.update_scale
    assert not any(
        isinstance(m, torch.nn.BatchNorm2d) for m in models.CompactCNN(method.varied(batch_norm=False)).modules()
    )


def test_varied_refuses_what_a_method_does_not_have():
    with pytest.raises(ValueError, match="known changes: batch_norm, clip"):
        bnnlib.methods["float"].varied(colour="red")
    with pytest.raises(ValueError, match="float has no clip to vary"):
        bnnlib.methods["float"].varied(clip=False)


def test_unknown_models_and_bad_options_are_named():
    with pytest.raises(ValueError, match="known: compact-cnn, mlp"):
        models.build("resnet", "float")
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), received 1"):
        models.MLP(dropout=1)
    with pytest.raises(ValueError, match="at least 8"):
        models.CompactCNN(size=4)
