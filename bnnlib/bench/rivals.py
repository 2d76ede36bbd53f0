"""Other software that multiplies matrices of signs: what the course's kernels are compared with."""

import timeit
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch

from bnnlib import kernels
from bnnlib.bench.engines import bnn_lab, onnxruntime_2bit

__all__ = ["RIVALS", "Rival", "wrong_share"]

Product = Callable[[], object]


@dataclass(frozen=True)
class Rival:
    """Other software for a product.

    Attributes:
        make: takes the signs as float32, a (M, K) and b (N, K), prepares whatever can be prepared before the clock
            runs, and returns the product.
        speed: rough GMAC/s on one thread, by which slow ones are limited to small shapes.
        tolerance: how far its sums may be from the true ones, as a share of the largest; None for sums that wrap.
        needs: packages that must be installed, if it does not come with the course.
        transposed: the result is (N, M).
    """

    make: Callable[[np.ndarray, np.ndarray], Product]
    speed: float
    tolerance: float | None = 0.0
    needs: tuple[str, ...] = ()
    transposed: bool = False

    def is_right(self, result: object, expected: np.ndarray) -> bool:
        """Whether a result is the product ``expected``, int32 (M, N), to the tolerance."""
        if self.tolerance is None:
            return True
        wanted = expected.T if self.transposed else expected
        given = torch.as_tensor(result).float().numpy().reshape(wanted.shape)
        return float(np.abs(given - wanted).max()) <= self.tolerance * float(np.abs(wanted).max())


def _float32(a, b):
    return torch.from_numpy(a), torch.from_numpy(b)


def faster(*products: Product) -> Product:
    """Whichever is faster here: a rival may have its weights in the layout that suits it."""
    return min(products, key=lambda product: min(timeit.repeat(product, number=1, repeat=7)))


def torch_mm(a, b, dtype=torch.float32) -> Product:
    x, w = (torch.from_numpy(v).to(dtype) for v in (a, b))
    out = torch.empty(len(a), len(b), dtype=dtype)
    view, copy = w.T, w.T.contiguous()
    return faster(lambda: torch.mm(x, view, out=out), lambda: torch.mm(x, copy, out=out))


def torch_linear(a, b) -> Product:
    x, w = _float32(a, b)
    return lambda: torch.nn.functional.linear(x, w)


def torch_packed_linear(a, b) -> Product:
    """What a frozen graph of torch.compile calls: MKL's product with prepacked weights."""
    x, w = _float32(a, b)
    packed = torch.ops.mkl._mkl_reorder_linear_weight(w, len(x))
    return lambda: torch.ops.mkl._mkl_linear(x, packed, w, None, len(x))


def torch_conv1x1(a, b) -> Product:
    x, w = _float32(a, b)
    image = x.reshape(1, x.shape[0], 1, x.shape[1]).permute(0, 3, 1, 2)  # (1, K, M, 1), channels last
    filters = w[:, :, None, None]
    return lambda: torch.nn.functional.conv2d(image, filters)


def numpy_float32(a, b) -> Product:
    view, copy, out = b.T, np.ascontiguousarray(b.T), np.empty((len(a), len(b)), np.float32)
    return faster(lambda: np.matmul(a, view, out=out), lambda: np.matmul(a, copy, out=out))


def torch_int_mm(a, b) -> Product:
    x, w = (t.to(torch.int8) for t in _float32(a, b))
    view, copy, out = w.T, w.T.contiguous(), torch.empty(len(a), len(b), dtype=torch.int32)
    return faster(lambda: torch._int_mm(x, view, out=out), lambda: torch._int_mm(x, copy, out=out))


def numpy_bitwise_count(a, b) -> Product:
    x, w, k = kernels.pack(a), kernels.pack(b), a.shape[1]
    step = max(1, (1 << 21) // max(1, w.size))  # so many rows at a time that the intermediate words stay in the caches

    def multiply():
        return np.concatenate([
            k - 2 * np.bitwise_count(x[i : i + step, None] ^ w[None]).sum(axis=2, dtype=np.int32)
            for i in range(0, len(x), step)
        ])  # fmt: skip

    return multiply


def numba_popcount(a, b) -> Product:
    x, w, k = kernels.pack(a), kernels.pack(b), a.shape[1]
    out = np.empty((len(x), len(w)), np.int32)
    loop = _numba_loop()
    return lambda: loop(x, w, k, out)


def naive_extension(a, b) -> Product:
    return lambda: kernels.naive_matmul(a, b)


@cache
def _numba_loop():
    """Three loops over words with LLVM's popcount, compiled for this processor."""
    import numba
    from numba.core import types
    from numba.extending import intrinsic

    @intrinsic
    def count(context, word):
        def generate(context, builder, signature, arguments):
            return builder.ctpop(arguments[0])

        return types.uint64(types.uint64), generate

    @numba.njit
    def multiply(x, w, k, out):
        for i in range(x.shape[0]):
            for j in range(w.shape[0]):
                differing = np.uint64(0)
                for word in range(x.shape[1]):
                    differing += count(x[i, word] ^ w[j, word])
                out[i, j] = k - 2 * differing
        return out

    return multiply


RIVALS: dict[str, Rival] = {
    "torch.mm float32": Rival(torch_mm, 50),
    "F.linear float32": Rival(torch_linear, 50),
    "packed linear float32": Rival(torch_packed_linear, 50),
    "1x1 F.conv2d float32": Rival(torch_conv1x1, 50, transposed=True),
    "NumPy float32": Rival(numpy_float32, 50),
    "torch.mm bf16": Rival(partial(torch_mm, dtype=torch.bfloat16), 100, tolerance=2**-8),
    "torch._int_mm": Rival(torch_int_mm, 300),
    "torch.mm int32 (fallback)": Rival(partial(torch_mm, dtype=torch.int32), 10),
    "torch.mm int8 (wraps)": Rival(partial(torch_mm, dtype=torch.int8), 30, tolerance=None),
    "NumPy bitwise_count": Rival(numpy_bitwise_count, 10),
    "numba popcount": Rival(numba_popcount, 300, needs=("numba",)),
    "bnn-lab": Rival(bnn_lab, 200, needs=("bnn-lab",)),
    "bnn-lab, avx2": Rival(partial(bnn_lab, isa="avx2"), 100, needs=("bnn-lab",)),
    "ONNX Runtime W2A8": Rival(onnxruntime_2bit, 20, tolerance=1e-4, needs=("onnxruntime", "onnx")),
    "naive extension": Rival(naive_extension, 1),
}
FLOAT32 = tuple(name for name in RIVALS if name.endswith("float32"))


def wrong_share(a: np.ndarray, b: np.ndarray) -> float:
    """The share of wrong entries in an int8 product of signs, which sums in int8 and wraps past 127."""
    wrapped = torch.mm(*(torch.from_numpy(v).to(torch.int8) for v in (a, b.T))).numpy()
    right = kernels.matmul(kernels.pack(a), kernels.pack(b), a.shape[1])
    return float(np.mean(wrapped != right))
