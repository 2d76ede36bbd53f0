"""Whole networks as bits against their float twins: PyTorch, ONNX Runtime and OpenVINO."""

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

import bnnlib
from bnnlib import models
from bnnlib.bench.engines import onnxruntime_network, openvino_chain, openvino_network
from bnnlib.bench.pairs import limited_to
from bnnlib.bench.timing import side_by_side
from bnnlib.layers import BinConv2d, BinLinear
from bnnlib.packed.operations import Product
from bnnlib.packed.plan import planned
from bnnlib.packed.runtime import PackedModel
from bnnlib.quantizers import SteSign
from bnnlib.training import seeded

__all__ = ["NETWORKS", "measure_networks"]

Layers = Callable[..., nn.Module]


@dataclass(frozen=True)
class Contest:
    """A network in two forms.

    Attributes:
        bits: makes the network whose packed form is timed.
        twin: makes the same network with float32 weights and activations.
        input_shape: of one input.
        chain: whether it is binary convolutions and what OpenVINO has for these.
    """

    bits: Callable[[], nn.Module]
    twin: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    chain: bool = False


def _of_course(model: str, method: str, **options) -> Contest:
    build = models.MODELS[model]
    return Contest(
        lambda: models.build(model, method, **options), lambda: models.build(model, "float"), build.input_shape
    )


def _layers(binary: bool) -> tuple[Layers, Layers, Callable[[], nn.Module]]:
    """Convolutions, linear layers and activations of one form; the first layer takes real inputs."""
    if not binary:
        return nn.Conv2d, nn.Linear, lambda: nn.ReLU(inplace=True)

    def made(layer: Layers) -> Layers:
        def make(inputs: int, *arguments, **options) -> nn.Module:
            given = {"input_quantizer": SteSign()} if inputs > 3 else {}
            return layer(inputs, *arguments, weight_quantizer=SteSign(), **given, **options)

        return make

    return made(BinConv2d), made(BinLinear), nn.Identity


def vgg_small(binary: bool) -> nn.Module:
    """BinaryNet's network for CIFAR-10 (Hubara et al. 2016): 2 x 128, 2 x 256, 2 x 512, then 1024, 1024 and 10."""
    conv, linear, activation = _layers(binary)
    layers: list[nn.Module] = []
    channels = 3
    for place, width in enumerate((128, 128, 256, 256, 512, 512)):
        layers += [conv(channels, width, 3, padding=1, bias=False)]
        layers += [nn.MaxPool2d(2)] if place % 2 else []
        layers += [nn.BatchNorm2d(width), activation()]
        channels = width
    layers.append(nn.Flatten())
    for inputs, outputs in ((8192, 1024), (1024, 1024)):
        layers += [linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), activation()]
    return nn.Sequential(*layers, linear(1024, 10, bias=False), nn.BatchNorm1d(10))


def convolutions(binary: bool) -> nn.Module:
    """VGG-small's binary convolutions by themselves, from the signs of 128 maps to the sums of the last."""
    whole = vgg_small(binary)
    return nn.Sequential(*whole[3:19], nn.Flatten())


def perceptron(binary: bool) -> nn.Module:
    """784-1024-1024-10, the signs of its inputs included."""
    _, linear, activation = _layers(binary)
    layers: list[nn.Module] = []
    for inputs, outputs in ((784, 1024), (1024, 1024)):
        layers += [linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), activation()]
    return nn.Sequential(*layers, linear(1024, 10, bias=False), nn.BatchNorm1d(10))


NETWORKS: dict[str, Contest] = {
    "VGG-small": Contest(lambda: vgg_small(True), lambda: vgg_small(False), (3, 32, 32)),
    "VGG-small's convolutions": Contest(
        lambda: convolutions(True), lambda: convolutions(False), (128, 32, 32), chain=True
    ),
    "MLP": Contest(lambda: perceptron(True), lambda: perceptron(False), (784,)),
    "compact CNN, 1 bit": _of_course("compact-cnn", "xnor-operator", first_last="int8"),
    "compact CNN, 2 bits": _of_course("compact-cnn", "lsq-w2a2", first_last="int8"),
    "compact CNN, 8 bits": _of_course("compact-cnn", "lsq-w8a8"),
    "compact CNN, binary weights": _of_course("compact-cnn", "binaryconnect-deterministic"),
    "command CNN, 1 bit": _of_course("command-cnn", "xnor-operator", first_last="int8"),
    "wake word, 1 bit": _of_course("wake-word", "bnn"),
}


def measure_networks(
    names: Iterable[str] = tuple(NETWORKS),
    batches: Iterable[int] = (1, 64),
    *,
    compiled: bool = True,
    rounds: int = 15,
    progress: Callable[[dict], None] = lambda row: None,
    skipped: Callable[[str, str], None] = lambda name, why: None,
) -> pd.DataFrame:
    """Times packed networks, called with NumPy arrays, against their float twins, on one thread.

    The weights are random: no time depends on them. The twin is a network of convolutions, pools, norms and ReLU as
    anybody would train it, in PyTorch with the layout that is faster, eager and compiled, and as ONNX in the runtimes
    that are installed (float32, and int8 by ONNX Runtime's own static quantisation). Binary convolutions by themselves
    are also timed by OpenVINO's own.

    Args:
        names: of ``NETWORKS``.
        batches: numbers of inputs of a call.
        compiled: whether ``torch.compile`` takes part; it takes a minute for each network and batch.
        rounds: turns of each contender that count.
        progress: called with each row when it is measured.
        skipped: called with what is left out, and why.

    Returns:
        A row for each (network, batch, contender): times in milliseconds, and ``ratio``, the contender's time over the
        packed network's (see :func:`bnnlib.bench.side_by_side`).
    """
    rows = []
    with limited_to(1):
        for name in names:
            contest = NETWORKS[name]
            seeded(0)
            twin = contest.twin().eval()
            packed = bnnlib.pack(_settled(contest), contest.input_shape)
            for batch in batches:
                x = np.random.default_rng(0).standard_normal((batch, *contest.input_shape)).astype(np.float32)
                contenders = {"packed": lambda x=x, packed=packed: packed.scores(x)}
                contenders |= _torch(twin, x, compiled, skipped) | _engines(twin, contest.input_shape, x, skipped)
                if contest.chain:
                    contenders |= _chain(packed, x, skipped)
                table = side_by_side(contenders, rounds=rounds).reset_index()
                for row in table.to_dict("records"):
                    rows.append({"network": name, "batch": batch, **row})
                    progress(rows[-1])
    return pd.DataFrame(rows).round(5)


def _chain(packed: PackedModel, x: np.ndarray, skipped) -> dict[str, Callable[[], object]]:
    """The same convolutions and thresholds by OpenVINO's BinaryConvolution, if its sums are the same."""
    if importlib.util.find_spec("openvino") is None:
        skipped("OpenVINO BinaryConvolution", "openvino is not installed")
        return {}
    layers = []
    for step in planned(packed):
        if isinstance(step.operation, Product):
            compared = step.comparison
            pool = 1 if compared is None or not compared.pools else compared.pools[0][0].kernel[0]
            weights = step.operation.weights.values.transpose(0, 3, 1, 2).astype(np.float32)
            layers.append((weights, pool, None if compared is None else compared.thresholds[0].astype(np.int64)))
    weights, _, _ = layers[-1]
    layers[-1] = weights, 2, None  # the pool at the end follows no threshold
    run = openvino_chain(x, layers)
    if not np.array_equal(run().transpose(0, 3, 1, 2).reshape(len(x), -1), packed.scores(x)):
        skipped("OpenVINO BinaryConvolution", "its sums are others than ours")
        return {}
    return {"OpenVINO BinaryConvolution": run}


def _settled(contest: Contest) -> nn.Module:
    """The network after one batch, which sets the step sizes of its quantizers, in eval mode."""
    model = contest.bits()
    with torch.no_grad():
        model(torch.randn(16, *contest.input_shape))
    return model.eval()


def _torch(twin: nn.Module, x: np.ndarray, compiled: bool, skipped) -> dict[str, Callable[[], object]]:
    inputs = torch.from_numpy(x)

    def runs(net: nn.Module, given: torch.Tensor) -> Callable[[], object]:
        @torch.inference_mode()
        def run():
            return net(given)

        return run

    forms = {"torch": (twin.to(memory_format=torch.contiguous_format), inputs)}
    if x.ndim == 4:
        last = torch.channels_last
        forms["torch, channels last"] = (twin.to(memory_format=last), inputs.to(memory_format=last))
    found = {name: runs(net, given) for name, (net, given) in forms.items()}
    if compiled:
        try:
            torch.compiler.reset()
            net, given = list(forms.values())[-1]
            quick = runs(torch.compile(net), given)
            quick()
            found["torch, compiled"] = quick
        except Exception as error:  # no compiler, or one that fails: whatever it raises, the others are measured
            skipped("torch, compiled", f"{type(error).__name__}: {error}".splitlines()[0])
    return found


def _engines(twin: nn.Module, shape, x: np.ndarray, skipped) -> dict[str, Callable[[], object]]:
    from bnnlib.packed.export.onnx import onnx_model

    if importlib.util.find_spec("onnx") is None:
        skipped("ONNX Runtime and OpenVINO", "their files are written by the package onnx, which is not installed")
        return {}
    content = onnx_model(bnnlib.pack(twin, shape))
    makers = {
        "ONNX Runtime float32": ("onnxruntime", lambda: onnxruntime_network(content, x)),
        "ONNX Runtime int8": ("onnxruntime", lambda: onnxruntime_network(content, x, int8=True)),
        "OpenVINO float32": ("openvino", lambda: openvino_network(content, x)),
    }
    found = {}
    for name, (package, make) in makers.items():
        if importlib.util.find_spec(package) is None:
            skipped(name, f"{package} is not installed")
        else:
            found[name] = make()
    return found
