"""Calls whose arrays are bound: equal to PyTorch, whatever the instruction set, and as often as they are called."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnlib import kernels
from bnnlib.kernels import prepared

SETS = kernels.info()["available"]


def whole(rng, shape, largest=9):
    return rng.integers(-largest, largest + 1, shape).astype(np.float32)


def torch_convolution(x, weights, stride, padding, dilation, pad_value):
    top, bottom, left, right = padding
    x = torch.nn.functional.pad(
        torch.from_numpy(x).permute(0, 3, 1, 2).double(), (left, right, top, bottom), value=pad_value
    )
    weights = torch.from_numpy(weights).permute(0, 3, 1, 2).double()
    return torch.conv2d(x, weights, None, stride, 0, dilation).permute(0, 2, 3, 1).contiguous().numpy()


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("dtype", [np.float32, np.int16])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("shape", "kernel", "filters", "stride", "padding", "dilation"),
    [
        ((2, 8, 9, 3), (3, 3), 32, (1, 1), (1, 1, 1, 1), (1, 1)),
        ((1, 28, 28, 1), (5, 2), 70, (2, 1), (0, 2, 1, 0), (1, 2)),
        ((40, 3, 3, 17), (3, 3), 10, (1, 1), (0, 0, 0, 0), (1, 1)),  # whole maps: linear layers
        ((1, 1, 1, 300), (1, 1), 100, (1, 1), (0, 0, 0, 0), (1, 1)),
        ((3, 1, 40, 2), (1, 4), 33, (1, 3), (0, 0, 3, 3), (1, 1)),
    ],
)
def test_real_convolutions_equal_torch(shape, kernel, filters, stride, padding, dilation, threads, dtype, isa):
    rng = np.random.default_rng(0)
    weights = whole(rng, (filters, *kernel, shape[3]), 100).astype(dtype)
    ready = prepared.prepack_real(weights)
    assert ready.panels.dtype == (np.int8 if dtype == np.int16 else np.float32)
    x = whole(rng, shape, 255)
    expected = torch_convolution(x, weights, stride, padding, dilation, 1)
    thresholds = rng.integers(-5000, 5000, filters).astype(np.int32)
    flips = rng.random(filters) < 0.5
    sums = np.empty(expected.shape, np.float32)
    bits = np.empty((*expected.shape[:3], -(-filters // 64)), np.uint64)
    options = {"pad_value": 1, "threads": threads}
    with kernels.instruction_set(isa):
        call = prepared.conv2d_real(x, ready, sums, stride, padding, dilation, **options)
        call()
        np.testing.assert_array_equal(sums, expected)
        prepared.conv2d_real(x, ready, bits, stride, padding, dilation, comparison=(thresholds, flips), **options)()
        wanted = (expected >= thresholds) != flips
        np.testing.assert_array_equal(kernels.unpack_images(bits, filters, "NHWC") > 0, wanted)
        x *= -1  # the arrays are bound, not what was in them
        call()
    np.testing.assert_array_equal(sums, torch_convolution(x, weights, stride, padding, dilation, 1))


def test_weights_beyond_int8_and_real_ones_are_kept_as_floats():
    assert prepared.prepack_real(np.full((2, 1, 1, 3), 200, np.int16)).panels.dtype == np.float32
    assert prepared.prepack_real(np.full((2, 1, 1, 3), 0.5, np.float32)).panels.dtype == np.float32
    with pytest.raises(TypeError, match="shape"):
        prepared.prepack_real(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize("isa", SETS)
def test_steps_round_as_torch_does(isa):
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((3, 4, 5, 7)) * 50).astype(np.float32)
    a, b = (rng.standard_normal(7).astype(np.float32) for _ in range(2))
    of_map = rng.standard_normal((4, 5, 7)).astype(np.float32)
    t, ta, tb = (torch.from_numpy(each) for each in (x, a, b))
    expected = {
        "multiply": (("multiply", (a,)), t * ta),
        "add to each value of a map": (("add", (of_map,)), t + torch.from_numpy(of_map)),
        "norm": (("norm", (a, b)), (t.double() * ta.double() + tb.double()).float()),
        "bend": (("bend", (a,)), torch.prelu(t.reshape(-1, 7), ta).reshape(t.shape)),
        "divide": (("divide", (np.float32(0.3),)), t / torch.tensor(0.3)),
        "clip": (("clip", (-1.0, float("inf"))), t.clamp(-1)),
        "round": (("round", ()), (t / 100).round()),
    }
    for name, (step, wanted) in expected.items():
        given_x = x / np.float32(100) if name == "round" else x
        out = np.empty_like(x)
        with kernels.instruction_set(isa):
            prepared.pointwise(given_x, [step], out)()
        np.testing.assert_array_equal(out, wanted.numpy(), err_msg=name)
    halves, out = (
        np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], np.float32).reshape(1, 1, 1, 6),
        np.empty((1, 1, 1, 6), "f4"),
    )
    with kernels.instruction_set(isa):
        prepared.pointwise(halves, [("round", ())], out)()
        np.testing.assert_array_equal(out.ravel(), [-2, -2, 0, 0, 2, 2])
        sums = rng.integers(-1000, 1000, (3, 4, 5, 7)).astype(np.int32)
        out = np.empty(sums.shape, np.float32)
        prepared.pointwise(sums, [("multiply", (a,)), ("add", (b,))], out)()
    np.testing.assert_array_equal(out, sums.astype(np.float32) * a + b)


@pytest.mark.parametrize("isa", SETS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_convolutions_of_codes_equal_torch(isa, data):
    """Codes and weights of up to 8 bits, with sums, codes and signs as results."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    bits, low = data.draw(st.sampled_from([(2, 0), (8, -128), (8, 0)]))
    channels, filters = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    height, width, count = (data.draw(st.integers(3, most)) for most in (6, 40, 3))
    kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = data.draw(st.tuples(*[st.integers(0, 1)] * 4))
    stride, dilation = data.draw(st.sampled_from([((1, 1), (1, 1)), ((2, 1), (1, 1)), ((1, 1), (1, 2))]))
    if dilation[1] == 2 and 2 * kernel[1] - 1 > width:
        dilation = (1, 1)
    codes = rng.integers(low, low + 2**bits, (count, height, width, channels))
    weights = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (filters, *kernel, channels))
    expected = torch_convolution(codes.astype("f4"), weights.astype("f4"), stride, padding, dilation, 0)
    ready = prepared.prepack_bytes(weights, dilation)
    x, steps = (codes - low).astype(np.uint8), data.draw(st.integers(1, 5))
    thresholds = np.sort(rng.integers(-3000, 3000, (steps, filters)).astype(np.int32), 0)
    flips = rng.random(filters) < 0.5
    wanted = ((expected[..., None, :] >= thresholds) != flips).sum(-2)
    sums, made = np.empty(expected.shape, np.int32), np.empty((2, *expected.shape), np.uint8)
    signs = np.empty((2, *expected.shape[:3], -(-filters // 64)), np.uint64)
    one = (thresholds[:1], flips)
    threads = data.draw(st.integers(1, 2))
    with kernels.instruction_set(isa):
        given_x = (x, low, ready)
        prepared.conv2d_bytes(*given_x, sums, stride, padding, threads=threads)()
        prepared.conv2d_bytes(*given_x, made[0], stride, padding, comparison=(thresholds, flips), threads=threads)()
        prepared.conv2d_bytes(*given_x, signs[0], stride, padding, comparison=one, threads=threads)()
        prepared.compare(sums, (thresholds, flips), made[1])()
        prepared.compare(sums, one, signs[1])()
    np.testing.assert_array_equal(sums, expected)
    for each in made:
        np.testing.assert_array_equal(each, wanted)
    for each in signs:
        np.testing.assert_array_equal(kernels.unpack_images(each, filters, "NHWC") > 0, (expected >= one[0]) != flips)


def test_pools_equal_torch():
    rng = np.random.default_rng(2)
    x = whole(rng, (2, 7, 8, 5))
    geometry = ((3, 2), (2, 2), (1, 1, 1, 0), (1, 1))
    padded = torch.nn.functional.pad(torch.from_numpy(x).permute(0, 3, 1, 2), (1, 0, 1, 1), value=-99)
    expected = torch.max_pool2d(padded, (3, 2), (2, 2)).permute(0, 2, 3, 1).contiguous().numpy()
    out = np.empty(expected.shape, np.float32)
    prepared.max_pool(x, *geometry, out)()
    np.testing.assert_array_equal(out, expected)
    words = np.empty((*expected.shape[:3], 1), np.uint64)
    inverted = np.array([0b10110], np.uint64)
    prepared.or_pool(kernels.pack_images(x, "NHWC"), *geometry, inverted, words)()
    wanted = (expected >= 0) ^ np.array([False, True, True, False, True])
    np.testing.assert_array_equal(kernels.unpack_images(words, 5, "NHWC") > 0, wanted)
    codes, out = np.empty(x.shape, np.uint8), np.empty(expected.shape, np.uint8)
    prepared.to_bytes(x, -9, codes)()
    np.testing.assert_array_equal(codes, x + 9)
    inverted = np.array([False, True, True, False, True])
    prepared.max_pool_bytes(codes, *geometry, 18, inverted, out)()
    np.testing.assert_array_equal(out, np.where(inverted, 9 - expected, expected + 9))


def test_windows_beside_the_map_and_arrays_of_other_sizes_are_refused():
    x, out = np.zeros((1, 2, 2, 3), np.float32), np.zeros((1, 6, 2, 3), np.float32)
    with pytest.raises(ValueError, match="outside the map"):
        prepared.max_pool(x, (1, 1), (1, 1), (2, 2, 0, 0), (1, 1), out)
    with pytest.raises(ValueError, match="height of out must be 2, received 6"):
        prepared.max_pool(x, (1, 1), (1, 1), (0, 0, 0, 0), (1, 1), out)
    with pytest.raises(ValueError, match="x has shape"):
        prepared.pointwise(x, [("round", ())], out)
    with pytest.raises(ValueError, match="numbers of a step"):
        prepared.pointwise(x, [("add", (np.zeros(5, np.float32),))], np.zeros_like(x))
    codes, ready = np.zeros((1, 2, 2, 3), np.uint8), prepared.prepack_bytes(np.ones((4, 1, 1, 3), int))
    bytes_out, one = np.zeros((1, 2, 2, 4), np.uint8), (np.zeros((1, 4), np.int32), np.zeros(4, bool))
    plain = ((1, 1), (0, 0, 0, 0))
    with pytest.raises(ValueError, match="filters for 3 channels"):
        prepared.conv2d_bytes(codes[..., :2].copy(), 0, ready, bytes_out, *plain, comparison=one)
    with pytest.raises(ValueError, match="Buffer dtype mismatch"):
        prepared.conv2d_bytes(codes, 0, ready, bytes_out, *plain)  # sums are int32
    with pytest.raises(ValueError, match="out must be 4"):
        prepared.conv2d_bytes(codes, 0, ready, bytes_out[..., :3].copy(), *plain, comparison=one)
    two = (np.zeros((2, 4), np.int32), np.zeros(4, bool))
    with pytest.raises(ValueError, match="steps must be 1, received 2"):
        prepared.conv2d_bytes(codes, 0, ready, np.zeros((1, 2, 2, 1), np.uint64), *plain, comparison=two)
    with pytest.raises(OverflowError):
        prepared.conv2d_bytes(codes, 1, ready, bytes_out, *plain, comparison=one)  # a padding of 0 is no such code
    with pytest.raises(ValueError, match="-128 to 127"):
        prepared.prepack_bytes(np.full((1, 1, 1, 1), 128))
    with pytest.raises(ValueError, match="may reach 2,147,514,120"):
        prepared.prepack_bytes(np.full((1, 1, 1, 66312), 127, np.uint8))
    halves = (np.zeros((1, 4), np.float32), np.zeros(4, bool))
    with pytest.raises(TypeError, match="thresholds of whole sums must be int32, received float32"):
        prepared.conv2d_bytes(codes, 0, ready, bytes_out, *plain, comparison=halves)
    with pytest.raises(ValueError, match="values of out"):
        prepared.to_bytes(x, 0, np.zeros(5, np.uint8))
    with pytest.raises(TypeError, match="float32"):
        prepared.pack(x.astype(np.float64), np.zeros((1, 2, 2, 1), np.uint64))
