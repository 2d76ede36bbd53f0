"""The parts of a block beside the layer."""

import pytest
import torch

from bnnlib.layers import RPReLU


def by_hand(x, act, axis):
    shape = [1] * x.dim()
    shape[axis] = -1
    slope, before, after = (p.reshape(shape) for p in (act.slope, act.before, act.after))
    return torch.where(x + before > 0, x + before, slope * (x + before)) + after


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((4, 6, 3), -1), ((6, 3), -1), ((3,), -1), ((4, 3, 6), -2), ((3, 6), -2), ((4, 3, 5, 6), -3), ((3, 5, 6), -3)],
)
def test_rprelu_takes_the_channels_where_it_is_told_with_and_without_a_batch(shape, axis):
    torch.manual_seed(0)
    act = RPReLU(3, channel_axis=axis, dtype=torch.float64)
    for parameter in act.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(act(x), by_hand(x, act, axis))
    wanted = torch.autograd.grad(by_hand(x, act, axis).square().sum(), [x, *act.parameters()])
    torch.testing.assert_close(torch.autograd.grad(act(x).square().sum(), [x, *act.parameters()]), wanted)


def test_rprelu_alone_takes_axis_one_or_the_last_of_two():
    act = RPReLU(3)
    assert act(torch.randn(2, 3, 5)).shape == (2, 3, 5)
    assert act(torch.randn(2, 3)).shape == (2, 3)
    with pytest.raises(ValueError, match="expected 3 channels on axis 1"):
        act(torch.randn(2, 5, 3))


def test_rprelu_is_made_with_a_type_and_a_device():
    act = RPReLU(3, device="meta", dtype=torch.bfloat16)
    assert {(p.dtype, p.device.type) for p in act.parameters()} == {(torch.bfloat16, "meta")}
    with pytest.raises(ValueError, match="counted from the end, -1 or below, received 1"):
        RPReLU(3, channel_axis=1)
