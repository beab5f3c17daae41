"""Hazards of vLLM serving DeepSeek V4: combinations that its argument parser accepts and its start, or its output, does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.deepgemm import FLASHINFER_DSPARK, FLASHINFER_V4, flashinfer, is_fork
from launchpad.doctor.rules.lookup import (
    AS_OF,
    engine,
    engine_version,
    flag,
    model_text,
    name,
    number,
    older,
    reference,
    setting,
    truth,
    v4,
    v4_on_sm120,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.doctor.case import Case

_RECIPE: Final = "vLLM 0.33.0 source distribution, recipes/models/deepseek-ai/DeepSeek-V4-Flash.yaml"
_DEFAULT_READY_S: Final = 600
_ENOUGH_READY_S: Final = 1800
_LOCKED: Final = 8 * 2**20


def _served(case: Case) -> bool:
    return case.spec is not None and bool(case.gpus) and engine(case) == "vllm" and v4(case)


def _method(case: Case) -> str | None:
    said = setting(case, "speculative-config", "method")
    return str(said) if said is not None else None


def _moe(case: Case) -> str | None:
    said = flag(case, "moe-backend") or setting(case, "kernel-config", "moe_backend")
    return str(said) if said is not None else None


def _kv_dtype(case: Case) -> Iterator[Seen]:
    said = flag(case, "kv-cache-dtype")
    if _served(case) and not (said or "").startswith("fp8"):
        what = f"with --kv-cache-dtype {said}" if said else "without --kv-cache-dtype fp8"
        yield Seen(
            f"{name(case)} serves DeepSeek V4 {what}, and vLLM has no other KV cache for it",
            severity=None if case.on_sm120 else "warns",
        )


def _block_size(case: Case) -> Iterator[Seen]:
    said = flag(case, "block-size")
    if not _served(case) or said == "256":
        return
    if said is None:
        yield Seen(f"{name(case)} serves DeepSeek V4 without --block-size 256", severity="warns")
    else:
        yield Seen(
            f"{name(case)} serves DeepSeek V4 with --block-size {said}, and its attention takes 256 only",
            severity=None if case.on_sm120 else "warns",
        )


def _mega_moe(case: Case) -> Iterator[Seen]:
    if case.spec is not None and case.on_sm120 and engine(case) == "vllm" and _moe(case) == "deep_gemm_mega_moe":
        yield Seen(f"{name(case)} asks for the mega-MoE kernels, which exist for SM100 only")


def _fp4_indexer(case: Case) -> Iterator[Seen]:
    if case.spec is None or not case.on_sm120 or engine(case) != "vllm":
        return
    if setting(case, "attention-config", "indexer_kv_dtype") == "mxfp4":
        yield Seen(f"{name(case)} asks for an mxfp4 indexer cache, which SM120 does not have")
    elif truth(setting(case, "attention-config", "use_fp4_indexer_cache")):
        yield Seen(
            f"{name(case)} asks for an FP4 indexer cache, which SM120 does not have",
            hint="set attention-config = { use_fp4_indexer_cache = false } under engine_args (vLLM 0.24), "
            'or { indexer_kv_dtype = "fp8" } in later releases',
        )


def _attention_backend(case: Case) -> Iterator[Seen]:
    said = flag(case, "attention-backend") or ""
    if v4_on_sm120(case, "vllm") and said.upper().startswith("FLASHINFER_MLA_SPARSE") and not is_fork(case):
        yield Seen(f"{name(case)} names the attention backend {said}, which vLLM refuses for DeepSeek V4")


def _old_flashinfer(case: Case) -> Iterator[Seen]:
    found = flashinfer(case)
    if v4_on_sm120(case, "vllm") and older(found, FLASHINFER_V4) and not is_fork(case):
        yield Seen(f"image {reference(case)} has FlashInfer {found}; DeepSeek V4 on SM120 needs {FLASHINFER_V4}")


def _dspark_flashinfer(case: Case) -> Iterator[Seen]:
    found = flashinfer(case)
    needs = _method(case) == "dspark" and older(found, FLASHINFER_DSPARK) and not older(found, FLASHINFER_V4)
    if v4_on_sm120(case, "vllm") and needs:
        yield Seen(f"image {reference(case)} has FlashInfer {found}; DSpark on SM120 needs {FLASHINFER_DSPARK}")


def _ready_timeout(case: Case) -> Iterator[Seen]:
    said = case.env.get("VLLM_ENGINE_READY_TIMEOUT_S")
    seconds = _DEFAULT_READY_S if said is None else number(said)
    if _served(case) and seconds is not None and seconds < _ENOUGH_READY_S:
        what = "its default" if said is None else "VLLM_ENGINE_READY_TIMEOUT_S"
        yield Seen(f"vLLM gives {name(case)} {seconds} s to start ({what}); a cold start of DeepSeek V4 takes longer")


def _concurrent_drafts(case: Case) -> Iterator[Seen]:
    method = _method(case) or ""
    if not v4_on_sm120(case, "vllm") or not (method == "dspark" or method.endswith("mtp")):
        return
    if flag(case, "max-num-seqs") != "1" and older(engine_version(case, "vllm"), "0.28") is not False:
        yield Seen(
            f"{name(case)} speculates with {method} for more than one sequence at a time, which crashed on SM120"
        )


def _tokenizer(case: Case) -> Iterator[Seen]:
    if _served(case) and flag(case, "tokenizer-mode") != "deepseek_v4":
        yield Seen(
            f"{name(case)} serves DeepSeek V4 without --tokenizer-mode deepseek_v4: its chat template is not applied"
        )


def _reasoning_parser(case: Case) -> Iterator[Seen]:
    if _served(case) and flag(case, "reasoning-parser") is None:
        yield Seen(f"{name(case)} has no reasoning parser: thoughts stand in the answers' text")


def _locked_memory(case: Case) -> Iterator[Seen]:
    if case.spec is None or engine(case) != "vllm" or flag(case, "load-format") != "instanttensor":
        return
    limit = next((each.soft for each in case.spec.server.ulimits if each.name == "memlock"), None)
    if limit is None or 0 <= limit <= _LOCKED:
        yield Seen(f"{name(case)} loads with instanttensor, which locks more memory than a container may by default")


def _eager_prefill(case: Case) -> Iterator[Seen]:
    if _served(case) and truth(case.env.get("VLLM_USE_BREAKABLE_CUDAGRAPH")) is False:
        yield Seen(f"{name(case)} sets VLLM_USE_BREAKABLE_CUDAGRAPH=0, which makes DeepSeek V4's prefill eager")


def _variant(case: Case) -> Iterator[Seen]:
    if v4_on_sm120(case, "vllm") and "nvfp4" in model_text(case):
        yield Seen(f"{name(case)} serves an NVFP4 checkpoint, which vLLM's authors did not verify on SM120")


RULES: Final = (
    Rule(
        id="vllm.kv-cache-dtype",
        severity="blocks",
        title="DeepSeek V4 without an fp8 KV cache",
        look=_kv_dtype,
        hint='set serving.kv_cache_dtype = "fp8" in the profile',
        source="https://github.com/vllm-project/vllm/pull/41834",
        as_of=AS_OF,
        basis="reported",
        explain="'--kv-cache-dtype fp8 is mandatory ... the default auto fails at model construction'. vLLM then "
        "uses DeepSeek's fp8_ds_mla format. The statement is about SM12x; on other cards, whose recipes pass"
        " it too, this only warns.",
    ),
    Rule(
        id="vllm.block-size",
        severity="blocks",
        title="DeepSeek V4's block size",
        look=_block_size,
        hint="set block-size = 256 under engine_args in the profile",
        source="wheel vllm 0.33.0, models/deepseek_v4/nvidia/flashinfer_sparse.py: get_supported_kernel_block_sizes "
        "-> [256]",
        as_of=AS_OF,
        basis="measured",
        explain="The SM120 attention takes blocks of 256 and no other. Left out, vLLM may choose it by itself, so "
        "that only warns; another number blocks.",
    ),
    Rule(
        id="vllm.mega-moe",
        severity="blocks",
        title="Mega-MoE on SM120 (vLLM)",
        look=_mega_moe,
        hint='set moe-backend = "marlin" under engine_args, or leave it out',
        source="wheel vllm 0.33.0, deep_gemm_mega_moe.py: 'DeepGEMM MegaMoE requires SM100 GPUs.'",
        as_of=AS_OF,
        basis="measured",
        explain="DeepGEMM's mega kernels have no branch for arch 12 anywhere. On SM120 'auto' ends at Marlin, the "
        "safe one.",
    ),
    Rule(
        id="vllm.fp4-indexer",
        severity="blocks",
        title="FP4 indexer cache on SM120",
        look=_fp4_indexer,
        hint='set attention-config = { indexer_kv_dtype = "fp8" } under engine_args',
        source="wheel vllm 0.33.0, v1/attention/backends/mla/indexer.py: 'requires Blackwell datacenter GPUs'",
        as_of=AS_OF,
        basis="measured",
        explain="The flag was use_fp4_indexer_cache in 0.24.0 and is attention-config.indexer_kv_dtype now.",
    ),
    Rule(
        id="vllm.attention-backend",
        severity="blocks",
        title="A hand-picked attention backend for DeepSeek V4",
        look=_attention_backend,
        hint="remove attention-backend from engine_args: on SM120 vLLM picks DeepseekV4FlashInferSM120Attention by "
        "itself",
        source="wheel vllm 0.33.0, models/deepseek_v4",
        as_of=AS_OF,
        basis="measured",
        explain="FLASHINFER_MLA_SPARSE and FLASHINFER_MLA_SPARSE_SM120 look right and raise ValueError: 'is not a "
        "DeepSeek V4 attention backend'.",
    ),
    Rule(
        id="vllm.flashinfer-old",
        severity="blocks",
        title="FlashInfer too old for DeepSeek V4 on SM120",
        look=_old_flashinfer,
        hint="use vllm/vllm-openai:v0.26.0 or >= v0.28.0: image.reference in the profile",
        source="https://github.com/vllm-project/vllm/issues/47266",
        as_of=AS_OF,
        basis="reported",
        versions="FlashInfer < 0.6.14: vLLM 0.24.0 (0.6.12), 0.25.x (0.6.13)",
        explain="'trtllm_batch_decode_sparse_mla_dsv4() got an unexpected keyword argument swa_topk_lens': the SM120"
        " decode needs the interface of 0.6.14. Read in the image where it was inspected, else from what the"
        " release pins.",
    ),
    Rule(
        id="vllm.flashinfer-dspark",
        severity="blocks",
        title="FlashInfer too old for DSpark on SM120",
        look=_dspark_flashinfer,
        hint="remove the table [speculative] (or speculative-config from engine_args), or use vllm/vllm-openai:v0.29.0 or newer",
        source="https://github.com/flashinfer-ai/flashinfer/pull/4380",
        as_of=AS_OF,
        basis="reported",
        versions="FlashInfer < 0.6.18: vLLM < 0.29.0",
        explain="DSpark decodes with top-k 192, a shape that FlashInfer's SM120 kernel was instantiated for on "
        "2026-08-08.",
    ),
    Rule(
        id="vllm.ready-timeout",
        severity="warns",
        title="vLLM's own deadline for its start",
        look=_ready_timeout,
        hint="set VLLM_ENGINE_READY_TIMEOUT_S = 3600 under env in the profile",
        source=_RECIPE,
        as_of=AS_OF,
        basis="reported",
        explain="600 s by default; recipes use 3600. A cold start reads 160 GB and compiles kernels, and vLLM kills "
        "itself half-way.",
    ),
    Rule(
        id="vllm.dspark-concurrency",
        severity="warns",
        title="Speculation for several sequences on SM120",
        look=_concurrent_drafts,
        hint="set serving.max_running_requests = 1, or remove the table [speculative] (or speculative-config from engine_args)",
        source="https://github.com/Infatoshi/dsv4-flash-2x-rtxpro6000s (GOTCHAS)",
        as_of=AS_OF,
        basis="reported",
        versions="vLLM of the 0.26 era; not reported from 0.28",
        explain="A short KV cache with more than one sequence ended in a device-side assert (indexSelectSmallIndex).",
    ),
    Rule(
        id="vllm.tokenizer-mode",
        severity="warns",
        title="DeepSeek V4 without its tokenizer mode",
        look=_tokenizer,
        hint='set tokenizer-mode = "deepseek_v4" under engine_args in the profile',
        source=_RECIPE,
        as_of=AS_OF,
        basis="reported",
        explain="V4's checkpoints carry no Jinja chat template; vLLM's deepseek_v4 tokenizer encodes chats. Without "
        "it chat requests fail, or are encoded wrong.",
    ),
    Rule(
        id="vllm.reasoning-parser",
        severity="informs",
        title="No reasoning parser",
        look=_reasoning_parser,
        hint='set serving.reasoning_parser = "deepseek_v4" and serving.tool_call_parser = "deepseek_v4" in the profile',
        source=_RECIPE,
        as_of=AS_OF,
        basis="reported",
        explain="With it thoughts come as reasoning_content, apart from the answer.",
    ),
    Rule(
        id="vllm.instanttensor-memlock",
        severity="warns",
        title="--load-format instanttensor and locked memory",
        look=_locked_memory,
        hint="set container.ulimits.memlock = -1 in the profile",
        source="vLLM 0.33.0 documentation, load formats",
        as_of=AS_OF,
        basis="reported",
        explain="It locks its buffers and needs more than the 8 MiB that containers get.",
    ),
    Rule(
        id="vllm.eager-prefill",
        severity="informs",
        title="VLLM_USE_BREAKABLE_CUDAGRAPH=0",
        look=_eager_prefill,
        hint="remove VLLM_USE_BREAKABLE_CUDAGRAPH from env",
        source="https://github.com/vllm-project/vllm/issues/54677",
        as_of=AS_OF,
        basis="reported",
        explain="Prefill then runs without graphs; a switch for finding faults.",
    ),
    Rule(
        id="vllm.nvfp4-variant",
        severity="informs",
        title="NVFP4 checkpoints on SM120",
        look=_variant,
        hint="the verified checkpoints are deepseek-ai/DeepSeek-V4-Flash and -0731",
        source=_RECIPE,
        as_of=AS_OF,
        basis="reported",
        explain="'The Preview, NVFP4, and DSpark variant checkpoints are not verified on this profile.' One rig ran "
        "NVFP4 with Marlin and DeepGEMM off.",
    ),
)
