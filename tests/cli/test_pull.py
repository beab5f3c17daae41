"""``pull`` against a stand-in of the model hub: pinned or refused, checked, written into the lock, and silent about tokens."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.cli import pins
from launchpad.cli.lock import make
from launchpad.cli.pull import _alone, _Ask, _pull_image, _pull_model
from launchpad.cli.world import World
from launchpad.deploy.lock import VERSION, Lock, ModelPin
from launchpad.engines.base import HUB_VOLUME
from launchpad.errors import BlockedError, LaunchpadError, StoreError
from launchpad.profiles.writer import profile_text
from tests.deploy.specs import table
from tests.fakes.runtime import FakeRuntime, fake_image
from tests.support.hub import COMMIT, REPO, StandInHub, stand_in_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Launchpad

SHARD = "model-00001-of-00001.safetensors"
TOKEN = "hf_the_persons_own_token"


@pytest.fixture
def hub(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    files = {"config.json": b'{"model_type": "small"}', "tokenizer.json": b"{}", SHARD: os.urandom(100_000)}
    with stand_in_hub(files) as made:
        monkeypatch.setenv("HF_ENDPOINT", made.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the model belongs."""
    return tmp_path / "models" / "small"


@pytest.fixture
def profile(tmp_path: Path, folder: Path, state: Path) -> Path:
    """A profile whose model comes from the hub's main branch."""
    return write(tmp_path, model={"path": str(folder), "source": {"repo": REPO}})


def write(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(profile_text(table(**changes)))
    return path


def locked(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "small.lock").read_text())
    return found


def pull(launchpad: Launchpad, profile: Path, *words: str) -> Any:
    return launchpad("pull", str(profile), "--model-only", *words)


def test_a_branch_is_refused_before_anything_is_asked(launchpad: Launchpad, hub: StandInHub, profile: Path) -> None:
    ended = pull(launchpad, profile)

    assert ended.code == 1
    assert f"cannot fetch {REPO}: its main branch is no commit" in ended.err
    assert "launchpad pull small --allow-unpinned" in ended.err
    assert hub.asked == []


def test_what_a_branch_means_now_is_fetched_and_its_commit_locked(
    launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path, tmp_path: Path
) -> None:
    ended = pull(launchpad, profile, "--allow-unpinned")

    assert ended.code == 0, ended.err
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == hub.files
    model = locked(tmp_path)["model"]
    assert (model["repo"], model["revision"], model["fetched"]) == (REPO, COMMIT, COMMIT)
    assert {file["name"]: file["sha256"] for file in (*model["files"], *model["weights"])} == {
        name: hashlib.sha256(data).hexdigest() for name, data in hub.files.items()
    }


def test_the_locks_commit_is_a_pin(launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path) -> None:
    pull(launchpad, profile, "--allow-unpinned")
    (folder / "config.json").unlink()
    hub.asked.clear()
    ended = pull(launchpad, profile)

    assert ended.code == 0, ended.err
    assert hub.asked[0].path == f"/api/models/{REPO}/revision/{COMMIT}"
    assert (folder / "config.json").exists()


def test_the_profiles_commit_is_fetched_without_being_asked_twice(
    launchpad: Launchpad, hub: StandInHub, folder: Path, tmp_path: Path
) -> None:
    pinned = write(tmp_path, model={"path": str(folder), "source": {"repo": REPO, "revision": COMMIT}})
    ended = pull(launchpad, pinned, "--json")

    assert ended.code == 0, ended.err
    assert ended.json["model"] == {
        "repo": REPO,
        "commit": COMMIT,
        "path": str(folder),
        "bytes": sum(map(len, hub.files.values())),
        "fetched": sorted(hub.files),
        "kept": [],
        "left_out": [],
        "lock": str(tmp_path / "small.lock"),
    }


def test_a_model_that_nobody_knows_the_origin_of_is_not_fetched(
    launchpad: Launchpad, tmp_path: Path, state: Path
) -> None:
    ended = pull(launchpad, write(tmp_path))

    assert ended.code == 1
    assert "does not say where /models/small comes from" in ended.err
    assert "source = {" in ended.err


def test_a_shipped_profile_names_its_repository(launchpad: Launchpad, hub: StandInHub) -> None:
    assert (
        "cannot fetch deepseek-ai/DeepSeek-V4-Flash: its main branch is no commit"
        in launchpad("pull", "v4-flash-sglang-tp4", "--model-only").err
    )


def test_a_damaged_download_is_named(launchpad: Launchpad, hub: StandInHub, profile: Path) -> None:
    hub.faults.spoil = {SHARD}
    ended = pull(launchpad, profile, "--allow-unpinned")

    assert ended.code == 1
    assert f"cannot trust {SHARD} of {REPO}" in ended.err


def test_a_hub_that_publishes_other_weights_for_the_locked_commit_is_not_believed(
    launchpad: Launchpad, hub: StandInHub, profile: Path
) -> None:
    pull(launchpad, profile, "--allow-unpinned")
    hub.files[SHARD] = os.urandom(100_000)
    ended = pull(launchpad, profile)

    assert ended.code == 4
    assert f"{SHARD}, as the hub publishes it: locked sha256" in ended.err


# -- what is locked already --------------------------------------------------------------------------------------------


@pytest.fixture
def pulled(launchpad: Launchpad, hub: StandInHub, profile: Path, tmp_path: Path) -> str:
    """The text of a lock that a pull has just written."""
    pull(launchpad, profile, "--allow-unpinned")
    return (tmp_path / "small.lock").read_text()


@pytest.mark.parametrize("name", ["modeling_evil.py", "more.safetensors"])
def test_a_file_too_many_is_refused_and_not_locked(
    launchpad: Launchpad, profile: Path, folder: Path, tmp_path: Path, pulled: str, name: str
) -> None:
    (folder / name).write_text("import os")
    ended = pull(launchpad, profile)

    assert ended.code == 4
    assert f"cannot keep to the lock of small: {name}: locked no such file, found " in ended.err
    assert f"hint: rm {folder / name}, or lock what is there: launchpad lock small" in ended.err
    assert (tmp_path / "small.lock").read_text() == pulled


def test_a_file_too_many_that_was_locked_by_name_stays(
    launchpad: Launchpad, profile: Path, folder: Path, pulled: str
) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    launchpad("lock", str(profile), "--rig", "4x-rtx-pro-6000")

    assert pull(launchpad, profile).code == 0
    assert (folder / "chat_template.jinja").exists()


def test_a_first_pull_locks_what_the_hub_has_alone(
    launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path, tmp_path: Path
) -> None:
    folder.mkdir(parents=True)
    (folder / "modeling_evil.py").write_text("import os")
    ended = pull(launchpad, profile, "--allow-unpinned")
    model = locked(tmp_path)["model"]

    assert (ended.code, "modeling_evil.py: locked no such file" in ended.err) == (4, True)
    assert {file["name"] for file in (*model["files"], *model["weights"])} == set(hub.files)


def test_what_is_missing_or_damaged_is_put_back_and_the_lock_is_as_it_was(
    launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path, tmp_path: Path, pulled: str
) -> None:
    (folder / "config.json").unlink()
    (folder / SHARD).write_bytes(os.urandom(100_000))
    ended = pull(launchpad, profile)

    assert ended.code == 0, ended.err
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == hub.files
    assert locked(tmp_path)["model"] == json.loads(pulled)["model"]


def test_a_small_file_that_the_hub_changed_under_the_locked_commit_is_named_and_not_locked(
    launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path, tmp_path: Path, pulled: str
) -> None:
    (folder / "config.json").unlink()
    hub.files["config.json"] = b'{"model_type": "other"}'
    ended = pull(launchpad, profile)

    assert (ended.code, "config.json: locked sha256" in ended.err) == (4, True)
    assert f"put the locked one back ({REPO} has it otherwise)" in ended.err
    assert (tmp_path / "small.lock").read_text() == pulled


def test_a_small_file_that_was_changed_and_locked_is_kept(
    launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path, pulled: str
) -> None:
    (folder / "tokenizer.json").write_text('{"mine": 1}')
    launchpad("lock", str(profile), "--rig", "4x-rtx-pro-6000")
    (folder / SHARD).unlink()
    ended = pull(launchpad, profile)

    assert f"kept       tokenizer.json, as it was locked; {REPO} has another" in ended.out
    assert (folder / SHARD).read_bytes() == hub.files[SHARD]
    assert (folder / "tokenizer.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize("name", ["vocab.json", SHARD])
def test_a_large_file_that_was_changed_and_locked_is_kept(
    launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path, tmp_path: Path, name: str
) -> None:
    hub.files["vocab.json"] = os.urandom(10_000)  # in LFS, though it is no weights
    pull(launchpad, profile, "--allow-unpinned")
    mine = os.urandom(len(hub.files[name]))
    (folder / name).write_bytes(mine)
    launchpad("lock", str(profile), "--rig", "4x-rtx-pro-6000", "--weights")
    (folder / "config.json").unlink()
    before = [locked(tmp_path)["model"][of] for of in ("files", "weights")]
    ended = pull(launchpad, profile)

    assert ended.code == 0, ended.err
    assert f"kept       {name}, as it was locked; {REPO} has another" in ended.out
    assert ((folder / name).read_bytes(), (folder / "config.json").exists()) == (mine, True)
    assert [locked(tmp_path)["model"][of] for of in ("files", "weights")] == before


@pytest.mark.parametrize(
    ("gone", "hint"),
    [
        (False, "has the locked size and is left alone: launchpad verify small --weights proves it"),
        (True, "put the locked one back, or lock what is there: launchpad lock small"),
    ],
)
def test_a_hub_that_publishes_another_small_file_is_not_believed_and_the_hint_helps(
    launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path, gone: bool, hint: str
) -> None:
    hub.files["vocab.json"] = os.urandom(10_000)
    pull(launchpad, profile, "--allow-unpinned")
    hub.files["vocab.json"] = os.urandom(10_000)
    if gone:
        (folder / "vocab.json").unlink()
    ended = pull(launchpad, profile)

    assert (ended.code, "vocab.json, as the hub publishes it: locked sha256" in ended.err) == (4, True)
    assert hint in ended.err


def test_what_was_not_there_when_it_was_locked_is_left_out_and_that_is_said(
    launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path, pulled: str
) -> None:
    hub.files["README.md"] = b"# small"
    ended = pull(launchpad, profile)

    assert (ended.code, (folder / "README.md").exists()) == (0, False)
    assert f"left out   1 that {REPO} has and the lock has not (README.md)" in ended.out
    assert "to take them in: rm " in ended.err


OTHER = "f" * 40


@pytest.mark.parametrize("words", [(), ("--allow-unpinned",)])
def test_another_commit_in_the_profile_is_refused_before_a_byte_is_fetched(
    launchpad: Launchpad, hub: StandInHub, folder: Path, tmp_path: Path, pulled: str, words: tuple[str, ...]
) -> None:
    hub.commit = OTHER
    other = write(tmp_path, model={"path": str(folder), "source": {"repo": REPO, "revision": OTHER}})
    hub.files[SHARD] = os.urandom(100_000)
    before = (folder / SHARD).read_bytes()
    ended = pull(launchpad, other, *words)

    assert ended.code == 4
    assert f"commit of the model: locked {COMMIT}, found {OTHER}" in ended.err
    assert "launchpad lock small, then launchpad pull small --model-only" in ended.err
    assert ((folder / SHARD).read_bytes(), (tmp_path / "small.lock").read_text()) == (before, pulled)


def test_another_commit_is_gone_over_to_by_a_lock_and_a_pull(
    launchpad: Launchpad, hub: StandInHub, folder: Path, tmp_path: Path, pulled: str
) -> None:
    hub.commit = OTHER
    other = write(tmp_path, model={"path": str(folder), "source": {"repo": REPO, "revision": OTHER}})
    hub.files[SHARD] = os.urandom(100_001)
    told = launchpad("lock", str(other), "--rig", "4x-rtx-pro-6000").err
    ended = pull(launchpad, other)
    model = locked(tmp_path)["model"]

    assert ended.code == 0, ended.err
    assert f"the model's files: those here are of commit {COMMIT}; launchpad pull small --model-only" in told
    assert (model["revision"], model["fetched"]) == (OTHER, OTHER)
    assert {file["name"]: file["sha256"] for file in model["weights"]} == {SHARD: hub.sha256(SHARD)}


def test_where_nothing_is_left_to_lock_another_commit_is_gone_over_to_without_the_lock(
    launchpad: Launchpad, hub: StandInHub, folder: Path, tmp_path: Path, pulled: str
) -> None:
    hub.commit = OTHER
    other = write(tmp_path, model={"path": str(folder), "source": {"repo": REPO, "revision": OTHER}})
    shutil.rmtree(folder)

    assert (
        f"go over to it: rm {tmp_path / 'small.lock'}, then launchpad pull small --model-only"
        in pull(launchpad, other).err
    )


def test_another_repository_in_the_profile_is_refused(
    launchpad: Launchpad, folder: Path, tmp_path: Path, pulled: str
) -> None:
    lock = json.loads(pulled)
    lock["model"]["repo"] = "acme/what-was-locked"
    (tmp_path / "small.lock").write_text(json.dumps(lock))
    pinned = write(tmp_path, model={"path": str(folder), "source": {"repo": REPO, "revision": COMMIT}})
    ended = pull(launchpad, pinned)

    assert (ended.code, f"model repository: locked acme/what-was-locked, found {REPO}" in ended.err) == (4, True)


def test_what_a_lock_could_not_say_is_filled_in(
    launchpad: Launchpad, hub: StandInHub, profile: Path, tmp_path: Path, pulled: str
) -> None:
    lock = json.loads(pulled)
    lock["model"] |= {"fetched": None, "weights": [file | {"sha256": None} for file in lock["model"]["weights"]]}
    (tmp_path / "small.lock").write_text(json.dumps(lock))
    ended = pull(launchpad, profile)

    assert ended.code == 0, ended.err
    assert locked(tmp_path)["model"] == json.loads(pulled)["model"]


def test_two_pulls_into_one_folder_do_not_meet(
    launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path
) -> None:
    hub.files[SHARD] = os.urandom(4 * 2**20)
    hub.faults.slow_s = 0.05
    words = (sys.executable, "-m", "launchpad", "pull", str(profile), "--model-only", "--allow-unpinned")
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(folder.rglob(f"{SHARD}*.incomplete")):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = pull(launchpad, profile, "--allow-unpinned")

    assert second.code == 1
    assert f"cannot fetch {REPO} into {folder}: process {first.pid} holds" in second.err
    assert first.wait(60) == 0
    assert (folder / SHARD).read_bytes() == hub.files[SHARD]


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSYS, "names its disk: mount it with file locks"),
        (errno.ENOLCK, "names its disk: mount it with file locks"),
        (errno.ENOSPC, "free some: df -h"),
        (errno.EACCES, "run as the user that owns it"),
    ],
)
def test_a_folder_that_cannot_be_locked_says_what_helps(folder: Path, number: int, hint: str) -> None:
    @contextmanager
    def failing(path: Path, what: str, *, wait_s: float) -> Iterator[None]:
        raise StoreError(f"cannot lock {path}: {what}, {wait_s}") from OSError(number, os.strerror(number))
        yield

    with pytest.raises(LaunchpadError) as raised, _alone(REPO, folder, failing):
        pass

    assert hint in (raised.value.hint or "")


def test_a_folder_of_somebody_else_says_whose_it_is(launchpad: Launchpad, hub: StandInHub, tmp_path: Path) -> None:
    ended = pull(
        launchpad,
        write(tmp_path, model={"path": "/proc/nowhere", "source": {"repo": REPO, "revision": COMMIT}}),
    )

    assert (ended.code, "cannot write /proc/nowhere: " in ended.err) == (1, True)
    assert "hint: ls -ld /proc/nowhere; run as the user that owns it" in ended.err


@pytest.mark.parametrize("status", [401, 403, 404, 429, 503])
def test_no_error_tells_the_token(launchpad: Launchpad, hub: StandInHub, profile: Path, status: int) -> None:
    hub.faults.status = status
    ended = pull(launchpad, profile, "--allow-unpinned")

    assert ended.code == 1
    assert hub.asked[0].token == f"Bearer {TOKEN}"
    assert TOKEN not in ended.out + ended.err


def test_the_profiles_own_secret_opens_the_hub(
    launchpad: Launchpad, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: Path
) -> None:
    (tmp_path / "token").write_text("hf_from_the_file\n")
    made = write(
        tmp_path,
        model={"path": str(folder), "source": {"repo": REPO, "revision": COMMIT}},
        secrets={"HF_TOKEN": {"from_file": str(tmp_path / "token")}},
    )
    with stand_in_hub({"config.json": b"{}"}, private="hf_from_the_file") as private:
        monkeypatch.setenv("HF_ENDPOINT", private.endpoint)
        assert pull(launchpad, made).code == 0


def test_the_engines_own_volume_is_filled_as_the_hubs_cache_is(hub: StandInHub, tmp_path: Path) -> None:
    world, runtime = World(), FakeRuntime()
    runtime.volume_paths[HUB_VOLUME] = tmp_path / "volume"
    (tmp_path / "volume").mkdir()
    world.runtime = runtime
    path = write(tmp_path, model={"path": None, "repo": REPO})
    _pull_model(world, world.profiles.load(str(path)), _Ask(allow_unpinned=True, as_json=True))

    cache = tmp_path / "volume" / "hub" / "models--acme--small-model"
    assert (cache / "refs" / "main").read_text() == COMMIT
    assert (cache / "snapshots" / COMMIT / SHARD).read_bytes() == hub.files[SHARD]


def test_a_pull_that_is_killed_goes_on_where_it_stopped(
    launchpad: Launchpad, hub: StandInHub, profile: Path, folder: Path
) -> None:
    """The command itself, in a process of its own, killed in the middle of a shard; the second run asks for the rest alone."""
    hub.files[SHARD] = os.urandom(128 * 2**20)
    words = (sys.executable, "-m", "launchpad", "pull", str(profile), "--model-only", "--allow-unpinned")
    killed = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (came := sum(path.stat().st_size for path in folder.rglob(f"{SHARD}*.incomplete"))) > 2**20:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    killed.kill()
    killed.wait()
    ended = pull(launchpad, profile, "--allow-unpinned")
    begins = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in hub.ranges(SHARD) if asked is not None]

    assert ended.code == 0, ended.err
    assert came <= begins[-1] < 128 * 2**20
    assert (folder / SHARD).read_bytes() == hub.files[SHARD]


def test_a_commit_of_the_lock_is_found_by_the_name_that_the_engine_asks_for(hub: StandInHub, tmp_path: Path) -> None:
    world, runtime = World(), FakeRuntime()
    runtime.volume_paths[HUB_VOLUME] = tmp_path / "volume"
    (tmp_path / "volume").mkdir()
    world.runtime = runtime
    loaded = world.profiles.load(str(write(tmp_path, model={"path": None, "repo": REPO})))
    pinned = Lock(VERSION, "small", "0.1.0", world.clock.now(), model=ModelPin(repo=REPO, revision=COMMIT))
    pins.write(pinned, pins.home(world, loaded))
    _pull_model(world, loaded, _Ask(allow_unpinned=False, as_json=True))

    cache = tmp_path / "volume" / "hub" / "models--acme--small-model"
    assert (cache / "refs" / "main").read_text() == COMMIT
    assert {file["name"]: file["sha256"] for file in locked(tmp_path)["model"]["weights"]} == {SHARD: hub.sha256(SHARD)}


@pytest.mark.parametrize("there", [True, False])
def test_a_draft_model_is_the_persons_own_to_fetch_and_that_is_said(
    launchpad: Launchpad, hub: StandInHub, folder: Path, tmp_path: Path, there: bool
) -> None:
    draft = tmp_path / "drafts" / "tiny"
    if there:
        draft.mkdir(parents=True)
    made = write(
        tmp_path,
        model={"path": str(folder), "source": {"repo": REPO, "revision": COMMIT}},
        speculative={"method": "eagle3", "draft_tokens": 3, "draft_model": str(draft)},
    )
    says = "is there" if there else f"is missing: hf download OWNER/NAME --local-dir {draft}"

    assert f"draft      {draft} {says}; `lock` pins its files" in pull(launchpad, made).out


def test_a_nims_weights_come_at_its_first_start_and_that_is_said(launchpad: Launchpad) -> None:
    said = launchpad("pull", "v4-flash-nim", "--model-only").out.splitlines()

    assert said[0] == (
        "model      is not in the image: the first start fetches it from NVIDIA (up to 177.0 GiB) into volume "
        "launchpad-nim-deepseek-v4-flash-0731"
    )


def test_an_image_is_pulled(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, runtime = World(), FakeRuntime()
    world.runtime = runtime
    path = write(tmp_path, image={"reference": "acme/server:1"})
    runtime.registry["acme/server:1"] = fake_image("acme/server:1")

    _pull_image(world, world.profiles.load(str(path)), _Ask(allow_unpinned=False, as_json=False))
    assert runtime.asked("pull") == [("pull", "acme/server:1")]
    assert "acme/server:1" in capsys.readouterr().out


def test_a_tag_that_moved_since_it_was_locked_is_named(state: Path, tmp_path: Path) -> None:
    world, runtime = World(), FakeRuntime(images=["acme/server:1"])
    world.runtime = runtime
    path = write(tmp_path, image={"reference": "acme/server:1"}, gpus=None, parallel=None)
    loaded = world.profiles.load(str(path))
    made = make(world, loaded, rig="4x-rtx-pro-6000", weights=False, progress=lambda _: None)
    pins.write(made, pins.home(world, loaded))
    runtime.registry["acme/server:1"] = fake_image("acme/server:moved")

    with pytest.raises(BlockedError, match=r"cannot keep to the lock of small: image acme/server:1, layer 1 of 2"):
        _pull_image(world, loaded, _Ask(allow_unpinned=False, as_json=True))
