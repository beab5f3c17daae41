"""``history`` and ``rollback``: which versions of a deployment's spec there were, and an older one brought up again."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from launchpad.cli import complete, render
from launchpad.cli.world import World
from launchpad.store.history import Head, Life

if TYPE_CHECKING:
    from datetime import datetime

    from launchpad.deploy.spec import Spec
    from launchpad.store.history import Version
    from launchpad.store.state import Deployment, Wanted

NameArgument = Annotated[str, typer.Argument(help="Deployment.", autocompletion=complete.deployments)]


@dataclass(frozen=True, slots=True)
class _Told:
    """A version and what became of it; ``current`` where it is what is wanted now."""

    head: Head
    life: Life
    current: bool
    up: bool

    @property
    def became(self) -> str:
        """In one word: ``wanted``, ``down``, ``replaced``, ``rolled-back``, ``gave-up``; ``unknown`` where nobody looked."""
        if self.current and (self.life.ended is None or self.life.ended == "replaced"):
            return "wanted" if self.up else "down"
        return self.life.ended or "unknown"


def history(
    name: NameArgument,
    version: Annotated[
        int | None,
        typer.Argument(min=1, help="Only this version, and all it changed.", autocompletion=complete.versions),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List the versions of a deployment's spec: when each was asked for, what it changed, whether it was ever READY.

    Examples: launchpad history v4-flash-sglang-tp4 | launchpad history v4-flash-sglang-tp4 3 --json
    """
    world = World()
    deployment = world.store.known(name)
    told = _told(world, deployment)
    now = world.clock.now()
    chosen = [item for item in told if version is None or item.head.number == version]
    if version is not None and not chosen:
        raise _no_version(name, version, [item.head.number for item in told])
    before = {after.head.number: item.head.number for item, after in pairwise(told)}
    rows = [(item, _changes(deployment, before.get(item.head.number), item.head.number, now)) for item in chosen]
    if as_json:
        found = [_json(item, changes, before.get(item.head.number)) for item, changes in rows]
        render.answer_json(found if version is None else found[0])
    elif version is None:
        render.out(_table(rows) if rows else f"{name} has no history: it was last asked for by an older launchpad")
    else:
        render.out(_page(*rows[0], before.get(version)))


def rollback(
    name: NameArgument,
    version: Annotated[
        int | None,
        typer.Argument(
            min=1, help="Version; else the last one before this that was READY.", autocompletion=complete.versions
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Events as JSON objects, one a line, on stdout.")] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Do not follow: return once the supervisor runs.")
    ] = False,
) -> None:
    """Bring an older version of a deployment's spec up again, as it was, and follow it until it serves.

    The profile stays as it is: the next `up` asks for what it says.

    Examples: launchpad rollback v4-flash-sglang-tp4 | launchpad rollback v4-flash-sglang-tp4 3 --detach
    """
    from launchpad.cli import launch
    from launchpad.cli.up import Ask, answer_ready, go
    from launchpad.store.lock import held

    world = World()
    deployment = world.store.known(name)
    wanted = launch.last_wanted(world, name)
    older = _choose(world, deployment, wanted, version)
    with held(world.store.rig_lock, f"roll {name} back"):
        plan, serves = _examined(world, older.spec)
        offset = deployment.journal.end()
        render.say(f"back to version {older.number} of {name}\n\n{plan}\n")
        generation = None if serves else launch.want(world, older.spec, wanted=True)
    snapshot = None
    if generation is not None:
        snapshot = go(world, deployment, Ask(offset, generation, up=True), as_json=as_json, detach=detach)
        if snapshot is None:
            return
    answer_ready(older.spec, snapshot, as_json=as_json)


def _choose(world: World, deployment: Deployment, wanted: Wanted[Spec] | None, number: int | None) -> Version[Spec]:
    """The version asked for; raises NotFoundError naming those that there are."""
    from launchpad.deploy.spec import Spec
    from launchpad.errors import NotFoundError
    from launchpad.store.history import Version

    now, name = world.clock.now(), deployment.name
    if number is None:
        current = wanted.number if wanted is not None else 0
        lives = deployment.history.lives(now)
        good = [other for other in deployment.history.numbers() if other in lives and lives[other].proven is not None]
        earlier = [other for other in good if other < current or not current]
        if not earlier:
            others = f"; READY were: {', '.join(map(str, good))}" if set(good) - {current} else ""
            raise NotFoundError(
                f"cannot roll {name} back: no version before {current or 'this one'} was ever READY here{others}",
                hint=f"launchpad history {name}",
            )
        number = earlier[-1]
    found = deployment.history.version(number, Version[Spec], now)
    if found is None:
        raise _no_version(name, number, list(deployment.history.numbers()))
    return found


def _examined(world: World, spec: Spec) -> tuple[str, bool]:
    """The plan back to ``spec`` in words, and whether that serves already; raises LaunchpadError where it cannot come up.

    It was READY on this rig once, so its hazards are not examined again; what may have changed is: its image, its GPUs,
    its port and its secrets.
    """
    from launchpad.cli import launch
    from launchpad.cli.up import serves
    from launchpad.deploy.apply import read_secrets
    from launchpad.deploy.observe import observe
    from launchpad.deploy.plan import make_plan
    from launchpad.errors import ContainerError, ImageError
    from launchpad.supervise.rollback import claims, refuse_claimed

    launch.refuse_other_kind(world, spec.name, hosted=spec.hosted is not None)
    runtime = world.runtime_for(hosted=spec.hosted is not None)
    found = observe(spec, runtime, world.owner)
    if found.image is None and spec.image is not None:
        raise ImageError(
            f"cannot roll {spec.name} back: image {spec.own_image.reference} is not on this Docker Engine any more",
            hint=f"docker pull {spec.own_image.reference}"
            if spec.own_image.build_template is None
            else f"launchpad up {spec.name}",
        )
    if found.strangers:
        raise ContainerError(
            f"cannot roll {spec.name} back: container {found.strangers[0].name} belongs to another launchpad",
            hint="use that one's LAUNCHPAD_STATE_DIR",
        )
    refuse_claimed(spec, claims(spec.name, world.store, runtime, world.clock.now()))
    read_secrets(spec, world.environ)
    before = launch.last_wanted(world, spec.name)
    warm = spec.cache is not None and found.cache_exists and world.store.cache_warmed(spec.cache.volume) is not None
    made = make_plan(spec, found, phase=None, before=before.spec if before else None, warm=warm)
    return render.plan(spec, made, warm=warm), made.keeps and serves(world, spec)


def _told(world: World, deployment: Deployment) -> list[_Told]:
    from launchpad.cli import launch

    now = world.clock.now()
    wanted, lives = launch.last_wanted(world, deployment.name), deployment.history.lives(now)
    number, up = (wanted.number, wanted.wanted) if wanted is not None else (0, False)
    return [
        _Told(head, lives.get(head.number, Life()), current=head.number == number, up=up)
        for head in deployment.history.heads(now)
    ]


def _changes(deployment: Deployment, before: int | None, after: int, now: datetime) -> tuple[str, ...]:
    """What one version changed of another, in words; of what needs no other container the fields' names."""
    from launchpad.deploy.plan import changed
    from launchpad.deploy.spec import Spec
    from launchpad.store.history import Version

    if before is None:
        return ("first version",)
    old, new = (deployment.history.version(number, Version[Spec], now) for number in (before, after))
    if old is None or new is None:
        return ("unknown: a version is damaged",)
    return tuple(dict.fromkeys((*changed(old.spec, new.spec), *_rules(old.spec, new.spec))))


def _rules(old: Spec, new: Spec) -> list[str]:
    """Differences outside the containers: ``policy.startup_s: 1800.0 -> 600.0``."""
    from dataclasses import fields

    words = []
    for part in ("policy", "health", "completion", "image", "cache"):
        was, is_ = getattr(old, part), getattr(new, part)
        if was is None or is_ is None:
            words += [f"{part} changed"] if was != is_ else []
            continue
        names = [field.name for field in fields(was) if getattr(was, field.name) != getattr(is_, field.name)]
        words += [f"{part}.{name}: {getattr(was, name)} -> {getattr(is_, name)}" for name in names]
    for part in ("engine", "model", "model_path", "gpus", "power_budget_w", "power_cap_w", "rehearsal", "fallback"):
        was, is_ = getattr(old, part), getattr(new, part)
        if was != is_:
            words.append(f"{part} changed" if part in {"gpus", "rehearsal"} else f"{part}: {was} -> {is_}")
    return words


def _table(rows: list[tuple[_Told, tuple[str, ...]]]) -> str:
    return render.table(
        [
            (
                f"{item.head.number}{' *' if item.current else ''}",
                item.head.hash,
                _when(item.head.asked),
                _when(item.life.proven) if item.life.proven else "never",
                item.became,
                changes[0] + (f" (and {len(changes) - 1} more)" if len(changes) > 1 else "")
                if changes
                else "words only",
            )
            for item, changes in rows
        ],
        ("VERSION", "SPEC", "ASKED", "FIRST READY", "BECAME", "CHANGED"),
    )


def _page(item: _Told, changes: tuple[str, ...], before: int | None) -> str:
    head, life = item.head, item.life
    lines = [
        f"version   {head.number}{' (current)' if item.current else ''}",
        f"spec      {head.hash}",
        f"profile   {head.profile}",
        f"asked     {_when(head.asked)}",
        f"ready     {f'first {_when(life.proven)}, last {_when(life.ready)}' if life.proven else 'never'}",
        f"became    {item.became}" + (f" {_when(life.ended_at)}: {life.reason}" if life.ended_at else ""),
        f"changed   {f'since version {before}' if before else ''}",
    ]
    return "\n".join([*(line.rstrip() for line in lines), *(f"  {change}" for change in changes)])


def _when(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%SZ") if at is not None else "unknown"


def _json(item: _Told, changes: tuple[str, ...], before: int | None) -> dict[str, Any]:
    """A version under its published names."""
    from launchpad.clock import stamp

    head, life = item.head, item.life
    return {
        "version": head.number,
        "spec_hash": head.hash,
        "profile": head.profile,
        "asked": stamp(head.asked),
        "current": item.current,
        "proven": life.proven is not None,
        "first_ready": stamp(life.proven) if life.proven else None,
        "last_ready": stamp(life.ready) if life.ready else None,
        "became": item.became,
        "ended": stamp(life.ended_at) if life.ended_at else None,
        "reason": life.reason,
        "changed_since": before,
        "changes": list(changes),
    }


def _no_version(name: str, number: int, there: list[int]) -> Exception:
    from launchpad.errors import NotFoundError

    return NotFoundError(
        f"cannot find version {number} of {name}", hint=f"there are: {', '.join(map(str, there)) or 'none'}"
    )
