"""torchvision's own networks, converted, learn in one short epoch. (Smaller ones do in the quick tests.)"""

import pytest
import torch
from torch import nn

import bnnlib
from bnnlib import data
from bnnlib.training import Settings, fit


class Grey(nn.Module):
    """A network for colour images on enlarged grey ones."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(nn.functional.interpolate(x, scale_factor=2).expand(-1, 3, -1, -1))


@pytest.mark.parametrize("method", ["bi-real", "lsq-w2a2", "xnor-operator"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_a_converted_network_is_above_chance_after_a_short_epoch(name, method):
    from torchvision import models

    torch.manual_seed(0)
    options = {"width_mult": 0.5, "dropout": 0.0} if name == "mobilenet_v2" else {}
    net = bnnlib.binarize(Grey(getattr(models, name)(num_classes=10, **options)), method)
    splits = data.load("FashionMNIST", "quick", train_size=2000)
    result = fit(net, method, splits, Settings(epochs=1, batch_size=20, learning_rate=1e-3, device="cpu"))
    assert result.history.epochs[-1].test_accuracy > 20  # chance is 10, its deviation on 1,000 images 1
