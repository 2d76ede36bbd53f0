"""What a training step and an inference cost under each method, side by side with the float twin."""

import pandas as pd
import torch

from bnnlib import catalogue, models
from bnnlib.bench.timing import side_by_side
from bnnlib.losses import LOSSES
from bnnlib.training import Settings, make_optimizer, seeded

__all__ = ["measure_steps"]


def measure_steps(model: str = "compact-cnn", *, batch_size: int = 128, rounds: int = 25) -> pd.DataFrame:
    """Times of a whole float32 training step (forward, backward, Adam, hooks) and of an inference, for every method.

    All networks stay in memory and take turns on the same batch. The thread count is torch's present one.

    Returns:
        A row for each (what, method): median milliseconds, ratio to float with quartiles, images per second.
    """
    seeded(0)
    images = torch.randn(batch_size, *models.MODELS[model].input_shape).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (batch_size,))
    names = [name for name, method in catalogue.methods.items() if "literal" not in method.properties]
    training = {name: _training_step(model, name, images, labels) for name in names}
    inference = {name: _inference(model, name, images) for name in names}
    tables = []
    for what, contenders in (("training", training), ("inference", inference)):
        table = side_by_side(contenders, rounds=rounds).reset_index(names="method")
        table.insert(0, "what", what)
        table["images_per_second"] = (1000 * batch_size / table["ms"]).round()
        tables.append(table)
    result = pd.concat(tables, ignore_index=True)
    result.insert(0, "model", model)
    result["batch_size"] = batch_size
    return result.round(4)


def _training_step(model: str, name: str, images: torch.Tensor, labels: torch.Tensor):
    method = catalogue.get(name)
    net = models.build(model, method).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(net, method, Settings())
    loss_of = LOSSES[method.loss]
    # a teacher is not trained: its scores of the whole set can be kept, and are not part of the step
    targets = torch.randn_like(net(images).detach()) if method.loss == "distributional" else labels

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        method.before_forward(net)
        loss_of(net(images), targets).backward()
        method.after_backward(net)
        optimizer.step()
        method.after_step(net)

    return step


def _inference(model: str, name: str, images: torch.Tensor):
    net = models.build(model, name).to(memory_format=torch.channels_last).eval()

    @torch.no_grad()
    def infer() -> None:
        net(images)

    return infer
