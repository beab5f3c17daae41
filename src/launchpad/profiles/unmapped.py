"""Typed fields that an engine has nothing for, and why: what is written and not done would be a lie.

Each row is dated knowledge of one engine: keys of a profile, the reason, and where that is known from. A key that a profile writes
is refused with it, whatever its value is. Every other typed field changes the command, the environment or the questions that
launchpad asks; ``tests/engines/test_every_field.py`` goes through all of them with every engine. The rows for SGLang and vLLM are
none: they map everything.

TensorRT-LLM's own file wins over its flags. So what a typed field says, and ``engine_config`` says otherwise, is refused, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from launchpad.profiles.schema import Profile


@dataclass(frozen=True, slots=True)
class Unmapped:
    """Keys (``table.key``, or a whole table) that an engine has nothing for; ``says`` goes on from "KEY: ..."."""

    keys: tuple[str, ...]
    says: str
    source: str
    as_of: str = "2026-11-23"


_SERVING: Final = tuple(
    f"serving.{key}"
    for key in (
        *("context_length", "max_running_requests", "memory_fraction", "kv_cache_dtype", "trust_remote_code"),
        *("custom_all_reduce", "cuda_graphs", "reasoning_parser", "tool_call_parser", "quantization", "metrics"),
    )
)
_PARALLEL: Final = ("parallel.tensor", "parallel.pipeline", "parallel.data", "parallel.expert")
_LLM_ARGS: Final = "NVIDIA/TensorRT-LLM, tensorrt_llm/llmapi/llm_args.py"

_TENSORRT_LLM: Final = (
    Unmapped(
        ("serving.quantization",),
        "has no setting in TensorRT-LLM: its PyTorch backend takes what the checkpoint says; remove it, or serve a checkpoint that "
        "is quantized so",
        f"{_LLM_ARGS} (quant_config belongs to the TensorRT backend, which went with 1.3.0rc20)",
    ),
    Unmapped(
        ("serving.memory_fraction",),
        "is of all memory, and TensorRT-LLM counts what is free after loading; use engine_config.kv_cache_config",
        f"{_LLM_ARGS} (free_gpu_memory_fraction)",
    ),
    Unmapped(
        ("parallel.data",),
        "has no counterpart in TensorRT-LLM, which splits attention over the tensor parallel ranks instead: "
        "engine_config.enable_attention_dp = true",
        f"{_LLM_ARGS} (enable_attention_dp)",
    ),
    Unmapped(
        ("speculative",),
        "is not mapped to TensorRT-LLM: MTP of DeepSeek V4 is reported to crash at start (rc21, rc24), and names change by release "
        "(num_nextn_predict_layers, max_draft_len); engine_config.speculative_config says it in the release's own words",
        "https://github.com/NVIDIA/TensorRT-LLM/issues/17024 and 17025",
    ),
)

UNMAPPED: Final[Mapping[str, tuple[Unmapped, ...]]] = {
    "trtllm": (
        *_TENSORRT_LLM,
        Unmapped(
            ("serving.metrics",),
            "changes nothing: TensorRT-LLM's /metrics are JSON, which launchpad does not read, and a token proves life",
            "NVIDIA/TensorRT-LLM, tensorrt_llm/serve/openai_server.py",
            "2026-11-22",
        ),
    ),
    "dynamo trtllm": (
        *_TENSORRT_LLM,
        Unmapped(
            ("model.revision",),
            "cannot be kept: Dynamo asks the hub for the model without one; use model.path, with model.source naming the commit",
            "wheel ai-dynamo 1.6.1 (dynamo/common/model_fetch.py); --revision is its diffusion engine's",
        ),
    ),
    "dynamo mocker": (
        Unmapped(
            ("parallel.tensor", "parallel.pipeline", "parallel.expert", "gpus"),
            "is nothing to Dynamo's mocker: it has no GPU and no ranks but parallel.data",
            "wheels ai-dynamo 1.3.1 and 1.6.1 (dynamo/mocker/args.py)",
        ),
        Unmapped(
            ("serving.context_length",),
            'has no flag in the mocker of Dynamo 1.3; 1.6 takes engine_args with "max-model-len"',
            "wheels ai-dynamo 1.3.1 and 1.6.1 (dynamo/mocker/args.py)",
        ),
        Unmapped(
            (
                *("serving.memory_fraction", "serving.trust_remote_code", "serving.custom_all_reduce"),
                *("serving.cuda_graphs", "serving.reasoning_parser", "serving.tool_call_parser"),
                *("serving.quantization", "speculative"),
            ),
            "is nothing to Dynamo's mocker: it loads no weights and makes its tokens up; remove it",
            "wheels ai-dynamo 1.3.1 and 1.6.1 (dynamo/mocker/args.py)",
        ),
        Unmapped(
            ("model.revision",),
            "cannot be kept: Dynamo asks the hub for the model without one; use model.path, with model.source naming the commit",
            "wheel ai-dynamo 1.6.1 (dynamo/mocker/main.py)",
        ),
    ),
    "nim": (
        Unmapped(
            (*_PARALLEL, *(key for key in _SERVING if key != "serving.metrics")),
            "of a NIM is chosen by env.NIM_MODEL_PROFILE (list-model-profiles names what there is); flags of the engine inside, "
            "vLLM or SGLang, go into engine_args",
            "https://docs.nvidia.com/nim/large-language-models/latest/",
            "2026-11-22",
        ),
        Unmapped(
            ("serving.metrics",),
            "changes nothing: a NIM's /v1/metrics are those of whichever engine is inside, launchpad reads none of them, and a "
            "token proves life",
            "https://docs.nvidia.com/nim/large-language-models/latest/",
            "2026-11-22",
        ),
        Unmapped(
            ("speculative",),
            "of a NIM belongs to the profile that env.NIM_MODEL_PROFILE chooses; flags of the engine inside go into engine_args",
            "https://docs.nvidia.com/nim/large-language-models/latest/",
            "2026-11-22",
        ),
    ),
    "generic": (
        Unmapped(
            (*_PARALLEL, *_SERVING, "speculative", "engine_args"),
            "is nothing to engine generic, which runs the words of command as they are; say it there",
            "launchpad's own engines/generic.py",
        ),
    ),
}
"""By engine, and for Dynamo by its worker; ``hosted`` refuses every table that says how a server runs, in the schema itself."""


#: What typed fields become in TensorRT-LLM's file, or would be overruled by there.
_IN_THE_FILE: Final[Mapping[str, str]] = {
    "serving.context_length": "max_seq_len",
    "serving.max_running_requests": "max_batch_size",
    "serving.kv_cache_dtype": "kv_cache_config.dtype",
    "serving.trust_remote_code": "trust_remote_code",
    "serving.reasoning_parser": "reasoning_parser",
    "parallel.tensor": "tensor_parallel_size",
    "parallel.pipeline": "pipeline_parallel_size",
}
#: Those that are switched off there by a value of another kind.
_OFF_IN_THE_FILE: Final[Mapping[str, tuple[str, str | None]]] = {
    "serving.cuda_graphs": ("cuda_graph_config", None),
    "serving.custom_all_reduce": ("allreduce_strategy", "NCCL"),
}


def unmapped(profile: Profile) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every key that is written in ``profile`` and that its engine has nothing for, with the reason and its source."""
    kind = f"dynamo {profile.dynamo.worker}" if profile.dynamo is not None else profile.engine
    for row in UNMAPPED.get(kind, ()):
        for key in row.keys:
            path = tuple(key.split("."))
            if _written(profile, path):
                yield path, f"{row.says} (source: {row.source}, {row.as_of})"


def _written(profile: Profile, path: tuple[str, ...]) -> bool:
    table: BaseModel | None = profile
    for name in path[:-1]:
        table = getattr(table, name)
    return table is not None and path[-1] in table.model_fields_set and getattr(table, path[-1]) is not None


def overruled(profile: Profile) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys of ``engine_config`` that say otherwise than a typed field; for TensorRT-LLM alone, whose file it is."""
    for key, place in _IN_THE_FILE.items():
        path, where = tuple(key.split(".")), tuple(place.split("."))
        found = _said(profile.engine_config, where)
        if _written(profile, path) and found is not _NOTHING and found != _value(profile, path):
            yield ("engine_config", *where), f"says otherwise than {key}, and would win; keep one of the two"
    for key, (place, off) in _OFF_IN_THE_FILE.items():
        found = _said(profile.engine_config, (place,))
        if _value(profile, tuple(key.split("."))) is False and found is not _NOTHING and found != off:
            yield ("engine_config", place), f"says otherwise than {key} = false; keep one of the two"


def in_the_file(profile: Profile) -> bool:
    """Whether a typed field is said to TensorRT-LLM in its own file, which has to be written then."""
    serving = profile.serving
    said = serving.kv_cache_dtype is not None or not serving.cuda_graphs or not serving.custom_all_reduce
    return said or (profile.dynamo is not None and serving.trust_remote_code)


def told_its_share(profile: Profile) -> bool:
    """Whether the engine inside a NIM is told how much of each GPU's memory to take, and takes no more than its share."""
    share = profile.gpus.share if profile.gpus is not None else None
    said = [profile.engine_args.get(name) for name in ("gpu-memory-utilization", "mem-fraction-static")]
    return share is not None and any(isinstance(value, float) and value <= share for value in said)


_NOTHING: Final = object()


def _said(table: object, where: tuple[str, ...]) -> object:
    for name in where:
        if not isinstance(table, Mapping):
            return table
        if name not in table:
            return _NOTHING
        table = table[name]
    return table


def _value(profile: Profile, path: tuple[str, ...]) -> object:
    found: object = profile
    for name in path:
        found = getattr(found, name)
    return found
