"""One chat question to a deployment, for the demo: ``chat.py "$(launchpad status NAME --json)"``. Standard library only."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any


def ask(status: dict[str, Any], question: str) -> str:
    """The answer of the deployment whose ``status --json`` this is."""
    body = {"model": status["model"], "messages": [{"role": "user", "content": question}], "max_tokens": 64}
    request = urllib.request.Request(
        f"{status['endpoint']}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    return str(answer["choices"][0]["message"]["content"])


if __name__ == "__main__":
    question = "Hello! Who answers?"
    print(f"you:   {question}")
    print(f"model: {ask(json.loads(sys.argv[1]), question)}")
