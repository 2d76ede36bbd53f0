"""Where outputs lie, and what they may not lie on."""

from dataclasses import replace

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


REAL = signs((6, 128))
A, B = kernels.pack(REAL), kernels.pack(signs((64, 128), 1))
PANELS = kernels.prepack(B, 128)
X, FILTERS = kernels.pack_images(signs((2, 64, 4, 4))), kernels.prepack_filters(signs((64, 64, 3, 3)))
GROUPS = kernels.pack_images(signs((2, 64, 4, 4)), groups=2)
OF_GROUPS = kernels.prepack_filters(signs((64, 32, 3, 3)), 2)
ROW, FILTERS_1D = X.reshape(2, 16, 1), kernels.prepack_filters(signs((64, 64, 3)))
CODES = kernels.pack_codes(np.ones((6, 128), int), signed=False)
T, F = np.zeros(64, np.int32), np.zeros(64, bool)

# function -> shape and dtype of its output, and for each operand its memory and a call that has it there
OUTPUTS = {
    "matmul": ((6, 64), np.int32, [
        ("a", A, lambda x, out: kernels.matmul(x, PANELS, 128, out=out)),
        ("a", A, lambda x, out: kernels.matmul(x[::-1], PANELS, 128, out=out)),  # which is copied
        ("b", B, lambda x, out: kernels.matmul(A, x, 128, out=out)),
        ("b", PANELS.values, lambda x, out: kernels.matmul(A, replace(PANELS, values=x), 128, out=out)),
    ]),
    "sign_matmul": ((6, 64), np.int32, [
        ("x", REAL, lambda x, out: kernels.sign_matmul(x, PANELS, out=out)),
        ("b", PANELS.values, lambda x, out: kernels.sign_matmul(REAL, replace(PANELS, values=x), out=out)),
    ]),
    "matmul_threshold": ((6, 1), np.uint64, [
        ("a", A, lambda x, out: kernels.matmul_threshold(x, PANELS, 128, T, out=out)),
        ("b", B, lambda x, out: kernels.matmul_threshold(A, x, 128, T, out=out)),
        ("thresholds", T, lambda x, out: kernels.matmul_threshold(A, PANELS, 128, x, out=out)),
        ("flips", F, lambda x, out: kernels.matmul_threshold(A, PANELS, 128, T, x, out=out)),
    ]),
    "matmul_codes": ((6, 6), np.int32, [
        (operand, getattr(CODES, field), lambda x, out, operand=operand, field=field: kernels.matmul_codes(
            **{"a": CODES, "b": CODES, operand: replace(CODES, **{field: x})}, out=out))
        for operand in ("a", "b") for field in ("planes", "panels", "weights", "sums")
    ]),
    "conv2d": ((2, 2, 2, 64), np.int32, [
        ("x", X, lambda x, out: kernels.conv2d(x, FILTERS, out=out)),
        ("x", X, lambda x, out: kernels.conv2d(x[:, ::-1], FILTERS, out=out)),  # which is copied
        ("filters", FILTERS.panels, lambda x, out: kernels.conv2d(X, replace(FILTERS, panels=x), out=out)),
        ("filters", FILTERS.tap_sums, lambda x, out: kernels.conv2d(X, replace(FILTERS, tap_sums=x), out=out)),
    ]),
    "conv2d_threshold": ((2, 2, 2, 1), np.uint64, [
        ("x", X, lambda x, out: kernels.conv2d_threshold(x, FILTERS, T, F, out=out)),
        ("filters", FILTERS.panels,
         lambda x, out: kernels.conv2d_threshold(X, replace(FILTERS, panels=x), T, F, out=out)),
        ("thresholds", T, lambda x, out: kernels.conv2d_threshold(X, FILTERS, x, F, out=out)),
        ("flips", F, lambda x, out: kernels.conv2d_threshold(X, FILTERS, T, x, out=out)),
    ]),
    "conv2d_threshold of groups": ((2, 2, 2, 1), np.uint64, [
        ("x", GROUPS, lambda x, out: kernels.conv2d_threshold(x, OF_GROUPS, T, F, out=out)),
        ("filters", OF_GROUPS.panels,
         lambda x, out: kernels.conv2d_threshold(GROUPS, replace(OF_GROUPS, panels=x), T, F, out=out)),
        ("thresholds", T, lambda x, out: kernels.conv2d_threshold(GROUPS, OF_GROUPS, x, F, out=out)),
    ]),
    "conv1d": ((2, 14, 64), np.int32, [
        ("x", ROW, lambda x, out: kernels.conv1d(x, FILTERS_1D, out=out)),
        ("filters", FILTERS_1D.tap_sums, lambda x, out: kernels.conv1d(ROW, replace(FILTERS_1D, tap_sums=x), out=out)),
    ]),
    "conv1d_threshold": ((2, 14, 1), np.uint64, [
        ("x", ROW, lambda x, out: kernels.conv1d_threshold(x, FILTERS_1D, T, F, out=out)),
        ("thresholds", T, lambda x, out: kernels.conv1d_threshold(ROW, FILTERS_1D, x, F, out=out)),
    ]),
}  # fmt: skip


def copy_and_output(operand, shape, dtype, *, overlapping):
    """A copy of an operand, and an output whose first value covers the copy's last bytes or follows them."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    start = (operand.nbytes - 1) // 8 * 8 if overlapping else -(-operand.nbytes // 8) * 8
    buffer = kernels.empty(start + size, np.uint8)
    copy = buffer[: operand.nbytes].view(operand.dtype).reshape(operand.shape)
    copy[...] = operand
    return copy, buffer[start : start + size].view(dtype).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "dtype", "name", "operand", "call"),
    [
        pytest.param(shape, dtype, name, operand, call, id=f"{function}-{name}-{index}")
        for function, (shape, dtype, operands) in OUTPUTS.items()
        for index, (name, operand, call) in enumerate(operands)
    ],
)
def test_an_output_over_any_operand_is_refused_and_beside_it_taken(shape, dtype, name, operand, call):
    copy, out = copy_and_output(operand, shape, dtype, overlapping=True)
    with pytest.raises(ValueError, match=f"out shares memory with {name}, which would be overwritten"):
        call(copy, out)
    np.testing.assert_array_equal(copy, operand)
    copy, out = copy_and_output(operand, shape, dtype, overlapping=False)
    np.testing.assert_array_equal(call(copy, out), call(operand, None))
    np.testing.assert_array_equal(copy, operand)


def test_an_output_between_the_rows_of_an_operand_is_taken():
    both = np.zeros((2, 200), np.uint64)
    both[:, :2] = A[:2]
    out = both[0, 2:66].view(np.int32).reshape(2, 64)
    np.testing.assert_array_equal(kernels.matmul(both[:, :2], PANELS, 128, out=out), kernels.matmul(A[:2], PANELS, 128))
