"""The C source of a packed network compiles without a warning and computes the same."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from packed.networks import EXPORTED, trained
from packed.random_networks import networks

import bnnlib
from bnnlib.packed.export.c import source, write_c

STRICT = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
COMPILERS = [name for name in ("gcc", "clang", "cc") if shutil.which(name)][:2]


def compiled(packed, folder, compiler=COMPILERS[0], flags=STRICT):
    """The scores of the C source, as a function of inputs."""
    _, body = write_c(packed, folder, "net")
    library = folder / f"net-{compiler}.so"
    command = [compiler, *flags, "-shared", "-fPIC", str(body), "-lm", "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    functions = ctypes.CDLL(str(library))

    def scores(x):
        out = np.zeros((len(x), packed.shapes[packed.operations[-1].output][2]), np.float32)
        for inputs, found in zip(np.ascontiguousarray(x), out, strict=True):
            functions.net_scores(inputs.ctypes.data_as(ctypes.c_void_p), found.ctypes.data_as(ctypes.c_void_p))
            assert functions.net_predict(inputs.ctypes.data_as(ctypes.c_void_p)) == found.argmax()
        return out

    return scores


@pytest.mark.filterwarnings("ignore:a layer with a weight")
@pytest.mark.parametrize("which", EXPORTED)
def test_the_c_source_has_the_scores_of_the_packed_network(which, tmp_path):
    name, build, shape = EXPORTED[which]
    packed = bnnlib.pack(trained(lambda: build(name), name, shape), shape)
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    expected = packed.scores(x)
    for compiler in COMPILERS:
        found = compiled(packed, tmp_path, compiler)(x)
        if packed.exact:
            np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(networks())
def test_random_networks_in_c_equal_the_packed_ones(tmp_path_factory, network):
    model, shape, x = network
    packed = bnnlib.pack(model, shape)
    found = compiled(packed, tmp_path_factory.mktemp("c"))(x.numpy())
    np.testing.assert_array_equal(found, packed.scores(x.numpy()), err_msg=str(model))


@pytest.mark.skipif("clang" not in COMPILERS, reason="clang knows many processors; gcc knows its own")
def test_it_compiles_for_a_cortex_m(tmp_path):
    name, build, shape = EXPORTED["signs, 8-bit ends"]
    _, body = write_c(bnnlib.pack(trained(lambda: build(name), name, shape), shape), tmp_path)
    target = ["--target=thumbv7em-none-eabi", "-mcpu=cortex-m4", "-ffreestanding", "-c"]
    done = subprocess.run(
        ["clang", *STRICT, *target, str(body), "-o", str(tmp_path / "net.o")], capture_output=True, text=True
    )
    if "No available targets" in done.stderr or "unable to create target" in done.stderr:
        pytest.skip("this clang was built without ARM")
    assert done.returncode == 0, done.stderr[:3000]


def test_names_of_classes_and_of_files_are_checked():
    name, build, shape = EXPORTED["signs, real ends"]
    model = trained(lambda: build(name), name, shape)
    header, body = source(bnnlib.pack(model, shape, classes=[f'"{i}" \\ тест??/' for i in range(10)]), "a_1")
    assert "int a_1_predict(const float *input);" in header
    assert body.isascii()
    with pytest.raises(ValueError, match="identifier of C"):
        source(bnnlib.pack(model, shape), "1a")
