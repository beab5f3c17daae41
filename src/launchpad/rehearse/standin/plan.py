"""What this server will be: everything that the command and the settings decide, and nothing that time changes."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """One server. ``context`` and ``pool`` are in tokens; ``others`` are the flags that were let through unread.

    ``pooling``: it was told to embed and the like, and generates nothing.
    """

    engine: str
    version: str
    model: str
    names: tuple[str, ...]
    host: str
    port: int
    ranks: int
    context: int
    pool: int
    running: int
    fraction: float
    metrics: bool
    graphs: bool
    warmup: bool
    api_key: str | None
    others: tuple[str, ...]
    pooling: bool = False

    def before(self, *version: int) -> bool:
        """Whether it says it is older than ``version``."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:3]) < version
