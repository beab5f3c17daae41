"""A hosted endpoint after READY: what it survives, what it does not, and what replaces it."""

from __future__ import annotations

import json
import os
import signal
import tarfile
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import eventually
from tests.e2e_hosted.conftest import KEY, Place
from tests.support.hosted import ANSWER, HostedEndpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.hosted import Kind

#: Asked for a completion at nearly every look.
EAGER = {"liveness": {"idle": "300ms"}}


@pytest.fixture(scope="module")
def upset() -> Iterator[HostedEndpoint]:
    with HostedEndpoint("deepseek", key=KEY) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, upset: HostedEndpoint) -> Iterator[Place]:
    """One that is asked for a completion at nearly every look, and meets one trouble after the other."""
    place = Place(tmp_path_factory.mktemp("asked") / "place")
    place.up(place.profile(upset.url, probes=EAGER))
    yield place
    assert place.close() == []


@pytest.mark.parametrize(
    ("mood", "says"),
    [
        ("limited", "it limits how often it may be asked"),
        ("no-balance", "top the account up"),
        ("unauthorized", "check hosted.key"),
        ("overloaded", "it is overloaded, or away"),
        ("failing", "it failed"),
        ("silent", "no whole answer within 2 s"),
        ("cut", "without sending"),
        ("html", "502"),
    ],
)
def test_trouble_after_ready_is_unready_with_its_reason_and_passes_by_itself(
    asked: Place, upset: HostedEndpoint, mood: Kind, says: str
) -> None:
    upset.be(mood)
    told = asked.await_phase("UNREADY")
    upset.be("ok")
    asked.await_phase("READY")

    assert says in f"{told['reason']} {told['hint']}"
    assert set(asked.history()[1:]) == {"READY", "UNREADY"}
    assert asked.published()["restarts"] == asked.published()["failures"] == 0


def test_up_of_one_that_is_unready_says_why_it_waits(asked: Place, upset: HostedEndpoint) -> None:
    upset.be("no-balance")
    asked.await_phase("UNREADY")
    up = asked.start("up", "elsewhere")
    assert up.stderr is not None
    said = iter(up.stderr.readline, "")
    assert any("elsewhere is UNREADY" in line for line in said)
    assert "top the account up" in next(said)
    upset.be("ok")

    assert up.wait(60) == 0


def test_a_model_that_is_withdrawn_while_it_is_still_listed_fails_for_good(
    place: Place, nvidia: HostedEndpoint
) -> None:
    place.up(place.profile(nvidia.url, model=nvidia.models[0], probes=EAGER))
    nvidia.be("listed-but-gone")
    told = place.await_phase("FAILED")

    assert "answers 410: the model is gone for good" in told["reason"]
    assert "trying again cannot help" in told["reason"]
    assert told["hint"] == "put a model that it still serves under model.served_name"
    eventually(lambda: place.supervisor() is None, 20, "the end of its supervisor")


@pytest.mark.parametrize("as_date", [False, True])
def test_a_retry_after_is_kept(place: Place, deepseek: HostedEndpoint, as_date: bool) -> None:
    place.up(place.profile(deepseek.url, probes=EAGER))
    deepseek.be("limited", seconds=5, as_date=as_date, times=1)
    eventually(lambda: deepseek.mood.kind == "ok", 20, "the refusal")
    refused = deepseek.completions_asked()[-1].at
    following = eventually(
        lambda: next((item for item in deepseek.seen if item.at > refused), None), 30, "the next question"
    )

    assert (following.at - refused).total_seconds() > (3.9 if as_date else 4.9)  # a date has no fractions


def test_a_retry_after_outlives_the_supervisor_and_a_spell_with_another_endpoint(
    place: Place, deepseek: HostedEndpoint, nvidia: HostedEndpoint
) -> None:
    name = place.profile(deepseek.url, probes=EAGER)
    place.up(name)
    deepseek.be("limited", seconds=600, times=1)
    place.await_phase("UNREADY")
    first = place.supervisor()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: place.supervisor() is None, 20, "its end")
    seen = len(deepseek.seen)
    place.run("up", name, "--detach").ends(0)
    told = eventually(lambda: place.supervisor() and place.status()["quiet_until"], 20, "the successor")

    assert 0 < (datetime.fromisoformat(told) - datetime.now(UTC)).total_seconds() <= 601
    place.run("status", name).ends(0, f"not asked again before {told}: its Retry-After")
    assert len(deepseek.seen) == seen

    place.profile(nvidia.url, model="not-served-there", probes=EAGER)
    place.run("up", name, "--detach").ends(0)
    eventually(lambda: "rolled-back" in {event.event for event in place.journal()}, 30, "the way back")
    place.run("status", name).ends(0, f"not asked again before {told}: its Retry-After")
    assert len(deepseek.seen) == seen


def test_a_killed_supervisor_s_successor_goes_on_and_asks_for_no_completion_at_once(
    place: Place, deepseek: HostedEndpoint
) -> None:
    name = place.profile(deepseek.url)
    place.up(name)
    first = place.supervisor()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: place.supervisor() is None, 20, "its end")

    assert "no supervisor runs" in place.status()["reason"]
    place.up(name)
    seen = len(deepseek.seen)
    eventually(lambda: len(deepseek.seen) >= seen + 3, 20, "three more looks")
    assert place.history() == ["STARTING", "READY"]
    assert deepseek.billed.completions == 1


def test_a_successor_believes_an_unready_endpoint_only_after_a_completion(
    place: Place, deepseek: HostedEndpoint
) -> None:
    name = place.profile(deepseek.url, probes={"liveness": {"idle": "1s"}})
    place.up(name)
    deepseek.be("no-balance")
    place.await_phase("UNREADY")
    place.profile(deepseek.url, probes={"liveness": {"idle": "10m"}})
    first = place.supervisor()
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: place.supervisor() is None, 20, "its end")

    place.run("up", name, "--detach").ends(0)
    seen = len(deepseek.seen)
    eventually(lambda: len(deepseek.seen) >= seen + 4, 20, "four more questions")
    assert place.published()["phase"] == "UNREADY"
    deepseek.be("ok")
    place.await_phase("READY")


def test_a_changed_probe_reaches_an_endpoint_that_is_up_without_a_restart(
    place: Place, deepseek: HostedEndpoint
) -> None:
    name = place.profile(deepseek.url, probes={"liveness": {"idle": "10m"}})
    place.up(name)
    place.profile(deepseek.url, probes={"liveness": {"idle": "400ms"}})
    place.up(name)

    eventually(lambda: deepseek.billed.completions >= 3, 20, "completions as often as it says now")
    assert place.history() == ["STARTING", "READY"]


def test_another_endpoint_or_model_replaces_it_and_rollback_brings_the_first_back(
    place: Place, deepseek: HostedEndpoint
) -> None:
    with HostedEndpoint("nvidia", key=KEY) as other:
        place.up(place.profile(deepseek.url))
        place.profile(other.url, model=other.models[0])
        plan = place.run("plan", "elsewhere").ends(0).out
        place.up()
        eventually(lambda: len(other.seen) > 3, 20, "questions to the new one")
        asked_before = len(deepseek.seen)

        assert f"endpoint: {deepseek.url} -> {other.url}" in plan
        assert f"model: deepseek-v4-flash -> {other.models[0]}" in place.run("history", "elsewhere", "2").ends(0).out
        place.run("rollback", "elsewhere").ends(0, deepseek.url)
        assert len(deepseek.seen) > asked_before
        assert place.status()["endpoint"] == deepseek.url


def test_a_new_model_that_is_refused_gives_way_to_the_last_good_version(place: Place, deepseek: HostedEndpoint) -> None:
    place.up(place.profile(deepseek.url))
    place.profile(deepseek.url, model="deepseek-v9")
    place.run("up", "elsewhere").ends(3, "you passed deepseek-v9", "version 1 is put back")

    assert place.await_phase("READY")["phase"] == "READY"
    assert place.status()["model"] == "deepseek-v4-flash"


def test_a_start_whose_key_has_gone_backs_off_and_gives_up(place: Place, deepseek: HostedEndpoint) -> None:
    path = place.root / "key"
    path.write_text(KEY)
    place.up(place.profile(deepseek.url, hosted={"key": {"from_env": None, "from_file": str(path)}}))
    place.profile(deepseek.url, model="deepseek-flash", hosted={"key": {"from_env": None, "from_file": str(path)}})
    path.chmod(0)
    path.unlink()
    started = place.start("restart", "elsewhere")
    started.communicate(timeout=60)

    assert started.returncode == 3
    assert sum(item.event == "start-refused" for item in place.journal()) == 4  # the budget is 3


@pytest.mark.parametrize("before", ["NEVER_SET", "HOSTED_KEY"])
def test_a_key_that_only_this_shell_has_is_told_instead_of_the_old_one_used(
    place: Place, deepseek: HostedEndpoint, before: str
) -> None:
    place.up(place.profile(deepseek.url))
    place.profile(deepseek.url, hosted={"key": {"from_env": before}}, model="deepseek-flash")
    ran = place.run("up", "elsewhere", env={before: "sk-another"})

    ran.ends(
        1, f"its supervisor has {'no' if before == 'NEVER_SET' else 'another'} value of {before}", "launchpad down"
    )
    assert "sk-another" not in ran.err
    assert place.status()["ready"]


def test_down_ends_all_questions_and_leaves_nobody(place: Place, deepseek: HostedEndpoint) -> None:
    place.up(place.profile(deepseek.url))
    ran = place.run("down", "elsewhere").ends(0)
    seen = len(deepseek.seen)
    time.sleep(1.0)  # three looks

    assert ran.out == "elsewhere is down: nobody asks it any more\n"
    assert len(deepseek.seen) == seen
    assert place.supervisor() is None


def test_restart_proves_it_again_with_a_completion_and_the_key_as_the_file_has_it_now(
    place: Place, deepseek: HostedEndpoint
) -> None:
    path = place.root / "key"
    path.write_text(KEY)
    place.up(place.profile(deepseek.url, hosted={"key": {"from_env": None, "from_file": str(path)}}))
    deepseek.key = "sk-new"
    place.await_phase("UNREADY")
    path.write_text("sk-new")
    place.run("restart", "elsewhere").ends(0, "is READY")

    assert deepseek.billed.completions == 2
    assert place.history()[-3:] == ["STOPPING", "STARTING", "READY"]


def test_two_that_share_an_address_stand_side_by_side(place: Place, deepseek: HostedEndpoint) -> None:
    place.up(place.profile(deepseek.url, "one"))
    place.up(place.profile(deepseek.url, "two"))

    assert [(item["name"], item["ready"]) for item in place.run("status", "--json").json] == [
        ("one", True),
        ("two", True),
    ]


def test_what_runs_here_does_not_take_the_name_of_what_is_hosted(place: Place, deepseek: HostedEndpoint) -> None:
    place.up(place.profile(deepseek.url))
    here = '[image]\nreference = "busybox:1"\n[model]\nin_image = "/m"\nserved_name = "tiny"\n[publish]\nport = 8000\n'
    head = 'format = 1\nsummary = "a server"\nengine = "generic"\ncommand = ["serve"]\n'
    probe = '[probes.readiness]\npath = "/health"\n'
    (place.folder / "elsewhere.toml").write_text(head + here + probe)

    place.run("up", "elsewhere").ends(1, "what is up under that name is hosted elsewhere", "launchpad down elsewhere")
    assert place.status()["ready"]


def test_ask_asks_one_that_is_unready_all_the_same_and_says_so(asked: Place, upset: HostedEndpoint) -> None:
    upset.be("no-balance")
    asked.await_phase("UNREADY")
    refused = asked.run("ask", "elsewhere", "Hello").ends(1, "it answered 402")
    upset.be("ok")
    asked.await_phase("READY")

    assert refused.err.startswith("elsewhere is UNREADY: ")
    assert "; asked all the same\n" in refused.err


def test_ask_tells_that_another_key_works_while_it_is_unready(place: Place, deepseek: HostedEndpoint) -> None:
    place.up(place.profile(deepseek.url))
    deepseek.key = "sk-new"
    place.await_phase("UNREADY")
    ran = place.run("ask", "elsewhere", "Hello", env={"HOSTED_KEY": "sk-new"}).ends(0)

    assert (ran.out, "; asked all the same\n" in ran.err) == (f"{ANSWER}\n", True)
    assert "sk-new" not in ran.err


@pytest.mark.parametrize("gone", ["nothing", "its spec"])
def test_forget_of_one_that_is_down_needs_no_docker_engine(place: Place, deepseek: HostedEndpoint, gone: str) -> None:
    place.up(place.profile(deepseek.url))
    place.run("down", "elsewhere").ends(0)
    if gone == "its spec":
        (place.folder_of() / "spec.json").unlink()
    ran = place.run("forget", "elsewhere", "--yes").ends(0)

    assert (ran.out, place.folder_of().exists()) == ("elsewhere is forgotten\n", False)


def test_a_report_is_whole_without_a_docker_engine_and_holds_no_key(place: Place, deepseek: HostedEndpoint) -> None:
    place.up(place.profile(deepseek.url))
    place.run("report", "elsewhere", "--output", "report.tar.gz").ends(0)
    with tarfile.open(place.root / "report.tar.gz") as archive:
        packed = {item.name.rpartition("/")[2]: archive.extractfile(item) for item in archive if item.isfile()}
        data = {name: file.read() for name, file in packed.items() if file is not None}

    assert json.loads(data["containers.json"]) == []
    assert json.loads(data["versions.json"])["engine"] == "hosted"
    assert not [name for name, text in data.items() if KEY.encode() in text]
    assert b"cannot be told" not in data["doctor.txt"]


def test_of_several_that_go_down_one_that_fails_keeps_no_other_up(place: Place, deepseek: HostedEndpoint) -> None:
    place.up(place.profile(deepseek.url))
    ran = place.run("down", "nobody", "elsewhere").ends(1, "cannot find deployment nobody")

    assert ran.out == "elsewhere is down: nobody asks it any more\n"
    assert place.supervisor() is None


def test_a_restart_with_a_key_that_only_this_shell_has_is_refused_as_a_restart(
    place: Place, deepseek: HostedEndpoint
) -> None:
    place.up(place.profile(deepseek.url))
    ran = place.run("restart", "elsewhere", env={"HOSTED_KEY": "sk-another"})

    ran.ends(1, "error: cannot restart elsewhere: its supervisor has another value of HOSTED_KEY")
