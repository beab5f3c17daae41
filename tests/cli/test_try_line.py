"""The line to try after READY: a request that this deployment answers."""

from __future__ import annotations

import json
import shlex

import pytest

from launchpad.cli.up import serving_text
from launchpad.supervise.machine import Phase
from tests.cli.test_status import snapshot
from tests.deploy.specs import profile, spec

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("kind", "path", "asks"),
    [
        ("chat", "/v1/chat/completions", {"messages": MESSAGES}),
        ("none", "/v1/chat/completions", {"messages": MESSAGES}),
        ("completion", "/v1/completions", {"prompt": "Hello"}),
        ("embedding", "/v1/embeddings", {"input": "Hello"}),
    ],
)
def test_the_line_to_try_asks_for_what_is_served(kind: str, path: str, asks: dict[str, object]) -> None:
    made = spec(profile(probes={"completion": {"kind": kind}}))
    words = shlex.split(serving_text(made, snapshot(Phase.READY)).splitlines()[-1])

    assert words[2] == f"{made.endpoint}{path}"
    assert json.loads(words[-1]) == {"model": "small", **asks}
