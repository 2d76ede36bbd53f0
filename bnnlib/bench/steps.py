"""The cost of a training step and of an inference for each method, side by side with the float twin."""

import itertools
from collections.abc import Callable

import pandas as pd
import torch

from bnnlib import catalogue, models
from bnnlib.bench.timing import side_by_side
from bnnlib.catalogue import Method
from bnnlib.training import Objective, Settings, make_optimizer, seeded

__all__ = ["measure_steps", "peak_bytes", "training_step"]


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
    check_precision(precision)
    seeded(0)
    images = torch.randn(batch_size, *models.MODELS[model].input_shape)
    labels = torch.randint(0, 2, (batch_size,))
    names = [name for name, method in catalogue.methods.items() if not method.literal]
    training = {
        name: training_step(models.build(model, name), catalogue.get(name), images, labels, precision) for name in names
    }
    inference = {name: _inference(model, name, images) for name in names}
    tables = []
    for what, contenders in (("training", training), ("inference", inference)):
        if what == "inference" and precision != "float32":
            continue
        table = side_by_side(contenders, rounds=rounds).reset_index(names="method")
        table.insert(0, "what", what)
        table["images_per_second"] = (1000 * batch_size / table["ms"]).round()
        if what == "training":
            table["peak_mb"] = [peak_bytes(training[name]) / 1e6 for name in table["method"]]
            table["peak_ratio"] = table["peak_mb"] / table["peak_mb"].iloc[0]
        tables.append(table)
    result = pd.concat(tables, ignore_index=True)
    result.insert(0, "model", model)
    result["batch_size"] = batch_size
    result["precision"] = precision
    return result.round(4)


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
