"""``up``, ``rehearse``, ``down`` and ``restart``: from a wish to where it stands.

None of them drives a container: they write down what is wanted, make sure that a supervisor runs, and follow it.
"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from launchpad.cli import complete, render
from launchpad.cli.launch import Draft
from launchpad.cli.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from launchpad.cli.launch import Wish
    from launchpad.deploy.spec import Spec
    from launchpad.rehearse.faults import Fault
    from launchpad.runtime.base import Transfer
    from launchpad.store.state import Deployment, Wanted
    from launchpad.supervise.snapshot import Snapshot
    from launchpad.supervise.spawn import Prepared

#: What a shell expects of a command that Ctrl-C ended.
_EXIT_INTERRUPTED = 130
_KEPT = "already ready, spec unchanged: nothing to do"
#: Seconds a supervisor with nothing left to do may take to be gone.
_SUPERVISOR_ENDS_S = 30.0

JsonOption = Annotated[bool, typer.Option("--json", help="Events as JSON objects, one a line, on stdout.")]
AcceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        help="Go on in spite of this hazard, by id; journalled. Repeatable.",
        autocompletion=complete.hazards,
    ),
]
RollbackOption = Annotated[
    bool,
    typer.Option(
        "--no-rollback",
        help="Leave a changed spec that never becomes READY as it failed, and do not put the last good one back.",
    ),
]
DetachOption = Annotated[bool, typer.Option("--detach", "-d", help="Do not follow: return once the supervisor runs.")]


def up(
    name: Annotated[str, typer.Argument(help="Profile name, or path of a profile.", autocompletion=complete.profiles)],
    accept: AcceptOption = None,
    as_json: JsonOption = False,
    detach: DetachOption = False,
    no_rollback: RollbackOption = False,
) -> None:
    """Bring a profile up on this rig and follow it until it serves.

    An unchanged deployment that serves is left alone; a changed one is replaced, and where it never becomes READY the last
    version that was is put back by itself (exit code 3). Ctrl-C stops following, never the server.

    Examples: launchpad up v4-flash-sglang-tp4 | launchpad up ./mine.toml --detach
    """
    from launchpad.cli import launch

    world = World()
    wish = launch.load(world, name, rig=None)
    bring_up(world, wish, accept=accept or (), as_json=as_json, detach=detach, rollback=not no_rollback)


def _list_faults(wanted: bool) -> None:
    """Typer's callback of ``--list-faults``: it needs no profile."""
    if wanted:
        from launchpad.rehearse.faults import explain

        render.out(explain())
        raise typer.Exit


def rehearse(
    name: Annotated[str, typer.Argument(help="Profile name, or path of a profile.", autocompletion=complete.profiles)],
    rig: Annotated[str, typer.Option(help="Recorded rig to play.", autocompletion=complete.rigs)] = "4x-rtx-pro-6000",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Something that goes wrong, e.g. exit:1@weights; repeatable.", autocompletion=complete.faults
        ),
    ] = None,
    load_seconds: Annotated[float, typer.Option(min=0.1, max=7200, help="How long a cold load takes.")] = 8.0,
    list_faults: Annotated[  # noqa: ARG001 - an eager option has done its work in its callback
        bool,
        typer.Option("--list-faults", help="Say what can go wrong, and end.", is_eager=True, callback=_list_faults),
    ] = False,
    accept: AcceptOption = None,
    as_json: JsonOption = False,
    detach: DetachOption = False,
    no_rollback: RollbackOption = False,
) -> None:
    """Play `up` on a recorded rig with a stand-in engine: no GPU, no weights, no registry.

    The containers, ports, probes, supervisor and commands are the real ones; only the engine and NVML are stand-ins.

    Examples: launchpad rehearse v4-flash-sglang-tp4 | launchpad rehearse v4-flash-vllm-tp4 --fault once:exit:1@weights
    """
    from launchpad.cli import launch
    from launchpad.deploy.spec import RehearsalChoice
    from launchpad.rehearse.deployment import PLAYED
    from launchpad.rehearse.faults import parse_faults

    try:
        faults = parse_faults(fault or [])
    except ValueError as error:
        raise typer.BadParameter(f"{error}", param_hint="--fault") from error
    world = World()
    _refuse_absent(world, rig, faults)
    choice = RehearsalChoice(rig, tuple(map(str, faults)), load_seconds)
    wish = launch.load(world, name, rig=rig, rehearsal=choice)
    launch.refuse_hosted(wish.loaded, "rehearse", "launchpad up {name} costs one short completion")
    render.say(f"REHEARSAL: a stand-in engine on recorded rig {rig}; no model is loaded and no GPU is used")
    if (engine := wish.loaded.profile.engine) not in PLAYED:
        render.say(
            f"  {engine} is played as a plain OpenAI server in one container: its flags and its own ways are not tried"
        )
    bring_up(world, wish, accept=accept or (), as_json=as_json, detach=detach, rollback=not no_rollback)


def _refuse_absent(world: World, rig: str, faults: Iterable[Fault]) -> None:
    """A fault of a card that the recorded rig has not would never strike."""
    named = [fault for fault in faults if fault.index is not None]
    cards = {gpu.index for gpu in world.rigs.load(rig).facts.gpus or ()} if named else set()
    for fault in named:
        if fault.index not in cards:
            there = f"GPUs {', '.join(map(str, sorted(cards)))}" if cards else "no GPU"
            raise typer.BadParameter(f"{str(fault)!r}: recorded rig {rig} has {there}", param_hint="--fault")


def bring_up(
    world: World, wish: Wish, *, accept: Collection[str] = (), as_json: bool, detach: bool, rollback: bool = True
) -> None:
    """The straight line of ``up``, with a supervisor getting ready beside it; where it fails, what to turn to is said first."""
    from launchpad.errors import LaunchpadError
    from launchpad.supervise import spawn

    try:
        prepared = spawn.prepare(world.store.deployment(wish.name), world.environ)
        with prepared or contextlib.nullcontext():
            _bring_up(world, wish, prepared, accept=accept, as_json=as_json, detach=detach, rollback=rollback)
    except LaunchpadError:
        _say_fallback(world, wish.loaded.profile.fallback)
        raise


def _say_fallback(world: World, name: str | None) -> None:
    """What a person may turn to now; of one that cannot be read nothing, as the error that led here matters more."""
    from launchpad.cli.fallback import fallback_of, fallback_text
    from launchpad.errors import LaunchpadError

    with contextlib.suppress(LaunchpadError):
        if (view := fallback_of(world, name)) is not None:
            render.say(f"  fallback  {fallback_text(view)}")


def _bring_up(
    world: World,
    wish: Wish,
    prepared: Prepared | None,
    *,
    accept: Collection[str],
    as_json: bool,
    detach: bool,
    rollback: bool,
) -> None:
    from launchpad.cli import launch

    _guard_rehearsal(world, wish)
    settled = _settle(world, wish, accept, fetched=False, rollback=rollback)
    render.findings(settled.drawn.findings)
    launch.refuse(settled.drawn)
    render.say(render.plan(settled.drawn.spec, settled.drawn.plan, warm=settled.drawn.warm) + "\n")
    if settled.needs_fetch:
        with _progress(as_json=as_json) as progress:
            launch.fetch(world, wish, settled.drawn, world.runtime, progress)
        settled = _settle(world, wish, accept, fetched=True, rollback=rollback)
        launch.refuse(settled.drawn)
    if settled.generation is None:
        answer_ready(settled.drawn.spec, None, as_json=as_json)
        return
    deployment = world.store.deployment(wish.name)
    ask = Ask(settled.offset, settled.generation, up=True)
    _say_unready(world, settled.drawn.spec)
    snapshot = go(world, deployment, ask, prepared, as_json=as_json, detach=detach)
    if snapshot is not None:
        answer_ready(settled.drawn.spec, None if settled.stands else snapshot, as_json=as_json)


def _say_unready(world: World, spec: Spec) -> None:
    """Why following a hosted endpoint may take long: nothing here is restarted, so nothing new is told until it answers."""
    from launchpad.supervise.machine import Phase
    from launchpad.supervise.snapshot import Snapshot

    snapshot = world.store.deployment(spec.name).read_state(Snapshot, world.clock.now())
    if spec.hosted is None or snapshot is None or snapshot.state.phase is not Phase.UNREADY:
        return
    state = snapshot.state
    render.say(f"{spec.name} is UNREADY: {state.reason}" + (f"\n  hint: {state.hint}" if state.hint else ""))
    render.say("  it is asked again by itself; Ctrl-C ends the waiting, and nothing else")


@dataclass(frozen=True, slots=True)
class _Settled:
    """A draft, and the generation it was written down as: None where it blocks, serves already, or needs its image first.

    ``stands``: the server that is there is READY and stays, though what is noted of it (hazards accepted, probes) may change.
    """

    drawn: Draft
    needs_fetch: bool
    generation: int | None
    offset: int
    stands: bool


def _settle(world: World, wish: Wish, accept: Collection[str], *, fetched: bool, rollback: bool) -> _Settled:
    """Draft and write down what is wanted in one, so that two ``up`` at once never choose the same GPUs.

    An image is fetched between two of these, not inside: nobody should wait for somebody else's twenty gigabytes.
    """
    from launchpad.cli import launch
    from launchpad.store.lock import held

    with held(world.store.rig_lock, f"bring {wish.name} up"):
        launch.refuse_other_kind(world, wish.name, hosted=wish.hosted)
        runtime = world.runtime_for(hosted=wish.hosted)
        drawn = launch.draft(world, wish, runtime, fetched=fetched, accept=accept)
        needs_fetch = any(step.action in {"pull", "build"} for step in drawn.plan.steps)
        blocked = any(finding.severity == "blocks" for finding in drawn.findings)
        asked = launch.last_wanted(world, wish.name)
        stands = drawn.plan.keeps and _is_ready(world, drawn.spec, asked)
        kept = stands and asked is not None and asked.spec == drawn.spec
        offset = world.store.deployment(wish.name).journal.end()
        if blocked or needs_fetch or kept:
            return _Settled(drawn, needs_fetch, None, offset, stands)
        _refuse_unseen_secrets(world, drawn.spec)
        generation = launch.want(world, drawn.spec, wanted=True, rollback=rollback)
        return _Settled(drawn, needs_fetch, generation, offset, stands)


def _refuse_unseen_secrets(world: World, spec: Spec, *, restarts: bool = False) -> None:
    from launchpad.supervise import spawn

    deployment = world.store.deployment(spec.name)
    manager, pid = spawn.manager_of(deployment, world.environ), deployment.supervisor_pid()
    if pid is not None:
        if manager is None:  # a unit has its secrets from its own file
            spawn.refuse_other_environment(spec, pid, world.environ, restarts=restarts)
    elif manager is not None:
        spawn.refuse_unseen_secrets(spec, manager, world.environ)


def down(
    names: Annotated[list[str], typer.Argument(help="Deployments to stop.", autocompletion=complete.deployments)],
    as_json: JsonOption = False,
    detach: DetachOption = False,
) -> None:
    """Stop a deployment: drain, then the stop grace, then kill; and prove that nothing is left.

    Of several, one that cannot be stopped keeps none of the others up; then the exit code is 1.

    Example: launchpad down v4-flash-sglang-tp4
    """
    from launchpad.errors import EXIT_USER, LaunchpadError

    world, failed = World(), False
    for name in names:
        try:
            take_down(world, name, as_json=as_json, detach=detach)
        except LaunchpadError as error:
            if len(names) == 1:
                raise
            render.error(error)
            failed = True
    if failed:
        raise typer.Exit(EXIT_USER)


def take_down(world: World, name: str, *, as_json: bool, detach: bool) -> None:
    """Write "not wanted" and follow until it is STOPPED."""
    from launchpad.cli import launch
    from launchpad.deploy.observe import ours
    from launchpad.errors import ContainerError, NotFoundError

    deployment = world.store.known(name)
    before = launch.last_wanted(world, name)
    if before is None:
        raise NotFoundError(
            f"cannot stop {name}: its spec is gone", hint=f"docker ps --filter label=io.launchpad.deployment={name}"
        )
    runtime = world.runtime_for(hosted=before.spec.hosted is not None)
    left = ours(runtime.containers(name), world.owner)
    if not before.wanted and not left and deployment.supervisor_pid() is None:
        render.say(f"{name} is down already")
        return
    offset = deployment.journal.end()
    generation = launch.want(world, before.spec, wanted=False)
    if go(world, deployment, Ask(offset, generation, up=False), as_json=as_json, detach=detach) is None:
        return
    if left := ours(runtime.containers(name), world.owner):
        raise ContainerError(
            f"cannot prove {name} gone: container {left[0].name} is still there", hint=f"docker rm -f {left[0].name}"
        )
    if not as_json:
        what = "no container and no supervisor is left" if before.spec.hosted is None else "nobody asks it any more"
        render.out(f"{name} is down: {what}")


def restart(
    name: Annotated[str, typer.Argument(help="Deployment to restart.", autocompletion=complete.deployments)],
    as_json: JsonOption = False,
) -> None:
    """Stop a deployment gracefully and start the same spec again.

    It is one wish: Ctrl-C stops following, and the deployment comes up again without us. One that is no longer what its lock says
    is left as it is, and the drift named.

    Example: launchpad restart v4-flash-sglang-tp4
    """
    from launchpad.cli import launch
    from launchpad.errors import NotFoundError

    world = World()
    deployment = world.store.known(name)
    before = launch.last_wanted(world, name)
    if before is None:
        raise NotFoundError(f"cannot restart {name}: its spec is gone", hint=f"launchpad up {name}")
    _refuse_unseen_secrets(world, before.spec, restarts=True)
    launch.refuse_drift(world, before.spec)
    offset = deployment.journal.end()
    generation = launch.want(world, before.spec, wanted=True, rollback=before.rollback, renew=True)
    snapshot = go(world, deployment, Ask(offset, generation, up=True), as_json=as_json, detach=False)
    if snapshot is not None and not as_json:
        render.out(serving_text(before.spec, snapshot))


@dataclass(frozen=True, slots=True)
class Ask:
    """What was written down: up or down, as which generation, and where the journal stood before."""

    offset: int
    generation: int
    up: bool


def go(
    world: World, deployment: Deployment, ask: Ask, prepared: Prepared | None = None, *, as_json: bool, detach: bool
) -> Snapshot | None:
    """Make sure of a supervisor and follow it; None where nobody followed to the end."""
    from launchpad.cli.follow import Follower, Goal, reporter
    from launchpad.supervise import spawn, systemd
    from launchpad.supervise.machine import Phase

    manager = spawn.manager_of(deployment, world.environ)
    pid = spawn.ensure(deployment, world.environ, prepared, manager)
    whose = f"supervisor {pid}"
    if manager is not None:
        whose = manager.unit(deployment.name)
        if pid is not None and systemd.unit_of(pid) != whose:
            render.say(
                f"  supervisor {pid} goes on outside {whose}, which has it after the next down and up, or reboot"
            )
            whose = f"supervisor {pid}"
    if detach:
        render.say(f"{whose} has it; launchpad status {deployment.name} tells how far it is")
        return None
    goal = Goal(Phase.READY if ask.up else Phase.STOPPED, ask.generation)
    try:
        snapshot = Follower(world, deployment, reporter(as_json=as_json), ask.offset).follow(goal)
        if not ask.up:
            _await_end(world, deployment.name, snapshot.pid)
            if manager is not None:
                manager.forget(deployment.name, world.clock.sleep)
    except KeyboardInterrupt:
        word = "starting" if ask.up else "stopping"
        render.say(f"\nstopped following; {deployment.name} goes on {word} without us")
        render.say(f"  launchpad status {deployment.name} --watch   |   launchpad down {deployment.name}")
        raise typer.Exit(_EXIT_INTERRUPTED) from None
    return snapshot


def _await_end(world: World, name: str, pid: int) -> None:
    """The supervisor of a stopped deployment ends by itself, at once; raises where it does not: the proof is the point."""
    from launchpad.errors import LaunchpadError
    from launchpad.supervise import spawn

    deadline = world.clock.monotonic() + _SUPERVISOR_ENDS_S
    while spawn.alive(pid):
        if world.clock.monotonic() >= deadline:
            raise LaunchpadError(f"cannot prove {name} gone: its supervisor {pid} is still there", hint=f"kill {pid}")
        world.clock.sleep(0.02)


def serves(world: World, spec: Spec) -> bool:
    """Whether a living supervisor says that this very spec is READY; other probes or another backoff are another spec to it."""
    from launchpad.cli import launch

    asked = launch.last_wanted(world, spec.name)
    return asked is not None and asked.spec == spec and _is_ready(world, spec, asked)


def _is_ready(world: World, spec: Spec, asked: Wanted[Spec] | None) -> bool:
    """Whether a living supervisor says that a server started just as ``spec`` says is READY, and nobody has asked it to stop."""
    from launchpad.supervise.machine import Phase
    from launchpad.supervise.snapshot import Snapshot

    if asked is None or not asked.wanted:
        return False
    deployment = world.store.deployment(spec.name)
    snapshot = deployment.read_state(Snapshot, world.clock.now())
    return (
        snapshot is not None
        and snapshot.state.phase is Phase.READY
        and snapshot.spec_hash == spec.hash
        and deployment.supervisor_pid() is not None
    )


def _guard_rehearsal(world: World, wish: Wish) -> None:
    """A rehearsal never replaces the real thing, nor the other way round, without being asked to."""
    from launchpad.cli import launch
    from launchpad.errors import LaunchpadError

    before = launch.last_wanted(world, wish.name)
    if before is None or not before.wanted or (before.spec.rehearsal is None) == (wish.rehearsal is None):
        return
    running, asked = ("real", "rehearse") if before.spec.rehearsal is None else ("rehearsed", "bring up")
    raise LaunchpadError(
        f"cannot {asked} {wish.name}: a {running} deployment of that name is up", hint=f"launchpad down {wish.name}"
    )


@contextlib.contextmanager
def _progress(*, as_json: bool) -> Iterator[Callable[[Transfer], None]]:
    """A progress bar on a terminal, sparse lines elsewhere."""
    if as_json or not sys.stderr.isatty():
        last = ""

        def tell(transfer: Transfer) -> None:
            nonlocal last
            if transfer.what != last:
                last = transfer.what
                render.say(f"  {transfer.what}")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("preparing the image", total=None)

        def draw(transfer: Transfer) -> None:
            bar.update(task, description=transfer.what[:80], completed=transfer.done or 0, total=transfer.total)

        yield draw


def answer_ready(spec: Spec, snapshot: Snapshot | None, *, as_json: bool) -> None:
    """The last word of a successful ``up`` or ``rollback``; ``snapshot`` None: it served already, unchanged."""
    if as_json:
        render.line_json(
            {
                "event": "ready",
                "name": spec.name,
                "endpoint": spec.endpoint,
                "model": spec.model,
                "rehearsal": spec.rehearsal is not None,
                "seconds": snapshot.ready_after_s if snapshot else None,
                "unchanged": snapshot is None,
                "reason": _KEPT if snapshot is None else "READY",
            }
        )
    elif snapshot is None:
        render.out(f"{spec.name} is {_KEPT}\n{_endpoint_text(spec)}")
    else:
        render.out(serving_text(spec, snapshot))


def serving_text(spec: Spec, snapshot: Snapshot) -> str:
    """What a person wants to know of a server that has just become READY."""
    from datetime import timedelta

    from launchpad.units import show_duration

    took = (
        "" if snapshot.ready_after_s is None else f" after {show_duration(timedelta(seconds=snapshot.ready_after_s))}"
    )
    title = "REHEARSAL of " if spec.rehearsal else ""
    return f"{title}{spec.name} is READY{took}\n{_endpoint_text(spec)}"


def _endpoint_text(spec: Spec) -> str:
    if spec.hosted is not None:
        return f'endpoint  {spec.endpoint}/v1\nmodel     {spec.model}\ntry       launchpad ask {spec.name} "Hello"'
    path, body = _example(spec)
    return (
        f"endpoint  {spec.endpoint}/v1\n"
        f"model     {spec.model}\n"
        f"try       curl {spec.endpoint}{path} -H 'Content-Type: application/json' -d '{body}'"
    )


def _example(spec: Spec) -> tuple[str, str]:
    """Path and body of a request that this deployment answers: what its own completion asks for, else a chat."""
    match spec.completion.kind:
        case "embedding":
            return "/v1/embeddings", f'{{"model": "{spec.model}", "input": "Hello"}}'
        case "completion":
            return "/v1/completions", f'{{"model": "{spec.model}", "prompt": "Hello"}}'
        case _:
            message = '{"role": "user", "content": "Hello"}'
            return "/v1/chat/completions", f'{{"model": "{spec.model}", "messages": [{message}]}}'
