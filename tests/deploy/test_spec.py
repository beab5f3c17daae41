"""A profile made concrete: which GPUs, which cache, which hash; and errors that say what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from launchpad.deploy.spec import Spec
from launchpad.errors import LaunchpadError
from launchpad.rig.facts import RigFacts
from launchpad.runtime.base import Port
from launchpad.store.files import builtins, decode, encode
from tests.deploy.specs import NO_GPU, OWNER, RIG, SHIPPED, gpu, profile, rig, shipped, spec

SMALL_CARDS = tuple(gpu(index, memory_bytes=24 << 30) for index in range(4))
OLD_CARDS = tuple(gpu(index, compute_capability=(9, 0)) for index in range(4))


def indices(made: Spec) -> list[int]:
    """The GPUs of a spec by index."""
    return [seat.index for seat in made.gpus]


# -- which GPUs ----------------------------------------------------------------------------------------------------------

#: (what the profile's gpus table says, the rig, what others hold, what this deployment holds, the GPUs it gets)
CHOICES: list[tuple[str, dict[str, Any] | None, RigFacts, dict[str, str], tuple[str, ...], list[int]]] = [
    ("the first free ones", {}, rig(), {}, (), [0, 1]),
    ("those that others leave", {}, rig(), {"GPU-0": "other", "GPU-2": "other"}, (), [1, 3]),
    ("those it holds already", {}, rig(), {}, ("GPU-2", "GPU-3"), [2, 3]),
    ("what is left of those it held where another took one", {}, rig(), {"GPU-3": "other"}, ("GPU-2", "GPU-3"), [0, 2]),
    ("those it held and more where it held too few", {}, rig(), {}, ("GPU-3",), [0, 3]),
    ("what is left of those it held where one is gone", {}, rig(), {}, ("GPU-3", "GPU-9"), [0, 3]),
    ("some of those it held where it held too many", {}, rig(), {}, ("GPU-1", "GPU-2", "GPU-3"), [1, 2]),
    ("indices, in the profile's order", {"count": None, "indices": [3, 1]}, rig(), {}, (), [3, 1]),
    ("indices, whatever it held", {"count": None, "indices": [0, 1]}, rig(), {}, ("GPU-2", "GPU-3"), [0, 1]),
    ("UUIDs", {"count": None, "uuids": ["GPU-2", "GPU-0"]}, rig(), {}, (), [2, 0]),
    ("only suitable ones", {}, rig(SMALL_CARDS[0], OLD_CARDS[1], gpu(2), gpu(3)), {}, (), [2, 3]),
    (
        "unknown facts are not held against a card",
        {},
        rig(gpu(0, memory_bytes=None), gpu(1, compute_capability=None)),
        {},
        (),
        [0, 1],
    ),
    ("any card where the profile does not mind", {"compute_capability": [], "min_memory": None}, rig(*OLD_CARDS), {}, (), [0, 1]),
    ("either of two capabilities", {"compute_capability": ["9.0", "12.0"]}, rig(OLD_CARDS[0], gpu(1)), {}, (), [0, 1]),
    ("exactly the least memory is enough", {"min_memory": "24GiB"}, rig(*SMALL_CARDS), {}, (), [0, 1]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wish", "facts", "taken", "keep", "chosen"), [c[1:] for c in CHOICES], ids=[c[0] for c in CHOICES]
)
def test_a_deployment_gets(
    wish: dict[str, Any], facts: RigFacts, taken: dict[str, str], keep: tuple[str, ...], chosen: list[int]
) -> None:
    assert indices(spec(profile(gpus=wish), facts, taken=taken, keep=keep)) == chosen


def test_a_profile_without_gpus_gets_none_and_asks_docker_for_none() -> None:
    made = spec(profile(gpus=None, parallel=None))

    assert (made.gpus, made.containers[0].gpus) == ((), None)


def test_a_profile_without_gpus_needs_no_driver() -> None:
    assert spec(profile(gpus=None, parallel=None), RigFacts(None, gpu_problem="NVML library not found")).gpus == ()


def test_the_containers_gpus_are_the_chosen_ones_by_uuid() -> None:
    made = spec(taken={"GPU-0": "other"})

    assert made.containers[0].gpus == tuple(seat.uuid for seat in made.gpus) == ("GPU-1", "GPU-2")


def test_a_recorded_rig_seats_a_shipped_profile_and_is_named() -> None:
    made = shipped("v4-flash-sglang-tp4")

    assert indices(made) == [0, 1, 2, 3]
    assert made.rig.endswith(f"(recorded rig {RIG})")


# -- errors --------------------------------------------------------------------------------------------------------------

REFUSALS: list[tuple[str, dict[str, Any], RigFacts, dict[str, str], str, str]] = [
    (
        "uncounted GPUs",
        {},
        RigFacts(None, gpu_problem="NVML library not found"),
        {},
        "cannot place small on this rig: its GPUs cannot be counted: NVML library not found",
        "mend the driver, or try it on a recorded rig: --rig 4x-rtx-pro-6000, or launchpad rehearse small",
    ),
    (
        "no GPU at all",
        {},
        NO_GPU,
        {},
        "cannot place small: it needs 2 GPUs and 0 of this rig's 0 will do: this rig has 0",
        "choose a profile for this rig (launchpad profiles list), or try this one on a recorded rig: launchpad rehearse small",
    ),
    (
        "too few",
        {},
        rig(gpu(0)),
        {},
        "cannot place small: it needs 2 GPUs and 1 of this rig's 1 will do: this rig has 1",
        "choose a profile for this rig (launchpad profiles list), or try this one on a recorded rig: launchpad rehearse small",
    ),
    (
        "too old",
        {},
        rig(*OLD_CARDS),
        {},
        (
            "cannot place small: it needs 2 GPUs and 0 of this rig's 4 will do: RTX PRO 6000 has compute capability 9.0,"
            " the profile needs 12.0"
        ),
        "choose a profile for this rig (launchpad profiles list), or try this one on a recorded rig: launchpad rehearse small",
    ),
    (
        "too small",
        {},
        rig(*SMALL_CARDS),
        {},
        "cannot place small: it needs 2 GPUs and 0 of this rig's 4 will do: RTX PRO 6000 has 24.0 GiB, the profile needs 94.0 GiB",
        "choose a profile for this rig (launchpad profiles list), or try this one on a recorded rig: launchpad rehearse small",
    ),
    (
        "all held",
        {},
        rig(),
        {"GPU-0": "one", "GPU-1": "one", "GPU-3": "two"},
        "cannot place small: it needs 2 GPUs and 1 is free; held: 0 (one), 1 (one), 3 (two)",
        "launchpad down one two",
    ),
    (
        "an index the rig lacks",
        {"count": None, "indices": [0, 7]},
        rig(gpu(0), gpu(1)),
        {},
        "cannot place small: this rig has no GPU 7",
        "it has 0 (GPU-0), 1 (GPU-1); correct gpus in the profile",
    ),
    (
        "a UUID the rig lacks",
        {"count": None, "uuids": ["GPU-0", "GPU-9"]},
        NO_GPU,
        {},
        "cannot place small: this rig has no GPU GPU-0",
        "it has none; correct gpus in the profile",
    ),
    (
        "a named GPU that is held",
        {"count": None, "indices": [0, 1]},
        rig(),
        {"GPU-1": "other"},
        "cannot place small on GPU 1: deployment other holds it",
        "launchpad down other, or name other GPUs under gpus in the profile",
    ),
    (
        "a named GPU that will not do",
        {"count": None, "indices": [0, 1]},
        rig(gpu(0), OLD_CARDS[1]),
        {},
        "cannot place small on GPU 1: RTX PRO 6000 has compute capability 9.0, the profile needs 12.0",
        "name other GPUs under gpus in the profile",
    ),
]


@pytest.mark.parametrize(
    ("wish", "facts", "taken", "message", "hint"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS]
)
def test_a_rig_that_cannot_seat_it_is_told_with_the_fix(
    wish: dict[str, Any], facts: RigFacts, taken: dict[str, str], message: str, hint: str
) -> None:
    with pytest.raises(LaunchpadError) as caught:
        spec(profile(gpus=wish), facts, taken=taken)

    assert (caught.value.message, caught.value.hint) == (message, hint)


# -- the cache -------------------------------------------------------------------------------------------------------------


def volume(**changes: Any) -> str:
    """The cache volume's name, of SMALL and what is changed."""
    digest, facts, image_id = changes.get("digest"), changes.get("facts"), changes.get("image_id")
    found = spec(profile(image={"digest": digest}, gpus={"compute_capability": []}), facts, image_id=image_id).cache
    assert found is not None
    return found.volume


def test_a_cache_belongs_to_one_image_one_capability_and_one_driver() -> None:
    names = [
        volume(),
        volume(image_id="sha256:" + "1" * 64),
        volume(digest="sha256:" + "2" * 64),
        volume(facts=rig(*OLD_CARDS)),
        volume(facts=rig(gpu(0), OLD_CARDS[1])),
        volume(facts=rig(driver_version="590.48.01")),
        volume(facts=rig(driver_version=None)),
    ]

    assert len(set(names)) == len(names)


def test_a_cache_is_shared_by_deployments_that_differ_in_nothing_that_is_compiled() -> None:
    others = [
        spec(name="other"),
        spec(profile(publish={"port": 9}, serving={"context_length": 9}, engine_args={"x": 1})),
        spec(taken={"GPU-0": "a"}),
    ]

    assert {made.cache for made in others} == {spec().cache}


def test_the_digest_decides_the_cache_and_not_what_the_engine_calls_it() -> None:
    digest = "sha256:" + "2" * 64

    assert volume(digest=digest, image_id="sha256:" + "1" * 64) == volume(digest=digest)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (spec(), "image lmsysorg/sglang:v0.5.23, sm 120, driver 580.167.08"),
        (spec(image_id="sha256:" + "ab" * 32), "image abababababab, sm 120, driver 580.167.08"),
        (spec(facts=rig(driver_version=None)), "image lmsysorg/sglang:v0.5.23, sm 120, driver unknown"),
        (
            spec(facts=rig(*(gpu(index, compute_capability=None) for index in range(2)))),
            "image lmsysorg/sglang:v0.5.23, sm unknown, driver 580.167.08",
        ),
        (spec(profile(gpus=None, parallel=None)), "image lmsysorg/sglang:v0.5.23, sm cpu, driver none"),
    ],
)
def test_what_a_cache_is_keyed_by_is_said_in_words(made: Spec, words: str) -> None:
    assert made.cache is not None
    assert made.cache.keyed_by == words


def test_a_profile_that_keeps_no_cache_mounts_none_and_moves_no_cache() -> None:
    made = spec(profile(cache={"enabled": False}))

    assert made.cache is None
    assert [mount.kind for mount in made.containers[0].mounts] == ["bind"]
    assert not [name for name, _ in made.containers[0].env if "CACHE" in name]


# -- the hash --------------------------------------------------------------------------------------------------------------


def test_the_hash_of_a_spec_stays_what_it_was() -> None:
    # A literal on purpose: were it to move without a changed container, every deployment out there would be replaced at its
    # next `up`. Change it only together with what a container is made of.
    assert spec(image_id="sha256:" + "a" * 64).hash == "bd93b07fd81e07e3"


SAME = [
    ("the summary", spec(profile(summary="told otherwise"))),
    ("probes", spec(profile(probes={"completion": {"prompt": "Another question?"}, "liveness": {"failures": 9}}))),
    ("policy", spec(profile(deadlines={"startup": "9h"}, restart={"budget": 9}))),
    ("power", spec(profile(power={"budget_w": 9}))),
    ("caveats", spec(profile(caveats=["careful"]))),
    ("its standing", spec(profile(standing={"status": "measured", "says": "a", "source": "b", "as_of": "2026-11-23"}))),
    ("facts that nothing is made of", spec(facts=rig(kernel="6.1", cpu_count=9))),
]
OTHER = [
    ("a typed flag", spec(profile(serving={"context_length": 9}))),
    ("an engine argument", spec(profile(engine_args={"x": 1}))),
    ("an environment value", spec(profile(env={"X": "1"}))),
    ("a mount", spec(profile(mounts=[{"source": "/a", "target": "/b"}]))),
    ("the image's id", spec(image_id="sha256:" + "1" * 64)),
    ("the image's tag", spec(profile(image={"reference": "lmsysorg/sglang:v0.5.24"}))),
    ("other GPUs", spec(taken={"GPU-0": "other"})),
    ("the port", spec(profile(publish={"port": 9}))),
    ("a secret's name", spec(profile(secrets={"X": {"from_env": "X"}}))),
    ("another driver, by its cache volume", spec(facts=rig(driver_version="590.48.01"))),
    ("the deployment's name", spec(name="other")),
]


@pytest.mark.parametrize("made", [made for _, made in SAME], ids=[name for name, _ in SAME])
def test_the_hash_does_not_change_with(made: Spec) -> None:
    assert made.hash == spec().hash


@pytest.mark.parametrize("made", [made for _, made in OTHER], ids=[name for name, _ in OTHER])
def test_the_hash_changes_with(made: Spec) -> None:
    assert made.hash != spec().hash


def test_resolving_twice_gives_the_same_spec() -> None:
    assert spec() == spec()


# -- as text, and as labels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED.names())
def test_a_spec_survives_its_own_file(name: str) -> None:
    made = shipped(name)

    assert decode(encode(made), Spec) == made


def test_a_spec_that_was_written_before_profiles_had_a_standing_still_reads() -> None:
    old = {key: value for key, value in builtins(spec()).items() if key != "standing"}

    assert decode(encode(old), Spec) == replace(spec(), standing=None)


def test_a_spec_read_back_has_the_same_hash() -> None:
    assert decode(encode(spec()), Spec).hash == spec().hash


def test_a_secret_is_in_the_spec_by_name_and_never_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "very-secret-value")
    text = encode(spec(profile(secrets={"HF_TOKEN": {"from_env": "MY_TOKEN"}}))).decode()

    assert ("HF_TOKEN" in text, "MY_TOKEN" in text, "very-secret-value" in text) == (True, True, False)


def test_labels_say_whose_what_and_where() -> None:
    made = spec()

    assert dict(made.labelled(OWNER)[0].labels) == {
        "io.launchpad.deployment": "small",
        "io.launchpad.spec-hash": made.hash,
        "io.launchpad.role": "server",
        "io.launchpad.gpus": "GPU-0,GPU-1",
        "io.launchpad.rehearsal": "false",
        "io.launchpad.owner": OWNER,
    }


def test_labels_are_no_part_of_the_hash() -> None:
    made, elsewhere = spec().labelled(OWNER)[0], spec().labelled("/elsewhere")[0]

    assert dict(made.labels)["io.launchpad.spec-hash"] == dict(elsewhere.labels)["io.launchpad.spec-hash"]


def test_without_gpus_the_label_names_none() -> None:
    assert dict(spec(profile(gpus=None, parallel=None)).labelled(OWNER)[0].labels)["io.launchpad.gpus"] == ""


# -- the rest ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("10.1.2.3", "http://10.1.2.3:8000"),
        ("::", "http://[::1]:8000"),
        ("fd00::1", "http://[fd00::1]:8000"),
    ],
)
def test_the_endpoint_is_where_a_client_on_the_rig_reaches_it(host: str, endpoint: str) -> None:
    assert spec(profile(publish={"host": host})).endpoint == endpoint


def test_what_is_published_is_what_the_profile_says_on_the_engines_own_port() -> None:
    assert spec(profile(publish={"host": "10.1.2.3", "port": 9})).containers[0].ports == (Port(30000, "10.1.2.3", 9),)


@pytest.mark.parametrize(
    ("reference", "digest", "asked"),
    [
        ("lmsysorg/sglang:v1", None, "lmsysorg/sglang:v1"),
        ("lmsysorg/sglang:v1", "sha256:" + "a" * 64, "lmsysorg/sglang@sha256:" + "a" * 64),
        ("lmsysorg/sglang", "sha256:" + "a" * 64, "lmsysorg/sglang@sha256:" + "a" * 64),
        ("rig.local:5000/sglang", "sha256:" + "a" * 64, "rig.local:5000/sglang@sha256:" + "a" * 64),
        ("rig.local:5000/sglang:v1", "sha256:" + "a" * 64, "rig.local:5000/sglang@sha256:" + "a" * 64),
    ],
)
def test_with_a_digest_the_tag_decides_nothing(reference: str, digest: str | None, asked: str) -> None:
    made = spec(profile(image={"reference": reference, "digest": digest}))

    assert made.own_image.reference == made.containers[0].image == asked


def test_durations_become_seconds() -> None:
    policy = spec(
        profile(deadlines={"startup": "75m", "stall": "20m", "stop_grace": "180s"}, restart={"first_delay": "10s"})
    ).policy

    assert (policy.startup_s, policy.stall_s, policy.stop_grace_s, policy.first_delay_s) == (4500, 1200, 180, 10)


@pytest.mark.parametrize(("failures", "unready", "dead"), [(1, 1, 1), (2, 2, 2), (9, 2, 9)])
def test_a_server_is_unready_before_it_is_dead(failures: int, unready: int, dead: int) -> None:
    policy = spec(profile(probes={"liveness": {"failures": failures}})).policy

    assert (policy.unready_after, policy.dead_after) == (unready, dead)


def test_a_template_and_its_arguments_come_with_the_image_sorted() -> None:
    made = spec(profile(image={"build": {"template": "mine", "args": {"b": 2, "a": "1"}}}))

    assert (made.own_image.build_template, made.own_image.build_args) == ("mine", (("a", "1"), ("b", "2")))
