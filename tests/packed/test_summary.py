"""What a network holds and computes, counted in bits."""

import pytest
import torch
from torch import nn

import bnnlib
from bnnlib import models
from bnnlib.packed.layout import PackedTensor

WAKE_WORD = (1, 50, 13)


def test_the_wake_word_network_has_the_sizes_of_larqs_report():
    binary = bnnlib.summary(models.WakeWordCNN("larq-ste-sign"), WAKE_WORD)
    assert binary.parameters(1) == 288 + 18432 + 1408
    assert binary.parameters(32) == 98 * 2
    assert binary.bytes == 3300
    assert f"{binary.bytes / 1024:.2f}" == "3.22"
    real = bnnlib.summary(models.WakeWordCNN("float"), WAKE_WORD)
    assert real.bytes == binary.float_bytes == 81_296
    assert f"{real.bytes / 1024:.1f}" == "79.4"
    assert next(layer for layer in binary.layers if layer.name == "features.3").macs == 1_216_512


def test_the_smaller_wake_word_network():
    small = bnnlib.summary(models.WakeWordCNN("larq-ste-sign", kernel_size=2), WAKE_WORD)
    assert small.parameters(1) == 11_136
    assert small.bytes == 2_176
    layer = next(layer for layer in small.layers if layer.name == "features.3")
    assert (layer.macs, layer.mac_bits) == (942_080, 1)


def test_the_first_layers_work_is_32_bit_because_its_input_is_real():
    counted = bnnlib.summary(models.WakeWordCNN("bnn"), WAKE_WORD)
    assert counted.layers[0].mac_bits == 32
    assert counted.macs(1) == 1_216_512 + 1408


def test_a_scale_in_front_of_a_norm_is_free_and_elsewhere_is_counted():
    from bnnlib.layers import BinLinear
    from bnnlib.quantizers import XnorSign

    layer = BinLinear(64, 8, bias=False, weight_quantizer=XnorSign())
    assert bnnlib.summary(nn.Sequential(layer, nn.BatchNorm1d(8)), (64,)).bytes == 64 + 64
    assert bnnlib.summary(nn.Sequential(layer), (64,)).bytes == 64 + 4 * 8


def test_bits_are_tight_and_rounded_up_to_bytes():
    assert PackedTensor("w", 9, 1).bytes == 2
    assert PackedTensor("w", 9, 2).bytes == 3
    assert PackedTensor("w", 3, 32).bytes == 12


@pytest.mark.parametrize("name", list(bnnlib.methods))
def test_every_method_is_counted(name):
    net = models.CompactCNN(name)
    counted = bnnlib.summary(net, (1, 28, 28))
    weights = sum(m.weight.numel() for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv2d)))
    assert (
        sum(layer.parameters(bits) for layer in counted.layers for bits in (1, 2, 4, 8))
        + sum(t.count for layer in counted.layers for t in layer.tensors if t.bits == 32 and t.name.endswith(".weight"))
        == weights
    )
    assert 0 <= counted.share_binarised <= 1
    assert counted.frame().loc["total", "bytes"] == counted.bytes


def test_it_prints_renders_and_leaves_the_model_as_it_was():
    net = models.CompactCNN("xnor-naive").train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    counted = bnnlib.summary(net, (1, 28, 28))
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    text = str(counted)
    assert "KiB packed" in text
    assert "total" in text
    assert "<table" in counted._repr_html_()


def test_a_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"does not take inputs of shape \(3, 28, 28\)"):
        bnnlib.summary(models.CompactCNN("float"), (3, 28, 28))


def test_a_torch_network_is_counted_too():
    counted = bnnlib.summary(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)), (1, 4, 4))
    assert counted.bytes == 4 * (36 + 4 + 32 + 2)
    assert counted.macs(32) == 36 * 4 + 32


class Attending(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, **options), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.attention(x, key=x, value=x)[0])


def test_attention_counts_its_projections_and_both_products():
    # 5 places of 8 values: four projections of 8 x 8, then queries by keys and weights by values, 5 x 5 x 8 each
    counted = bnnlib.summary(Attending(batch_first=True), (5, 8))
    row = next(layer for layer in counted.layers if layer.name == "attention")
    assert row.macs == 4 * 5 * 64 + 2 * 5 * 5 * 8
    assert counted.macs(32) == row.macs + 5 * 24
    assert counted.notes == ()
    longer = bnnlib.summary(Attending(batch_first=True, add_bias_kv=True, add_zero_attn=True), (5, 8))
    assert next(layer for layer in longer.layers if layer.name == "attention").macs == 4 * 5 * 64 + 2 * 5 * 7 * 8


@pytest.mark.parametrize(
    ("layers", "shape", "named"),
    [([nn.Conv3d(1, 2, 3)], (1, 4, 4, 4), "0 (Conv3d)"), ([nn.ConvTranspose2d(1, 2, 3)], (1, 4, 4), "ConvTranspose2d"),
     ([nn.LSTM(4, 3)], (5, 4), "0 (LSTM)")],
)  # fmt: skip
def test_what_is_not_counted_is_said(layers, shape, named):
    counted = bnnlib.summary(nn.Sequential(*layers), shape)
    assert named in counted.notes[0]
    assert "multiply-accumulates are not counted of" in str(counted)
    assert "multiply-accumulates are not counted of" in counted._repr_html_()


def test_a_layer_whose_weight_the_network_reads_itself_is_said_not_to_be_counted():
    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(nn.functional.linear(x, self.inner.weight))

    assert bnnlib.summary(Reading(), (4,)).notes == ("multiply-accumulates are not counted of inner (Linear)",)


def test_a_layer_that_eval_mode_leaves_out_has_no_work_and_no_note():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.extra = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            return self.inner(x) + self.extra(x) if self.training else self.inner(x)

    counted = bnnlib.summary(Auxiliary(), (4,))
    assert counted.macs(32) == 8
    assert counted.notes == ()


def test_shared_layers_and_tied_weights_count_once_and_work_each_time():
    shared = nn.Linear(4, 4)
    counted = bnnlib.summary(nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 2)), (4,))
    assert counted.macs(32) == 2 * 16 + 8
    assert counted.bytes == 4 * (16 + 4 + 8 + 2)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert bnnlib.summary(model, (4,)).bytes == 4 * (16 + 4 + 4)


def test_a_shared_convolution_works_at_the_size_of_each_call():
    conv = nn.Conv2d(1, 1, 3, padding=1)
    counted = bnnlib.summary(nn.Sequential(conv, nn.MaxPool2d(2), conv), (1, 8, 8))
    assert counted.macs(32) == 9 * (64 + 16)


def test_a_scale_is_folded_only_into_the_norm_that_the_layer_feeds():
    from bnnlib.layers import BinConv2d
    from bnnlib.layers.blocks import Residual
    from bnnlib.quantizers import XnorSign

    def conv():
        return BinConv2d(4, 4, 1, bias=False, weight_quantizer=XnorSign())

    behind_a_sum = nn.Sequential(Residual(conv(), nn.Identity()), nn.BatchNorm2d(4))
    assert bnnlib.summary(behind_a_sum, (4, 3, 3)).bytes == 2 + 4 * 4 + 2 * 4 * 4
    pooled = nn.Sequential(conv(), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(4))
    assert bnnlib.summary(pooled, (4, 4, 4)).bytes == 2 + 2 * 4 * 4
