"""What the rules ask a case again and again: which engine and version, which flags, which model, which cards.

Pure, and quick: rules are evaluated by the hundred. What cannot be told is None. Versions are compared with ``packaging``, because
``1.3.0rc15post1`` and ``1.3.0rc15.post1`` are one version. A version read off a tag counts only for the engine's own repositories.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from packaging.version import InvalidVersion, Version

from launchpad.engines import reasoning, speculative
from launchpad.engines.tags import ENGINES, image_parts, release_of_tag
from launchpad.model.checkpoint import SINGLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from launchpad.doctor.case import Case
    from launchpad.rig.facts import Gpu

AS_OF: Final = "2026-11-22"
GIB: Final = 2**30

#: Repositories that tell the engine. The tags of ``ENGINES`` tell its release, too; those of the others are Dynamo's.
REPOSITORIES: Final[Mapping[str, str]] = {
    **ENGINES,
    "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime": "trtllm",
    "nvcr.io/nvidia/ai-dynamo/vllm-runtime": "vllm",
    "nvcr.io/nvidia/ai-dynamo/sglang-runtime": "sglang",
}
_PACKAGE: Final[Mapping[str, str]] = {"vllm": "vllm", "sglang": "sglang", "trtllm": "tensorrt-llm"}
_NAMES: Final[Mapping[str, str]] = {package: name for name, package in _PACKAGE.items()}
_FLAG: Final = re.compile(r"--?[A-Za-z]")
_WORDS: Final[tuple[tuple[str, str], ...]] = (
    ("trtllm-serve", "trtllm"),
    ("dynamo.trtllm", "trtllm"),
    ("dynamo.vllm", "vllm"),
    ("dynamo.sglang", "sglang"),
    ("sglang", "sglang"),
    ("vllm", "vllm"),
)


@lru_cache(maxsize=512)
def version(text: str | None) -> Version | None:
    """A version, or None where ``text`` is none."""
    try:
        return Version(text) if text else None
    except InvalidVersion:
        return None


def older(found: Version | None, than: str) -> bool | None:
    """Whether ``found`` is below ``than``; None where it is unknown."""
    limit = version(than)
    return None if found is None or limit is None else found < limit


def reference(case: Case) -> str:
    """The image as the profile names it, with its digest where it has one, else as it was inspected; "" without either."""
    if case.spec is not None:
        image = case.spec.own_image
        digest = image.reference.partition("@")[2]
        return f"{image.named}@{digest}" if digest else image.named
    return case.image.reference if case.image is not None else ""


def repository(case: Case) -> str:
    """The image's repository."""
    return image_parts(reference(case))[0]


def tag(case: Case) -> str | None:
    """The image's tag; None where it is named by digest only."""
    return image_parts(reference(case))[1]


@lru_cache(maxsize=512)
def _engine_of_words(command: tuple[str, ...]) -> str | None:
    said = " ".join(command).lower()
    return next((name for word, name in _WORDS if word in said), None)


def engine(case: Case) -> str | None:
    """``vllm``, ``sglang`` or ``trtllm``, by the profile, the image's files, its repository or the command; else None."""
    if case.spec is not None and case.spec.engine not in {"generic", "dynamo", "nim"}:
        return case.spec.engine
    if case.spec is not None and case.spec.engine == "dynamo":
        return _engine_of_words(case.command)  # whatever the worker runs; a mocker runs none
    if case.image is not None and case.image.engine is not None:
        return _NAMES.get(case.image.engine, case.image.engine)
    return REPOSITORIES.get(repository(case)) or _engine_of_words(case.command)


def engine_version(case: Case, name: str) -> Version | None:
    """The version of engine ``name`` in the image: by its files, else by an official tag of its own; None where neither says."""
    if engine(case) != name:
        return None
    if case.image is not None:
        own = case.image.engine is None or _NAMES.get(case.image.engine, case.image.engine) == name
        said = (case.image.engine_version if own else None) or case.image.packages.get(_PACKAGE.get(name, name))
        if said is not None:
            return version(said)
    where, label = image_parts(reference(case))
    return version(release_of_tag(label)) if ENGINES.get(where) == name else None


def of_dynamo(case: Case) -> bool:
    """Whether the image is one of Dynamo's own."""
    return "/ai-dynamo/" in repository(case)


def package(case: Case, name: str) -> Version | None:
    """The version of a Python package in the inspected image; None where it is absent or nothing was inspected."""
    return version(case.image.packages.get(name)) if case.image is not None else None


@lru_cache(maxsize=512)
def _flags(command: tuple[str, ...]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for position, word in enumerate(command):
        if not _FLAG.match(word):
            continue
        name, equals, value = word.partition("=")
        if not equals:
            after = command[position + 1] if position + 1 < len(command) else ""
            value = "" if _FLAG.match(after) else after
        head, dot, rest = name.lstrip("-").partition(".")
        found[head.replace("_", "-") + dot + rest] = value
    return found


def flags(case: Case) -> Mapping[str, str]:
    """The command's flags without dashes in front, ``_`` as ``-`` before any dot; the last one wins; "" for a bare flag."""
    return _flags(case.command)


def flag(case: Case, *names: str) -> str | None:
    """The value of the first of ``names`` that is given, "" for a bare one, None where none is."""
    given = flags(case)
    return next((given[name] for name in names if name in given), None)


def setting(case: Case, name: str, key: str) -> object:
    """``key`` of a flag that takes JSON, also where it is written ``--name.key value``; None where it is not said."""
    dotted = flag(case, f"{name}.{key}")
    if dotted is not None:
        return dotted
    try:
        said: Any = json.loads(flag(case, name) or "null")
    except ValueError:
        return None
    return said.get(key) if isinstance(said, dict) else None


def truth(value: object) -> bool | None:
    """``True``, ``"1"``, ``"true"`` and the like as a bool; None for nothing."""
    if value is None:
        return None
    return str(value).strip().lower() in {"1", "true", "yes", "on"}


def number(text: str | None) -> int | None:
    """A whole number, or None."""
    try:
        return int(text) if text else None
    except ValueError:
        return None


def tensor(case: Case) -> int:
    """The tensor parallel size that the command asks for; 1 where it says nothing."""
    return number(flag(case, "tensor-parallel-size", "tp-size", "tp")) or 1


def model_text(case: Case) -> str:
    """Everything the profile and command call the model, in small letters, for names that tell a variant of a checkpoint."""
    if case.spec is None:
        return ""
    spec, command = case.spec, case.spec.server.command
    positional = command[0] if command and not command[0].startswith("-") else ""
    said = (spec.model, spec.model_path, spec.source, flag(case, "model-path", "model"), positional)
    return " ".join(text for text in said if text).lower().replace("_", "-")


def family(case: Case) -> str | None:
    """``deepseek_v4``, ``deepseek_v41`` or what config.json says; by names and parsers where no checkpoint was read."""
    return case.model_family


def v4(case: Case) -> bool:
    """Whether DeepSeek V4 (not V4.1) is served."""
    return family(case) == "deepseek_v4"


def official_checkpoint(case: Case) -> bool:
    """Whether names say that it is one of V4's later checkpoints (0731, 0813), which ship a DSpark draft."""
    return reasoning.checkpoint_of((family(case), model_text(case))) == "official"


def preview_checkpoint(case: Case) -> bool:
    """Whether the weights' own names say that it is V4's Preview, which ships an MTP head and no DSpark draft."""
    if case.spec is None or official_checkpoint(case):
        return False
    weights = (case.spec.model_path, case.spec.source, flag(case, "model-path", "model"))
    return speculative.preview_alone((family(case), *weights), model_text(case))


def weights_bytes(case: Case) -> int | None:
    """Bytes of the weight files that an engine loads; None where no checkpoint was read.

    Without an index some directories hold the weights twice: ``model.safetensors`` and a ``consolidated`` or ``fp16`` copy.
    """
    found = case.checkpoint
    if found is None:
        return None
    single = next((shard for shard in found.shards if shard.name == SINGLE), None)
    return single.size_bytes if single is not None and not found.has_index else found.total_bytes


def v4_on_sm120(case: Case, name: str) -> bool:
    """Whether engine ``name`` serves DeepSeek V4 on SM120."""
    return case.spec is not None and case.on_sm120 and engine(case) == name and v4(case)


def capability_below(case: Case, least: tuple[int, int]) -> bool:
    """Whether a GPU in question is known to be of a lower compute capability than ``least``."""
    return any(gpu.compute_capability is not None and gpu.compute_capability < least for gpu in case.gpus)


def pcie_only(case: Case) -> bool:
    """Whether the GPUs in question are several and known to be without NVLink."""
    return len(case.gpus) > 1 and case.facts.nvlink is False


def name(case: Case) -> str:
    """The deployment, for messages; ``this rig`` without one."""
    return case.spec.name if case.spec is not None else "this rig"


def cards(gpus: Iterable[Gpu]) -> str:
    """``GPU 0``, ``GPUs 0 and 1``, ``GPUs 0, 1 and 2``."""
    indices = [str(gpu.index) for gpu in gpus]
    if len(indices) == 1:
        return f"GPU {indices[0]}"
    return f"GPUs {', '.join(indices[:-1])} and {indices[-1]}"


def ids(gpus: Iterable[Gpu]) -> str:
    """``0,1``: as ``nvidia-smi -i`` takes them."""
    return ",".join(str(gpu.index) for gpu in gpus)


def does(gpus: Iterable[Gpu], one: str, many: str) -> str:
    """The verb for one card or several."""
    return one if len(tuple(gpus)) == 1 else many
