"""What is checked of a training."""

from bnnlib.checking.outcome import Check
from bnnlib.training import FitResult, diagnose

__all__ = ["CHECKS"]


def _is_a_result(result) -> str:
    return "" if isinstance(result, FitResult) else f"it must be what fit returns, received {type(result).__name__}"


def _nothing_conspicuous(result: FitResult) -> str:
    diagnosis = diagnose(result.history)
    return "" if diagnosis else f"{diagnosis.likely.name}: {diagnosis.likely.symptom}"


def _learns(result: FitResult) -> str:
    losses = [record.train_loss for record in result.history.epochs]
    if losses[-1] < losses[0]:
        return ""
    return f"the training loss went from {losses[0]:.2f} to {losses[-1]:.2f}: give it two epochs or more, and a cure"


CHECKS: tuple[Check, ...] = (
    ("is the result of a training", _is_a_result, True),
    ("nothing conspicuous in the binary layers", _nothing_conspicuous, False),
    ("the training loss falls", _learns, False),
)
