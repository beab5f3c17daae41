"""What would be done and why, as text: every kind of plan once."""

from __future__ import annotations

import re
from dataclasses import replace
from textwrap import dedent
from typing import Any

import pytest

from launchpad.deploy.observe import Observed, Origin
from launchpad.deploy.plan import PlanStep, changed, make_plan
from launchpad.deploy.spec import RehearsalChoice, Spec
from launchpad.rehearse.deployment import rehearse
from launchpad.runtime.base import Port, Ulimit
from tests.deploy.specs import container, found, profile, shipped, spec

ID = "sha256:" + "a" * 64
IMAGE_OF_BUILT = {"reference": "launchpad/demo:1", "pull": "never", "build": {"template": "demo"}}
BUILT = profile(image=IMAGE_OF_BUILT, cache={"enabled": False})


def old(**changes: Any) -> Spec:
    """What SMALL was before somebody changed it."""
    return spec(profile(**changes), image_id=ID)


NEW = old()
VOLUME = NEW.cache.volume if NEW.cache else ""
PULLED = "lmsysorg/sglang:v0.5.23"


def plan(
    made: Spec,
    there: Observed,
    *,
    phase: str | None = None,
    before: Spec | None = None,
    warm: bool = False,
    fetched: bool = False,
) -> str:
    """The text of a plan."""
    return str(make_plan(made, there, phase=phase, before=before, warm=warm, fetched=fetched))


def text(golden: str) -> str:
    """A golden text without its indentation."""
    return dedent(golden).strip("\n").replace("VOLUME", VOLUME)


# -- nothing there yet -----------------------------------------------------------------------------------------------------


def test_from_nothing_the_image_is_pulled_first() -> None:
    made = spec()
    assert made.cache is not None
    key = f"cold: nothing compiled yet for image {PULLED}, sm 120, driver 580.167.08"

    assert plan(made, found(pulled=False, cache=False)).splitlines() == [
        "pull           image lmsysorg/sglang:v0.5.23        not present on this Docker Engine",
        f"create-volume  volume {made.cache.volume}  {key}",
        "create         container launchpad-small            no container of this deployment",
        "start          container launchpad-small            cold: kernels are compiled on this start",
    ]


def test_an_image_with_a_template_is_built_first() -> None:
    assert plan(spec(BUILT), found(pulled=False)) == text(
        """
        build   image launchpad/demo:1     not present; made from template demo
        create  container launchpad-small  no container of this deployment
        start   container launchpad-small  cold: the profile keeps no cache
        """
    )


def test_a_built_image_is_not_built_again() -> None:
    assert plan(spec(BUILT), found()) == text(
        """
        create  container launchpad-small  no container of this deployment
        start   container launchpad-small  cold: the profile keeps no cache
        """
    )


ORIGINS = {
    "one pin": (Origin("pins", ("commit a -> b",)), "build", "its pins changed since it was built: commit a -> b"),
    "several pins": (
        Origin("pins", ("commit a -> b", "torch 1 -> 2", "uv 1 -> 2")),
        "build",
        "its pins changed since it was built: commit a -> b (and 2 more)",
    ),
    "pins that no label tells": (
        Origin("pins"),
        "build",
        "its pins changed since it was built, or its template did",
    ),
    "its template": (
        Origin("template"),
        "keep",
        "template demo changed since it was built, its pins did not; taken as it is, launchpad build small makes it anew",
    ),
    "nobody knows": (
        Origin("nobody"),
        "keep",
        "no label says that it was built from template demo; taken as it is, launchpad build small makes it anew",
    ),
    "a recipe that cannot be read": (
        Origin("unknown", ("cannot find template 'demo'",)),
        "keep",
        (
            "it cannot be compared with template demo: cannot find template 'demo'; "
            "taken as it is, launchpad build small makes it anew"
        ),
    ),
}


@pytest.mark.parametrize("case", ORIGINS)
def test_an_image_that_is_not_what_would_be_built_is_told_and_built_again_for_its_pins(case: str) -> None:
    origin, action, cause = ORIGINS[case]
    first = make_plan(spec(BUILT), replace(found(), origin=origin), phase=None, before=None, warm=False).steps[0]
    assert (first.action, first.target, first.cause) == (action, "image launchpad/demo:1", cause)


def test_an_image_that_is_what_would_be_built_is_no_step() -> None:
    there = replace(found(), origin=Origin("recipe"))
    assert plan(spec(BUILT), there) == plan(spec(BUILT), found())


def test_what_has_just_been_built_is_not_compared_again() -> None:
    there = replace(found(), origin=Origin("pins"))
    assert plan(spec(BUILT), there, fetched=True) == plan(spec(BUILT), found())


def test_other_pins_replace_what_is_running() -> None:
    made = spec(BUILT)
    there = replace(found(container(made)), origin=Origin("pins", ("commit a -> b",)))
    assert plan(made, there, phase="READY", before=made) == text(
        """
        build   image launchpad/demo:1     its pins changed since it was built: commit a -> b
        stop    container launchpad-small  its pins changed since it was built: commit a -> b
        remove  container launchpad-small  its pins changed since it was built: commit a -> b
        create  container launchpad-small  its pins changed since it was built: commit a -> b
        start   container launchpad-small  cold: the profile keeps no cache
        """
    )


def test_an_image_that_is_taken_as_it_is_keeps_what_is_running() -> None:
    made = spec(BUILT)
    there = replace(found(container(made)), origin=Origin("template"))
    kept = make_plan(made, there, phase="READY", before=made, warm=False)
    assert (kept.keeps, kept.steps[-1].cause) == (True, "already ready, spec unchanged")


def test_an_image_that_is_taken_as_it_is_is_no_reason_to_replace_a_container() -> None:
    made = spec(profile(image=IMAGE_OF_BUILT))
    there = replace(found(container(made), cache=False), origin=Origin("template"))
    causes = {step.cause for step in make_plan(made, there, phase="READY", before=made, warm=False).steps[2:-1]}
    assert [cause.partition(":")[0] for cause in causes] == ["cold"]


def test_with_a_filled_cache_the_start_is_warm() -> None:
    assert plan(NEW, found(), warm=True) == text(
        """
        create  container launchpad-small  no container of this deployment
        start   container launchpad-small  warm: an earlier start filled the cache
        """
    )


def test_an_empty_cache_volume_is_cold() -> None:
    assert plan(NEW, found(), warm=False) == text(
        """
        create  container launchpad-small  no container of this deployment
        start   container launchpad-small  cold: kernels are compiled on this start
        """
    )


NIM = shipped("v4-flash-nim")
OTHER_NIM = spec(
    profile(
        engine="nim", image={"reference": "nvcr.io/nim/a/b:1"}, model={"path": None, "in_image": "/opt"}, parallel=None
    )
)


@pytest.mark.parametrize(("made", "size"), [(NIM, "up to 177.0 GiB"), (OTHER_NIM, "of a size that is not known")])
def test_what_a_server_fetches_at_its_first_start_is_a_step(made: Spec, size: str) -> None:
    assert made.cache is not None
    assert re.split(r" {2,}", plan(made, found(cache=False)).splitlines()[0]) == [
        "create-volume",
        f"volume {made.cache.volume}",
        f"the first start fetches the weights into it, {size}",
    ]


@pytest.mark.parametrize(
    ("warm", "cause"),
    [
        (False, "cold: weights are fetched and kernels are compiled on this start"),
        (True, "warm: an earlier start filled the cache"),
    ],
)
def test_a_volume_of_weights_is_warm_once_a_start_has_filled_it(warm: bool, cause: str) -> None:
    assert plan(NIM, found(), warm=warm).splitlines()[-1].endswith(cause)


def test_a_rehearsal_of_a_server_that_fetches_its_weights_fetches_none() -> None:
    played = rehearse(NIM, RehearsalChoice("4x-gb300", (), 1.0), None)

    assert "weights" not in plan(played, found(cache=False)).replace("weights that it fetches", "")


FETCHED = spec(profile(model={"path": None, "repo": "deepseek-ai/DeepSeek-V4-Flash"}))
PLAYED = rehearse(FETCHED, RehearsalChoice("4x-rtx-pro-6000", (), 1.0), None)


@pytest.mark.parametrize(
    ("made", "volume", "why"),
    [
        (FETCHED, "launchpad-hub", f"the first start fetches {FETCHED.model} into it"),
        (PLAYED, "launchpad-rehearsal-hub", "no model is fetched for a rehearsal"),
    ],
)
def test_a_volume_for_what_the_engine_fetches_from_the_hub_is_a_step(made: Spec, volume: str, why: str) -> None:
    assert re.split(r" {2,}", plan(made, found(hub=False)).splitlines()[0]) == [
        "create-volume",
        f"volume {volume}",
        why,
    ]
    assert "create-volume" not in plan(made, found())


def test_an_image_that_may_not_be_pulled_is_not() -> None:
    made = spec(profile(image={"pull": "never"}, cache={"enabled": False}))

    assert plan(made, found(pulled=False)).splitlines()[0].startswith("create")


def test_a_rehearsal_makes_its_image_on_the_spot() -> None:
    made = rehearse(NEW, RehearsalChoice("4x-rtx-pro-6000", (), 1.0), None)
    steps = make_plan(made, found(pulled=False), phase=None, before=None, warm=False).steps

    assert steps[0] == PlanStep(
        "build", f"image {made.own_image.reference}", "the rehearsal's stand-in is made on the spot"
    )


def test_a_rehearsal_whose_image_is_there_asks_no_registry_even_under_pull_always() -> None:
    made = rehearse(old(image={"pull": "always"}), RehearsalChoice("4x-rtx-pro-6000", (), 1.0), None)

    assert plan(made, found()).split()[0] == "create"


# -- something there -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "word"), [("READY", "ready"), ("STARTING", "starting"), (None, "running"), ("FAILED", "failed")]
)
def test_an_unchanged_deployment_that_runs_is_kept(phase: str | None, word: str) -> None:
    assert plan(NEW, found(container(NEW)), phase=phase, before=NEW) == (
        f"keep  container launchpad-small  already {word}, spec unchanged"
    )


def test_an_unchanged_deployment_is_kept_without_a_memory_of_it() -> None:
    assert plan(NEW, found(container(NEW))) == "keep  container launchpad-small  already running, spec unchanged"


def test_keeping_is_doing_nothing() -> None:
    kept = make_plan(NEW, found(container(NEW)), phase="READY", before=NEW, warm=True)
    fresh = make_plan(NEW, found(), phase=None, before=None, warm=True)

    assert (kept.keeps, fresh.keeps) == (True, False)


@pytest.mark.parametrize(
    ("before", "cause"),
    [
        (
            old(image={"digest": "sha256:" + "1" * 64}),
            f"image: lmsysorg/sglang@sha256:{'1' * 64} -> {PULLED} (and 1 more)",
        ),
        (spec(image_id="sha256:" + "1" * 64), "image digest changed (and 1 more)"),
        (old(engine_args={"watchdog-timeout": 300}), "flag --watchdog-timeout removed"),
        (old(env={"NCCL_DEBUG": "INFO"}), "env NCCL_DEBUG removed"),
        (old(publish={"port": 9}), "published: 127.0.0.1:9 -> 127.0.0.1:8000"),
        (old(serving={"context_length": 9}, env={"A": "1", "B": "2"}), "flag --context-length removed (and 2 more)"),
    ],
    ids=["image reference", "image digest", "flag", "env", "port", "several"],
)
def test_a_changed_deployment_is_replaced_and_the_first_change_is_the_cause(before: Spec, cause: str) -> None:
    made = plan(NEW, found(container(before)), phase="READY", before=before, warm=True)

    assert made == text(
        f"""
        stop    container launchpad-small  {cause}
        remove  container launchpad-small  {cause}
        create  container launchpad-small  {cause}
        start   container launchpad-small  warm: an earlier start filled the cache
        """
    )


def test_a_changed_deployment_without_a_memory_of_it_says_only_that() -> None:
    assert plan(NEW, found(container(old(env={"A": "1"}))), warm=True).splitlines()[0] == (
        "stop    container launchpad-small  spec hash changed"
    )


def test_the_plan_lists_every_change() -> None:
    before = old(env={"A": "1"}, serving={"context_length": 9})

    assert make_plan(NEW, found(container(before)), phase=None, before=before, warm=True).changes == (
        "flag --context-length removed",
        "env A removed",
    )


def test_what_ended_is_cleared_away_and_started_again() -> None:
    assert plan(NEW, found(container(NEW, "exited", code=1)), phase="FAILED", before=NEW, warm=True) == text(
        """
        remove  container launchpad-small  ended, left behind
        create  container launchpad-small  ended, left behind
        start   container launchpad-small  warm: an earlier start filled the cache
        """
    )


def test_what_ended_and_was_changed_gives_the_change_as_the_cause() -> None:
    before = old(env={"A": "1"})

    assert plan(NEW, found(container(before, "exited", code=1)), before=before, warm=True).splitlines()[0] == (
        "remove  container launchpad-small  env A removed"
    )


# -- pull = always -----------------------------------------------------------------------------------------------------------

ALWAYS = old(image={"pull": "always"})


def test_pull_always_asks_the_registry_for_an_image_that_is_there() -> None:
    assert plan(ALWAYS, found(), warm=True) == text(
        """
        pull    image lmsysorg/sglang:v0.5.23  the profile says pull = always
        create  container launchpad-small      no container of this deployment
        start   container launchpad-small      warm: an earlier start filled the cache
        """
    )


def test_pull_always_does_not_replace_what_runs_unless_the_image_turns_out_to_have_moved() -> None:
    assert plan(ALWAYS, found(container(ALWAYS)), phase="READY", before=ALWAYS, warm=True) == text(
        """
        pull  image lmsysorg/sglang:v0.5.23  the profile says pull = always
        keep  container launchpad-small      already ready, spec unchanged, unless the pull brings another image
        """
    )


def test_a_pull_is_something_to_do_though_the_container_is_kept() -> None:
    assert not make_plan(ALWAYS, found(container(ALWAYS)), phase="READY", before=ALWAYS, warm=True).keeps


def test_once_pulled_nothing_is_left_to_do_where_the_image_is_the_same() -> None:
    assert plan(ALWAYS, found(container(ALWAYS)), phase="READY", before=ALWAYS, warm=True, fetched=True) == (
        "keep  container launchpad-small  already ready, spec unchanged"
    )


def test_once_pulled_the_steps_are_those_that_remain() -> None:
    assert plan(NEW, found(cache=False), fetched=True).split()[0] == "create-volume"


# -- the words for a change ----------------------------------------------------------------------------------------------------


def altered(**fields: Any) -> Spec:
    """NEW with fields of its container replaced."""
    return replace(NEW, containers=(replace(NEW.containers[0], **fields),))


CHANGES: list[tuple[Spec, tuple[str, ...]]] = [
    (NEW, ()),
    (replace(NEW, summary="told otherwise"), ()),
    (old(serving={"context_length": 9}), ("flag --context-length added: 9",)),
    (old(serving={"trust_remote_code": True}), ("flag --trust-remote-code added",)),
    (old(model={"served_name": "other"}), ("flag --served-model-name: small -> other",)),
    (old(engine_args={"x": [1, 2]}), ("flag --x added: 1 2",)),
    (old(engine_args={"x": -1}), ("flag --x added: -1",)),
    (old(serving={"metrics": False}), ("flag --enable-metrics removed",)),
    (old(env={"A": "1"}), ("env A added",)),
    (altered(env=(*NEW.containers[0].env[:-1], ("TRITON_CACHE_DIR", "/x"))), ("env TRITON_CACHE_DIR: /cache/triton -> /x",)),
    (old(publish={"host": "0.0.0.0"}), ("published: 127.0.0.1:8000 -> 0.0.0.0:8000",)),
    (altered(ports=()), ("published: 127.0.0.1:8000 -> nothing",)),
    (altered(ports=(Port(1, "::", 2),)), ("published: 127.0.0.1:8000 -> :::2",)),
    (altered(image="other:1"), ("image: lmsysorg/sglang:v0.5.23 -> other:1",)),
    (altered(image_id="sha256:1"), ("image digest changed",)),
    (old(mounts=[{"source": "/a", "target": "/b"}]), ("mounts changed",)),
    (altered(gpus=("GPU-3",)), ("GPUs changed",)),
    (altered(ulimits=(Ulimit("nofile", 1, 1),)), ("ulimits changed",)),
    (old(secrets={"X": {"from_env": "X"}}), ("secrets changed (by name)",)),
    (altered(cap_add=("SYS_NICE",), cap_drop=()), ("capabilities changed",)),
    (altered(entrypoint=("/bin/sh",)), ("entrypoint changed",)),
    (altered(ipc="host"), ("ipc: private -> host",)),
    (altered(memory_bytes=9), ("memory_bytes: None -> 9",)),
    (altered(labels=(("a", "b"),)), ()),
    (replace(NEW, containers=NEW.containers * 2), ("containers: 1 -> 2",)),
]  # fmt: skip


@pytest.mark.parametrize(("after", "words"), CHANGES, ids=[words[0] if words else "nothing" for _, words in CHANGES])
def test_a_change_is_told_in_words(after: Spec, words: tuple[str, ...]) -> None:
    assert changed(NEW, after) == words


def test_the_words_of_a_command_before_its_flags_are_compared_as_one() -> None:
    before, after = (
        spec(profile(engine="generic", command=words, probes={"readiness": {"path": "/"}}, gpus=None, parallel=None))
        for words in (["serve", "a"], ["serve", "b"])
    )

    assert changed(before, after) == ("flag command: serve a -> serve b",)
