"""The version matrix: what the image's files say goes before what its version says, and what neither says is unknown."""

from __future__ import annotations

from itertools import pairwise

import pytest

from launchpad.doctor.case import Case, DeepGemm
from launchpad.doctor.rule import examine
from launchpad.doctor.rules import RULES, deepgemm
from launchpad.doctor.rules import sglang as sglang_rules
from launchpad.doctor.rules.lookup import engine, engine_version, older, version

from .cases import H200, checkpoint, generic, inspected, other_model, sglang, two, vendored, vllm

#: vLLM version -> the ids about DeepGEMM and FlashInfer that DeepSeek V4 on SM120 gets by version alone.
MATRIX = {
    "0.20.2": ["deepgemm.vllm-too-old", "vllm.flashinfer-old"],
    "0.22.1": ["deepgemm.vllm-too-old"],
    "0.24.0": ["deepgemm.broken-pair", "vllm.flashinfer-old"],
    "0.25.1": ["vllm.flashinfer-old"],
    "0.26.0": [],
    "0.26.0-cu129": [],
    "0.27.0-cu129-x86_64": ["deepgemm.broken-pair"],
    "0.27.0": ["deepgemm.broken-pair"],
    "0.27.1": ["deepgemm.broken-pair"],
    "0.28.0": [],
    "0.29.0": [],
    "0.30.0": [],
    "0.31.0-x86_64": [],
    "0.32.0": [],
    "0.33.0": [],
    "0.33.1": ["deepgemm.unknown"],
    "0.34.0": ["deepgemm.unknown"],
    "1.0.0": ["deepgemm.unknown"],
    "0.26.1rc1": ["deepgemm.unknown"],
}


def about_kernels(of: Case) -> list[str]:
    return [
        found.id
        for found in examine(of, RULES)
        if found.id.startswith("deepgemm.") or found.id == "vllm.flashinfer-old"
    ]


@pytest.mark.parametrize(("release", "ids"), MATRIX.items())
def test_a_vllm_release_is_judged_by_the_matrix(release: str, ids: list[str]) -> None:
    assert about_kernels(vllm(image={"reference": f"vllm/vllm-openai:v{release}"})) == ids


@pytest.mark.parametrize("reference", ["vllm/vllm-openai:nightly", "registry.example/mine:v0.27.1", "vllm/vllm-openai"])
def test_an_image_whose_version_nobody_knows_is_unknown_and_not_guessed(reference: str) -> None:
    assert about_kernels(vllm(image={"reference": reference})) == ["deepgemm.unknown"]


@pytest.mark.parametrize("release", ["0.24.0", "0.27.1", "0.34.0", "0.26.1rc1.dev608+g99a10304d"])
def test_files_with_both_halves_go_before_any_version(release: str) -> None:
    found = inspected(
        engine_version=release,
        vllm_declares_sm120=True,
        deep_gemm=vendored(sm120=True),
        packages={"flashinfer-python": "0.6.18"},
    )
    assert about_kernels(vllm(image={"reference": "registry.example/mine:1"}, inspected=found)) == []


def test_files_without_kernels_go_before_a_good_version() -> None:
    found = inspected(engine_version="0.33.0", vllm_declares_sm120=True, deep_gemm=vendored(sm120=False))
    assert about_kernels(vllm(inspected=found)) == ["deepgemm.broken-pair"]


@pytest.mark.parametrize(
    ("commit", "ids"),
    [("a6b593d2", []), ("8b1392b", []), ("f5a76426", ["deepgemm.broken-pair"]), ("891d57b4", ["deepgemm.broken-pair"])],
)
def test_where_the_files_do_not_tell_the_commit_of_deepgemm_does(commit: str, ids: list[str]) -> None:
    found = inspected(
        engine_version="0.34.0",
        vllm_declares_sm120=True,
        deep_gemm=vendored(sm120=None, version=f"2.6.1+{commit[:7]}"),
        packages={"flashinfer-python": "0.7.2"},
    )
    assert about_kernels(vllm(inspected=found)) == ids


def test_an_inspected_image_of_unknown_deepgemm_is_judged_by_its_version() -> None:
    found = inspected(engine_version="0.27.1", deep_gemm=vendored(sm120=None))
    assert about_kernels(vllm(inspected=found)) == ["deepgemm.broken-pair"]


def test_the_broken_pair_names_what_it_was_told_by() -> None:
    evidence = [
        found.evidence
        for found in examine(vllm(image={"reference": "vllm/vllm-openai:v0.27.1"}), RULES, only=["deepgemm"])
    ]
    assert evidence == ["vLLM 0.27.1 (https://github.com/vllm-project/vllm/issues/51758)"]


def test_the_broken_pair_read_in_the_image_says_so() -> None:
    found = inspected(vllm_declares_sm120=True, deep_gemm=vendored(sm120=False))
    assert [each.evidence for each in examine(vllm(inspected=found), RULES, only=["deepgemm"])] == ["read in the image"]


def test_other_fp8_models_are_warned_because_there_is_a_way_round() -> None:
    qwen = vllm(
        **other_model(image={"reference": "vllm/vllm-openai:v0.27.1"}), checkpoint=checkpoint(30, quantization="fp8")
    )
    assert [found.severity for found in examine(qwen, RULES, only=["deepgemm.broken-pair"])] == ["warns"]


def test_other_fp8_models_that_went_round_it_are_spared() -> None:
    qwen = vllm(
        **other_model(image={"reference": "vllm/vllm-openai:v0.27.1"}, env={"VLLM_USE_DEEP_GEMM": "0"}),
        checkpoint=checkpoint(30, quantization="fp8"),
    )
    assert about_kernels(qwen) == []


@pytest.mark.parametrize("release", ["0.27.1", "0.28.0"])
def test_weights_of_four_bits_have_no_fp8_layers_to_warn_of(release: str) -> None:
    """compressed-tensors is a container of many formats, of which W4A16 is the most common."""
    image = {"reference": f"vllm/vllm-openai:v{release}"}
    qwen = vllm(**other_model(image=image), checkpoint=checkpoint(30, quantization="compressed-tensors"))
    assert about_kernels(qwen) == []


def test_deepgemm_on_other_cards_is_no_hazard() -> None:
    old = vllm(
        H200, image={"reference": "vllm/vllm-openai:v0.27.1"}, **two(gpus={"count": 2, "compute_capability": None})
    )
    assert about_kernels(old) == []


def test_the_fork_needs_no_deepgemm() -> None:
    found = inspected(
        "local/vllm:mine",
        engine_version="0.20.2",
        vllm_declares_sm120=False,
        deep_gemm=(DeepGemm("absent"),),
        known_env=frozenset({"VLLM_TRITON_MLA_SPARSE_ALLOW_CUDAGRAPH"}),
    )
    assert about_kernels(vllm(image={"reference": "local/vllm:mine"}, inspected=found)) == []


@pytest.mark.parametrize("row", deepgemm.VLLM, ids=lambda row: row.first)
def test_a_row_of_the_matrix_has_its_bounds_in_order_and_a_source(row: deepgemm.Release) -> None:
    assert (older(version(row.last), row.first), bool(row.source)) == (False, True)


def test_rows_of_the_matrix_do_not_overlap() -> None:
    bounds = [(version(row.first), version(row.last)) for row in deepgemm.VLLM]
    assert all(last is not None and first is not None and last < first for (_, last), (first, _) in pairwise(bounds))


@pytest.mark.parametrize(
    ("release", "verdict"),
    [
        ("0.5.11", "no-v4"),
        ("0.5.12", "no-sm120"),
        ("0.5.12.post1", "no-sm120"),
        ("0.5.13", "fallback"),
        ("0.5.15", "fallback"),
        ("0.5.16", "native"),
        ("0.5.21", "native"),
        ("0.5.23", "native"),
        ("0.5.24", None),
        ("0.5.24rc1", None),
        ("not-a-version", None),
    ],
)
def test_sglang_is_judged_by_its_release(release: str, verdict: str | None) -> None:
    row = sglang_rules.release_of(version(release))
    assert (row.verdict if row else None) == verdict


def test_one_version_spelled_twice_is_one_version() -> None:
    assert version("1.3.0rc15post1") == version("1.3.0rc15.post1")


@pytest.mark.parametrize(
    ("reference", "found"),
    [
        ("lmsysorg/sglang:v0.5.23", "0.5.23"),
        ("docker.io/lmsysorg/sglang:v0.5.12.post1", "0.5.12.post1"),
        ("lmsysorg/sglang:v0.5.23-cu129", "0.5.23"),
        ("lmsysorg/sglang:v0.5.12-cu130-runtime", "0.5.12"),
        ("index.docker.io/lmsysorg/sglang:v0.5.6.post2-cu129-amd64-runtime", "0.5.6.post2"),
        ("lmsysorg/sglang:latest", None),
        ("lmsysorg/sglang:dev-cu13", None),
        ("registry:5000/sglang:v0.5.23", None),
    ],
)
def test_a_version_is_read_off_official_tags_only(reference: str, found: str | None) -> None:
    said = engine_version(sglang(image={"reference": reference}), "sglang")
    assert (str(said) if said else None) == found


def test_half_read_in_the_image_and_half_by_version_is_told_by_the_version() -> None:
    found = inspected(engine_version="0.27.1", vllm_declares_sm120=True)
    assert deepgemm.pair(vllm(inspected=found)) == (
        True,
        False,
        "vLLM 0.27.1 (https://github.com/vllm-project/vllm/issues/51758)",
    )


def test_the_engine_of_a_private_image_is_told_by_its_files() -> None:
    looked_into = inspected(engine="tensorrt-llm", packages={"tensorrt-llm": "1.3.0rc24"})
    cases = [
        generic("serve", image={"reference": "registry.example/serving:7"}, inspected=each)
        for each in (looked_into, None)
    ]
    assert [engine(case) for case in cases] == ["trtllm", None]
