"""What was asked for last: ``spec.json``, noticed when it changes.

``up`` and ``down`` write it, the supervisor only reads it. A file that is damaged takes nothing back: what was asked before holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launchpad.deploy.spec import Spec
from launchpad.errors import StoreError
from launchpad.store.state import Wanted

if TYPE_CHECKING:
    from launchpad.clock import Clock
    from launchpad.store.state import Deployment


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
