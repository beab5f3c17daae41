"""A real vLLM, brought up by `launchpad up`, talked to by the real openai client, killed, and taken down again.

One deployment lives through the whole file, and the tests run in its order: that is what happens to a server.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e_vllm.models import PROFILE
from tests.support.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker
    from tests.e2e.harness import Rig

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped by init does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(scope="module")
def served(rig: Rig) -> Iterator[Served]:
    made = Served(rig, PROFILE)
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_up_returns_when_the_server_is_ready(served: Served) -> None:
    assert served.status()["ready"] is True


def test_the_model_has_the_name_that_the_profile_gives_it(served: Served) -> None:
    with served.client() as client:
        assert [model.id for model in client.models.list()] == ["tiny"]


def test_it_answers_a_chat(served: Served) -> None:
    with served.client() as client:
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Hello?"}], max_tokens=12, temperature=0
        )
    assert (bool(answer.choices[0].message.content), answer.usage and answer.usage.completion_tokens) == (True, 12)


def test_a_streamed_chat_says_the_same_piece_by_piece(served: Served) -> None:
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


def test_it_is_ready_again_after_its_engine_core_is_killed(served: Served, client: docker.DockerClient) -> None:
    _, began, restarts = served.kept()
    served.signal_engine_core(client, "SIGKILL")
    served.ready_again(2)
    assert served.kept()[1:] > (began, restarts)


def test_the_exit_with_status_0_is_told_as_a_crash(served: Served) -> None:
    """vLLM leaves with 0 when its core dies: any exit that nobody asked for is a crash."""
    assert len(served.told("BACKOFF")) == 1


def test_it_chats_again_after_the_restart(served: Served) -> None:
    with served.client() as client:
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "Still there?"}], max_tokens=4
        )
    assert answer.choices[0].finish_reason == "length"


def test_down_leaves_no_container_and_no_supervisor(served: Served) -> None:
    supervisor = served.status()["supervisor"]["pid"]
    served.down().ends(0)
    assert (served.rig.mine(), alive(supervisor)) == ([], False)
