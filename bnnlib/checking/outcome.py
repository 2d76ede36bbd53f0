"""What a check is, and what comes out of one."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Check", "Checked"]

# what is checked; the check, which gives "" or what is wrong; whether the checks after it need it
Check = tuple[str, Callable[[Any], str | None], bool]


@dataclass(frozen=True)
class Checked:
    """The outcome of :func:`check`: (what was checked, what is wrong or "") in order. True if nothing is wrong."""

    subject: str
    findings: tuple[tuple[str, str], ...]

    def __bool__(self) -> bool:
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """What is wrong, in words."""
        return [wrong for _, wrong in self.findings if wrong]

    def __str__(self) -> str:
        lines = []
        for what, wrong in self.findings:
            line = f"WRONG {what}: {wrong}" if wrong else f"ok   {what}"
            lines += textwrap.wrap(line, 76, subsequent_indent=" " * 6)
        verdict = "all is well" if self else f"{len(self.problems)} of {len(self.findings)} checks failed"
        return "\n".join([f"{self.subject}: {verdict}", *lines])

    __repr__ = __str__
