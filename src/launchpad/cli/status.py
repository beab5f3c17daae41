"""``status``: what every deployment is doing, from the files their supervisors keep fresh.

Docker is asked only about a deployment whose supervisor is gone: then its file is old news.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launchpad.cli import complete, render
from launchpad.cli.world import World

if TYPE_CHECKING:
    from launchpad.store.state import Deployment
    from launchpad.supervise.snapshot import Snapshot

_WATCH_S = 1.0


def status(
    name: Annotated[
        str | None, typer.Argument(help="One deployment; all without it.", autocompletion=complete.deployments)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object with NAME, else a list.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Draw it again every second until Ctrl-C.")] = False,
) -> None:
    """Show phase, since when, restarts, endpoint, GPUs, memory and power.

    Examples: launchpad status | launchpad status v4-flash-sglang-tp4 --json | launchpad status --watch
    """
    world = World()
    if not watch:
        _print(world, name, as_json=as_json)
        return
    try:
        while True:
            if sys.stdout.isatty() and not as_json:
                render.out("\x1b[H\x1b[2J" + world.clock.now().strftime("%Y-%m-%d %H:%M:%SZ"))
            _print(world, name, as_json=as_json)
            world.clock.sleep(_WATCH_S)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _print(world: World, name: str | None, *, as_json: bool) -> None:
    if name is not None:
        view = status_of(world, world.store.known(name))
        render.answer_json(view) if as_json else render.out(_one(world, view))
        return
    views = [status_of(world, deployment) for deployment in world.store.deployments()]
    if as_json:
        render.answer_json(views)
    elif views:
        rows = [_row(world, view) for view in views]
        render.out(
            render.table(rows, ("NAME", "PHASE", "SINCE", "RESTARTS", "ENDPOINT", "GPUS", "MEMORY", "POWER", ""))
        )
    else:
        render.out(f"no deployments in {world.store.root}; launchpad profiles list shows what can be brought up")


def status_of(world: World, deployment: Deployment) -> dict[str, Any]:
    """One deployment under the published names of ``status --json``."""
    from launchpad.clock import stamp
    from launchpad.supervise.machine import Phase
    from launchpad.supervise.snapshot import Snapshot

    snapshot = deployment.read_state(Snapshot, world.clock.now())
    pid = deployment.supervisor_pid()
    if snapshot is None:
        return _unseen(world, deployment, pid)
    state = snapshot.state
    at_rest = state.phase in {Phase.STOPPED, Phase.FAILED}
    containers = snapshot.containers
    reason = state.reason
    if pid is not None and snapshot.runtime_problem is not None:
        reason = f"{snapshot.runtime_problem}; before that: {reason}"
    if pid is None and not at_rest:
        containers, reason = _without_supervisor(world, deployment, snapshot)
    return {
        "name": snapshot.name,
        "phase": str(state.phase),
        "ready": state.phase is Phase.READY and pid is not None,
        "reason": reason,
        "hint": state.hint,
        "since": stamp(state.since),
        "restarts": state.restarts,
        "failures": state.failures,
        "retry_at": stamp(state.retry_at) if state.retry_at else None,
        "endpoint": snapshot.endpoint,
        "model": snapshot.model,
        "engine": snapshot.engine,
        "rehearsal": snapshot.rehearsal,
        "spec_hash": snapshot.spec_hash,
        "supervisor": {"pid": pid, "alive": pid is not None},
        "containers": [
            {
                "id": item.id,
                "name": item.name,
                "image": item.image,
                "started_at": stamp(item.started_at) if item.started_at else None,
            }
            for item in containers
        ],
        "gpus": [
            {
                "uuid": gpu.uuid,
                "index": gpu.index,
                "memory_used_bytes": gpu.memory_used_bytes,
                "power_w": gpu.power_w,
                "temperature_c": gpu.temperature_c,
                "utilization_percent": gpu.utilization_percent,
            }
            for gpu in snapshot.gpus
        ],
        "gpu_problem": snapshot.gpu_problem,
        "load": _load(world, snapshot),
        "updated_at": stamp(snapshot.updated_at),
    }


def _load(world: World, snapshot: Snapshot) -> dict[str, Any] | None:
    load = snapshot.load
    if load is None or str(snapshot.state.phase) != "STARTING":
        return None
    return {
        "stage": load.stage,
        "done": load.done,
        "total": load.total,
        "warm": load.warm,
        "elapsed_s": round((world.clock.now() - load.started_at).total_seconds(), 1),
        "expected_s": load.expected_s,
    }


def _unseen(world: World, deployment: Deployment, pid: int | None) -> dict[str, Any]:
    """A deployment that was asked for and whose supervisor has not spoken yet."""
    from launchpad.clock import stamp
    from launchpad.deploy.spec import Spec
    from launchpad.store.state import Wanted

    wanted = deployment.read_wanted(Wanted[Spec], world.clock.now())
    spec = wanted.spec if wanted else None
    return {
        "name": deployment.name,
        "phase": "STOPPED",
        "ready": False,
        "reason": "asked for; its supervisor has not reported yet",
        "hint": None,
        "since": stamp(wanted.at if wanted else world.clock.now()),
        "restarts": 0,
        "failures": 0,
        "retry_at": None,
        "endpoint": spec.endpoint if spec else None,
        "model": spec.model if spec else None,
        "engine": spec.engine if spec else None,
        "rehearsal": bool(spec and spec.rehearsal),
        "spec_hash": spec.hash if spec else None,
        "supervisor": {"pid": pid, "alive": pid is not None},
        "containers": [],
        "gpus": [],
        "gpu_problem": None,
        "load": None,
        "updated_at": None,
    }


def _without_supervisor(world: World, deployment: Deployment, snapshot: Snapshot) -> tuple[tuple[Any, ...], str]:
    """What Docker says where nobody keeps the file fresh."""
    from launchpad.deploy.observe import ours
    from launchpad.errors import LaunchpadError
    from launchpad.supervise.snapshot import ContainerView

    last = f"no supervisor runs; it last saw {snapshot.state.phase} {render.ago(snapshot.updated_at, world.clock.now())} ago"
    try:
        found = ours(world.runtime.containers(deployment.name), world.owner)
    except LaunchpadError as error:
        return (), f"{last}; {error.message}"
    running = tuple(ContainerView(item.id, item.name, item.image, item.started_at) for item in found if item.running)
    now = "its container still runs: launchpad up adopts it" if running else "no container runs"
    return running, f"{last}; {now}"


def _row(world: World, view: dict[str, Any]) -> tuple[str, ...]:
    from launchpad.clock import moment

    gpus = view["gpus"]
    return (
        view["name"],
        view["phase"] + (_progress(view) if view["load"] else ""),
        render.ago(moment(view["since"]), world.clock.now()),
        str(view["restarts"]),
        view["endpoint"] or "-",
        ",".join(str(gpu["index"]) for gpu in gpus) or "-",
        _sum(gpus, "memory_used_bytes"),
        _sum(gpus, "power_w"),
        ("REHEARSAL" if view["rehearsal"] else "")
        + ("" if view["supervisor"]["alive"] or _rests(view) else " no supervisor"),
    )


def _rests(view: dict[str, Any]) -> bool:
    return view["phase"] in {"STOPPED", "FAILED"}


def _progress(view: dict[str, Any]) -> str:
    load = view["load"]
    counted = f" {load['done']}/{load['total']}" if load["total"] is not None else ""
    return f" ({load['stage'] or 'container'}{counted})"


def _sum(gpus: list[dict[str, Any]], key: str) -> str:
    from launchpad.units import show_bytes

    values = [gpu[key] for gpu in gpus if gpu[key] is not None]
    if not gpus:
        return "-"
    if len(values) < len(gpus):
        return "unknown"
    return show_bytes(sum(values)) if key == "memory_used_bytes" else f"{sum(values):.0f} W"


def _one(world: World, view: dict[str, Any]) -> str:
    from launchpad.clock import moment

    supervisor = view["supervisor"]
    progress = _progress(view) if view["load"] else ""
    since = render.ago(moment(view["since"]), world.clock.now())
    lines = [
        ("deployment", view["name"] + ("  (REHEARSAL)" if view["rehearsal"] else "")),
        ("phase", f"{view['phase']}{progress} for {since}"),
        ("reason", view["reason"]),
        ("hint", view["hint"]),
        ("endpoint", f"{view['endpoint']}/v1  (model {view['model']})" if view["endpoint"] else "unknown"),
        ("restarts", f"{view['restarts']}, {view['failures']} failures since the last stable spell"),
        ("supervisor", f"process {supervisor['pid']}" if supervisor["alive"] else "none"),
        *(("container", f"{item['name']}  {item['id'][:12]}  {item['image']}") for item in view["containers"]),
        *(("gpu", render.gpu_text(gpu["index"], gpu["memory_used_bytes"], gpu["power_w"])) for gpu in view["gpus"]),
        ("gpus", view["gpu_problem"]),
    ]
    return "\n".join(f"{name:<10}  {value}" for name, value in lines if value is not None)
