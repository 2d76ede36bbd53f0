"""What "float32" means on a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["full_float32"]


@contextmanager
def full_float32() -> Iterator[None]:
    """Convolutions of cuDNN in float32, not in TF32 (10 bits of mantissa), and with the same result each time.

    A context, or a decorator; it changes nothing on a processor.
    """
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield
