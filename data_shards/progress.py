"""How far long work has come: a bar on a terminal, a plain line every few seconds anywhere else."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

_EVERY = 5.0  # seconds between plain lines


class Progress:
    """A context manager that counts to `total` (None: unknown, may be set later) and shows the rate and the time left.

    `figures` of an update stay on the line until the next ones replace them: `progress.update(256, loss=4.1)`; one that
    is None goes.
    """

    def __init__(
        self, total: int | None = None, *, unit: str = "images", label: str = "", quiet: bool = False, start: int = 0
    ) -> None:
        self.unit, self.label, self.quiet = unit, label, quiet
        self.done = self.first = start
        self._total = total
        self._figures: dict[str, Any] = {}
        self._began = self._shown = time.monotonic()
        self._bar: tqdm[Any] | None = None

    @property
    def total(self) -> int | None:
        """How much there is to do in all."""
        return self._total

    @total.setter
    def total(self, total: int | None) -> None:
        self._total = total
        if self._bar is not None:
            self._bar.total = total
            self._bar.refresh()

    def start_at(self, done: int) -> None:
        """Count `done` as done before, so that it does not enter the rate."""
        self.done = self.first = done
        self._began = time.monotonic()
        if self._bar is not None:
            self._bar.initial = self._bar.n = done
            self._bar.refresh()

    def listed(self, count: int) -> None:
        """Say how much there is to do, while it is still being counted."""
        if not self.quiet and time.monotonic() - self._shown >= _EVERY:
            self._shown = time.monotonic()
            label = f"{self.label}: " if self.label else ""
            print(f"{label}{count:,} {self.unit} listed", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        self._began = self._shown = time.monotonic()
        if not self.quiet and sys.stderr.isatty():
            self._bar = tqdm(
                total=self._total, initial=self.done, unit=f" {self.unit}", desc=self.label or None, unit_scale=True
            )
        return self

    def update(self, count: int, **figures: Any) -> None:
        """`count` more are done."""
        self.done += count
        self._figures.update(figures)
        self._figures = {name: value for name, value in self._figures.items() if value is not None}
        if self._bar is not None:
            if figures:
                self._bar.set_postfix_str(self._figures_text(), refresh=False)
            self._bar.update(count)
        elif not self.quiet and time.monotonic() - self._shown >= _EVERY:
            self._shown = time.monotonic()
            print(self.line(), file=sys.stderr, flush=True)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif not self.quiet and kind is None:
            print(self.line(ended=True), file=sys.stderr, flush=True)

    def line(self, ended: bool = False) -> str:
        """The state as one line of text."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = (self.done - self.first) / seconds
        share = f" of {self._total:,} ({self.done / self._total:.0%})" if self._total and not ended else ""
        parts = [f"{self.done:,}{share} {self.unit}", f"{rate:,.0f} {self.unit}/s"]
        figures = self._figures_text()
        if figures:
            parts.append(figures)
        if ended:
            parts.append(f"in {_duration(seconds)}")
        elif self._total and rate:
            parts.append(f"{_duration((self._total - self.done) / rate)} left")
        return (f"{self.label}: " if self.label else "") + ", ".join(parts)

    def _figures_text(self) -> str:
        return " ".join(f"{name}={_short(value)}" for name, value in self._figures.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
