import inspect
import pydoc

import numpy as np
import pytest
import torch

from bnnlib import kernels, torch_ops


def net(x, panels):
    return torch_ops.matmul(torch_ops.pack(x), panels, 24, 70).float() * 0.5


def test_operators_equal_torch_on_the_signs():
    torch.manual_seed(0)
    x, weights = torch.randn(9, 70), torch.randn(24, 70)
    expected = torch.where(x >= 0, 1.0, -1.0) @ torch.where(weights >= 0, 1.0, -1.0).T
    torch.testing.assert_close(net(x, torch_ops.prepack(weights)), 0.5 * expected, rtol=0, atol=0)


def test_they_serve_inside_a_compiled_graph():
    torch.manual_seed(1)
    x, panels = torch.randn(9, 70), torch_ops.prepack(torch.randn(24, 70))
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, panels), net(x, panels), rtol=0, atol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_equals_torch_in_either_memory_format(memory_format, groups):
    torch.manual_seed(2)
    x, weights = torch.randn(2, 72, 8, 9), torch.randn(10, 72 // groups, 3, 3)
    signs, filters = torch.where(x >= 0, 1.0, -1.0), torch.where(weights >= 0, 1.0, -1.0)
    expected = torch.nn.functional.conv2d(signs, filters, None, 2, 1, 1, groups)
    bits = torch_ops.pack_images(x.to(memory_format=memory_format), groups)
    geometry = [2, 2], [1, 1], [1, 1], groups, 0
    ready = torch_ops.prepack_filters(weights, groups)
    out = torch_ops.conv2d(bits, ready, weights.shape, *geometry)
    torch.testing.assert_close(out.float(), expected, rtol=0, atol=0)
    thresholds, flips = torch.arange(-5, 5, dtype=torch.int32), torch.arange(10) % 3 == 0
    compared = torch_ops.conv2d_threshold(bits, ready, weights.shape, thresholds, flips, *geometry)
    reached = (expected.permute(0, 2, 3, 1) >= thresholds) != flips
    assert torch.equal(compared, torch_ops.pack((reached.float() - 0.5).reshape(-1, 10)).reshape(compared.shape))


def test_a_packed_network_is_one_graph():
    """Two layers that hand bits to each other, and a last one that gives sums, compiled whole."""
    torch.manual_seed(3)
    layers = [torch_ops.prepack(torch.randn(n, k)) for n, k in ((130, 70), (24, 130))]
    thresholds, flips = torch.randint(-9, 9, (130,), dtype=torch.int32), torch.rand(130) < 0.5

    def forward(x):
        hidden = torch_ops.matmul_threshold(torch_ops.pack(x), layers[0], 70, thresholds, flips)
        return torch_ops.matmul(hidden, layers[1], 24, 130)

    x = torch.randn(5, 70)
    sums = torch_ops.matmul(torch_ops.pack(x), layers[0], 130, 70)
    hidden = ((sums >= thresholds) != flips).float() - 0.5
    expected = torch_ops.matmul(torch_ops.pack(hidden), layers[1], 24, 130)
    assert torch.equal(forward(x), expected)
    assert torch.equal(torch.compile(forward, fullgraph=True, backend="aot_eager")(x), expected)


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (torch_ops.pack, lambda: (torch.randn(3, 70),)),
        (torch_ops.pack_images, lambda: (torch.randn(2, 6, 4, 4), 2)),
        (torch_ops.matmul, lambda: (torch_ops.pack(torch.randn(3, 70)), torch_ops.prepack(torch.randn(5, 70)), 5, 70)),
        (
            torch_ops.conv2d,
            lambda: (
                torch_ops.pack_images(torch.randn(2, 6, 4, 4)),
                torch_ops.prepack_filters(torch.randn(5, 6, 3, 3)),
                [5, 6, 3, 3],
                [1, 1],
                [1, 1],
                [1, 1],
                1,
                0,
            ),
        ),
        (
            torch_ops.conv2d_threshold,
            lambda: (
                torch_ops.pack_images(torch.randn(2, 6, 4, 4)),
                torch_ops.prepack_filters(torch.randn(5, 6, 3, 3)),
                [5, 6, 3, 3],
                torch.zeros(5, dtype=torch.int32),
                torch.zeros(5, dtype=torch.bool),
                [2, 1],
                [1, 1],
                [1, 1],
                1,
                -1,
            ),
        ),
        (
            torch_ops.matmul_threshold,
            lambda: (
                torch_ops.pack(torch.randn(3, 70)),
                torch_ops.prepack(torch.randn(5, 70)),
                70,
                torch.zeros(5, dtype=torch.int32),
                torch.zeros(5, dtype=torch.bool),
            ),
        ),
    ],
)
def test_shapes_for_graphs_agree_with_what_is_computed(operator, arguments):
    torch.library.opcheck(operator.operator, arguments(), test_utils=("test_schema", "test_faketensor"))


def test_panels_of_other_weights_are_refused():
    with pytest.raises(ValueError, match="panels of 40 rows and 70 columns are 256 values of uint32, received uint32"):
        torch_ops.matmul(torch_ops.pack(torch.randn(3, 70)), torch_ops.prepack(torch.randn(5, 70)), 40, 70)


def test_packed_words_are_those_of_the_kernels():
    x = torch.randn(2, 64)
    np.testing.assert_array_equal(torch_ops.pack(x).numpy().view(np.uint64), kernels.pack(x.numpy()))


def test_help_shows_what_an_operator_takes():
    for name in torch_ops.__all__:
        text = pydoc.plain(pydoc.render_doc(getattr(torch_ops, name)))
        assert f"{name}(" in text
        assert "torch.Tensor" in text
        assert "CustomOpDef" not in text
    assert "thresholds" in inspect.signature(torch_ops.matmul_threshold).parameters


def test_what_no_operator_takes_is_refused_in_words():
    weights = torch.randn(5, 70)
    for call, message in (
        (lambda: torch_ops.pack(weights.bfloat16()), r"x must be a float32 or .* received torch\.bfloat16"),
        (lambda: torch_ops.pack(weights.to_sparse()), r"takes dense tensors on the CPU, received torch\.sparse_coo"),
        (lambda: torch_ops.prepack(weights.numpy()), "weights must be a tensor, received ndarray"),
        (lambda: torch_ops.prepack(torch_ops.pack(weights)), r"received torch\.int64"),
        (lambda: torch_ops.matmul(weights, torch_ops.prepack(weights), 5, 70), "packed words .* must be an? int64"),
    ):
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(ValueError, match=r"weights must have shape \(O, C / groups, KH, KW\), received \(5, 70\)"):
        torch_ops.prepack_filters(weights)
    with pytest.raises(ValueError, match="groups must divide the 5 filters, received 0"):
        torch_ops.conv2d(
            torch_ops.pack_images(torch.randn(1, 6, 4, 4)), torch_ops.prepack_filters(torch.randn(5, 6, 3, 3)),
            [5, 6, 3, 3], [1, 1], [0, 0], [1, 1], 0, 0,
        )  # fmt: skip
