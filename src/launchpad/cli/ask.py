"""``ask``: one question to a deployment, streamed: the smoke test that a person wants.

The answer goes to stdout, what the model thinks and every remark to stderr. Whether it thinks is said in the request wherever it is
known how (``engines/reasoning.py``): what a server does unasked differs from release to release. Nothing is retried.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from launchpad.cli import complete, render
from launchpad.cli.world import World
from launchpad.deploy.spec import Spec

if TYPE_CHECKING:
    from typing import TextIO

    from launchpad.engines.reasoning import Mode, Served
    from launchpad.errors import LaunchpadError
    from launchpad.health.stream import Piece, StreamProblem, Usage
    from launchpad.supervise.snapshot import Snapshot

#: Seconds of silence that are too long where the profile says nothing: the first answer may compile kernels.
_SILENCE_S: Final = 120.0
#: Seconds; what comes within so few was made before it was sent, and says nothing of a speed (seen with vLLM 0.32.0).
_BURST_S: Final = 0.05
_ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_KEY: Final = re.compile(r"[\x21-\x7e]+")
#: What a terminal would obey, and what turns its text around.
_UNSEEN: Final = (*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SEEN: Final = {code: None for code in _UNSEEN if chr(code) not in "\n\t"}


def ask(
    name: Annotated[str, typer.Argument(help="Deployment.", autocompletion=complete.deployments)],
    question: Annotated[str, typer.Argument(help="The question; - reads it from stdin.")],
    think: Annotated[
        str | None,
        typer.Option(
            "--think", help="non, high or max; else as the profile says, else non.", autocompletion=complete.modes
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Upper bound of reasoning and answer; else the server's.", min=1)
    ] = None,
    system: Annotated[str | None, typer.Option("--system", help="What the model is told beforehand.")] = None,
    key_env: Annotated[
        str | None, typer.Option("--key-env", help="Environment variable that holds the server's API key.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Answer, reasoning and figures as one JSON document.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The server's events as they come, one a line.")] = False,
) -> None:
    """Ask a deployment one question and show its answer as it comes, with tokens, time to the first one, and tokens/s.

    The answer goes to stdout, reasoning to stderr. Needs READY, or a hosted endpoint that its supervisor asks; the profile's
    serving.reasoning is the mode where --think is not given.

    Examples: launchpad ask v4-flash-sglang-tp4 "Why is the sky blue?" --think high | git diff | launchpad ask NAME - --json
    """
    if as_json and raw:
        raise typer.BadParameter("--json and --raw exclude each other")
    named = _named(think)
    world = World()
    target = _target(world, name)
    _refuse_other_kind(target)
    mode, said = _mode(target, named)
    asked = sys.stdin.read() if question == "-" else question
    talk = _Talk(world, quiet=as_json or raw)
    _converse(
        world,
        target,
        {**said, **_body(target.model, _text(name, asked), max_tokens, system)},
        _headers(world, target, key_env),
        talk,
        raw=raw,
    )
    if as_json:
        what = {"deployment": name, "model": target.model, "mode": mode, "said": said, "unsaid": _unsaid(target)}
        render.answer_json({**what, **talk.figures()})
    else:
        render.say(talk.summary(mode))


@dataclass(frozen=True, slots=True)
class _Target:
    """What is asked: where, by what name, and the spec that was asked for last, where it can still be read."""

    name: str
    endpoint: str
    model: str
    spec: Spec | None

    @property
    def hosted(self) -> bool:
        """Whether somebody else runs it."""
        return self.spec is not None and self.spec.hosted is not None

    @property
    def silence_s(self) -> float:
        return self.spec.completion.timeout_s if self.spec is not None else _SILENCE_S


def _target(world: World, name: str) -> _Target:
    """The deployment, which must be READY unless it is hosted; raises LaunchpadError with its phase and what to type."""
    from launchpad.cli import launch
    from launchpad.errors import LaunchpadError
    from launchpad.supervise.machine import Phase
    from launchpad.supervise.snapshot import Snapshot

    deployment = world.store.known(name)
    snapshot = deployment.read_state(Snapshot, world.clock.now())
    if snapshot is None:
        raise LaunchpadError(
            f"cannot ask {name}: its supervisor has not reported yet", hint=f"launchpad events {name} --follow"
        )
    phase = snapshot.state.phase
    if deployment.supervisor_pid() is None and phase not in {Phase.STOPPED, Phase.FAILED}:
        raise LaunchpadError(
            f"cannot ask {name}: no supervisor runs; it was {phase} when last seen",
            hint=f"{_again(snapshot)} (it adopts what still runs)",
        )
    wanted = launch.last_wanted(world, name)
    spec = wanted.spec if wanted is not None else None
    if phase is not Phase.READY:
        if not _may_be_asked(snapshot, spec):
            raise _not_ready(snapshot, hosted=spec is not None and spec.hosted is not None)
        why = f": {snapshot.state.reason}" if snapshot.state.reason else ""
        render.say(f"{name} is {phase}{why}; asked all the same")
    return _Target(name, snapshot.endpoint, snapshot.model, spec)


def _may_be_asked(snapshot: Snapshot, spec: Spec | None) -> bool:
    """Whether an answer tells more than the phase does: a hosted endpoint's tells whether a top-up or a new key works.

    Only where ``spec`` is what the snapshot is of: another one's key is not for that endpoint.
    """
    from launchpad.supervise.machine import Phase

    asked = snapshot.state.phase in {Phase.UNREADY, Phase.STARTING, Phase.BACKOFF}
    return asked and spec is not None and spec.hosted is not None and spec.hash == snapshot.spec_hash


def _not_ready(snapshot: Snapshot, *, hosted: bool) -> LaunchpadError:
    """Its phase, and what to type; nothing hosted logs here."""
    from launchpad.errors import LaunchpadError

    name, phase, load = snapshot.name, str(snapshot.state.phase), snapshot.load
    how = {
        "STARTING": f"launchpad events {name} --follow",
        "BACKOFF": f"launchpad events {name} --follow",
        "STOPPED": _again(snapshot),
        "FAILED": f"launchpad {'events' if hosted else 'logs'} {name}; mended: {_again(snapshot)}",
    }
    where = ""
    if phase == "STARTING" and load is not None and load.stage is not None:
        where = f" ({load.stage}{f' {load.done}/{load.total}' if load.total is not None else ''})"
    elif snapshot.state.reason:
        where = f": {snapshot.state.reason}"
    return LaunchpadError(f"cannot ask {name}: it is {phase}{where}", hint=how.get(phase, f"launchpad status {name}"))


def _again(snapshot: Snapshot) -> str:
    return f"launchpad {'rehearse' if snapshot.rehearsal else 'up'} {snapshot.name}"


def _refuse_other_kind(target: _Target) -> None:
    """A deployment that embeds has no answer to give."""
    from launchpad.errors import LaunchpadError

    if target.spec is not None and target.spec.completion.kind == "embedding":
        body = f'{{"model": "{target.model}", "input": "Hello"}}'
        raise LaunchpadError(
            f"cannot ask {target.name}: it embeds texts and does not answer",
            hint=f"curl {target.endpoint}/v1/embeddings -H 'Content-Type: application/json' -d '{body}'",
        )


def _named(think: str | None) -> Mode | None:
    """The mode that ``--think`` names."""
    from launchpad.engines import reasoning

    named = None if think is None else reasoning.short(think)
    if think is not None and named is None:
        raise typer.BadParameter(f"--think takes non, high or max, not {think!r}")
    return named


def _served(target: _Target) -> Served:
    from launchpad.engines import reasoning

    return reasoning.Served("an unknown engine", None) if target.spec is None else target.spec.served


def _unsaid(target: _Target) -> str | None:
    """What the server does where a request says nothing of a mode; None where that is unknown."""
    from launchpad.engines import reasoning

    return reasoning.unsaid(_served(target))


def _mode(target: _Target, named: Mode | None) -> tuple[Mode | None, dict[str, Any]]:
    """The mode and how it is said; (None, nothing) where nobody asked for one and nobody knows how."""
    from launchpad.engines import reasoning

    spec, it = target.spec, _served(target)
    wanted = named or (reasoning.short(spec.reasoning) if spec is not None and spec.reasoning else None)
    if wanted is None and not reasoning.ways_of(it):
        return None, {}
    mode = wanted or "non-think"
    try:
        said = reasoning.request(mode, it)
    except reasoning.UnknownMode as error:
        if named is not None:
            raise
        does = reasoning.unsaid(it)
        render.say(f"asked without a reasoning mode: {error.message}" + (f"; unsaid, it {does}" if does else ""))
        return None, {}
    context = spec.context_tokens if spec is not None else None
    if reasoning.too_short(mode, it, context):
        render.say(
            f"{target.name} has a context of {context} tokens; think-max wants {reasoning.MAX_NEEDS_TOKENS} and may be cut off"
        )
    return mode, said


def _text(name: str, question: str) -> str:
    from launchpad.errors import LaunchpadError

    if not question.strip():
        raise LaunchpadError(f"cannot ask {name}: the question is empty", hint=f'launchpad ask {name} "Say hello."')
    return _sound(question)


def _body(model: str, question: str, max_tokens: int | None, system: str | None) -> dict[str, Any]:
    told = [{"role": "system", "content": _sound(system)}] if system else []
    body: dict[str, Any] = {
        "model": model,
        "messages": [*told, {"role": "user", "content": question}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return body if max_tokens is None else {**body, "max_tokens": max_tokens}


def _headers(world: World, target: _Target, key_env: str | None) -> dict[str, str]:
    """The key, by the variable's name, or as the profile of a hosted endpoint says; no error text repeats what might be the key."""
    from launchpad.deploy.apply import key_of, read_secrets
    from launchpad.errors import LaunchpadError

    name, spec = target.name, target.spec
    if key_env is None:
        key = key_of(spec, read_secrets(spec, world.environ)) if spec is not None and target.hosted else None
        return {"Authorization": f"Bearer {key}"} if key else {}
    if not _ENV_NAME.fullmatch(key_env):
        raise LaunchpadError(
            f"cannot ask {name}: --key-env takes the name of an environment variable, never the key itself",
            hint=f'launchpad ask {name} "..." --key-env API_KEY',
        )
    key = world.environ.get(key_env, "").strip()
    if not _KEY.fullmatch(key):
        why = "holds what no header can carry" if key else "is not set"
        raise LaunchpadError(
            f"cannot ask {name}: the environment variable {key_env} {why}", hint=f"export {key_env}=..."
        )
    return {"Authorization": f"Bearer {key}"}


def _converse(
    world: World, target: _Target, body: dict[str, Any], headers: dict[str, str], talk: _Talk, *, raw: bool
) -> None:
    """Ask and listen to the end; raises LaunchpadError for whatever keeps it from coming."""
    from launchpad.health.stream import End, StreamProblem, stream_chat

    events = stream_chat(
        target.endpoint,
        body,
        headers,
        clock=world.clock,
        silence_s=target.silence_s,
        raw=(lambda data: render.out(_sound(data).translate(_SEEN))) if raw else None,
        outside=target.hosted,
    )
    try:
        for event in events:
            if isinstance(event, End):
                talk.end(event.finish, event.usage)
            else:
                talk.piece(event)
    except StreamProblem as problem:
        talk.close()
        raise _failed(target, problem, talk) from problem
    except KeyboardInterrupt:
        talk.close()
        render.say(f"ended by Ctrl-C, {talk.summary(None)}")
        raise
    talk.close()


def _failed(target: _Target, problem: StreamProblem, talk: _Talk) -> LaunchpadError:
    from launchpad.engines.hosted import UNASKED
    from launchpad.errors import LaunchpadError

    name, says = target.name, problem.says
    logs, status = f"launchpad logs {name}", f"launchpad status {name}"
    if target.hosted:  # nothing of it logs here
        logs = UNASKED if problem.kind in {"unreachable", "broken"} else "ask again; if that goes on, ask its provider"
        status = logs
    far = f" after {talk.chunks} pieces" if talk.chunks else ""
    match problem.kind:
        case "unreachable":
            return LaunchpadError(f"cannot ask {name}: nobody answers at {target.endpoint}: {says}", hint=status)
        case "http":
            return _refused(target, problem)
        case "error":
            return LaunchpadError(f"cannot hear {name} out: it said{far}: {says}", hint=logs)
        case "silent" | "cut":
            return LaunchpadError(f"cannot hear {name} out: {says}{far}", hint=logs)
        case _:
            return LaunchpadError(f"cannot ask {name} at {target.endpoint}: {says}", hint=logs)


def _refused(target: _Target, problem: StreamProblem) -> LaunchpadError:
    """The server said no: its status, its words, and what helps."""
    from launchpad.errors import LaunchpadError

    name, status = target.name, problem.status or 0
    hints = {
        400: "ask less, or with another --max-tokens or --think",
        401: f'launchpad ask {name} "..." --key-env NAME, the environment variable that holds its key',
        402: "its account has no balance",
        404: f"launchpad status {name} shows the model; it was asked for {target.model}",
        410: "it is gone for good: take another model or endpoint into the profile",
        429: f"try again in {problem.retry_after} s" if (problem.retry_after or "").isdigit() else "try again later",
    }
    hints[403] = hints[401]
    hint = hints.get(status, f"launchpad logs {name}" if status >= 500 else f"launchpad status {name}")
    if target.hosted:
        return _refused_elsewhere(target, problem, hint if status in {400, 429} else None)
    return LaunchpadError(f"cannot ask {name}: it answered {status}: {problem.says}", hint=hint)


def _refused_elsewhere(target: _Target, problem: StreamProblem, hint: str | None) -> LaunchpadError:
    """A hosted endpoint said no: what that means there, too; ``hint`` is the better one for a question of a person's own."""
    from launchpad.engines.hosted import MEANS
    from launchpad.errors import LaunchpadError

    meaning = MEANS.get(problem.status or 0)
    means = f" ({meaning.says})" if meaning else ""
    hint = hint or (meaning.hint.replace("NAME", target.name) if meaning else f"launchpad status {target.name}")
    return LaunchpadError(f"cannot ask {target.name}: it answered {problem.status}{means}: {problem.says}", hint=hint)


class _Talk:
    """What was said so far, shown as it comes unless ``quiet``, and when. Times are seconds since it was asked."""

    def __init__(self, world: World, *, quiet: bool) -> None:
        self._clock, self._quiet = world.clock, quiet
        self._began = world.clock.monotonic()
        self._first: float | None = None
        self._last: float | None = None
        self._ended: float | None = None
        self._showing: str | None = None
        self._finish: str | None = None
        self._usage: Usage | None = None
        self.texts: dict[str, list[str]] = {"reasoning": [], "answer": []}
        self.chunks = 0

    def piece(self, piece: Piece) -> None:
        """One more piece."""
        self._last = self._clock.monotonic() - self._began
        self._first = self._last if self._first is None else self._first
        self.chunks += 1
        text = _sound(piece.text)
        self.texts[piece.kind].append(text)
        if self._quiet:
            return
        if piece.kind != self._showing:
            self._turn(piece.kind)
        _write(sys.stderr if piece.kind == "reasoning" else sys.stdout, text, dim=piece.kind == "reasoning")

    def _turn(self, kind: str) -> None:
        """Say what comes now; an answer without reasoning needs no mark."""
        if kind == "answer" and self._showing is None:
            self._showing = kind
            return
        self._line_end()
        self._showing = kind
        _write(sys.stderr, f"--- {kind}\n", dim=True)

    def _line_end(self) -> None:
        if self._showing is not None:
            said = self.texts[self._showing]
            if said and not said[-1].endswith("\n"):
                _write(sys.stderr if self._showing == "reasoning" else sys.stdout, "\n")

    def end(self, finish: str | None, usage: Usage | None) -> None:
        """The server's last word."""
        self._finish, self._usage = finish, usage

    def close(self) -> None:
        """Nothing more comes: end the line."""
        self._ended = self._clock.monotonic() - self._began
        if not self._quiet:
            self._line_end()

    @property
    def _rate(self) -> float | None:
        """Tokens a second after the first one, by the server's count; None for an answer that came in one go."""
        made = self._usage.completion_tokens if self._usage else None
        if made is None or made < 2 or self._first is None or self._last is None or self._last - self._first < _BURST_S:
            return None
        return (made - 1) / (self._last - self._first)

    def figures(self) -> dict[str, Any]:
        """Everything, under its published names; None is unknown."""
        usage = self._usage
        return {
            "answer": "".join(self.texts["answer"]),
            "reasoning": "".join(self.texts["reasoning"]) or None,
            "finish_reason": self._finish,
            "prompt_tokens": usage.prompt_tokens if usage else None,
            "completion_tokens": usage.completion_tokens if usage else None,
            "reasoning_tokens": usage.reasoning_tokens if usage else None,
            "pieces": self.chunks,
            "ttft_s": _rounded(self._first),
            "seconds": _rounded(self._ended),
            "tokens_per_s": _rounded(self._rate),
        }

    def summary(self, mode: str | None) -> str:
        """One line: ``think-high, 12 tokens in, 34 out, first after 0.21 s, 41.2 tokens/s, 1.02 s in all, finish: stop``."""
        usage, rate = self._usage, self._rate
        out = _known(usage.completion_tokens if usage else None)
        out += f" ({usage.reasoning_tokens} reasoning)" if usage and usage.reasoning_tokens is not None else ""
        parts = [
            *([mode] if mode else []),
            f"tokens in {_known(usage.prompt_tokens if usage else None)}",
            f"out {out}" + ("" if usage else f" ({self.chunks} pieces)"),
            f"first after {self._first:.2f} s" if self._first is not None else "no text",
            f"{rate:.1f} tokens/s" if rate is not None else "tokens/s unknown",
            f"{self._ended or 0:.2f} s in all",
            f"finish: {self._finish or 'none said'}",
        ]
        return ", ".join(parts)


def _sound(text: str) -> str:
    """``text`` without half characters, which no output can carry."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _known(number: int | None) -> str:
    return "unknown" if number is None else str(number)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _write(stream: TextIO, text: str, *, dim: bool = False) -> None:
    """Text as it comes; a terminal gets nothing that it would obey."""
    shown = text.translate(_SEEN) if stream.isatty() else text
    stream.write(f"\x1b[2m{shown}\x1b[0m" if dim and render.colour(stream) else shown)
    stream.flush()
