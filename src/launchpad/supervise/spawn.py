"""Making sure that a deployment has its one supervisor.

Where systemd runs the unit, it does this; elsewhere ``up`` starts the very line that the unit would run, detached: a session of its
own, no terminal, its words in ``supervisor.log``. The lock in the deployment's folder decides who is the one; a second supervisor
ends at once. Nothing here drives a container.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from launchpad.errors import LaunchpadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.store.state import Deployment


def command(name: str) -> tuple[str, ...]:
    """The line that supervises ``name``, with this very interpreter."""
    return (sys.executable, "-m", "launchpad", "supervise", name)


def ensure(deployment: Deployment, environ: Mapping[str, str]) -> int:
    """Wake the supervisor that runs, or start one; its pid. Raises LaunchpadError where it cannot be started."""
    pid = deployment.supervisor_pid()
    if pid and wake(pid):
        return pid
    deployment.make()
    try:
        with deployment.supervisor_log.open("ab") as log:
            child = subprocess.Popen(
                command(deployment.name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=dict(environ),
                start_new_session=True,
                close_fds=True,
            )
    except OSError as error:
        raise LaunchpadError(f"cannot start the supervisor of {deployment.name}: {error.strerror or error}") from error
    return child.pid


def wake(pid: int) -> bool:
    """Tell a supervisor to look now; False where that process is gone."""
    try:
        os.kill(pid, signal.SIGUSR1)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise LaunchpadError(
            f"cannot wake supervisor {pid}: it belongs to another user",
            hint="use the same user, or sudo, as for its `up`",
        ) from error
    return True


def alive(pid: int) -> bool:
    """Whether a process still runs; one that has ended and only waits for its parent to ask does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def last_words(deployment: Deployment, lines: int = 5) -> str:
    """The end of the detached supervisor's log, for an error that must explain why it died."""
    try:
        text = deployment.supervisor_log.read_text(errors="replace")
    except OSError:
        return ""
    return " | ".join(line for line in text.splitlines()[-lines:] if line.strip())
