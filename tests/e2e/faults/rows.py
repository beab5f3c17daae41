"""All rows, in the order of the table."""

from __future__ import annotations

from tests.e2e.faults import disk as disk_rows
from tests.e2e.faults import docker_side, engine_exits, engine_hangs, engine_starts, gpus, supervisor
from tests.e2e.faults import fatal as fatal_rows

#: The table's order.
ORDER = ("server", "load", "verdict", "docker", "supervisor", "disk", "gpu")
#: Rows that take longest are begun first, so that none of them is left over at the end.
LONG = frozenset({*engine_hangs.LONG, *engine_starts.LONG, *supervisor.LONG, gpus.hangs})

__all__ = ["LONG", "ORDER", "disk_rows", "docker_side", "engine_exits", "engine_starts", "fatal_rows"]
