"""Who looks on while a network trains."""

import time

from rich.progress import Progress

from bnnlib.training.history import EpochRecord


class Observer:
    """Looks on while a network trains; a subclass overrides what it wants to see. It must not change anything."""

    def begin(self, title: str, epochs: int, steps: int, done: int) -> None:
        """Training begins: ``epochs`` of ``steps`` steps each, of which ``done`` epochs are done already."""

    def step(self, epoch: int, step: int, steps: int) -> None:
        """The step of that number (1, 2, ...) in an epoch is done."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch is done, evaluated and, where there is a checkpoint, saved."""

    def end(self) -> None:
        """Training is over, or was interrupted."""


class ProgressBar(Observer):
    """A bar with the time left.

    It is drawn from the training thread, once a second: a thread that draws ten times a second fills a notebook's
    channel with messages for as long as a study takes, and papermill was seen to wait for the end of a cell that had
    ended.
    """

    def __init__(self):
        self._bar: Progress | None = None

    def begin(self, title: str, epochs: int, steps: int, done: int) -> None:
        self._bar = Progress(*Progress.get_default_columns(), auto_refresh=False)
        self._task = self._bar.add_task(title, total=steps * epochs, completed=steps * done)
        self._drawn = time.monotonic()
        self._bar.start()

    def step(self, epoch: int, step: int, steps: int) -> None:
        self._bar.advance(self._task)
        if time.monotonic() - self._drawn >= 1:
            self._bar.refresh()
            self._drawn = time.monotonic()

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
