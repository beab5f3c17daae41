"""``build``: a profile's image made from its template, with what goes on told live.

It decides nothing: what goes in, and whether it may, is ``deploy/build.py``'s. It starts no deployment.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from launchpad.cli import complete, render
from launchpad.cli.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from launchpad.clock import Clock
    from launchpad.deploy.build import Recipe
    from launchpad.profiles.catalog import Loaded
    from launchpad.runtime.base import Image, Runtime, RuntimeInfo, Transfer

_EXIT_INTERRUPTED = 130
_EXIT_TERMINATED = 128 + signal.SIGTERM
#: Seconds after which a step that goes on is told of again, where nothing can be drawn over.
_STILL_S = 60.0
#: What stands left of a step's name where there is a terminal: spinner, time, and the spaces between.
_LEFT_OF_STEP = 10
#: How far a build is, behind the name of its step: " (3 of 21 steps done, 2 from the cache)".
_COUNT = re.compile(r" \(\d+ of \d+ steps done[^()]*\)$")


class _Terminated(KeyboardInterrupt):
    """SIGTERM: unwinds as Ctrl-C does, so that the engine ends the build, too."""


def build(
    name: Annotated[str, typer.Argument(help="Profile name, or path of a profile.", autocompletion=complete.profiles)],
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Run every step again, also what an earlier build finished.")
    ] = False,
    classic: Annotated[
        bool, typer.Option("--classic", help="Use Docker's classic builder, also where BuildKit is there.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--print", help="Print the Dockerfile with every pin filled in, and build nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Events as JSON objects, one a line, on stdout.")] = False,
) -> None:
    """Build a profile's image from its template: pinned sources, bounded jobs, finished steps kept.

    A commit is named by its whole hash, and a tag that has moved is refused. An interrupted build goes on where it stood.
    MAX_JOBS in the environment says how many compilers may run at once.

    Example: launchpad build v4-flash-vllm-sm120-fork
    """
    from launchpad.cli.launch import refuse_hosted

    world = World()
    loaded = world.profiles.load(name)
    refuse_hosted(loaded, "build", "launchpad up {name} asks it")
    recipe = recipe_of(world, loaded, _info(world, needed=not show), classic=classic)
    if show:
        _print(recipe, world.clock, as_json=as_json)
        return
    begun = world.clock.monotonic()
    tell = _Teller(world.clock, as_json=as_json)
    tell.event("building", image=recipe.reference, template=recipe.template, text=f"building {recipe.reference}")
    try:
        with _unwound_by_sigterm():
            image = _make(world, recipe, tell, no_cache=no_cache)
    except KeyboardInterrupt as stop:
        terminated = isinstance(stop, _Terminated)
        ended = "ended by SIGTERM" if terminated else "stopped"
        render.say(f"\n{ended}; what is finished is kept: launchpad build {shlex.quote(name)} goes on from there")
        raise typer.Exit(_EXIT_TERMINATED if terminated else _EXIT_INTERRUPTED) from None
    took = world.clock.monotonic() - begun
    tell.event(
        "built",
        image=recipe.reference,
        id=image.id,
        size_bytes=image.size_bytes,
        seconds=round(took, 1),
        labels=dict(image.labels),
        text=_built(recipe.reference, image, took),
    )


@contextlib.contextmanager
def _unwound_by_sigterm() -> Iterator[None]:
    def end(*_: object) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def recipe_of(world: World, loaded: Loaded, info: RuntimeInfo | None, *, classic: bool = False) -> Recipe:
    """What a profile's image is built from; raises ImageError where it is not built at all."""
    from launchpad.deploy.build import Recipe, template_path
    from launchpad.deploy.pinned import places_of
    from launchpad.errors import ImageError

    profile = loaded.profile
    wanted = profile.own_image.build
    if wanted is None:
        raise ImageError(
            f"cannot build {profile.own_image.reference}: the profile names no template, so the image is pulled",
            hint=f"docker pull {profile.own_image.reference}",
        )
    folder = template_path(wanted.template, world.templates())
    return Recipe(
        profile.own_image.reference,
        wanted.template,
        dict(wanted.args),
        folder,
        world.environ,
        info,
        classic=classic,
        places=places_of(loaded.layers, wanted.args),
    )


def _info(world: World, *, needed: bool) -> RuntimeInfo | None:
    from launchpad.errors import RuntimeUnavailable

    try:
        return world.runtime.info()
    except RuntimeUnavailable:
        if needed:
            raise
        return None


def _print(recipe: Recipe, clock: Clock, *, as_json: bool) -> None:
    from launchpad.deploy.build import free_bytes, making_of

    making = making_of(recipe, clock.now().isoformat(timespec="seconds"), free_bytes(recipe.info))
    if as_json:
        render.line_json(
            {
                "image": making.reference,
                "template": recipe.template,
                "buildkit": making.buildkit,
                "bases": list(making.bases),
                "build_args": dict(making.build_args),
                "labels": dict(making.labels),
                "remarks": list(making.remarks),
                "dockerfile": making.dockerfile,
            }
        )
        return
    for remark in making.remarks:
        render.say(f"  {remark}")
    render.out(making.dockerfile.rstrip("\n"))


def _make(world: World, recipe: Recipe, tell: _Teller, *, no_cache: bool) -> Image:
    with building(world, recipe), tell.live() as progress:
        return make(world, recipe, world.runtime, progress, tell.remark, no_cache=no_cache)


@contextlib.contextmanager
def building(world: World, recipe: Recipe) -> Iterator[None]:
    """Be the only one who builds from this template, whichever command does; raises BusyError naming the other."""
    from launchpad.store.lock import held

    with held(world.store.rig_lock.with_name(f"build-{recipe.template}.lock"), f"build {recipe.reference}"):
        yield


def make(
    world: World,
    recipe: Recipe,
    runtime: Runtime,
    progress: Callable[[Transfer], None],
    say: Callable[[str], None],
    *,
    no_cache: bool = False,
) -> Image:
    """Build it now, inside :func:`building`."""
    from launchpad.deploy.build import make_image

    checked_at = world.clock.now().isoformat(timespec="seconds")
    return make_image(recipe, runtime, checked_at, progress, say, no_cache=no_cache)


def _built(reference: str, image: Image, took: float) -> str:
    from launchpad.units import show_bytes, show_duration

    pins = {key.removeprefix("io.launchpad.pin."): text for key, text in sorted(image.labels.items()) if ".pin." in key}
    shown = "".join(f"\n  {key:<22}{text}" for key, text in pins.items())
    lasted = show_duration(timedelta(seconds=took)) if took >= 1 else "less than a second"
    return f"built {reference} in {lasted}: {image.id[:19]}, {show_bytes(image.size_bytes)}{shown}"


def _fitting(what: str, width: int) -> str:
    """``what`` in ``width`` columns; of a step that is longer, its name is cut and not how far the build is."""
    if len(what) <= width:
        return what
    counted = _COUNT.search(what)
    end = counted[0] if counted else ""
    return what[: max(0, width - len(end) - 1)] + "…" + end


@dataclass(slots=True)
class _Step:
    """What was told last, and when."""

    what: str = ""
    at: float = 0.0


class _Teller:
    """Tells of a build: objects on stdout, or lines on stderr, or a picture where there is a terminal."""

    def __init__(self, clock: Clock, *, as_json: bool) -> None:
        self._clock = clock
        self._begun = clock.monotonic()
        self._as_json = as_json
        self._told = _Step()

    def event(self, event: str, *, text: str, **fields: object) -> None:
        if self._as_json:
            render.line_json({"event": event, **fields})
        elif event == "built":
            render.out(text)
        else:
            render.say(text)

    def remark(self, text: str) -> None:
        self.event("remark", text=f"  {text}", remark=text)

    @contextlib.contextmanager
    def live(self) -> Iterator[Callable[[Transfer], None]]:
        """What is called with every Transfer."""
        if self._as_json or not sys.stderr.isatty():
            yield self._line
            return
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("preparing", total=None)

            def draw(transfer: Transfer) -> None:
                # Rich would take the room for a line that is too long from the clock beside it.
                width = bar.console.width - _LEFT_OF_STEP
                lines = (_fitting(text, width) for text in (transfer.what, transfer.said) if text)
                bar.update(task, description="\n".join(lines))

            yield draw

    def _line(self, transfer: Transfer) -> None:
        now = self._clock.monotonic()
        same = transfer.what == self._told.what
        if same and now - self._told.at < _STILL_S and not self._as_json:
            return
        self._told = _Step(transfer.what, now)
        seconds = round(now - self._begun)
        said = f": {transfer.said}" if same and transfer.said else ""
        self.event(
            "step",
            text=f"  {seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}  {transfer.what}{said}",
            seconds=seconds,
            step=transfer.what,
            said=transfer.said,
        )
