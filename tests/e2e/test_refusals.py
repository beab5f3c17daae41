"""What stops a launch before anything is started: each names the cause and the fix, and leaves no container."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.harness import Rig


@pytest.fixture(autouse=True)
def nothing_is_started(rig: Rig) -> Iterator[None]:
    """After every refusal."""
    yield
    assert rig.mine() == []
    assert rig.processes() == {}


def test_a_port_in_use_is_told_with_its_holder_and_the_fix(rig: Rig) -> None:
    name = rig.profile()
    port = rig.ports[name]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        refused = rig.rehearse(name).ends(1, f"cannot publish 127.0.0.1:{port}", f"pid {os.getpid()}", "publish.port")
    assert not rig.deployment(name).exists(), refused.err


def test_a_model_path_that_is_not_there_is_told(rig: Rig, image: str, tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    name = rig.generic(image=image, model={"in_image": None, "path": str(missing)})
    rig.run("up", name).ends(1, str(missing), "hint")


def test_incomplete_shards_are_told_by_name(rig: Rig, image: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}))
    shards = {f"layer.{number}": f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
    (model / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    name = rig.generic(image=image, model={"in_image": None, "path": str(model)})
    rig.run("up", name).ends(1, "model-00001-of-00002.safetensors", "hf download")


def test_an_image_that_is_not_there_and_must_not_be_pulled_is_told(rig: Rig) -> None:
    name = rig.generic(image=f"launchpad-e2e/{rig.tag}-nothing:1")
    rig.run("up", name).ends(1, f"image launchpad-e2e/{rig.tag}-nothing:1 is not on this Docker Engine", "docker pull")


def test_a_missing_secret_is_told_by_name(rig: Rig, image: str) -> None:
    name = rig.generic(image=image, secrets={"TOKEN": {"from_env": "E2E_NO_SUCH_TOKEN"}})
    rig.run("up", name).ends(1, "secret TOKEN has no value", "export E2E_NO_SUCH_TOKEN=")


def test_a_docker_engine_that_does_not_answer_is_told(rig: Rig) -> None:
    name = rig.profile()
    rig.run("rehearse", name, env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"}).ends(
        1, "unix:///nonexistent", "hint"
    )


def test_too_few_gpus_are_told_with_a_way_out(rig: Rig) -> None:
    name = rig.profile(gpus={"count": 1000}, parallel={"tensor": 1000})
    rig.run("up", name).ends(1, f"cannot place {name}", f"launchpad rehearse {name}")
    rig.rehearse(name).ends(1, f"cannot place {name}: it needs 1000 GPUs and 4 of this rig's 4 will do")


def test_a_mount_that_is_not_there_is_told(rig: Rig, image: str) -> None:
    name = rig.generic(image=image, mounts=[{"source": "/nowhere/at/all", "target": "/x"}])
    rig.run("up", name).ends(1, "cannot mount /nowhere/at/all", "mkdir -p /nowhere/at/all")


def test_everything_that_speaks_against_a_launch_is_told_at_once(rig: Rig) -> None:
    name = rig.generic(
        image=f"launchpad-e2e/{rig.tag}-nothing:1",
        secrets={"TOKEN": {"from_env": "E2E_NO_SUCH_TOKEN"}},
        mounts=[{"source": "/nowhere/at/all", "target": "/x"}],
    )
    rig.run("up", name).ends(1, "image.missing", "secret.missing", "host.mount-missing", "(and 2 more above)")


def test_a_wrong_name_is_told_with_the_right_one(rig: Rig) -> None:
    rig.run("rehearse", "v4-flash-sglang-tp5").ends(1, "v4-flash-sglang-tp")


def test_a_bad_profile_is_told_with_file_line_and_key(rig: Rig) -> None:
    name = rig.profile(container={"shm_size": 32})
    rig.rehearse(name).ends(1, f"{name}.toml:", "container.shm_size")


def test_a_fault_that_does_not_exist_is_told(rig: Rig) -> None:
    ran = rig.rehearse(rig.profile(), "explode@weights")
    assert ran.code in {1, 2}
    assert "'explode@weights' is no fault" in ran.err
    assert "Traceback" not in ran.err


def test_a_state_directory_that_cannot_be_made_is_told(rig: Rig) -> None:
    blocker = rig.root / "file"
    blocker.write_text("no directory")
    told = rig.run("rehearse", rig.profile(), env={"LAUNCHPAD_STATE_DIR": str(blocker / "state")})
    told.ends(1, f"cannot make state directory {blocker}/state", "LAUNCHPAD_STATE_DIR")


def test_a_state_directory_on_a_read_only_filesystem_is_told(rig: Rig) -> None:
    told = rig.run("rehearse", rig.profile(), env={"LAUNCHPAD_STATE_DIR": "/proc/launchpad"})
    told.ends(1, "/proc/launchpad", "LAUNCHPAD_STATE_DIR")


@pytest.mark.parametrize("command", ["status", "logs", "events", "down", "restart", "supervise"])
def test_an_unknown_deployment_is_told(rig: Rig, command: str) -> None:
    rig.run(command, "nobody").ends(1, "cannot find deployment nobody", "deployments here: none")
