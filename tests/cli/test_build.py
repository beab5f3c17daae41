"""``build``: what is said before anything is built, with no Docker Engine near."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.cli import launch, pins
from launchpad.cli.build import _built, _Teller
from launchpad.cli.lock import make as make_lock
from launchpad.cli.world import World
from launchpad.profiles.writer import profile_text
from launchpad.rig.facts import RigFacts
from launchpad.runtime.base import Image, RuntimeInfo, Transfer
from launchpad.store.lock import holder
from tests.deploy.specs import table
from tests.fakes.clock import ManualClock
from tests.fakes.runtime import FakeRuntime, fake_image

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Launchpad

NAME = "v4-flash-vllm-sm120-fork"
COMMIT = "f63bfd3d7b425b10e0b5e0e2c130fe113a85d009"


def test_print_shows_the_dockerfile_with_its_pins_and_needs_no_engine(launchpad: Launchpad) -> None:
    ended = launchpad("build", NAME, "--print")
    assert (ended.code, f'io.launchpad.pin.commit="{COMMIT}"' in ended.out) == (0, True)


def test_print_as_json_tells_arguments_and_labels(launchpad: Launchpad) -> None:
    told = launchpad("build", NAME, "--print", "--json").json
    assert (told["image"], told["bases"], told["build_args"]["MAX_JOBS"], told["labels"]["io.launchpad.template"]) == (
        "launchpad/vllm-ds4-sm120:20260717-f63bfd3d",
        ["nvidia/cuda:13.0.3-devel-ubuntu24.04"],
        "1",
        "vllm-sm120-fork",
    )


def test_a_profile_whose_image_is_pulled_is_not_built(launchpad: Launchpad) -> None:
    ended = launchpad("build", "v4-flash-sglang-tp4", "--print")
    assert (ended.code, "the profile names no template, so the image is pulled" in ended.err) == (1, True)


def test_without_an_engine_a_build_says_so(launchpad: Launchpad) -> None:
    ended = launchpad("build", NAME)
    assert (ended.code, "Docker is not running" in ended.err) == (1, True)


def test_a_step_is_told_when_it_begins_and_once_a_minute_with_its_last_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = ManualClock()
    tell = _Teller(clock, as_json=False)
    with tell.live() as progress:
        for seconds in (0, 30, 31):
            clock.advance(seconds)
            progress(Transfer("[build 3/3] RUN compile", said=f"after {seconds}"))
    assert capsys.readouterr().err.splitlines() == [
        "  0:00:00  [build 3/3] RUN compile",
        "  0:01:01  [build 3/3] RUN compile: after 31",
    ]


def test_a_wrong_argument_is_told_with_the_line_of_the_file_that_says_it(launchpad: Launchpad, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(f'extends = "{NAME}"\n\n[image.build.args]\narch_list = "13.7"\n')
    ended = launchpad("build", str(own), "--print")
    assert (ended.code, f": {own}:4: arch_list is '13.7': 13.7 is no compute capability" in ended.err) == (1, True)


def test_a_wrong_argument_that_is_inherited_is_told_with_the_line_of_the_base(
    launchpad: Launchpad, tmp_path: Path
) -> None:
    base, own = tmp_path / "base.toml", tmp_path / "own.toml"
    base.write_text(f'extends = "{NAME}"\n[image.build.args]\n\ncommit = "main"\n')
    own.write_text('extends = "base"\n[image.build.args]\ntorch = "2.12.0"\n')
    ended = launchpad("build", str(own), "--print")
    assert f": {base}:4: commit is 'main'" in ended.err


@pytest.mark.parametrize(
    ("took", "says"),
    [
        (0.0004, "built x:1 in less than a second: "),
        (0.4, "built x:1 in less than a second: "),
        (4.21, "built x:1 in 4.2s: "),
        (7322.0, "built x:1 in 2h 02m: "),
    ],
)
def test_how_long_a_build_took_is_said_however_short_it_was(took: float, says: str) -> None:
    assert _built("x:1", fake_image("x:1"), took).startswith(says)


class Terminal(io.StringIO):
    """A terminal that remembers."""

    def isatty(self) -> bool:
        return True


STEP = "[build 3/3] RUN --mount=type=cache,id=launchpad-ccache,target=/ccache sh /opt/build/compile.sh"


@pytest.mark.parametrize("count", ["(3 of 21 steps done)", "(3 of 21 steps done, 2 from the cache)"])
def test_in_a_terminal_a_long_step_leaves_room_for_how_far_the_build_is(
    count: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "70")
    with _Teller(ManualClock(), as_json=False).live() as progress:
        progress(Transfer(f"{STEP} {count}", said="x" * 200))
    assert f"… {count}" in screen.getvalue()


def test_in_a_terminal_a_long_line_leaves_room_for_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("NO_COLOR", "1")
    with _Teller(ManualClock(), as_json=False).live() as progress:
        progress(Transfer("a step", said="x" * 200))
    assert "0:00:00 a step" in screen.getvalue()


# -- an image that is there already ----------------------------------------------------------------------------------------


class Bench(World):
    """A world with a Docker Engine in memory, no GPU, and a profile ``own`` whose image is made here."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.runtime: Engine = Engine(self)
        self.path = root / "profiles" / "own.toml"
        folder = root / "templates" / "demo"
        for parent in (folder, self.path.parent):
            parent.mkdir(parents=True)
        (folder / "Dockerfile.j2").write_text('FROM debian:12\n# {{ greeting | default("") }} {{ buildkit }}\n')
        self.runtime.add_image("debian:12")
        self.says()

    def facts(self, rig: str | None) -> RigFacts:
        return super().facts(rig) if rig is not None else RigFacts(())

    def says(self, **args: str) -> None:
        """Write the profile, with these build arguments."""
        build = {"template": "demo", "args": args}
        image = {"reference": "own/demo:1", "pull": "never", "build": build}
        made = table(image=image, gpus=None, parallel=None, model={"path": None, "in_image": "/opt/models/tiny"})
        self.path.write_text(profile_text({**made, "cache": {"enabled": False}}))

    def draft(self, **options: Any) -> launch.Draft:
        """What ``plan`` and ``up`` see."""
        return launch.draft(self, launch.load(self, str(self.path), rig=None), self.runtime, **options)

    def image_steps(self) -> list[tuple[str, str]]:
        """What the plan says of the image."""
        steps = self.draft().plan.steps
        return [(step.action, step.cause) for step in steps if step.target == "image own/demo:1"]

    def build(self) -> None:
        """What ``up`` does of a plan's build step."""
        wish = launch.load(self, str(self.path), rig=None)
        launch.fetch(self, wish, self.draft(), self.runtime, lambda _: None)


class Engine(FakeRuntime):
    """It remembers who held the template's build lock while it built."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.builder: int | None = None

    def build(self, context: Any, tag: str, **rest: Any) -> Image:
        self.builder = holder(self.bench.store.rig_lock.with_name("build-demo.lock"))
        return super().build(context, tag, **rest)


@pytest.fixture
def bench(state: Path, tmp_path: Path) -> Bench:
    assert not state.exists()
    return Bench(tmp_path / "home" / ".config" / "launchpad")


def test_an_image_that_up_has_built_needs_no_step(bench: Bench) -> None:
    bench.build()
    assert bench.image_steps() == []


def test_up_holds_the_lock_of_the_template_while_it_builds(bench: Bench) -> None:
    bench.build()
    assert bench.runtime.builder == os.getpid()


def test_a_build_argument_that_changed_is_a_build_step(bench: Bench) -> None:
    bench.build()
    bench.says(greeting="hello")
    assert bench.image_steps() == [("build", "its pins changed since it was built: greeting not said -> hello")]


def test_what_was_built_by_the_other_builder_needs_no_step(bench: Bench) -> None:
    bench.build()
    bench.runtime.info_answer = replace(bench.runtime.info_answer, buildkit=True)
    assert isinstance(bench.runtime.info_answer, RuntimeInfo)
    assert bench.image_steps() == []


def test_an_image_that_somebody_made_is_taken_and_told(bench: Bench) -> None:
    bench.runtime.add_image("own/demo:1")
    (action, cause), *_ = bench.image_steps()
    assert (action, cause.partition(";")[0]) == ("keep", "no label says that it was built from template demo")


def test_a_template_that_is_gone_keeps_no_image_from_being_used(bench: Bench) -> None:
    bench.build()
    (bench.path.parent.parent / "templates" / "demo" / "Dockerfile.j2").unlink()
    (bench.path.parent.parent / "templates" / "demo").rmdir()
    (action, cause), *_ = bench.image_steps()
    assert (action, cause.partition(":")[0]) == ("keep", "it cannot be compared with template demo")


def locked(bench: Bench) -> None:
    loaded = bench.profiles.load(str(bench.path))
    pins.write(make_lock(bench, loaded, rig=None, weights=False, progress=lambda _: None), pins.home(bench, loaded))


def blocking(draft: launch.Draft) -> list[str]:
    return [item.message for item in draft.findings if item.severity == "blocks" and item.id == "lock.image"]


def test_an_image_that_is_locked_is_not_built_again_for_other_pins(bench: Bench) -> None:
    bench.build()
    locked(bench)
    bench.says(greeting="hello")
    assert blocking(bench.draft()) == [
        (
            "cannot keep to the lock of own: what image own/demo:1 is built from: "
            "locked as it is here, found greeting not said -> hello"
        )
    ]


def test_a_locked_image_may_be_built_again_where_a_person_says_so(bench: Bench) -> None:
    bench.build()
    locked(bench)
    bench.says(greeting="hello")
    assert blocking(bench.draft(accept=("lock.image",))) == []
