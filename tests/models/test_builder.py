"""Networks built from a method's block: the studies' own stay as they are; strides, groups and projections."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import bnnlib
from bnnlib import models
from bnnlib.layers import QuantizedLayer, Residual, RPReLU, quantized_layers
from bnnlib.models.blocks import Builder

STRUCTURES = json.loads((Path(__file__).parent / "structures.json").read_text())
METHODS = ["float", "xnor-operator", "bi-real", "reactnet", "ie-net", "lsq-w2a2"]


def lines(net):
    """A line for each module: name, kind, its own parameters with their shapes."""
    for name, module in net.named_modules():
        own = (f"{key}={'x'.join(map(str, p.shape))}" for key, p in module.named_parameters(recurse=False))
        yield " ".join([name or "(root)", type(module).__name__, *own])


@pytest.mark.parametrize(
    ("model", "name", "stored"),
    [
        pytest.param(model, name, each["modules"], id=f"{model}-{name}")
        for model, built in STRUCTURES.items()
        for each in built
        for name in each["methods"]  # a method that came later has no stored results
    ],
)
def test_the_networks_of_stored_results_are_built_as_they_were(model, name, stored):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert list(lines(models.build(model, name))) == stored


class Small(nn.Module):
    """Stride 2, groups, pooling and projections, in one or two dimensions."""

    def __init__(self, method, dimensions):
        super().__init__()
        build, options = Builder(bnnlib.methods[method]), {"dimensions": dimensions}
        self.features = nn.Sequential(
            *build.conv(3, 8, 5, padding=2, place="first", **options),
            *build.conv(8, 16, stride=2, residual=True, **options),
            *build.conv(16, 16, groups=4, residual=True, **options),
            *build.conv(16, 16, stride=2, pool=True, residual=True, **options),
            *build.conv(16, 24, residual=True, projection="method", **options),
        )
        self.pool = nn.AdaptiveAvgPool1d(1) if dimensions == 1 else nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(*build.linear(24, 5, place="last"))

    def forward(self, x):
        return self.classifier(self.pool(self.features(x)).flatten(1))


def inputs(dimensions, count=6):
    return torch.randn(count, 3, *(17,) * dimensions)  # odd, so that strides and averages must round alike


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_strides_groups_and_projections_run_and_train_under_a_method(name, dimensions):
    torch.manual_seed(0)
    net, method = Small(name, dimensions), bnnlib.methods[name]
    method.on_epoch(net, 0.0)
    method.before_forward(net)
    x = inputs(dimensions)
    assert net.features(x).shape == (6, 24, *(2,) * dimensions)  # 17 -> 9 by stride, -> 5 by stride, -> 2 by pooling
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("name", METHODS)
def test_a_residual_network_and_its_float_twin_have_the_same_layers(name, dimensions):
    def shapes(net):
        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.modules.batchnorm._BatchNorm)
        return [[p.shape for p in (m.weight, m.bias) if p is not None] for m in net.modules() if isinstance(m, kinds)]

    assert shapes(Small(name, dimensions)) == shapes(Small("float", dimensions))
    assert sum(isinstance(m, Residual) for m in Small(name, dimensions).modules()) == 4


def test_projections_are_real_unless_the_method_is_to_have_them():
    net = Small("bi-real", 2)
    quantized = [name for name, _ in quantized_layers(net)]
    assert [name for name in quantized if "shortcut" in name] == ["features.5.shortcut.0"]
    real = [n for n, m in net.named_modules() if isinstance(m, QuantizedLayer) and n not in quantized]
    assert real == ["features.0", "features.2.shortcut.1", "features.4.shortcut.2", "classifier.0"]


def test_a_stride_is_averaged_on_a_shortcut_without_weights():
    (block,) = Builder(bnnlib.methods["bi-real"]).conv(4, 4, stride=2)
    nn.init.zeros_(block.body[1].weight)  # the norm's: only the shortcut is left
    x = torch.arange(5.0).repeat(1, 4, 5, 1)
    assert block(x)[0, 0, 0].tolist() == [0.5, 2.5, 4.0]


@pytest.mark.parametrize("dimensions", [1, 2])
def test_activations_with_parameters_know_where_the_channels_are(dimensions):
    found = [m for m in Small("reactnet", dimensions).modules() if isinstance(m, RPReLU)]
    assert {m.channel_axis for m in found} == {-1 - dimensions}
    net = models.MLP("reactnet", width=8).eval()
    assert next(m for m in net.modules() if isinstance(m, RPReLU)).channel_axis == -1


def test_depthwise_layers_stay_real_by_the_rules_that_binarize_has():
    with pytest.warns(UserWarning, match="depthwise: a filter sees one channel only"):
        layer, *_ = Builder(bnnlib.methods["bi-real"]).conv(8, 8, groups=8)
    converted = bnnlib.binarize(nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3),
                                              nn.Conv2d(8, 8, 3)), "bi-real")  # fmt: skip
    assert layer.weight_quantizer.bits is None
    assert converted.conversion.names("kept real") == ["0", "1", "3"]


def test_wrong_arguments_are_named():
    build = Builder(bnnlib.methods["bi-real"])
    with pytest.raises(ValueError, match="dimensions must be 1 or 2, received 3"):
        build.conv(4, 4, dimensions=3)
    with pytest.raises(ValueError, match="received kernel_size 3 and padding 0"):
        build.conv(4, 4, padding=0, residual=True)
    with pytest.raises(ValueError, match='projection must be "real" or "method", received True'):
        build.conv(4, 8, residual=True, projection=True)
    with pytest.raises(ValueError, match='place must be "first", "last" or None, received 1'):
        build.linear(4, 4, place=1)


@pytest.mark.parametrize("name", list(bnnlib.methods))
def test_the_network_for_commands_learns_from_a_batch_under_every_method(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = models.CommandCNN(name)
    bnnlib.methods[name].before_forward(net)
    scores = net.train()(torch.randn(4, 1, 50, 40))
    assert scores.shape == (4, 10)
    scores.square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    assert sum(p.numel() for p in net.parameters()) <= 300_000


def test_the_network_for_commands_has_the_layers_that_it_says():
    net = models.CommandCNN()
    weights = sum(p.numel() for p in net.parameters() if p.dim() > 1)
    # 32 x 5 x 5, then 3 x 3 convolutions, then 128 channels of 3 x 2 values
    assert weights == 800 + 9 * (32 * 32 + 32 * 64 + 64 * 128 + 128 * 128) + 768 * 10 == 257_312
    for frames, bands in ((16, 16), (17, 31), (50, 40), (101, 64)):
        assert models.CommandCNN(frames=frames, bands=bands).eval()(torch.zeros(1, 1, frames, bands)).shape == (1, 10)
    with pytest.raises(ValueError, match="at least 16, for four halvings; received 15 and 40"):
        models.CommandCNN(frames=15)


def test_the_network_for_commands_takes_norms_and_weights_as_told():
    net = models.CommandCNN("lsq-w2a2", norm_momentum=0.01, initial="he")
    assert {m.momentum for m in net.modules() if hasattr(m, "momentum")} == {0.01}
    for layer in (m for m in net.modules() if isinstance(m, torch.nn.Conv2d)):
        inputs = layer.weight[0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=0.1)
        if hasattr(layer.weight_quantizer, "step"):  # Esser et al. 2020: 2 mean|w| / sqrt(Q_p), here with Q_p = 1
            assert layer.weight_quantizer.step.item() == pytest.approx(2 * layer.weight.abs().mean().item())
    with pytest.raises(ValueError, match='must be "uniform" or "he", received \'small\''):
        models.CommandCNN(initial="small")


def test_the_separable_network_has_about_the_published_size():
    net = models.SeparableCNN()
    assert net(torch.randn(2, 1, 50, 40)).shape == (2, 10)
    weights = sum(p.numel() for p in net.parameters() if p.dim() > 1)
    # by hand: 64 x 5 x 5, then four times 64 x 3 x 3 and 64 x 64, then 64 x 10; the published one has some 23,000
    assert weights == 1600 + 4 * (576 + 4096) + 640


def test_the_projection_of_ie_net_has_neither_branches_nor_shifts():
    """As in the authors' CIFAR ResNet-18: a binary 1x1 convolution and a norm."""
    method = bnnlib.methods["ie-net"].varied(branches=3, mixing="scalar")
    net = models.build("resnet18", method, width=4, projection="method")
    projections = [block.shortcut for block in net.features if isinstance(block, Residual)]
    projections = [p for p in projections if not isinstance(p, nn.Identity)]
    assert len(projections) == 3
    for *_, convolution, norm in projections:
        assert (convolution.kernel_size, type(norm)) == ((1, 1), nn.BatchNorm2d)
        assert {name for name, _ in convolution.named_parameters()} == {"weight", "weight_quantizer.alpha"}
        assert (convolution.weight_quantizer.bits, convolution.input_quantizer.bits) == (1, 1)
