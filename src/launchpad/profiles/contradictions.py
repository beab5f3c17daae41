"""Keys that are right one by one and wrong together.

Pure: a profile whose types and forms are right goes in, (key path, what is wrong and what would be right) come out. What an engine
has no setting for is data in ``unmapped.py``, what a flag would say a second time in ``owned.py``. Refuses to look at anything but
the profile: what a rig can bear is ``deploy``'s and ``doctor``'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.profiles.owned import owned
from launchpad.profiles.unmapped import in_the_file, overruled, told_its_share, unmapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.profiles.schema import Profile

    Found = tuple[tuple[str, ...], str]

#: The tables and keys that say how a server runs on this rig.
_RUNS: Final = frozenset(
    {
        *(
            "image",
            "gpus",
            "parallel",
            "speculative",
            "engine_args",
            "engine_config",
            "dynamo",
            "command",
            "entrypoint",
        ),
        *("env", "secrets", "cache", "mounts", "container", "publish", "power"),
    }
)


def contradictions(profile: Profile) -> Iterator[Found]:
    """What a profile says against itself: where, and what would be right."""
    split = profile.parallel.tensor * profile.parallel.pipeline * profile.parallel.data
    if profile.gpus is not None and profile.engine not in {"generic", "nim", "hosted"} and split != profile.gpus.number:
        says = f"tensor x pipeline x data is {split}, but gpus asks for {profile.gpus.number}; make the two equal"
        yield ("parallel",), says
    share, fraction = profile.gpus.share if profile.gpus else None, profile.serving.memory_fraction
    if share is not None and fraction is not None and fraction > share:
        says = f"is {fraction:g}, more than gpus.share = {share:g} leaves it; lower it, or take it out"
        yield ("serving", "memory_fraction"), says
    if share is not None and fraction is None and profile.engine == "sglang":
        says = f"is missing; SGLang takes graphs and workspaces on top of it: say some 0.05 less than gpus.share = {share:g}"
        yield ("serving", "memory_fraction"), says
    yield from _speculation(profile)
    yield from _elsewhere(profile) if profile.engine == "hosted" else _runs_here(profile)
    if profile.engine == "generic" and profile.command is None:
        yield ("command",), "is missing; engine generic needs the words that start the server"
    if profile.engine == "generic" and profile.probes.readiness.path is None:
        yield ("probes", "readiness", "path"), 'is missing; engine generic needs it, such as "/health"'
    if profile.engine != "generic" and profile.command is not None:
        yield ("command",), f"goes with engine generic only; {profile.engine} builds its own, use engine_args"
    yield from _unfit(profile)
    if profile.deadlines.stall > profile.deadlines.startup:
        yield ("deadlines", "stall"), "is longer than deadlines.startup, so it could never matter"
    if profile.restart.first_delay > profile.restart.max_delay:
        yield ("restart", "first_delay"), "is longer than restart.max_delay; make it shorter"
    for name in sorted(set(profile.env) & set(profile.secrets)):
        yield ("env", name), "stands under env and under secrets; keep the one under secrets"


def _speculation(profile: Profile) -> Iterator[Found]:
    table = profile.speculative
    if table is None:
        return
    if profile.engine not in {"sglang", "vllm"}:
        return  # `unmapped` has said why
    needs_model = table.method in {"eagle", "eagle3", "draft-model"}
    if needs_model and table.draft_model is None:
        yield ("speculative", "draft_model"), f"is missing; {table.method} needs a checkpoint that drafts"
    if not needs_model and table.draft_model is not None:
        yield (
            ("speculative", "draft_model"),
            f"goes with eagle, eagle3 and draft-model; {table.method} has no use for it",
        )
    if table.draft_tokens is None and table.method != "dspark":
        yield ("speculative", "draft_tokens"), f"is missing; {table.method} needs a number, such as 3"
    for name in sorted(name for name in profile.engine_args if name.replace("_", "-").startswith("speculative-")):
        yield ("engine_args", name), "stands beside the table [speculative]; keep one of the two"


def _runs_here(profile: Profile) -> Iterator[Found]:
    """What a server of this rig needs, and an endpoint elsewhere does not have."""
    if profile.hosted is not None:
        yield ("hosted",), f"goes with engine hosted only; engine is {profile.engine}"
    model = profile.model
    if model.path is None and model.repo is None and model.in_image is None:
        yield ("model",), "needs exactly one of path, repo and in_image; has none"


def _elsewhere(profile: Profile) -> Iterator[Found]:
    """Keys that say how a server runs, where none runs here."""
    if profile.hosted is None:
        yield ("hosted", "base_url"), 'is missing; engine hosted needs it, such as "https://api.deepseek.com/v1"'
    for key in sorted(profile.model_fields_set & _RUNS):
        yield (key,), "says how a server runs here; engine hosted runs none"
    if profile.fallback is not None:
        yield ("fallback",), "is for a deployment that runs here; a hosted one has nothing to fall back from"
    for key in sorted(profile.model.model_fields_set - {"served_name"}):
        yield ("model", key), "says where weights are; engine hosted loads none"
    for key in sorted(profile.serving.model_fields_set - {"reasoning"}):
        yield ("serving", key), "is the server's own matter; engine hosted only asks"


def _unfit(profile: Profile) -> Iterator[Found]:
    """Keys that this engine has no use for: what is written and not done would be a lie."""
    if profile.engine == "dynamo" and profile.dynamo is None:
        yield ("dynamo", "worker"), 'is missing; engine dynamo needs it, such as "trtllm"'
    if profile.engine != "dynamo" and profile.dynamo is not None:
        yield ("dynamo",), f"goes with engine dynamo only; engine is {profile.engine}"
    if profile.engine == "dynamo" and profile.container.ipc == "host":
        yield ("container", "ipc"), "is host; frontend and worker find each other in a /dev/shm of their own"
    on_trtllm = profile.engine == "trtllm" or (profile.dynamo is not None and profile.dynamo.worker == "trtllm")
    if profile.engine_config and not on_trtllm:
        yield ("engine_config",), f"goes with TensorRT-LLM only; engine is {profile.engine}"
    yield from unmapped(profile)
    yield from owned(profile)
    yield from overruled(profile) if on_trtllm else ()
    if on_trtllm and profile.entrypoint is not None and (profile.engine_config or in_the_file(profile)):
        yield ("entrypoint",), "would replace the words that write TensorRT-LLM's own file"
    if on_trtllm and profile.gpus is not None and profile.gpus.share is not None:
        yield ("gpus", "share"), "cannot be kept: TensorRT-LLM takes a share of what is free, not of all memory"
    if profile.engine == "nim" and profile.model.in_image is None:
        yield ("model", "in_image"), "is missing; a NIM brings its model and keeps it in its cache, /opt/nim/.cache"
    if (
        profile.engine == "nim"
        and profile.gpus is not None
        and profile.gpus.share is not None
        and not told_its_share(profile)
    ):
        says = "cannot be kept: a NIM takes what the engine inside takes; tell that one, as gpu-memory-utilization (vLLM) or "
        yield ("gpus", "share"), says + "mem-fraction-static (SGLang) under engine_args"
