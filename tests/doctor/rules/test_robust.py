"""Whatever stands in a profile, an image or a rig: the rules end, and raise nothing."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from launchpad.doctor.case import Case, DeepGemm, ImageFacts
from launchpad.doctor.rule import examine
from launchpad.doctor.rules import RULES
from launchpad.doctor.rules.lookup import flags, setting, version
from launchpad.rig.facts import Gpu, RigFacts

from .cases import RIG, generic, sglang, vllm

JUNK = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
NAMES = st.sampled_from(
    [
        "--host",
        "--tp-size",
        "--tensor-parallel-size=",
        "--speculative-config",
        "--attention-config",
        "--kernel-config",
        "--attention_config.indexer_kv_dtype",
        "--max-total-tokens",
        "--watchdog-timeout",
        "--gpu-memory-utilization",
        "--ep",
        "--block-size",
        "-tp",
        "--",
        "-1",
        "sglang",
        "vllm",
        "dynamo",
        "serve",
        "trtllm-serve",
        "deepseek-v4",
        '{"method": 5}',
        '["dspark"]',
        '{"method":',
        "nan",
        "1e999",
    ]
)
WORDS = st.lists(st.one_of(NAMES, JUNK), min_size=1, max_size=12)
BASE = generic("deepseek-v4")
VERSIONS = st.one_of(
    st.none(), st.sampled_from(["0.27.1", "0.0", "9" * 30, "1.3.0rc15post1", "0.26.1rc1.dev1+g1"]), JUNK
)
DEEP_GEMMS = st.lists(
    st.builds(
        DeepGemm, st.sampled_from(["vendored", "external", "absent"]), VERSIONS, st.one_of(st.none(), st.booleans())
    ),
    max_size=3,
)
IMAGES = st.builds(
    ImageFacts,
    JUNK,
    engine=st.sampled_from([None, "vllm", "sglang", "tensorrt-llm", "?"]),
    engine_version=VERSIONS,
    packages=st.dictionaries(st.sampled_from(["flashinfer-python", "flashinfer-cubin", "vllm"]), JUNK, max_size=3),
    cuda_version=VERSIONS,
    arch_list=st.one_of(st.none(), st.lists(JUNK, max_size=3).map(tuple)),
    vllm_declares_sm120=st.one_of(st.none(), st.booleans()),
    deep_gemm=st.one_of(st.none(), DEEP_GEMMS.map(tuple)),
    env=st.dictionaries(
        st.sampled_from(["CUDA_VISIBLE_DEVICES", "VLLM_ENGINE_READY_TIMEOUT_S", "NCCL_P2P_DISABLE"]), JUNK, max_size=3
    ),
)


def with_words(words: list[str]) -> Case:
    """BASE with another command, past the schema: what a schema lets through changes."""
    assert BASE.spec is not None
    container = replace(BASE.spec.containers[0], command=tuple(words))
    return Case(RIG, replace(BASE.spec, containers=(container,)))


@settings(max_examples=60)
@given(WORDS, IMAGES)
def test_any_command_on_any_image_is_judged(words: list[str], image: ImageFacts) -> None:
    case = replace(with_words(words), image=image)
    assert {found.severity for found in examine(case, RULES)} <= {"blocks", "warns", "informs"}


def test_facts_of_which_any_one_is_unknown_are_judged() -> None:
    for field in fields(RigFacts):
        if field.name != "gpus":
            facts = replace(RIG, **{field.name: None})
            assert isinstance(examine(vllm(facts), RULES), tuple)


def test_cards_of_which_any_one_fact_is_unknown_are_judged() -> None:
    for field in fields(Gpu):
        if field.name not in {"index", "uuid", "name"}:
            unknown: dict[str, Any] = {field.name: None}
            facts = replace(RIG, gpus=tuple(replace(gpu, **unknown) for gpu in RIG.gpus or ()))
            assert isinstance(examine(sglang(facts), RULES), tuple)


def test_flags_are_read_as_the_engines_read_them() -> None:
    case = with_words(
        ["vllm", "serve", "--max_model_len=5", "--a.b_c", "x", "-tp", "4", "--bare", "--last", "-1", "--last", "2"]
    )
    assert dict(flags(case)) == {"max-model-len": "5", "a.b_c": "x", "tp": "4", "bare": "", "last": "2"}


def test_a_json_flag_is_read_whole_or_dotted() -> None:
    whole = with_words(["--speculative-config", '{"method": "mtp"}'])
    dotted = with_words(["--speculative_config.method", "mtp"])
    assert [setting(case, "speculative-config", "method") for case in (whole, dotted)] == ["mtp", "mtp"]


def test_a_json_flag_that_is_no_json_says_nothing() -> None:
    assert setting(with_words(["--speculative-config", "{"]), "speculative-config", "method") is None


def test_no_version_is_no_version() -> None:
    assert (version("nightly"), version(""), version(None)) == (None, None, None)
