"""``status``: what every deployment is doing, from the files their supervisors keep fresh.

Docker is asked only about a deployment whose supervisor is gone: then its file is old news.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launchpad.cli import complete, render
from launchpad.cli.fallback import fallback_of, fallback_text
from launchpad.cli.world import World
from launchpad.units import counted, show_bytes

if TYPE_CHECKING:
    from launchpad.store.state import Deployment
    from launchpad.supervise.snapshot import Snapshot

_WATCH_S = 1.0
_WIDTH = 80
_COLUMNS = ("NAME", "PHASE", "SINCE", "PORT", "GPUS", "MEMORY", "WATTS", "TOK/S")
#: The published names, as in ``supervise/snapshot.py``.
_GPU_FIELDS = (
    *("uuid", "index", "memory_used_bytes", "power_w", "temperature_c", "utilization_percent", "name", "ours_bytes"),
    *("memory_total_bytes", "power_limit_w", "energy_j", "reasons", "sm_clock_mhz", "fan_percent", "pcie_gen"),
    *("pcie_width", "ecc_corrected", "ecc_uncorrected"),
)
_ALARM_FIELDS = ("id", "severity", "message", "hint", "do", "gpu")
_TRAFFIC_FIELDS = (
    *("running", "queued", "prompt_tokens_total", "generation_tokens_total", "prompt_tokens_per_s"),
    *("generation_tokens_per_s", "kv_usage", "cache_hit", "ttft_p50_s", "ttft_p95_s"),
)


def status(
    name: Annotated[
        str | None, typer.Argument(help="One deployment; all without it.", autocompletion=complete.deployments)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object with NAME, else a list.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Draw it again every second until Ctrl-C.")] = False,
) -> None:
    """Show phase, since when, restarts, endpoint, GPUs, memory and power.

    WATTS are drawn/allowed (by the profile's cap, else by what the cards enforce); a line with ! is an alarm.

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
        render.out(_table(world, views))
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
        "gpus": [_fields(gpu, _GPU_FIELDS) for gpu in snapshot.gpus],
        "gpu_problem": snapshot.gpu_problem,
        "load": _load(world, snapshot),
        "updated_at": stamp(snapshot.updated_at),
        "waiting": state.waiting,
        "alarms": [{**_fields(alarm, _ALARM_FIELDS), "since": stamp(alarm.since)} for alarm in snapshot.alarms],
        "traffic": _traffic(snapshot),
        "power_cap_w": snapshot.power_cap_w,
        "crashes": snapshot.crashes,
        "hosted": snapshot.hosted,
        "fallback": fallback_of(world, snapshot.fallback),
        "quiet_until": stamp(snapshot.quiet_until) if snapshot.quiet_until else None,
    }


def _fields(item: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(item, name) for name in names}


def _traffic(snapshot: Snapshot) -> dict[str, Any] | None:
    """The engine's own figures, as it last told them."""
    from launchpad.clock import stamp

    traffic = snapshot.traffic
    return None if traffic is None else {"at": stamp(traffic.at), **_fields(traffic, _TRAFFIC_FIELDS)}


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
        "waiting": None,
        "alarms": [],
        "traffic": None,
        "power_cap_w": spec.power_cap_w if spec else None,
        "crashes": 0,
        "hosted": bool(spec and spec.hosted),
        "fallback": fallback_of(world, spec.fallback if spec else None),
        "quiet_until": None,
    }


def _without_supervisor(world: World, deployment: Deployment, snapshot: Snapshot) -> tuple[tuple[Any, ...], str]:
    """What Docker says where nobody keeps the file fresh."""
    from launchpad.deploy.observe import ours
    from launchpad.errors import LaunchpadError
    from launchpad.supervise.snapshot import ContainerView

    last = f"no supervisor runs; it last saw {snapshot.state.phase} {render.ago(snapshot.updated_at, world.clock.now())} ago"
    if snapshot.hosted:
        return (), f"{last}; launchpad up {snapshot.name} asks it again"
    try:
        found = ours(world.runtime.containers(deployment.name), world.owner)
    except LaunchpadError as error:
        return (), f"{last}; {error.message}"
    running = tuple(ContainerView(item.id, item.name, item.image, item.started_at) for item in found if item.running)
    now = "its container still runs: launchpad up adopts it" if running else "no container runs"
    return running, f"{last}; {now}"


def _table(world: World, views: list[dict[str, Any]]) -> str:
    """One line each that fits 80 columns with a name of the usual length, and below it what needs more words."""
    header, *rows = render.table([_row(world, view) for view in views], _COLUMNS).splitlines()
    lines = [header]
    for view, row in zip(views, rows, strict=True):
        lines += [row, *(_cut(f"  {note}") for note in _notes(view))]
    return "\n".join(lines)


def _row(world: World, view: dict[str, Any]) -> tuple[str, ...]:
    from launchpad.clock import moment

    gpus = view["gpus"]
    return (
        view["name"],
        view["phase"],
        render.ago(moment(view["since"]), world.clock.now()),
        "hosted" if view["hosted"] else _port(view["endpoint"]),
        _indices([gpu["index"] for gpu in gpus]),
        _sum(gpus, "memory_used_bytes"),
        _watts(view),
        _rate(view),
    )


def _notes(view: dict[str, Any]) -> list[str]:
    """What stands below a row."""
    marks = [
        "REHEARSAL" if view["rehearsal"] else "",
        _progress(view).strip(" ()") if view["load"] else "",
        counted(view["restarts"], "restart") if view["restarts"] else "",
        "" if view["supervisor"]["alive"] or _rests(view) else "no supervisor",
    ]
    return [
        *([", ".join(filter(None, marks))] if any(marks) else []),
        *([f"waits for {view['waiting']}"] if view["waiting"] else []),
        *([f"quiet until {view['quiet_until']}"] if view["quiet_until"] and not _rests(view) else []),
        *([f"fallback {fallback_text(view['fallback'])}"] if view["fallback"] and not view["ready"] else []),
        *("! " + re.sub(r"^(GPU \d+) \(.*?\)", r"\1", alarm["message"]) for alarm in view["alarms"]),
    ]


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."


def _port(endpoint: str | None) -> str:
    """The port, and the host where it is not this machine alone."""
    if endpoint is None:
        return "-"
    host, _, port = endpoint.removeprefix("http://").rpartition(":")
    return port if host in {"127.0.0.1", "[::1]", "localhost"} else f"{host}:{port}"


def _indices(numbers: list[int]) -> str:
    """``0-3``, ``0,2``."""
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers)) or "-"


def _watts(view: dict[str, Any]) -> str:
    """Watts drawn / allowed: by the profile's cap, else by the limits that the cards enforce."""
    gpus, cap = view["gpus"], view["power_cap_w"]
    drawn = _sum(gpus, "power_w").removesuffix(" W")
    limits = [cap if cap is not None else gpu["power_limit_w"] for gpu in gpus]
    known = [limit for limit in limits if limit is not None]
    return f"{drawn}/{sum(known):.0f}" if known and len(known) == len(gpus) else drawn


def _rate(view: dict[str, Any]) -> str:
    rate = (view["traffic"] or {}).get("generation_tokens_per_s")
    return "-" if rate is None else f"{rate:.0f}"


def _rests(view: dict[str, Any]) -> bool:
    return view["phase"] in {"STOPPED", "FAILED"}


def _progress(view: dict[str, Any]) -> str:
    load = view["load"]
    counted = f" {load['done']}/{load['total']}" if load["total"] is not None else ""
    return f" ({load['stage'] or 'container'}{counted})"


def _sum(gpus: list[dict[str, Any]], key: str) -> str:
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
        ("waits for", view["waiting"]),
        ("quiet", _quiet_text(view["quiet_until"]) if view["quiet_until"] and not _rests(view) else None),
        ("endpoint", f"{view['endpoint']}/v1  (model {view['model']})" if view["endpoint"] else "unknown"),
        ("fallback", fallback_text(view["fallback"]) if view["fallback"] and not view["ready"] else None),
        ("traffic", _traffic_text(view["traffic"])),
        ("restarts", _restarts_text(view)),
        ("supervisor", f"process {supervisor['pid']}" if supervisor["alive"] else "none"),
        *(("container", f"{item['name']}  {item['id'][:12]}  {item['image']}") for item in view["containers"]),
        *(("gpu", _gpu_text(gpu, view["power_cap_w"])) for gpu in view["gpus"]),
        ("gpus", view["gpu_problem"]),
        *(item for alarm in view["alarms"] for item in _alarm_lines(alarm)),
    ]
    return "\n".join(f"{name:<10}  {value}" for name, value in lines if value is not None)


def _quiet_text(until: str) -> str:
    return f"not asked again before {until}: its Retry-After"


def _restarts_text(view: dict[str, Any]) -> str:
    crashes = f", {view['crashes']} crash{'' if view['crashes'] == 1 else 'es'} in all" if view["crashes"] else ""
    return f"{view['restarts']}, {counted(view['failures'], 'failure')} since the last stable spell{crashes}"


def _traffic_text(traffic: dict[str, Any] | None) -> str | None:
    """What the engine says of its work, as far as it does."""
    if traffic is None:
        return None
    parts = [
        _known("{:.0f} tokens/s", traffic["generation_tokens_per_s"]),
        _known("{:.0f} running", traffic["running"]),
        _known("{:.0f} queued", traffic["queued"]),
        _known("KV cache {:.0%} full", traffic["kv_usage"]),
        _known("first token in {:.2g} s", traffic["ttft_p50_s"]),
    ]
    return ", ".join(filter(None, parts)) or "the engine's metrics say nothing"


def _known(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)


def _gpu_text(gpu: dict[str, Any], cap_w: float | None) -> str:
    """One GPU: memory and how much of it is ours, power against its limit, temperature, why its clocks are down."""
    text = render.gpu_text(gpu["index"], gpu["memory_used_bytes"], gpu["power_w"])
    if gpu["ours_bytes"] is not None:
        text = text.replace(", ", f" ({show_bytes(gpu['ours_bytes'])} ours), ", 1)
    limit = gpu["power_limit_w"]
    if limit is not None:
        text += f" of {limit:.0f} W" + (f" (cap {cap_w:.0f} W)" if cap_w is not None and abs(cap_w - limit) > 1 else "")
    reasons = [reason for reason in gpu["reasons"] or () if reason != "idle"]
    more = [_known("{} C", gpu["temperature_c"]), _known("{} %", gpu["utilization_percent"]), *reasons]
    return ", ".join([text, *filter(None, more)])


def _alarm_lines(alarm: dict[str, Any]) -> list[tuple[str, str]]:
    hint = [("", f"{alarm['do']}: {alarm['hint']}")] if alarm["hint"] else []
    return [("alarm", f"{alarm['severity']}: {alarm['message']}"), *hint]
