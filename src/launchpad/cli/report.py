"""``report`` and ``forget``: what is known of a deployment, packed fit to be shown to others, and all of it removed.

A report holds text alone, each of it redacted before it is written; it is made for a person to look through before it is sent, and
nothing is sent from here.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from launchpad.cli import complete, render
from launchpad.cli.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from launchpad.deploy.spec import Spec
    from launchpad.runtime.base import Runtime
    from launchpad.store.redact import Redactor
    from launchpad.store.state import Deployment

#: Of each file the end, at most so much: reports are mailed.
_MOST_BYTES: Final = 2 * 2**20

NameArgument = Annotated[str, typer.Argument(help="Deployment.", autocompletion=complete.deployments)]


def report(
    name: NameArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; else launchpad-report-NAME-TIME.tar.gz here.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="What was packed and taken out, as one JSON document.")
    ] = False,
) -> None:
    """Pack crash folders, events, logs, spec, versions and facts into one redacted archive, fit to attach to a bug report.

    Secrets, tokens, names of people and hosts, addresses and serial numbers are taken out. Look through it before you send it.

    Example: launchpad report v4-flash-sglang-tp4 --output report.tar.gz
    """
    from launchpad.clock import stamp

    world = World()
    deployment = world.store.known(name)
    at = world.clock.now()
    redactor = _redactor(world, deployment)
    when = stamp(at).replace(":", "").replace("-", "").partition(".")[0]
    title = redactor.text(f"launchpad-report-{name}-{when}Z")
    members = [Member(path, redactor.bytes(data)) for path, data in _contents(world, deployment, at)]
    members = [replace(member, path=redactor.text(member.path)) for member in members]
    members.insert(0, Member("README.txt", _readme(title, members, redactor).encode()))
    path = output or Path(f"{title}.tar.gz")
    size = _write(path, _pack(title, members, at))
    if as_json:
        render.answer_json(
            {
                "path": str(path),
                "bytes": size,
                "files": [{"path": member.path, "bytes": len(member.data)} for member in members],
                "redacted": dict(sorted(redactor.counts.items())),
            }
        )
        return
    render.out(f"{path}: {len(members)} files, {size / 1024:.0f} KiB")
    render.out(f"taken out: {_counted(redactor)}")
    render.out("look through it before you send it: tar xzf it, and read README.txt")


def forget(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove every file that launchpad keeps of a stopped deployment: its history, events, crash folders and logs.

    Its profile, its image and its cache volume stay.

    Example: launchpad forget v4-flash-sglang-tp4 --yes
    """
    import sys

    from launchpad.errors import BusyError, LaunchpadError
    from launchpad.store.lock import held

    world = World()
    deployment = world.store.known(name)
    _refuse_alive(world, deployment)
    if not yes:
        render.say(f"all that is known of {name} will be gone; to keep it: launchpad report {name}")
        if not sys.stdin.isatty():
            raise LaunchpadError(
                f"cannot forget {name}: nobody is there to confirm it", hint=f"launchpad forget {name} --yes"
            )
        if not typer.confirm(f"Forget {name}?", err=True):
            raise typer.Exit(1)
    lock = deployment.lock()
    if not lock.acquire():
        raise BusyError(f"cannot forget {name}: it is supervised again", hint=f"launchpad down {name}")
    try:
        with held(deployment.wanted_lock, f"forget {name}"):
            _refuse_wanted(world, deployment)
            deployment.forget()
    finally:
        lock.release()
    render.out(f"{name} is forgotten")


def _refuse_alive(world: World, deployment: Deployment) -> None:
    """Raise unless it is proven that nothing of the deployment runs or would."""
    from launchpad.deploy.observe import ours
    from launchpad.errors import BusyError, ContainerError

    name = deployment.name
    if (pid := deployment.supervisor_pid()) is not None:
        raise BusyError(f"cannot forget {name}: process {pid} supervises it", hint=f"launchpad down {name}")
    _refuse_wanted(world, deployment)
    runtime = _runtime(world, deployment)
    if left := ours(runtime.containers(name), world.owner):
        raise ContainerError(
            f"cannot forget {name}: its container {left[0].name} is still there", hint=f"launchpad down {name}"
        )


def _hosted(world: World, deployment: Deployment) -> bool:
    """Whether somebody else ran it: by what was asked for last, else by what its supervisor published last."""
    from launchpad.cli import launch
    from launchpad.supervise.snapshot import Snapshot

    wanted = launch.last_wanted(world, deployment.name)
    if wanted is not None:
        return wanted.spec.hosted is not None
    snapshot = deployment.read_state(Snapshot, world.clock.now())
    return snapshot is not None and snapshot.hosted


def _refuse_wanted(world: World, deployment: Deployment) -> None:
    from launchpad.deploy.spec import Spec
    from launchpad.errors import BusyError
    from launchpad.store.state import Wanted
    from launchpad.supervise.machine import Phase
    from launchpad.supervise.snapshot import Snapshot

    now = world.clock.now()
    wanted, snapshot = deployment.read_wanted(Wanted[Spec], now), deployment.read_state(Snapshot, now)
    gave_up = snapshot is not None and snapshot.state.phase is Phase.FAILED
    if wanted is not None and wanted.wanted and not gave_up:
        raise BusyError(f"cannot forget {deployment.name}: it is wanted up", hint=f"launchpad down {deployment.name}")


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive."""

    path: str
    data: bytes


#: What stands in a report, for its README; matched by the first word of a path.
_SAYS: Final = {
    "versions.json": "versions of launchpad, Python, Docker, driver, kernel, image and engine, as they are now",
    "facts.json": "what is true of the rig",
    "doctor.txt": "what the doctor says of this deployment's profile now",
    "spec.json": "what was asked for last",
    "state.json": "what the supervisor published last",
    "containers.json": "Docker's own account of what there is of it now",
    "history": "every version of the spec, and what became of it",
    "crashes": "the last ten crashes: verdict, inspect, samples of the last minute, alarms, versions, last log lines",
    "events.jsonl": "everything that happened, oldest first (events.1.jsonl before it)",
    "starts.jsonl": "how long its starts took",
    "server.log": "the end of the server's own log",
    "supervisor.log": "what the supervisor said on stderr",
}


def _contents(world: World, deployment: Deployment, now: datetime) -> Iterator[tuple[str, bytes]]:
    """Every file by its path in the archive, not yet redacted; what cannot be had is told in its place."""
    yield "versions.json", _json(lambda: _versions(world, deployment, now))
    yield "facts.json", _json(lambda: world.facts(None))
    yield "doctor.txt", _doctor(world, deployment).encode()
    yield (
        "containers.json",
        _json(lambda: _containers(_runtime(world, deployment), deployment.name)),
    )
    folder = deployment.folder
    names = ("spec.json", "state.json", "events.1.jsonl", "events.jsonl", "starts.jsonl")
    logs = ("server.log.1", "server.log", "supervisor.log.1", "supervisor.log")
    damaged = sorted(folder.glob("*.unreadable-*"))
    kept = (*(folder / name for name in (*names, *logs)), *damaged, *_under(folder / "history"), *_crashes(deployment))
    for path in kept:
        if (data := _tail(path)) is not None:
            yield str(path.relative_to(folder)), data


def _runtime(world: World, deployment: Deployment) -> Runtime:
    """What runs its containers; raises RuntimeUnavailable where that does not answer."""
    return world.runtime_for(hosted=_hosted(world, deployment))


def _containers(runtime: Runtime, name: str) -> list[Any]:
    return [runtime.inspect_raw(item.id) for item in runtime.containers(name)]


def _crashes(deployment: Deployment) -> Iterator[Path]:
    for folder in deployment.crash_folders():
        yield from _under(folder)


def _under(folder: Path) -> list[Path]:
    """The files in a folder that are no temporary ones, by name."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError:
        return []


def _tail(path: Path) -> bytes | None:
    """The end of a file from the start of a line on: half a line might hold half a secret, which nobody would recognise."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _MOST_BYTES))
            data = file.read(_MOST_BYTES)
    except OSError:
        return None
    return data if size <= _MOST_BYTES else data.partition(b"\n")[2]


def _json(make: Any) -> bytes:
    import json

    from launchpad.errors import LaunchpadError
    from launchpad.store.files import builtins

    try:
        value = builtins(make())
    except LaunchpadError as error:
        value = {"unknown": error.message}
    return json.dumps(value, indent=2, ensure_ascii=False).encode(errors="replace") + b"\n"


def _versions(world: World, deployment: Deployment, now: datetime) -> Any:
    from launchpad.cli import launch
    from launchpad.rig.host import Host
    from launchpad.supervise.record import versions_of

    wanted = launch.last_wanted(world, deployment.name)
    if wanted is None:
        return {"unknown": "its spec is gone"}
    runtime = _runtime(world, deployment)
    found = [item for item in runtime.containers(deployment.name) if item.running]
    return versions_of(wanted, found[0] if found else None, runtime, world.store, Host().read_facts(), now)


def _doctor(world: World, deployment: Deployment) -> str:
    """What speaks against the profile now, in words; where it cannot be told, why."""
    from launchpad.cli import launch
    from launchpad.errors import LaunchpadError

    try:
        wanted = launch.last_wanted(world, deployment.name)
        played = wanted.spec.rehearsal if wanted is not None else None
        wish = launch.load(world, deployment.name, rig=played.rig if played else None, rehearsal=played)
        drawn = launch.draft(world, wish, _runtime(world, deployment))
    except LaunchpadError as error:
        return f"cannot be told: {error.message}\n"
    return render.diagnosis(deployment.name, wish.facts, drawn.findings, ()) + "\n"


def _redactor(world: World, deployment: Deployment) -> Redactor:
    """What there is to hide on this machine: secrets of every version of the spec, and whose machine it is."""
    import os
    import pwd
    import socket

    from launchpad.store.redact import Redactor

    homes, users = {str(Path.home())}, {world.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")}
    for person in pwd.getpwall():
        if person.pw_uid == os.getuid() or person.pw_name in users or 1000 <= person.pw_uid < 60000:
            homes.add(person.pw_dir)
            users.add(person.pw_name)
    nobodys = {"/", "/root", "/nonexistent", "/var/empty"}
    return Redactor(
        secrets=_secrets(world, deployment),
        homes=homes - nobodys,
        users=users,
        hosts={socket.gethostname(), socket.getfqdn(), os.uname().nodename, world.environ.get("HOSTNAME", "")},
    )


def _secrets(world: World, deployment: Deployment) -> set[str]:
    """The values of every secret that any version of the spec names, as far as they can be read now."""
    from launchpad.cli import launch
    from launchpad.deploy.apply import read_secrets
    from launchpad.deploy.spec import Spec
    from launchpad.errors import LaunchpadError
    from launchpad.store.history import Version

    now = world.clock.now()
    specs: list[Spec] = []
    try:
        wanted = launch.last_wanted(world, deployment.name)
        specs += [wanted.spec] if wanted is not None else []
        found = (deployment.history.version(number, Version[Spec], now) for number in deployment.history.numbers())
        specs += [version.spec for version in found if version is not None]
    except LaunchpadError as error:
        render.say(f"warning: secrets cannot all be known, look through the report with care: {error.message}")
    return {value for spec in specs for value in _values(read_secrets(_lenient(spec), world.environ))}


def _values(read: dict[str, dict[str, str]]) -> Iterator[str]:
    for values in read.values():
        yield from values.values()


def _lenient(spec: Spec) -> Spec:
    """``spec`` with no secret required: one that is gone by now cannot be hidden, nor need it be."""
    containers = tuple(
        replace(container, secrets=tuple(replace(secret, required=False) for secret in container.secrets))
        for container in spec.containers
    )
    hosted = spec.hosted
    if hosted is not None and hosted.key is not None:
        hosted = replace(hosted, key=replace(hosted.key, required=False))
    return replace(spec, containers=containers, hosted=hosted)


def _readme(title: str, members: list[Member], redactor: Redactor) -> str:
    paths = {member.path.partition("/")[0] for member in members}
    says = [f"  {name:<16}  {what}" for name, what in _SAYS.items() if name in paths]
    return "\n".join(
        [
            title,
            "",
            "Made by `launchpad report` for a bug report. Look through it before you send it.",
            "",
            "What is inside:",
            *says,
            "",
            f"Of each file at most the last {_MOST_BYTES // 2**20} MiB.",
            "",
            "What was taken out, and what stands in its place:",
            "  values of the spec's secrets [secret]; what looks like a token or a password [token]; logins in URLs [login];",
            "  home directories [home]; user names [user]; host names [host]; IP and MAC addresses but loopback [ip-1] [mac-1];",
            "  serial numbers [serial]; UUIDs of GPUs are shortened. The same address has the same stand-in throughout.",
            f"  Counted: {_counted(redactor)}",
            "",
        ]
    )


def _counted(redactor: Redactor) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(redactor.counts.items()) if count) or "nothing"


def _pack(title: str, members: list[Member], at: datetime) -> bytes:
    """The archive, with nobody's name, id or host in its headers."""
    import gzip
    import tarfile

    data = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=data, mtime=at.timestamp()) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in members:
            info = tarfile.TarInfo(f"{title}/{member.path}")
            info.size, info.mtime, info.mode = len(member.data), int(at.timestamp()), 0o644
            archive.addfile(info, io.BytesIO(member.data))
    return data.getvalue()


def _write(path: Path, data: bytes) -> int:
    """Write for its owner alone; raises StoreError where it cannot be."""
    from launchpad.errors import StoreError
    from launchpad.store.files import write_atomic

    try:
        write_atomic(path, data, durable=False)
    except StoreError as error:
        raise StoreError(error.message, hint="name another file: --output FILE") from error
    return len(data)
