"""What the other commands say of a hosted endpoint that is up, and that none of them ever says its key."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e_hosted.conftest import KEY, Place
from tests.support.hosted import ANSWER, HostedEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def endpoint() -> Iterator[HostedEndpoint]:
    with HostedEndpoint("deepseek", key=KEY) as made:
        yield made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, endpoint: HostedEndpoint) -> Iterator[Place]:
    """One that is READY, looked at by every test of this file."""
    place = Place(tmp_path_factory.mktemp("served") / "place")
    place.up(place.profile(endpoint.url))
    yield place
    assert place.close() == []


def test_status_names_the_endpoint_and_calls_it_hosted(served: Place, endpoint: HostedEndpoint) -> None:
    view = served.status()

    assert {
        key: view[key] for key in ("phase", "ready", "hosted", "endpoint", "model", "engine", "containers", "gpus")
    } == {
        "phase": "READY",
        "ready": True,
        "hosted": True,
        "endpoint": endpoint.url,
        "model": "deepseek-v4-flash",
        "engine": "hosted",
        "containers": [],
        "gpus": [],
    }


def test_the_table_says_hosted_where_others_have_a_port(served: Place) -> None:
    assert served.run("status").ends(0).out.splitlines()[1].split()[:2] == ["elsewhere", "READY"]
    assert "hosted" in served.run("status").out


def test_ask_reads_the_key_by_itself(served: Place, endpoint: HostedEndpoint) -> None:
    ran = served.run("ask", "elsewhere", "Hello").ends(0)

    assert ran.out == f"{ANSWER}\n"
    assert endpoint.completions_asked()[-1].headers["authorization"] == f"Bearer {KEY}"


def test_ask_refuses_a_mode_that_nobody_knows_how_to_say_there(served: Place) -> None:
    served.run("ask", "elsewhere", "Hello", "--think", "max").ends(1, "in mode think-max", "is not known")


def test_ask_tells_a_refused_key_with_what_helps(served: Place) -> None:
    ran = served.run("ask", "elsewhere", "Hello", env={"HOSTED_KEY": "sk-wrong-1234"})

    ran.ends(1, "it answered 401 (it does not accept the API key)", "check hosted.key")
    assert "sk-wrong-1234" not in ran.err


@pytest.mark.parametrize(
    ("mood", "says"),
    [
        ("no-balance", "402 (the account has no balance left)"),
        ("limited", "429 (it limits how often it may be asked)"),
        ("overloaded", "503 (it is overloaded, or away)"),
    ],
)
def test_ask_tells_what_a_refusal_means(served: Place, endpoint: HostedEndpoint, mood: str, says: str) -> None:
    endpoint.be(mood, times=1)  # type: ignore[arg-type] # one of its moods
    served.run("ask", "elsewhere", "Hello").ends(1, says)


def test_logs_point_at_the_events(served: Place) -> None:
    served.run("logs", "elsewhere").ends(0, "nothing of it runs here that could log", "launchpad events elsewhere")


def test_history_knows_its_version(served: Place) -> None:
    assert "first version" in served.run("history", "elsewhere").ends(0).out


def test_doctor_finds_nothing_against_it(served: Place) -> None:
    assert "0 blocking" in served.run("doctor", "elsewhere").ends(0).out


def test_top_draws_it(served: Place) -> None:
    assert "elsewhere" in served.run("top", "--once").ends(0).out


def test_the_exporter_counts_it_as_ready(served: Place) -> None:
    assert 'launchpad_deployment_ready{deployment="elsewhere"} 1.0' in served.run("exporter", "--once").ends(0).out


def test_plan_as_json_names_the_key_and_never_says_it(served: Place) -> None:
    drawn = served.run("plan", "elsewhere", "--json").ends(0).json

    assert [step["action"] for step in drawn["steps"]] == ["keep"]
    assert drawn["spec"]["hosted"]["key"]["from_env"] == "HOSTED_KEY"


def test_the_key_is_nowhere(served: Place) -> None:
    archive = served.root / "report.tar.gz"
    said = [
        served.run(*words)
        for words in (
            ("status", "elsewhere", "--json"),
            ("events", "elsewhere", "--json"),
            ("plan", "elsewhere", "--json"),
            ("profiles", "show", "elsewhere"),
            ("report", "elsewhere", "--output", str(archive)),
        )
    ]
    pid = served.supervisor()
    line = Path(f"/proc/{pid}/cmdline").read_bytes()
    with tarfile.open(archive) as packed:
        members = [packed.extractfile(item) for item in packed.getmembers() if item.isfile()]
        packed_texts = [file.read() for file in members if file is not None]

    assert [ran.code for ran in said] == [0] * 5, [ran.err for ran in said]
    assert packed_texts
    assert KEY not in "".join(ran.out + ran.err for ran in said)
    assert KEY.encode() not in line
    assert [path for path, data in served.texts().items() if KEY.encode() in data] == []
    assert not any(KEY.encode() in data for data in packed_texts)
    assert json.loads((served.folder_of() / "spec.json").read_text())["spec"]["hosted"]["key"]["env"] == "hosted.key"
