"""The lock: every drift by name, nothing else a drift, and a file that reads back as it was written."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.deploy.drift import IDS, Drift, drifts, lost, same_version
from launchpad.deploy.lock import (
    VERSION,
    FilePin,
    ImagePin,
    Lock,
    ModelPin,
    container_pins,
    image_pins,
    lock_text,
    locked_facts,
    read_lock,
    rig_pin,
)
from launchpad.errors import StoreError
from tests.deploy.specs import NOW, SHIPPED, gpu, profile, rig, shipped, spec

if TYPE_CHECKING:
    from collections.abc import Callable

A, B, C = ("a" * 40, "b" * 40, "c" * 40)
IMAGE = ImagePin(
    "lmsysorg/sglang:v0.5.23",
    ("server",),
    "sha256:" + "1" * 64,
    ("lmsysorg/sglang@sha256:" + "d" * 64,),
    ("sha256:" + "2" * 64, "sha256:" + "3" * 64),
    "config",
    "sglang",
    {"sglang": "0.5.23", "torch": "2.11.0"},
    "13.0",
)
MODEL = ModelPin(
    "/models/small",
    "acme/small",
    A,
    A,
    (FilePin("config.json", 10, "c1" * 32), FilePin("tokenizer.json", 20, "c2" * 32)),
    (FilePin("model-00001.safetensors", 1000, "c3" * 32), FilePin("model-00002.safetensors", 1000)),
)


DRAFT = ModelPin(
    "/drafts/small",
    None,
    None,
    C,
    (FilePin("config.json", 1, "d1" * 32), FilePin("tokenizer.json", 2, "d2" * 32)),
    (FilePin("model.safetensors", 500, "d3" * 32),),
)


def lock(of: Any = None, facts: Any = None) -> Lock:
    """The lock of a small spec on four cards."""
    made, seen = of or spec(), facts or rig()
    on, told = rig_pin(made, seen), container_pins(made)
    return Lock(VERSION, "small", "0.1.0", NOW, (IMAGE,), MODEL, on, made.hash, told, DRAFT)


def image(**changes: Any) -> Lock:
    return replace(lock(), images=(replace(IMAGE, **changes),))


def model(**changes: Any) -> Lock:
    return replace(lock(), model=replace(MODEL, **changes))


def draft(**changes: Any) -> Lock:
    return replace(lock(), draft_model=replace(DRAFT, **changes))


def flags(**changes: Any) -> Lock:
    return lock(spec(profile(**changes)))


TELLS = (
    f"image {IMAGE.reference}, what it tells its containers (environment, entrypoint, labels): "
    "locked id 111111111111, found id 999999999999"
)

#: What is there instead -> what is said of it.
DRIFTED: dict[str, tuple[Callable[[], Lock], list[tuple[str, str]]]] = {
    "another layer": (
        lambda: image(id="sha256:9", digests=(), layers=("sha256:" + "2" * 64, "sha256:" + "4" * 64)),
        [("lock.image", f"image {IMAGE.reference}, layer 2 of 2: locked 333333333333, found 444444444444")],
    ),
    "one layer more": (
        lambda: image(id="sha256:9", digests=(), layers=(*IMAGE.layers, "sha256:" + "5" * 64)),
        [("lock.image", f"image {IMAGE.reference}, layer 3 of 2: locked none, found 555555555555")],
    ),
    "another environment in the image": (
        lambda: image(id="sha256:" + "9" * 64, digests=(), config_hash="other"),
        [
            (
                "lock.image",
                TELLS,
            )
        ],
    ),
    "another tag": (
        lambda: image(reference="lmsysorg/sglang:v0.5.24", id=None),
        [("lock.image", "image reference: locked lmsysorg/sglang:v0.5.23, found lmsysorg/sglang:v0.5.24")],
    ),
    "another torch": (
        lambda: image(packages={"sglang": "0.5.23", "torch": "2.11.1"}),
        [("lock.packages", f"torch in {IMAGE.reference}: locked 2.11.0, found 2.11.1")],
    ),
    "another image that lacks a package": (
        lambda: image(id="sha256:" + "5" * 64, packages={"sglang": "0.5.23"}),
        [("lock.packages", f"torch in {IMAGE.reference}: locked 2.11.0, found none")],
    ),
    "another tokenizer": (
        lambda: model(files=(MODEL.files[0], FilePin("tokenizer.json", 20, "dd" * 32))),
        [("lock.model-file", "tokenizer.json: locked sha256 c2c2c2c2c2c2, found sha256 dddddddddddd")],
    ),
    "no tokenizer": (
        lambda: model(files=MODEL.files[:1]),
        [("lock.model-file", "tokenizer.json: locked sha256 c2c2c2c2c2c2, found missing")],
    ),
    "a chat template that nobody locked": (
        lambda: model(files=(*MODEL.files, FilePin("chat_template.jinja", 5, "ee" * 32))),
        [("lock.model-file", "chat_template.jinja: locked no such file, found sha256 eeeeeeeeeeee")],
    ),
    "a shard of another size": (
        lambda: model(weights=(MODEL.weights[0], FilePin("model-00002.safetensors", 999))),
        [("lock.weights", "model-00002.safetensors: locked 1000 bytes, found 999 bytes")],
    ),
    "a shard of other content": (
        lambda: model(weights=(FilePin("model-00001.safetensors", 1000, "ff" * 32), MODEL.weights[1])),
        [("lock.weights", "model-00001.safetensors: locked sha256 c3c3c3c3c3c3, found sha256 ffffffffffff")],
    ),
    "another revision in the profile": (
        lambda: model(revision=B),
        [("lock.revision", f"model revision in the profile: locked {A}, found {B}")],
    ),
    "files of another revision": (
        lambda: model(fetched=B),
        [("lock.revision", f"revision that the model's files were fetched from: locked {A}, found {B}")],
    ),
    "another repository": (
        lambda: model(repo="acme/other"),
        [("lock.revision", "model repository: locked acme/small, found acme/other")],
    ),
    "another draft tokenizer": (
        lambda: draft(files=(FilePin("config.json", 1, "d1" * 32), FilePin("tokenizer.json", 2, "ee" * 32))),
        [("lock.model-file", "draft model's tokenizer.json: locked sha256 d2d2d2d2d2d2, found sha256 eeeeeeeeeeee")],
    ),
    "another draft checkpoint": (
        lambda: draft(weights=(FilePin("model.safetensors", 501, "ff" * 32),)),
        [("lock.weights", "draft model's model.safetensors: locked sha256 d3d3d3d3d3d3, found sha256 ffffffffffff")],
    ),
    "a draft of another commit": (
        lambda: draft(fetched=B),
        [("lock.revision", f"revision that the draft model's files were fetched from: locked {C}, found {B}")],
    ),
    "an older driver": (
        lambda: lock(facts=rig(driver_version="575.57.08")),
        [("lock.driver", "NVIDIA driver: locked 580.167.08, found 575.57.08, older")],
    ),
    "a newer driver": (
        lambda: lock(facts=rig(driver_version="590.44.01")),
        [("lock.driver", "NVIDIA driver: locked 580.167.08, found 590.44.01, newer")],
    ),
    "another value of a flag": (
        lambda: flags(serving={"memory_fraction": 0.8}, engine_args={"watchdog-timeout": 9}),
        [
            ("lock.flags", "flag --mem-fraction-static: locked none, found 0.8"),
            ("lock.flags", "flag --watchdog-timeout: locked none, found 9"),
        ],
    ),
    "another variable": (
        lambda: flags(env={"NCCL_DEBUG": "INFO"}),
        [("lock.flags", "env NCCL_DEBUG: locked none, found INFO")],
    ),
    "another /dev/shm": (
        lambda: flags(container={"shm_size": "16GiB"}),
        [("lock.container", "shm: locked none, found 16.0 GiB")],
    ),
    "another mount": (
        lambda: flags(mounts=[{"source": "/srv", "target": "/lora", "writable": True}]),
        [("lock.container", "mount /lora: locked none, found bind")],
    ),
}


@pytest.mark.parametrize("name", DRIFTED)
def test_a_drift_is_told_by_name(name: str) -> None:
    now, told = DRIFTED[name]
    assert [(drift.id, str(drift)) for drift in drifts(lock(), now())] == told


@pytest.mark.parametrize("name", DRIFTED)
def test_a_drift_says_how_to_put_it_right(name: str) -> None:
    assert all(
        "launchpad lock small" in drift.fix or "--import" in drift.fix for drift in drifts(lock(), DRIFTED[name][0]())
    )


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(lock(), id="the same"),
        pytest.param(lock(spec(facts=rig(gpu(2), gpu(3))), rig(gpu(2), gpu(3))), id="other cards"),
        pytest.param(lock(spec(profile(publish={"port": 8001}))), id="another port"),
        pytest.param(image(id="sha256:9", digests=()), id="the same layers under another store's id"),
        pytest.param(image(id="sha256:9", layers=(), config_hash=None), id="the registry's own digest"),
        pytest.param(image(reference=IMAGE.reference + "@sha256:" + "d" * 64), id="the tag with its digest"),
        pytest.param(image(packages={"sglang": "0.5.23.0", "torch": "2.11.0"}), id="a version spelled otherwise"),
        pytest.param(image(packages={"sglang": "0.5.23"}), id="a package that this launchpad cannot tell"),
        pytest.param(
            image(packages={"sglang": "0.5.23", "torch": "2.11.0", "nccl": "2.27.3"}),
            id="a package that the locking launchpad could not tell",
        ),
        pytest.param(replace(lock(), images=(ImagePin(IMAGE.reference, ("server",)),)), id="an image yet to be pulled"),
        pytest.param(replace(lock(), model=None), id="a model that was not looked at"),
        pytest.param(replace(lock(), model=ModelPin(None, "acme/small")), id="a model that is elsewhere"),
        pytest.param(replace(lock(), draft_model=None), id="a draft model that was not looked at"),
        pytest.param(replace(lock(), rig=None), id="a rig without a driver"),
        pytest.param(model(weights=(FilePin("model-00001.safetensors", 1000), MODEL.weights[1])), id="weights by size"),
    ],
)
def test_what_says_nothing_else_is_no_drift(now: Lock) -> None:
    assert drifts(lock(), now) == ()


MOUNT = {"source": "/etc/launchpad/chat.jinja", "target": "/templates/chat.jinja"}


@pytest.mark.parametrize(
    ("made", "says"),
    [
        pytest.param(
            model(weights=(FilePin("model-00001.safetensors", 1000), MODEL.weights[1])),
            "weights' contents: SHA-256 of 1 file; launchpad lock small --weights",
            id="weights by size",
        ),
        pytest.param(
            draft(weights=(FilePin("model.safetensors", 500),)),
            "draft model's weights' contents: SHA-256 of 1 file; launchpad lock small --weights",
            id="draft weights by size",
        ),
        pytest.param(
            model(path=None, files=(), weights=()),
            "model files: 4 files; launchpad lock small, where they can be read",
            id="a model that is elsewhere",
        ),
        pytest.param(
            model(revision=None, fetched=None),
            f"model commit: {A}; nothing says which one the files are of",
            id="a commit that nobody knows",
        ),
        pytest.param(
            replace(lock(), images=(ImagePin(IMAGE.reference, ("server",)),)),
            f"image {IMAGE.reference}: 111111111111; launchpad pull small --image-only, then launchpad lock small",
            id="an image that is not there",
        ),
        pytest.param(
            image(digests=()),
            f"registry digest of {IMAGE.reference}: dddddddddddd; it was built or loaded here",
            id="an image that no registry has named",
        ),
        pytest.param(
            image(packages={}),
            f"packages in {IMAGE.reference}: 2 versions; none was found in its files",
            id="an image that was not read",
        ),
        pytest.param(
            replace(lock(), rig=replace(rig_pin(spec(), rig()), driver=None)),
            f"NVIDIA driver: {rig().driver_version}; launchpad lock small on the rig that serves",
            id="a recorded rig",
        ),
        pytest.param(
            replace(lock(), rig=None),
            f"NVIDIA driver: {rig().driver_version}; no GPU is used",
            id="a deployment without GPUs",
        ),
    ],
)
def test_what_is_pinned_no_longer_is_told_though_it_is_no_drift(made: Lock, says: str) -> None:
    assert [f"{one.what}: {one.expected}; {one.fix}" for one in lost(lock(), made)] == [says]
    assert drifts(lock(), made) == ()


@pytest.mark.parametrize(
    ("before", "made"),
    [
        pytest.param(lock(), lock(), id="the same"),
        pytest.param(Lock(VERSION, "small", "0.1.0", NOW), lock(), id="more than before"),
        pytest.param(
            lock(), model(weights=(FilePin("model-00001.safetensors", 1000, "ee" * 32),)), id="other contents"
        ),
    ],
)
def test_what_is_pinned_as_before_or_otherwise_is_not_lost(before: Lock, made: Lock) -> None:
    assert lost(before, made) == ()


def test_a_mount_from_elsewhere_is_a_drift() -> None:
    now = flags(mounts=[MOUNT | {"source": "/home/somebody/chat.jinja"}])
    assert [(drift.id, str(drift)) for drift in drifts(flags(mounts=[MOUNT]), now)] == [
        (
            "lock.container",
            "source of mount /templates/chat.jinja: locked /etc/launchpad/chat.jinja, found /home/somebody/chat.jinja",
        )
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"model": {"path": "/a/small"}}, {"model": {"path": "/b/small"}}, id="a model"),
        pytest.param(
            {"speculative": {"method": "eagle3", "draft_tokens": 3, "draft_model": "/a/draft"}},
            {"speculative": {"method": "eagle3", "draft_tokens": 3, "draft_model": "/b/draft"}},
            id="a draft model",
        ),
    ],
)
def test_what_is_pinned_by_its_files_may_be_anywhere(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert drifts(flags(**one), flags(**other)) == ()


def test_a_lock_of_before_the_sources_of_mounts_were_pinned_is_read_and_holds() -> None:
    said = json.loads(lock_text(flags(mounts=[MOUNT])))
    for container in said["containers"]:
        del container["sources"]

    assert drifts(read_lock(json.dumps(said).encode(), "small.lock"), flags(mounts=[MOUNT])) == ()


def test_a_file_that_nobody_locked_is_to_be_removed_and_not_pulled() -> None:
    (drift,) = drifts(lock(), model(files=(*MODEL.files, FilePin("a b.py", 5, "ee" * 32))))
    assert drift.fix == "rm '/models/small/a b.py', or lock what is there: launchpad lock small"


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(lambda: model(files=MODEL.files[1:]), id="a file that is missing"),
        pytest.param(lambda: model(fetched=B), id="files of another commit"),
    ],
)
def test_where_nobody_says_where_a_model_comes_from_no_pull_puts_it_right(now: Callable[[], Lock]) -> None:
    (drift,) = drifts(lock(), now(), pulls=False)
    assert "launchpad pull" not in drift.fix
    assert drift.fix.startswith("put the ")
    assert drift.fix.endswith("lock what is there: launchpad lock small")


def test_an_image_that_is_not_there_is_a_drift_where_everything_is_asked_for() -> None:
    now = replace(lock(), images=(ImagePin(IMAGE.reference, ("server",)),))
    assert [str(drift) for drift in drifts(lock(), now, whole=True)] == [
        f"image {IMAGE.reference}: locked 111111111111, found not on this Docker Engine"
    ]


def test_a_moved_tag_says_how_to_stay_with_the_locked_image() -> None:
    (drift,) = drifts(lock(), image(id="sha256:9", digests=("lmsysorg/sglang@sha256:" + "e" * 64,), layers=("x",)))
    assert f'set image.digest = "sha256:{"d" * 64}" in the profile' in drift.fix


def test_a_lock_of_the_model_alone_compares_nothing_else() -> None:
    only = Lock(VERSION, "small", "0.1.0", NOW, model=MODEL)
    assert drifts(only, lock()) == ()
    assert [drift.id for drift in drifts(only, model(fetched=B))] == ["lock.revision"]


def test_every_id_that_a_drift_can_have_is_listed() -> None:
    assert {drift.id for now, _ in DRIFTED.values() for drift in drifts(lock(), now())} == IDS.keys() - {
        "lock.unreadable"
    }


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1.3.0rc15post1", "1.3.0rc15.post1", True),
        ("1.3.0rc15", "1.3.0rc15.post1", False),
        ("0.5.23", "0.5.23.0", True),
        ("2.11.0+cu130", "2.11.0", False),
        ("unknown", "unknown", True),
        ("unknown", "1.0", False),
    ],
)
def test_versions_are_compared_as_pip_does(one: str, other: str, same: bool) -> None:
    assert same_version(one, other) is same


def test_tensorrt_llms_own_two_spellings_are_no_drift() -> None:
    before = image(packages={"tensorrt-llm": "1.3.0rc15post1"})
    assert drifts(before, image(packages={"tensorrt-llm": "1.3.0rc15.post1"})) == ()


# -- the file ----------------------------------------------------------------------------------------------------------


def test_a_lock_reads_back_as_it_was_written() -> None:
    assert read_lock(lock_text(lock()).encode(), "small.lock") == lock()


def test_a_lock_of_before_draft_models_were_pinned_is_read() -> None:
    said = json.loads(lock_text(lock()))
    del said["draft_model"]

    assert read_lock(json.dumps(said).encode(), "small.lock") == replace(lock(), draft_model=None)


@pytest.mark.parametrize("name", SHIPPED.names())
def test_every_container_of_a_deployment_is_made_from_the_one_image_that_pull_fetches(name: str) -> None:
    found = SHIPPED.load(name).profile
    roles = [pin.roles for pin in image_pins(shipped(name))]

    assert roles == ([tuple(item.role for item in shipped(name).containers)] if found.engine != "hosted" else [])


def test_equal_locks_give_equal_text_whatever_the_order_of_their_tables() -> None:
    one, other = (
        container_pins(spec(profile(env={"A": "1", "B": "2"}))),
        container_pins(spec(profile(env={"B": "2", "A": "1"}))),
    )
    assert lock_text(replace(lock(), containers=one)) == lock_text(replace(lock(), containers=other))


def test_a_lock_holds_no_secret() -> None:
    made = spec(profile(secrets={"HF_TOKEN": {"from_env": "MY_TOKEN"}}))
    assert "TOKEN" not in lock_text(lock(made))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "it is damaged"),
        (b"[]", "it is damaged"),
        (b'{"version": 1}', "it is damaged"),
        (b'{"version": 1, "name": 3}', "it is damaged"),
        (b'{"version": 2}', "its format is 2, this launchpad knows 1"),
    ],
)
def test_a_file_that_is_no_lock_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(StoreError, match=f"cannot read lock /x/small.lock: {says}"):
        read_lock(data, "/x/small.lock")


def test_flags_are_resolved_without_a_gpu_as_they_were_with_them() -> None:
    asked = profile(gpus={"count": None, "uuids": ["GPU-1", "GPU-3"]})
    before = spec(asked)
    again = spec(asked, locked_facts(lock(before), asked))
    assert container_pins(again) == container_pins(before)


def test_an_image_is_pinned_by_what_the_profile_calls_it() -> None:
    pinned = spec(profile(image={"digest": "sha256:" + "d" * 64}))
    assert image_pins(pinned) == (ImagePin("lmsysorg/sglang:v0.5.23", ("server",)),)


def test_a_drift_reads_as_one_line() -> None:
    assert str(Drift("lock.flags", "flag --tp-size", "4", "2", "fix")) == "flag --tp-size: locked 4, found 2"
