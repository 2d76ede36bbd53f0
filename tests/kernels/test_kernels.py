import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnlib import kernels
from bnnlib.kernels import reference

SHAPES = [(1, 1, 1), (3, 2, 63), (3, 2, 64), (3, 2, 65), (1, 5, 130), (7, 1, 1000), (0, 3, 8), (3, 0, 8), (2, 2, 0)]


def signs(shape, seed=0):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), shape)


def test_packing_by_hand():
    # +1 -1 +1 +1 -1 -1 -1 +1, first column in the lowest bit: 1 + 4 + 8 + 128
    x = np.array([[1, -1, 1, 1, -1, -1, -1, 1]], np.float32)
    assert kernels.pack(x).tolist() == [[141]]


def test_zero_of_either_sign_packs_as_plus_one():
    x = np.array([[0.0, -0.0, -1e-45, 1e-45, -np.inf, np.inf]], np.float32)
    assert kernels.pack(x).tolist() == [[0b101011]]


@pytest.mark.parametrize(("rows", "_", "columns"), SHAPES)
def test_compiled_packing_equals_numpy(rows, _, columns):
    x = np.random.default_rng(1).standard_normal((rows, columns)).astype(np.float32)
    np.testing.assert_array_equal(kernels.pack(x), reference.pack(x))


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_matmul_equals_the_integer_product_of_the_signs(m, n, k):
    a, b = signs((m, k), 2), signs((n, k), 3)
    product = kernels.matmul(kernels.pack(a), kernels.pack(b), k)
    assert product.dtype == np.int32
    np.testing.assert_array_equal(product, a.astype(np.int64) @ b.astype(np.int64).T)
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
