"""What ``flags`` knows beyond the schemas: names people bring from the other engine, retired values, pairs that contradict.

Every line is dated and says where it was read. Only what no parser states; what a parser states is in ``schemas``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

#: ``-m`` modules that start an engine's server.
MODULES: Final = re.compile(r"sglang\.(?:launch_server|srt\.entrypoints\.http_server)|vllm\.entrypoints\.[a-z_.]{1,80}")

AS_OF: Final = "2026-11-23"
_BOTH: Final = "the parsers of SGLang 0.5.23 and vLLM 0.33.0, 2026-11-23"


@dataclass(frozen=True, slots=True)
class Advice:
    """What to write instead, and who says so."""

    hint: str
    source: str


@dataclass(frozen=True, slots=True)
class OldValue:
    """A value that the engine still takes under an old name."""

    now: str
    source: str


@dataclass(frozen=True, slots=True)
class Fork:
    """Variables, by prefix, that only a fork reads."""

    prefix: str
    fork: str
    hint: str
    source: str
    as_of: str = AS_OF


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Arguments that work against each other. ``about`` is the destination to name; ``matches`` sees values by destination."""

    engine: Literal["sglang", "vllm"]
    about: str
    severity: Literal["blocks", "warns"]
    matches: Callable[[Mapping[str, list[str]]], bool]
    message: str
    hint: str
    source: str
    as_of: str = AS_OF


#: vLLM's flag -> SGLang's, for flags that only one of them has.
_TO_SGLANG: Final = {
    "--gpu-memory-utilization": "--mem-fraction-static (of all memory, KV cache and weights; not the same fraction)",
    "--max-model-len": "--context-length",
    "--max-num-seqs": "--max-running-requests",
    "--block-size": "--page-size",
    "--max-num-batched-tokens": "--chunked-prefill-size",
    "--enable-expert-parallel": "--ep-size with the tensor-parallel size",
    "--moe-backend": "--moe-runner-backend",
    "--enforce-eager": "--cuda-graph-backend-decode disabled --cuda-graph-backend-prefill disabled",
    "--no-enable-prefix-caching": "--disable-radix-cache",
    "--speculative-config": "--speculative-algorithm and its --speculative-... companions",
    "--enable-auto-tool-choice": "--tool-call-parser alone",
}
_TO_VLLM: Final = {
    "--mem-fraction-static": "--gpu-memory-utilization (not the same fraction)",
    "--context-length": "--max-model-len",
    "--max-running-requests": "--max-num-seqs",
    "--page-size": "--block-size",
    "--chunked-prefill-size": "--max-num-batched-tokens",
    "--ep-size": "--enable-expert-parallel",
    "--tp-size": "--tensor-parallel-size",
    "--pp-size": "--pipeline-parallel-size",
    "--dp-size": "--data-parallel-size",
    "--model-path": "the model as the first word after vllm serve",
    "--moe-runner-backend": "--moe-backend",
    "--disable-cuda-graph": "--enforce-eager",
    "--disable-radix-cache": "--no-enable-prefix-caching",
    "--speculative-algorithm": "--speculative-config '{\"method\": ...}'",
    "--enable-metrics": "nothing: /metrics is served unless --disable-log-stats is given",
}
OTHER_ENGINE: Final = {
    **{("sglang", theirs): Advice(f"SGLang's is {ours}", _BOTH) for theirs, ours in _TO_SGLANG.items()},
    **{("vllm", theirs): Advice(f"vLLM's is {ours}", _BOTH) for theirs, ours in _TO_VLLM.items()},
}

#: Gone before the oldest schema that ships.
LONG_GONE: Final = {
    ("vllm", "--task"): Advice(
        "--runner pooling for embedding, reranking and reward models, with --convert to adapt a generative one",
        "vllm 0.33.0 utils/argparse_utils.py, 2026-11-23",
    ),
}

_DSV4: Final = "sglang 0.5.23 srt/arg_groups/choices.py, 2026-11-22"
OLD_VALUES: Final = {
    ("sglang", "--attention-backend", "compressed"): OldValue("dsv4", _DSV4),
    ("sglang", "--attention-backend", "nsa"): OldValue("dsa", _DSV4),
    ("sglang", "--attention-backend", "tokenspeed_mla"): OldValue("cutedsl_mla", _DSV4),
}

FORK_VARIABLES: Final = (
    Fork(
        "VLLM_TRITON_MLA_SPARSE",
        "the jasl/vllm fork only",
        "take it out, or run an image of the fork",
        "no such name in the wheels of vLLM 0.20.2 and 0.33.0; sparse_mla_env.py of the fork",
    ),
    Fork(
        "VLLM_DEEPSEEK_V4_",
        "the jasl/vllm fork only",
        "take it out, or run an image of the fork",
        "no such name in the wheel of vLLM 0.33.0; harness of the fork",
    ),
    Fork(
        "VLLM_SKIP_DEEP_GEMM_WARMUP",
        "no release of vLLM",
        "set VLLM_DEEP_GEMM_WARMUP=skip",
        "vllm/envs.py of 0.20.2 and 0.33.0",
    ),
)


def _graphs_off_and_sized(values: Mapping[str, list[str]]) -> bool:
    return "disable_cuda_graph" in values and any(
        name.startswith(("cuda_graph_max_bs", "cuda_graph_bs", "cuda_graph_backend")) for name in values
    )


def _mixed_parsers(values: Mapping[str, list[str]]) -> bool:
    reasoning, tools = values.get("reasoning_parser"), values.get("tool_call_parser")
    if not reasoning or not tools:
        return False
    return (reasoning[-1] == "deepseek-v4") != (tools[-1] == "deepseekv4") and "auto" not in {reasoning[-1], tools[-1]}


def _eager_with_graphs(values: Mapping[str, list[str]]) -> bool:
    if "enforce_eager" not in values:
        return False
    mode: object = next(
        (value[-1] for name, value in values.items() if name == "compilation_config.cudagraph_mode" and value), None
    )
    for text in values.get("compilation_config", []):
        try:
            config = json.loads(text)
        except (ValueError, RecursionError):
            continue
        mode = config.get("cudagraph_mode", mode) if isinstance(config, dict) else mode
    return mode not in {None, 0, "NONE", "none"} if isinstance(mode, (str, int)) or mode is None else True


CONTRADICTIONS: Final = (
    Contradiction(
        "sglang",
        "disable_cuda_graph",
        "warns",
        _graphs_off_and_sized,
        "--disable-cuda-graph turns off the CUDA graphs that the other --cuda-graph-... arguments set up",
        "keep one of the two",
        "sglang 0.5.23 srt/server_args.py: --disable-cuda-graph stands for both backends disabled",
    ),
    Contradiction(
        "sglang",
        "tool_call_parser",
        "blocks",
        _mixed_parsers,
        "the deepseek-v4 reasoning parser and the deepseekv4 tool-call parser cannot be mixed with other parsers",
        "give --reasoning-parser deepseek-v4 --tool-call-parser deepseekv4, or neither",
        "sglang 0.5.23 srt/entrypoints/openai/serving_deepseek_recipe.py raises ValueError",
    ),
    Contradiction(
        "vllm",
        "enforce_eager",
        "warns",
        _eager_with_graphs,
        "--enforce-eager turns off the CUDA graphs that the compilation config asks for",
        "keep one of the two",
        "vllm 0.33.0 vllm/config/vllm.py: enforce_eager sets cudagraph_mode NONE",
    ),
    Contradiction(
        "vllm",
        "enable_auto_tool_choice",
        "blocks",
        lambda values: "enable_auto_tool_choice" in values and "tool_call_parser" not in values,
        "--enable-auto-tool-choice requires --tool-call-parser",
        "add --tool-call-parser, for instance --tool-call-parser deepseek_v4",
        "vllm 0.33.0 vllm/entrypoints/common/cli_args.py raises TypeError",
    ),
    Contradiction(
        "vllm",
        "enable_log_outputs",
        "blocks",
        lambda values: "enable_log_outputs" in values and "enable_log_requests" not in values,
        "--enable-log-outputs requires --enable-log-requests",
        "add --enable-log-requests",
        "vllm 0.33.0 vllm/entrypoints/common/cli_args.py raises TypeError",
    ),
)
