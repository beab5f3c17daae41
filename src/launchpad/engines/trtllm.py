"""TensorRT-LLM alone: ``trtllm-serve``.

Flags, paths and behaviour as read in NVIDIA/TensorRT-LLM (examples/models/core/deepseek_v4/README.md at 3699edad, openai_server.py
of several releases, 2026-11-22; commands/serve.py and llmapi/llm_args.py, 2026-11-23); never run here. Its ``/metrics`` are JSON,
so launchpad reads none, and proves life by a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.engines import base

if TYPE_CHECKING:
    from launchpad.profiles.schema import ArgumentValue, Profile
    from launchpad.runtime.base import ContainerSpec

#: Its loading lines, which Dynamo's worker writes too: as reports show them (NVIDIA/TensorRT-LLM issue 6294, pull requests 5291 and
#: 7285), not seen in a run of DeepSeek V4.
STAGES: Final = ("start", "weights", "warm-up", "serving")
MARKS: Final = (
    base.mark("serving", r"Application startup complete|Uvicorn running on"),
    base.mark("warm-up", r"CUDA graph warmup|[Aa]utotun\w* warmup"),
    base.mark("weights", r"Loading (safetensors )?weights( in parallel)?:" + base.COUNTER),
    base.mark("weights", r"prefetching .*\.safetensors|uses [\d.]+ GB for model weights"),
    base.mark("start", r"TensorRT-LLM version:"),
)


def with_file(profile: Profile, **more: object) -> Profile:
    """``profile`` with what its typed fields, and ``more``, become in TensorRT-LLM's own file; for the worker of Dynamo, too.

    ``cuda_graph_config: null`` switches graphs off, and the strategy NCCL is the one without custom kernels. What ``engine_config``
    says otherwise was refused before.
    """
    serving, made = profile.serving, {**profile.engine_config, **more}
    if serving.kv_cache_dtype is not None:
        made["kv_cache_config"] = {**made.get("kv_cache_config", {}), "dtype": serving.kv_cache_dtype}
    if not serving.cuda_graphs:
        made["cuda_graph_config"] = None
    if not serving.custom_all_reduce:
        made["allreduce_strategy"] = "NCCL"
    return profile.model_copy(update={"engine_config": made})


class TensorRTLLM:
    """TensorRT-LLM's OpenAI-compatible server, PyTorch backend (the other one went with 1.3.0rc20)."""

    name = "trtllm"
    port = 8000
    stages: tuple[str, ...] = STAGES
    marks: tuple[base.StageMark, ...] = MARKS

    def render(self, profile: Profile, seat: base.Seat) -> tuple[ContainerSpec, ...]:
        """One container for all ranks."""
        profile = with_file(profile)
        serving, parallel = profile.serving, profile.parallel
        port = profile.own_publish.container_port or self.port
        # Spelled with underscores, as in its own documentation; --host is localhost where it is not said.
        arguments: dict[str, ArgumentValue | None] = {
            "backend": "pytorch",
            "served_model_name": profile.model.served_name,
            "host": "0.0.0.0",  # noqa: S104 - inside the container; what is published on the rig is publish.host
            "port": port,
            "revision": profile.model.revision,
            "tp_size": parallel.tensor,
            "pp_size": parallel.pipeline if parallel.pipeline > 1 else None,
            "ep_size": parallel.tensor if parallel.expert else None,
            "max_batch_size": serving.max_running_requests,
            "max_seq_len": serving.context_length,
            "trust_remote_code": serving.trust_remote_code,
            "reasoning_parser": serving.reasoning_parser,
            "tool_parser": serving.tool_call_parser,
            "config": base.CONFIG_PATH if profile.engine_config else None,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        entrypoint, env = base.with_config(profile)
        return (
            base.container(
                profile,
                seat,
                command=(
                    "trtllm-serve",
                    base.model_path(profile),
                    *base.flags(given),
                    *base.flags(profile.engine_args),
                ),
                entrypoint=entrypoint,
                container_port=port,
                env={**base.cache_env(profile, seat, {}), **base.hub_env(profile), **env},
            ),
        )

    def health(self, profile: Profile) -> base.Health:
        """``/health`` is refused while it loads: the port is bound before the engine is there, and nobody listens yet."""
        return base.health_with(
            profile,
            base.Health(
                ready_paths=("/health",),
                ready_timeout_s=5.0,
                live_path="/health",
                live_interval_s=5.0,
                live_timeout_s=5.0,
                live_failures=3,
            ),
        )
