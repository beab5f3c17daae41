"""``logs`` and ``events``: what the server said, and what launchpad did, also long after the container is gone."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from launchpad.cli import complete, render
from launchpad.cli.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from launchpad.store.journal import Event
    from launchpad.store.state import Deployment

_POLL_S = 0.1
NameArgument = Annotated[str, typer.Argument(help="Deployment.", autocompletion=complete.deployments)]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on as more is written; Ctrl-C ends it.")]
SinceOption = Annotated[
    str | None, typer.Option(help='Only what is newer: a duration ("10m") or a time ("2026-11-23T00:49:55Z").')
]


def logs(
    name: NameArgument,
    follow: FollowOption = False,
    since: SinceOption = None,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Only so many lines from the end.")] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Put Docker's time before every line.")
    ] = False,
) -> None:
    """Show a server's log: of a running container, a crashed one, or one that was removed.

    Examples: launchpad logs v4-flash-sglang-tp4 -f --tail 100 | launchpad logs v4-flash-sglang-tp4 --since 10m
    """
    from collections import deque

    from launchpad.cli import launch

    world = World()
    deployment = world.store.known(name)
    if not deployment.log_path.exists() and (wanted := launch.last_wanted(world, name)) and wanted.spec.hosted:
        render.say(f"{name} is hosted elsewhere: nothing of it runs here that could log; launchpad events {name}")
        return
    after = _moment(world, since)
    source = _lines(world, deployment, after)
    try:
        for at, text in deque(source, maxlen=tail) if tail is not None else source:
            render.out(f"{at} {text}" if timestamps else text)
        if follow:
            _follow(world, deployment, timestamps=timestamps)
    except KeyboardInterrupt:
        if not follow:
            raise
        raise typer.Exit(0) from None


def events(
    name: NameArgument,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    follow: FollowOption = False,
    since: SinceOption = None,
    tail: Annotated[int | None, typer.Option("--tail", "-n", min=0, help="Only so many events from the end.")] = None,
) -> None:
    """Tell a deployment's history: every change of phase with its reason, every start, crash and adoption.

    Examples: launchpad events v4-flash-sglang-tp4 | launchpad events v4-flash-sglang-tp4 --json --follow
    """
    world = World()
    deployment = world.store.known(name)
    after = _moment(world, since)
    read = list(deployment.journal.read())
    offset = read[-1][0] if read else 0
    found = [event for _, event in read if after is None or event.at > after]
    show = _event_json if as_json else _event_text
    try:
        for event in found if tail is None else found[len(found) - min(tail, len(found)) :]:
            show(event)
        while follow:
            for end, event in deployment.journal.read(offset):
                offset = end
                show(event)
            world.clock.sleep(_POLL_S)
    except KeyboardInterrupt:
        if not follow:
            raise
        raise typer.Exit(0) from None


def _event_json(event: Event) -> None:
    render.line_json(event.as_json())


def _event_text(event: Event) -> None:
    render.out(render.event(event))


def _moment(world: World, text: str | None) -> datetime | None:
    """A duration before now, or a time of day; raises a usage error with both spellings."""
    from launchpad.clock import moment
    from launchpad.units import parse_duration

    if text is None:
        return None
    try:
        if re.match(r"\d{4}-", text):
            return moment(text)
        return world.clock.now() - parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}", param_hint="--since") from error


def _lines(world: World, deployment: Deployment, after: datetime | None) -> Iterator[tuple[str, str]]:
    """The copy on disk, and then what Docker has besides where no supervisor copies."""
    from launchpad.clock import moment

    last: datetime | None = None
    for path in (deployment.log_path.with_suffix(".log.1"), deployment.log_path):
        for line in _file_lines(path):
            at, _, text = line.partition(" ")
            try:
                last = moment(at)
            except ValueError:
                continue  # a line that a full disk cut short
            if after is None or last > after:
                yield at, text
    if deployment.supervisor_pid() is None:
        yield from _docker_lines(world, deployment, max(filter(None, (last, after)), default=None))


def _file_lines(path: Path) -> Iterator[str]:
    try:
        with path.open(errors="replace") as file:
            for line in file:
                yield line.rstrip("\n")
    except FileNotFoundError:
        return


def _docker_lines(world: World, deployment: Deployment, after: datetime | None) -> Iterator[tuple[str, str]]:
    from launchpad.clock import stamp
    from launchpad.deploy.observe import ours
    from launchpad.errors import LaunchpadError

    try:
        for container in reversed(ours(world.runtime.containers(deployment.name), world.owner)):
            with world.runtime.logs(container.id, since=after) as lines:
                for line in lines:
                    if line.at is not None and (after is None or line.at - after > timedelta(milliseconds=1)):
                        yield stamp(line.at), line.text
    except LaunchpadError as error:
        render.say(f"only the copy on disk: {error.message}")


def _follow(world: World, deployment: Deployment, *, timestamps: bool) -> None:
    """Print what the supervisor appends; a rotation starts the new file from its beginning."""
    path = deployment.log_path
    position = path.stat().st_size if path.exists() else 0
    if deployment.supervisor_pid() is None:
        render.say("no supervisor runs, so nothing more is copied; launchpad up starts one")
    while True:
        size = path.stat().st_size if path.exists() else 0
        if size < position:
            position = 0
        if size > position:
            with path.open("rb") as file:
                file.seek(position)
                whole = file.read(size - position).rpartition(b"\n")[0]
            position += len(whole) + 1 if whole else 0
            for line in whole.decode(errors="replace").splitlines():
                render.out(line if timestamps else line.partition(" ")[2])
        world.clock.sleep(_POLL_S)
