"""The stand-in for vLLM: flags, log lines, endpoints and metrics of 0.26.0 to 0.33.0.

From real starts on 4x H200 (2026-11-22) and the wheels' sources. The numbers in the lines are one real start's, not this
machine's.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, ClassVar, Final

from launchpad.rehearse.standin.argv import Arity, after_program, count, parse_command, switch
from launchpad.rehearse.standin.engine import Engine
from launchpad.rehearse.standin.log import Log
from launchpad.rehearse.standin.meters import Exposition, Series
from launchpad.rehearse.standin.plan import Plan
from launchpad.rehearse.standin.script import CORE, EACH, Bar, Line, Script, Web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.rehearse.faults import FatalLine
    from launchpad.rehearse.standin.engine import Reply
    from launchpad.rehearse.standin.life import Life
    from launchpad.rehearse.standin.settings import Settings

#: The flags that change what the stand-in does. All others are let through, as long as they look like flags.
FLAGS: Final = {
    "--model": Arity("model"),
    "--host": Arity("host"),
    "--port": Arity("port", int),
    "--served-model-name": Arity("served", most=64),
    "--tensor-parallel-size": Arity("tp", int),
    "-tp": Arity("tp", int),
    "--max-model-len": Arity("context", count),
    "--max-num-seqs": Arity("running", int),
    "--gpu-memory-utilization": Arity("fraction", float),
    "--api-key": Arity("api_key", most=64),
    "--runner": Arity("runner"),
    "--disable-log-stats": switch("no_metrics"),
    "--enforce-eager": switch("eager"),
    "--trust-remote-code": switch("trust"),
}
HEADS: Final = (
    ("vllm", "serve"),
    ("serve",),
    ("python", "-m", "vllm.entrypoints.cli.main", "serve"),
    ("python", "-m", "vllm.entrypoints.openai.api_server"),
    (),
)

_GRAPH_SIZES: Final = (32, 28, 24, 20, 16, 12, 8, 4, 2, 1)
_BANNER: Final = (
    "",
    "       █     █     █▄   ▄█\r",
    " ▄▄ ▄█ █     █     █ ▀▄▀ █  version {plan.version}\r",
    "  █▄█▀ █     █     █     █  model   {plan.model}\r",
    "   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀\r",
    "",
)

SCRIPT: Final[Script] = {
    "start": (
        *(Line(line, where="api_utils.py:345") for line in _BANNER),
        Line("non-default args: {arguments}", where="api_utils.py:273"),
        0.5,
        Line("Resolved architecture: DeepseekV4ForCausalLM", where="model.py:623"),
        Line("Using max model len {plan.context}", where="model.py:1788"),
    ),
    "distributed": (
        Line(
            "Initializing a V1 LLM engine (v{plan.version}) with config: model={plan.model!r}, "
            "max_seq_len={plan.context}, tensor_parallel_size={plan.ranks}",
            CORE,
            "core.py:116",
        ),
        Line(
            "world_size={plan.ranks} rank={rank} local_rank={rank} "
            "distributed_init_method=tcp://127.0.0.1:50597 backend=nccl",
            EACH,
            "parallel_state.py:1615",
        ),
        0.7,
        Line("vLLM is using nccl==2.28.9", 0, "pynccl.py:113"),
    ),
    "weights": (
        Line("{loading}", EACH, "{loader}"),
        Bar("Loading safetensors checkpoint shards", 0.05, 0.9),
        Line("Loading weights took {seconds[weights]:.2f} seconds", 0, "default_loader.py:430"),
        Line("Model loading took 41.74 GiB and {loaded:.6f} seconds", EACH, "model_runner.py:305"),
    ),
    "compile": (
        Line("JIT kernel warmup starting.", 0, "kernel_warmup.py:61"),
        0.3,
        Line("Autotuning FlashInfer SM120 sparse MLA decode with cache", 0, "flashinfer_sparse.py:702"),
        0.8,
        Line("JIT kernel warmup finished in {seconds[compile]:.2f} s", 0, "kernel_warmup.py:98"),
    ),
    "graphs": (
        Line("Available KV cache memory: 34.32 GiB", 0, "gpu_worker.py:560"),
        Line("GPU KV cache size: {plan.pool:,} tokens", CORE, "kv_cache_utils.py:2177"),
        Line(
            "Maximum concurrency for {plan.context:,} tokens per request: {concurrency:.2f}x",
            CORE,
            "kv_cache_utils.py:2178",
        ),
        Bar("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE)", 0.0, 10 / 11, _GRAPH_SIZES, when="graphs"),
        Line(
            "Graph capturing finished in {took:.0f} secs, took 1.14 GiB",
            EACH,
            "gpu_model_runner.py:5620",
            when="graphs",
        ),
    ),
    "warmup": (
        Line("init engine (profile, create kv cache, warmup model) took {readied:.2f} s", CORE, "core.py:347"),
        0.5,
        Line("Supported tasks: ['generate']", where="api_server.py:673"),
        Line("Starting vLLM server on http://{address}:{plan.port}", where="api_server.py:677"),
        Web("INFO:     Started server process [{pid}]"),
        Web("INFO:     Waiting for application startup."),
    ),
}

SERIES: Final = (
    Series("num_requests_running", "gauge", "running"),
    Series("num_requests_waiting", "gauge", "waiting"),
    Series("kv_cache_usage_perc", "gauge", "usage"),
    Series("engine_sleep_state", "gauge", 0),
    Series("prompt_tokens_total", "counter", "prompt"),
    Series("generation_tokens_total", "counter", "generated"),
    Series("prefix_cache_queries_total", "counter", "queried"),
    Series("prefix_cache_hits_total", "counter", 0),
    Series("num_preemptions_total", "counter", 0),
    Series("request_success_total", "counter", "requests", ',finished_reason="stop"'),
)


class VllmLog(Log):
    """``(Worker_TP0 pid=7) INFO 11-22 10:00:00 [file.py:1] ...`` on stdout; bars on stderr, a line each."""

    #: Workers get their rank's name once the ranks have met.
    ranked = False

    def say(self, text: str, *, rank: int | None = None, level: str = "INFO", where: str = "") -> None:
        """A log line of the server, of one rank of it, or of its engine core."""
        head = f"({self._who(rank)}) {level} {time.strftime('%m-%d %H:%M:%S')} [{where or 'api_server.py:673'}] "
        for line in text.split("\n"):
            self.raw(head + line, out=True)

    def web(self, text: str) -> None:
        """A line of uvicorn."""
        self.raw(f"({self._who(None)}) {text}", out=True)

    def bar(self, what: str, done: int, total: int, took: float) -> None:
        """A tqdm bar of the first worker."""
        self.bar_line(f"({self._who(0)}) ", what, done, total, took)

    def _who(self, rank: int | None) -> str:
        if rank is None:
            return f"APIServer pid={os.getpid()}"
        if rank == CORE:
            return f"EngineCore pid={os.getpid() + 200}"
        return f"Worker{f'_TP{rank}' if self.ranked else ''} pid={os.getpid() + 300 + rank}"


class Vllm(Engine):
    """vLLM's manners."""

    log: VllmLog
    reasoning_field = "reasoning"
    shares: ClassVar = {
        "start": 0.16,
        "distributed": 0.10,
        "weights": 0.36,
        "compile": 0.20,
        "graphs": 0.14,
        "warmup": 0.04,
    }
    warmed: ClassVar = frozenset({"compile"})
    script: ClassVar = SCRIPT
    exposition: ClassVar = Exposition("vllm", 'engine="0",model_name="{model}"', SERIES)
    binds_first: ClassVar = True
    refuses_while_draining: ClassVar = True
    bind_error: ClassVar = "OSError: [Errno {errno}] {reason}"
    ranks_error: ClassVar = (
        "ValueError: World size ({ranks}) is larger than the number of available GPUs ({gpus}) in this node."
    )

    def plan(self, settings: Settings, words: list[str], environ: dict[str, str]) -> Plan:
        """The server that ``words`` start; raises Refused."""
        command = parse_command("vllm serve", FLAGS, after_program(words, HEADS), settings.refused_flags)
        if len(command.positionals) > 1:
            command.fail(f"unrecognized arguments: {' '.join(command.positionals[1:])}")
        model = command.positionals[0] if command.positionals else command.one("model") or "Qwen/Qwen3-0.6B"
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
            api_key=command.one("api_key") or environ.get("VLLM_API_KEY") or None,
            others=tuple(command.others),
            pooling=command.one("runner") == "pooling",
        )

    def kind(self, plan: Plan, path: str) -> str | None:
        """A pooling server has no path that generates (0.32.0, entrypoints/launchers/api_server/routers.py)."""
        kind = self.posts.get(path)
        return None if plan.pooling and kind != "embedding" else kind

    def play(self, life: Life, stage: str) -> Iterator[float]:
        """Write a stage's lines; from the weights on, workers are named by their rank."""
        self.log.ranked = self.log.ranked or stage == "weights"
        return super().play(life, stage)

    def fields(self, life: Life) -> dict[str, object]:
        """What is computed from the plan and the times."""
        plan, seconds = life.plan, life.seconds
        old = plan.before(0, 30)
        return {
            "arguments": {
                "model_tag": plan.model,
                "host": plan.host or None,
                "port": plan.port,
                "max_model_len": plan.context,
                "served_model_name": list(plan.names),
                "tensor_parallel_size": plan.ranks,
            },
            "loading": "Loading model from scratch..." if old else f"Starting to load model {plan.model}...",
            "loader": "model_runner.py:284" if old else "gpu_model_runner.py:4501",
            "loaded": seconds["weights"] + 0.4,
            "concurrency": plan.pool / plan.context,
            "readied": seconds["compile"] + seconds["graphs"],
            "address": plan.host or "0.0.0.0",  # noqa: S104 - what vLLM logs where no host is given
        }

    def get(self, life: Life, path: str) -> Reply:
        """Health, which is 200 as soon as anything answers, and what it says of itself."""
        if path in {"/health", "/ping"}:
            time.sleep(life.health_seconds)
            return (503 if life.unhealthy else 200), ""
        if path == "/version":
            return 200, {"version": life.plan.version}
        if path == "/load":
            return 200, {"server_load": life.meters.running}
        return None

    def fatal_text(self, line: FatalLine) -> str:
        """The engine's own wording of a fatal line."""
        return line.vllm

    def give_up(self, trace: str) -> str:
        """The worker's traceback, then the engine core's end; the server's comes last."""
        text = f"WorkerProc failed to start.\n{trace}"
        self.log.say(text, rank=0, level="ERROR", where="multiproc_executor.py:870")
        self.log.say("EngineCore failed to start.", rank=CORE, level="ERROR", where="core.py:1120")
        return "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"

    def say_stalled(self) -> None:
        """The line of one that logs and gets nowhere."""
        text = "No available shared memory broadcast block found in 60 seconds."
        self.log.say(text, rank=CORE, where="shm_broadcast.py:542")
