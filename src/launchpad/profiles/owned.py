"""Flags of an engine that a typed field says: the last of two flags wins, and nobody who reads the typed field would know.

What is held by a typed field is counted (the shares of GPUs that are shared, the ranks and the GPUs), locked and examined by it.
So such a flag is refused in ``engine_args``, in each of its spellings and shortened as the engines' parsers allow. The rows are
what ``engines`` renders, with the other names that the releases of ``engines/schemas`` know for it;
``tests/engines/test_owned_flags.py`` holds both together. Refuses to know flags that no field says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launchpad.profiles.schema import Profile

#: Shorter is no shortening that a person would mean.
_LEAST: Final = 4

_VLLM: Final = {  # not served-model-name: it takes several, and only engine_args can say them
    "model.path": ("model",),
    "model.revision": ("revision",),
    "publish.container_port": ("port",),
    "parallel.tensor": ("tensor-parallel-size",),
    "parallel.pipeline": ("pipeline-parallel-size",),
    "parallel.data": ("data-parallel-size",),
    "parallel.expert": ("enable-expert-parallel", "disable-expert-parallel"),
    "serving.context_length": ("max-model-len",),
    "serving.max_running_requests": ("max-num-seqs",),
    "serving.memory_fraction": ("gpu-memory-utilization", "device-memory-utilization"),
    "serving.kv_cache_dtype": ("kv-cache-dtype",),
    "serving.quantization": ("quantization",),
    "serving.trust_remote_code": ("trust-remote-code",),
    "serving.custom_all_reduce": ("disable-custom-all-reduce", "enable-custom-all-reduce"),
    "serving.cuda_graphs": ("enforce-eager",),
    "serving.reasoning_parser": ("reasoning-parser",),
    "serving.tool_call_parser": ("tool-call-parser", "enable-auto-tool-choice", "disable-auto-tool-choice"),
    "serving.metrics": ("disable-log-stats",),
}
_SGLANG: Final = {
    "model.path": ("model-path", "model"),
    "model.revision": ("revision",),
    "model.served_name": ("served-model-name",),
    "publish.container_port": ("port",),
    "parallel.tensor": ("tp-size", "tp", "tensor-parallel-size"),
    "parallel.pipeline": ("pp-size", "pp", "pipeline-parallel-size"),
    "parallel.data": ("dp-size", "dp", "data-parallel-size"),
    "parallel.expert": ("ep-size", "ep", "expert-parallel-size"),
    "serving.context_length": ("context-length",),
    "serving.max_running_requests": ("max-running-requests",),
    "serving.memory_fraction": ("mem-fraction-static",),
    "serving.kv_cache_dtype": ("kv-cache-dtype",),
    "serving.quantization": ("quantization",),
    "serving.trust_remote_code": ("trust-remote-code",),
    "serving.custom_all_reduce": ("disable-custom-all-reduce",),
    "serving.cuda_graphs": ("cuda-graph-backend-decode", "cuda-graph-backend-prefill"),
    "serving.reasoning_parser": ("reasoning-parser",),
    "serving.tool_call_parser": ("tool-call-parser",),
    "serving.metrics": ("enable-metrics",),
}
_TRTLLM: Final = {
    "model.revision": ("revision",),
    "model.served_name": ("served-model-name",),
    "publish.container_port": ("port",),
    "parallel.tensor": ("tp-size",),
    "parallel.pipeline": ("pp-size",),
    "parallel.expert": ("ep-size",),
    "serving.context_length": ("max-seq-len",),
    "serving.max_running_requests": ("max-batch-size",),
    "serving.trust_remote_code": ("trust-remote-code",),
    "serving.reasoning_parser": ("reasoning-parser",),
    "serving.tool_call_parser": ("tool-parser",),
    "engine_config": ("config",),
}
_DYNAMO_TRTLLM: Final = {
    "model.path": ("model-path",),
    "model.served_name": ("served-model-name",),
    "parallel.tensor": ("tensor-parallel-size",),
    "parallel.pipeline": ("pipeline-parallel-size",),
    "parallel.expert": ("expert-parallel-size",),
    "serving.context_length": ("max-seq-len",),
    "serving.max_running_requests": ("max-batch-size",),
    "serving.reasoning_parser": ("dyn-reasoning-parser",),
    "serving.tool_call_parser": ("dyn-tool-call-parser",),
    "engine_config": ("extra-engine-args",),
}
_DYNAMO_MOCKER: Final = {
    "model.path": ("model-path",),
    "model.served_name": ("model-name",),
    "parallel.data": ("data-parallel-size",),
    "serving.max_running_requests": ("max-num-seqs",),
    "serving.kv_cache_dtype": ("kv-cache-dtype",),
}

#: By engine, and for Dynamo by its worker: typed key -> the names of the flag that says it. A NIM's and a generic server's fields
#: say no flags.
OWNED: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "vllm": _VLLM,
    "sglang": _SGLANG,
    "trtllm": _TRTLLM,
    "dynamo trtllm": _DYNAMO_TRTLLM,
    "dynamo mocker": _DYNAMO_MOCKER,
}


def owner(kind: str, flag: str) -> str | None:
    """The typed key that says ``flag``, an ``engine_args`` key; None for a flag that no field says."""
    name = flag.replace("_", "-").removeprefix("no-")
    for key, names in OWNED.get(kind, {}).items():
        if any(name == own or (len(name) >= _LEAST and own.startswith(name)) for own in names):
            return key
    return None


def owned(profile: Profile) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every key of ``engine_args`` that is a typed field's matter, with the key where it belongs."""
    kind = f"dynamo {profile.dynamo.worker}" if profile.dynamo is not None else profile.engine
    for flag in sorted(profile.engine_args):
        key = owner(kind, flag)
        if key is not None:
            yield (
                ("engine_args", flag),
                f"is what {key} says, and of two flags the last would win; say it as {key} alone",
            )
