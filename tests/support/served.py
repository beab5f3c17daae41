"""A deployment of a real engine that lives through a whole file of tests: brought up, looked at, and taken down again.

It is a :class:`~tests.e2e.harness.Rig` and a name, with the patience that a real engine needs and with what only a real one does.
It refuses to start an engine without ``launchpad``.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import openai
from tests.e2e.harness import BRISK, Ran, Rig, eventually, layered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import docker

    from launchpad.store.journal import Event

#: Seconds. A real engine needs one minute on an idle machine with two cores; a busy one has made it wait for ten.
UP_SECONDS: Final = 1500.0
#: Seconds from a crash or a hang to READY.
RESTART_SECONDS: Final = 1200.0
#: Seconds to a container's end, its stop grace among them.
DOWN_SECONDS: Final = 180.0


def taken_back(tables: Mapping[str, Any]) -> dict[str, Any]:
    """Tables that, laid over ``tables``, take every key out again."""
    return {key: taken_back(value) if isinstance(value, dict) else None for key, value in tables.items()}


#: A real engine takes its time: none of the rig's short deadlines, long ones for its start, and no made-up digest.
UNHURRIED: Final = layered(
    {**taken_back(BRISK), "image": {"digest": None}}, {"deadlines": {"startup": "20m", "stall": "20m"}}
)


@dataclass(frozen=True)
class Served:
    """One deployment, by name, on a launchpad of the tests' own."""

    rig: Rig
    name: str

    @classmethod
    def under(cls, rig: Rig, word: str, extends: str, **tables: Any) -> Served:
        """A deployment with a profile of its own on a port of its own; the same word again rewrites it."""
        return cls(rig, rig.profile(word, extends=extends, **layered(UNHURRIED, tables)))

    def run(self, word: str, *words: str, timeout: float = 180.0) -> Ran:
        """``launchpad WORD NAME WORDS``, to its end."""
        return self.rig.run(word, self.name, *words, timeout=timeout)

    def up(self, *words: str) -> Ran:
        """``launchpad up``, which must end well."""
        return self.run("up", *words, timeout=UP_SECONDS).ends(0)

    def down(self) -> Ran:
        """``launchpad down``."""
        return self.run("down", timeout=DOWN_SECONDS)

    def status(self) -> dict[str, Any]:
        """What ``launchpad status --json`` says."""
        return self.rig.status(self.name)

    def state(self) -> dict[str, Any]:
        """What the supervisor published last."""
        found: dict[str, Any] = json.loads((self.rig.deployment(self.name) / "state.json").read_text())
        return found

    def told(self, what: str) -> list[Event]:
        """The journal's lines of an event, or of a phase that was entered."""
        return [item for item in self.rig.journal(self.name) if what in {item.event, item.to}]

    def ready_again(self, times: int) -> Event:
        """The journal's line that tells of READY for the ``times``-th time; waits for it."""
        return self.await_told("READY", times, RESTART_SECONDS)

    def await_told(self, what: str, times: int = 1, seconds: float = 60.0) -> Event:
        """The ``times``-th line of :meth:`told`; waits for it."""
        found = eventually(
            lambda: lines if len(lines := self.told(what)) >= times else None,
            seconds,
            f"{what} of {self.name}, {times} times",
        )
        return found[times - 1]

    def kept(self) -> tuple[str, str, int]:
        """What a restart would change: the container's id, when it started, and how often the supervisor restarted it."""
        status = self.status()
        container = status["containers"][0]
        return container["id"], container["started_at"], status["restarts"]

    # -- the engine

    def signal_engine_core(self, client: docker.DockerClient, signal: str) -> None:
        """Send a signal to vLLM's engine core, found by the name it gives itself; the image has no ps, and its user may."""
        container = client.containers.get(f"launchpad-{self.name}")
        assert container.exec_run(["python", "-c", SIGNAL_ENGINE_CORE, signal]).output == b"sent\n"

    def client(self) -> openai.OpenAI:
        """The real openai client; nothing is retried."""
        return openai.OpenAI(
            base_url=f"{self.endpoint()}/v1",
            api_key="none",
            max_retries=0,
            timeout=300,
        )

    def endpoint(self) -> str:
        """Where it is served, as ``status`` says."""
        return str(self.status()["endpoint"]).rstrip("/").removesuffix("/v1")

    def complete(self, tokens: int) -> int:
        """One completion of exactly so many tokens; how many came."""
        with self.client() as client:
            done = client.completions.create(
                model="tiny", prompt="Go on.", max_tokens=tokens, extra_body={"ignore_eos": True}
            )
        assert done.usage is not None
        return done.usage.completion_tokens

    def asking(self, tokens: int) -> threading.Thread:
        """A completion under way; a server that ends over it is no fault of the asker's."""

        def ask() -> None:
            with suppress(openai.OpenAIError):
                self.complete(tokens)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        return thread


SIGNAL_ENGINE_CORE: Final = """
import os, pathlib, signal, sys
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    if (entry / "comm").read_text().startswith("VLLM::EngineCor"):
        os.kill(int(entry.name), signal.Signals[sys.argv[1]])
        print("sent")
"""


@contextmanager
def own_rig(folder: Path, client: docker.DockerClient) -> Iterator[Rig]:
    """A launchpad of the tests' own; nothing of it is left afterwards, or they fail."""
    made = Rig(folder / "rig", client)
    try:
        yield made
    finally:
        left = made.close()
    assert left == []
