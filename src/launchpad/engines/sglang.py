"""SGLang: ``sglang serve``.

Flags, paths and log lines as read in the wheels 0.5.12 to 0.5.23 (2026-11-22) and seen in a real start of 0.5.16 on 4x H200.
Flags are written out in full: the parser accepts prefixes such as ``--tp``, and the next release may make one ambiguous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.engines import base, speculative

if TYPE_CHECKING:
    from launchpad.profiles.schema import Profile
    from launchpad.runtime.base import ContainerSpec

#: The engine's own caches, below the cache volume.
_CACHES: Final = {
    "SGLANG_CACHE_DIR": "sglang",
    "SGLANG_JIT_CACHE_DIR": "sglang/jit",
    "SGLANG_DG_CACHE_DIR": "deep_gemm",
    "SGLANG_CUTE_AOT_CACHE_DIR": "cute_aot",
}


class SGLang:
    """The SGLang server."""

    name = "sglang"
    port = 30000
    stages: tuple[str, ...] = ("start", "distributed", "weights", "memory", "compile", "graphs", "warm-up", "serving")
    marks: tuple[base.StageMark, ...] = (
        base.mark("start", r"server_args="),  # first: it spells every setting, and so the words of every other stage
        base.mark("serving", r"The server is fired up and ready to roll!"),
        base.mark("warm-up", r"Uvicorn running on |Application startup complete|Prefill batch"),
        base.mark("graphs", r"Capturing batches" + base.COUNTER),
        base.mark("graphs", r"Capture .*?CUDA graph begin"),
        base.mark("compile", r"TileLang begins to compile|JIT(-| )compil|[Aa]utotun|DeepGEMM (warmup|JIT)"),
        base.mark("memory", r"Memory pool end\.|KV Cache is allocated|DSV4 SWA sizing"),
        base.mark("weights", r"(Loading safetensors checkpoint shards|Multi-thread loading shards)" + base.COUNTER),
        base.mark("weights", r"Load weight begin"),
        base.mark("distributed", r"Init (torch distributed|parallel) begin"),
    )

    def render(self, profile: Profile, seat: base.Seat) -> tuple[ContainerSpec, ...]:
        """One container for all ranks."""
        serving, parallel = profile.serving, profile.parallel
        port = profile.own_publish.container_port or self.port
        arguments = base.typed(
            model_path=base.model_path(profile),
            revision=profile.model.revision,
            served_model_name=profile.model.served_name,
            host="0.0.0.0",  # noqa: S104 - inside the container; its default 127.0.0.1 would leave the published port dead
            port=port,
            tp_size=parallel.tensor if parallel.tensor > 1 else None,
            pp_size=parallel.pipeline if parallel.pipeline > 1 else None,
            dp_size=parallel.data if parallel.data > 1 else None,
            ep_size=parallel.tensor if parallel.expert else None,
            context_length=serving.context_length,
            max_running_requests=serving.max_running_requests,
            mem_fraction_static=base.memory_fraction(profile),
            kv_cache_dtype=serving.kv_cache_dtype,
            quantization=serving.quantization,
            trust_remote_code=serving.trust_remote_code,
            disable_custom_all_reduce=not serving.custom_all_reduce,
            # --disable-cuda-graph is deprecated since 0.5.16 in favour of these two (seen in its own log, 2026-11-22)
            cuda_graph_backend_decode=None if serving.cuda_graphs else "disabled",
            cuda_graph_backend_prefill=None if serving.cuda_graphs else "disabled",
            reasoning_parser=serving.reasoning_parser,
            tool_call_parser=serving.tool_call_parser,
            enable_metrics=serving.metrics,
        ) | speculative.sglang_flags(profile, seat.gpus)
        return (
            base.container(
                profile,
                seat,
                command=("sglang", "serve", *base.flags(arguments), *base.flags(profile.engine_args)),
                entrypoint=None,
                container_port=port,
                env={**base.cache_env(profile, seat, _CACHES), **base.hub_env(profile)},
            ),
        )

    def health(self, profile: Profile) -> base.Health:
        """``/ready`` since 0.5.20 is a flag check; before, ``/health`` sends a real request and may take 20 s to say no.

        Source: sglang/srt/entrypoints/http_server.py of 0.5.18, 0.5.20 and 0.5.23.
        """
        return base.health_with(
            profile,
            base.Health(
                ready_paths=("/ready", "/health"),
                ready_timeout_s=25.0,
                live_path="/health",
                live_interval_s=30.0,
                live_timeout_s=25.0,
                live_failures=3,
                metrics_path="/metrics",
            ),
        )
