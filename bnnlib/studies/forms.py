"""The several test networks that one binary-weight training leaves: signs, latent weights, samples, an ensemble."""

import numpy as np
import torch
from torch import Tensor

from bnnlib.data import Splits
from bnnlib.layers import weights_as
from bnnlib.training import FitResult, accuracy, reestimate_batch_norm, scores, seeded

__all__ = ["ENSEMBLE", "evaluate_forms"]

ENSEMBLE = 16  # sampled networks whose scores are averaged


def evaluate_forms(
    result: FitResult, splits: Splits, *, stochastic: bool, seed: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Tests the reported epoch's network with other weights and other batch-norm statistics.

    The forms: ``binary`` (signs) and ``real`` (latent weights), each ``_as_trained`` (running statistics of training)
    and ``_reestimated`` (statistics under the weights evaluated); for a stochastic method ``sampled_mean`` (accuracy of
    one sampled network, mean of 16) and ``ensemble`` (of those 16, scores averaged).

    Returns:
        Accuracies in percent by ``test_FORM``, and predicted classes (uint8) by ``test_predicted/FORM``. The model is
        left as it was.
    """
    model, labels = result.model, splits.test.labels
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    predicted: dict[str, Tensor] = {}

    def measured() -> Tensor:
        return scores(model, splits.test)

    for form in ("binary", "real"):
        with weights_as(model, form):
            model.load_state_dict(result.trained_statistics, strict=False)
            predicted[f"{form}_as_trained"] = measured().argmax(1)
            reestimate_batch_norm(model, splits.train)
            predicted[f"{form}_reestimated"] = measured().argmax(1)
    figures = {}
    if stochastic:
        seeded(seed, epoch=0)
        model.load_state_dict(result.trained_statistics, strict=False)  # they are those of sampled weights
        with weights_as(model, "sampled"):
            drawn = torch.stack([measured() for _ in range(ENSEMBLE)])
        figures["test_sampled_mean"] = float(np.mean([accuracy(s.argmax(1), labels) for s in drawn]))
        predicted["ensemble"] = drawn.mean(0).argmax(1)
    model.load_state_dict(kept)
    figures |= {f"test_{form}": accuracy(classes, labels) for form, classes in predicted.items()}
    return figures, {f"test_predicted/{form}": classes.numpy().astype(np.uint8) for form, classes in predicted.items()}
