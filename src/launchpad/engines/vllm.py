"""vLLM: ``vllm serve``.

Flags, paths and log lines as read in the wheels 0.20.2 to 0.33.0 (2026-11-22), and seen in real starts of 0.26.0 on 4x H200
and of the CPU build 0.32.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.engines import base, speculative

if TYPE_CHECKING:
    from launchpad.profiles.schema import Profile
    from launchpad.runtime.base import ContainerSpec

#: The engine's own caches, below the cache volume.
_CACHES: Final = {"VLLM_CACHE_ROOT": "vllm", "DG_JIT_CACHE_DIR": "deep_gemm"}


class VLLM:
    """The vLLM OpenAI-compatible server."""

    name = "vllm"
    port = 8000
    stages: tuple[str, ...] = ("start", "distributed", "weights", "compile", "memory", "graphs", "warm-up", "serving")
    marks: tuple[base.StageMark, ...] = (
        # First: these lines spell every setting, and so the words of every other stage.
        base.mark("start", r"non-default args:|Initializing a V1 LLM engine"),
        base.mark("serving", r"Application startup complete"),
        base.mark("warm-up", r"Starting vLLM server on |init engine \(profile, create kv cache"),
        base.mark("graphs", r"Capturing CUDA graphs?" + base.COUNTER),
        base.mark("graphs", r"Capturing CUDA graphs|Graph capturing finished"),
        base.mark("memory", r"GPU KV cache size:|CPU KV cache size:|Available KV cache memory:"),
        base.mark(
            "compile",
            r"DeepGEMM warmup|JIT kernel warmup starting|[Aa]utotun|TileLang begins to compile|torch\.compile takes",
        ),
        base.mark("weights", r"Loading safetensors checkpoint shards" + base.COUNTER),
        base.mark("weights", r"Starting to load model|Loading model from scratch|Loading weights took"),
        base.mark("distributed", r"world_size=\d+ rank=\d+|vLLM is using nccl"),
    )

    def render(self, profile: Profile, seat: base.Seat) -> tuple[ContainerSpec, ...]:
        """One container for all ranks."""
        serving, parallel = profile.serving, profile.parallel
        port = profile.own_publish.container_port or self.port
        arguments = base.typed(
            revision=profile.model.revision,
            served_model_name=profile.model.served_name,
            host="0.0.0.0",  # noqa: S104 - inside the container; what is published on the rig is publish.host
            port=port,
            tensor_parallel_size=parallel.tensor if parallel.tensor > 1 else None,
            pipeline_parallel_size=parallel.pipeline if parallel.pipeline > 1 else None,
            data_parallel_size=parallel.data if parallel.data > 1 else None,
            enable_expert_parallel=parallel.expert,
            max_model_len=serving.context_length,
            max_num_seqs=serving.max_running_requests,
            gpu_memory_utilization=base.memory_fraction(profile),
            kv_cache_dtype=serving.kv_cache_dtype,
            quantization=serving.quantization,
            trust_remote_code=serving.trust_remote_code,
            disable_custom_all_reduce=not serving.custom_all_reduce,
            enforce_eager=not serving.cuda_graphs,
            reasoning_parser=serving.reasoning_parser,
            tool_call_parser=serving.tool_call_parser,
            enable_auto_tool_choice=serving.tool_call_parser is not None,
            disable_log_stats=not serving.metrics,
        ) | speculative.vllm_flags(profile, seat.gpus)
        return (
            base.container(
                profile,
                seat,
                command=(base.model_path(profile), *base.flags(arguments), *base.flags(profile.engine_args)),
                # The official images have this entrypoint; said aloud because older tags start another module.
                entrypoint=("vllm", "serve"),
                container_port=port,
                env={**base.cache_env(profile, seat, _CACHES), **base.hub_env(profile)},
            ),
        )

    def health(self, profile: Profile) -> base.Health:
        """``/health`` says 503 only when the engine core is dead and 200 while a collective hangs.

        Source: vllm 0.33.0, entrypoints/serve; seen on 0.32.0 CPU, 2026-11-22.
        """
        return base.health_with(
            profile,
            base.Health(
                ready_paths=("/health",),
                ready_timeout_s=5.0,
                live_path="/health",
                live_interval_s=5.0,
                live_timeout_s=5.0,
                live_failures=3,
                metrics_path="/metrics",
            ),
        )
