"""What differs from engine to engine: its flags, lines, names and endpoints, and how it starts, stops and dies.

The base class is what they share; ``sglang.py``, ``vllm.py`` and ``generic.py`` each say the rest, mostly as tables. Outside
those three no file asks which engine it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from launchpad.rehearse.standin.script import play

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.rehearse.faults import FatalLine
    from launchpad.rehearse.standin.life import Life
    from launchpad.rehearse.standin.log import Log
    from launchpad.rehearse.standin.meters import Exposition
    from launchpad.rehearse.standin.plan import Plan
    from launchpad.rehearse.standin.script import Script
    from launchpad.rehearse.standin.settings import Settings

#: Status and body; None where the engine has no such path.
Reply = tuple[int, object] | None


class Engine:
    """One engine's manners. What a subclass must name has no value here."""

    #: Share of ``load_seconds`` that each stage takes, cold. A warm cache cuts the stages in ``warmed`` to a tenth.
    shares: ClassVar[dict[str, float]]
    warmed: ClassVar[frozenset[str]] = frozenset()
    script: ClassVar[Script] = {}
    exposition: ClassVar[Exposition]
    posts: ClassVar[dict[str, str]] = {
        "/v1/chat/completions": "chat",
        "/v1/completions": "completion",
        "/v1/embeddings": "embedding",
    }

    #: vLLM takes its port before it loads, and listens when it is done; the others do both in a stage of their script.
    binds_first: ClassVar[bool] = False
    checks_model: ClassVar[bool] = True
    #: Where reasoning stands in a message.
    reasoning_field: ClassVar[str] = "reasoning_content"
    refuses_while_draining: ClassVar[bool] = False
    ready_line: ClassVar[str | None] = None
    drain_lines: ClassVar[tuple[str, ...]] = ("INFO:     Shutting down",)
    still_line: ClassVar[str | None] = None
    drained_lines: ClassVar[tuple[str, ...]] = (
        "INFO:     Waiting for application shutdown.",
        "INFO:     Application shutdown complete.",
    )
    bind_error: ClassVar[str] = (
        "ERROR:    [Errno {errno}] error while attempting to bind on address ({host!r}, {port}): {why}"
    )
    ranks_error: ClassVar[str] = "torch.AcceleratorError: CUDA error: invalid device ordinal"

    def __init__(self, log: Log) -> None:
        self.log = log

    def plan(self, settings: Settings, words: list[str], environ: dict[str, str]) -> Plan:
        """The server that ``words`` start; raises Refused as the real one does."""
        raise NotImplementedError

    def play(self, life: Life, stage: str) -> Iterator[float]:
        """Write a stage's lines; what is yielded is the share of the stage that is over by then."""
        yield from play(life, self.script.get(stage, ()))

    def fields(self, life: Life) -> dict[str, object]:  # noqa: ARG002 - the base has none
        """What the script's lines say besides the plan and the times."""
        return {}

    def get(self, life: Life, path: str) -> Reply:
        """The answer to a GET that is this engine's own."""
        raise NotImplementedError

    def kind(self, plan: Plan, path: str) -> str | None:  # noqa: ARG002 - all models of the base answer the same
        """What a POST to ``path`` asks for; None where there is no such path."""
        return self.posts.get(path)

    def guards(self, path: str) -> bool:
        """Whether the path wants the API key."""
        return path.startswith("/v1/")

    def took_request(self, life: Life, prompt_tokens: int) -> None:
        """What is logged when a request begins to run."""

    def fatal_text(self, line: FatalLine) -> str:
        """The engine's own wording of a fatal line."""
        return line.sglang

    def give_up(self, trace: str) -> str:
        """Log a worker's ``trace``; the line with which the server ends over it."""
        return trace

    def say_stalled(self) -> None:
        """The line of one that logs and gets nowhere."""
        self.log.say("launchpad rehearsal: stalled, no progress")
