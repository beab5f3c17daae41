"""``supervise``: the line that a systemd unit runs, and that ``up`` starts where there is none."""

from __future__ import annotations

import os
import signal
from typing import Annotated

import typer

from launchpad.cli import complete
from launchpad.cli.world import World


def supervise(
    name: Annotated[str, typer.Argument(help="Deployment to look after.", autocompletion=complete.deployments)],
) -> None:
    """Look after one deployment in the foreground: start it, restart it, stop it, as was asked.

    `launchpad up` starts this by itself. SIGTERM ends the supervisor and never the server. Exit code 3: gave up.

    Example: launchpad supervise v4-flash-sglang-tp4
    """
    raise typer.Exit(run(World(), name))


def run(world: World, name: str) -> int:
    """Supervise until there is nothing left to do; an exit code. Raises BusyError where another supervisor has it."""
    from launchpad.errors import BusyError
    from launchpad.supervise.loop import Supervisor

    deployment = world.store.known(name)
    lock = deployment.lock()
    if not lock.acquire():
        raise BusyError(
            f"cannot supervise {name}: process {deployment.supervisor_pid()} does already",
            hint=f"launchpad status {name}",
        )
    try:
        supervisor = Supervisor(
            deployment,
            world.store,
            world.runtime,
            world.clock,
            pid=os.getpid(),
            prober=world.prober,
            samples=world.samples,
            environ=world.environ,
        )
        signal.signal(signal.SIGTERM, lambda *_: supervisor.end("SIGTERM"))
        signal.signal(signal.SIGINT, lambda *_: supervisor.end("SIGINT"))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, lambda *_: supervisor.wake())
        return supervisor.run()
    finally:
        lock.release()
