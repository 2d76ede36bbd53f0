"""What all seeds of an arm said of the same samples."""

from dataclasses import dataclass

import numpy as np

from bnnlib.studies.store import ResultsStore

__all__ = ["Judged", "judged"]


@dataclass(frozen=True, eq=False)
class Judged:
    """The classes that an arm's networks give to the same samples, one row for each seed.

    Attributes:
        ids, labels: int64, shape (samples,); sorted by id.
        groups: int64, shape (samples,): whose each sample is; empty if the data has no groups.
        predicted: int64, shape (seeds, samples).
    """

    ids: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    predicted: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """bool, shape (seeds, samples)."""
        return self.predicted == self.labels

    def only(self, kept: np.ndarray) -> "Judged":
        """The samples where ``kept``, bool of shape (samples,), is true."""
        groups = self.groups[kept] if len(self.groups) else self.groups
        return Judged(self.ids[kept], self.labels[kept], groups, self.predicted[:, kept])

    def majority(self) -> "Judged":
        """Each group as one sample, of the class that most of its own samples got; of equals the lower class.

        Raises:
            ValueError: there are no groups, or one has samples of several classes.
        """
        if not len(self.groups):
            raise ValueError("this data has no groups to take majorities of")
        names, member = np.unique(self.groups, return_inverse=True)
        labels = np.array([self.labels[member == each][0] for each in range(len(names))])
        if not np.array_equal(labels[member], self.labels):
            raise ValueError("a group has samples of several classes")
        classes = int(max(self.predicted.max(), self.labels.max())) + 1
        votes = [
            [np.bincount(row[member == each], minlength=classes) for each in range(len(names))]
            for row in self.predicted
        ]
        return Judged(names, labels, names, np.argmax(votes, axis=2))


def judged(store: ResultsStore, arm: str, part: str = "test") -> Judged:
    """Reads them from the results of a study.

    Args:
        store: see :func:`bnnlib.studies.results`.
        arm: its name in the study.
        part: "test", "validation" or one of the data's extra ones, such as "extra/1 s". Runs of the same seed and
            different folds are joined, so that the validation parts of a cross-validation become one.

    Raises:
        ValueError: no run of that arm is finished, or its seeds judged different samples.
    """
    runs = store.runs()
    runs = runs[runs["arm"] == arm] if len(runs) else runs
    if not len(runs):
        raise ValueError(f"no run of arm {arm!r} is finished in {store.folder}")
    rows = []
    for _, of_seed in runs.groupby("seed"):
        outputs = [store.outputs(run) for run in of_seed.index]
        names = [f"{part}_{name}" for name in ("ids", "labels", "groups", "predicted")]
        joined = [
            np.concatenate([each[name] for each in outputs if name in each] or [[]]).astype(np.int64) for name in names
        ]
        order = np.argsort(joined[0], kind="stable")
        rows.append([values[order] if len(values) else values for values in joined])
    ids, labels, groups, _ = rows[0]
    if any(not np.array_equal(row[at], rows[0][at]) for row in rows for at in range(3)):
        raise ValueError(f"the seeds of arm {arm!r} judged different samples")
    return Judged(ids, labels, groups, np.stack([row[3] for row in rows]))
