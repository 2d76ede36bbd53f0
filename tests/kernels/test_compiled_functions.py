"""The compiled functions by themselves: whatever sizes they are given, they leave no array."""

import numpy as np
import pytest

from bnnlib import kernels
from bnnlib.kernels import _kernels

WORDS, INT32, FLIPS = np.uint64, np.int32, np.uint8


def zeros(shape, dtype):
    array = kernels.empty(shape, dtype)
    array[...] = 0
    return array


def panels(matrices, rows, words):
    return zeros(matrices * -(-rows // 32) * 64 * words, np.uint32)


# A convolution of 2 images of 5 x 6 pixels and 2 groups of 64 channels with 2 x 64 filters of 2 x 3
SHAPE = (2, 64, 64, 2, 3, 1, 1, 1, 1, 0, 0, 0)
X, FILTERS, TAP_SUMS = zeros((2, 5, 6, 2), WORDS), panels(2, 64, 6), zeros(2 * 6 * 64, INT32)

# Maps of the same size under a window of the same kernel: kernel, stride, dilation, padding
WINDOW, MAPS = (2, 3, 1, 1, 1, 1, 0, 0, 0, 0), zeros((2, 5, 6, 5), np.float32)

CODES, BASE = zeros((2, 5, 6, 5), np.uint8), zeros(64, INT32)
SUMS = _kernels.Results(64, BASE, None, None, False)
STEPS = _kernels.Results(64, BASE, zeros((3, 64), INT32), zeros(2, np.uint32), False)
SIGNS = _kernels.Results(64, BASE, zeros((1, 64), INT32), zeros(2, np.uint32), True)

# Arguments that fit. Sizes end where words and panels end, so that one more of anything needs another word or panel.
FITTING = {
    "pack_f32": [zeros((3, 128), np.float32), zeros((3, 2), WORDS)],
    "pack_f64": [zeros((3, 128), np.float64), zeros((3, 2), WORDS)],
    "pack_i8": [zeros((3, 128), np.int8), zeros((3, 2), WORDS)],
    "pack_bool": [zeros((3, 128), np.uint8), zeros((3, 2), WORDS)],
    "pack_channels_f32": [zeros((2, 3, 64, 5), np.float32), zeros((2, 5, 3, 1), WORDS)],
    "unpack_i8": [zeros((3, 2), WORDS), 128, zeros((3, 128), np.int8)],
    "unpack_f32": [zeros((3, 2), WORDS), 128, zeros((3, 128), np.float32)],
    "to_panels": [zeros((32, 2), WORDS), panels(1, 32, 2)],
    "matmul": [zeros((3, 2), WORDS), panels(1, 64, 2), 128, zeros((3, 64), INT32), 1],
    "matmul_loops": [zeros((3, 2), WORDS), zeros((64, 2), WORDS), 128, zeros((3, 64), INT32)],
    "matmul_threshold": [zeros((3, 2), WORDS), panels(1, 64, 2), 128, zeros(64, INT32), zeros(64, FLIPS),
                         zeros((3, 1), WORDS), 1],
    "matmul_i8": [zeros((3, 128), np.int8), panels(1, 64, 2), zeros((3, 64), INT32), 1],
    "matmul_i8_threshold": [zeros((3, 128), np.int8), panels(1, 64, 2), zeros(64, INT32), zeros(64, FLIPS),
                            zeros((3, 1), WORDS), 1],
    "matmul_planes": [zeros((2, 3, 2), WORDS), zeros(2, INT32), zeros(3, INT32), panels(4, 64, 2), zeros(4, INT32),
                      zeros(64, INT32), 128, zeros((3, 64), INT32), 1],
    "convolve": [X, SHAPE, FILTERS, TAP_SUMS, None, None, zeros((2, 4, 4, 128), INT32), 1],
    "convolve with thresholds": [X, SHAPE, FILTERS, TAP_SUMS, zeros(128, INT32), zeros(128, FLIPS),
                                 zeros((2, 4, 4, 2), WORDS), 1],
    "RealConvolution": [MAPS, WINDOW, 64, zeros(6 * 5 * 64, np.float32), 0.0, None, None,
                        zeros((2, 4, 4, 64), np.float32), 1],
    "RealConvolution with thresholds": [MAPS, WINDOW, 64, zeros(6 * 5 * 64, np.int8), 1.0, zeros(64, np.float32),
                                        zeros(2, np.uint32), zeros((2, 4, 4, 1), WORDS), 1],
    "Pointwise": [zeros(24, np.float32), [(2, zeros(6, np.float32), zeros(6, np.float32), 0.0, 0.0)], 6,
                  zeros(24, np.float32)],
    "MaxPool": [MAPS, WINDOW, zeros((2, 4, 4, 5), np.float32)],
    "OrPool": [X, WINDOW, zeros(2, WORDS), zeros((2, 4, 4, 2), WORDS)],
    "Results": [64, zeros(64, INT32), zeros((1, 64), INT32), zeros(2, np.uint32), True],
    "ByteConvolution": [CODES, WINDOW, 64, zeros(2 * 16 * 64, np.int8), 0, SUMS, zeros((2, 4, 4, 64), INT32), 1],
    "ByteConvolution to codes": [CODES, WINDOW, 64, zeros(2 * 16 * 64, np.int8), 0, STEPS,
                                 zeros((2, 4, 4, 64), np.uint8), 1],
    "ByteConvolution to signs": [CODES, WINDOW, 64, zeros(2 * 16 * 64, np.int8), 0, SIGNS,
                                 zeros((2, 4, 4, 1), WORDS), 1],
    "BytePool": [CODES, WINDOW, 3, zeros(5, np.uint8), zeros((2, 4, 4, 5), np.uint8)],
    "ToBytes": [zeros(24, np.float32), 0.0, zeros(24, np.uint8)],
    "Comparison": [zeros((3, 64), INT32), STEPS, zeros((3, 64), np.uint8)],
    "Comparison to signs": [zeros((3, 64), INT32), SIGNS, zeros((3, 1), WORDS)],
    "naive_matmul": [zeros((3, 5), np.float32), zeros((4, 5), np.float32), zeros((3, 4), np.float32)],
}  # fmt: skip


MAY_BE_NONE = {("OrPool", 2), ("BytePool", 3), ("Results", 1)}


def compiled(name):
    return getattr(_kernels, name.split()[0])


def other_lengths():
    """Each array of each call, with one axis a value longer or without values."""
    for name, arguments in FITTING.items():
        for place, argument in enumerate(arguments):
            for axis in range(argument.ndim if isinstance(argument, np.ndarray) else 0):
                for length in (argument.shape[axis] + 1, 0):
                    shape = (*argument.shape[:axis], length, *argument.shape[axis + 1 :])
                    wrong = [*arguments[:place], zeros(shape, argument.dtype), *arguments[place + 1 :]]
                    yield pytest.param(name, wrong, id=f"{name}-argument {place}-axis {axis}-length {length}")


@pytest.mark.parametrize("name", FITTING)
def test_arguments_that_fit_are_taken(name):
    compiled(name)(*FITTING[name])


@pytest.mark.parametrize(("name", "arguments"), list(other_lengths()))
def test_an_array_of_another_length_is_refused(name, arguments):
    with pytest.raises(ValueError, match=r"must be -?[0-9]+, received"):
        compiled(name)(*arguments)


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, place) for name, arguments in FITTING.items() for place in range(len(arguments))
     if isinstance(arguments[place], np.ndarray) and (name, place) not in MAY_BE_NONE],
)  # fmt: skip
def test_nothing_in_the_place_of_an_array_is_refused(name, place):
    arguments = [*FITTING[name][:place], None, *FITTING[name][place + 1 :]]
    with pytest.raises((TypeError, ValueError)):
        compiled(name)(*arguments)


@pytest.mark.parametrize(
    "name", ["matmul", "matmul_threshold", "matmul_i8", "matmul_i8_threshold", "matmul_planes", "convolve", "to_panels"]
)
def test_panels_off_a_cache_line_are_refused(name):
    """Their loads are aligned, and would end the process."""
    arguments = list(FITTING[name])
    place = next(i for i, x in enumerate(arguments) if isinstance(x, np.ndarray) and x.dtype == np.uint32)
    arguments[place] = zeros(arguments[place].size + 1, np.uint32)[1:]
    with pytest.raises(ValueError, match="divisible by 64"):
        compiled(name)(*arguments)


def test_rows_that_cannot_be_read_in_place_are_refused():
    wide = zeros((6, 4), WORDS)
    for a, message in ((wide[:3, ::2], "side by side"), (wide[2::-1, :2], "in place")):
        with pytest.raises(ValueError, match=message):
            _kernels.matmul(a, *FITTING["matmul"][1:])
    overlapping = np.ndarray((3, 128), np.float32, bytearray(4096), strides=(6, 4))
    with pytest.raises(ValueError, match="6 bytes apart"):
        _kernels.pack_f32(overlapping, zeros((3, 2), WORDS))


@pytest.mark.parametrize(
    ("place", "number"),
    [(0, 0), (1, -1), (2, 2**40), (3, 0), (5, 0), (5, 2**62), (7, 0), (9, -1), (9, 2**31), (10, 2**30), (11, 2)],
)
def test_a_convolution_of_no_possible_shape_is_refused(place, number):
    arguments = list(FITTING["convolve"])
    arguments[1] = (*SHAPE[:place], number, *SHAPE[place + 1 :])
    with pytest.raises(ValueError, match=r"shape|must be"):
        _kernels.convolve(*arguments)


def test_groups_whose_bits_share_a_word_are_refused():
    shape = (2, 64, 32, 2, 3, 1, 1, 1, 1, 0, 0, 0)
    with pytest.raises(ValueError, match="whole words of filters"):
        _kernels.convolve(X, shape, panels(2, 32, 6), zeros(2 * 6 * 32, INT32), zeros(64, INT32), zeros(64, FLIPS),
                          zeros((2, 4, 4, 1), WORDS), 1)  # fmt: skip


def test_what_does_not_fit_plainly_is_left_undone():
    """The quick way of matmul says no, and the words are for Python."""
    a, b = zeros((3, 2), WORDS), panels(1, 64, 2)
    b[:] = 1
    out = zeros((3, 64), INT32)
    assert _kernels.matmul_if_it_fits(a, b, 64, 128, out)
    assert (out == 120).all()
    out[...] = 7
    past = a.copy()
    past[1, 1] = 1 << 63
    shared = np.zeros((4, 32), WORDS)
    for arguments in (
        (a, b, 63, 128, out), (a, b, 64, 129, out), (a, b, 64, 64, out), (a[:2], b, 64, 128, out),
        (past, b, 64, 120, out), (a, b[:-64], 64, 128, out), (a, zeros(b.size + 1, np.uint32)[1:], 64, 128, out),
        (a, b, 0, 0, out), (a[:0], b, 64, 128, out[:0]),
        (shared[:3, :2].copy(), b, 64, 128, b.view(INT32)[:192].reshape(3, 64)),
        (out.view(WORDS).reshape(-1)[:6].reshape(3, 2), b, 64, 128, out),
    ):  # fmt: skip
        assert not _kernels.matmul_if_it_fits(*arguments)
    x = zeros((3, 128), np.float32)
    with_nan = x.copy()
    with_nan[2, 127] = np.nan
    for arguments in (
        (x, b, 63, 128, out), (x, b, 64, 127, out), (x[:2], b, 64, 128, out), (with_nan, b, 64, 128, out),
        (x, zeros(b.size + 1, np.uint32)[1:], 64, 128, out), (x[:, :0], b, 64, 0, out),
        (zeros(3 * 128 + 192, np.float32)[:384].reshape(3, 128), b, 64, 128, b.view(INT32)[:192].reshape(3, 64)),
    ):  # fmt: skip
        assert not _kernels.sign_matmul_if_it_fits(*arguments)
    both = zeros(3 * 128, np.float32)
    assert not _kernels.sign_matmul_if_it_fits(both.reshape(3, 128), b, 64, 128, both.view(INT32)[:192].reshape(3, 64))
    assert (both == 0).all()
    assert (out == 7).all()
    assert (b == 1).all()
    assert _kernels.sign_matmul_if_it_fits(x, b, 64, 128, out)
    assert (out == 128 - 2 * (128 - 4)).all()  # zeros are +1


def test_counts_and_the_look_past_the_end_compare_their_sizes():
    with pytest.raises(ValueError, match="values of out must be 3, received 2"):
        _kernels.count_rows(zeros((3, 2), WORDS), zeros(2, INT32))
    with pytest.raises(ValueError, match="words in a row of bits must be 3, received 2"):
        _kernels.set_past_end(zeros((3, 2), WORDS), 129)
