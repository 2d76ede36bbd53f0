"""What a training minimises, by hand."""

import math

import pytest
import torch

from bnnlib.losses import distillation
from bnnlib.training import Objective, Settings

SCORES, LABELS = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0])
TEACHER = torch.tensor([[1.0, 0.0], [0.0, 3.0]])


def log_softmax(row, which):
    return row[which] - math.log(sum(math.exp(v) for v in row))


def test_cross_entropy_with_smoothed_labels_by_hand():
    plain = -(log_softmax([2, 0], 0) + log_softmax([0, 1], 0)) / 2
    uniform = -sum(log_softmax(row, c) for row in ([2, 0], [0, 1]) for c in (0, 1)) / 4
    assert Objective()(SCORES, LABELS).item() == pytest.approx(plain)
    assert Objective(label_smoothing=0.2)(SCORES, LABELS).item() == pytest.approx(0.8 * plain + 0.2 * uniform)


def test_distillation_by_hand():
    t = 2.0
    expected = 0.0
    for s, row in zip(SCORES.tolist(), TEACHER.tolist(), strict=True):
        weights = [math.exp(v / t) for v in row]
        expected -= sum(w / sum(weights) * log_softmax([v / t for v in s], c) for c, w in enumerate(weights)) / 2
    assert distillation(SCORES, TEACHER, t).item() == pytest.approx(t**2 * expected)
    mixed = Objective(distillation=0.7, temperature=t)(SCORES, LABELS, TEACHER)
    assert mixed.item() == pytest.approx(0.7 * t**2 * expected + 0.3 * Objective()(SCORES, LABELS).item())


def test_no_gradient_flows_to_the_teacher():
    teacher, scores = TEACHER.clone().requires_grad_(), SCORES.clone().requires_grad_()
    for objective in (Objective("distributional"), Objective(distillation=0.5)):
        objective(scores, LABELS, teacher).backward()
    assert teacher.grad is None
    assert scores.grad is not None


def test_it_is_made_of_the_methods_loss_and_the_settings():
    import bnnlib

    settings = Settings(distillation=0.3, temperature=5.0)
    assert Objective.of(bnnlib.methods["bnn"], settings) == Objective("squared_hinge", 0.0, 0.3, 5.0)
    assert Objective.of(bnnlib.methods["reactnet"], Settings()).needs_teacher
    assert not Objective.of(bnnlib.methods["bnn"], Settings()).needs_teacher


def test_what_would_not_be_used_is_refused():
    with pytest.raises(ValueError, match="makes no use of a teacher's scores"):
        Objective()(SCORES, LABELS, TEACHER)
    with pytest.raises(ValueError, match="needs a teacher's scores"):
        Objective("distributional")(SCORES, LABELS)
    with pytest.raises(ValueError, match="compares with the teacher already"):
        Objective("distributional", distillation=0.5)
    with pytest.raises(ValueError, match="no loss 'hinge'; known: cross_entropy, squared_hinge, distributional"):
        Objective("hinge")
