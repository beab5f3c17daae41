"""What a hosted endpoint's answers mean to the machine, and how often it is asked: data against data."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from launchpad.engines.hosted import MEANS
from launchpad.health.probe import Answer
from launchpad.supervise.answers import awaited, seen
from launchpad.supervise.machine import Phase
from launchpad.supervise.start import Past, Start
from launchpad.supervise.watch import Asked, LogCopy
from tests.deploy.specs import shipped, spec
from tests.fakes.clock import ManualClock
from tests.fakes.prober import FakeServer
from tests.fakes.runtime import FakeRuntime

if TYPE_CHECKING:
    from pathlib import Path

    from launchpad.deploy.spec import Spec
    from launchpad.health.probe import Outcome

NOW = datetime(2026, 11, 23, tzinfo=UTC)
HOSTED = shipped("v4-flash-deepseek-api")


def told(status: int | None, detail: str = "GET /v1/models: no", outcome: Outcome = "http") -> Asked:
    return Asked(7, Answer(ok=False, outcome=outcome, status=status, detail=detail, seconds=0.1), NOW)


@pytest.mark.parametrize(
    ("ends", "statuses"),
    [
        ("ever", {410}),
        ("start", {301, 308, 400, 401, 402, 403, 404, 407, 422}),
        ("never", {202, 302, 307, 429, 500, 502, 503, 504}),
    ],
)
def test_a_status_ends_everything_or_a_start_or_nothing(ends: str, statuses: set[int]) -> None:
    assert {status for status, meaning in MEANS.items() if meaning.ends == ends} == statuses


@pytest.mark.parametrize("status", sorted(MEANS))
def test_every_known_status_has_a_hint_of_its_deployment(status: int) -> None:
    probe = seen(told(status), HOSTED)

    assert probe.hint
    assert "NAME" not in probe.hint
    assert MEANS[status].says in probe.detail


def test_gone_for_good_ends_whatever_the_phase_with_the_provider_s_own_words() -> None:
    probe = seen(told(410, 'a chat: 410: {"detail": "end of life on 2026-08-07"}'), HOSTED)

    assert probe.ends is not None
    assert probe.ends.fatal
    assert "https://api.deepseek.com answers 410: the model is gone for good" in probe.ends.reason
    assert "end of life on 2026-08-07" in probe.ends.reason


def test_what_a_provider_says_is_cut_and_stays_on_one_line() -> None:
    probe = seen(told(503, "a chat: 503: " + "busy\n" * 200), HOSTED)

    assert "\n" not in probe.detail
    assert len(probe.detail) < 300


@pytest.mark.parametrize("outcome", ["refused", "timeout", "broken"])
def test_no_answer_at_all_ends_nothing_and_points_at_the_way_out(outcome: Outcome) -> None:
    probe = seen(told(None, "GET /v1/models: nobody", outcome), HOSTED)

    assert (probe.ends, probe.ends_start) == (None, None)
    assert "HTTPS_PROXY" in (probe.hint or "")


def test_a_server_of_ours_is_judged_by_no_status() -> None:
    probe = seen(told(410), spec())

    assert (probe.hint, probe.ends, probe.ends_start) == (None, None, None)
    assert awaited(told(410), spec()) is None


def test_what_a_start_waits_for_is_the_same_words_for_the_same_trouble() -> None:
    first, second = (awaited(told(429, f"a chat: 429: request {n}"), HOSTED) for n in (1, 2))

    assert first == second == "https://api.deepseek.com to answer: 429, it limits how often it may be asked"


def test_a_refusal_that_asks_for_patience_is_no_readiness() -> None:
    limited = replace(told(429), answer=replace(told(429).answer, retry_after_s=25.0))

    assert (seen(limited, HOSTED).counts, seen(told(429), HOSTED).counts) == (HOSTED.policy.unready_after, 1)


# ---- how often -------------------------------------------------------------------------------------------------------


FRESH = Past(0, float("-inf"), doubted=False)


def asked_at(of: Spec, server: FakeServer, folder: Path, phase: Phase, seconds: int, past: Past = FRESH) -> list[int]:
    """The seconds after a start's first second in which it asks, looked at once a second."""
    clock, copy = ManualClock(), LogCopy(folder / "server.log")
    start = Start(of, (), FakeRuntime(), lambda: server.prober(""), copy, lambda: None, clock, past=past)
    found = []
    try:
        for second in range(seconds):
            before = len(server.asked)
            start.ask_when_due(phase)
            if _answered(start, server, before):
                found.append(second)
            clock.advance(1.0)
    finally:
        start.close()
    return found


def _answered(start: Start, server: FakeServer, before: int) -> bool:
    """Whether a question was asked, once its answer is there."""
    deadline = time.monotonic() + 20.0
    while start.busy:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    return len(server.asked) > before


def refusing(retry_after_s: float | None = None, *, ok: bool = False) -> FakeServer:
    server = FakeServer()
    outcome: Outcome = "ok" if ok else "http"
    server.gets = Answer(ok, outcome, 200 if ok else 429, "so", 0.0, retry_after_s)
    return server


def test_a_start_is_asked_ever_more_seldom_down_to_once_a_minute(tmp_path: Path) -> None:
    assert asked_at(HOSTED, refusing(), tmp_path, Phase.STARTING, 220) == [0, 5, 15, 35, 75, 135, 195]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.READY, Phase.UNREADY])
def test_a_retry_after_is_waited_out_in_every_phase(phase: Phase, tmp_path: Path) -> None:
    assert asked_at(HOSTED, refusing(90.0), tmp_path, phase, 200) == [0, 90, 180]


@pytest.mark.parametrize("nonsense", [86400.0, 999999999.0, float("inf")])
def test_nobody_makes_us_wait_for_more_than_an_hour(nonsense: float, tmp_path: Path) -> None:
    assert asked_at(HOSTED, refusing(nonsense), tmp_path, Phase.UNREADY, 3700) == [0, 3600]


def test_a_retry_after_beside_a_good_answer_means_nothing(tmp_path: Path) -> None:
    assert asked_at(HOSTED, refusing(3600.0, ok=True), tmp_path, Phase.READY, 130) == [0, 60, 120]


def test_a_server_of_ours_is_asked_on_whatever_it_would_like(tmp_path: Path) -> None:
    assert len(asked_at(spec(), refusing(3600.0), tmp_path, Phase.STARTING, 5)) == 5


def test_a_completion_is_asked_for_twice_an_hour_and_of_one_token(tmp_path: Path) -> None:
    server = FakeServer()
    asked_at(HOSTED, server, tmp_path, Phase.READY, 3660)

    assert server.asked.count("chat") == 2
    assert set(server.most_tokens) == {1}
    assert set(server.patience) == {60.0}
    assert server.asked.count("/v1/models") == 61


def test_patience_asked_of_one_start_is_kept_by_the_next(tmp_path: Path) -> None:
    clock, server, copy = ManualClock(), refusing(30.0), LogCopy(tmp_path / "server.log")
    first = Start(HOSTED, (), FakeRuntime(), lambda: server.prober(""), copy, lambda: None, clock, past=FRESH)
    first.ask_when_due(Phase.STARTING)
    _answered(first, server, 0)
    past = Past(1, first.not_before - clock.monotonic() + ManualClock().monotonic(), doubted=False)
    first.close()

    assert asked_at(HOSTED, refusing(ok=True), tmp_path, Phase.STARTING, 40, past)[:1] == [30]


@pytest.mark.parametrize(("doubted", "asks"), [(True, ["/v1/models", "chat"]), (False, ["/v1/models"])])
def test_one_that_was_unready_is_believed_only_by_a_completion(doubted: bool, asks: list[str], tmp_path: Path) -> None:
    server = refusing(ok=True)
    asked_at(HOSTED, server, tmp_path, Phase.UNREADY, 1, Past(0, float("-inf"), doubted))

    assert server.asked == asks
