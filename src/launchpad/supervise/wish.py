"""What was asked for last: ``spec.json``, written whole under a lock and noticed when it changes.

``up`` and ``down`` ask; the supervisor reads, and asks only to put an older version back (``rollback.py``). A file that is
damaged takes nothing back: what was asked before holds.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from launchpad.deploy.spec import Spec
from launchpad.errors import StoreError
from launchpad.store.files import encode
from launchpad.store.lock import held
from launchpad.store.state import VERSION, Wanted
from launchpad.supervise.snapshot import Snapshot

if TYPE_CHECKING:
    from datetime import datetime

    from launchpad.clock import Clock
    from launchpad.store.state import Deployment


def ask(
    deployment: Deployment,
    spec: Spec,
    now: datetime,
    *,
    wanted: bool,
    rollback: bool = True,
    renew: bool = False,
    lock_wait_s: float = 30.0,
) -> Wanted[Spec]:
    """Write down what is wanted, with a generation larger than any before, also where a file was lost.

    A spec that is wanted up gets its number in the history. ``renew`` asks for another container of it, ``rollback`` False
    forbids to put an older version back by itself. Raises BusyError where somebody else asks for longer than ``lock_wait_s``.
    """
    deployment.make()
    with held(deployment.wanted_lock, f"change {spec.name}", wait_s=lock_wait_s):
        before, snapshot = deployment.read_wanted(Wanted[Spec], now), deployment.read_state(Snapshot, now)
        generation = 1 + max(before.generation if before else 0, snapshot.state.generation if snapshot else 0)
        renewal = max(before.renewal if before else 0, snapshot.state.renewal if snapshot else 0) + renew
        number = before.number if before else 0
        if wanted:
            number = deployment.history.note(key(spec), spec.hash, spec.profile, spec, now)
        asked = Wanted(VERSION, wanted, generation, now, spec, renewal, number, rollback)
        deployment.write_wanted(asked)
    return asked


def key(spec: Spec) -> str:
    """What tells two versions of a spec apart: all of it but the words that only people read."""
    told = replace(spec, summary="", caveats=(), accepted=(), rig="", standing=None)
    return hashlib.sha256(encode(told)).hexdigest()[:16]


class Wish:
    """The wanted spec of one deployment; raises StoreError where nothing was ever asked for."""

    def __init__(self, deployment: Deployment, clock: Clock) -> None:
        self._deployment, self._clock = deployment, clock
        self._file = self._which()
        self.wanted = self._read()

    def again(self) -> Wanted[Spec] | None:
        """What was wanted before, where something else is wanted now; raises StoreError once for a file that is damaged."""
        file = self._which()
        if file == self._file:
            return None
        self._file = file
        before, self.wanted = self.wanted, self._read()
        return before if before != self.wanted else None

    def _which(self) -> tuple[int, int]:
        """Which file it is: every write makes a new one, also two within one tick of the file system's clock."""
        try:
            found = self._deployment.spec_path.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> Wanted[Spec]:
        wanted = self._deployment.read_wanted(Wanted[Spec], self._clock.now())
        if wanted is None:
            raise StoreError(
                f"cannot supervise {self._deployment.name}: nothing was asked for here",
                hint=f"launchpad up {self._deployment.name}",
            )
        return wanted
