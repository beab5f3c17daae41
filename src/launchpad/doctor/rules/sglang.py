"""Hazards of SGLang serving DeepSeek V4: versions without SM120 code, and choices that its parser takes and its start does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from launchpad.doctor.rule import Basis, Rule, Seen
from launchpad.doctor.rules.deepgemm import FLASHINFER_DSPARK, flashinfer, kernels_of
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
    truth,
    v4,
    v4_on_sm120,
    version,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from packaging.version import Version

    from launchpad.doctor.case import Case

_COOKBOOK: Final = "https://github.com/sgl-project/sglang (docs_new/src/snippets/configs/deepseek-ai/deepseek-v4.jsx)"
_USE: Final = 'set image.reference = "lmsysorg/sglang:v0.5.23" in the profile'
_DEFAULT_WATCHDOG_S: Final = 300
_ENOUGH_WATCHDOG_S: Final = 600
_DEFAULT_WARM_UP_S: Final = 600
_HEALTH_S: Final = 20.0
#: 15 s for the schedulers, 60 s for their children, 5 s of polling.
_LEAST_GRACE_S: Final = 80.0


@dataclass(frozen=True, slots=True)
class Release:
    """What SGLang releases ``first`` to ``last`` do with DeepSeek V4 on SM120."""

    first: str
    last: str
    verdict: Literal["no-v4", "no-sm120", "fallback", "native"]
    basis: Basis
    source: str


#: Read in the wheels 0.5.11 to 0.5.16, 0.5.18, 0.5.20 and 0.5.23; those between by their neighbours.
SGLANG: Final = (
    Release("0", "0.5.11", "no-v4", "measured", "wheel sglang 0.5.11: no models/deepseek_v4.py"),
    Release("0.5.12", "0.5.12", "no-sm120", "measured", "wheel sglang 0.5.12: no flash_mla_sm120"),
    Release("0.5.13", "0.5.15", "fallback", "measured", "https://github.com/sgl-project/sglang/pull/24692"),
    Release("0.5.16", "0.5.23", "native", "measured", "https://github.com/sgl-project/sglang/pull/30272"),
)

#: What SGLang sets by itself on SM120 unless the operator did, and the value that undoes it.
OWN_DEFAULTS: Final[Mapping[str, str]] = {
    "SGLANG_OPT_FP8_WO_A_GEMM": "0",
    "SGLANG_OPT_USE_TILELANG_MHC_PRE": "0",
    "SGLANG_OPT_FUSE_MHC_POST_PRE": "1",
    "SGLANG_OPT_DEEPGEMM_HC_PRENORM": "0",
    "SGLANG_FP8_PAGED_MQA_LOGITS_TORCH": "1",
    "SGLANG_OPT_USE_TILELANG_INDEXER": "1",
}
_KV_DTYPES: Final = frozenset({"auto", "fp8_e4m3", "bfloat16", "bf16"})


def release_of(found: Version | None) -> Release | None:
    """The row of an SGLang version; None for an unknown one and for builds between releases."""
    if found is None or found.is_prerelease:
        return None
    for row in SGLANG:
        first, last = version(row.first), version(row.last)
        if first is not None and last is not None and first <= found and found.release <= last.release:
            return row
    return None


def _served(case: Case) -> bool:
    return case.spec is not None and bool(case.gpus) and engine(case) == "sglang" and v4(case)


def _algorithm(case: Case) -> str | None:
    said = flag(case, "speculative-algorithm")
    return said.upper() if said else None


def _too_old(case: Case) -> Iterator[Seen]:
    row = release_of(engine_version(case, "sglang"))
    if row is None or not _served(case):
        return
    found = engine_version(case, "sglang")
    if row.verdict == "no-v4":
        yield Seen(f"image {reference(case)} is SGLang {found}, which does not know DeepSeek V4", evidence=row.source)
    elif row.verdict == "no-sm120" and case.on_sm120:
        yield Seen(
            f"image {reference(case)} is SGLang {found}, which serves DeepSeek V4 and not on SM120", evidence=row.source
        )


def _fallback(case: Case) -> Iterator[Seen]:
    row = release_of(engine_version(case, "sglang"))
    if v4_on_sm120(case, "sglang") and row is not None and row.verdict == "fallback":
        yield Seen(
            f"image {reference(case)} is SGLang {engine_version(case, 'sglang')}: on SM120 it takes slow fallback kernels and "
            "more memory",
            evidence=row.source,
        )


def _unknown(case: Case) -> Iterator[Seen]:
    found = engine_version(case, "sglang")
    if v4_on_sm120(case, "sglang") and release_of(found) is None:
        what = f"SGLang {found}" if found is not None else "the SGLang in it"
        yield Seen(
            f"whether {what} serves DeepSeek V4 on SM120 is unknown: image {reference(case)} is not in the table"
        )


def _deep_gemm(case: Case) -> Iterator[Seen]:
    found = case.image.deep_gemm if case.image is not None else None
    lacks = any(kernels_of(each) is False for each in found or ())
    if v4_on_sm120(case, "sglang") and lacks and truth(case.env.get("SGLANG_ENABLE_JIT_DEEPGEMM")) is not False:
        yield Seen(f"image {reference(case)} has a DeepGEMM without SM120 kernels, and SGLang may take it by its names")


def _experts(case: Case) -> Iterator[Seen]:
    if v4_on_sm120(case, "sglang") and (number(flag(case, "ep-size", "ep", "expert-parallel-size")) or 1) > 1:
        yield Seen(f"{name(case)} spreads experts over ranks on SM120, which SGLang's authors did not verify")


def _backend(case: Case) -> Iterator[Seen]:
    said = flag(case, "dsv4-attn-backend")
    if v4_on_sm120(case, "sglang") and said in {"trtllm", "flashmla_mega"}:
        yield Seen(f"{name(case)} asks for the attention backend {said}, which exists for SM100 only")


def _kv_dtype(case: Case) -> Iterator[Seen]:
    said = flag(case, "kv-cache-dtype")
    if _served(case) and said and said not in _KV_DTYPES:
        yield Seen(f"{name(case)} asks for a {said} KV cache; SGLang takes fp8_e4m3 or bfloat16 for DeepSeek V4")


def _speculation(case: Case) -> Iterator[Seen]:
    said = _algorithm(case)
    if not _served(case) or said is None:
        return
    if said not in {"EAGLE", "NEXTN", "DSPARK"}:
        yield Seen(f"{name(case)} speculates with {said}; SGLang takes EAGLE or DSPARK for DeepSeek V4")
    elif said != "DSPARK" and (topk := flag(case, "speculative-eagle-topk")) not in {None, "1"}:
        yield Seen(
            f"{name(case)} sets speculative-eagle-topk {topk}; DeepSeek V4 takes 1 only",
            hint='write [speculative] with method = "mtp" instead, which sets it to 1',
        )


def _dspark(case: Case) -> Iterator[Seen]:
    if not v4_on_sm120(case, "sglang") or _algorithm(case) != "DSPARK":
        return
    if (case.env.get("SGLANG_SM120_FLASHMLA_BACKEND") or "flashinfer") != "flashinfer":
        return
    found = flashinfer(case)
    if older(found, FLASHINFER_DSPARK):
        yield Seen(f"image {reference(case)} has FlashInfer {found}; DSPARK on SM120 needs {FLASHINFER_DSPARK}")
    elif found is None:
        yield Seen(
            f"{name(case)} speculates with DSPARK, and which FlashInfer image {reference(case)} has is unknown: below "
            f"{FLASHINFER_DSPARK} it crashes at start",
            severity="informs",
        )


def _eagle(case: Case) -> Iterator[Seen]:
    if v4_on_sm120(case, "sglang") and _algorithm(case) in {"EAGLE", "NEXTN"}:
        yield Seen(f"{name(case)} speculates on SM120, where SGLang's verified layout does not")


def _token_cap(case: Case) -> Iterator[Seen]:
    cap = flag(case, "max-total-tokens")
    if _served(case) and cap:
        yield Seen(
            f"{name(case)} caps the KV pool at {cap} tokens: it only ever lowers it, and no prompt may be longer"
        )


def _hicache(case: Case) -> Iterator[Seen]:
    if v4_on_sm120(case, "sglang") and flag(case, "enable-hierarchical-cache") is not None:
        yield Seen(f"{name(case)} spills its KV cache to the host, which SGLang's authors do not offer for this card")


def _nvfp4(case: Case) -> Iterator[Seen]:
    if not _served(case) or "nvfp4" not in model_text(case):
        return
    found = engine_version(case, "sglang")
    if older(found, "0.5.19"):
        yield Seen(f"SGLang {found} crashes while it loads NVFP4 checkpoints of DeepSeek V4")
    elif case.on_sm120:
        yield Seen(
            f"{name(case)} serves an NVFP4 checkpoint, whose kernels in SGLang are for SM100",
            severity="warns",
            hint="serve deepseek-ai/DeepSeek-V4-Flash instead",
        )


def _moe(case: Case) -> Iterator[Seen]:
    runner, exchange = flag(case, "moe-runner-backend"), flag(case, "moe-a2a-backend")
    if not v4_on_sm120(case, "sglang"):
        return
    if exchange in {"megamoe", "deepep"}:
        yield Seen(
            f"{name(case)} asks for moe-a2a-backend {exchange}, which is for data-centre cards",
            severity=None if exchange == "megamoe" else "warns",
        )
    elif (runner or "").startswith("flashinfer_trtllm"):
        yield Seen(f"{name(case)} asks for moe-runner-backend {runner}, whose kernels are for SM100", severity="warns")


def _watchdog(case: Case) -> Iterator[Seen]:
    said = flag(case, "watchdog-timeout")
    seconds = _DEFAULT_WATCHDOG_S if said is None else number(said)
    if v4_on_sm120(case, "sglang") and seconds is not None and 0 < seconds < _ENOUGH_WATCHDOG_S:
        yield Seen(f"SGLang kills {name(case)} when one batch takes {seconds} s; a batch that compiles kernels may")


def _warm_up(case: Case) -> Iterator[Seen]:
    said = case.env.get("SGLANG_WARMUP_TIMEOUT")
    seconds = _DEFAULT_WARM_UP_S if said in {None, "-1"} else number(said)
    short = seconds is not None and seconds < 2 * _DEFAULT_WARM_UP_S
    if short and v4_on_sm120(case, "sglang") and flag(case, "skip-server-warmup") is None:
        yield Seen(
            f"SGLang gives the first request of {name(case)} {seconds} s; a cold one compiles kernels for longer"
        )


def _overridden(case: Case) -> Iterator[Seen]:
    if not v4_on_sm120(case, "sglang"):
        return
    undone = sorted(key for key, value in OWN_DEFAULTS.items() if case.env.get(key, value) not in {value, ""})
    if undone:
        yield Seen(
            f"{name(case)} undoes what SGLang sets for SM120 by itself: {', '.join(f'{key}={case.env[key]}' for key in undone)}"
        )


def _fp4_experts(case: Case) -> Iterator[Seen]:
    if _served(case) and truth(case.env.get("SGLANG_DSV4_FP4_EXPERTS")) is False and "fp8" not in model_text(case):
        yield Seen(f"{name(case)} sets SGLANG_DSV4_FP4_EXPERTS=0, which is for checkpoints converted to FP8 only")


def _health(case: Case) -> Iterator[Seen]:
    if (
        case.spec is None
        or engine(case) != "sglang"
        or case.spec.health.live_path not in {"/health", "/health_generate"}
    ):
        return
    limit = number(case.env.get("SGLANG_HEALTH_CHECK_TIMEOUT"))
    waits = _HEALTH_S if limit is None else float(limit)
    shallow = truth(case.env.get("SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION")) is False
    if not shallow and case.spec.health.live_timeout_s <= waits:
        yield Seen(
            f"probes.liveness.timeout of {name(case)} is {case.spec.health.live_timeout_s:g} s, and a busy SGLang may take "
            f"{waits:g} s to answer /health"
        )


def _readiness(case: Case) -> Iterator[Seen]:
    if case.spec is None or engine(case) != "sglang":
        return
    first = case.spec.health.ready_paths[0]
    early = first in {"/v1/models", "/model_info", "/get_model_info"}
    if early or (first == "/ping" and older(engine_version(case, "sglang"), "0.5.23") is not False):
        yield Seen(f"probes.readiness.path of {name(case)} is {first}, which answers before SGLang is warm")


def _grace(case: Case) -> Iterator[Seen]:
    if (
        case.spec is not None
        and case.gpus
        and engine(case) == "sglang"
        and case.spec.policy.stop_grace_s < _LEAST_GRACE_S
    ):
        yield Seen(
            f"deadlines.stop_grace of {name(case)} is {case.spec.policy.stop_grace_s:g} s; SGLang takes up to "
            f"{_LEAST_GRACE_S:g} s after its last request"
        )


RULES: Final = (
    Rule(
        id="sglang.too-old",
        severity="blocks",
        title="SGLang from before DeepSeek V4, or before SM120",
        look=_too_old,
        hint=_USE,
        source="https://github.com/sgl-project/sglang/pull/24692",
        as_of=AS_OF,
        basis="measured",
        versions="SGLang < 0.5.12 (no V4), 0.5.12 (no SM120)",
        explain="Bisected over wheels: models/deepseek_v4.py appears in 0.5.12, flash_mla_sm120 in 0.5.13. On "
        "2026-05-20 somebody with four RTX PRO 6000 met the very DeepGEMM assertions for which vLLM was "
        "blamed (issue 25877): 'SGLang just works' was not true then.",
    ),
    Rule(
        id="sglang.before-native",
        severity="warns",
        title="SGLang before the native SM120 path",
        look=_fallback,
        hint=_USE,
        source="https://github.com/sgl-project/sglang/pull/30272",
        as_of=AS_OF,
        basis="measured",
        versions="SGLang 0.5.13 to 0.5.15",
        explain="Triton attention and Marlin W4A16; the first 8-card run gave 10 tok/s. 0.5.16 brought native MXFP4 "
        "x MXFP8 and made TP=2 fit: before it, scales alone took 16 GB more a rank.",
    ),
    Rule(
        id="sglang.unknown",
        severity="informs",
        title="An SGLang that is not in the table",
        look=_unknown,
        hint="pull the image, so that launchpad doctor can read its version; or name a release: "
        "lmsysorg/sglang:v0.5.23",
        source=_COOKBOOK,
        as_of=AS_OF,
        basis="measured",
        explain="Known are 0.5.11 to 0.5.23. lmsysorg/sglang:dev, which upstream's page prints for this card, is "
        "whatever was built last.",
    ),
    Rule(
        id="sglang.deepgemm-kernels",
        severity="warns",
        title="SGLang and a DeepGEMM without SM120 kernels",
        look=_deep_gemm,
        hint='set SGLANG_ENABLE_JIT_DEEPGEMM = "0" under env',
        source="https://github.com/sgl-project/sglang/issues/25877",
        as_of=AS_OF,
        basis="reported",
        explain="On SM120 SGLang probes DeepGEMM for three function names, and deepseek-ai's main branch has those "
        "names and no SM120 kernels behind them: 'Unknown SF transformation', as with vLLM. sgl-deep-gemm, "
        "which SGLang pins, has both.",
    ),
    Rule(
        id="sglang.expert-parallel",
        severity="informs",
        title="Expert parallelism on SM120 (SGLang)",
        look=_experts,
        hint="set parallel.expert = false in the profile, or measure both",
        source="https://github.com/sgl-project/sglang/pull/30272",
        as_of=AS_OF,
        basis="reported",
        explain="The pull request that brought the native path lists experts numbered -1 under EP among its "
        "failures; no verified layout for this card uses it.",
    ),
    Rule(
        id="sglang.dsv4-backend",
        severity="blocks",
        title="An SM100 attention backend on SM120",
        look=_backend,
        hint="remove dsv4-attn-backend from engine_args",
        source="wheel sglang 0.5.23: '--dsv4-attn-backend trtllm requires an SM100/SM103 (Blackwell) GPU.'",
        as_of=AS_OF,
        basis="measured",
        explain="On SM120 only auto and flashmla are taken.",
    ),
    Rule(
        id="sglang.kv-cache-dtype",
        severity="blocks",
        title="A KV cache dtype that DeepSeek V4 refuses",
        look=_kv_dtype,
        hint="remove serving.kv_cache_dtype from the profile: auto becomes fp8_e4m3",
        source="wheel sglang 0.5.23, srt/arg_groups/overrides.py:892",
        as_of=AS_OF,
        basis="measured",
        explain="The parser accepts fp8_e5m2, mxfp8, nvfp4 and more; an assertion of V4's own allows fp8_e4m3 and "
        "bfloat16.",
    ),
    Rule(
        id="sglang.speculation",
        severity="blocks",
        title="Speculation that DeepSeek V4 refuses",
        look=_speculation,
        hint='write [speculative] with method = "mtp" (or "dspark") in the place of speculative-algorithm, or leave both away',
        source="wheel sglang 0.5.23, deepseek_v4_hook.py",
        as_of=AS_OF,
        basis="measured",
        explain="'Only EAGLE and DSPARK speculative algorithms are supported', and EAGLE with top-k 1. NGRAM is "
        "offered on a page of the docs and refused.",
    ),
    Rule(
        id="sglang.dspark-sm120",
        severity="blocks",
        title="DSPARK on SM120 with an older FlashInfer",
        look=_dspark,
        hint="remove the table [speculative] (or speculative-algorithm from engine_args), or set "
        'SGLANG_SM120_FLASHMLA_BACKEND = "triton" under env (slower)',
        source="https://github.com/sgl-project/sglang/pull/33407",
        as_of=AS_OF,
        basis="reported",
        versions="FlashInfer < 0.6.18; SGLang 0.5.16 pins 0.6.14, 0.5.23 pins 0.7.2",
        explain="'Check failed: num_tokens > 64 (5 vs. 64)' at start: the draft's shape (top-k 192) came with "
        "flashinfer PR 4380.",
    ),
    Rule(
        id="sglang.eagle-sm120",
        severity="informs",
        title="EAGLE on SM120 is not verified",
        look=_eagle,
        hint="measure with and without the table [speculative]; keep what is faster and stays up",
        source=_COOKBOOK,
        as_of=AS_OF,
        basis="reported",
        explain="The verified RTX PRO 6000 cell uses no speculation, and no statement about EAGLE on SM120 was found.",
    ),
    Rule(
        id="sglang.max-total-tokens",
        severity="warns",
        title="--max-total-tokens lowers the KV pool",
        look=_token_cap,
        hint="remove max-total-tokens from engine_args: SGLang takes what memory there is",
        source="wheel sglang 0.5.23, kv_cache_configurator.py:3096 and tp_worker.py:421",
        as_of=AS_OF,
        basis="measured",
        explain="'Typically used for development and debugging purposes'. The pool is the lesser of this and what "
        "fits, and one request may be no longer than it: with 524288 a 1M-token prompt is refused, and 16 "
        "users at 32K fill it. A number too large is a warning, not an error.",
    ),
    Rule(
        id="sglang.hicache",
        severity="warns",
        title="HiCache on RTX PRO 6000",
        look=_hicache,
        hint="remove enable-hierarchical-cache from engine_args",
        source=_COOKBOOK,
        as_of=AS_OF,
        basis="reported",
        explain="The page excludes this card (hicache.excludesHw: rtx6000). Without the flag nothing is spilled to "
        "the host, whatever articles say.",
    ),
    Rule(
        id="sglang.nvfp4",
        severity="blocks",
        title="NVFP4 checkpoints of DeepSeek V4",
        look=_nvfp4,
        hint="serve deepseek-ai/DeepSeek-V4-Flash, or use a newer SGLang",
        source="https://github.com/sgl-project/sglang/pull/36275",
        as_of=AS_OF,
        basis="reported",
        versions="SGLang <= 0.5.18",
        explain="They crash at weight load on 0.5.18; a guard was merged on 2026-08-26. On SM120 the runner that "
        "auto picks (flashinfer_trtllm_routed) has SM100 kernels, so there it warns in later versions.",
    ),
    Rule(
        id="sglang.moe-backend",
        severity="blocks",
        title="Data-centre MoE kernels on SM120 (SGLang)",
        look=_moe,
        hint='set moe-runner-backend = "flashinfer_mxfp4" under engine_args and remove moe-a2a-backend',
        source="https://github.com/sgl-project/sglang (docs_new: MegaMoE 'only supported on Blackwell GPUs "
        "(B200/B300/GB200/GB300)')",
        as_of=AS_OF,
        basis="reported",
        explain="MegaMoE blocks; DeepEP and the TensorRT-LLM runners, which nobody reported to work on SM120, warn.",
    ),
    Rule(
        id="sglang.watchdog",
        severity="informs",
        title="SGLang's watchdog and the first batches",
        look=_watchdog,
        hint="set watchdog-timeout = 1200 under engine_args",
        source="wheel sglang 0.5.23: 'If a forward batch takes longer than this, the server will crash'",
        as_of=AS_OF,
        basis="inferred",
        explain="300 s by default. With a cold cache a kernel is compiled inside a batch. launchpad notices hangs by"
        " itself.",
    ),
    Rule(
        id="sglang.warm-up",
        severity="informs",
        title="SGLang's warm-up and a cold cache",
        look=_warm_up,
        hint="set SGLANG_WARMUP_TIMEOUT = 1800 under env",
        source="wheel sglang 0.5.23, http_server.py",
        as_of=AS_OF,
        basis="inferred",
        explain="600 s by default; a warm-up request that fails ends the server. A first start on SM120 compiles "
        "kernels in it.",
    ),
    Rule(
        id="sglang.own-defaults",
        severity="warns",
        title="Environment that undoes SGLang's SM120 choices",
        look=_overridden,
        hint="remove those variables from env",
        source="wheel sglang 0.5.23, srt/arg_groups/model_hook.py:482",
        as_of=AS_OF,
        basis="measured",
        explain="On SM120 SGLang turns off what has no kernel there (DeepGEMM prenorm, TileLang MHC pre) and on what"
        " replaces it, unless the operator said otherwise. 'Out of the box the indexer runs the TileLang "
        "kernel (works on stock DeepGEMM)'.",
    ),
    Rule(
        id="sglang.fp4-experts",
        severity="warns",
        title="SGLANG_DSV4_FP4_EXPERTS=0",
        look=_fp4_experts,
        hint="remove SGLANG_DSV4_FP4_EXPERTS from env, or serve sgl-project/DeepSeek-V4-Flash-FP8",
        source=_COOKBOOK,
        as_of=AS_OF,
        basis="reported",
        explain="0 is right only for the checkpoints converted to FP8, whose names say so. Told by the name, so this"
        " warns.",
    ),
    Rule(
        id="sglang.liveness-timeout",
        severity="warns",
        title="A liveness probe less patient than SGLang's /health",
        look=_health,
        hint='set probes.liveness.timeout = "25s" in the profile',
        source="wheel sglang 0.5.23, srt/entrypoints/http_server.py (SGLANG_HEALTH_CHECK_TIMEOUT 20 s)",
        as_of=AS_OF,
        basis="measured",
        explain="/health sends a token through the model and waits up to 20 s before it says 503. A probe that gives"
        " up sooner calls a busy server dead and has it restarted.",
    ),
    Rule(
        id="sglang.readiness-path",
        severity="warns",
        title="A readiness path that answers too early",
        look=_readiness,
        hint='remove probes.readiness.path from the profile, or set it to "/health"',
        source="wheel sglang 0.5.23, srt/entrypoints/http_server.py",
        as_of=AS_OF,
        basis="measured",
        versions="/ping up to 0.5.20; /v1/models and /model_info in all",
        explain="They answer 200 as soon as the HTTP server is up, before the warm-up ends. launchpad asks for a "
        "real completion after it, so this costs patience, not correctness.",
    ),
    Rule(
        id="sglang.stop-grace",
        severity="warns",
        title="Less time to stop than SGLang takes",
        look=_grace,
        hint='set deadlines.stop_grace = "120s" in the profile',
        source="wheel sglang 0.5.23 (15 s for schedulers, 60 s for children)",
        as_of=AS_OF,
        basis="measured",
        explain="Killed half-way it leaves GPU memory taken: 'Schedulers still alive 15s after ShutdownReq ... which"
        " is how GPU memory survives a shutdown'.",
    ),
)
