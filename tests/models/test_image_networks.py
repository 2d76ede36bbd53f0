"""The networks for CIFAR-10 beside torchvision's, which they are in float but for what is named."""

import warnings

import pytest
import torch
from torch import nn

import bnnlib
from bnnlib import models
from bnnlib.layers import Residual, quantized_layers
from bnnlib.models.blocks import Builder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own extension, which links CUDA
    import torchvision


def count(net):
    return sum(p.numel() for p in net.parameters())


def test_resnet_18_has_torchvisions_layers_but_for_the_stem_and_the_norm_of_the_scores():
    theirs = torchvision.models.resnet18(num_classes=10)
    theirs.conv1 = nn.Conv2d(3, 64, 3, bias=False)
    assert count(models.ResNet18()) == count(theirs) - 10 + 20  # no bias of the classifier, but its batch norm
    shapes = sorted(tuple(p.shape) for p in theirs.parameters() if p.dim() == 4)
    assert sorted(tuple(p.shape) for p in models.ResNet18().parameters() if p.dim() == 4) == shapes


def test_mobilenet_v2_has_torchvisions_layers_but_for_the_norm_of_the_scores():
    theirs = torchvision.models.mobilenet_v2(num_classes=10)
    assert count(models.MobileNetV2()) == count(theirs) - 10 + 20
    shapes = [tuple(p.shape) for p in theirs.parameters() if p.dim() == 4]
    assert [tuple(p.shape) for p in models.MobileNetV2().parameters() if p.dim() == 4] == shapes


def test_a_basic_block_is_torchvisions():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet.BasicBlock(8, 8).eval()
    ours = nn.Sequential(*Builder("float").basic_block(8, 8)).eval()
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 8, 7, 7)
    torch.testing.assert_close(ours(x), theirs(x))


def test_an_inverted_residual_is_torchvisions():
    torch.manual_seed(0)
    for outputs, stride in ((8, 1), (16, 1), (16, 2)):
        theirs = torchvision.models.mobilenetv2.InvertedResidual(8, outputs, stride, 6).eval()
        for module in theirs.modules():  # ours has ReLU: with inputs this small the two are the same
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias, 0, 0.1)
        ours = nn.Sequential(*Builder("float").inverted_residual(8, outputs, expansion=6, stride=stride)).eval()
        ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
        x = torch.randn(2, 8, 9, 9)
        torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("method", ["float", "xnor-operator", "reactnet", "ie-net", "lsq-w2a2"])
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("resnet18", {"width": 8}),
        ("resnet18", {"width": 8, "shortcut": "layer", "projection": "method"}),
        ("resnet20", {"width": 8, "shortcut": "block"}),
        ("resnet20", {"width": 8}),
        ("mobilenet-v2", {"width": 0.25}),
    ],
)
def test_every_kind_of_network_learns_under_every_method(model, options, method):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # depthwise layers stay real
        net = models.build(model, method, **options)
    scores = net(torch.randn(2, 3, 16, 16))
    assert scores.shape == (2, 10)
    scores.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    bits = bnnlib.methods[method].weight_bits
    assert len(list(quantized_layers(net))) >= (0 if bits == 32 else 14)


def test_a_shortcut_spans_two_layers_or_one():
    def around(shortcut):
        net = models.ResNet18("bi-real", width=8, shortcut=shortcut)
        return [len(list(quantized_layers(m.body))) for m in net.modules() if isinstance(m, Residual)]

    assert around("block") == [2] * 8
    assert around("layer") == [1] * 16
    with pytest.raises(ValueError, match='shortcut must be "block" or "layer", received \'both\''):
        models.ResNet20(shortcut="both")


def test_widths_are_multiples_of_eight_as_torchvision_rounds_them():
    for width in (0.25, 0.35, 0.5, 0.75, 1.4):
        theirs = torchvision.models.mobilenet_v2(num_classes=10, width_mult=width)
        assert count(models.MobileNetV2(width=width)) == count(theirs) - 10 + 20
