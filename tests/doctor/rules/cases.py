"""Cases for the rules' tests: a shipped profile on its rig, changed by keyword until one rule has something to say."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launchpad.deploy.spec import resolve
from launchpad.doctor.case import Case, DeepGemm, ImageFacts
from launchpad.model.checkpoint import Checkpoint, ModelConfig, Shard
from launchpad.profiles.catalog import shipped_profiles
from launchpad.profiles.schema import Profile
from launchpad.rig.catalog import RigCatalog

if TYPE_CHECKING:
    from launchpad.rig.facts import Gpu, RigFacts

GIB = 2**30
RIG = RigCatalog(()).facts("4x-rtx-pro-6000")
H200 = RigCatalog(()).facts("2x-h200")
GENERIC: dict[str, Any] = {
    "format": 1,
    "summary": "a command of its own",
    "engine": "generic",
    "image": {"reference": "lmsysorg/sglang:v0.5.23"},
    "command": [
        "python3",
        "-m",
        "sglang.launch_server",
        "--model-path",
        "/models/deepseek-v4-flash",
        "--host",
        "0.0.0.0",
    ],
    "model": {"path": "/mnt/models/deepseek-v4-flash", "served_name": "deepseek-v4-flash"},
    "gpus": {"count": 4},
    "env": {"SGLANG_CACHE_DIR": "/cache/sglang"},
    "container": {"shm_size": "32GiB", "ulimits": {"memlock": -1}},
    "publish": {"port": 8000, "container_port": 8000},
    "probes": {"readiness": {"path": "/health"}, "liveness": {"timeout": "25s"}},
}


def table(base: str, **changes: Any) -> dict[str, Any]:
    """A shipped profile's text (or GENERIC) with ``changes``: a dict merges into the table of its name, None takes a key away."""
    made = dict(GENERIC) if base == "generic" else tomllib.loads((Path(str(shipped_profiles())) / base).read_text())
    for key, value in changes.items():
        if isinstance(value, dict):
            merged = {**made.get(key, {}), **value}
            kept = {name: item for name, item in merged.items() if item is not None}
            made.update({key: kept} if kept or key in made else {})
        elif value is None:
            made.pop(key, None)
        else:
            made[key] = value
    return made


def case(
    base: str,
    facts: RigFacts = RIG,
    *,
    inspected: ImageFacts | None = None,
    checkpoint: Checkpoint | None = None,
    name: str = "flash",
    **changes: Any,
) -> Case:
    """The case of :func:`table` on ``facts``."""
    profile = Profile.model_validate(table(base, **changes))
    return Case(facts, resolve(name, profile, facts, taken={}), inspected, checkpoint)


def vllm(facts: RigFacts = RIG, **changes: Any) -> Case:
    """The shipped vLLM profile, changed."""
    return case("v4-flash-vllm-tp4.toml", facts, **changes)


def sglang(facts: RigFacts = RIG, **changes: Any) -> Case:
    """The shipped SGLang profile, changed."""
    return case("v4-flash-sglang-tp4.toml", facts, **changes)


def generic(*words: str, facts: RigFacts = RIG, **changes: Any) -> Case:
    """A profile with a command of its own."""
    changed = {**changes, "command": list(words) or GENERIC["command"]}
    return case("generic", facts, **changed)


def two(**changes: Any) -> dict[str, Any]:
    """The changes that make it two cards."""
    return {"gpus": {"count": 2}, "parallel": {"tensor": 2}, **changes}


def other_model(**changes: Any) -> dict[str, Any]:
    """The changes that make it another model than DeepSeek V4, in every word that would tell."""
    serving = {"reasoning_parser": None, "tool_call_parser": None, **changes.pop("serving", {})}
    arguments = {"tokenizer-mode": None, **changes.pop("engine_args", {})}
    model = {"path": "/mnt/models/qwen", "served_name": "qwen", "source": None}
    return {"model": model, "serving": serving, "engine_args": arguments, **changes}


def named(model: str, **changes: Any) -> dict[str, Any]:
    """The changes that serve ``model``, by its directory's name."""
    return {"model": {"path": f"/mnt/models/{model}", "served_name": "flash"}, **changes}


def rig(
    facts: RigFacts = RIG, *, gpu: dict[str, Any] | None = None, first: dict[str, Any] | None = None, **changes: Any
) -> RigFacts:
    """The rig with ``gpu`` changed on every card, ``first`` on the first, and ``changes`` on itself."""
    cards: tuple[Gpu, ...] = tuple(replace(card, **(gpu or {})) for card in facts.gpus or ())
    if first:
        cards = (replace(cards[0], **first), *cards[1:])
    return replace(facts, **{"gpus": cards, **changes})


def inspected(
    reference: str = "vllm/vllm-openai:v0.33.0",
    *,
    engine: str = "vllm",
    deep_gemm: tuple[DeepGemm, ...] | None = None,
    **changes: Any,
) -> ImageFacts:
    """An image that was looked into."""
    return ImageFacts(reference, engine=engine, deep_gemm=deep_gemm, **changes)


def checkpoint(gigabytes: float, **config: Any) -> Checkpoint:
    """A whole checkpoint of that many GB in one shard."""
    shard = Shard("model.safetensors", "whole", int(gigabytes * 10**9))
    return Checkpoint(Path("/mnt/models/any"), ModelConfig(**config), (shard,), has_index=False)


def vendored(*, sm120: bool | None, version: str | None = "2.8.1") -> tuple[DeepGemm, ...]:
    """A vendored DeepGEMM with or without SM120 kernels."""
    return (DeepGemm("vendored", version, sm120),)
