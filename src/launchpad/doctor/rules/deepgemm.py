"""The DeepGEMM story of SM120 as a matrix: who declares support, who has the kernels, and who has both.

vLLM sends block-FP8 layers and DeepSeek V4's attention through DeepGEMM wherever ``support_deep_gemm()`` says so. From 0.24.0 it
says so for SM120; whether the DeepGEMM in the image has SM120 kernels is another matter, and both 0.24.0 and 0.27 had not. The
image's own files decide first; only where nobody looked does the table by version. What neither knows is said to be unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from launchpad.doctor.rule import Basis, Rule, Seen
from launchpad.doctor.rules.lookup import (
    AS_OF,
    engine,
    engine_version,
    name,
    package,
    reference,
    repository,
    tag,
    truth,
    v4,
    v4_on_sm120,
    version,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from packaging.version import Version

    from launchpad.doctor.case import Case, DeepGemm
    from launchpad.doctor.finding import Severity

_REGRESSION: Final = "https://github.com/vllm-project/vllm/issues/51758"
_FIRST: Final = "https://github.com/vllm-project/vllm/issues/47436"
_MENDED: Final = "https://github.com/vllm-project/vllm/pull/52035"
_SUPPORT: Final = "https://github.com/vllm-project/vllm/pull/43477"
_USE: Final = "use vllm/vllm-openai:v0.26.0 (field reports) or >= v0.28.0: image.reference in the profile"

Verdict = Literal["undeclared", "broken", "old-flashinfer", "works", "fp32-scales", "expected"]


@dataclass(frozen=True, slots=True)
class Release:
    """What vLLM releases ``first`` to ``last`` carry; None where nobody looked.

    ``halves``: ``declared`` means that vLLM says SM120 and DeepGEMM has no kernels for it, ``declared?`` that nobody looked at the
    kernels. Verdict ``expected``: both halves are there, and no report from the field was found.
    """

    first: str
    last: str
    halves: Literal["neither", "declared", "declared?", "both"]
    deep_gemm: str | None
    flashinfer: str | None
    verdict: Verdict
    basis: Basis
    source: str

    @property
    def declares(self) -> bool:
        """Whether ``support_deep_gemm()`` accepts SM120."""
        return self.halves != "neither"

    @property
    def kernels(self) -> bool | None:
        """Whether its DeepGEMM has SM120 kernels."""
        return None if self.halves == "declared?" else self.halves == "both"


#: Read in the wheels of 0.20.2, 0.24.0, 0.25.1, 0.26.0, 0.27.1 and 0.28.0 to 0.33.0; the others are told by their neighbours.
VLLM: Final = (
    Release("0", "0.20.1", "neither", None, None, "undeclared", "inferred", _SUPPORT),
    Release("0.20.2", "0.20.2", "neither", "2.5.0", "0.6.8.post1", "undeclared", "measured", "wheel vllm 0.20.2"),
    Release("0.21.0", "0.23.99", "neither", None, None, "undeclared", "inferred", _SUPPORT),
    Release("0.24.0", "0.24.0", "declared", "2.5.0 (891d57b4)", "0.6.12", "broken", "measured", _FIRST),
    Release("0.25.0", "0.25.0", "declared?", None, None, "old-flashinfer", "inferred", "wheel vllm 0.25.1"),
    Release(
        "0.25.1", "0.25.1", "both", "2.5.0 (a6b593d2)", "0.6.13", "old-flashinfer", "measured", "wheel vllm 0.25.1"
    ),
    Release("0.26.0", "0.26.0", "both", "2.5.0 (a6b593d2)", "0.6.14", "works", "measured", _REGRESSION),
    Release("0.27.0", "0.27.0", "declared", None, None, "broken", "reported", _REGRESSION),
    Release("0.27.1", "0.27.1", "declared", "2.6.1 (f5a76426)", "0.6.16.post3", "broken", "measured", _REGRESSION),
    Release("0.28.0", "0.28.0", "both", "2.6.1 (8b1392b)", "0.6.16.post3", "fp32-scales", "measured", _MENDED),
    Release("0.29.0", "0.29.0", "both", "2.6.1 (8b1392b)", "0.6.18", "fp32-scales", "measured", "wheel vllm 0.29.0"),
    Release("0.30.0", "0.30.0", "both", "2.8.0 (a6bbb80)", "0.6.18.post1", "expected", "measured", "wheel vllm 0.30.0"),
    Release("0.31.0", "0.31.0", "both", "2.8.0", "0.7.0.post1", "expected", "measured", "wheel vllm 0.31.0"),
    Release("0.32.0", "0.32.0", "both", "2.8.0", "0.7.0.post1", "expected", "measured", "wheel vllm 0.32.0"),
    Release("0.33.0", "0.33.0", "both", "2.8.1 (08200307)", "0.7.2.post1", "expected", "measured", "wheel vllm 0.33.0"),
)
#: DeepGEMM commits that engines pinned -> whether they have SM120 kernels. deepseek-ai's main branch had none as of 2026-07.
PINS: Final[Mapping[str, bool]] = {
    "891d57b4": False,
    "a6b593d2": True,
    "f5a76426": False,
    "8b1392b": True,
    "ad1f1726": True,
    "a6bbb80": True,
    "08200307": True,
    "54e2261": False,
    "7f2a70": False,
}
#: The least FlashInfer that serves DeepSeek V4 on SM120, and with DSpark's draft of 7 (top-k 192, flashinfer PR 4380).
FLASHINFER_V4: Final = "0.6.14"
FLASHINFER_DSPARK: Final = "0.6.18"


def release_of(found: Version | None) -> Release | None:
    """The row of a vLLM version. None for an unknown version and for builds between releases: they are anything."""
    if found is None or found.is_prerelease or found.local not in {None, "cu129", "cu130"}:
        return None
    for row in VLLM:
        first, last = version(row.first), version(row.last)
        if first is not None and last is not None and first <= found and found.release <= last.release:
            return row
    return None


def kernels_of(deep_gemm: DeepGemm) -> bool | None:
    """Whether a DeepGEMM has SM120 kernels: by its files, else by the commit in its version."""
    if deep_gemm.kind == "absent":
        return None
    if deep_gemm.sm120_kernels is not None:
        return deep_gemm.sm120_kernels
    found = version(deep_gemm.version)
    local = found.local if found is not None else None
    return next((has for commit, has in PINS.items() if local and commit[:7] in local), None)


def in_use(case: Case) -> DeepGemm | None:
    """The DeepGEMM that vLLM imports: an external package goes before the vendored one; None where nobody looked."""
    if case.image is None or case.image.deep_gemm is None:
        return None
    kinds = {found.kind: found for found in case.image.deep_gemm}
    return kinds.get("external") or kinds.get("vendored") or kinds.get("absent")


def is_fork(case: Case) -> bool:
    """Whether this vLLM is a build with the SM120 fork's own attention, which needs no DeepGEMM."""
    known = case.image.known_env if case.image is not None else None
    if known is not None:
        return any(key.startswith("VLLM_TRITON_MLA_SPARSE") for key in known)
    where = repository(case)
    return any(word in f"{where}:{tag(case) or ''}" for word in ("jasl", "ds4-sm120", "dsv4-flash-sm120"))


def flashinfer(case: Case) -> Version | None:
    """FlashInfer in the image: by its files, else as this release of vLLM or SGLang pins it; None where that is unknown."""
    if (found := package(case, "flashinfer-python")) is not None:
        return found
    row = release_of(engine_version(case, "vllm"))
    if row is not None:
        return version(row.flashinfer)
    pins = {"0.5.16": "0.6.14", "0.5.23": "0.7.2"}
    sglang = engine_version(case, "sglang")
    return version(pins.get(str(sglang))) if sglang is not None else None


def pair(case: Case) -> tuple[bool | None, bool | None, str]:
    """(declares SM120, has kernels, how we know) of the vLLM in question; each None where unknown."""
    used, row = in_use(case), release_of(engine_version(case, "vllm"))
    declares = case.image.vllm_declares_sm120 if case.image is not None else None
    kernels = kernels_of(used) if used is not None else None
    if declares is not None and kernels is not None:
        return declares, kernels, "read in the image"
    known = f"vLLM {engine_version(case, 'vllm')} ({row.source})" if row is not None else "nothing known"
    return (
        declares if declares is not None else row.declares if row is not None else None,
        kernels if kernels is not None else row.kernels if row is not None else None,
        known,
    )


def _block_fp8(case: Case) -> bool:
    """Whether it may be block-FP8: ``compressed-tensors`` is mostly INT4, INT8 or FP8 of other scales, and told apart nowhere."""
    return case.checkpoint is not None and case.checkpoint.config.quantization == "fp8"


def _broken_pair(case: Case) -> Iterator[Seen]:
    if case.spec is None or not case.on_sm120 or engine(case) != "vllm" or is_fork(case):
        return
    declares, kernels, known = pair(case)
    external = (used := in_use(case)) is not None and used.kind == "external"
    if declares is not True or kernels is not False or external:
        return
    if v4(case):
        yield Seen(
            f"image {reference(case)} sends DeepSeek V4 of {name(case)} to a DeepGEMM without SM120 kernels",
            evidence=known,
        )
    elif _block_fp8(case) and truth(case.env.get("VLLM_USE_DEEP_GEMM")) is not False:
        yield Seen(
            f"image {reference(case)} may send the FP8 layers of {name(case)} to a DeepGEMM without SM120 kernels",
            evidence=known,
            hint='set VLLM_USE_DEEP_GEMM = "0" under env (4-6 % slower decoding), or ' + _USE,
            severity="warns",
        )


def _external(case: Case) -> Iterator[Seen]:
    used = in_use(case)
    if case.spec is None or not case.on_sm120 or engine(case) != "vllm" or used is None or used.kind != "external":
        return
    if kernels_of(used) is False:
        yield Seen(
            f"image {reference(case)} has a deep_gemm package of its own, without SM120 kernels, and vLLM prefers it",
            evidence=f"deep_gemm {used.version or 'of unknown version'} in site-packages",
            severity="blocks" if v4(case) else "warns",
        )


def _of_a_build(case: Case) -> Severity | None:
    """A build that is no release may be a fork with kernels of its own: there a block would be a guess."""
    found = engine_version(case, "vllm")
    return "warns" if found is not None and release_of(found) is None else None


def _too_old(case: Case) -> Iterator[Seen]:
    if not v4_on_sm120(case, "vllm") or is_fork(case):
        return
    declares, _, known = pair(case)
    if declares is False:
        yield Seen(
            f"image {reference(case)} is a vLLM that does not know SM120 for DeepSeek V4 of {name(case)}",
            evidence=known,
            severity=_of_a_build(case),
        )


def _absent(case: Case) -> Iterator[Seen]:
    used = in_use(case)
    if v4_on_sm120(case, "vllm") and used is not None and used.kind == "absent" and not is_fork(case):
        yield Seen(
            f"image {reference(case)} has no deep_gemm package, and DeepSeek V4's sparse attention needs it",
            severity=_of_a_build(case),
        )


def _unknown(case: Case) -> Iterator[Seen]:
    if not v4_on_sm120(case, "vllm") or is_fork(case) or tag(case) == "muse-glimmer":
        return
    declares, kernels, _ = pair(case)
    row = release_of(engine_version(case, "vllm"))
    if (declares is None or kernels is None) and (row is None or row.verdict != "old-flashinfer"):
        if (used := in_use(case)) is not None and used.kind == "absent":
            return
        found = engine_version(case, "vllm")
        which = f"vLLM {found}" if found is not None else "the vLLM in it"
        yield Seen(
            f"whether {which} has SM120 kernels for DeepSeek V4 is unknown: image {reference(case)} was not inspected "
            "and its version is not in the table"
        )


def _e8m0(case: Case) -> Iterator[Seen]:
    env = case.env
    floats = truth(env.get("VLLM_USE_DEEP_GEMM_E8M0")) is False and truth(env.get("VLLM_USE_DEEP_GEMM")) is not False
    if case.on_sm120 and engine(case) == "vllm" and floats:
        yield Seen(f"{name(case)} sets VLLM_USE_DEEP_GEMM_E8M0=0: DeepGEMM on SM120 has no float32 scales")


def _off_with_v4(case: Case) -> Iterator[Seen]:
    if v4_on_sm120(case, "vllm") and truth(case.env.get("VLLM_USE_DEEP_GEMM")) is False and not is_fork(case):
        yield Seen(f"{name(case)} sets VLLM_USE_DEEP_GEMM=0; DeepSeek V4's indexer uses DeepGEMM all the same")


def _float_scales(case: Case) -> Iterator[Seen]:
    row = release_of(engine_version(case, "vllm"))
    if case.spec is None or not case.on_sm120 or row is None or row.verdict != "fp32-scales" or v4(case):
        return
    if _block_fp8(case) and truth(case.env.get("VLLM_USE_DEEP_GEMM")) is not False:
        yield Seen(
            f"vLLM {row.first} makes NaN of block-FP8 checkpoints with float32 scales on SM120; the scales of {name(case)} "
            "were not read"
        )


def _source_dir(case: Case) -> Iterator[Seen]:
    built = dict(case.spec.own_image.build_args) if case.spec is not None else {}
    if "DEEPGEMM_SRC_DIR" in case.env or "DEEPGEMM_SRC_DIR" in built:
        yield Seen(
            f"DEEPGEMM_SRC_DIR of {name(case)} has no effect: it is read while vLLM is compiled, and is no build argument"
        )


def _fork(case: Case) -> Iterator[Seen]:
    if case.spec is None or engine(case) != "vllm":
        return
    theirs = sorted(key for key in case.env if key.startswith("VLLM_TRITON_MLA_SPARSE"))
    if is_fork(case):
        yield Seen(f"image {reference(case)} is a build of the SM120 fork, which is not kept in step with vLLM")
    elif theirs:
        official = repository(case) == "vllm/vllm-openai"
        what = "stock vLLM ignores it" if official else "only the SM120 fork knows it"
        more = f" (and {len(theirs) - 1} more like it)" if len(theirs) > 1 else ""
        yield Seen(f"{name(case)} sets {theirs[0]}{more}: {what}", evidence=", ".join(theirs))


def _fork_graphs(case: Case) -> Iterator[Seen]:
    if case.spec is not None and truth(case.env.get("VLLM_TRITON_MLA_SPARSE_ALLOW_CUDAGRAPH")):
        yield Seen(f"{name(case)} forces CUDA graphs in the fork's attention, which stalled under concurrent streams")


RULES: Final = (
    Rule(
        id="deepgemm.broken-pair",
        severity="blocks",
        title="vLLM declares SM120, its DeepGEMM lacks the kernels",
        look=_broken_pair,
        hint=_USE,
        source=_REGRESSION,
        as_of=AS_OF,
        basis="measured",
        versions="vLLM 0.24.0, 0.27.0, 0.27.1, nightlies of 2026-08-01 to 2026-08-12",
        explain="It ends while the weights are loaded, after minutes: 'Assertion error (.../layout.hpp:59): Unknown "
        "SF transformation', or in the warm-up with 'Unknown recipe' or 'Unsupported architecture'. Decided "
        "by two files of the image: whether vllm/platforms/cuda.py accepts family 120, and whether "
        "deep_gemm/include/deep_gemm/impls has sm120_*.cuh. Both halves: 0.26.0 and everything from 0.28.0. "
        "For V4 VLLM_USE_DEEP_GEMM=0 does not help; for other block-FP8 models it does, so there this only "
        "warns.",
    ),
    Rule(
        id="deepgemm.external-override",
        severity="blocks",
        title="A deep_gemm package overrides the vendored one",
        look=_external,
        hint="remove it from the image: RUN pip uninstall -y deep_gemm deep-gemm",
        source="wheel vllm 0.33.0, vllm/utils/deep_gemm.py: 'Prefers an externally installed deep_gemm package'",
        as_of=AS_OF,
        basis="measured",
        explain="vLLM imports deep_gemm from site-packages before its own copy, with no look at the version. "
        "deepseek-ai's main branch has no SM120 kernels, so an image that installs it loses what vLLM "
        "vendors.",
    ),
    Rule(
        id="deepgemm.vllm-too-old",
        severity="blocks",
        title="vLLM from before SM120 support",
        look=_too_old,
        hint=_USE,
        source=_SUPPORT,
        as_of=AS_OF,
        basis="measured",
        versions="vLLM < 0.24.0",
        explain="Support for DeepSeek V4 on SM120 was merged on 2026-06-22 and shipped in 0.24.0 (broken there, see "
        "deepgemm.broken-pair). 0.20.2, of which the well-known advice 'use a fork or SGLang' speaks, cannot"
        " start V4 on these cards; 0.22.1 neither (issue 40821).",
    ),
    Rule(
        id="deepgemm.absent",
        severity="blocks",
        title="No deep_gemm in the image",
        look=_absent,
        hint=_USE,
        source="https://github.com/eugr/spark-vllm-docker/issues/209",
        as_of=AS_OF,
        basis="reported",
        explain="'Sparse Attention Indexer CUDA op requires DeepGEMM': the lightning indexer asks for the package "
        "whatever VLLM_USE_DEEP_GEMM says.",
    ),
    Rule(
        id="deepgemm.unknown",
        severity="informs",
        title="Nobody knows whether this vLLM has SM120 kernels",
        look=_unknown,
        hint="pull the image, so that launchpad doctor can read its files; or name a release: vllm/vllm-openai:v0.33.0",
        source=_REGRESSION,
        as_of=AS_OF,
        basis="measured",
        explain="The table holds releases to 0.33.0. Nightlies, release candidates, private builds and later "
        "releases may be either; three files in the image tell, and no GPU is needed to read them.",
    ),
    Rule(
        id="deepgemm.e8m0-off",
        severity="blocks",
        title="VLLM_USE_DEEP_GEMM_E8M0=0 on SM120",
        look=_e8m0,
        hint="remove VLLM_USE_DEEP_GEMM_E8M0 from env; to keep DeepGEMM out of FP8 layers set VLLM_USE_DEEP_GEMM = 0"
        " instead",
        source="https://github.com/vllm-project/vllm/issues/57486",
        as_of=AS_OF,
        basis="reported",
        explain="SM120's DeepGEMM kernels read packed UE8M0 scales only. With float32 scales 0.28 and 0.29 compute "
        "NaN (up to 22 % of outputs, measured on GB10), from 0.30 an assertion in sm120_dispatch.hpp ends "
        "the start. In 0.24 it has no effect. Open in 0.33.",
    ),
    Rule(
        id="deepgemm.off-with-v4",
        severity="informs",
        title="VLLM_USE_DEEP_GEMM=0 does not free DeepSeek V4 of DeepGEMM",
        look=_off_with_v4,
        hint="no need to act where the image has SM120 kernels; where it has none: " + _USE,
        source=_REGRESSION,
        as_of=AS_OF,
        basis="reported",
        explain="The switch moves linear layers, MoE and, in 0.33, mHC to other kernels. The indexer needs the "
        "package in every release, and 0.27's mHC called it unconditionally.",
    ),
    Rule(
        id="deepgemm.float-scales",
        severity="informs",
        title="FP8 checkpoints with float32 scales",
        look=_float_scales,
        hint='look for "scale_fmt": "ue8m0" in config.json; without it set VLLM_USE_DEEP_GEMM = "0" under env, or '
        "use vLLM >= 0.30",
        source="https://github.com/vllm-project/vllm/pull/53680",
        as_of=AS_OF,
        basis="reported",
        versions="vLLM 0.28.0, 0.29.0",
        explain="Measured on GB10 (SM121), not on SM120: float32 scales are read as packed exponents and give NaN "
        "without an error; packed UE8M0 is exact. From 0.30 it is an assertion. The scale format was not "
        "read here, so this informs.",
    ),
    Rule(
        id="deepgemm.source-dir",
        severity="warns",
        title="DEEPGEMM_SRC_DIR",
        look=_source_dir,
        hint="remove it; to build with another DeepGEMM, COPY it in your own Dockerfile and set ENV DEEPGEMM_SRC_DIR"
        " before the compile stage",
        source="vLLM 0.33.0 source distribution, cmake/external_projects/deepgemm.cmake",
        as_of=AS_OF,
        basis="measured",
        explain="vLLM's Dockerfile has no such build argument, and its compile stage copies no such folder. The "
        "SM120 fork does not need it either: since PR 40991 it is free of DeepGEMM.",
    ),
    Rule(
        id="fork.brittle",
        severity="warns",
        title="The SM120 fork of vLLM, or its variables",
        look=_fork,
        hint='use a release, which needs no fork any more: image.reference = "vllm/vllm-openai:v0.33.0", without '
        "VLLM_TRITON_MLA_SPARSE*",
        source="https://github.com/vllm-project/vllm/pull/41834",
        as_of=AS_OF,
        basis="reported",
        explain="The advised branch ds4-sm120-preview is frozen since 2026-05-10, 1,331 commits behind by mid-June; "
        "the pull request is still open. If it must be the fork, pin a tag: "
        "sm120-pr-41834-stable-preview-20260717 (f63bfd3d) was run on four cards. VLLM_TRITON_MLA_SPARSE* "
        "means nothing to stock vLLM, and later fork revisions read only ..._ALLOW_CUDAGRAPH.",
    ),
    Rule(
        id="fork.graphs-forced",
        severity="warns",
        title="CUDA graphs forced in the fork",
        look=_fork_graphs,
        hint="remove VLLM_TRITON_MLA_SPARSE_ALLOW_CUDAGRAPH from env",
        source="https://github.com/jasl/vllm-ds4-sm120-harness (c911a0e)",
        as_of=AS_OF,
        basis="reported",
        explain="Its own harness: 'FULL graph replay can make the server unresponsive under concurrent streaming "
        "pressure'. Off unless 1 in later revisions.",
    ),
)
