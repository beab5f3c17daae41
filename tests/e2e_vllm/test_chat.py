"""A real vLLM, brought up by `launchpad up`, talked to by the real openai client, killed, and taken down again.

One deployment lives through the whole file, and the tests run in its order: that is what happens to a server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import openai
import pytest

from launchpad.runtime.base import LABEL_DEPLOYMENT, LABEL_OWNER

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]

NAME = "demo-vllm-cpu"
UP_SECONDS = 420
RESTART_SECONDS = 150
#: Finds vLLM's engine core by the name it gives itself, and kills it; the image has no ps. Its own user is allowed to.
KILL_ENGINE_CORE = """
import os, pathlib, signal
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    if (entry / "comm").read_text().startswith("VLLM::EngineCor"):
        os.kill(int(entry.name), signal.SIGKILL)
        print("killed")
"""


@dataclass(frozen=True)
class Deployment:
    """The launchpad command, with a state directory of its own."""

    state_dir: Path

    def launchpad(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("launchpad")), *words]
        environ = {**os.environ, "LAUNCHPAD_STATE_DIR": str(self.state_dir)}
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=timeout)

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.launchpad("status", NAME, "--json").stdout)
        return answer

    def wait_until_ready_after(self, restarts: int) -> dict[str, Any]:
        deadline = time.monotonic() + RESTART_SECONDS
        while True:
            status = self.status()
            if status["ready"] and status["restarts"] > restarts:
                return status
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"not ready again: {status}\n{self.launchpad('logs', NAME, '--tail', '40').stdout}"
                )
            time.sleep(2)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.launchpad("events", NAME, "--json").stdout.splitlines()]

    def client(self) -> openai.OpenAI:
        endpoint = self.status()["endpoint"].rstrip("/").removesuffix("/v1")
        return openai.OpenAI(base_url=f"{endpoint}/v1", api_key="none", max_retries=0, timeout=60)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped by init does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path_factory.mktemp("state"))
    up = deployment.launchpad("up", NAME, timeout=UP_SECONDS)
    try:
        assert up.returncode == 0, up.stdout[-4000:] + up.stderr[-4000:]
        yield deployment
    finally:
        deployment.launchpad("down", NAME, timeout=120)


def test_up_returns_when_the_server_is_ready(served: Deployment) -> None:
    assert served.status()["ready"] is True


def test_the_model_has_the_name_that_the_profile_gives_it(served: Deployment) -> None:
    with served.client() as client:
        assert [model.id for model in client.models.list()] == ["tiny"]


def test_it_answers_a_chat(served: Deployment) -> None:
    with served.client() as client:
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hello?"}], max_tokens=12, temperature=0
        )
    assert (bool(answer.choices[0].message.content), answer.usage and answer.usage.completion_tokens) == (True, 12)


def test_a_streamed_chat_says_the_same_piece_by_piece(served: Deployment) -> None:
    wanted: dict[str, Any] = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hello?"}],
        "max_tokens": 12,
        "temperature": 0,
    }
    with served.client() as client:
        whole = client.chat.completions.create(**wanted).choices[0].message.content
        with client.chat.completions.create(**wanted, stream=True) as stream:
            pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert "".join(piece or "" for piece in pieces) == whole


def test_it_is_ready_again_after_its_engine_core_is_killed(served: Deployment, engine: docker.DockerClient) -> None:
    before = served.status()
    container = engine.containers.get(before["containers"][0]["id"])
    assert container.exec_run(["python", "-c", KILL_ENGINE_CORE]).output == b"killed\n"
    after = served.wait_until_ready_after(before["restarts"])
    assert after["containers"][0]["started_at"] > before["containers"][0]["started_at"]


def test_the_exit_with_status_0_is_told_as_a_crash(served: Deployment) -> None:
    """vLLM leaves with 0 when its core dies: any exit that nobody asked for is a crash."""
    assert [event["to"] for event in served.events()].count("BACKOFF") == 1


def test_it_chats_again_after_the_restart(served: Deployment) -> None:
    with served.client() as client:
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Still there?"}], max_tokens=4
        )
    assert answer.choices[0].finish_reason == "length"


def test_down_leaves_no_container_and_no_supervisor(served: Deployment, engine: docker.DockerClient) -> None:
    supervisor = served.status()["supervisor"]["pid"]
    down = served.launchpad("down", NAME, timeout=120)
    assert down.returncode == 0, down.stderr
    left = engine.containers.list(all=True, filters={"label": f"{LABEL_DEPLOYMENT}={NAME}"})
    ours = [container.name for container in left if container.labels.get(LABEL_OWNER) == str(served.state_dir)]
    assert (ours, alive(supervisor)) == ([], False)
