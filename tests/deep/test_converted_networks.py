"""torchvision's own networks, converted, learn in one short epoch. (Smaller ones do in the quick tests.)"""

import pytest
import torch
from torch import nn

import bnnlib
from bnnlib import data
from bnnlib.training import Settings, fit


class Coloured(nn.Module):
    """A network for colour images on grey ones."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x.expand(-1, 3, -1, -1))


def resnet18():
    from torchvision import models

    return models.resnet18(num_classes=10)


def mobilenet_v2():
    from torchvision import models

    net = models.mobilenet_v2(num_classes=10, dropout=0.0)
    net.features[0][0].stride = net.features[2].conv[1][0].stride = (1, 1)  # for images of 28 x 28
    return net


RUNS = [(resnet18, 1500, 50, 1e-3, method) for method in ("bi-real", "lsq-w2a2", "xnor-operator")]
# With few-bit activations, too, one short epoch decides nothing on mobilenet_v2: whether the network was above chance
# after it depended on the processor.
RUNS += [(mobilenet_v2, 1500, 20, 3e-3, method) for method in ("bwn-operator", "lsq-w2a32")]


@pytest.mark.parametrize(("make", "images", "batch_size", "learning_rate", "method"), RUNS)
def test_a_converted_network_is_above_chance_after_a_short_epoch(make, images, batch_size, learning_rate, method):
    torch.manual_seed(0)
    net = bnnlib.binarize(Coloured(make()), method)
    splits = data.load("FashionMNIST", "quick", train_size=images)
    settings = Settings(epochs=1, batch_size=batch_size, learning_rate=learning_rate, device="cpu")
    result = fit(net, method, splits, settings)
    assert result.history.epochs[-1].test_accuracy > 15  # chance is 10, its deviation on 1,000 images 1
