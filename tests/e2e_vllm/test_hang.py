"""A real vLLM whose engine core is stopped: its health goes on saying 200, and launchpad finds out from its metrics.

One deployment lives through the whole file, and the tests run in its order. Measured on vLLM 0.32.0 CPU (2026-11-23): after
SIGSTOP of the engine core ``/health`` answered 200 within 6 ms for a minute, and nothing but the front's own ``process_*``,
``python_*`` and ``http_*`` values moved in its metrics.
"""

from __future__ import annotations

import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.harness import Rig, eventually
from tests.e2e_vllm.models import PROFILE
from tests.support.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]

HANG_SECONDS = 15
HANGS_SOON: dict[str, Any] = {
    "serving": {"context_length": 16384},
    "env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": 1},  # the model was made for 512, and means nothing anyhow
    "deadlines": {"hang": f"{HANG_SECONDS}s", "stop_grace": "5s"},
}


def health(served: Served) -> int:
    with urllib.request.urlopen(f"{served.endpoint()}/health", timeout=5) as answer:
        return int(answer.status)


@pytest.fixture(scope="module")
def served(rig: Rig, image: str) -> Iterator[Served]:
    made = Served.under(rig, "hang", PROFILE, **HANGS_SOON)
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_traffic_is_what_the_real_metrics_say(served: Served) -> None:
    asked = served.asking(1500)
    seen = eventually(
        lambda: (
            (traffic := served.state()["traffic"])
            and traffic["running"] == 1
            and traffic["generation_tokens_per_s"]
            and traffic
        ),
        180.0,
        "tokens per second",
    )
    asked.join()
    print(f"tokens per second while one completion runs: {seen['generation_tokens_per_s']}")
    assert seen["kv_usage"] > 0
    assert seen["generation_tokens_total"] > 8  # what the readiness completion made


def test_the_totals_count_every_token_of_a_completion(served: Served) -> None:
    calm = eventually(
        lambda: (traffic := served.state()["traffic"]) and traffic["running"] == 0 and traffic, 180.0, "no request"
    )
    before = calm["generation_tokens_total"]
    made = served.complete(64)
    after = eventually(
        lambda: (total := served.state()["traffic"]["generation_tokens_total"]) >= before + made and total,
        180.0,
        "the total",
    )
    assert made <= after - before <= made + 2  # and at most our own probe's


def test_a_stopped_engine_core_is_named_as_a_hang_while_health_says_200(
    served: Served, client: docker.DockerClient
) -> None:
    served.asking(15_000)
    eventually(lambda: served.state()["traffic"]["running"] == 1, 180.0, "a running request")
    served.signal_engine_core(client, "SIGSTOP")
    stopped = time.time()
    time.sleep(3.0)
    said = health(served)
    event = served.await_told("STOPPING")
    noticed = event.at.timestamp() - stopped
    print(f"from SIGSTOP to the journal: {noticed:.1f} s")
    assert said == 200
    assert event.reason.startswith("hangs: 1 request running and no token for ")
    assert HANG_SECONDS - 1 < noticed < HANG_SECONDS + 30


def test_it_is_ready_again_by_itself(served: Served) -> None:
    took = served.ready_again(2).at - served.await_told("STOPPING").at
    print(f"from the journal's hang to READY: {took.total_seconds():.1f} s")
    assert served.complete(4) == 4
