"""Hazards that every engine shares: allocators, graphs, visible devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.deepgemm import is_fork
from launchpad.doctor.rules.lookup import AS_OF, GIB, engine, flag, name, number, v4

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.doctor.case import Case


_LEAST_FREE: Final = 1.5 * GIB
_FORK: Final = (
    "leave it so in the SM120 fork, whose graphs stalled with MTP; a release has them: launchpad plan v4-flash-vllm-tp4"
)


def _graphs(case: Case) -> bool:
    if flag(case, "enforce-eager", "disable-cuda-graph") is not None:
        return False
    return flag(case, "cuda-graph-backend-decode") != "disabled"


def _expandable(case: Case) -> Iterator[Seen]:
    said = f"{case.env.get('PYTORCH_CUDA_ALLOC_CONF', '')},{case.env.get('PYTORCH_ALLOC_CONF', '')}".replace(
        " ", ""
    ).lower()
    if case.on_sm120 and "expandable_segments:true" in said and engine(case) in {"vllm", "sglang"} and _graphs(case):
        yield Seen(
            f"{name(case)} sets expandable_segments:True, which was seen to end CUDA graph capture on SM120 without a word"
        )


def _eager(case: Case) -> Iterator[Seen]:
    if case.spec is not None and case.gpus and v4(case) and engine(case) in {"vllm", "sglang"} and not _graphs(case):
        yield Seen(
            f"{name(case)} runs DeepSeek V4 without CUDA graphs: a few tokens a second are what others got",
            hint=_FORK if is_fork(case) else None,
        )


def _fraction(case: Case) -> Iterator[Seen]:
    said = flag(case, "gpu-memory-utilization", "mem-fraction-static")
    sizes = [gpu.memory_bytes for gpu in case.gpus if gpu.memory_bytes is not None]
    if case.spec is None or not said or not sizes or engine(case) not in {"vllm", "sglang"}:
        return
    try:
        left = (1 - float(said)) * min(sizes)
    except ValueError:
        return
    if left < _LEAST_FREE:
        yield Seen(f"{name(case)} takes {said} of each GPU's memory and leaves {left / GIB:.1f} GiB for workspaces")


def _beyond_graphs(case: Case) -> Iterator[Seen]:
    captured = number(flag(case, "cuda-graph-max-bs-decode", "cuda-graph-max-bs"))
    running = number(flag(case, "max-running-requests"))
    if engine(case) == "sglang" and captured and running and running > captured:
        yield Seen(
            f"{name(case)} decodes up to {running} requests at once, and CUDA graphs are captured up to {captured}"
        )


def _invisible(case: Case) -> Iterator[Seen]:
    seen = case.env.get("CUDA_VISIBLE_DEVICES")
    if case.spec is None or not case.gpus or seen is None:
        return
    beyond = [
        word for word in seen.split(",") if (index := number(word.strip())) is not None and index >= len(case.gpus)
    ]
    if beyond:
        yield Seen(
            f"CUDA_VISIBLE_DEVICES={seen} of {name(case)} names GPU {beyond[0].strip()}, and inside the container its "
            f"{len(case.gpus)} GPUs are counted from 0"
        )


def _by_uuid(case: Case) -> Iterator[Seen]:
    seen = case.env.get("CUDA_VISIBLE_DEVICES", "")
    if engine(case) == "sglang" and "GPU-" in seen and len(case.gpus) > 1:
        yield Seen(f"CUDA_VISIBLE_DEVICES of {name(case)} holds GPU UUIDs, and SGLang reads whole numbers there")


RULES: Final = (
    Rule(
        id="engine.expandable-segments",
        severity="warns",
        title="expandable_segments with CUDA graphs on SM120",
        look=_expandable,
        hint="remove PYTORCH_CUDA_ALLOC_CONF from env, or set serving.cuda_graphs = false",
        source="https://github.com/Infatoshi/dsv4-flash-2x-rtxpro6000s (GOTCHAS)",
        as_of=AS_OF,
        basis="reported",
        explain="One field report: it 'silently kills CUDA graph capture'. Another rig used it in eager mode without"
        " harm.",
    ),
    Rule(
        id="engine.graphs-off",
        severity="informs",
        title="DeepSeek V4 without CUDA graphs",
        look=_eager,
        hint="set serving.cuda_graphs = true in the profile once the start is sound",
        source="https://github.com/vllm-project/vllm/issues/56700",
        as_of=AS_OF,
        basis="reported",
        explain="Decoding launches thousands of small kernels a token; without graphs the launches take the time. "
        "Reports: about 5 tok/s (V4), 2-4 tok/s (V4.1, eager). Right for finding a fault, wrong for serving. Of the SM120 "
        "fork only eager mode was reported as tested to the end; its harness saw graphs with MTP stall under concurrent "
        "streams.",
    ),
    Rule(
        id="engine.memory-fraction",
        severity="warns",
        title="Too little memory left beside weights and KV cache",
        look=_fraction,
        hint="lower serving.memory_fraction in the profile, to 0.92 on these cards",
        source="https://github.com/local-inference-lab/rtx6kpro (models/ds4dspark-v10.md)",
        as_of=AS_OF,
        basis="reported",
        explain="A lab's server with 777 MiB free came up and died at the first real prefill, on a FlashInfer MoE workspace of 764 "
        "MiB. Keep 1.5 GiB a card.",
    ),
    Rule(
        id="engine.beyond-graphs",
        severity="informs",
        title="More requests at once than graphs were captured for",
        look=_beyond_graphs,
        hint="raise cuda-graph-max-bs-decode under engine_args, or lower serving.max_running_requests",
        source="SGLang docs_new, DeepSeek V4 cell for RTX PRO 6000 (cuda-graph-max-bs-decode 32)",
        as_of=AS_OF,
        basis="inferred",
        versions="SGLang",
        explain="A batch larger than the largest captured one is decoded without graphs, so throughput falls when "
        "load rises.",
    ),
    Rule(
        id="engine.visible-devices",
        severity="blocks",
        title="CUDA_VISIBLE_DEVICES names cards that the container does not have",
        look=_invisible,
        hint="remove CUDA_VISIBLE_DEVICES from env: launchpad hands the chosen cards to the container",
        source="https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/docker-specialized.html",
        as_of=AS_OF,
        basis="inferred",
        explain="The container sees only its own cards, numbered from 0. An index beyond them ends CUDA's list "
        "there: fewer GPUs than tensor parallelism needs, or none.",
    ),
    Rule(
        id="engine.visible-uuids",
        severity="warns",
        title="GPU UUIDs in CUDA_VISIBLE_DEVICES under SGLang",
        look=_by_uuid,
        hint="remove CUDA_VISIBLE_DEVICES from env: launchpad hands the chosen cards to the container",
        source="sglang 0.5.23 custom_all_reduce_utils.py: list(map(int, cuda_visible_devices.split(',')))",
        as_of=AS_OF,
        basis="measured",
        versions="SGLang, read in 0.5.23",
        explain="The probe for custom all-reduce splits the variable and reads integers; a UUID raises ValueError "
        "there.",
    ),
)
