"""Where outputs lie, and what they may not lie on."""

import numpy as np
import pytest

from bnnlib import kernels
from bnnlib.kernels import reference

SETS = kernels.info()["available"]


def signs(shape, seed=0):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), shape)


def misaligned(shape, offset, dtype=np.int32):
    """An empty array that starts ``offset`` bytes past an address divisible by 64."""
    size = int(np.prod(shape))
    padded = kernels.empty(size + 64 // np.dtype(dtype).itemsize, dtype)
    first = offset // padded.itemsize
    return padded[first : first + size].reshape(shape)


@pytest.mark.parametrize("dtype", [np.int32, np.uint64])
@pytest.mark.parametrize("shape", [(3, 5), (1000, 1000), 7, (2, 3, 4, 5)])
def test_empty_arrays_start_at_a_cache_line(shape, dtype):
    for _ in range(5):
        array = kernels.empty(shape, dtype)
        assert array.ctypes.data % 64 == 0
        assert array.shape == np.empty(shape).shape
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_an_array_may_have_no_values():
    assert kernels.empty((0, 4)).shape == (0, 4)


def test_empty_arrays_of_no_possible_size_are_refused():
    with pytest.raises(ValueError, match="more than a process can address"):
        kernels.empty((2**40, 2**40))
    with pytest.raises(ValueError, match=r"lengths of 0 or more, received shape \(3, -1\)"):
        kernels.empty((3, -1))


def test_large_results_are_aligned():
    a, b = kernels.pack(signs((1024, 64))), kernels.pack(signs((1024, 64), 1))
    x, filters = kernels.pack_images(signs((10, 64, 36, 36))), kernels.prepack_filters(signs((64, 64, 1, 1)))
    codes = kernels.pack_codes(np.ones((1024, 64), int), signed=False)
    for result in (kernels.matmul(a, b, 64), kernels.conv2d(x, filters), kernels.matmul_codes(codes, codes),
                   kernels.loop_matmul(a, b, 64)):  # fmt: skip
        assert result.nbytes >= 2 << 20
        assert result.ctypes.data % 64 == 0


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("offset", [0, 4, 16, 32, 48])
def test_a_large_output_is_the_same_wherever_it_lies(offset, isa):
    a, b = kernels.pack(signs((600, 70), 5)), kernels.pack(signs((1024, 70), 6))
    x, weights = signs((10, 64, 36, 36)), signs((64, 64, 1, 1), 1)
    product, sums = misaligned((600, 1024), offset), misaligned((10, 36, 36, 64), offset)
    assert product.ctypes.data % 64 == sums.ctypes.data % 64 == offset
    with kernels.instruction_set(isa):
        kernels.matmul(a, b, 70, out=product)
        kernels.conv2d(kernels.pack_images(x), kernels.prepack_filters(weights), out=sums)
    np.testing.assert_array_equal(product, reference.matmul(a, b, 70))
    np.testing.assert_array_equal(sums, np.einsum("nchw,oc->nhwo", x, weights[:, :, 0, 0]))
