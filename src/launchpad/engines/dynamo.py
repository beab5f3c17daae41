"""NVIDIA Dynamo on one rig: a frontend and a worker, each in a container of its own, without etcd and without NATS.

The two live as one. The worker joins the frontend's network, so that it is reached on the loopback address and the rig's port is
published once, and the frontend's /dev/shm, where they find each other through files: these die with the pair, and no
registration of a dead worker outlives it (a named volume would keep it, and outlive `down`). Both need Docker 20.10 and no more.

Flags and behaviour of 1.3.1 and 1.6.1, run with Dynamo's mocker (2026-11-22 and 23); the flags of the TensorRT-LLM worker as its
recipe writes them (ai-dynamo/dynamo PR 8825), which nobody ran here. ``dynamo serve`` went with 0.4.0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from launchpad.engines import base, trtllm

if TYPE_CHECKING:
    from launchpad.profiles.schema import ArgumentValue, Profile
    from launchpad.runtime.base import ContainerSpec

#: Where frontend and worker look for each other: in the memory they share.
_DISCOVERY: Final = {
    "DYN_DISCOVERY_BACKEND": "file",
    "DYN_FILE_KV": "/dev/shm/dynamo",  # noqa: S108 - the pair's own
    "DYN_TCP_RPC_HOST": "127.0.0.1",
}
#: The frontend's alone. Its line for each answer would be our own probes coming back: ten a second, and a load that stalls would
#: never be quiet.
_QUIET: Final = {"DYN_LOG": "info,dynamo_llm::http::service::service_v2=warn"}


class Dynamo:
    """Dynamo's frontend with one worker."""

    name = "dynamo"
    port = 8000
    stages: tuple[str, ...] = trtllm.STAGES
    marks: tuple[base.StageMark, ...] = (
        # Seen with 1.6.1, whose lines carry colours between their words.
        base.mark("serving", r"(Chat c|C)ompletions is ready"),
        base.mark("start", r"dynamo runtime configuration:"),
        *(mark for mark in trtllm.MARKS if mark.stage != "serving"),
    )

    def render(self, profile: Profile, seat: base.Seat) -> tuple[ContainerSpec, ...]:
        """The frontend, which owns the port, then the worker, which owns the GPUs."""
        port = profile.own_publish.container_port or self.port
        if profile.dynamo is not None and profile.dynamo.worker == "trtllm":
            # The worker has no flag for it: llm_worker.py of 1.6.1 reads it from the engine's own file.
            more = {"trust_remote_code": True} if profile.serving.trust_remote_code else {}
            profile = trtllm.with_file(profile, **more)
        frontend = base.container(
            profile,
            seat,
            command=("python3", "-m", "dynamo.frontend", *_frontend_flags(profile, port)),
            entrypoint=None,
            container_port=port,
            env={**_DISCOVERY, **_QUIET, **base.hub_env(profile)},
        )
        entrypoint, config = base.with_config(profile)
        worker = base.container(
            profile,
            seat,
            command=("python3", "-m", *_worker_words(profile)),
            entrypoint=entrypoint,
            container_port=port,
            env={**_DISCOVERY, **base.hub_env(profile), **base.cache_env(profile, seat, {}), **config},
        )
        kept = tuple(
            mount for mount in frontend.mounts if seat.cache_volume is None or mount.source != seat.cache_volume
        )
        return (
            replace(frontend, role="frontend", gpus=None, mounts=kept, ipc="shareable", memory_bytes=None),
            replace(
                worker,
                role=base.ROLE_WORKER,
                name=f"{frontend.name}-worker",
                ports=(),
                network=f"container:{frontend.name}",
                ipc=f"container:{frontend.name}",
                shm_bytes=None,
            ),
        )

    def health(self, profile: Profile) -> base.Health:
        """Readiness knows the workers; the frontend's ``/health`` says 200 without any, so tokens tell whether it lives.

        Where a release does not have the route yet, the model list takes its place and the completion decides.
        """
        return base.health_with(
            profile,
            base.Health(
                ready_paths=(f"/v1/models/{profile.model.served_name}/ready", "/v1/models"),
                ready_timeout_s=5.0,
                live_path="/health",
                live_interval_s=5.0,
                live_timeout_s=5.0,
                live_failures=3,
                metrics_path="/metrics",
                idle_interval_s=15.0,
            ),
        )


def _frontend_flags(profile: Profile, port: int) -> tuple[str, ...]:
    host = "0.0.0.0"  # noqa: S104 - inside the container; what is published on the rig is publish.host
    more = profile.dynamo.frontend_args if profile.dynamo is not None else {}
    return (*base.flags(base.typed(http_host=host, http_port=port)), *base.flags(more))


def _worker_words(profile: Profile) -> tuple[str, ...]:
    """The worker's module and its flags."""
    serving, parallel, path = profile.serving, profile.parallel, base.model_path(profile)
    worker = profile.dynamo.worker if profile.dynamo is not None else "mocker"
    arguments: dict[str, ArgumentValue]
    if worker == "mocker":
        arguments = base.typed(
            model_path=path,
            model_name=profile.model.served_name,
            data_parallel_size=parallel.data if parallel.data > 1 else None,
            max_num_seqs=serving.max_running_requests,
            kv_cache_dtype=serving.kv_cache_dtype,
        )
    else:
        # Parallelism stands here alone: the recipe says not to repeat it in the engine's file.
        arguments = base.typed(
            model_path=path,
            served_model_name=profile.model.served_name,
            tensor_parallel_size=parallel.tensor,
            pipeline_parallel_size=parallel.pipeline if parallel.pipeline > 1 else None,
            expert_parallel_size=parallel.tensor if parallel.expert else None,
            max_batch_size=serving.max_running_requests,
            max_seq_len=serving.context_length,
            extra_engine_args=base.CONFIG_PATH if profile.engine_config else None,
            dyn_tool_call_parser=serving.tool_call_parser,
            dyn_reasoning_parser=serving.reasoning_parser,
        )
    return (f"dynamo.{worker}", *base.flags(arguments), *base.flags(profile.engine_args))
