"""Packed networks by the hundred, and files of them damaged by the hundred thousand."""

import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings
from packed.networks import SHAPE, trained
from packed.test_random_networks import test_random_networks_have_the_codes_of_the_trained_ones as of_random_networks

import bnnlib
from bnnlib import models

TESTS = Path(__file__).parents[1]
MUTATIONS = 100_000


def test_five_hundred_random_networks_pack_exactly():
    settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)(
        of_random_networks
    )()


def test_no_damaged_file_crashes_the_reader_or_takes_memory_that_it_has_no_use_for(tmp_path):
    path = tmp_path / "net.safetensors"
    model = trained(lambda: models.CompactCNN("xnor-operator", size=12, first_last="int8"), "xnor-operator")
    bnnlib.pack(model, SHAPE).save(path)
    command = [sys.executable, str(TESTS / "packed" / "mutate.py"), str(path), str(MUTATIONS // 2)]
    halves = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    for half in halves:
        told = half.communicate()[0]
        assert half.returncode == 0, told[-4000:]
        refused, read = (int(word) for word in told.split()[-2:])
        assert refused + read == MUTATIONS // 2
        assert refused > read > 0  # a weight that has another sign is no damage that could be seen
