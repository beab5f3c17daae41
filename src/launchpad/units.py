"""Sizes, durations and counts as people write them, and the first two back.

Inside launchpad a size is an integer of bytes and a duration is a ``timedelta``; this module is the only place that knows
how either is spelled. It refuses bare numbers: a size or a duration without a unit is a question, not an answer.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Final

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(iB|B)", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST: Final = timedelta(days=366)


def parse_bytes(text: str) -> int:
    """Bytes of ``"32GiB"`` (1024-based) or ``"96GB"`` (1000-based); raises ValueError with the right spelling."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f'{text!r} is no size; write it as "32GiB" (1024-based) or "96GB" (1000-based)')
    number, unit, suffix = match.groups()
    base = 1024 if suffix == "iB" else 1000
    return int(Decimal(number) * base ** " KMGT".index(unit))


def parse_duration(text: str) -> timedelta:
    """The timedelta of ``"90s"``, ``"20m"``, ``"1h30m"`` or ``"250ms"``; raises ValueError with the right spelling."""
    compact = text.strip().replace(" ", "")
    parts = _DURATION_PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f'{text!r} is no duration; write it as "90s", "20m" or "1h30m"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > _LONGEST.total_seconds():
        raise ValueError(f"{text!r} is longer than a year")
    return timedelta(seconds=seconds)


def show_bytes(count: int) -> str:
    """``count`` bytes in the 1024-based unit a person would use: ``94.2 GiB``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(round(size, 1)) < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def show_duration(duration: timedelta) -> str:
    """A duration as a person says it, to two units: ``850ms``, ``4.2s``, ``3m 20s``, ``2h 05m``, ``3d 04h``."""
    seconds = duration.total_seconds()
    if seconds < 0:
        return "-" + show_duration(-duration)
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f}ms"
    if round(seconds, 1) < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600:02d}h"


def counted(number: int, noun: str) -> str:
    """``1 restart``, ``2 restarts``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
