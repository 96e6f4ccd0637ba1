"""Numbers, times and lists as a reader wants them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
MINUS = "−"
SPACE = "\u00a0"
"""Between a number and its unit: a line never breaks there."""


def percent(share: float | None) -> str:
    """A share of 1 with one decimal; nothing for None."""
    return "" if share is None else f"{100 * share:.1f}{SPACE}%".replace("-", MINUS)


def count(value: float) -> str:
    """A whole number with its thousands apart."""
    return f"{round(value):,}".replace("-", MINUS)


def counted(value: float, one: str, many: str = "") -> str:
    """A count with its noun: `1 image`, `2 images`."""
    return f"{count(value)} {one if round(value) == 1 else many or one + 's'}"


def figure(value: float) -> str:
    """Three significant digits: 12,345 · 123 · 3.21 · 0.0123 · 2.4 × 10⁻⁷."""
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 6 or size < -3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}{SPACE}×{SPACE}10{str(int(exponent)).translate(_RAISED)}".replace("-", MINUS)
    return f"{value:,.{max(0, 2 - size)}f}".replace("-", MINUS)


def duration(seconds: float) -> str:
    """0.8 s · 42 s · 2 min 15 s · 3 h 5 min · 2 d 4 h."""
    if seconds < 9.95:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    for unit, size, below, below_size in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // below_size
            return f"{whole // size}{SPACE}{unit}" + (f" {rest}{SPACE}{below}" if rest else "")
    return f"{whole}{SPACE}s"


def moment(when: datetime) -> str:
    """A time of day in UTC."""
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def size(amount: float) -> str:
    """Bytes in a unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g}{SPACE}{unit}"
        amount /= 1000
    return f"{amount:,.1f}{SPACE}TB"


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
