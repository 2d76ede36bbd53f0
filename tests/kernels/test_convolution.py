import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnlib import kernels
from bnnlib.kernels import reference

SETS = kernels.info()["available"]

# images, height, width, groups, channels of a group, filters of a group, kernel, stride, padding, dilation
SHAPES = [
    (1, 1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0), (1, 1)),
    (2, 5, 6, 1, 64, 32, (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 7, 7, 1, 130, 70, (3, 3), (2, 2), (1, 1), (1, 1)),
    (3, 9, 4, 2, 65, 33, (3, 2), (1, 2), (2, 1), (2, 1)),
    (2, 6, 30, 3, 1, 2, (1, 5), (1, 1), (0, 4), (1, 3)),
    (40, 4, 4, 1, 70, 40, (3, 3), (1, 1), (1, 1), (1, 1)),
    (26, 2, 3, 2, 10, 64, (2, 2), (1, 1), (1, 2), (1, 2)),
    (1, 1, 1, 1, 3, 4, (3, 3), (1, 1), (3, 3), (1, 1)),
]


def signs(shape, seed=0):
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), shape)


def torch_convolution(x, weights, stride, padding, dilation, groups, pad_value):
    """PyTorch in float64, where sums of signs are exact; channels last."""
    x = torch.nn.functional.pad(torch.from_numpy(x).double(), (padding[1],) * 2 + (padding[0],) * 2, value=pad_value)
    out = torch.nn.functional.conv2d(x, torch.from_numpy(weights).double(), None, stride, 0, dilation, groups)
    return out.permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("pad_value", [-1, 0, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_equals_torch(shape, pad_value, isa):
    images, height, width, groups, channels, filters, kernel, stride, padding, dilation = shape
    x, weights = signs((images, groups * channels, height, width)), signs((groups * filters, channels, *kernel), 1)
    expected = torch_convolution(x, weights, stride, padding, dilation, groups, pad_value)
    bits, packed = kernels.pack_images(x, groups=groups), kernels.prepack_filters(weights, groups)
    thresholds = np.random.default_rng(2).integers(-5, 6, groups * filters).astype(np.int32)
    flips = np.random.default_rng(3).integers(0, 2, groups * filters).astype(bool)
    with kernels.instruction_set(isa):
        out = kernels.conv2d(bits, packed, stride, padding, dilation, pad_value=pad_value)
        compared = kernels.conv2d_threshold(
            bits, packed, thresholds, flips, stride, padding, dilation, pad_value=pad_value
        )
        both = kernels.conv2d(bits, packed, stride, padding, dilation, pad_value=pad_value, threads=2)
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(both, expected)
    np.testing.assert_array_equal(out, reference.conv2d(x, weights, stride, padding, dilation, groups, pad_value))
    as_rows = reference.compare(expected.astype(np.int32).reshape(-1, groups * filters), thresholds, flips)
    np.testing.assert_array_equal(compared, as_rows.reshape(*out.shape[:3], -1))


@pytest.mark.parametrize("pad_value", [-1, 0, 1])
def test_one_dimension_equals_torch(pad_value):
    x, weights = signs((3, 64, 50)), signs((20, 64, 9), 1)
    padded = torch.nn.functional.pad(torch.from_numpy(x), (4, 4), value=pad_value)
    expected = torch.nn.functional.conv1d(padded, torch.from_numpy(weights), stride=2, dilation=2)
    bits = kernels.pack_images(x[:, :, None])[:, 0]
    packed = kernels.prepack_filters(weights)
    out = kernels.conv1d(bits, packed, 2, 4, 2, pad_value=pad_value)
    np.testing.assert_array_equal(out, expected.permute(0, 2, 1).numpy())
    thresholds = np.arange(-10, 10, dtype=np.int32)
    compared = kernels.conv1d_threshold(bits, packed, thresholds, None, 2, 4, 2, pad_value=pad_value)
    np.testing.assert_array_equal(kernels.unpack(compared.reshape(-1, 1), 20) > 0, out.reshape(-1, 20) >= thresholds)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_convolution_equals_torch(data):
    groups, channels, filters = (data.draw(st.integers(1, top)) for top in (2, 80, 40))
    kernel, stride, dilation = (data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in range(3))
    padding = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    size = [data.draw(st.integers(max(1, dilation[i] * (kernel[i] - 1) + 1 - 2 * padding[i]), 12)) for i in range(2)]
    x = signs((data.draw(st.integers(1, 16)), groups * channels, *size), data.draw(st.integers(0, 999)))
    weights, pad_value = signs((groups * filters, channels, *kernel), 1), data.draw(st.sampled_from([-1, 0, 1]))
    bits, packed = kernels.pack_images(x, groups=groups), kernels.prepack_filters(weights, groups)
    out = kernels.conv2d(bits, packed, stride, padding, dilation, pad_value=pad_value)
    np.testing.assert_array_equal(out, torch_convolution(x, weights, stride, padding, dilation, groups, pad_value))


def test_no_images_and_an_output_of_ones_own():
    packed = kernels.prepack_filters(signs((4, 8, 3, 3)))
    assert kernels.conv2d(np.zeros((0, 5, 5, 1), np.uint64), packed).shape == (0, 3, 3, 4)
    x = kernels.pack_images(signs((1, 8, 5, 5)))
    out = np.empty((1, 3, 3, 4), np.int32)
    assert kernels.conv2d(x, packed, out=out) is out
    with pytest.raises(ValueError, match=r"with shape \(1, 3, 3, 4\)"):
        kernels.conv2d(x, packed, out=out[:, 1:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 0}, "stride must lie in 1"),
        ({"padding": -1}, "padding must lie in 0"),
        ({"dilation": (1, 0)}, "dilation must lie in 1"),
        ({"dilation": 9}, r"covers \(19, 19\) but the padded image is \(5, 5\)"),
        ({"pad_value": 2}, "pad_value must be -1, 0 or 1, received 2"),
        ({"padding": 2**30}, "more than a process can address"),
        ({"threads": -3}, "threads must lie in 1"),
    ],
)
def test_impossible_geometry_is_refused(change, message):
    packed = kernels.prepack_filters(signs((4, 8, 3, 3)))
    with pytest.raises(ValueError, match=message):
        kernels.conv2d(kernels.pack_images(signs((1, 8, 5, 5))), packed, **change)


def test_images_and_filters_that_do_not_belong_together_are_refused():
    packed = kernels.prepack_filters(signs((4, 8, 3, 3)))
    with pytest.raises(ValueError, match=r"1 words to a pixel .* received shape \(1, 5, 5, 2\)"):
        kernels.conv2d(kernels.pack_images(signs((1, 80, 5, 5))), packed)
    with pytest.raises(ValueError, match="bits set past channel 8"):
        kernels.conv2d(kernels.pack_images(np.ones((1, 9, 5, 5), np.float32)), packed)
    with pytest.raises(ValueError, match="use conv2d"):
        kernels.conv1d(np.zeros((1, 5, 1), np.uint64), packed)
    with pytest.raises(TypeError, match="x must be packed"):
        kernels.conv2d(signs((1, 5, 5, 1)), packed)
    with pytest.raises(TypeError, match="stride must be a whole number or a pair"):
        kernels.conv2d(kernels.pack_images(signs((1, 8, 5, 5))), packed, stride=1.5)
    with pytest.raises(TypeError, match=r"groups must be a whole number, received 1\.5"):
        kernels.prepack_filters(signs((4, 8, 3, 3)), groups=1.5)
    with pytest.raises(ValueError, match="groups must divide the 4 filters, received 3"):
        kernels.prepack_filters(signs((4, 8, 3, 3)), groups=3)
    with pytest.raises(ValueError, match="groups must divide the 8 channels, received 3"):
        kernels.pack_images(signs((1, 8, 5, 5)), groups=3)
    with pytest.raises(ValueError, match="none of them 0"):
        kernels.prepack_filters(np.ones((4, 0, 3, 3), np.float32))
    with pytest.raises(ValueError, match='layout must be "NCHW" or "NHWC"'):
        kernels.pack_images(signs((1, 8, 5, 5)), "HWC")


def test_geometry_may_be_a_list_as_in_pytorch_and_of_a_signal_a_number():
    x, packed = kernels.pack_images(signs((1, 8, 5, 5))), kernels.prepack_filters(signs((4, 8, 3, 3)))
    np.testing.assert_array_equal(
        kernels.conv2d(x, packed, [2, 1], [1, 0], [1, 2]), kernels.conv2d(x, packed, (2, 1), (1, 0), (1, 2))
    )
    one = kernels.prepack_filters(signs((4, 8, 3)))
    with pytest.raises(ValueError, match=r"stride must lie in 1\.\.\d+, received 0$"):
        kernels.conv1d(x[0], one, stride=0)
    with pytest.raises(TypeError, match=r"padding must be a whole number for one dimension, received \(0, 1\)"):
        kernels.conv1d(x[0], one, padding=(0, 1))


def test_images_without_channels_and_without_images_return():
    for shape, groups in (((2, 0, 3, 3), 1), ((0, 6, 3, 3), 2)):
        bits = kernels.pack_images(np.ones(shape, np.float32), groups=groups)
        assert kernels.unpack_images(bits, shape[1], groups=groups).shape == shape


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match="no masked array"):
        kernels.pack(np.ma.masked_array(np.ones((2, 2), np.float32), True))


def test_filters_that_contradict_themselves_are_refused():
    packed = kernels.prepack_filters(signs((4, 8, 3, 3)), groups=2)
    for change, message in (
        ({"filters": 5}, "groups must divide the 5 filters, received 2"),
        ({"groups": 0}, "are positive"),
        ({"kernel": (3, 2)}, "panels of 2 rows and 48 columns"),
        ({"tap_sums": packed.tap_sums[:-1]}, "tap_sums must be int32 of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(packed, **change)
    with pytest.raises(TypeError, match="filters must be Filters"):
        kernels.conv2d(kernels.pack_images(signs((1, 8, 5, 5))), packed.panels)


def test_every_convolution_writes_into_a_given_output():
    x = signs((2, 8, 6, 5))
    for groups in (1, 2):
        bits, packed = (
            kernels.pack_images(x, groups=groups),
            kernels.prepack_filters(signs((4, 8 // groups, 3, 3)), groups),
        )
        thresholds, out = np.zeros(4, np.int32), np.empty((2, 4, 3, 1), np.uint64)
        assert kernels.conv2d_threshold(bits, packed, thresholds, out=out) is out
        np.testing.assert_array_equal(out, kernels.conv2d_threshold(bits, packed, thresholds))
    row, one = kernels.pack_images(x)[:, 0], kernels.prepack_filters(signs((4, 8, 3)))
    sums, words = np.empty((2, 3, 4), np.int32), np.empty((2, 3, 1), np.uint64)
    np.testing.assert_array_equal(kernels.conv1d(row, one, out=sums), kernels.conv1d(row, one))
    kernels.conv1d_threshold(row, one, thresholds, out=words)
    np.testing.assert_array_equal(words, kernels.conv1d_threshold(row, one, thresholds))
    assert np.shares_memory(kernels.conv1d(row, one, out=sums), sums)
    with pytest.raises(ValueError, match="shares memory"):
        kernels.conv2d(bits, packed, out=bits.view(np.int32).reshape(-1)[: 2 * 4 * 3 * 4].reshape(2, 4, 3, 4))


@pytest.mark.parametrize("groups", [np.uint8(1), np.int8(2), np.uint64(1), True])
def test_groups_may_be_any_whole_number(groups):
    x, weights = signs((1, 64, 2, 2)), signs((4, 64 // int(groups), 1, 1))
    bits = kernels.pack_images(x, groups=groups)
    np.testing.assert_array_equal(bits, kernels.pack_images(x, groups=int(groups)))
    out = kernels.conv2d(bits, kernels.prepack_filters(weights, groups))
    np.testing.assert_array_equal(out, torch_convolution(x, weights, 1, (0, 0), 1, int(groups), 0))


def test_padding_alone_can_be_an_image():
    packed = kernels.prepack_filters(signs((4, 8, 3, 3)))
    for value in (-1, 0, 1):
        out = kernels.conv2d(np.zeros((1, 3, 0, 1), np.uint64), packed, padding=2, pad_value=value)
        expected = torch_convolution(np.zeros((1, 8, 3, 0), np.float32), signs((4, 8, 3, 3)), 1, (2, 2), 1, 1, value)
        np.testing.assert_array_equal(out, expected)


def test_large_outputs_and_depths_that_are_packed_are_exact():
    """More than 2 MiB, which bypass the caches."""
    x, weights = signs((8, 64, 36, 36)), signs((64, 64, 3, 3), 1)
    out = kernels.conv2d(kernels.pack_images(x), kernels.prepack_filters(weights), padding=1)
    assert out.nbytes > 2 << 20
    np.testing.assert_array_equal(out, torch_convolution(x, weights, 1, (1, 1), 1, 1, 0))
