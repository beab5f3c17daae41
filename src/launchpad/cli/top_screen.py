"""What ``top`` draws: one view of the rig as a screen of text, for any width from 80 columns on. It asks nobody anything.

A sparkline is the last minute, five seconds a column, oldest first; a blank column is a time of which nothing is known. Power is
drawn against the cap, tokens against the most of that minute. What is unknown is a dash.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from launchpad.clock import stamp
from launchpad.observe.metrics import traffic_of
from launchpad.supervise.machine import Phase
from launchpad.units import counted, show_bytes, show_duration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from launchpad.observe.view import Card, RigView, Seen
    from launchpad.rig.nvml import NvmlProblem

#: Columns of a sparkline, and seconds of each.
SPARK: Final = 12
BUCKET_S: Final = 5.0
_BAR: Final = 8
_GIB: Final = 2**30
_STYLES: Final = {
    Phase.READY: "green",
    Phase.STARTING: "cyan",
    Phase.STOPPING: "yellow",
    Phase.UNREADY: "dark_orange",
    Phase.BACKOFF: "dark_orange",
    Phase.FAILED: "bold red",
    Phase.STOPPED: "dim",
}
_ALARMS: Final = {"critical": "bold red", "warning": "yellow"}

#: Reasons that hold clocks back, as short as a column needs them.
_SHORT: Final = {
    "software-power-cap": "cap",
    "power-brake": "BRAKE",
    "hardware-thermal": "TOO HOT",
    "software-thermal": "hot",
    "hardware-slowdown": "SLOWED",
    "application-clocks": "app clocks",
    "sync-boost": "sync",
    "display-clocks": "display",
}


class History:
    """The last minute of every number that is drawn as a sparkline, by key."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], deque[tuple[float, float]]] = {}

    def note(self, view: RigView, now: float) -> None:
        """Remember ``view``, seen at ``now`` (monotonic seconds); forget what is older than a minute."""
        for key, value in _values(view):
            if value is not None:
                self._seen.setdefault(key, deque()).append((now, value))
        for key, seen in tuple(self._seen.items()):
            while seen and now - seen[0][0] > SPARK * BUCKET_S:
                seen.popleft()
            if not seen:
                del self._seen[key]

    def columns(self, key: tuple[str, str], now: float) -> tuple[float | None, ...]:
        """The last value of each column, oldest first; None where nothing is known."""
        columns: list[float | None] = [None] * SPARK
        for at, value in self._seen.get(key, ()):
            columns[SPARK - 1 - min(SPARK - 1, int((now - at) / BUCKET_S))] = value
        return tuple(columns)


def _values(view: RigView) -> Iterable[tuple[tuple[str, str], float | None]]:
    for seen in view.deployments:
        traffic = traffic_of(seen.live, view.at) if seen.live else None
        yield ("tokens", seen.name), traffic.generation_tokens_per_s if traffic else None
    for card in view.cards:
        yield ("power", card.view.uuid), card.view.power_w


def spark(columns: Iterable[float | None], top: float, marks: str) -> str:
    """One character a column: ``marks`` from least to most, blank where nothing is known. ``top`` is the most."""
    last = len(marks) - 1
    return "".join(
        " " if value is None else marks[max(0, min(last, round(value / top * last)))] if top > 0 else marks[0]
        for value in columns
    )


class Screen:
    """Draws views. ``ascii_only`` for terminals that cannot draw blocks."""

    def __init__(self, history: History, *, ascii_only: bool = False) -> None:
        self._history = history
        self._marks = "_.-=+*#@" if ascii_only else "▁▂▃▄▅▆▇█"
        self._full, self._empty = ("#", ".") if ascii_only else ("█", "░")

    def draw(
        self, view: RigView, nvml: NvmlProblem | None, now: float, width: int, height: int | None = None
    ) -> RenderableType:
        """The whole screen; ``height`` lines at most, None: as many as it takes. ``now`` is the history's clock."""
        troubles = tuple(troubles_of(view, nvml))
        deployments, cards, alarms = _fit(len(view.deployments), len(view.cards), max(1, len(troubles)), height)
        return Group(
            self._header(view, width),
            self._deployments(view, now, width, deployments),
            *_more(len(view.deployments) - deployments, "deployments"),
            Text(),
            self._cards(view, now, cards),
            *_more(len(view.cards) - cards, "GPUs"),
            Text(),
            *(_line(f"{severity:<8}  {says}", _ALARMS.get(severity, "")) for severity, says in troubles[:alarms]),
            *_more(len(troubles) - alarms, "alarms"),
            *([] if troubles else [_line("no alarms", "dim")]),
        )

    def _header(self, view: RigView, width: int) -> Text:
        ready = sum(_ready(seen) for seen in view.deployments)
        watts = sum(card.view.power_w or 0.0 for card in view.cards if not card.rehearsal)
        said = f"launchpad  {view.at:%Y-%m-%d %H:%M:%SZ}  {ready} of {len(view.deployments)} ready"
        known = any(card.view.power_w is not None for card in view.cards if not card.rehearsal)
        power = counted(len(view.cards), "GPU") + (f", {watts:.0f} W" if known else "")
        return _line(f"{said}{power:>{max(1, width - len(said))}}", "bold")

    def _deployments(self, view: RigView, now: float, width: int, most: int) -> Table:
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
        _column(table, "DEPLOYMENT", max(12, min(40, width - 62)))
        _column(table, "PHASE", 18)
        _column(table, "SINCE", 7, "right")
        _column(table, "TOK/S", 6, "right")
        _column(table, "", SPARK)
        _column(table, "RUN+WAIT", 8, "right")
        _column(table, "KV", 4, "right")
        for seen in view.deployments[:most]:
            table.add_row(*self._deployment(seen, view, now))
        return table

    def _deployment(self, seen: Seen, view: RigView, now: float) -> tuple[str | Text, ...]:
        phase, style = phase_of(seen)
        traffic = traffic_of(seen.live, view.at) if seen.live else None
        columns = self._history.columns(("tokens", seen.name), now)
        top = max((value for value in columns if value is not None), default=0.0)
        since = seen.snapshot.state.since if seen.snapshot and seen.current else None
        busy = f"{_number(traffic.running)}+{_number(traffic.queued)}" if traffic else "-"
        return (
            Text(seen.name + (" (rehearsal)" if seen.rehearsal else "")),
            Text(phase, style),
            "-" if since is None else show_duration(max(view.at - since, view.at - view.at)),
            _number(traffic.generation_tokens_per_s) if traffic else "-",
            Text(spark(columns, top, self._marks), "cyan"),
            busy,
            _percent(traffic.kv_usage) if traffic else "-",
        )

    def _cards(self, view: RigView, now: float, most: int) -> Table:
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", expand=True)
        _column(table, "GPU", 3, "right")
        _column(table, "MEMORY", _BAR + 8)
        _column(table, "POWER", 9, "right")
        _column(table, "", SPARK)
        _column(table, "TEMP", 4, "right")
        _column(table, "UTIL", 4, "right")
        table.add_column("HELD BACK BY; HELD BY", no_wrap=True, overflow="ellipsis", ratio=1)
        for card in view.cards[:most]:
            table.add_row(*self._card(card, now))
        return table

    def _card(self, card: Card, now: float) -> tuple[str | Text, ...]:
        gpu = card.view
        cap = card.cap_w or gpu.power_limit_w
        columns = self._history.columns(("power", gpu.uuid), now)
        top = cap or max((value for value in columns if value is not None), default=0.0)
        over = cap is not None and gpu.power_w is not None and gpu.power_w > cap + 1
        return (
            str(gpu.index),
            self._memory(gpu.memory_used_bytes, gpu.memory_total_bytes),
            Text(f"{_number(gpu.power_w)}/{_number(cap)}W", "red" if over else ""),
            Text(spark(columns, top, self._marks), "magenta"),
            "-" if gpu.temperature_c is None else f"{gpu.temperature_c}C",
            "-" if gpu.utilization_percent is None else f"{gpu.utilization_percent}%",
            Text(said_of(card), "" if card.up else "bold red"),
        )

    def _memory(self, used: int | None, total: int | None) -> str:
        if used is None:
            return "-"
        if not total:
            return show_bytes(used)
        full = round(min(1.0, used / total) * _BAR)
        return f"{self._full * full}{self._empty * (_BAR - full)} {used / _GIB:.0f}/{total / _GIB:.0f}G"


def phase_of(seen: Seen) -> tuple[str, str]:
    """The phase of a deployment in a few words, and the colour for it."""
    if seen.problem is not None:
        return "unreadable", "bold red"
    if seen.snapshot is None:
        return ("asked for", "dim") if seen.alive else ("no supervisor", "bold red" if seen.wanted else "dim")
    if not seen.current:
        return "no supervisor", "bold red"
    phase, load = seen.snapshot.state.phase, seen.snapshot.load
    said = str(phase)
    if phase is Phase.STARTING and load is not None:
        counted = f" {load.done}/{load.total}" if load.total is not None else ""
        said = f"{load.stage or 'container'}{counted}"
    return said, _STYLES[phase]


def said_of(card: Card) -> str:
    """What holds a card's clocks back, in short, and who is on it."""
    holders = ", ".join(name for name, _ in card.holders)
    reasons = ", ".join(_SHORT.get(reason, reason) for reason in card.view.reasons or () if reason != "idle")
    said = "; ".join(part for part in (reasons, holders) if part)
    return said if card.up else "does not answer" + (f"; {said}" if said else "")


def troubles_of(view: RigView, nvml: NvmlProblem | None) -> Iterable[tuple[str, str]]:
    """What a person should know, gravest first: severity and text."""
    return sorted(_troubles(view, nvml), key=lambda trouble: (trouble[0] != "critical", trouble[1]))


def _troubles(view: RigView, nvml: NvmlProblem | None) -> Iterable[tuple[str, str]]:
    if view.problem is not None:
        yield "critical", view.problem
    if nvml is not None:
        yield "warning", nvml.message
    for seen in view.deployments:
        if seen.problem is not None:
            yield "critical", seen.problem
        elif seen.wanted and not seen.alive and not seen.current:
            yield "critical", f"{seen.name}: nobody looks after it; launchpad up {seen.name}"
        snapshot = seen.live or (seen.snapshot if seen.current else None)
        if snapshot is None:
            continue
        if snapshot.state.phase in {Phase.FAILED, Phase.UNREADY, Phase.BACKOFF}:
            failed = snapshot.state.phase is Phase.FAILED
            yield "critical" if failed else "warning", f"{seen.name}: {snapshot.state.reason}"
        if seen.live is None:
            continue
        if snapshot.runtime_problem is not None:
            yield "critical", f"{seen.name}: {snapshot.runtime_problem}"
        if snapshot.gpu_problem is not None and not snapshot.alarms:
            yield "critical", f"{seen.name}: {snapshot.gpu_problem}"
        for alarm in snapshot.alarms:
            yield alarm.severity, f"{seen.name}: {alarm.message}"


def as_json(view: RigView, nvml: NvmlProblem | None) -> dict[str, Any]:
    """The view under published names; deployments as ``status --json`` names them, where it does."""
    return {
        "at": stamp(view.at),
        "deployments": [_deployment_json(seen, view) for seen in view.deployments],
        "gpus": [_card_json(card) for card in view.cards],
        "alarms": [{"severity": severity, "message": says} for severity, says in troubles_of(view, nvml)],
    }


def _deployment_json(seen: Seen, view: RigView) -> dict[str, Any]:
    state = seen.snapshot.state if seen.snapshot and seen.current else None
    traffic = traffic_of(seen.live, view.at) if seen.live else None
    return {
        "name": seen.name,
        "phase": str(state.phase) if state else None,
        "since": stamp(state.since) if state else None,
        "ready": _ready(seen),
        "supervised": seen.alive,
        "rehearsal": seen.rehearsal,
        "generation_tokens_per_s": traffic.generation_tokens_per_s if traffic else None,
        "running": traffic.running if traffic else None,
        "queued": traffic.queued if traffic else None,
        "kv_usage": traffic.kv_usage if traffic else None,
    }


def _card_json(card: Card) -> dict[str, Any]:
    gpu = card.view
    return {
        "index": gpu.index,
        "uuid": gpu.uuid,
        "name": gpu.name,
        "up": card.up,
        "rehearsal": card.rehearsal,
        "deployments": dict(card.holders),
        "memory_used_bytes": gpu.memory_used_bytes,
        "memory_total_bytes": gpu.memory_total_bytes,
        "power_w": gpu.power_w,
        "power_limit_w": gpu.power_limit_w,
        "power_cap_w": card.cap_w,
        "temperature_c": gpu.temperature_c,
        "utilization_percent": gpu.utilization_percent,
        "reasons": None if gpu.reasons is None else list(gpu.reasons),
    }


def _ready(seen: Seen) -> bool:
    return seen.live is not None and seen.live.state.phase is Phase.READY


def _fit(deployments: int, cards: int, alarms: int, height: int | None) -> tuple[int, int, int]:
    """How many rows of each fit: alarms and GPUs are cut before deployments, and nothing that is there is cut to none."""
    wanted = [deployments, cards, alarms]
    if height is None:
        return deployments, cards, alarms
    room = height - 5  # the header, two titles, two blank lines
    while sum(wanted) + sum(had > now for had, now in zip((deployments, cards, alarms), wanted, strict=True)) > room:
        longest = max((2, 1, 0), key=lambda index: wanted[index])
        if wanted[longest] <= 1:
            break
        wanted[longest] -= 1
    return wanted[0], wanted[1], wanted[2]


def _more(count: int, what: str) -> list[Text]:
    return [_line(f"and {count} more {what}", "dim")] if count > 0 else []


def _line(text: str, style: str) -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _column(table: Table, title: str, width: int, side: Literal["left", "right"] = "left") -> None:
    table.add_column(title, width=width, justify=side, no_wrap=True, overflow="ellipsis")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share * 100:.0f}%"
