"""Inference engines and kernels that do not come with the course: bnn-lab, ONNX Runtime and OpenVINO.

They are compared with ours where they are installed (the extra ``rivals`` of pyproject.toml; bnn-lab by itself, with
``pip install --no-deps``, since it pins an older PyTorch) and left out elsewhere.
"""

import ctypes
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.metadata import distribution
from pathlib import Path

import numpy as np

from bnnlib import kernels

__all__ = [
    "bnn_lab", "onnxruntime_2bit", "onnxruntime_network", "openvino_chain", "openvino_convolution", "openvino_network",
]  # fmt: skip

_BNN_LAB_SETS = {1: "avx2", 2: "avx512-vpopcntdq"}  # the numbers that the library gives its kernels
_BLOCK = 128  # weights that share a scale, for MatMulNBits; 32 and 64 were no faster


def bnn_lab(a: np.ndarray, b: np.ndarray, isa: str | None = None) -> Callable[[], np.ndarray]:
    """bnn-lab's product of packed signs (PyPI, 1.0.0), called in its shared library, without its Python package.

    Its bit 1 stands for -1 and ours for +1. With both operands turned round their xor is the same, so it takes our
    words, whose bits past the end are zeros in both.

    Args:
        a, b: signs as float32, (M, K) and (N, K).
        isa: the instruction set of its kernel, "avx2" or "avx512-vpopcntdq"; its choice if None.

    Returns:
        The product: float32 (M, N), in an array that the calls share. On one thread.

    Raises:
        RuntimeError: the library has no kernel for that instruction set on this processor, or it is its own choice
            anyway.
    """
    library = _bnn_lab_library()
    library.binary_gemm_set_num_threads(1)
    chosen = library.binary_gemm_set_kernel(-1)  # what it takes by itself
    if isa is not None:
        wanted = {name: number for number, name in _BNN_LAB_SETS.items()}[isa]
        if wanted == chosen or library.binary_gemm_set_kernel(wanted) != wanted:
            raise RuntimeError(f"bnn-lab has {isa} by its own choice, or not at all")
    x, w, out = kernels.pack(a), kernels.pack(b), np.empty((len(a), len(b)), np.float32)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (x, w, out)]  # each keeps its array alive
    sizes = [ctypes.c_int(size) for size in (len(a), len(b), x.shape[1], a.shape[1])]

    def multiply() -> np.ndarray:
        library.binary_gemm_u64(*pointers, *sizes)
        return out

    return multiply


@cache
def _bnn_lab_library() -> ctypes.CDLL:
    files = distribution("bnn-lab").files or ()
    compiled = [file for file in files if file.name.startswith("_binary_gemm_native")]
    if not compiled:
        raise ImportError("bnn-lab is installed without its compiled kernels")
    library = ctypes.CDLL(str(compiled[0].locate()))
    library.binary_gemm_u64.restype = None
    return library


def onnxruntime_2bit(a: np.ndarray, b: np.ndarray) -> Callable[[], np.ndarray]:
    """ONNX Runtime's MatMulNBits with weights of 2 bits; it rounds the activations to int8 in the call.

    The signs are the codes 1 and 3 about the zero point 2, with all scales 1: the dequantised weights are ``b``.

    Args:
        a, b: signs as float32, (M, K) and (N, K).

    Returns:
        The product: float32 (M, N), in an array that the calls share. On one thread.
    """
    import onnxruntime
    from onnx import TensorProto, helper

    (n, columns), blocks = b.shape, -(-b.shape[1] // _BLOCK)
    codes = np.full((n, blocks * _BLOCK), 2, np.uint8)  # past the end: zeros
    codes[:, :columns] = np.where(b > 0, 3, 1)
    four = codes.reshape(n, blocks, _BLOCK // 4, 4) << np.arange(0, 8, 2, dtype=np.uint8)
    packed, scales = np.bitwise_or.reduce(four, axis=3), np.ones(n * blocks, np.float32)
    node = helper.make_node(
        "MatMulNBits", ["a", "b", "scales"], ["product"], domain="com.microsoft",
        K=columns, N=n, bits=2, block_size=_BLOCK, accuracy_level=4,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, a.shape)],
        [helper.make_tensor_value_info("product", TensorProto.FLOAT, (len(a), n))],
        [
            helper.make_tensor("b", TensorProto.UINT8, packed.shape, packed.tobytes(), raw=True),
            helper.make_tensor("scales", TensorProto.FLOAT, scales.shape, scales.tobytes(), raw=True),
        ],
    )
    sets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    x, out = np.ascontiguousarray(a), np.empty((len(a), n), np.float32)
    binding = session.io_binding()
    binding.bind_input("a", "cpu", 0, np.float32, x.shape, x.ctypes.data)
    binding.bind_output("product", "cpu", 0, np.float32, out.shape, out.ctypes.data)
    return partial(_run_bound, session, binding, x, out)


def _run_bound(session, binding, x: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Runs on the arrays that are bound; they are arguments because the binding doesn't keep them alive."""
    session.run_with_iobinding(binding)
    return out


def onnxruntime_network(model, x: np.ndarray, *, int8: bool = False) -> Callable[[], np.ndarray]:
    """A network in ONNX Runtime, called with a NumPy array, on one thread.

    Args:
        model: an ``onnx.ModelProto`` with one input and one output.
        x: the batch; with ``int8`` it also sets the ranges of the values.
        int8: whether weights and activations are quantised, by the runtime's own static quantisation.
    """
    import onnxruntime

    name = model.graph.input[0].name
    content = _quantised(model, {name: x}) if int8 else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {name: x})[0]


def _quantised(model, batch: dict[str, np.ndarray]) -> bytes:
    from onnxruntime import quantization

    class Once(quantization.CalibrationDataReader):
        def __init__(self):
            self._left = [batch]

        def get_next(self):
            return self._left.pop() if self._left else None

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{name}.onnx") for name in ("float32", "prepared", "int8")]
        paths[0].write_bytes(model.SerializeToString())
        quantization.quant_pre_process(paths[0], paths[1])
        quantization.quantize_static(paths[1], paths[2], Once(), per_channel=True)
        return paths[2].read_bytes()


def openvino_network(model, x: np.ndarray) -> Callable[[], np.ndarray]:
    """A network in OpenVINO, called with a NumPy array, on one thread; ``model`` as for :func:`onnxruntime_network`.

    Its arithmetic is float32; left to itself it takes bfloat16 on a processor that multiplies matrices of these.
    """
    import openvino

    read = openvino.Core().read_model(model.SerializeToString())
    read.reshape(list(x.shape))
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(read, "CPU", options)
    request = compiled.create_infer_request()

    def infer() -> np.ndarray:
        request.infer([x], share_inputs=True)
        return request.get_output_tensor().data

    return infer


def openvino_convolution(x: np.ndarray, w: np.ndarray) -> Callable[[], np.ndarray]:
    """OpenVINO's BinaryConvolution, 3x3 with zero padding 1, from floats: it binarises its input in the call.

    The result has its channels last, as its kernel writes them. Version 2026.4.1 is exact where the channels are a
    multiple of 8, and only there. The bounds of FakeQuantize must differ: with equal ones it gave a constant, or ended
    the process.

    Args:
        x, w: signs as float32, (N, C, H, W) and (filters, C, 3, 3).

    Returns:
        The convolution: float32 (N, H, W, filters), in an array that the calls share. On one thread.
    """
    return openvino_chain(x, [(w, 1, None)])


def openvino_chain(
    x: np.ndarray, layers: Sequence[tuple[np.ndarray, int, np.ndarray | None]]
) -> Callable[[], np.ndarray]:
    """A chain of OpenVINO's BinaryConvolutions, 3x3 with zero padding 1; see :func:`openvino_convolution`.

    Args:
        x: signs as float32, (N, C, H, W).
        layers: of each its weights, signs as float32 (filters, channels, 3, 3); the width and stride of the max pool
            over its sums, 1 for none; and the whole thresholds, (filters,), from which on a sum is +1 for the next
            layer. The last one has None: its sums are the result.

    Returns:
        The last sums: float32 (N, H, W, filters), in an array that the calls share. On one thread.
    """
    import openvino
    from openvino import opset13 as ops

    def bounds(values: np.ndarray):
        return ops.constant(values.astype(np.float32).reshape(1, -1, 1, 1))

    def signs_of(values, below: np.ndarray, from_: np.ndarray):
        minus, plus = (bounds(np.full(1, sign)) for sign in (-1, 1))
        return ops.fake_quantize(values, bounds(below), bounds(from_), minus, plus, 2)

    image = ops.parameter(x.shape, np.float32)
    values, below, from_ = image, np.full(1, -1), np.full(1, 1)
    ones = [1, 1]  # strides, padding on either side, dilations
    for w, pool, thresholds in layers:
        bits = openvino.Tensor(openvino.Type.u1, openvino.Shape(w.shape))
        bits.data.reshape(-1).view(np.uint8)[:] = np.packbits(w.reshape(-1) > 0, bitorder="little")
        signs = signs_of(values, below, from_)
        values = ops.binary_convolution(signs, ops.constant(bits), ones, ones, ones, ones, "xnor-popcount", 0.0)
        if pool > 1:
            values = ops.max_pool(values, [pool, pool], ones, [0, 0], [0, 0], [pool, pool]).output(0)
        if thresholds is not None:
            below, from_ = thresholds - 1, thresholds
    last = ops.transpose(values, ops.constant(np.array([0, 2, 3, 1])))
    model = openvino.Model([last], [image], "convolutions")
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    request.set_input_tensor(openvino.Tensor(np.ascontiguousarray(x), shared_memory=True))
    out = request.get_output_tensor().data

    def convolve() -> np.ndarray:
        request.infer()
        return out

    return convolve
