"""``lock`` and its export, where no Docker Engine is needed: where the file goes, what it cannot pin, disks that are full."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.cli import carry, pins
from launchpad.cli.lock import make, summary
from launchpad.cli.meter import progress_text
from launchpad.cli.verify import _unseen, compare
from launchpad.cli.world import World
from launchpad.deploy.drift import IDS
from launchpad.deploy.lock import OF_DRAFT, Lock
from launchpad.engines.base import HUB_VOLUME
from launchpad.errors import ImageError, StoreError
from launchpad.profiles.writer import profile_text
from launchpad.rig.facts import RigFacts
from launchpad.runtime.base import Image
from tests.deploy.specs import table
from tests.fakes.runtime import FakeRuntime, fake_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Launchpad

RIG = "4x-rtx-pro-6000"
IMAGE = "acme/server:1"


@pytest.fixture
def profile(tmp_path: Path, state: Path) -> Path:
    """A person's own profile."""
    path = tmp_path / "profiles" / "small.toml"
    path.parent.mkdir()
    path.write_text(profile_text(table(image={"reference": IMAGE})))
    return path


class OneRig(World):
    """A world with a fake Docker Engine, and no GPU."""

    def __init__(self, runtime: FakeRuntime) -> None:
        super().__init__()
        self.runtime = runtime

    def facts(self, rig: str | None) -> RigFacts:
        return super().facts(rig) if rig is not None else RigFacts(())


def locked(world: World, profile: Path) -> Path:
    loaded = world.profiles.load(str(profile))
    path = pins.home(world, loaded)
    pins.write(make(world, loaded, rig=RIG, weights=False, progress=lambda _: None), path)
    return path


def test_a_lock_stands_beside_its_profile(launchpad: Launchpad, profile: Path) -> None:
    ended = launchpad("lock", str(profile), "--rig", RIG)

    assert (ended.code, ended.err.partition(":")[0]) == (0, "locked on paper")
    assert profile.with_suffix(".lock").is_file()


def test_the_lock_of_a_shipped_profile_goes_to_the_persons_own(launchpad: Launchpad, tmp_path: Path) -> None:
    ended = launchpad("lock", "v4-flash-sglang-tp4", "--rig", RIG, "--json")

    assert ended.json["path"] == str(tmp_path / "home/.config/launchpad/profiles/v4-flash-sglang-tp4.lock")


def test_a_recorded_rigs_driver_is_nothing_to_hold_a_real_rig_to(launchpad: Launchpad, profile: Path) -> None:
    ended = launchpad("lock", str(profile), "--rig", RIG, "--json")

    assert {key: ended.json["lock"]["rig"][key] for key in ("driver", "cuda", "recorded")} == {
        "driver": None,
        "cuda": None,
        "recorded": RIG,
    }
    assert any(line.startswith(f"the driver: {RIG} is a recorded rig") for line in ended.json["unpinned"])


def test_a_lock_does_not_hold_the_weights_that_a_nim_fetches_and_says_so(launchpad: Launchpad) -> None:
    said = launchpad("lock", "v4-flash-nim", "--rig", "4x-gb300", "--json").json["unpinned"]

    assert "the weights: the first start of the NIM fetches them, and which ones its image decides" in said


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("demo-dynamo-mocker", "model      comes with the image, or is fetched by it"),
        ("v4-flash-dynamo-trtllm-gb300", "model      deepseek-ai/DeepSeek-V4-Flash"),
    ],
)
def test_a_lock_says_of_every_model_where_it_is(launchpad: Launchpad, name: str, line: str) -> None:
    assert line in launchpad("lock", name, "--rig", "4x-gb300").out.splitlines()


def test_a_lock_of_a_model_alone_has_no_spec_to_tell() -> None:
    (*_, flags) = summary(Lock(1, "small", "0", datetime(2026, 11, 23, tzinfo=UTC)))

    assert flags == "flags      0 words and variables"


def test_a_directory_is_no_place_for_a_lock_and_is_told_before_anything_is_hashed(
    launchpad: Launchpad, profile: Path, tmp_path: Path
) -> None:
    ended = launchpad("lock", str(profile), "--rig", RIG, "--output", str(tmp_path))

    assert (ended.code, ended.err.splitlines()) == (
        1,
        [
            f"error: cannot write lock {tmp_path}: it is a directory",
            f"hint: launchpad lock small --output {tmp_path / 'small.lock'}",
        ],
    )


def test_a_lock_that_cannot_be_written_is_not_a_matter_of_the_state_directory(
    launchpad: Launchpad, profile: Path
) -> None:
    hint = launchpad("lock", str(profile), "--rig", RIG, "--output", "/proc/small.lock").err.splitlines()[-1]

    assert hint == "hint: ls -ld /proc; df -h /proc"


def test_a_file_that_is_no_lock_is_not_to_be_locked_over(launchpad: Launchpad, profile: Path, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("root:x:0:0")
    ended = launchpad("verify", str(profile), "--lock", str(tmp_path / "passwd"))

    assert ended.err.splitlines() == [
        f"error: cannot read lock {tmp_path / 'passwd'}: it is damaged, or no lock",
        "hint: name a file that launchpad lock wrote: NAME.lock, or what --output named",
    ]


def made_a_directory(path: Path) -> str:
    path.mkdir()
    return "it is a directory"


def made_a_dangling_link(path: Path) -> str:
    path.symlink_to("nowhere.lock")
    return "it is a link to nowhere.lock, which is not there"


def made_a_pipe(path: Path) -> str:
    os.mkfifo(path)
    return "it is no regular file"


@pytest.mark.parametrize("make_it", [made_a_directory, made_a_dangling_link, made_a_pipe])
def test_what_has_a_locks_name_and_is_no_file_is_not_taken_for_no_lock(
    launchpad: Launchpad, profile: Path, make_it: Callable[[Path], str]
) -> None:
    path = profile.with_suffix(".lock")
    says = f"cannot read lock {path}: {make_it(path)}"
    planned = launchpad("plan", str(profile), "--rig", RIG, "--json").json["findings"]

    assert [one["message"] for one in planned if one["id"] == "lock.unreadable"] == [says]
    assert f"error: {says}" in launchpad("verify", str(profile)).err


def test_a_lock_that_was_made_for_another_profile_is_compared_with_the_one_named(
    launchpad: Launchpad, profile: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.lock"
    launchpad("lock", str(profile), "--rig", RIG, "--output", str(other))
    other.write_text(other.read_text().replace('"name": "small"', '"name": "other"', 1))
    ended = launchpad("verify", str(profile), "--lock", str(other), "--rig", RIG)

    assert f"{other} was made as the lock of other; it is compared with small" in ended.err


def test_a_lock_says_what_it_cannot_pin(launchpad: Launchpad, profile: Path) -> None:
    said = launchpad("lock", str(profile), "--rig", RIG, "--json").json["unpinned"]

    assert [line.partition(":")[0] for line in said] == ["image acme/server", "the driver", "the model's files"]


def test_a_lock_may_be_written_elsewhere(launchpad: Launchpad, profile: Path, tmp_path: Path) -> None:
    launchpad("lock", str(profile), "--rig", RIG, "--output", str(tmp_path / "other.json"))

    assert json.loads((tmp_path / "other.json").read_text())["name"] == "small"
    assert not profile.with_suffix(".lock").exists()


@pytest.mark.parametrize("words", [("pull",), ("lock",), ("verify",), ("lock", "--export", "/nowhere")])
def test_of_what_somebody_else_runs_there_is_nothing_to_pin(launchpad: Launchpad, words: tuple[str, ...]) -> None:
    ended = launchpad(*words, "v4-flash-deepseek-api")

    assert (ended.code, "somebody else runs it, and nothing of it is on this rig" in ended.err) == (1, True)


def test_a_plan_on_paper_keeps_to_the_lock(launchpad: Launchpad, profile: Path) -> None:
    launchpad("lock", str(profile), "--rig", RIG)
    profile.write_text(profile_text(table(image={"reference": IMAGE}, engine_args={"watchdog-timeout": 7})))
    ended = launchpad("plan", str(profile), "--rig", RIG, "--json")

    assert ended.code == 4
    assert [item["id"] for item in ended.json["findings"] if item["severity"] == "blocks"] == [
        "container.shm",  # as without a lock
        "lock.flags",
    ]


def test_what_a_commit_named_in_an_earlier_lock_goes_on(launchpad: Launchpad, profile: Path) -> None:
    launchpad("lock", str(profile), "--rig", RIG)
    path = profile.with_suffix(".lock")
    lock = pins.read(path)
    assert lock.model is not None
    pins.write(replace(lock, model=replace(lock.model, revision="a" * 40)), path)
    launchpad("lock", str(profile), "--rig", RIG)

    again = pins.read(path).model
    assert again is not None
    assert again.revision == "a" * 40


@pytest.mark.parametrize(
    "words",
    [
        ("lock",),
        ("lock", "x", "--import", "/nowhere"),
        ("lock", "--import", "/nowhere", "--weights"),
        ("lock", "v4-flash-sglang-tp4", "--rig", RIG, "--replace"),
        ("lock", "v4-flash-sglang-tp4", "--export", "/nowhere", "--weights"),
        ("pull", "x", "--image-only", "--model-only"),
    ],
)
def test_options_that_contradict_are_a_usage_error(launchpad: Launchpad, words: tuple[str, ...]) -> None:
    assert launchpad(*words).code == 2


@pytest.mark.parametrize("name", IDS)
def test_doctor_explains_every_drift(launchpad: Launchpad, name: str) -> None:
    ended = launchpad("doctor", "--explain", name)

    assert ended.code == 0
    assert ended.out.startswith(f"{name}  (drift from a lock)")


# -- more than one checkpoint, and one in the hub's volume ------------------------------------------------------------


def checkpoint(folder: Path, *, tokenizer: str = "{}") -> Path:
    """A small model directory."""
    folder.mkdir(parents=True, exist_ok=True)
    header = b'{"w":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}'
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    (folder / "tokenizer.json").write_text(tokenizer)
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(9))
    return folder


@pytest.fixture
def pair(tmp_path: Path, state: Path) -> Path:
    """A profile whose model is drafted for by another, both of them there."""
    model, draft = checkpoint(tmp_path / "models" / "small"), checkpoint(tmp_path / "drafts" / "tiny")
    path = tmp_path / "profiles" / "small.toml"
    path.parent.mkdir()
    speculates = {"method": "eagle3", "draft_tokens": 3, "draft_model": str(draft)}
    made = table(image={"reference": IMAGE}, model={"path": str(model)}, speculative=speculates)
    path.write_text(profile_text(made))
    return path


def drifted(world: World, profile: Path, *, weights: bool = False) -> list[str]:
    """What a verification says, as ``id: what``."""
    loaded = world.profiles.load(str(profile))
    pinned = pins.known(world, loaded)
    found = compare(world, loaded, pinned, RIG, weights=weights, progress=lambda _: None)[1]
    return [f"{drift.id}: {drift.what}" for drift in found]


@pytest.mark.parametrize("gone", ["config.json", "."])
def test_no_hint_pulls_a_model_of_which_nobody_knows_where_it_comes_from(pair: Path, tmp_path: Path, gone: str) -> None:
    world = OneRig(fake())
    locked(world, pair)
    model = tmp_path / "models" / "small"
    model.joinpath(gone).resolve().rename(tmp_path / "elsewhere")
    loaded = world.profiles.load(str(pair))
    found = compare(world, loaded, pins.known(world, loaded), RIG, weights=False, progress=lambda _: None)[1]

    assert [drift.fix.partition(" back")[0] for drift in found] in (["put the locked file"], ["put it"])
    assert "launchpad pull" not in found[0].fix


def test_a_draft_model_is_locked_with_its_weights(pair: Path, tmp_path: Path) -> None:
    world = OneRig(fake())
    made = make(world, world.profiles.load(str(pair)), rig=RIG, weights=True, progress=lambda _: None)

    assert made.draft_model is not None
    assert {file.name: file.sha256 for file in (*made.draft_model.files, *made.draft_model.weights)} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "drafts" / "tiny").iterdir()
    }


def test_a_draft_model_that_is_not_there_to_be_locked_is_said(launchpad: Launchpad, pair: Path, tmp_path: Path) -> None:
    (tmp_path / "drafts" / "tiny").rename(tmp_path / "elsewhere")
    said = launchpad("lock", str(pair), "--rig", RIG, "--json").json["unpinned"]

    assert f"the draft model's files: {tmp_path / 'drafts' / 'tiny'} was not looked at" in said


@pytest.mark.parametrize("of", ["models/small", "drafts/tiny"])
def test_a_model_with_a_name_that_leads_nowhere_is_not_locked_without_it(
    launchpad: Launchpad, pair: Path, tmp_path: Path, of: str
) -> None:
    config = tmp_path / of / "config.json"
    config.unlink()
    config.symlink_to("/nonexist")
    ended = launchpad("lock", str(pair), "--rig", RIG)

    says = f"cannot lock small: config.json in {config.parent} is a link to /nonexist, which is not there"
    assert (ended.code, says in ended.err, pair.with_suffix(".lock").exists()) == (1, True, False)
    assert f"hint: put back what belongs there, or: rm {config}" in ended.err


def test_a_folder_that_a_model_links_to_is_said_not_to_be_pinned(
    launchpad: Launchpad, pair: Path, tmp_path: Path
) -> None:
    link = tmp_path / "models" / "small" / "code"
    link.symlink_to(tmp_path / "drafts")
    said = launchpad("lock", str(pair), "--rig", RIG, "--json").json["unpinned"]

    assert f"{link}: it is a link to a folder, which is not followed" in said


def test_hashes_of_weights_that_nobody_vouches_for_are_said_to_be_pinned_no_longer(
    launchpad: Launchpad, pair: Path, state: Path
) -> None:
    launchpad("lock", str(pair), "--rig", RIG, "--weights")
    shutil.rmtree(state / pins.DIGESTS)  # as from another state directory

    again = "SHA-256 of 1 file -> not pinned; launchpad lock small --weights"
    assert launchpad("lock", str(pair), "--rig", RIG, "--json").json["changed"] == [
        f"weights' contents: {again}",
        f"{OF_DRAFT}weights' contents: {again}",
    ]


def test_hashes_of_weights_that_are_remembered_stay_in_the_lock(launchpad: Launchpad, pair: Path) -> None:
    first = launchpad("lock", str(pair), "--rig", RIG, "--weights", "--json").json["lock"]
    second = launchpad("lock", str(pair), "--rig", RIG, "--json").json

    assert (second["lock"]["model"], second["changed"]) == (first["model"], [])


def test_another_tokenizer_of_the_draft_model_is_named(pair: Path, tmp_path: Path) -> None:
    world = OneRig(fake())
    locked(world, pair)
    checkpoint(tmp_path / "drafts" / "tiny", tokenizer='{"added": 1}')

    assert drifted(world, pair) == ["lock.model-file: draft model's tokenizer.json"]


def test_other_draft_weights_of_the_same_size_are_named_where_they_are_read(pair: Path, tmp_path: Path) -> None:
    world = OneRig(fake())
    loaded = world.profiles.load(str(pair))
    pins.write(make(world, loaded, rig=RIG, weights=True, progress=lambda _: None), pins.home(world, loaded))
    shard = tmp_path / "drafts" / "tiny" / "model.safetensors"
    before = shard.stat()
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert drifted(world, pair) == []
    assert drifted(world, pair, weights=True) == ["lock.weights: draft model's model.safetensors"]


def shut(world: World, profile: Path, *, weights: bool) -> None:
    """Lock as the command does, and remember what the weights look like."""
    loaded = world.profiles.load(str(profile))
    made = make(world, loaded, rig=RIG, weights=weights, progress=lambda _: None)
    pins.write(made, pins.home(world, loaded))
    pins.remember(world, made.model, made.draft_model)


def written_to(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-4] + b"evil")
    os.utime(shard, ns=(1, 1))


@pytest.mark.parametrize("weights", [True, False])
def test_weights_that_were_written_to_are_named_without_being_read_as_up_does(
    pair: Path, tmp_path: Path, weights: bool
) -> None:
    world = OneRig(fake())
    shut(world, pair, weights=weights)
    written_to(tmp_path / "models" / "small" / "model.safetensors")

    assert drifted(world, pair) == ["lock.weights: model.safetensors"]


def test_weights_of_other_content_are_named_once(pair: Path, tmp_path: Path) -> None:
    world = OneRig(fake())
    shut(world, pair, weights=True)
    written_to(tmp_path / "models" / "small" / "model.safetensors")

    assert drifted(world, pair, weights=True) == ["lock.weights: model.safetensors"]


@pytest.mark.parametrize("of", ["models/small", "drafts/tiny"])
def test_weights_that_were_once_read_and_found_damaged_stay_a_drift_as_for_up(
    pair: Path, tmp_path: Path, of: str
) -> None:
    world = OneRig(fake())
    shut(world, pair, weights=True)
    written_to(tmp_path / of / "model.safetensors")
    read = drifted(world, pair, weights=True)

    assert read == [f"lock.weights: {'' if of == 'models/small' else OF_DRAFT}model.safetensors"]
    assert drifted(world, pair) == read


def test_weights_that_were_damaged_and_put_back_hold_once_they_are_read(pair: Path, tmp_path: Path) -> None:
    world = OneRig(fake())
    shut(world, pair, weights=True)
    shard = tmp_path / "models" / "small" / "model.safetensors"
    whole = shard.read_bytes()
    written_to(shard)
    drifted(world, pair, weights=True)
    shard.write_bytes(whole)

    assert drifted(world, pair) == ["lock.weights: model.safetensors"]
    assert drifted(world, pair, weights=True) == []
    assert drifted(world, pair) == []


def test_reading_weights_of_which_only_the_size_is_locked_proves_nothing(pair: Path, tmp_path: Path) -> None:
    world = OneRig(fake())
    shut(world, pair, weights=False)
    written_to(tmp_path / "models" / "small" / "model.safetensors")

    assert drifted(world, pair, weights=True) == ["lock.weights: model.safetensors"]
    assert drifted(world, pair) == ["lock.weights: model.safetensors"]


def test_a_draft_model_of_which_only_the_size_is_locked_is_not_proved_by_a_namesake(pair: Path, tmp_path: Path) -> None:
    world = OneRig(fake())
    loaded = world.profiles.load(str(pair))
    pins.model(world, loaded, None, pins.Depth(weights=True), lambda _: None)  # as `pull` does
    shut(world, pair, weights=False)
    written_to(tmp_path / "drafts" / "tiny" / "model.safetensors")

    assert drifted(world, pair, weights=True) == [f"lock.weights: {OF_DRAFT}model.safetensors"]
    assert drifted(world, pair) == [f"lock.weights: {OF_DRAFT}model.safetensors"]


def unseen(world: World, profile: Path, *, weights: bool) -> list[str]:
    loaded = world.profiles.load(str(profile))
    pinned = pins.known(world, loaded)
    return list(_unseen(pinned, compare(world, loaded, pinned, RIG, weights=weights, progress=lambda _: None)[0]))


@pytest.mark.parametrize("weights", [True, False])
def test_a_hash_that_is_remembered_was_not_compared_and_that_is_said(pair: Path, weights: bool) -> None:
    world = OneRig(fake())
    shut(world, pair, weights=True)
    told = ["weights' contents: not read, sizes alone were looked at; launchpad verify small --weights"]

    assert unseen(world, pair, weights=weights) == ([] if weights else told)


def test_a_lock_that_does_not_say_where_a_mount_comes_from_is_said(profile: Path) -> None:
    world = OneRig(fake())
    mounts = [{"source": "/etc/hostname", "target": "/templates/chat.jinja"}]
    profile.write_text(profile_text(table(image={"reference": IMAGE}, mounts=mounts)))
    path = locked(world, profile)
    lock = pins.read(path)
    pins.write(replace(lock, containers=tuple(replace(item, sources={}) for item in lock.containers)), path)
    pinned = pins.read(path)
    says = "source of mount /templates/chat.jinja: the lock does not pin it; launchpad lock small"

    assert says in _unseen(pinned, lock)
    assert says not in _unseen(lock, lock)


def test_a_draft_model_that_is_gone_is_named_and_the_rest_is_still_compared(pair: Path, tmp_path: Path) -> None:
    world = OneRig(fake())
    locked(world, pair)
    (tmp_path / "drafts" / "tiny").rename(tmp_path / "elsewhere")
    checkpoint(tmp_path / "models" / "small", tokenizer='{"added": 1}')

    assert drifted(world, pair) == [
        f"lock.model-file: draft model {tmp_path / 'drafts' / 'tiny'}",
        "lock.model-file: tokenizer.json",
    ]


def test_a_draft_model_travels_beside_the_export_as_the_model_does(pair: Path, tmp_path: Path, capsys: Any) -> None:
    world = OneRig(fake())
    locked(world, pair)
    carry.put_out(world, world.profiles.load(str(pair)), tmp_path / "usb", as_json=False)

    assert f"the draft model is not in it: copy {tmp_path / 'drafts' / 'tiny'}" in capsys.readouterr().err


def test_a_model_in_the_hubs_volume_is_locked_file_by_file(tmp_path: Path, state: Path) -> None:
    runtime = fake()
    runtime.create_volume(HUB_VOLUME, {})
    runtime.volume_paths[HUB_VOLUME] = tmp_path / "volume"
    kept = tmp_path / "volume" / "hub" / "models--acme--small"
    checkpoint(kept / "snapshots" / ("a" * 40))
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("a" * 40)
    path = tmp_path / "small.toml"
    path.write_text(profile_text(table(image={"reference": IMAGE}, model={"path": None, "repo": "acme/small"})))
    world = OneRig(runtime)
    locked(world, path)
    checkpoint(kept / "snapshots" / ("a" * 40), tokenizer='{"added": 1}')

    assert drifted(world, path) == ["lock.model-file: tokenizer.json"]


# -- the export --------------------------------------------------------------------------------------------------------


def fake(**changes: Any) -> FakeRuntime:
    return FakeRuntime(images=[replace(fake_image(IMAGE), **changes)])


def test_an_export_and_its_import_are_each_others_inverse(profile: Path, tmp_path: Path, capsys: Any) -> None:
    here, there = OneRig(fake()), OneRig(FakeRuntime())
    locked(here, profile)
    carry.put_out(here, here.profiles.load(str(profile)), tmp_path / "usb", as_json=True)
    carry.take_in(there, tmp_path / "usb", replace_=False, as_json=True)

    arrived = there.runtime.image(IMAGE)
    assert isinstance(arrived, Image)
    assert arrived.id == fake_image(IMAGE).id
    assert there.profiles.load("small").profile.own_image.pull == "never"
    assert (tmp_path / "home/.config/launchpad/profiles/small.lock").read_text() == profile.with_suffix(
        ".lock"
    ).read_text()


def test_an_export_needs_room_for_its_images(profile: Path, tmp_path: Path) -> None:
    world = OneRig(fake(size_bytes=2**60))
    locked(world, profile)
    with pytest.raises(
        StoreError, match=r"cannot export small into .*: 1048576\.0 TiB are to be written and .* are free"
    ):
        carry.put_out(world, world.profiles.load(str(profile)), tmp_path / "usb", as_json=True)


def test_a_disk_that_fills_up_leaves_no_half_archive(profile: Path, tmp_path: Path) -> None:
    world = OneRig(fake())
    locked(world, profile)
    (tmp_path / "usb").mkdir()
    tar = f"image-{fake_image(IMAGE).id.removeprefix('sha256:')[:12]}.tar"
    (tmp_path / "usb" / f"{tar}.part").symlink_to("/dev/full")
    with pytest.raises(StoreError, match=r"cannot write .*\.tar: No space left on device"):
        carry.put_out(world, world.profiles.load(str(profile)), tmp_path / "usb", as_json=True)

    assert list((tmp_path / "usb").iterdir()) == []


def test_an_image_that_the_lock_does_not_pin_is_not_exported(profile: Path, tmp_path: Path) -> None:
    world = OneRig(FakeRuntime())
    locked(world, profile)
    with pytest.raises(ImageError, match="its lock does not pin image acme/server:1"):
        carry.put_out(world, world.profiles.load(str(profile)), tmp_path / "usb", as_json=True)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ({"format": 2}, "its format is 2"),
        ({"files": 3}, "manifest.json is damaged"),
        ({"files": []}, "names no profile or no lock"),
        ({"name": "other"}, "names no profile or no lock"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    profile: Path, tmp_path: Path, capsys: Any, harm: dict[str, Any], says: str
) -> None:
    here = OneRig(fake())
    locked(here, profile)
    carry.put_out(here, here.profiles.load(str(profile)), tmp_path / "usb", as_json=True)
    manifest = tmp_path / "usb" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | harm))
    with pytest.raises(StoreError, match=says):
        carry.take_in(OneRig(FakeRuntime()), tmp_path / "usb", replace_=False, as_json=True)


def test_an_import_of_a_file_says_that_it_wants_the_directory(tmp_path: Path, state: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(StoreError, match=r"manifest\.json: it is no directory") as raised:
        carry.take_in(OneRig(FakeRuntime()), tmp_path / "manifest.json", replace_=False, as_json=True)

    assert raised.value.hint == f"name the directory: launchpad lock --import {tmp_path}"


def test_a_manifest_that_names_a_file_outside_is_refused(profile: Path, tmp_path: Path, capsys: Any) -> None:
    here = OneRig(fake())
    locked(here, profile)
    carry.put_out(here, here.profiles.load(str(profile)), tmp_path / "usb", as_json=True)
    manifest = tmp_path / "usb" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"file": "image-', '"file": "../image-'))
    with pytest.raises(StoreError, match=r"names a file outside it \('\.\./image-"):
        carry.take_in(OneRig(FakeRuntime()), tmp_path / "usb", replace_=False, as_json=True)


# -- progress ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ((0, 100 * 2**30, 0, 0.0), "hashing  0 B of 100.0 GiB  x"),
        ((50 * 2**30, 100 * 2**30, 10 * 2**30, 10.0), "hashing  50.0 GiB of 100.0 GiB, 1.0 GiB/s, 50s left  x"),
        ((5, None, 5, 1.0), "hashing  5 B, 5 B/s  x"),
        ((100, 100, 50, 1.0), "hashing  100 B of 100 B, 50 B/s  x"),
    ],
)
def test_progress_tells_bytes_rate_and_what_is_left(told: tuple[int, int | None, int, float], text: str) -> None:
    assert progress_text("hashing", *told, what="x") == text
