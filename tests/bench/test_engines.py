"""Software that does not come with the course: exact where it is installed, left out with a word where it is not."""

from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bnnlib import bench, kernels
from bnnlib.bench import convolutions, engines, pairs, products, rivals
from bnnlib.bench.products import signs
from bnnlib.cli import app


def needs(*packages):
    def installed(package):
        try:
            return bool(distribution(package))
        except PackageNotFoundError:
            return False

    missing = [package for package in packages if not installed(package)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def test_absent_rivals_are_left_out_of_the_products_with_that_word(nothing_optional):
    told = {}
    table = bench.measure_products(
        [(17, 16, 64)],
        rivals=["torch.mm float32", "bnn-lab", "bnn-lab, avx2", "ONNX Runtime W2A8"],
        rounds=3,
        at_least=0,
        skipped=told.__setitem__,
    )
    assert told == dict.fromkeys(("bnn-lab", "bnn-lab, avx2", "ONNX Runtime W2A8"), "absent")
    assert "torch.mm float32" in set(table["contender"])
    assert not set(told) & set(table["contender"])


def test_an_absent_openvino_is_left_out_of_the_convolutions_with_that_word(nothing_optional):
    told = {}
    table = bench.measure_convolutions([(1, 8, 5)], rounds=3, at_least=0, cold=False, skipped=told.__setitem__)
    assert told == {"OpenVINO BinaryConvolution": "absent"}
    assert "OpenVINO BinaryConvolution" not in set(table["contender"])


def test_the_command_names_what_it_leaves_out_once(nothing_optional, tmp_path):
    sizes = ["--size", "16x16x64", "--size", "17x16x64"]
    done = CliRunner().invoke(
        app, ["bench", "matmul", *sizes, "--rounds", "3", "--no-cold", "--results", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    assert done.output.count("bnn-lab: absent\n") == 1
    assert done.output.count("ONNX Runtime W2A8: absent\n") == 1


def raises(error):
    def make():
        raise error

    return make


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (raises(ImportError("a library that it needs")), "broken"),
        (raises(OSError("no such library")), "broken"),
        (raises(RuntimeError("more than 16 rows, please")), "unsupported"),
        (lambda: raises(ValueError("not this shape")), "unsupported"),
        (lambda: lambda: 41, "wrong"),
    ],
)
def test_what_can_not_or_must_not_be_timed_is_skipped_with_a_word(make, word):
    with pytest.raises(pairs.Skipped, match=f"^{word}$"):
        pairs.prepared(make, lambda result: result == 42)


def test_what_is_right_is_timed():
    def call():
        return 42

    assert pairs.prepared(lambda: call, lambda result: result == 42) is call


def test_a_rival_that_takes_too_long_is_skipped_before_it_is_prepared(monkeypatch):
    slow = rivals.Rival(raises(AssertionError("prepared")), speed=1e-9)
    monkeypatch.setitem(rivals.RIVALS, "slow", slow)
    told = {}
    assert not [c for c in products.contenders(products.Product(8, 8, 64), ["slow"], True, told.__setitem__)
                if c.name == "slow"]  # fmt: skip
    assert told == {"slow": "slow"}


def test_a_rival_that_was_slow_before_is_skipped_where_it_would_take_too_long(monkeypatch):
    """No first call either: on a processor without fast bf16 that alone could take minutes."""
    monkeypatch.setitem(rivals.RIVALS, "thought fast", rivals.Rival(raises(AssertionError("prepared")), speed=1e6))
    told = {}
    arguments = products.Product(8, 8, 64), ["thought fast"], True, told.__setitem__
    assert not [c for c in products.contenders(*arguments, {"thought fast": 1e-9}) if c.name == "thought fast"]
    assert told == {"thought fast": "slow"}


def test_a_wrong_rival_is_not_timed(monkeypatch):
    monkeypatch.setitem(rivals.RIVALS, "wrong", rivals.Rival(lambda a, b: lambda: np.zeros((8, 8)), speed=100))
    told = {}
    list(products.contenders(products.Product(8, 8, 63), ["wrong"], True, told.__setitem__))
    assert told == {"wrong": "wrong"}


@needs("bnn-lab")
@pytest.mark.parametrize(("m", "n", "k"), [(1, 3, 64), (4, 8, 70), (40, 24, 300), (5, 5, 1025)])
def test_bnn_lab_is_exact(m, n, k):
    a, b = signs((m, k)), signs((n, k), 1)
    np.testing.assert_array_equal(engines.bnn_lab(a, b)(), a @ b.T)


@needs("bnn-lab")
def test_bnn_lab_is_exact_with_each_of_its_instruction_sets():
    a, b = signs((9, 130)), signs((7, 130), 1)
    available = kernels.info()["available"]
    if "avx512-vpopcntdq" in available:
        np.testing.assert_array_equal(engines.bnn_lab(a, b, "avx2")(), a @ b.T)
    for own_choice_or_none in {"avx2", "avx512-vpopcntdq"} - ({"avx2"} if "avx512-vpopcntdq" in available else set()):
        with pytest.raises(RuntimeError, match=own_choice_or_none):
            engines.bnn_lab(a, b, own_choice_or_none)


@needs("onnxruntime", "onnx")
@pytest.mark.parametrize(("m", "n", "k"), [(1, 16, 128), (40, 24, 300), (33, 8, 1024)])
def test_onnxruntime_multiplies_by_its_dequantised_weights(m, n, k):
    """Signs are exact in int8, so that only its scales round."""
    a, b = signs((m, k)), signs((n, k), 1)
    np.testing.assert_allclose(engines.onnxruntime_2bit(a, b)(), a @ b.T, atol=1e-3, rtol=0)


@needs("openvino")
@pytest.mark.parametrize(("images", "channels", "size"), [(1, 8, 5), (2, 16, 4), (1, 64, 14)])
def test_openvino_is_exact_with_zero_padding(images, channels, size):
    x, w = signs((images, channels, size, size)), signs((channels, channels, 3, 3), 1)
    expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=1)
    np.testing.assert_array_equal(engines.openvino_convolution(x, w)(), expected.permute(0, 2, 3, 1).numpy())


@needs("openvino")
def test_an_openvino_convolution_is_timed_with_its_version_if_it_is_exact():
    for channels in (16, 12):  # exact for multiples of 8; whether elsewhere too is its own business
        told = {}
        timed = convolutions.contenders(convolutions.Convolution(1, channels, 5), False, told.__setitem__)
        last = list(timed)[-1]
        if told:
            assert told == {"OpenVINO BinaryConvolution": "wrong"}
            assert channels % 8
        else:
            assert last.name == "OpenVINO BinaryConvolution"
            assert last.columns["version"].startswith("openvino 20")


@needs("bnn-lab", "onnxruntime", "onnx")
def test_rows_of_optional_rivals_name_their_versions():
    names = ["bnn-lab", "ONNX Runtime W2A8"]
    table = bench.measure_products([(17, 16, 128)], rivals=names, rounds=3, at_least=0)
    of_rivals = table.set_index("contender")["version"].dropna()
    assert list(of_rivals.index) == names
    assert of_rivals["bnn-lab"].startswith("bnn-lab 1.")
