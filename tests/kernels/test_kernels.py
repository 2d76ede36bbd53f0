import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnlib import kernels
from bnnlib.kernels import reference

SETS = kernels.info()["available"]
SHAPES = [
    (1, 1, 1),
    (3, 2, 63),
    (3, 2, 64),
    (3, 2, 65),
    (1, 5, 130),
    (7, 1, 1000),
    (0, 3, 8),
    (3, 0, 8),
    (2, 2, 0),
    (13, 33, 700),
    (25, 64, 9000),
    (520, 40, 65),
]


def signs(shape, seed=0):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), shape)


def test_packing_by_hand():
    # +1 -1 +1 +1 -1 -1 -1 +1, first column in the lowest bit: 1 + 4 + 8 + 128
    x = np.array([[1, -1, 1, 1, -1, -1, -1, 1]], np.float32)
    assert kernels.pack(x).tolist() == [[141]]


def test_zero_of_either_sign_packs_as_plus_one():
    x = np.array([[0.0, -0.0, -1e-45, 1e-45, -np.inf, np.inf]], np.float32)
    assert kernels.pack(x).tolist() == [[0b101011]]


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(("rows", "_", "columns"), SHAPES)
def test_compiled_packing_equals_numpy(rows, _, columns, isa):
    x = np.random.default_rng(1).standard_normal((rows, columns)).astype(np.float32)
    x.flat[: min(3, x.size)] = [0.0, -0.0, -np.inf][: min(3, x.size)]
    with kernels.instruction_set(isa):
        np.testing.assert_array_equal(kernels.pack(x), reference.pack(x))


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_matmul_equals_the_integer_product_of_the_signs(m, n, k, isa):
    a, b = signs((m, k), 2), signs((n, k), 3)
    with kernels.instruction_set(isa):
        product = kernels.matmul(kernels.pack(a), kernels.pack(b), k)
    assert product.dtype == np.int32
    np.testing.assert_array_equal(product, a.astype(np.int64) @ b.astype(np.int64).T)
    if m * n * k < 1_000_000:
        np.testing.assert_array_equal(product, reference.matmul(reference.pack(a), reference.pack(b), k))


@settings(max_examples=60, deadline=None)
@given(m=st.integers(1, 9), n=st.integers(1, 9), k=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_products_have_the_parity_of_k_and_stay_in_range(m, n, k, seed):
    product = kernels.matmul(kernels.pack(signs((m, k), seed)), kernels.pack(signs((n, k), seed + 1)), k)
    assert np.all(np.abs(product) <= k)
    assert np.all((product - k) % 2 == 0)


@settings(max_examples=60, deadline=None)
@given(m=st.integers(0, 6), k=st.integers(0, 200), seed=st.integers(0, 2**32 - 1))
def test_unpack_is_the_inverse_of_pack(m, k, seed):
    x = signs((m, k), seed)
    np.testing.assert_array_equal(kernels.unpack(kernels.pack(x), k), x)


def test_non_contiguous_and_fortran_input_is_packed_as_it_reads():
    x = np.random.default_rng(4).standard_normal((20, 140)).astype(np.float32)
    for view in (x[::2, ::3], x.T, np.asfortranarray(x), x[:, 5:]):
        np.testing.assert_array_equal(kernels.pack(view), reference.pack(np.ascontiguousarray(view)))


def test_nan_is_refused_with_its_count():
    x = np.ones((2, 70), np.float32)
    x[0, 3] = x[1, 69] = np.nan
    with pytest.raises(ValueError, match="met 2 NaN among 140"):
        kernels.pack(x)


@pytest.mark.parametrize("wrong", [np.ones((2, 2)), [[1.0]], np.ones((2, 2), np.int8)])
def test_other_dtypes_are_refused_by_name(wrong):
    with pytest.raises(TypeError, match="float32 NumPy array, received"):
        kernels.pack(wrong)


def test_wrong_shapes_are_refused():
    bits = kernels.pack(np.ones((2, 70), np.float32))
    with pytest.raises(ValueError, match=r"shape \(rows, 1\) for 64 columns, received \(2, 2\)"):
        kernels.matmul(bits, bits, 64)
    with pytest.raises(ValueError, match="matrix"):
        kernels.pack(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="packed signs"):
        kernels.matmul(bits.astype(np.int64), bits, 70)
    with pytest.raises(ValueError, match="columns must lie in"):
        kernels.matmul(bits, bits, -1)


def test_bits_behind_the_last_column_are_refused():
    wide = kernels.pack(np.ones((1, 64), np.float32))
    with pytest.raises(ValueError, match="bits set behind column 60"):
        kernels.matmul(wide, wide, 60)


@pytest.mark.parametrize("isa", SETS)
def test_a_large_output_that_goes_around_the_caches_is_the_same(isa):
    a, b = kernels.pack(signs((600, 100), 5)), kernels.pack(signs((1024, 100), 6))
    with kernels.instruction_set(isa):
        np.testing.assert_array_equal(kernels.matmul(a, b, 100), reference.matmul(a, b, 100))


def test_prepacked_weights_and_an_output_of_ones_own():
    a, b = kernels.pack(signs((5, 130), 7)), kernels.pack(signs((40, 130), 8))
    panels = kernels.prepack(b, 130)
    assert panels.values.ctypes.data % 64 == 0
    out = np.empty((5, 40), np.int32)
    assert kernels.matmul(a, panels, 130, out=out) is out
    np.testing.assert_array_equal(out, kernels.matmul(a, b, 130))
    with pytest.raises(ValueError, match="prepacked with 130 columns, but columns is 129"):
        kernels.matmul(kernels.pack(signs((5, 129), 7)), panels, 129)
    out.flags.writeable = False
    with pytest.raises(ValueError, match=r"contiguous and writable with shape \(5, 40\)"):
        kernels.matmul(a, panels, 130, out=out)
    with pytest.raises(TypeError, match="out must be an int32 array, received float64 array"):
        kernels.matmul(a, panels, 130, out=np.empty((5, 40)))


def test_the_environment_forces_an_instruction_set_and_an_unknown_one_is_named():
    code = "from bnnlib import kernels; print(kernels.info()['isa'])"
    forced = subprocess.run([sys.executable, "-c", code], env={**os.environ, "BNNLIB_ISA": "portable"},
                            capture_output=True, text=True)  # fmt: skip
    assert forced.stdout.strip() == "portable", forced.stderr
    wrong = subprocess.run([sys.executable, "-c", code], env={**os.environ, "BNNLIB_ISA": "mmx"},
                           capture_output=True, text=True)  # fmt: skip
    assert "no instruction set 'mmx' on this processor; it has portable" in wrong.stderr
    assert kernels.info()["isa"] == SETS[-1]
