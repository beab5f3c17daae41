"""Hazards of the image: made for another card, moving under its tag, experimental, or of parts that do not fit each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.lookup import (
    AS_OF,
    REPOSITORIES,
    cards,
    engine,
    name,
    of_dynamo,
    package,
    reference,
    repository,
    tag,
    truth,
    v4,
    version,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launchpad.doctor.case import Case

_COOKBOOK: Final = "https://github.com/sgl-project/sglang (docs_new, DeepSeek-V4.mdx at cb89b157)"

#: Tags of one kind of card, as documented: (repository, tag) -> the cards it was made for.
MADE_FOR: Final[Mapping[tuple[str, str], str]] = {
    ("lmsysorg/sglang", "deepseek-v4-blackwell"): "B200 (SM100)",
    ("lmsysorg/sglang", "deepseek-v4-b300"): "B300 (SM103)",
    ("lmsysorg/sglang", "deepseek-v4-grace-blackwell"): "GB300 (SM103)",
    ("lmsysorg/sglang", "deepseek-v4-hopper"): "H200 (SM90)",
}
#: vLLM's day-0 tags, from before SM120 support was merged (2026-06-22).
_DAY_ZERO: Final = frozenset({"deepseekv4-cu129", "deepseekv4-cu130"})
_MOVING: Final = re.compile(r"(latest|dev|nightly|main|edge|stable)([-_.](?!.*[0-9a-f]{7}).*)?")
_EXPERIMENTAL: Final = re.compile(r"(^|[-_.])(dev|preview|nightly|experimental|alpha|beta|rc\d*)([-_.]|\d|$)")
#: Releases that have DeepSeek V4, by engine. Of TensorRT-LLM no release was found that is none of its candidates.
_RELEASES: Final[Mapping[str, str]] = {
    "sglang": "lmsysorg/sglang:v0.5.23",
    "vllm": "vllm/vllm-openai:v0.33.0",
    "trtllm": "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc24",
}
#: Dynamo's release, whose worker image carries TensorRT-LLM 1.3.0rc29 (wheel ai-dynamo 1.6.1), and its images by engine.
_DYNAMO_RELEASE: Final = "1.6.1"
_DYNAMO_RELEASED: Final = frozenset(where for where in REPOSITORIES if "/ai-dynamo/" in where)
_DYNAMO_TRTLLM: Final = "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime"
#: Engine -> the package that an image of it has; None: not told by one.
_BRINGS: Final[Mapping[str, str | None]] = {
    "sglang": "sglang",
    "vllm": "vllm",
    "trtllm": "tensorrt-llm",
    "dynamo": "ai-dynamo",
    "nim": None,
}
_CALLED: Final[Mapping[str, str]] = {"sglang": "SGLang", "vllm": "vLLM", "trtllm": "TensorRT-LLM"}
_ARCH: Final = re.compile(r"(\d+)\.(\d)([af]?)(\+PTX)?", re.IGNORECASE)


def _other_card(case: Case) -> Iterator[Seen]:
    made_for = MADE_FOR.get((repository(case), tag(case) or ""))
    if case.spec is not None and case.on_sm120 and made_for is not None:
        yield Seen(
            f"image {reference(case)} was made for {made_for}; {cards(case.gpus)} of {name(case)} need SM120 kernels"
        )


def _day_zero(case: Case) -> Iterator[Seen]:
    if case.spec is not None and case.on_sm120 and repository(case) == "vllm/vllm-openai" and tag(case) in _DAY_ZERO:
        yield Seen(f"image {reference(case)} is from before vLLM knew DeepSeek V4 on SM120")


def _spark(case: Case) -> Iterator[Seen]:
    others = [gpu for gpu in case.gpus if gpu.compute_capability not in {None, (12, 1)}]
    said = (repository(case), tag(case) or "")
    if case.spec is not None and others and (said == ("lmsysorg/sglang", "dev-v4f-2dgx") or "spark" in said[0]):
        yield Seen(
            f"image {reference(case)} is for DGX Spark only, and {cards(others)} of {name(case)} are no such machine"
        )


def _runtime(case: Case) -> Iterator[Seen]:
    label = tag(case) or ""
    if case.spec is not None and case.on_sm120 and repository(case) == "lmsysorg/sglang" and label.endswith("-runtime"):
        yield Seen(
            f"image {reference(case)} comes without build tools, and SM120 kernels are compiled at start",
            hint=f'set image.reference = "lmsysorg/sglang:{label.removesuffix("-runtime")}" in the profile',
        )


def _moving(case: Case) -> Iterator[Seen]:
    if case.spec is None or case.spec.own_image.build_template is not None or "@sha256:" in reference(case):
        return
    label = tag(case)
    if label is None or _MOVING.fullmatch(label):
        yield Seen(
            f"image {reference(case)} names no version: what it is changes with every pull",
            hint="pin it: docker image inspect --format '{{index .RepoDigests 0}}' "
            f"{reference(case)}, and put the sha256 under image.digest",
        )


def _experimental(case: Case) -> Iterator[Seen]:
    label = tag(case) or ""
    if case.spec is not None and case.spec.own_image.build_template is None and _EXPERIMENTAL.search(label):
        yield Seen(f"image {reference(case)} is an experimental build", hint=_release(case))


def _release(case: Case) -> str | None:
    """The release to name in its place, of what this deployment runs: Dynamo's where it is Dynamo's, else the engine's."""
    where = repository(case)
    by_dynamo = case.spec is not None and case.spec.engine == "dynamo" and engine(case) == "trtllm"
    if by_dynamo or where in _DYNAMO_RELEASED:
        named = f"{where if where in _DYNAMO_RELEASED else _DYNAMO_TRTLLM}:{_DYNAMO_RELEASE}"
        return f'set image.reference = "{named}" in the profile'
    if case.spec is not None and case.spec.engine in {"dynamo", "nim"}:
        return f"name a release of {where}"
    released = _RELEASES.get(engine(case) or "")
    return f'set image.reference = "{released}" in the profile' if released else f"name a release of {where}"


def _other_engine(case: Case) -> Iterator[Seen]:
    """By official names only; where the engine's package was found inside, that decides."""
    if case.spec is None or case.spec.own_image.build_template is not None or case.spec.engine not in _BRINGS:
        return
    where, asked = repository(case), case.spec.engine
    brings, part = REPOSITORIES.get(where), _BRINGS[asked]
    if brings is None or (part is not None and package(case, part) is not None):
        return
    if asked == "dynamo":
        runs = engine(case)  # none behind a mocker, which any of Dynamo's own images has
        fits = of_dynamo(case) and runs in {None, brings}
    else:
        fits = asked == brings
    if not fits:
        what = f"Dynamo's with {_CALLED[brings]}" if of_dynamo(case) else f"{_CALLED[brings]}'s own"
        yield Seen(f'{name(case)} has engine = "{asked}" and image {reference(case)}, which is {what}')


def _listed(arch_list: tuple[str, ...], capability: tuple[int, int]) -> str | None:
    """``runs`` where the list has kernels for the card, ``compiles`` where PTX must be translated, None where it has neither."""
    major, minor = capability
    found = None
    for word in arch_list:
        if (matched := _ARCH.fullmatch(word.strip())) is None:
            continue
        has = (int(matched[1]), int(matched[2]))
        exact, newer_minor = has == capability, has[0] == major and has[1] <= minor
        if exact or (newer_minor and matched[3].lower() != "a"):
            return "runs"
        if matched[4] and has < capability:
            found = "compiles"
    return found


def _arch_list(case: Case) -> Iterator[Seen]:
    if case.spec is None or case.image is None or not case.image.arch_list:
        return
    if not any(_ARCH.fullmatch(word.strip()) for word in case.image.arch_list):
        return
    for capability in sorted({gpu.compute_capability for gpu in case.gpus if gpu.compute_capability is not None}):
        verdict = _listed(case.image.arch_list, capability)
        if verdict != "runs":
            kernels = "only PTX" if verdict == "compiles" else "no kernels"
            yield Seen(
                f"image {reference(case)} was built with {kernels} for compute capability {capability[0]}.{capability[1]}",
                evidence=f"TORCH_CUDA_ARCH_LIST={' '.join(case.image.arch_list)}",
                severity="blocks" if engine(case) == "vllm" and verdict is None else "warns",
            )


def _flashinfer_parts(case: Case) -> Iterator[Seen]:
    core = package(case, "flashinfer-python")
    if core is None or truth(case.env.get("FLASHINFER_DISABLE_VERSION_CHECK")):
        return
    for part in ("flashinfer-cubin", "flashinfer-jit-cache"):
        found = package(case, part)
        if found is not None and found.public != core.public:
            yield Seen(
                f"image {reference(case)} has flashinfer-python {core.public} and {part} {found.public}, which FlashInfer refuses"
            )


def _tag_with_v(case: Case) -> Iterator[Seen]:
    label = tag(case) or ""
    if of_dynamo(case) and label.startswith("v") and version(label.split("-", 1)[0]) is not None:
        yield Seen(
            f"image {reference(case)} does not exist: Dynamo's git tags start with v, its image tags do not",
            hint=f'set image.reference = "{repository(case)}:{label[1:]}" in the profile',
        )


def _muse(case: Case) -> Iterator[Seen]:
    inspected = case.image is not None and case.image.deep_gemm is not None
    if case.on_sm120 and (repository(case), tag(case)) == ("vllm/vllm-openai", "muse-glimmer") and not inspected:
        yield Seen(
            f"image {reference(case)} is a nightly of early August 2026, when vLLM's DeepGEMM had lost its SM120 kernels",
            severity="blocks" if v4(case) else None,
        )


RULES: Final = (
    Rule(
        id="image.other-card",
        severity="blocks",
        title="An image made for another card",
        look=_other_card,
        hint='set image.reference = "lmsysorg/sglang:v0.5.23" in the profile',
        source=_COOKBOOK,
        as_of=AS_OF,
        basis="reported",
        versions="lmsysorg/sglang:deepseek-v4-{blackwell,b300,grace-blackwell,hopper}",
        explain="'Blackwell' in that tag meant B200, which is SM100: tcgen05, TMEM, 227 KiB of shared memory. RTX "
        "PRO 6000 is SM120 and has none of them. The image was built in April 2026 from v0.5.7 with DeepGEMM"
        " 7f2a70, before SGLang's SM120 support (0.5.13, PR 24692; native path in 0.5.16, PR 30272). Its "
        "authors wrote: 'server crashes before loading the model'. The tags are gone from the docs.",
    ),
    Rule(
        id="image.day-zero-vllm",
        severity="blocks",
        title="vLLM's day-0 images of DeepSeek V4",
        look=_day_zero,
        hint='set image.reference = "vllm/vllm-openai:v0.33.0" in the profile',
        source="https://github.com/vllm-project/vllm/issues/40802",
        as_of=AS_OF,
        basis="reported",
        versions="vllm/vllm-openai:deepseekv4-cu129, deepseekv4-cu130 (April 2026)",
        explain="SM120 support was merged on 2026-06-22 (PR 43477); these images are from April and end with "
        "'Unsupported architecture'.",
    ),
    Rule(
        id="image.dgx-spark-only",
        severity="blocks",
        title="An image for DGX Spark",
        look=_spark,
        hint='set image.reference = "lmsysorg/sglang:v0.5.23" in the profile',
        source="https://github.com/sgl-project/sglang (docs_new, deepseek-v4.jsx: 'must not be used on any other "
        "hardware')",
        as_of=AS_OF,
        basis="reported",
        versions="lmsysorg/sglang:dev-v4f-2dgx, eugr/spark-vllm-b12x",
        explain="Built for GB10 (SM121) and its unified memory.",
    ),
    Rule(
        id="image.runtime-only",
        severity="warns",
        title="A -runtime image on SM120",
        look=_runtime,
        hint="use the tag without -runtime",
        source="https://docs.sglang.ai/get_started/install.html ('excluding build tools and development dependencies')",
        as_of=AS_OF,
        basis="inferred",
        versions="lmsysorg/sglang:*-runtime",
        explain="FlashInfer, TileLang, Triton and SGLang's own kernels for SM120 are compiled at start with nvcc and"
        " ninja, which the -runtime images leave out.",
    ),
    Rule(
        id="image.mutable-tag",
        severity="warns",
        title="A tag that moves",
        look=_moving,
        hint="name a release, or put a digest under image.digest",
        source="https://docs.docker.com/reference/cli/docker/image/pull/#pull-an-image-by-digest-immutable-identifier",
        as_of=AS_OF,
        basis="inferred",
        explain="The DeepGEMM regression of 0.27 reached everybody on 'nightly' between 2026-08-01 and 2026-08-12. A"
        " restart after a pull is then another engine, with a cold cache.",
    ),
    Rule(
        id="image.experimental",
        severity="warns",
        title="An experimental image",
        look=_experimental,
        hint="name a release of the same engine: lmsysorg/sglang:v0.5.23, vllm/vllm-openai:v0.33.0, or of Dynamo "
        f"{_DYNAMO_TRTLLM}:{_DYNAMO_RELEASE}",
        source="https://github.com/ai-dynamo/dynamo/releases/tag/v1.3.0-deepseek-v4-dev.1; of Dynamo's release: wheel ai-dynamo "
        "1.6.1 (METADATA: tensorrt-llm 1.3.0rc29)",
        as_of=AS_OF,
        basis="reported",
        explain="Of Dynamo's model builds NVIDIA says: 'experimental snapshot build ... not recommended for "
        "production and is not a QA-gated release'. The same holds for nightlies, previews and release "
        "candidates: right for trying, wrong for serving.",
    ),
    Rule(
        id="image.other-engine",
        severity="blocks",
        title="An image of another engine",
        look=_other_engine,
        hint="set engine to what the image has, or image.reference to an image of the engine; each engine has its own words",
        source="https://docs.sglang.ai/get_started/install.html, https://docs.vllm.ai/en/latest/deployment/docker.html and "
        "https://github.com/ai-dynamo/dynamo/releases: each image is built with one engine",
        as_of="2026-11-23",
        basis="inferred",
        versions="lmsysorg/sglang, vllm/vllm-openai, nvcr.io/nvidia/tensorrt-llm/release, nvcr.io/nvidia/ai-dynamo/*-runtime",
        explain="launchpad writes the command in the words of the profile's engine; an image without that engine ends at once "
        "with 'executable file not found' or 'No module named'. Told by the names of official images alone, unless "
        "the engine was found inside; of other images nothing is said.",
    ),
    Rule(
        id="image.arch-list",
        severity="blocks",
        title="An image without kernels for the card",
        look=_arch_list,
        hint="use an image whose TORCH_CUDA_ARCH_LIST has the card's capability (12.0, 12.0a or 12.0f), or build it so",
        source="https://github.com/vllm-project/vllm/issues/32109",
        as_of=AS_OF,
        basis="reported",
        explain="It ends with 'no kernel image is available for execution on the device'. vLLM's official image is "
        "built for 7.5 to 12.0. Blocks for vLLM, whose image is built with that variable; warns for others, "
        "where it may be a leftover of a base image.",
    ),
    Rule(
        id="image.flashinfer-parts",
        severity="blocks",
        title="FlashInfer packages of different versions",
        look=_flashinfer_parts,
        hint="use an official image; in your own: pip install flashinfer-cubin==VERSION "
        "flashinfer-jit-cache==VERSION of flashinfer-python",
        source="https://github.com/vllm-project/vllm/issues/49804",
        as_of=AS_OF,
        basis="reported",
        explain="FlashInfer compares at import: 'flashinfer-cubin version (0.6.8.post1) does not match flashinfer "
        "version (0.6.10)'. A local part such as +cu130 does not count. FLASHINFER_DISABLE_VERSION_CHECK=1 "
        "skips it, at your own risk.",
    ),
    Rule(
        id="image.dynamo-tag",
        severity="blocks",
        title="Dynamo's image tags have no leading v",
        look=_tag_with_v,
        hint="leave the v out",
        source="https://github.com/ai-dynamo/dynamo/releases/tag/v1.3.0-deepseek-v4-dev.1",
        as_of=AS_OF,
        basis="reported",
        versions="nvcr.io/nvidia/ai-dynamo/*",
        explain="The git tag is v1.3.0-deepseek-v4-dev.1, the image tensorrtllm-runtime:1.3.0-deepseek-v4-dev.1.",
    ),
    Rule(
        id="image.muse-glimmer",
        severity="warns",
        title="A nightly from the regression window",
        look=_muse,
        hint='set image.reference = "vllm/vllm-openai:v0.33.0" in the profile',
        source="https://github.com/vllm-project/vllm/issues/51884",
        as_of=AS_OF,
        basis="reported",
        versions="vllm/vllm-openai:muse-glimmer (0.26.1rc1.dev608), nightlies of 2026-08-01 to 2026-08-12",
        explain="It carries the DeepGEMM pin f5a76426 of 0.27. Where the image was inspected, its files decide "
        "instead of this tag.",
    ),
)
