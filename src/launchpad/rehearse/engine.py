"""A stand-in for an inference server: its flags, log lines, load stages, endpoints and metrics, and no model.

Run as ``python3 engine.py WORDS...`` where the words are the profile's own command, with the environment variable
``LAUNCHPAD_REHEARSAL`` holding a JSON object:

    engine          "sglang", "vllm" or "generic"; must be there
    load_seconds    how long the whole load takes, cold (8.0)
    faults          what is to go wrong, each as ``faults.py`` writes it; none by default
    gpus            how many GPUs it may act as if it had; unknown by default
    served_name     the model's name where the command says none
    container_port  the port where the command says none; the engine's own default otherwise
    health_path     generic only: the path that tells its health ("/health")
    cache_dir       where the warm mark is kept; else SGLANG_CACHE_DIR, VLLM_CACHE_ROOT, or /cache where that is a directory
    cached          true or false decides warm or cold, whatever the cache says
    state_dir       where ``once:`` faults are remembered (cache_dir); a clean stop forgets them
    attempt         the number of this start, which decides ``once:`` without any file
    token_seconds   time between two tokens (0.005)
    version         the version it says it is
    shards          how many weight shards it counts (46)

It needs nothing but Python >= 3.11 and ``faults.py`` beside it, so it runs in a container that holds nothing else. Log lines
are those of SGLang 0.5.16 to 0.5.23 and vLLM 0.26.0 to 0.33.0 (real starts on 4x H200, 2026-11-22, and the wheels' sources).
It refuses to pretend: its first log line and every completion say that this is a rehearsal. It is no model of performance.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TextIO

if TYPE_CHECKING or __package__:
    from launchpad.rehearse.faults import FATAL_LINES, Fault, parse_faults
else:  # run as a script, where no launchpad is installed
    from faults import FATAL_LINES, Fault, parse_faults

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE: Final = "LAUNCHPAD_REHEARSAL"
ENGINES: Final = ("sglang", "vllm", "generic")
SAID: Final = "This is a rehearsal: no model is loaded."
MOST_HOST_BYTES: Final = 8 << 30
WARM_MARK: Final = "launchpad-rehearsal-warm"


# -- what it is told ---------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The command or the rehearsal's settings are wrong; ``code`` is how the process ends."""

    def __init__(self, text: str, code: int = 2) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``LAUNCHPAD_REHEARSAL`` says; see the head of this file."""

    engine: str
    load_seconds: float = 8.0
    faults: tuple[Fault, ...] = ()
    gpus: int | None = None
    served_name: str | None = None
    container_port: int | None = None
    health_path: str = "/health"
    cache_dir: str | None = None
    cached: bool | None = None
    state_dir: str | None = None
    attempt: int | None = None
    token_seconds: float = 0.005
    version: str | None = None
    shards: int = 46


def read_settings(environ: dict[str, str]) -> Settings:
    """The settings in ``environ``; raises Refused with one line."""
    text = environ.get(VARIABLE)
    if text is None:
        raise Refused(f"rehearsal: {VARIABLE} is not set; this is launchpad's stand-in engine, not a real one")
    try:
        table = json.loads(text)
    except ValueError as problem:
        raise Refused(f"rehearsal: {VARIABLE} is no JSON: {problem}") from problem
    if not isinstance(table, dict) or table.get("engine") not in ENGINES:
        raise Refused(f"rehearsal: {VARIABLE} needs engine, one of {', '.join(ENGINES)}")
    unknown = sorted(set(table) - set(Settings.__dataclass_fields__))
    if unknown:
        raise Refused(f"rehearsal: {VARIABLE} knows no {unknown[0]!r}")
    try:
        faults = parse_faults(table.get("faults") or [])
    except ValueError as problem:
        raise Refused(f"rehearsal: {problem}") from problem
    given = {key: value for key, value in table.items() if value is not None and key != "faults"}
    given.setdefault("cache_dir", _cache_dir(environ))
    given.setdefault("state_dir", given["cache_dir"])
    return Settings(**given, faults=faults)


def _cache_dir(environ: dict[str, str]) -> str | None:
    for name in ("SGLANG_CACHE_DIR", "VLLM_CACHE_ROOT"):
        if environ.get(name):
            return environ[name]
    return "/cache" if Path("/cache").is_dir() else None


@dataclass(frozen=True, slots=True)
class Arity:
    """How many values a known flag takes, and of what type."""

    dest: str
    type: Callable[[str], object] = str
    least: int = 1
    most: int = 1


def _count(text: str) -> int:
    """A whole number, or ``512Ki`` and ``1M`` as both engines read them."""
    scale = {"k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmg]i?)?", text.strip(), re.ASCII | re.IGNORECASE)
    if not match:
        raise ValueError(text)
    return int(float(match[1]) * scale.get((match[2] or "").lower(), 1))


def _switch(dest: str) -> Arity:
    return Arity(dest, least=0, most=0)


#: The flags that change what the stand-in does. All others are let through, as long as they look like flags.
SGLANG_FLAGS: Final = {
    "--model-path": Arity("model"),
    "--model": Arity("model"),
    "--host": Arity("host"),
    "--port": Arity("port", int),
    "--served-model-name": Arity("served"),
    "--tp-size": Arity("tp", int),
    "--tensor-parallel-size": Arity("tp", int),
    "--context-length": Arity("context", _count),
    "--max-total-tokens": Arity("pool", _count),
    "--max-running-requests": Arity("running", int),
    "--mem-fraction-static": Arity("fraction", float),
    "--api-key": Arity("api_key"),
    "--enable-metrics": _switch("metrics"),
    "--skip-server-warmup": _switch("skip_warmup"),
    "--disable-cuda-graph": _switch("eager"),
    "--cuda-graph-backend-decode": Arity("graph_backend"),
    "--trust-remote-code": _switch("trust"),
}
VLLM_FLAGS: Final = {
    "--model": Arity("model"),
    "--host": Arity("host"),
    "--port": Arity("port", int),
    "--served-model-name": Arity("served", most=64),
    "--tensor-parallel-size": Arity("tp", int),
    "-tp": Arity("tp", int),
    "--max-model-len": Arity("context", _count),
    "--max-num-seqs": Arity("running", int),
    "--gpu-memory-utilization": Arity("fraction", float),
    "--api-key": Arity("api_key", most=64),
    "--disable-log-stats": _switch("no_metrics"),
    "--enforce-eager": _switch("eager"),
    "--trust-remote-code": _switch("trust"),
}
_LOOKS_LIKE_A_FLAG = re.compile(r"--?[a-z0-9][a-z0-9._+-]*", re.ASCII | re.IGNORECASE)


@dataclass(slots=True)
class Command:
    """The words of a command, taken apart as argparse would: known values by name, and the flags that were let through."""

    prog: str
    values: dict[str, list[Any]] = field(default_factory=dict)
    switches: set[str] = field(default_factory=set)
    positionals: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def one(self, dest: str) -> Any:  # the value's type is its Arity's
        """The last first-value given for ``dest``, else None."""
        found = self.values.get(dest)
        return found[0] if found else None

    def fail(self, text: str) -> NoReturn:
        """End as argparse ends: usage, then one line, exit code 2."""
        raise Refused(f"usage: {self.prog} [-h] [options]\n{self.prog}: error: {text}")


def parse_command(prog: str, known: dict[str, Arity], words: list[str], refused_flags: set[str]) -> Command:
    """Take ``words`` apart. Raises Refused with argparse's own wording for what argparse would refuse."""
    command = Command(prog)
    stray: list[str] = []
    at = 0
    while at < len(words):
        word, at = words[at], at + 1
        if not _is_flag(word):
            (command.positionals if not (command.values or command.switches or command.others) else stray).append(word)
            continue
        name, equals, inline = word.partition("=")
        name = "--" + name[2:].replace("_", "-") if name.startswith("--") else name
        values = [inline] if equals else []
        while not equals and at < len(words) and not _is_flag(words[at]):
            values.append(words[at])
            at += 1
        if name in refused_flags or not _LOOKS_LIKE_A_FLAG.fullmatch(name):
            stray.extend([word, *([] if equals else values)])
            continue
        arity = known.get(_full_name(command, known, name))
        if arity is None:
            command.others.append(name)
        else:
            stray.extend(_store(command, name, arity, values))
    if stray:
        command.fail(f"unrecognized arguments: {' '.join(stray)}")
    return command


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and not re.fullmatch(r"-\d+(\.\d+)?", word, re.ASCII)


def _full_name(command: Command, known: dict[str, Arity], name: str) -> str:
    """``--tp`` for ``--tp-size``: argparse takes an unambiguous prefix, and real commands rely on that one."""
    if name in known or name != "--tp":
        return name
    return (
        next((full for full in known if full.startswith("--tp")), name) if command.prog.startswith("sglang") else name
    )


def _store(command: Command, name: str, arity: Arity, values: list[str]) -> list[str]:
    """Keep what the flag takes, and give back what is left over."""
    if len(values) < arity.least:
        command.fail(f"argument {name}: expected {'one argument' if arity.most == 1 else 'at least one argument'}")
    taken, left = values[: arity.most], values[arity.most :]
    if arity.most == 0:
        command.switches.add(arity.dest)
        return left
    try:
        command.values[arity.dest] = [arity.type(value) for value in taken]
    except ValueError:
        kind = getattr(arity.type, "__name__", "value").strip("_")
        command.fail(f"argument {name}: invalid {kind} value: {taken[0]!r}")
    return left


@dataclass(frozen=True, slots=True)
class Plan:
    """What this server will be: everything the command and the settings decide."""

    engine: str
    version: str
    model: str
    names: tuple[str, ...]
    host: str
    port: int
    ranks: int
    context: int
    pool: int
    running: int
    fraction: float
    metrics: bool
    graphs: bool
    warmup: bool
    api_key: str | None
    words: tuple[str, ...]
    others: tuple[str, ...]


def plan_of(settings: Settings, words: list[str], environ: dict[str, str]) -> Plan:
    """The server that ``words`` start; raises Refused as the real one does."""
    refused = {fault.value for fault in settings.faults if fault.kind == "unknown-flag" and fault.value}
    if settings.engine == "sglang":
        return _sglang_plan(settings, words, refused)
    if settings.engine == "vllm":
        return _vllm_plan(settings, words, environ, refused)
    return _generic_plan(settings, words, refused)


def _after_program(words: list[str], heads: tuple[tuple[str, ...], ...]) -> list[str]:
    """``words`` without the program's own: the longest head that fits, where a Python may stand for any other."""
    plain = [re.sub(r"^.*/", "", word) if index == 0 else word for index, word in enumerate(words)]
    if plain and re.fullmatch(r"python(3(\.\d+)?)?", plain[0]):
        plain[0] = "python"
    for head in sorted(heads, key=len, reverse=True):
        if tuple(plain[: len(head)]) == head:
            return words[len(head) :]
    if plain and not _is_flag(words[0]) and heads[-1] != ():
        raise Refused(f'exec: "{words[0]}": executable file not found in $PATH', 127)
    return words


def _sglang_plan(settings: Settings, words: list[str], refused: set[str]) -> Plan:
    heads = (("sglang", "serve"), ("python", "-m", "sglang.launch_server"))
    rest = _after_program(words, heads)
    prog = "launch_server.py" if "sglang.launch_server" in words[:3] else "sglang serve"
    command = parse_command(prog, SGLANG_FLAGS, rest, refused)
    model = command.one("model") or (command.positionals[0] if command.positionals else None)
    if model is None:
        command.fail("the following arguments are required: --model-path/--model")
    tp = command.one("tp") or 1
    context = command.one("context") or 1_048_576
    return Plan(
        engine="sglang",
        version=settings.version or "0.5.23",
        model=model,
        names=(command.one("served") or model,),
        host=command.one("host") or "127.0.0.1",
        port=command.one("port") or 30000,
        ranks=tp,
        context=context,
        pool=min(command.one("pool") or 1_536_000, 1_536_000),
        running=command.one("running") or 256,
        fraction=command.one("fraction") or 0.88,
        metrics="metrics" in command.switches,
        graphs="eager" not in command.switches and command.one("graph_backend") != "disabled",
        warmup="skip_warmup" not in command.switches,
        api_key=command.one("api_key"),
        words=tuple(words),
        others=tuple(command.others),
    )


def _vllm_plan(settings: Settings, words: list[str], environ: dict[str, str], refused: set[str]) -> Plan:
    heads = (
        ("vllm", "serve"),
        ("serve",),
        ("python", "-m", "vllm.entrypoints.cli.main", "serve"),
        ("python", "-m", "vllm.entrypoints.openai.api_server"),
        (),
    )
    command = parse_command("vllm serve", VLLM_FLAGS, _after_program(words, heads), refused)
    if len(command.positionals) > 1:
        command.fail(f"unrecognized arguments: {' '.join(command.positionals[1:])}")
    model = command.positionals[0] if command.positionals else command.one("model") or "Qwen/Qwen3-0.6B"
    keys = command.values.get("api_key") or [environ.get("VLLM_API_KEY") or None]
    return Plan(
        engine="vllm",
        version=settings.version or "0.33.0",
        model=model,
        names=tuple(command.values.get("served") or (model,)),
        host=command.one("host") or "",
        port=command.one("port") or 8000,
        ranks=command.one("tp") or 1,
        context=command.one("context") or 1_048_576,
        pool=1_464_320,
        running=command.one("running") or 256,
        fraction=command.one("fraction") or 0.9,
        metrics="no_metrics" not in command.switches,
        graphs="eager" not in command.switches,
        warmup=True,
        api_key=keys[0],
        words=tuple(words),
        others=tuple(command.others),
    )


def _generic_plan(settings: Settings, words: list[str], refused: set[str]) -> Plan:
    """Of an unknown engine only host and port are read, where its command spells them as everybody does."""
    stray = [word for word in words if word.partition("=")[0] in refused]
    if stray:
        raise Refused(f"error: unrecognized arguments: {' '.join(stray)}")
    known: dict[str, str] = {}
    for index, word in enumerate(words):
        name, equals, inline = word.partition("=")
        if name in {"--host", "--port", "--served-model-name", "--alias"}:
            known[name] = inline if equals else words[index + 1] if index + 1 < len(words) else ""
    port = known.get("--port", "")
    name = settings.served_name or known.get("--served-model-name") or known.get("--alias") or "model"
    return Plan(
        engine="generic",
        version=settings.version or "rehearsal",
        model=name,
        names=(name,),
        host=known.get("--host", ""),
        port=int(port) if port.isdigit() else settings.container_port or 8000,
        ranks=1,
        context=1_048_576,
        pool=1_048_576,
        running=64,
        fraction=0.9,
        metrics=True,
        graphs=False,
        warmup=True,
        api_key=None,
        words=tuple(words),
        others=(),
    )


# -- what it says ------------------------------------------------------------------------------------------------------


class Log:
    """Lines as each engine writes them; one thread at a time."""

    def __init__(self, engine: str, out: TextIO, err: TextIO) -> None:
        self.engine = engine
        self._out, self._err = out, err
        self._lock = threading.Lock()
        self._bar_open = False
        #: vLLM's workers get their rank's name once the ranks have met.
        self.ranked = False

    def raw(self, text: str, *, out: bool = False) -> None:
        """A line with no prefix."""
        self._write(self._out if out else self._err, text + "\n")

    def say(self, text: str, *, rank: int | None = None, level: str = "INFO", where: str = "") -> None:
        """A log line of the server, or of one rank of it."""
        if self.engine == "sglang":
            who = "" if rank is None else f" TP{rank}"
            self.raw("\n".join(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}{who}] {line}" for line in [text]))
        elif self.engine == "vllm":
            head = f"{level} {time.strftime('%m-%d %H:%M:%S')} [{where or 'api_server.py:673'}] "
            for line in text.split("\n"):
                self.raw(f"({self._who(rank)}) {head}{line}", out=True)
        else:
            self.raw(text)

    def core(self, text: str, where: str, level: str = "INFO") -> None:
        """A line of vLLM's engine core."""
        self.say(text, rank=-1, level=level, where=where)

    def web(self, text: str) -> None:
        """A line of uvicorn, which both engines serve with."""
        if self.engine == "sglang":
            self.say(text)
        elif self.engine == "vllm":
            self.raw(f"({self._who(None)}) {text}", out=True)
        else:
            self.raw(text)

    def bar(self, what: str, done: int, total: int, took: float) -> None:
        """A tqdm bar on stderr: a carriage return, then the bar; SGLang ends the line with the last, vLLM after each."""
        share = done / total
        left = took / done * (total - done) if done else 0.0
        rate = f"{done / took:5.2f}it/s" if done and took > 0 else "?it/s"
        clock = f"[{_clock(took)}<{_clock(left) if done else '?'}, {rate}]"
        if what.startswith("Capturing"):
            filled = "█" * int(share * 10)
            text = f"\r{what}: {share:4.0%}|{filled:<10}| {done}/{total} {clock}"
        else:
            text = f"\r{what}: {share:4.0%} Completed | {done}/{total} {clock}"
        if self.engine == "vllm":
            self._write(self._err, f"({self._who(0)}) {text}\n")
        else:
            self._write(self._err, text + ("\n" if done == total else ""), bar=done != total)

    def _who(self, rank: int | None) -> str:
        if rank is None:
            return f"APIServer pid={os.getpid()}"
        if rank < 0:
            return f"EngineCore pid={os.getpid() + 200}"
        return f"Worker{f'_TP{rank}' if self.ranked else ''} pid={os.getpid() + 300 + rank}"

    def _write(self, stream: TextIO, text: str, *, bar: bool = False) -> None:
        with self._lock:
            if self._bar_open and not text.startswith("\r"):
                stream.write("\n")
            self._bar_open = bar
            stream.write(text)
            stream.flush()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


# -- how it loads ------------------------------------------------------------------------------------------------------

#: Share of ``load_seconds`` that each stage takes, cold. A warm cache cuts the stages in WARMED to a tenth.
SHARES: Final = {
    "sglang": {"start": 0.10, "distributed": 0.06, "weights": 0.36, "compile": 0.20, "graphs": 0.14, "warmup": 0.14},
    "vllm": {"start": 0.16, "distributed": 0.10, "weights": 0.36, "compile": 0.20, "graphs": 0.14, "warmup": 0.04},
    "generic": {"start": 0.20, "distributed": 0.0, "weights": 0.60, "compile": 0.0, "graphs": 0.0, "warmup": 0.20},
}
WARMED: Final = {"sglang": {"compile", "warmup"}, "vllm": {"compile"}, "generic": set[str]()}
GRAPH_SIZES: Final = (32, 28, 24, 20, 16, 12, 8, 4, 2, 1)


def stage_lines(server: Server, stage: str) -> Iterator[float]:
    """Write the lines of a stage one by one; what is yielded is the share of the stage that is over by then, 0 to 1."""
    script = {"sglang": _sglang_lines, "vllm": _vllm_lines, "generic": _generic_lines}[server.plan.engine]
    yield from script(server, stage)


def _sglang_lines(server: Server, stage: str) -> Iterator[float]:
    match stage:
        case "start":
            server.log.say(_server_args(server.plan))
            yield 0.5
            server.log.say("Using default HuggingFace chat template with detected content format: string")
        case "distributed":
            yield from _sglang_distributed(server)
        case "weights":
            yield from _sglang_weights(server)
        case "compile":
            yield from _sglang_compile(server)
        case "graphs":
            yield from _sglang_graphs(server)
        case "warmup":
            yield from _sglang_warmup(server)
    yield 1.0


def _sglang_distributed(server: Server) -> Iterator[float]:
    plan, log, ranks = server.plan, server.log, range(server.plan.ranks)
    old = _version(plan.version) < (0, 5, 23)
    what = "Init torch distributed" if old else "Init parallel"
    for rank in ranks:
        log.say(f"{what} begin.", rank=rank)
    yield 0.5
    log.say("sglang is using nccl==2.28.9", rank=0)
    for rank in ranks:
        log.say(f"{what} ends. elapsed=1.{13 + rank} s" + (", mem usage=1.21 GB" if old else ""), rank=rank)


def _sglang_weights(server: Server) -> Iterator[float]:
    log, ranks = server.log, range(server.plan.ranks)
    for rank in ranks:
        log.say("Load weight begin. avail mem=93.61 GB", rank=rank)
    yield from _shards(server, "Multi-thread loading shards")
    for rank in ranks:
        taken = f"elapsed={server.seconds['weights']:.2f} s, type=DeepseekV4ForCausalLM"
        log.say(f"Load weight end. {taken}, avail mem=51.87 GB, mem usage=41.74 GB.", rank=rank)


def _server_args(plan: Plan) -> str:
    key = "'**'" if plan.api_key else "None"
    return (
        f"server_args=ServerArgs(model_path={plan.model!r}, tokenizer_path={plan.model!r}, context_length={plan.context}, "
        f"served_model_name={plan.names[0]!r}, host={plan.host!r}, port={plan.port}, tp_size={plan.ranks}, "
        f"mem_fraction_static={plan.fraction}, max_running_requests={plan.running}, enable_metrics={plan.metrics}, "
        f"api_key={key})"
    )


def _sglang_compile(server: Server) -> Iterator[float]:
    plan, log = server.plan, server.log
    for rank in range(plan.ranks):
        log.say(
            f"KV Cache is allocated. dtype: torch.float8_e4m3fn, #tokens: {plan.pool}, K size: 17.16 GB, V size: 17.16 GB",
            rank=rank,
        )
        log.say("Memory pool end. avail mem=8.96 GB", rank=rank)
    log.say("Using DeepseekV4AttnBackend for dsv4 attention backend (CUDA).", rank=0)
    kernels = ("mhc_pre_tilelang", "mhc_post_tilelang", "indexer_logits_tilelang", "sparse_mla_decode")
    for index, kernel in enumerate(kernels):
        log.say(f"TileLang begins to compile kernel `{kernel}`", rank=0)
        yield (index + 1) / (len(kernels) + 1)
        log.say(f"TileLang completes to compile kernel `{kernel}`", rank=0)


def _sglang_graphs(server: Server) -> Iterator[float]:
    plan, log = server.plan, server.log
    resolved = (
        "cuda_graph_config resolved prefill.backend='disabled' (e.g. via --cuda-graph-backend-prefill=disabled or "
        "auto-disable rules)."
    )
    reason = f"because {'some layers do not apply Standard GQA' if plan.graphs else resolved}"
    log.say(f"Disable prefill CUDA graph {reason}", rank=0)
    if plan.graphs:
        begun = time.monotonic()
        log.say("Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, avail mem=8.61 GB", rank=0)
        for index, size in enumerate(GRAPH_SIZES):
            mem = 8.5 - 0.1 * index
            what = f"Capturing batches (bs={size} avail_mem={mem:.2f} GB)"
            log.bar(what, index, len(GRAPH_SIZES), time.monotonic() - begun)
            yield (index + 1) / (len(GRAPH_SIZES) + 1)
        log.bar(what, len(GRAPH_SIZES), len(GRAPH_SIZES), time.monotonic() - begun)
        took = time.monotonic() - begun
        log.say(
            f"Capture target decode CUDA graph end. bs={sorted(GRAPH_SIZES)}, elapsed={took:.2f} s, mem usage=1.14 GB, "
            "avail mem=7.47 GB",
            rank=0,
        )
    log.say(
        f"max_total_num_tokens={plan.pool}, chunked_prefill_size=8192, max_prefill_tokens=16384, "
        f"max_running_requests={plan.running}, context_len={plan.context}, available_gpu_mem=7.47 GB",
        rank=0,
    )


def _sglang_warmup(server: Server) -> Iterator[float]:
    plan, log = server.plan, server.log
    log.web(f"INFO:     Started server process [{os.getpid()}]")
    log.web("INFO:     Waiting for application startup.")
    server.listen()
    log.web("INFO:     Application startup complete.")
    log.web(f"INFO:     Uvicorn running on http://{plan.host}:{plan.port} (Press CTRL+C to quit)")
    log.web('INFO:     127.0.0.1:48626 - "GET /model_info HTTP/1.1" 200 OK')
    yield 0.7
    if plan.warmup:
        log.say(
            "Prefill batch, #new-seq: 1, #new-token: 28, #cached-token: 0, token usage: 0.00, #running-req: 0, "
            "#queue-req: 0, #pending-token: 0, cuda graph: False, input throughput (token/s): 0.38",
            rank=0,
        )
        yield 0.95
        log.web('INFO:     127.0.0.1:48636 - "POST /generate HTTP/1.1" 200 OK')


def _shards(server: Server, what: str) -> Iterator[float]:
    total, begun = server.settings.shards, time.monotonic()
    server.log.bar(what, 0, total, 0.0)
    for done in range(1, total + 1):
        yield 0.05 + 0.9 * done / total
        server.log.bar(what, done, total, time.monotonic() - begun)


_BANNER: Final = (
    "",
    "       █     █     █▄   ▄█",
    " ▄▄ ▄█ █     █     █ ▀▄▀ █  version {version}",
    "  █▄█▀ █     █     █     █  model   {model}",
    "   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀",
    "",
)


def _vllm_lines(server: Server, stage: str) -> Iterator[float]:
    plan, log = server.plan, server.log
    match stage:
        case "start":
            for line in _BANNER:
                log.say(
                    line.format(version=plan.version, model=plan.model) + ("\r" if line else ""),
                    where="api_utils.py:345",
                )
            log.say(f"non-default args: {_non_default(plan)}", where="api_utils.py:273")
            yield 0.5
            log.say("Resolved architecture: DeepseekV4ForCausalLM", where="model.py:623")
            log.say(f"Using max model len {plan.context}", where="model.py:1788")
        case "distributed":
            yield from _vllm_distributed(server)
        case "weights":
            yield from _vllm_weights(server)
        case "compile":
            yield from _vllm_compile(server)
        case "graphs":
            yield from _vllm_graphs(server)
        case "warmup":
            yield from _vllm_warmup(server)
    yield 1.0


def _vllm_distributed(server: Server) -> Iterator[float]:
    plan, log, ranks = server.plan, server.log, range(server.plan.ranks)
    log.core(
        f"Initializing a V1 LLM engine (v{plan.version}) with config: model={plan.model!r}, "
        f"max_seq_len={plan.context}, tensor_parallel_size={plan.ranks}",
        "core.py:116",
    )
    for rank in ranks:
        log.say(
            f"world_size={plan.ranks} rank={rank} local_rank={rank} "
            "distributed_init_method=tcp://127.0.0.1:50597 backend=nccl",
            rank=rank,
            where="parallel_state.py:1615",
        )
    yield 0.7
    log.say("vLLM is using nccl==2.28.9", rank=0, where="pynccl.py:113")


def _vllm_weights(server: Server) -> Iterator[float]:
    plan, log, ranks = server.plan, server.log, range(server.plan.ranks)
    log.ranked = True
    for rank in ranks:
        if _version(plan.version) < (0, 30):
            log.say("Loading model from scratch...", rank=rank, where="model_runner.py:284")
        else:
            log.say(f"Starting to load model {plan.model}...", rank=rank, where="gpu_model_runner.py:4501")
    yield from _shards(server, "Loading safetensors checkpoint shards")
    took = server.seconds["weights"]
    log.say(f"Loading weights took {took:.2f} seconds", rank=0, where="default_loader.py:430")
    for rank in ranks:
        text = f"Model loading took 41.74 GiB and {took + 0.4:.6f} seconds"
        log.say(text, rank=rank, where="model_runner.py:305")


def _non_default(plan: Plan) -> str:
    args = {"model_tag": plan.model, "host": plan.host or None, "port": plan.port, "max_model_len": plan.context}
    return str({**args, "served_model_name": list(plan.names), "tensor_parallel_size": plan.ranks})


def _vllm_compile(server: Server) -> Iterator[float]:
    log = server.log
    log.say("JIT kernel warmup starting.", rank=0, where="kernel_warmup.py:61")
    yield 0.3
    log.say("Autotuning FlashInfer SM120 sparse MLA decode with cache", rank=0, where="flashinfer_sparse.py:702")
    yield 0.8
    log.say(f"JIT kernel warmup finished in {server.seconds['compile']:.2f} s", rank=0, where="kernel_warmup.py:98")


def _vllm_graphs(server: Server) -> Iterator[float]:
    plan, log, begun = server.plan, server.log, time.monotonic()
    log.say("Available KV cache memory: 34.32 GiB", rank=0, where="gpu_worker.py:560")
    log.core(f"GPU KV cache size: {plan.pool:,} tokens", "kv_cache_utils.py:2177")
    times = plan.pool / plan.context
    log.core(f"Maximum concurrency for {plan.context:,} tokens per request: {times:.2f}x", "kv_cache_utils.py:2178")
    if plan.graphs:
        what = "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE)"
        for index in range(len(GRAPH_SIZES)):
            log.bar(what, index, len(GRAPH_SIZES), time.monotonic() - begun)
            yield (index + 1) / (len(GRAPH_SIZES) + 1)
        log.bar(what, len(GRAPH_SIZES), len(GRAPH_SIZES), time.monotonic() - begun)
        took = time.monotonic() - begun
        for rank in range(plan.ranks):
            text = f"Graph capturing finished in {took:.0f} secs, took 1.14 GiB"
            log.say(text, rank=rank, where="gpu_model_runner.py:5620")


def _vllm_warmup(server: Server) -> Iterator[float]:
    plan, log = server.plan, server.log
    spent = sum(server.seconds[stage] for stage in ("compile", "graphs"))
    log.core(f"init engine (profile, create kv cache, warmup model) took {spent:.2f} s", "core.py:347")
    yield 0.5
    log.say("Supported tasks: ['generate']", where="api_server.py:673")
    log.say(f"Starting vLLM server on http://{plan.host or '0.0.0.0'}:{plan.port}", where="api_server.py:677")  # noqa: S104
    log.web(f"INFO:     Started server process [{os.getpid()}]")
    log.web("INFO:     Waiting for application startup.")


def _generic_lines(server: Server, stage: str) -> Iterator[float]:
    log = server.log
    match stage:
        case "start":
            log.raw("rehearsal: starting")
            server.listen()
            log.raw(f"rehearsal: listening on port {server.plan.port}, not ready")
        case "weights":
            total = server.settings.shards
            for done in range(0, total + 1, max(total // 8, 1)):
                log.raw(f"rehearsal: loading {done}/{total}")
                yield min(0.95, 0.05 + done / total)
        case "warmup":
            log.raw("rehearsal: warming up")
            yield 0.5
    yield 1.0


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


# -- what it counts ----------------------------------------------------------------------------------------------------

_BUCKETS: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class Histogram:
    """Counts of seconds, as Prometheus buckets them."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more observation."""
        self.total += seconds
        self.counts[sum(seconds > edge for edge in _BUCKETS)] += 1

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """The exposition lines."""
        yield f"# TYPE {name} histogram"
        seen = 0
        for edge, count in zip((*map(str, _BUCKETS), "+Inf"), self.counts, strict=True):
            seen += count
            yield f'{name}_bucket{{{labels},le="{edge}"}} {seen}'
        yield f"{name}_sum{{{labels}}} {self.total:.6f}"
        yield f"{name}_count{{{labels}}} {seen}"


class Meters:
    """Everything ``/metrics`` tells; moved by real requests only."""

    def __init__(self, slots: int) -> None:
        self.lock = threading.Lock()
        self.slots = threading.Semaphore(slots)
        self.running = self.waiting = self.held_tokens = 0
        self.prompt = self.generated = self.requests = self.aborted = 0
        self.recent: list[tuple[float, int]] = []
        self.ttft, self.e2e = Histogram(), Histogram()

    def token(self) -> None:
        """One token was made."""
        now = time.monotonic()
        with self.lock:
            self.generated += 1
            self.held_tokens += 1
            self.recent = [(at, count) for at, count in self.recent[-2000:] if now - at < 2.0]
            self.recent.append((now, 1))

    def throughput(self) -> float:
        """Tokens per second over the last two seconds."""
        now = time.monotonic()
        return sum(count for at, count in self.recent if now - at < 2.0) / 2.0

    def text(self, plan: Plan) -> str:
        """The Prometheus exposition under the engine's own names."""
        with self.lock:
            lines = self._vllm(plan) if plan.engine == "vllm" else self._sglang(plan)
            return "\n".join(lines) + "\n"

    def _sglang(self, plan: Plan) -> list[str]:
        if plan.engine == "generic":
            labels = f'model_name="{plan.names[0]}"'
        else:
            labels = f'engine_type="unified",model_name="{plan.names[0]}",pp_rank="0",tp_rank="0"'
        usage = self.held_tokens / plan.pool
        gauges = {
            "num_running_reqs": self.running,
            "num_queue_reqs": self.waiting,
            "num_used_tokens": self.held_tokens,
            "token_usage": round(usage, 6),
            "full_token_usage": round(usage, 6),
            "gen_throughput": round(self.throughput(), 3),
            "cache_hit_rate": 0.0,
            "max_total_num_tokens": plan.pool,
            "context_len": plan.context,
        }
        counters = {
            "prompt_tokens_total": self.prompt,
            "generation_tokens_total": self.generated,
            "num_requests_total": self.requests,
            "num_aborted_requests_total": self.aborted,
        }
        lines = [line for name, value in gauges.items() for line in _metric(f"sglang:{name}", "gauge", labels, value)]
        lines += [
            line for name, value in counters.items() for line in _metric(f"sglang:{name}", "counter", labels, value)
        ]
        lines += self.ttft.lines("sglang:time_to_first_token_seconds", labels)
        lines += self.e2e.lines("sglang:e2e_request_latency_seconds", labels)
        return lines

    def _vllm(self, plan: Plan) -> list[str]:
        labels = f'engine="0",model_name="{plan.names[0]}"'
        gauges = {
            "num_requests_running": self.running,
            "num_requests_waiting": self.waiting,
            "kv_cache_usage_perc": round(self.held_tokens / plan.pool, 6),
            "engine_sleep_state": 0,
        }
        counters = {
            "prompt_tokens_total": self.prompt,
            "generation_tokens_total": self.generated,
            "num_preemptions_total": 0,
        }
        lines = [line for name, value in gauges.items() for line in _metric(f"vllm:{name}", "gauge", labels, value)]
        lines += [
            line for name, value in counters.items() for line in _metric(f"vllm:{name}", "counter", labels, value)
        ]
        finished = f'{labels},finished_reason="stop"'
        lines += _metric("vllm:request_success_total", "counter", finished, self.requests)
        lines += self.ttft.lines("vllm:time_to_first_token_seconds", labels)
        lines += self.e2e.lines("vllm:e2e_request_latency_seconds", labels)
        return lines


def _metric(name: str, kind: str, labels: str, value: float) -> list[str]:
    return [f"# TYPE {name.removesuffix('_total')} {kind}", f"{name}{{{labels}}} {value}"]


# -- the server --------------------------------------------------------------------------------------------------------


class Doors(ThreadingHTTPServer):
    """The listening socket. Binding and listening are two steps, because vLLM takes them minutes apart."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, plan: Plan, server: Server) -> None:
        if ":" in plan.host:
            self.address_family = socket.AF_INET6
        super().__init__((plan.host, plan.port), Handler, bind_and_activate=False)
        self.rehearsal = server

    def server_bind(self) -> None:
        """Bind without asking a name server for this host's name, as HTTPServer would."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are nobody's news."""


class Server:
    """One life of the stand-in, from its first log line to its exit code."""

    def __init__(self, settings: Settings, plan: Plan, log: Log) -> None:
        self.settings, self.plan, self.log = settings, plan, log
        self.meters = Meters(plan.running)
        self.doors: Doors | None = None
        self.listening = self.ready = self.draining = self.failing = False
        self.hung, self.stalled = threading.Event(), threading.Event()
        self.stop = threading.Event()
        self.begun = time.time()
        self.faults = [fault for fault in settings.faults if self._strikes(fault)]
        self.warm = self._is_warm()
        factor = 1.0
        for fault in self.faults:
            if fault.kind == "slow":
                factor *= float(fault.value or 1)
        warmed = WARMED[plan.engine] if self.warm else set()
        self.seconds = {
            stage: share * settings.load_seconds * factor * (0.1 if stage in warmed else 1.0)
            for stage, share in SHARES[plan.engine].items()
        }

    # -- life

    def run(self) -> int:
        """Load, serve, drain; the exit code."""
        if any(fault.kind == "ignore-sigterm" for fault in self.faults):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.log.raw(f"launchpad rehearsal: a stand-in for {self.plan.engine}. {SAID} Cache is {self._temperature()}.")
        if self.plan.others:
            self.log.raw(f"launchpad rehearsal: took these flags as they are: {' '.join(self.plan.others)}")
        for fault in self.faults:
            self.log.raw(f"launchpad rehearsal: fault {fault} will strike")
        if self.plan.engine == "vllm":
            self._bind()
        self._check_ranks()
        for stage in SHARES[self.plan.engine]:
            self._play(stage)
        self._mark_warm()
        self._open()
        self._serve()
        self._drain()
        return 0

    def _play(self, stage: str) -> None:
        """Write a stage's lines at their times; faults of the stage strike half-way through it."""
        begun, struck = time.monotonic(), False
        for share in stage_lines(self, stage):
            if share >= 0.5 and not struck:
                struck = True
                for fault in self.faults:
                    if fault.stage == stage:
                        self._strike(fault)
            time.sleep(max(0.0, begun + share * self.seconds[stage] - time.monotonic()))

    def _open(self) -> None:
        """The moment from which it serves: READY in launchpad's words."""
        if not any(fault.kind == "ignore-sigterm" for fault in self.faults):
            signal.signal(signal.SIGTERM, self._asked_to_stop)
        for fault in self.faults:
            if fault.kind == "500s" and fault.after == 0:
                self.failing = True
        if self.plan.engine == "vllm":
            self.listen()
            self.log.web("INFO:     Application startup complete.")
        self.ready = True
        if self.plan.engine == "sglang":
            self.log.say("The server is fired up and ready to roll!")
        elif self.plan.engine == "generic":
            self.log.raw("rehearsal: ready")

    def _serve(self) -> None:
        begun = time.monotonic()
        waiting = sorted((fault for fault in self.faults if fault.stage == "ready"), key=lambda fault: fault.after)
        for fault in waiting:
            if self.stop.wait(max(0.0, begun + fault.after - time.monotonic())):
                return
            self._strike(fault)
        self.stop.wait()

    def _asked_to_stop(self, *_: object) -> None:
        self.stop.set()

    def _drain(self) -> None:
        """Finish what runs, as the real one does; then a clean end, which also forgets ``once:``."""
        self.draining = True
        if self.plan.engine == "sglang":
            self.log.say("SIGTERM received. signum=15 frame=None. Draining requests and shutting down...")
        else:
            self.log.web("INFO:     Shutting down")
        told = 0.0
        while self.meters.running + self.meters.waiting:
            if self.plan.engine == "sglang" and time.monotonic() - told > 5:
                told = time.monotonic()
                self.log.say(f"Gracefully exiting... Remaining number of requests {self.meters.running}.")
            time.sleep(0.05)
        if self.plan.engine != "sglang":
            self.log.web("INFO:     Waiting for application shutdown.")
            self.log.web("INFO:     Application shutdown complete.")
        for mark in self._marks():
            with contextlib.suppress(OSError):
                mark.unlink()

    # -- listening

    def _bind(self) -> None:
        self.doors = Doors(self.plan, self)
        try:
            self.doors.server_bind()
        except OSError as problem:
            if self.plan.engine == "vllm":
                self.end(1, f"OSError: [Errno {problem.errno}] {problem.strerror}")
            address = f"({self.plan.host!r}, {self.plan.port})"
            why = f"[Errno {problem.errno}] error while attempting to bind on address {address}"
            self.end(1, f"ERROR:    {why}: {str(problem.strerror).lower()}")

    def listen(self) -> None:
        """Take connections from now on; before this they are refused."""
        if self.doors is None:
            self._bind()
        if self.doors is not None:
            self.doors.server_activate()
            self.listening = True
            threading.Thread(target=self.doors.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def end(self, code: int, text: str = "") -> NoReturn:
        """Say it, and be gone at once with that exit code."""
        for line in text.split("\n") if text else ():
            self.log.say(line) if self.plan.engine == "sglang" else self.log.web(line)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    def _check_ranks(self) -> None:
        gpus, ranks = self.settings.gpus, self.plan.ranks
        if gpus is None or ranks <= gpus:
            return
        if self.plan.engine == "vllm":
            self.end(
                1,
                f"ValueError: World size ({ranks}) is larger than the number of available GPUs ({gpus}) in this node.",
            )
        self.end(1, "torch.AcceleratorError: CUDA error: invalid device ordinal")

    # -- the cache

    def _is_warm(self) -> bool:
        if self.settings.cached is not None:
            return self.settings.cached
        mark = self._warm_mark()
        return mark is not None and mark.is_file()

    def _temperature(self) -> str:
        return "warm" if self.warm else "cold"

    def _warm_mark(self) -> Path | None:
        if self.settings.cache_dir is None:
            return None
        return Path(self.settings.cache_dir) / f"{WARM_MARK}-{self.plan.engine}-{self.plan.version}-tp{self.plan.ranks}"

    def _mark_warm(self) -> None:
        mark = self._warm_mark()
        if mark is None:
            return
        try:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text("the stand-in engine of launchpad's rehearsal compiled here\n", encoding="utf-8")
        except OSError as problem:
            self.log.raw(f"launchpad rehearsal: cannot keep the cache warm: {problem}")

    # -- what goes wrong

    def _strikes(self, fault: Fault) -> bool:
        """Whether a fault counts in this start; a ``once:`` one leaves its mark."""
        if not fault.once:
            return True
        if self.settings.attempt is not None:
            return self.settings.attempt <= 1
        mark = self._once_mark(fault)
        if mark is None:
            return True
        try:
            if mark.exists():
                return False
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text(f"{fault}\n", encoding="utf-8")
        except OSError as problem:
            self.log.raw(f"launchpad rehearsal: cannot remember {fault}, so it strikes every time: {problem}")
        return True

    def _once_mark(self, fault: Fault) -> Path | None:
        if self.settings.state_dir is None:
            return None
        digest = hashlib.sha256(str(fault).encode()).hexdigest()[:12]
        return Path(self.settings.state_dir) / f"launchpad-rehearsal-once-{digest}"

    def _marks(self) -> Iterator[Path]:
        for fault in self.settings.faults:
            mark = self._once_mark(fault)
            if fault.once and mark is not None:
                yield mark

    def _strike(self, fault: Fault) -> None:
        match fault.kind:
            case "exit":
                self.end(int(fault.value or 1), f"launchpad rehearsal: fault {fault} strikes")
            case "cuda-oom":
                self._die_of(
                    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of "
                    "94.97 GiB of which 1.02 GiB is free. Including non-PyTorch memory, this process has 93.93 GiB memory "
                    "in use."
                )
            case "fatal":
                self._fatal(fault.value or "")
            case "host-oom":
                self._eat_memory()
            case "hang" if fault.stage != "ready":
                self._wait_for_ever()
            case "stall" if fault.stage != "ready":
                self._wait_for_ever(noise=True)
            case "hang":
                self.hung.set()
            case "stall":
                self.stalled.set()
            case "500s":
                self.failing = True

    def _fatal(self, id_: str) -> None:
        line = FATAL_LINES[id_]
        text = line.vllm if self.plan.engine == "vllm" else line.sglang
        flag = next(iter(self.plan.others), "--unknown-flag")
        text = text.format(flag=flag, host=self.plan.host, port=self.plan.port)
        if line.code == 1 and id_ != "address-in-use":
            self._die_of(text)
        for part in text.split("\n"):
            self.log.raw(part)
        self.end(line.code)

    def _die_of(self, error: str) -> NoReturn:
        """A worker's traceback, and the words with which each engine gives up over it."""
        trace = f"Traceback (most recent call last):\n{error}"
        if self.plan.engine == "sglang":
            self.log.say(f"Scheduler hit an exception: {trace}\n", rank=0)
            self.end(1, "Received sigquit from a child process. It usually means the child failed.")
        if self.plan.engine == "vllm":
            self.log.say(
                f"WorkerProc failed to start.\n{trace}", rank=0, level="ERROR", where="multiproc_executor.py:870"
            )
            self.log.core("EngineCore failed to start.", "core.py:1120", "ERROR")
            self.end(
                1, "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
            )
        self.end(1, trace)

    def _wait_for_ever(self, *, noise: bool = False) -> NoReturn:
        while True:
            time.sleep(1.0)
            if noise and self.plan.engine == "vllm":
                self.log.core("No available shared memory broadcast block found in 60 seconds.", "shm_broadcast.py:542")
            elif noise:
                self.log.say("launchpad rehearsal: stalled, no progress")

    def _eat_memory(self) -> NoReturn:
        """Allocate until the container's own limit kills us. Without such a limit nothing is touched: the host is not ours."""
        limit = memory_limit()
        if limit is None or limit > MOST_HOST_BYTES:
            self.end(
                137, "launchpad rehearsal: no memory limit up to 8 GiB is set, so this only acts as if it was killed"
            )
        held = [b"\x01" * (1 << 24) for _ in range((limit >> 24) + 16)]
        self.end(137, f"launchpad rehearsal: {len(held) << 24} bytes fit, though the limit is {limit}")


def memory_limit() -> int | None:
    """The bytes this control group may hold, or None where nothing limits it."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            return int(Path(path).read_text(encoding="ascii"))
    return None


# -- HTTP --------------------------------------------------------------------------------------------------------------


class Problem(Exception):
    """A request that gets an error body in OpenAI's form."""

    def __init__(self, status: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


class Handler(BaseHTTPRequestHandler):
    """The endpoints of all engines; which of them exist depends on the engine."""

    protocol_version = "HTTP/1.1"
    server_version = "uvicorn"
    sys_version = ""
    disable_nagle_algorithm = True
    server: Doors

    _POSTS: ClassVar = {
        "/v1/chat/completions": "chat",
        "/v1/completions": "completion",
        "/v1/embeddings": "embedding",
        "/generate": "generate",
    }

    @property
    def life(self) -> Server:
        """The server this request came to."""
        return self.server.rehearsal

    def log_request(self, code: int | str = "-", *_: object) -> None:
        """Log the request as uvicorn does."""
        status = int(code)
        phrase = self.responses.get(status, ("",))[0]
        host, port = self.client_address[:2]
        self.life.log.web(f'INFO:     {host}:{port} - "{self.command} {self.path} HTTP/1.1" {status} {phrase}')

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's own name
        """Nothing else is logged."""

    def do_GET(self) -> None:
        """Health, models, metrics and what else can be asked."""
        path = self.path.partition("?")[0]
        try:
            self._authorise(path)
            answer = self._get(path)
        except Problem as problem:
            answer = (problem.status, problem.body)
        if answer is None:
            answer = (404, {"detail": "Not Found"})
        self._reply(*answer)

    def do_POST(self) -> None:
        """Completions and embeddings."""
        path = self.path.partition("?")[0]
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._authorise(path)
            self._post(self._POSTS.get(path), raw)
        except Problem as problem:
            self._reply(problem.status, problem.body)

    # -- asking

    def _get(self, path: str) -> tuple[int, object] | None:
        life, plan = self.life, self.life.plan
        if path == "/v1/models":
            return 200, {"object": "list", "data": [self._model(name) for name in plan.names]}
        if path == "/metrics":
            return (200, life.meters.text(plan)) if plan.metrics else None
        if plan.engine == "sglang":
            return self._get_sglang(path)
        if plan.engine == "vllm":
            return self._get_vllm(path)
        if path == life.settings.health_path:
            return (200, {"status": "ok"}) if life.ready and not life.failing else self._loading()
        return None

    def _loading(self) -> tuple[int, object]:
        return 503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}

    def _get_sglang(self, path: str) -> tuple[int, object] | None:
        life, plan = self.life, self.life.plan
        up = life.ready and not life.draining and not life.failing
        old = _version(plan.version)
        if path in {"/health", "/health_generate"}:
            if up and not life.hung.is_set():
                time.sleep(min(1.0, life.settings.load_seconds / 8))  # the real one sends a request and looks after 1 s
            return (200 if up else 503), ""
        if path == "/ready":
            return None if old < (0, 5, 20) else ((200 if up else 503), "")
        if path == "/ping":
            return (200 if up or old < (0, 5, 23) else 503), ""
        if path in {"/model_info", "/get_model_info"}:
            return 200, {"model_path": plan.model, "served_model_name": plan.names[0], "rehearsal": True}
        if path in {"/server_info", "/get_server_info"}:
            return 200, {
                "model_path": plan.model,
                "served_model_name": plan.names[0],
                "tp_size": plan.ranks,
                "host": plan.host,
                "port": plan.port,
                "context_length": plan.context,
                "max_total_num_tokens": plan.pool,
                "version": plan.version,
                "startup_time": sum(life.seconds.values()),
                "internal_states": [{"last_gen_throughput": life.meters.throughput()}],
                "rehearsal": True,
            }
        return None

    def _get_vllm(self, path: str) -> tuple[int, object] | None:
        if path in {"/health", "/ping"}:
            return (503 if self.life.failing else 200), ""
        if path == "/version":
            return 200, {"version": self.life.plan.version}
        if path == "/load":
            return 200, {"server_load": self.life.meters.running}
        return None

    def _model(self, name: str) -> dict[str, object]:
        plan = self.life.plan
        return {
            "id": name,
            "object": "model",
            "created": int(self.life.begun),
            "owned_by": plan.engine,
            "root": plan.model,
            "max_model_len": plan.context,
        }

    def _authorise(self, path: str) -> None:
        plan = self.life.plan
        guarded = path.startswith("/v1/") or (
            plan.engine == "sglang" and not path.startswith(("/health", "/ready", "/metrics"))
        )
        if plan.api_key and guarded and self.headers.get("Authorization") != f"Bearer {plan.api_key}":
            raise Problem(401, "Unauthorized", "Unauthorized")

    # -- completing

    def _post(self, kind: str | None, raw: bytes) -> None:
        life = self.life
        if kind is None or (kind == "generate" and life.plan.engine != "sglang"):
            raise Problem(404, "Not Found", "NotFoundError")
        try:
            body = json.loads(raw)
        except ValueError as problem:
            raise Problem(
                400, f"[{{'type': 'json_invalid', 'msg': 'JSON decode error', 'error': '{problem}'}}]"
            ) from problem
        if not isinstance(body, dict):
            raise Problem(400, "the body must be a JSON object")
        self._check_model(kind, body)
        if not life.ready:
            raise Problem(503, "Loading model", "unavailable_error")
        if life.failing or (life.draining and life.plan.engine == "vllm"):
            raise Problem(500, "Internal Server Error", "InternalServerError")
        if kind == "embedding":
            self._embed(body)
        else:
            Answer(self, kind, body).give()

    def _check_model(self, kind: str, body: dict[str, Any]) -> None:
        name, names = body.get("model"), self.life.plan.names
        if kind != "generate" and name is not None and name not in names and self.life.plan.engine != "generic":
            raise Problem(404, f"The model `{name}` does not exist.", "NotFoundError", "model")

    def _embed(self, body: dict[str, Any]) -> None:
        given = body.get("input")
        texts = given if isinstance(given, list) else [given]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise Problem(400, "input must be a string or a list of strings", param="input")
        rows = []
        for index, text in enumerate(texts):
            dice = random.Random(str(text))  # noqa: S311 - deterministic numbers, no secret
            rows.append({"object": "embedding", "index": index, "embedding": [dice.uniform(-1, 1) for _ in range(16)]})
        used = sum(len(str(text).split()) for text in texts)
        usage = {"prompt_tokens": used, "total_tokens": used}
        self._reply(200, {"object": "list", "model": self.life.plan.names[0], "data": rows, "usage": usage})

    # -- answering

    def _reply(self, status: int, body: object) -> None:
        plain = isinstance(body, str)
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8" if plain else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def reply(self, body: object) -> None:
        """A whole answer."""
        self._reply(200, body)

    def stream(self) -> None:
        """Begin an event stream."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def event(self, body: object) -> None:
        """One server-sent event; a string goes as it is."""
        data = f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n".encode()
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def end_stream(self) -> None:
        """The last chunk."""
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()


class Answer:
    """One completion: counted words of a fixed text, at the pace of ``token_seconds``."""

    def __init__(self, handler: Handler, kind: str, body: dict[str, Any]) -> None:
        self.handler, self.kind, self.body = handler, kind, body
        self.life = handler.life
        plan = self.life.plan
        self.model = plan.names[0]
        self.prompt_tokens = self._prompt_tokens()
        most = self._most()
        if self.prompt_tokens + (most or 1) > plan.context:
            raise Problem(
                400,
                f"This model's maximum context length is {plan.context} tokens. However, you requested "
                f"{(most or 1) + self.prompt_tokens} tokens ({self.prompt_tokens} in the messages, {most or 1} in the "
                "completion). Please reduce the length of the messages or completion.",
            )
        words = f"{SAID} The stand-in for {plan.engine} {plan.version} serves {self.model}.".split()
        whole = [word if index == 0 else f" {word}" for index, word in enumerate(words)]
        if most is not None and body.get("ignore_eos"):
            whole = [whole[index % len(whole)] for index in range(most)]
        self.words = whole if most is None else whole[:most]
        self.reason = "length" if most is not None and len(self.words) == most else "stop"
        digest = hashlib.sha256(os.urandom(16)).hexdigest()[:24]
        self.id = ("chatcmpl-" if kind == "chat" else "cmpl-") + digest
        self.made: list[str] = []

    def _prompt_tokens(self) -> int:
        """About one token a word: enough for a count that moves."""
        if self.kind == "chat":
            messages = self.body.get("messages")
            if not isinstance(messages, list) or not messages:
                raise Problem(400, "messages must be a list of at least one message", param="messages")
            text = " ".join(_content(message) for message in messages)
            return len(text.split()) + 4 * len(messages)
        prompt = self.body.get("text" if self.kind == "generate" else "prompt")
        if not isinstance(prompt, str | list):
            raise Problem(400, "prompt must be a string", param="prompt")
        return max(1, len(prompt if isinstance(prompt, list) else prompt.split()))

    def _most(self) -> int | None:
        source = self.body.get("sampling_params") or {} if self.kind == "generate" else self.body
        for key in ("max_completion_tokens", "max_tokens", "max_new_tokens"):
            value = source.get(key)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise Problem(400, f"{key} must be at least 1, got {value}.", param=key)
            return value
        return 16 if self.kind == "completion" else None

    def give(self) -> None:
        """Wait for a place, make the tokens, answer; a client that hangs up frees its place."""
        meters = self.life.meters
        with meters.lock:
            meters.waiting += 1
        with meters.slots:
            with meters.lock:
                meters.waiting -= 1
                meters.running += 1
                meters.prompt += self.prompt_tokens
                meters.held_tokens += self.prompt_tokens
            begun, finished = time.monotonic(), False
            try:
                self._respond(begun)
                finished = True
            finally:
                with meters.lock:
                    meters.running -= 1
                    meters.held_tokens -= self.prompt_tokens + len(self.made)
                    meters.requests += 1
                    meters.aborted += not finished
                    meters.e2e.add(time.monotonic() - begun)

    def _respond(self, begun: float) -> None:
        if self.life.hung.is_set():
            threading.Event().wait()
        self._say_batch()
        if self.body.get("stream") and self.kind != "generate":
            self._streamed(begun)
        else:
            for _ in self._tokens(begun):
                pass
            self.handler.reply(self._whole())

    def _tokens(self, begun: float) -> Iterator[str]:
        meters, pause = self.life.meters, self.life.settings.token_seconds
        for word in self.words:
            if self.made and (self.life.stalled.is_set() or self.life.hung.is_set()):
                threading.Event().wait()
            time.sleep(pause)
            if not self.made:
                with meters.lock:
                    meters.ttft.add(time.monotonic() - begun)
            self.made.append(word)
            meters.token()
            yield word

    def _streamed(self, begun: float) -> None:
        handler = self.handler
        handler.stream()
        if self.kind == "chat":
            handler.event(self._chunk({"role": "assistant", "content": ""}, None))
        for word in self._tokens(begun):
            handler.event(self._chunk({"content": word}, None))
        handler.event(self._chunk({}, self.reason))
        options = self.body.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage"):
            handler.event({**self._head(chunk=True), "choices": [], "usage": self._usage()})
        handler.event("[DONE]")
        handler.end_stream()

    def _head(self, *, chunk: bool = False) -> dict[str, object]:
        kind = ("chat.completion" + (".chunk" if chunk else "")) if self.kind == "chat" else "text_completion"
        return {"id": self.id, "object": kind, "created": int(time.time()), "model": self.model}

    def _chunk(self, delta: dict[str, str], reason: str | None) -> dict[str, object]:
        choice: dict[str, object] = {"index": 0, "finish_reason": reason}
        choice |= {"delta": delta} if self.kind == "chat" else {"text": delta.get("content", "")}
        return {**self._head(chunk=True), "choices": [choice]}

    def _whole(self) -> dict[str, object]:
        text = "".join(self.made)
        if self.kind == "generate":
            finish = {"type": self.reason}
            meta = {"id": self.id, "finish_reason": finish, "prompt_tokens": self.prompt_tokens}
            return {"text": text, "meta_info": {**meta, "completion_tokens": len(self.made)}}
        choice: dict[str, object] = {"index": 0, "finish_reason": self.reason, "logprobs": None}
        choice |= {"message": {"role": "assistant", "content": text}} if self.kind == "chat" else {"text": text}
        return {**self._head(), "choices": [choice], "usage": self._usage()}

    def _usage(self) -> dict[str, int]:
        made = len(self.made)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": made,
            "total_tokens": self.prompt_tokens + made,
        }

    def _say_batch(self) -> None:
        plan, meters = self.life.plan, self.life.meters
        if plan.engine == "sglang":
            usage = meters.held_tokens / plan.pool
            self.life.log.say(
                f"Prefill batch, #new-seq: 1, #new-token: {self.prompt_tokens}, #cached-token: 0, token usage: {usage:.2f}, "
                f"#running-req: {meters.running - 1}, #queue-req: {meters.waiting}, #pending-token: 0, cuda graph: False, "
                f"input throughput (token/s): {meters.throughput():.2f}",
                rank=0,
            )


def _content(message: object) -> str:
    if not isinstance(message, dict):
        raise Problem(400, "each message must be an object with role and content", param="messages")
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def main(words: list[str], environ: dict[str, str]) -> int:
    """Run one life; the exit code."""
    try:
        settings = read_settings(environ)
        log = Log(settings.engine, sys.stdout, sys.stderr)
        plan = plan_of(settings, words, environ)
        return Server(settings, plan, log).run()
    except Refused as problem:
        sys.stderr.write(f"{problem}\n")
        return problem.code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], dict(os.environ)))
