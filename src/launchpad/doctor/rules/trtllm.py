"""Hazards of TensorRT-LLM, Dynamo and NIM: cards that cannot, an experimental build's pin, and commands that no longer exist.

They run as engines of their own or as ``generic`` (a command of the profile's own), so the command's words are what is read.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.lookup import (
    AS_OF,
    capability_below,
    engine,
    engine_version,
    flag,
    name,
    of_dynamo,
    older,
    package,
    reference,
    repository,
    tag,
    truth,
    v4,
    version,
)
from launchpad.engines import reasoning
from launchpad.engines.base import CONFIG_ENV

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.version import Version

    from launchpad.doctor.case import Case

_SM120: Final = "https://github.com/NVIDIA/TensorRT-LLM/issues/18039"
_RELEASE: Final = "https://github.com/ai-dynamo/dynamo/releases/tag/v1.3.0-deepseek-v4-dev.1"
_RECIPE: Final = "https://github.com/ai-dynamo/dynamo/pull/8825"
_HEALTH: Final = "ai-dynamo 1.6.1, run here 2026-11-22"
#: The TensorRT-LLM that NVIDIA says the DeepSeek V4 build of Dynamo carries. NVIDIA spells it 1.3.0rc15post1 too: the same version.
PIN: Final = "1.3.0rc15.post1"
_DEV: Final = "1.3.0-deepseek-v4-dev.1"
#: TensorRT-LLM's main branch has DeepSeek V4 from here.
_MERGED: Final = "1.3.0rc21"
#: The major compute capability of SM120 and SM121.
_SM12X: Final = 12
_BLOCKS_TAKEN: Final = frozenset({"128", "256"})
_ASK_VERSION: Final = "import importlib.metadata as m; print(m.version('tensorrt_llm'))"


def _words(case: Case) -> str:
    """The words of every container."""
    every = case.spec.containers if case.spec is not None else ()
    return " ".join(word for item in every for word in (*(item.entrypoint or ()), *item.command))


def _ask_version(image: str) -> str:
    """The line that makes a Dynamo image tell its TensorRT-LLM."""
    return f'docker run --rm --network none --entrypoint /opt/dynamo/venv/bin/python3 {image} -c "{_ASK_VERSION}"'


def _ask_layouts(image: str) -> str:
    """The line that makes a NIM tell what it would run on these cards."""
    return f"docker run --rm --gpus=all -e NGC_API_KEY {image} list-model-profiles"


def _is_dynamo(case: Case) -> bool:
    return case.spec is not None and ("dynamo" in _words(case) or of_dynamo(case))


def _snapshot(case: Case) -> bool:
    """Whether it is the DeepSeek V4 build of Dynamo, whose TensorRT-LLM is another than its version says."""
    return (tag(case) or "").removeprefix("v").startswith(_DEV) and engine(case) == "trtllm"


def _public(found: Version | None) -> Version | None:
    """The version without what a build adds to it: ``1.3.0rc15.post1`` of ``1.3.0rc15.post1+g154e76c``."""
    return version(found.public) if found is not None else None


def _on_sm120(case: Case) -> Iterator[Seen]:
    if case.spec is None or not v4(case) or engine(case) != "trtllm":
        return
    capabilities = {gpu.compute_capability for gpu in case.gpus if gpu.compute_capability is not None}
    meant = [f"SM{major}{minor}" for major, minor in sorted(capabilities) if major == _SM12X]
    if meant:
        yield Seen(
            f"{name(case)} serves DeepSeek V4 with TensorRT-LLM, which has no attention kernel for {' and '.join(meant)}",
            hint=None
            if case.on_sm120
            else "serve it with SGLang or vLLM, by a profile for these cards: launchpad profiles list",
        )


def _before_blackwell(case: Case) -> Iterator[Seen]:
    if case.spec is not None and v4(case) and engine(case) == "trtllm" and capability_below(case, (10, 0)):
        yield Seen(f"{name(case)} serves DeepSeek V4 with TensorRT-LLM on cards older than Blackwell")


def _pin(case: Case) -> Iterator[Seen]:
    if case.spec is None or not _snapshot(case):
        return
    found = package(case, "tensorrt-llm")
    if found is None:
        yield Seen(
            f"whether image {reference(case)} carries TensorRT-LLM {PIN} is unknown: it was not inspected",
            hint=_ask_version(reference(case)),
            severity="informs",
        )
    elif _public(found) != version(PIN):
        yield Seen(
            f"image {reference(case)} carries TensorRT-LLM {found}, and NVIDIA names {PIN} for it",
            hint=_ask_version(reference(case)),
        )


def _too_old(case: Case) -> Iterator[Seen]:
    if case.spec is None or not v4(case) or _snapshot(case):
        return  # what the snapshot carries, trtllm.pin judges
    found = _public(engine_version(case, "trtllm"))
    if older(found, _MERGED) and found != version(PIN):
        yield Seen(
            f"image {reference(case)} is TensorRT-LLM {found}; DeepSeek V4 came with {_MERGED}",
            severity="warns" if of_dynamo(case) else None,
        )


def _pip(case: Case) -> Iterator[Seen]:
    built = " ".join(value for _, value in case.spec.own_image.build_args) if case.spec is not None else ""
    said = f"{_words(case)} {built}".replace(" ", "")
    if "tensorrt-llm==1.3.0rc15.post1" in said or "tensorrt-llm==1.3.0rc15post1" in said:
        yield Seen(f"{name(case)} installs tensorrt-llm=={PIN} with pip, and PyPI has no such version")


def _serve(case: Case) -> Iterator[Seen]:
    command = case.command
    pairs = pairwise(command)
    if any(first.rsplit("/", 1)[-1] == "dynamo" and second == "serve" for first, second in pairs) or (
        "dynamo serve " in _words(case)
    ):
        yield Seen(f"{name(case)} starts with 'dynamo serve', which Dynamo has not had since 0.4.0")


def _think(case: Case) -> Iterator[Seen]:
    if "--enable-think-modes" in _words(case):
        yield Seen(
            f"{name(case)} passes --enable-think-modes, which no release of Dynamo has",
            hint=f'remove it, and choose by request: launchpad ask {name(case)} "..." --think high',
        )


def _kv_events(case: Case) -> Iterator[Seen]:
    if case.spec is None or "dynamo.trtllm" not in _words(case) or not v4(case):
        return
    given = next(
        (flag_ for flag_ in ("publish-events-and-metrics", "publish-kv-events") if flag(case, flag_) is not None), None
    )
    if given is not None:
        yield Seen(f"{name(case)} passes --{given}, with which TensorRT-LLM does not start DeepSeek V4")


def _in_file(case: Case) -> object:
    """``kv_cache_config.tokens_per_block`` of the file that the profile's ``engine_config`` becomes; None where it has none."""
    try:
        table = json.loads(case.env.get(CONFIG_ENV, "null"))
    except ValueError:
        return None
    inner = table.get("kv_cache_config") if isinstance(table, dict) else None
    return inner.get("tokens_per_block") if isinstance(inner, dict) else None


def _block_size(case: Case) -> Iterator[Seen]:
    if engine(case) != "trtllm" or not v4(case):
        return
    said, written = flag(case, "kv-block-size"), _in_file(case)
    if said and said not in _BLOCKS_TAKEN:
        yield Seen(f"{name(case)} sets --kv-block-size {said}; DeepSeek V4 takes 128 or 256")
    if written is not None and str(written) not in _BLOCKS_TAKEN:
        yield Seen(
            f"{name(case)} sets engine_config.kv_cache_config.tokens_per_block = {written}; DeepSeek V4 takes 128 or 256",
            hint="set tokens_per_block = 128 in engine_config.kv_cache_config of the profile",
        )


def _discovery(case: Case) -> Iterator[Seen]:
    starts = _is_dynamo(case) and "dynamo." in _words(case)
    told = {"DYN_DISCOVERY_BACKEND", "ETCD_ENDPOINTS"} & set(case.env) or flag(case, "discovery-backend") is not None
    if starts and not told:
        yield Seen(f"{name(case)} leaves Dynamo to look for etcd, its default, and names none")


def _not_ready(case: Case) -> Iterator[Seen]:
    helped = "DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS" in case.env or truth(case.env.get("DYN_HEALTH_CHECK_ENABLED"))
    if _is_dynamo(case) and "DYN_SYSTEM_PORT" in case.env and not helped:
        yield Seen(f"the worker's /health of {name(case)} will say 503 'notready' for ever, while it serves")


def _frontend_health(case: Case) -> Iterator[Seen]:
    if case.spec is None:
        return
    path, ready = case.spec.health.ready_paths[0], f"/v1/models/{case.spec.model}/ready"
    if path in {"/health", "/live"} and "dynamo.frontend" in _words(case):
        yield Seen(
            f"probes.readiness.path of {name(case)} is {path}, which Dynamo's frontend answers with 200 when it has no worker",
            hint=f'set probes.readiness.path = "{ready}" in the profile',
        )


def _v4_nim(case: Case) -> bool:
    """Whether it is a NIM of DeepSeek V4: its repository tells, or the model's name where an image of its own name is a NIM."""
    if case.spec is None:
        return False
    by_engine, where = case.spec.engine == "nim", repository(case)
    if not by_engine and not where.startswith("nvcr.io/nim/"):
        return False
    told = reasoning.family_of((where,))
    return told == "deepseek_v4" or (told is None and by_engine and v4(case))


def _nim(case: Case) -> Iterator[Seen]:
    if _v4_nim(case) and case.on_sm120:
        yield Seen(f"whether NIM {reference(case)} runs on SM120 is unknown", hint=_ask_layouts(reference(case)))


def _nim_before_hopper(case: Case) -> Iterator[Seen]:
    if _v4_nim(case) and capability_below(case, (9, 0)):
        yield Seen(
            f"{name(case)} serves DeepSeek V4 with a NIM on cards older than Hopper",
            evidence=f"{reference(case)} brings vLLM or SGLang, and neither has kernels for it there",
        )


RULES: Final = (
    Rule(
        id="trtllm.sm120",
        severity="blocks",
        title="DeepSeek V4 on SM120 with TensorRT-LLM",
        look=_on_sm120,
        hint="serve it with SGLang or vLLM: launchpad plan v4-flash-sglang-tp4",
        source=_SM120,
        as_of=AS_OF,
        basis="reported",
        versions="TensorRT-LLM to 1.3.0rc24 (reports, on 12.0); later ones unknown; compute capability 12.0 and 12.1",
        explain="The guard tests for SM >= 100 and lets 120 through; the weights load for minutes and then: "
        "'Deepseek should be supported by fmha', SIGABRT. NVIDIA's own probe of rc23 on RTX PRO 6000 failed "
        "every case. Dynamo has no SM120 recipe; NVIDIA's for this card is plain vLLM. The README names SM100+ and means "
        "SM100 and SM103; of SM121 (GB10) no report was found: it is SM120's family, and none of its own has a kernel.",
    ),
    Rule(
        id="trtllm.before-blackwell",
        severity="blocks",
        title="DeepSeek V4 with TensorRT-LLM before Blackwell",
        look=_before_blackwell,
        hint="serve it with SGLang or vLLM, which have Hopper layouts",
        source="https://github.com/NVIDIA/TensorRT-LLM (examples/models/core/deepseek_v4/README.md at 3699edad)",
        as_of=AS_OF,
        basis="reported",
        explain="The README: 'DeepSeek-V4 is only supported on Blackwell GPUs (SM100+)'.",
    ),
    Rule(
        id="trtllm.pin",
        severity="warns",
        title="The TensorRT-LLM pin of Dynamo's DeepSeek V4 build",
        look=_pin,
        hint=_ask_version(f"nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime:{_DEV}"),
        source=_RELEASE,
        as_of=AS_OF,
        basis="reported",
        versions="tensorrtllm-runtime:1.3.0-deepseek-v4-dev.1",
        explain="NVIDIA: 'TensorRT-LLM 1.3.0rc15post1 (TRT-LLM patches over the main base)'. Versions are compared "
        "as versions: rc15post1 is rc15.post1. The image may say otherwise, since it is a patched build; "
        "then ask before you trust it.",
    ),
    Rule(
        id="trtllm.too-old",
        severity="blocks",
        title="TensorRT-LLM from before DeepSeek V4",
        look=_too_old,
        hint='set image.reference = "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime:1.6.1" in the profile (it carries '
        "rc29)",
        source="https://github.com/NVIDIA/TensorRT-LLM/pull/15378",
        as_of=AS_OF,
        basis="reported",
        versions="TensorRT-LLM < 1.3.0rc21, but for the patched 1.3.0rc15.post1 and Dynamo's snapshot",
        explain="'Needs that exact build' was true of the June image alone. V4 was merged later; Dynamo 1.3.0 has "
        "rc19, 1.4 rc22, 1.6.1 rc29. Of Dynamo's own images it warns only: they may carry patches, as the June image does,"
        " and NVIDIA says that recipes for V4 ship in 1.3.0 on the standard container, whose version is rc19. What the snapshot"
        " 1.3.0-deepseek-v4-dev.1 carries, trtllm.pin judges.",
    ),
    Rule(
        id="trtllm.pip-pin",
        severity="blocks",
        title="A pip pin that PyPI does not have",
        look=_pip,
        hint="use the image nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc15.post1, the only place of that build",
        source="PyPI's list of tensorrt-llm: rc15 is followed by rc22",
        as_of=AS_OF,
        basis="measured",
        explain="rc15.post1 was released in container images only.",
    ),
    Rule(
        id="dynamo.serve-gone",
        severity="blocks",
        title="'dynamo serve'",
        look=_serve,
        hint="start python3 -m dynamo.frontend --http-port 8000 and python3 -m dynamo.trtllm --model-path DIRECTORY "
        "(or dynamo.vllm, dynamo.sglang)",
        source="wheels ai-dynamo 0.3.2 (has it) and 0.4.0, 1.3.1, 1.6.1 (have no dynamo command)",
        as_of=AS_OF,
        basis="measured",
        versions="Dynamo >= 0.4.0",
        explain="The command went in 2025. graphs.deepseek_v4_pro, which an article serves with it, is in no release"
        " either.",
    ),
    Rule(
        id="dynamo.think-modes",
        severity="blocks",
        title="--enable-think-modes",
        look=_think,
        hint="remove it, and choose by request, as launchpad ask does",
        source="sources and --help of ai-dynamo 1.3.1 and 1.6.1",
        as_of=AS_OF,
        basis="measured",
        explain="Thinking is chosen by each request; no server flag enables it. The article's reasoning_mode is "
        "refused with 400.",
    ),
    Rule(
        id="dynamo.kv-events",
        severity="blocks",
        title="KV events of DeepSeek V4 on TensorRT-LLM",
        look=_kv_events,
        hint="remove that flag from the command",
        source=_RECIPE,
        as_of=AS_OF,
        basis="reported",
        explain="It ends with 'AssertionError: event_buffer_max_size must be 0'; the recipe says the flag must be "
        "omitted.",
    ),
    Rule(
        id="trtllm.kv-block-size",
        severity="blocks",
        title="Tokens a block for DeepSeek V4 on TensorRT-LLM",
        look=_block_size,
        hint="set --kv-block-size 128",
        source=_RECIPE,
        as_of=AS_OF,
        basis="reported",
        explain="The recipe: 'V4 requires 128 or 256'.",
    ),
    Rule(
        id="dynamo.discovery",
        severity="warns",
        title="Dynamo without etcd",
        look=_discovery,
        hint='set DYN_DISCOVERY_BACKEND = "file" and DYN_FILE_KV = "/cache/dynamo" under env: one rig needs neither '
        "etcd nor NATS",
        source=_HEALTH,
        as_of=AS_OF,
        basis="seen",
        explain="--discovery-backend is etcd by default. With file, frontend and worker find each other through a "
        "shared directory.",
    ),
    Rule(
        id="dynamo.worker-health",
        severity="warns",
        title="A Dynamo worker that never says ready",
        look=_not_ready,
        hint='set DYN_HEALTH_CHECK_ENABLED = "true" and DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS = \'["generate"]\' under'
        " env",
        source=_HEALTH,
        as_of=AS_OF,
        basis="seen",
        explain="With DYN_SYSTEM_PORT alone /health stays 503 'notready' although endpoints.generate is ready. Newer"
        " releases read the one variable, older ones the other.",
    ),
    Rule(
        id="dynamo.frontend-health",
        severity="warns",
        title="Dynamo's frontend is healthy without workers",
        look=_frontend_health,
        hint='set probes.readiness.path = "/v1/models/NAME/ready" in the profile, with the served model\'s name',
        source=_HEALTH,
        as_of=AS_OF,
        basis="seen",
        explain="/health says 200 with no instance at all. /v1/models/NAME/ready (1.3.1 and 1.6.1) knows the "
        "workers; even it said true some seconds early, so the completion probe must stay on.",
    ),
    Rule(
        id="nim.sm120-unknown",
        severity="informs",
        title="NIM of DeepSeek V4 on SM120",
        look=_nim,
        hint=_ask_layouts("nvcr.io/nim/deepseek-ai/deepseek-v4-flash-0731:1.11.0-variant"),
        source="https://docs.nvidia.com/nim/large-language-models/latest/supported-models.html",
        as_of=AS_OF,
        basis="inferred",
        explain="NIM 2.x carries vLLM or SGLang, not TensorRT-LLM; its support matrix for this card was not "
        "obtained. On SM121 one user met a crash at prompts of 40K. list-model-profiles says what it would run here.",
    ),
    Rule(
        id="nim.before-hopper",
        severity="warns",
        title="NIM of DeepSeek V4 before Hopper",
        look=_nim_before_hopper,
        hint="use Hopper or Blackwell cards; what the NIM has for these its list-model-profiles says",
        source="https://github.com/vllm-project/vllm/issues/50576 and https://github.com/sgl-project/sglang/issues/33194; "
        "https://docs.nvidia.com/nim/large-language-models/latest/support-matrix.html (a NIM embeds vLLM or SGLang)",
        as_of="2026-11-23",
        basis="inferred",
        explain="A NIM 2.x embeds vLLM or SGLang, and the releases of both lack kernels for DeepSeek V4 before Hopper: "
        "`launchpad doctor --explain model.v4-before-hopper` says which. One user's files name L40S (Ada) as a card that cannot "
        "run it. It warns and does not block, because which release a NIM embeds, and with which patches, was not seen; its"
        " support matrix for this model was not obtained.",
    ),
)
