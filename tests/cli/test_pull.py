"""``pull`` against a stand-in of the model hub: pinned or refused, checked, written into the lock, and silent about tokens."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.cli import pins
from launchpad.cli.lock import make
from launchpad.cli.pull import _Ask, _pull_image, _pull_model
from launchpad.cli.world import World
from launchpad.deploy.lock import VERSION, Lock, ModelPin
from launchpad.engines.base import HUB_VOLUME
from launchpad.errors import BlockedError
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
