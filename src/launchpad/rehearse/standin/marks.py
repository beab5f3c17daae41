"""What outlives one start: the mark of a warm cache, and those of ``once:`` faults that have struck.

Small files in two directories of the container. A directory that cannot be written is told and never ends a start.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launchpad.rehearse.faults import Fault
    from launchpad.rehearse.standin.log import Log
    from launchpad.rehearse.standin.plan import Plan
    from launchpad.rehearse.standin.settings import Settings


class Marks:
    """The marks of one server's directories."""

    def __init__(self, settings: Settings, plan: Plan, log: Log) -> None:
        self._settings, self._log = settings, log
        name = f"launchpad-rehearsal-warm-{plan.engine}-{plan.version}-tp{plan.ranks}"
        self._warm = Path(settings.cache_dir) / name if settings.cache_dir is not None else None

    def warm(self) -> bool:
        """Whether an earlier start compiled here, or the settings say so."""
        if self._settings.cached is not None:
            return self._settings.cached
        return self._warm is not None and self._warm.is_file()

    def keep_warm(self) -> None:
        """The next start finds compiled kernels."""
        if self._warm is None:
            return
        try:
            _write(self._warm, "the stand-in engine of launchpad's rehearsal compiled here")
        except OSError as problem:
            self._log.raw(f"launchpad rehearsal: cannot keep the cache warm: {problem}")

    def strikes(self, fault: Fault) -> bool:
        """Whether a fault counts in this start; a ``once:`` one leaves its mark."""
        if not fault.once:
            return True
        if self._settings.attempt is not None:
            return self._settings.attempt <= 1
        mark = self._once(fault)
        if mark is None:
            return True
        try:
            if mark.exists():
                return False
            _write(mark, str(fault))
        except OSError as problem:
            self._log.raw(f"launchpad rehearsal: cannot remember {fault}, so it strikes every time: {problem}")
        return True

    def forget_once(self) -> None:
        """After a clean end every ``once:`` fault may strike again."""
        for fault in self._settings.faults:
            mark = self._once(fault) if fault.once else None
            if mark is not None:
                with contextlib.suppress(OSError):
                    mark.unlink()

    def _once(self, fault: Fault) -> Path | None:
        if self._settings.state_dir is None:
            return None
        digest = hashlib.sha256(str(fault).encode()).hexdigest()[:12]
        return Path(self._settings.state_dir) / f"launchpad-rehearsal-once-{digest}"


def _write(mark: Path, text: str) -> None:
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(f"{text}\n", encoding="utf-8")
