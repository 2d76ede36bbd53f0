"""Packed networks by the hundred, and files of them damaged by the hundred thousand."""

import subprocess
import sys
from pathlib import Path

from packed.networks import trained
from packed.test_random_networks import tried
from torch import nn

import bnnlib
from bnnlib.layers import RPReLU
from bnnlib.quantizers import LSQ, RSign, SteSign

TESTS = Path(__file__).parents[1]
MUTATIONS = 100_000


def small():
    """A network with most kinds of operations, and little of each, so that many files are read in little time."""
    return nn.Sequential(
        bnnlib.BinConv2d(1, 8, 3, padding=1, weight_quantizer=LSQ(8), input_quantizer=LSQ(8, batched=True)),
        nn.BatchNorm2d(8),
        nn.MaxPool2d(2),
        bnnlib.BinConv2d(8, 8, 3, padding=1, bias=False, weight_quantizer=SteSign(), input_quantizer=RSign(8)),
        RPReLU(8, channel_axis=-3),
        nn.Flatten(),
        bnnlib.BinLinear(72, 3, weight_quantizer=LSQ(2), input_quantizer=LSQ(2, unsigned=True)),
    )


test_five_hundred_random_networks_pack_exactly = tried(500)


def test_no_damaged_file_crashes_the_reader_or_takes_memory_that_it_has_no_use_for(tmp_path):
    path = tmp_path / "net.safetensors"
    bnnlib.pack(trained(small, "bnn", (1, 6, 6)), (1, 6, 6), classes=["a", "b", "c"]).save(path)
    command = [sys.executable, str(TESTS / "packed" / "mutate.py"), str(path), str(MUTATIONS // 2)]
    halves = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    for half in halves:
        told = half.communicate()[0]
        assert half.returncode == 0, told[-4000:]
        refused, read = (int(word) for word in told.split()[-2:])
        assert refused + read == MUTATIONS // 2
        assert refused > read > 0  # without its digest a weight of another sign is no damage that shows
