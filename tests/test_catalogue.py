from dataclasses import replace

import pytest
import torch
from torch import nn

import bnnlib
from bnnlib import catalogue, models
from bnnlib.catalogue import UnknownMethod
from bnnlib.catalogue.hooks import Hooks
from bnnlib.layers import binary_layers, quantized_layers

METHODS = list(bnnlib.methods)


def test_the_catalogue_prints_every_method_with_its_widths():
    text = repr(bnnlib.methods)
    for name, method in bnnlib.methods.items():
        line = next(line for line in text.splitlines() if line.startswith(name))
        assert method.widths in line


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
    assert method.block[0] == "layer"
    assert len(set(method.block)) == len(method.block)
    assert set(method.block) >= {"layer", "pool", "norm"}
    assert method.paper or name == "float"
    assert method.real_layers in (frozenset(), frozenset({"first", "last"}))
    assert method.widths.startswith("W")


@pytest.mark.parametrize("name", METHODS)
def test_declared_properties_hold(name):
    method = bnnlib.methods[name]
    w = torch.randn(8, 5)
    quantizer = method.weight_quantizer(8).eval()
    quantizer.fit_to_(w)
    if method.packable:
        codes, scale = quantizer.codes(w)
        assert torch.equal(codes * scale, quantizer(w))
        assert torch.equal(codes, codes.round())
    if method.two_valued:
        assert len(quantizer(w).unique()) == 2
    if method.idempotent:
        assert torch.equal(quantizer(quantizer(w)), quantizer(w))


# binary-biometrics is made of plain signs; the deep ones have the same blocks (tests/models/test_image_networks.py)
FOR_EVERY_METHOD = [
    name for name in models.MODELS if name not in ("binary-biometrics", "mobilenet-v2", "resnet18", "resnet20")
]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("model", FOR_EVERY_METHOD)
def test_every_network_builds_under_every_method_and_back_propagates(model, name):
    net, method = models.build(model, name), bnnlib.methods[name]
    method.on_epoch(net, 0.0)
    method.before_forward(net)
    out = net(torch.randn(4, *net.input_shape))
    assert out.shape == (4, 2 if model == "wake-word" else 10)
    out.square().sum().backward()
    method.after_backward(net)
    method.after_step(net)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_binaryconnect_binarises_every_layer_and_float_none():
    assert len(list(binary_layers(models.CompactCNN("binaryconnect-deterministic")))) == 6
    assert list(binary_layers(models.CompactCNN("float"))) == []


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("model", FOR_EVERY_METHOD)
def test_the_float_twin_has_the_same_parameters(model, name):
    def shapes(net):  # of layers and norms; what quantizers, branches and activations learn comes on top
        kinds = (nn.Linear, nn.Conv2d, nn.modules.batchnorm._BatchNorm)
        return [[p.shape for p in (m.weight, m.bias) if p is not None] for m in net.modules() if isinstance(m, kinds)]

    assert shapes(models.build(model, name)) == shapes(models.build(model, "float"))


@pytest.mark.parametrize("name", [n for n in METHODS if bnnlib.methods[n].real_layers])
def test_first_and_last_stay_real_or_become_eight_bit(name):
    inner = list(quantized_layers(models.CompactCNN(name)))
    assert len(inner) == 4
    with_ends = [
        layer.weight_quantizer.bits for _, layer in quantized_layers(models.CompactCNN(name, first_last="int8"))
    ]
    assert with_ends[0] == with_ends[-1] == 8
    assert len(with_ends) == 6


def test_a_method_that_would_kill_a_layer_leaves_it_real_and_says_so():
    everywhere = replace(bnnlib.methods["xnor-port"], real_layers=frozenset())
    with pytest.warns(UserWarning, match="stays real: one input channel per group"):
        net = models.CompactCNN(everywhere)
    assert len(list(binary_layers(net))) == 5


def test_blocks_follow_their_record():
    def parts(name):
        return [type(m).__name__ for m in models.CompactCNN(name).features]

    assert parts("xnor-naive")[:6] == ["BinConv2d", "MaxPool2d", "BatchNorm2d", "ScaledConv2d", "BatchNorm2d",
                                       "ScaledConv2d"]  # fmt: skip
    assert parts("xnor-port")[:5] == ["BinConv2d", "ReLU", "MaxPool2d", "BatchNorm2d", "BinConv2d"]
    assert parts("ir-net")[3:6] == ["HardTanh", "Residual", "HardTanh"]
    assert parts("reactnet")[3:6] == ["RPReLU", "Residual", "RPReLU"]


def test_a_step_clips_latent_weights():
    net = models.MLP("binaryconnect-deterministic", width=8)
    for _, layer in binary_layers(net):
        torch.nn.init.constant_(layer.weight, 7.0)
    bnnlib.methods["binaryconnect-deterministic"].after_step(net)
    assert all((layer.weight == 1).all() for _, layer in binary_layers(net))


def test_varied_changes_what_it_says_and_nothing_else():
    method = bnnlib.methods["binaryconnect-stochastic"]
    assert method.varied(clip=False).after_step == Hooks()
    assert method.varied(update_scaling=False).update_scale is None
    assert method.varied(probability="logistic").weight_quantizer(1).probability == "logistic"
    assert method.varied(clip=False).update_scale is method.update_scale
    for changes in ({"pruned": 0.5, "t_max": 1}, {"t_max": 1, "pruned": 0.5}):
        varied = bnnlib.methods["ie-net"].varied(**changes)
        assert "t_max=1" in repr(varied.weight_quantizer(3))
        assert "Pruned" in repr(varied.weight_quantizer(3))
        assert "t_max=1" in repr(varied.input_quantizer(3))
    assert not any(
        isinstance(m, torch.nn.BatchNorm2d) for m in models.CompactCNN(method.varied(batch_norm=False)).modules()
    )


def test_a_method_in_another_block_keeps_its_quantizers():
    own, common = bnnlib.methods["reactnet"], bnnlib.methods["reactnet"].varied(block=["layer", "pool", "norm"])
    net = models.CompactCNN(common)
    kinds = {type(module).__name__ for module in net.modules()}
    assert "RSign" in kinds
    assert not kinds & {"Residual", "RPReLU"}
    assert {"Residual", "RPReLU"} < {type(module).__name__ for module in models.CompactCNN(own).modules()}
    with pytest.raises(ValueError, match="no block part gelu"):
        own.varied(block=["layer", "norm", "gelu"])


def test_varied_refuses_what_a_method_does_not_have():
    with pytest.raises(ValueError, match="known changes: batch_norm, block, branches, clip"):
        bnnlib.methods["float"].varied(colour="red")
    with pytest.raises(ValueError, match="float has no clip to vary"):
        bnnlib.methods["float"].varied(clip=False)
    with pytest.raises(ValueError, match="ir-net has no t_max to vary"):
        bnnlib.methods["ir-net"].varied(t_max=1)


def test_unknown_models_and_bad_options_are_named():
    with pytest.raises(ValueError, match="known: binary-biometrics, command-cnn, compact-cnn, mlp"):
        models.build("resnet", "float")
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\), received 1"):
        models.MLP(dropout=1)
    for build in (models.ResNet18, models.ResNet20, models.MobileNetV2):
        layers = [m for m in build(dropout=0.2, width=8 if build is not models.MobileNetV2 else 0.25).modules()]
        assert [m.p for m in layers if isinstance(m, torch.nn.Dropout)] == [0.2]
    with pytest.raises(ValueError, match="at least 8"):
        models.CompactCNN(size=4)


def test_the_rules_by_which_a_layer_stays_real():
    bireal, port, twn = (bnnlib.methods[name] for name in ("bi-real", "xnor-port", "twn"))
    shape = (8, 4, 3, 3)
    assert catalogue.why_real(bnnlib.methods["float"], shape) == "float keeps every weight real"
    assert catalogue.why_real(bireal, shape, place="first") == "first layer, real under bi-real"
    assert catalogue.why_real(bnnlib.methods["bnn"], shape, place="first") is None
    assert "one input channel per group: xnor-port centres" in catalogue.why_real(port, (8, 1, 3, 3))
    assert "depthwise" in catalogue.why_real(bireal, (8, 1, 3, 3), groups=8)
    assert catalogue.why_real(twn, (8, 1, 3, 3), groups=8) is None, "activations stay real under twn"
    assert catalogue.why_real(bireal, (8, 1, 3, 3)) is None, "a grey image is no depthwise layer"
    assert "a single weight" in catalogue.why_real(twn, (8, 1, 1, 1))
    assert "padding_mode 'reflect'" in catalogue.why_real(port, shape, padding_mode="reflect")
    assert catalogue.why_real(bireal, shape, padding_mode="reflect") is None


def test_hooks_have_names():
    with pytest.raises(TypeError, match="a hook must be a function with a name"):
        Hooks(lambda model: None)


def test_real_weights_are_the_only_change_of_a_first_step():
    first = bnnlib.methods["xnor-port"].varied(weights="real")
    assert [hook.__name__ for hook in first.before_forward] == ["clamp_norm_scales"]
    assert (first.weight_bits, first.activation_bits, first.centring) == (32, 1, False)
    assert not bnnlib.methods["binaryconnect-stochastic"].varied(weights="real").stochastic
    with pytest.raises(ValueError, match="xnor-operator has no weights to vary"):
        bnnlib.methods["xnor-operator"].varied(weights="real")
