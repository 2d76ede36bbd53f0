"""The cost of a training step and of an inference for each method, or arm of a study, side by side with float."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
import torch

from bnnlib import catalogue, models
from bnnlib.bench.timing import side_by_side
from bnnlib.catalogue import Method
from bnnlib.training import Objective, Settings, make_optimizer, seeded

__all__ = ["measure_steps", "measure_training", "peak_bytes", "training_step"]


def measure_steps(
    model: str = "compact-cnn", *, batch_size: int = 128, rounds: int = 25, precision: str = "float32"
) -> pd.DataFrame:
    """Times of a whole training step (forward, backward, Adam, hooks) and of an inference, for every method.

    All networks stay in memory and take turns on the same batch, with torch's present number of threads.

    Args:
        model: a name of ``bnnlib.models.MODELS``.
        precision: ``"float32"``, or ``"bf16"`` for autocast of the training step.

    Returns:
        A row for each (what, method): median milliseconds, ratio to float with quartiles, images per second; for
        training also ``peak_mb``, the peak of the megabytes that a step allocates on top of the network, the
        optimiser's state and the batch, and its ratio to float.

    Raises:
        ValueError: the model or the precision is unknown.
    """
    if model not in models.MODELS:
        raise ValueError(f"no model {model!r}; known: {', '.join(models.MODELS)}")
    seeded(0)
    names = [name for name, method in catalogue.methods.items() if not method.literal]
    networks = {name: (models.build(model, name), catalogue.get(name)) for name in names}
    shape = models.MODELS[model].input_shape
    training = measure_training(networks, shape, batch_size=batch_size, rounds=rounds, precision=precision)
    training.insert(0, "what", "training")
    tables = [training]
    if precision == "float32":
        images = torch.randn(batch_size, *shape)
        inference = side_by_side({name: _inference(model, name, images) for name in names}, rounds=rounds)
        inference.insert(0, "what", "inference")
        inference["images_per_second"] = (1000 * batch_size / inference["ms"]).round()
        tables.append(inference.assign(batch_size=batch_size, precision=precision))
    result = pd.concat(tables).reset_index(names="method")
    result.insert(0, "what", result.pop("what"))
    result.insert(0, "model", model)
    return result.round(4)


def measure_training(
    networks: Mapping[str, tuple[torch.nn.Module, Method]],
    input_shape: Sequence[int],
    *,
    batch_size: int = 128,
    rounds: int = 25,
    precision: str = "float32",
) -> pd.DataFrame:
    """Times of a whole training step of several networks, which take turns on the same random batch.

    Args:
        networks: by name, each with the method that it was built for; ratios are to the first.
        input_shape: of one input, (channels, height, width) or (features,).
        precision: ``"float32"``, or ``"bf16"`` for autocast.

    Returns:
        A row for each network, as those of :func:`measure_steps` on training.

    Raises:
        ValueError: the precision is unknown.
    """
    check_precision(precision)
    images = torch.randn(batch_size, *input_shape)
    labels = torch.randint(0, 2, (batch_size,))
    steps = {name: training_step(*network, images, labels, precision) for name, network in networks.items()}
    table = side_by_side(steps, rounds=rounds)
    table["images_per_second"] = (1000 * batch_size / table["ms"]).round()
    table["peak_mb"] = [peak_bytes(steps[name]) / 1e6 for name in table.index]
    table["peak_ratio"] = table["peak_mb"] / table["peak_mb"].iloc[0]
    return table.assign(batch_size=batch_size, precision=precision).round(4)


def check_precision(precision: str) -> None:
    if precision not in ("float32", "bf16"):
        raise ValueError(f'precision must be "float32" or "bf16", received {precision!r}')


def peak_bytes(step: Callable[[], None]) -> int:
    """The peak of the bytes that one step allocates, on top of those allocated before it."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(itertools.accumulate(event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())))


def training_step(
    net: torch.nn.Module, method: Method, images: torch.Tensor, labels: torch.Tensor, precision: str = "float32"
) -> Callable[[], None]:
    """A whole step of training on one batch, as :func:`bnnlib.training.fit` takes it: forward, backward, Adam, hooks.

    Args:
        net: built for ``method``.
        precision: ``"float32"``, or ``"bf16"`` for autocast.
    """
    optimizer = make_optimizer(net, method, Settings())
    objective = Objective.of(method, Settings())
    # the teacher is fixed: its scores can be computed once, and are not part of the step
    teacher_scores = torch.randn_like(net(images).detach()) if objective.needs_teacher else None

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        method.before_forward(net)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            outputs = net(images)
        objective(outputs.float(), labels, teacher_scores).backward()
        method.after_backward(net)
        optimizer.step()
        method.after_step(net)

    return step


def _inference(model: str, name: str, images: torch.Tensor):
    net = models.build(model, name).eval()

    @torch.no_grad()
    def infer() -> None:
        net(images)

    return infer
