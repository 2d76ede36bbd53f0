"""The all-binary network of the course on bits, side by side with PyTorch's float32."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from bnnlib.bench.timing import side_by_side
from bnnlib.packed.biometrics import FRACTION, VALUES, SignNetwork

__all__ = ["measure_biometrics"]

FRAMES_OF_A_SECOND = 100


def measure_biometrics(seconds: Sequence[float] = (1, 2, 4), *, rounds: int = 25) -> pd.DataFrame:
    """Times one utterance, features given, by the kernels and by PyTorch (eager, weights of +1 and -1 beforehand).

    The network's weights and the features are drawn at random; both contenders give the same score. One thread each.

    Args:
        seconds: lengths of the utterance.
        rounds: turns of each contender that count.

    Returns:
        A row for each (seconds, contender), see :func:`~bnnlib.bench.side_by_side`; ratios to PyTorch. Another column
        is the contender's speed in multiply-accumulates, ``gmacs`` in 10⁹ a second.
    """
    rng = np.random.default_rng(0)
    network = SignNetwork.of_values(rng.choice(np.array([-1, 1], np.int8), VALUES))
    float_network = _FloatNetwork(network)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tables = []
    try:
        for each in seconds:
            codes = rng.integers(-128, 128, (64, round(FRAMES_OF_A_SECOND * each))).astype(np.int8)
            features = torch.from_numpy(codes.astype(np.float32) / FRACTION)[None]
            scores = float(float_network(features)), network.score(codes)
            assert scores[0] == scores[1], f"PyTorch's score is {scores[0]}, the kernels' {scores[1]}"
            contenders = {
                "torch float32": lambda features=features: float_network(features),
                "bnnlib": lambda codes=codes: network.score(codes),
            }
            table = side_by_side(contenders, rounds=rounds).reset_index()
            table.insert(0, "seconds", each)
            table["gmacs"] = macs(codes.shape[1]) / table["ms"] / 1e6
            tables.append(table)
    finally:
        torch.set_num_threads(threads)
    return pd.concat(tables, ignore_index=True).round(4)


def macs(frames: int) -> int:
    """Multiply-accumulates of the network on so many frames."""
    first = frames - 8
    second = (first + 1) // 2 - 8
    third = (second + 1) // 2 - 8
    return 128 * (first * 576 + (second + third) * 1152 + 1)


class _FloatNetwork:
    """The same network in PyTorch's operators."""

    def __init__(self, network: SignNetwork):
        self.weights = [torch.from_numpy(weight.astype(np.float32)) for weight in network.weights]
        self.biases = [torch.from_numpy(bias.astype(np.float32)) for bias in network.biases]

    @torch.inference_mode()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        for layer in range(3):
            x = F.conv1d(x, self.weights[layer], self.biases[layer])
            x = F.max_pool1d(x, 2, ceil_mode=True) if layer < 2 else x.amax(2)
            x = torch.where(x > 0, 1.0, -1.0)
        return F.linear(x, self.weights[3], self.biases[3])
