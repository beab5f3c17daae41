"""What Dynamo's two containers and a NIM's one are made of."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from launchpad.deploy.spec import CacheChoice
from launchpad.engines import base, engine
from launchpad.runtime.docker import create_body
from tests.deploy.specs import SHIPPED, profile, shipped, spec

if TYPE_CHECKING:
    from pathlib import Path

PAIR = shipped("v4-pro-dynamo-trtllm-gb300")
FRONTEND, WORKER = PAIR.containers


def test_only_the_frontend_is_published_and_only_the_worker_has_gpus() -> None:
    assert (len(FRONTEND.ports), FRONTEND.gpus, WORKER.ports, len(WORKER.gpus or ())) == (1, None, (), 4)


def test_the_worker_lives_in_the_frontends_network_and_shared_memory() -> None:
    assert {WORKER.network, WORKER.ipc} == {f"container:{FRONTEND.name}"}


def test_the_server_of_a_pair_is_the_worker() -> None:
    assert PAIR.server is WORKER


def test_the_shared_memory_is_sized_where_it_is() -> None:
    bodies = [create_body(item, {}, image="x")["HostConfig"] for item in (FRONTEND, WORKER)]
    assert [body.get("ShmSize") for body in bodies] == [200 * 2**30, None]


def test_a_pair_needs_neither_etcd_nor_nats() -> None:
    for item in PAIR.containers:
        env = dict(item.env)
        assert (env["DYN_DISCOVERY_BACKEND"], env["DYN_FILE_KV"]) == ("file", "/dev/shm/dynamo")


def test_readiness_is_asked_of_the_model_and_not_of_the_frontend() -> None:
    assert PAIR.health.ready_paths[0] == "/v1/models/deepseek-ai/DeepSeek-V4-Pro/ready"


def test_the_engines_file_is_written_before_its_command_runs(tmp_path: Path) -> None:
    """The shell words as they stand in the spec, run here with another place for the file."""
    shown = tmp_path / "engine.yaml"
    words = [str(shown) if word == base.CONFIG_PATH else word for word in WORKER.entrypoint or ()]
    done = subprocess.run(
        [*words, "/bin/echo", "gone on"], env=dict(WORKER.env), capture_output=True, text=True, check=True
    )
    assert (done.stdout, json.loads(shown.read_text())["moe_config"]) == ("gone on\n", {"backend": "TRTLLM"})


_IN_NIM = {"path": None, "in_image": "/opt/nim/.cache"}


@pytest.mark.parametrize("args", [{}, {"max-model-len": 4096, "enforce-eager": True}])
def test_flags_for_the_engine_inside_a_nim_go_through_one_variable(args: dict[str, int]) -> None:
    made = spec(profile(engine="nim", engine_args=args, model=_IN_NIM, parallel=None))
    told = dict(made.containers[0].env).get("NIM_PASSTHROUGH_ARGS")
    assert (made.containers[0].command, told) == ((), "--max-model-len 4096 --enforce-eager" if args else None)


def test_what_a_nim_downloads_outlives_a_new_driver() -> None:
    mounts = shipped("v4-flash-nim").containers[0].mounts
    assert [(item.source, item.target) for item in mounts] == [
        ("launchpad-nim-deepseek-v4-flash-0731", "/opt/nim/.cache")
    ]


@pytest.mark.parametrize(
    ("reference", "volume"),
    [
        ("nvcr.io/nim/acme/small:1.2", "launchpad-nim-small"),
        ("registry.example:5000/nim/acme/small", "launchpad-nim-small"),
        ("nvcr.io/nim/acme/large:1.2", "launchpad-nim-large"),
    ],
)
def test_every_nim_has_a_volume_of_its_own_whatever_its_release(reference: str, volume: str) -> None:
    made = spec(profile(engine="nim", image={"reference": reference}, model=_IN_NIM, parallel=None))

    assert made.cache == CacheChoice(volume, "the weights that it fetches, and what it compiles", weights=True)
    assert [item.source for item in made.containers[0].mounts] == [volume]


def test_no_other_server_fetches_its_model_into_its_cache() -> None:
    assert [name for name in SHIPPED.names() if (cache := shipped(name).cache) is not None and cache.weights] == [
        "v4-flash-nim"
    ]


def test_the_key_of_a_nim_is_named_and_its_value_nowhere() -> None:
    (key,) = shipped("v4-flash-nim").containers[0].secrets
    assert (key.env, key.from_env, key.required) == ("NGC_API_KEY", "NGC_API_KEY", True)


def test_a_nim_is_asked_whether_it_is_ready_and_not_whether_its_proxy_lives() -> None:
    health = engine("nim").health(SHIPPED.load("v4-flash-nim").profile)
    assert (health.ready_paths, health.live_path) == (("/v1/health/ready",), "/v1/health/ready")
