"""What a conversion did, row by row, and the one warning about what it could not mend."""

import warnings
from dataclasses import dataclass, field

SHOWN = 3  # how many places a warning names; the report has them all


@dataclass
class Conversion:
    """What :func:`~bnnlib.convert.binarize` did.

    Attributes:
        method: the method's name.
        rows: one for each layer or activation: (name, kind, what was done, why).
    """

    method: str
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def names(self, done: str) -> list[str]:
        """The names with that outcome: "converted", "8 bits", "kept real", "replaced" or "note"."""
        return [name for name, _, outcome, _ in self.rows if outcome == done]

    def frame(self):
        """The rows as a pandas data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=["module", "kind", "done", "why"])

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False)

    def __str__(self) -> str:
        widths = [max(len(row[i]) for row in self.rows) if self.rows else 0 for i in range(3)]
        lines = ["  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3]]).rstrip() for row in self.rows]
        return "\n".join([f"binarized under {self.method}", *lines])


def warn_once(findings: list[str], stacklevel: int) -> None:
    """One warning for all findings: the first few, and how many more there are.

    Args:
        findings: what was found, a sentence each without its full stop; with none nothing is said.
        stacklevel: as in ``warnings.warn``, counted from the caller.
    """
    if not findings:
        return
    text = "; ".join(findings[:SHOWN])
    if len(findings) > SHOWN:
        text += f"; and {len(findings) - SHOWN} more like these, all of them in the result's .conversion"
    warnings.warn(text, stacklevel=stacklevel + 1)
