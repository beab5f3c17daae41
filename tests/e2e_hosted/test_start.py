"""``up`` of a hosted endpoint: what it asks, what it takes for an answer, and what it gives up for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import eventually, free_port
from tests.e2e_hosted.conftest import KEY
from tests.support.hosted import HostedEndpoint

if TYPE_CHECKING:
    from launchpad.store.journal import Event
    from tests.e2e_hosted.conftest import Place
    from tests.support.hosted import Flavour, Kind


def test_up_asks_the_list_and_one_short_completion_and_is_ready(place: Place, deepseek: HostedEndpoint) -> None:
    ran = place.up(place.profile(deepseek.url, probes={"liveness": {"interval": "1h"}}))

    assert "elsewhere is READY after" in ran.out
    assert f"{deepseek.url}/v1" in ran.out
    assert deepseek.billed.completions == 1
    assert deepseek.completions_asked()[0].json["max_tokens"] == 8
    assert next(item.path for item in deepseek.seen) == "/v1/models"


def test_what_is_up_and_unchanged_is_left_alone_and_costs_nothing(place: Place, deepseek: HostedEndpoint) -> None:
    name = place.profile(deepseek.url)
    place.up(name)

    assert "already ready, spec unchanged: nothing to do" in place.up(name).out
    assert deepseek.billed.completions == 1


@pytest.mark.parametrize(
    ("flavour", "mood", "status", "says", "hint"),
    [
        ("deepseek", "unauthorized", 401, "it does not accept the API key", "check hosted.key"),
        ("deepseek", "no-balance", 402, "the account has no balance left", "top the account up"),
        ("nvidia", "unauthorized", 401, "it does not accept the API key", "launchpad restart elsewhere"),
        ("nvidia", "forbidden", 403, "it does not accept the API key for this", "what its account may use"),
        ("nvidia", "unknown-model", 404, "it has no such model or path, or withdrew it", "model.served_name"),
        ("nvidia", "withdrawn", 404, "it has no such model or path, or withdrew it", "model.served_name"),
        ("nvidia", "gone", 410, "the model is gone for good", "put a model that it still serves"),
        ("nvidia", "listed-but-gone", 410, "end of life", "put a model that it still serves"),
    ],
)
def test_a_refusal_that_no_asking_mends_fails_at_once_and_says_so(
    place: Place, flavour: Flavour, mood: Kind, status: int, says: str, hint: str
) -> None:
    with HostedEndpoint(flavour, key=KEY) as endpoint:
        endpoint.be(mood)
        ran = place.run("up", place.profile(endpoint.url, model=endpoint.models[0])).ends(
            3, f"answers {status}", says, hint
        )

        assert place.history() == ["STARTING", "FAILED"]
        recorded = next(event for event in place.journal() if event.event == "crash-recorded")
        assert (recorded.detail or {})["id"] == f"hosted.{status}"
        assert len(endpoint.completions_asked()) <= 1
        assert KEY not in ran.out + ran.err
        assert "launchpad logs" not in ran.err
        assert place.supervisor() is None


def test_a_model_that_it_does_not_know_fails_with_the_provider_s_own_words(
    place: Place, deepseek: HostedEndpoint
) -> None:
    place.run("up", place.profile(deepseek.url, model="deepseek-v9")).ends(3, "answers 400", "you passed deepseek-v9")


def test_a_key_that_is_not_set_is_missed_before_anything_is_asked(place: Place, deepseek: HostedEndpoint) -> None:
    name = place.profile(deepseek.url, hosted={"key": {"from_env": "NOT_SET_ANYWHERE"}})

    place.run("up", name).ends(1, "NOT_SET_ANYWHERE")
    assert deepseek.seen == []


def test_a_key_is_read_from_a_file(place: Place, deepseek: HostedEndpoint) -> None:
    path = place.root / "key"
    path.write_text(f"{KEY}\n")
    place.up(place.profile(deepseek.url, hosted={"key": {"from_env": None, "from_file": str(path)}}))

    assert deepseek.seen[-1].headers["authorization"] == f"Bearer {KEY}"


def test_one_that_is_not_reachable_yet_is_waited_for_in_words(place: Place) -> None:
    port = free_port()
    up = place.start("up", place.profile(f"http://127.0.0.1:{port}"))
    eventually(lambda: any(item.event == "waiting" for item in _journal(place)), 30, "a word of what is waited for")
    with HostedEndpoint("deepseek", key=KEY, port=port):
        out, err = up.communicate(timeout=60)

        assert (up.returncode, "is READY" in out) == (0, True), err
        assert "Connection refused" in err
        assert "(cold)" not in err


def test_a_limit_at_the_start_is_waited_out_and_asked_ever_more_seldom(place: Place, deepseek: HostedEndpoint) -> None:
    deepseek.be("limited", times=2)
    place.up(place.profile(deepseek.url))
    first, second, third = (item.at for item in deepseek.completions_asked())

    assert (second - first).total_seconds() > 4.5
    assert (third - second).total_seconds() > 9.0
    assert any("429, it limits how often" in item.reason for item in place.journal() if item.event == "waiting")


def test_a_name_that_does_not_resolve_is_said_so(place: Place) -> None:
    name = place.profile(
        "http://no-such-host.invalid", deadlines={"startup": "1s", "stall": "1s"}, restart={"budget": 0}
    )

    place.run("up", name, timeout=120).ends(3, "hint: launchpad events elsewhere tells what it answered")
    assert any("the name no-such-host.invalid" in item.reason for item in place.journal() if item.event == "waiting")


def test_an_api_under_a_path_of_its_own_is_asked_there(place: Place) -> None:
    with HostedEndpoint("nvidia", key=KEY, models=("deepseek-v4-flash",)) as endpoint:
        name = place.profile(f"{endpoint.url}/api")
        place.run("up", name).ends(3, "404")

        assert {item.path for item in endpoint.seen} == {"/api/v1/models"}


def _journal(place: Place) -> list[Event]:
    return list(place.journal()) if (place.folder_of() / "events.jsonl").exists() else []
