"""Speculative decoding and quantisation: a table of a profile, and the words of each engine's command line."""

from __future__ import annotations

from typing import Any

import pytest

from launchpad.engines.speculative import REFUSALS
from launchpad.errors import LaunchpadError
from launchpad.runtime.base import Mount
from tests.deploy.specs import gpu, profile, rig
from tests.deploy.specs import spec as resolved

VLLM = {"engine": "vllm", "image": {"reference": "vllm/vllm-openai:v0.33.0"}}
V4 = {"path": "/models/deepseek-v4-flash", "served_name": "flash"}
LATER = {"path": "/models/DeepSeek-V4-Flash-0731", "served_name": "flash"}
DRAFT = "/mnt/drafts/small"


def words(**changes: Any) -> str:
    """The command's words from the first that speculates on."""
    command = list(resolved(profile(**changes)).containers[0].command)
    first = next(index for index, word in enumerate(command) if word.startswith("--speculative"))
    return " ".join(command[first:])


@pytest.mark.parametrize(
    ("changes", "table", "golden"),
    [
        (
            {"model": V4},
            {"method": "mtp", "draft_tokens": 3},
            "--speculative-algorithm EAGLE --speculative-num-steps 3 --speculative-eagle-topk 1 --speculative-num-draft-tokens 4",
        ),
        (
            {"model": V4},
            {"method": "mtp", "draft_tokens": 1},
            "--speculative-algorithm EAGLE --speculative-num-steps 1 --speculative-eagle-topk 1 --speculative-num-draft-tokens 2",
        ),
        ({"model": LATER}, {"method": "dspark"}, "--speculative-algorithm DSPARK"),
        (
            {"model": LATER},
            {"method": "dspark", "draft_tokens": 5},
            "--speculative-algorithm DSPARK --speculative-dspark-block-size 5",
        ),
        (
            {},
            {"method": "eagle3", "draft_tokens": 3, "draft_model": DRAFT},
            (
                "--speculative-algorithm EAGLE3 --speculative-draft-model-path /draft/small --speculative-num-steps 3 "
                "--speculative-eagle-topk 1 --speculative-num-draft-tokens 4"
            ),
        ),
        (
            {},
            {"method": "draft-model", "draft_tokens": 4, "draft_model": DRAFT},
            (
                "--speculative-algorithm STANDALONE --speculative-draft-model-path /draft/small --speculative-num-steps 4 "
                "--speculative-eagle-topk 1 --speculative-num-draft-tokens 5"
            ),
        ),
        (
            {},
            {"method": "ngram", "draft_tokens": 8},
            "--speculative-algorithm NGRAM --speculative-num-draft-tokens 8",
        ),
        (
            VLLM | {"model": V4},
            {"method": "mtp", "draft_tokens": 1},
            '--speculative-config {"method":"mtp","num_speculative_tokens":1}',
        ),
        (VLLM | {"model": LATER}, {"method": "dspark"}, '--speculative-config {"method":"dspark"}'),
        (
            VLLM,
            {"method": "draft-model", "draft_tokens": 4, "draft_model": DRAFT},
            '--speculative-config {"method":"draft_model","model":"/draft/small","num_speculative_tokens":4}',
        ),
    ],
)
def test_each_engine_gets_its_own_words(changes: dict[str, Any], table: dict[str, Any], golden: str) -> None:
    assert words(**changes, speculative=table) == golden


def test_the_draft_checkpoint_is_mounted_read_only() -> None:
    table = {"method": "eagle3", "draft_tokens": 3, "draft_model": DRAFT}

    assert (
        Mount("bind", DRAFT, "/draft/small", read_only=True)
        in resolved(profile(speculative=table)).containers[0].mounts
    )


def test_without_the_table_nothing_speculates() -> None:
    commands = [resolved(profile(**changes)).containers[0].command for changes in ({}, VLLM)]

    assert not [word for command in commands for word in command if "speculative" in word]


OLD = {"image": {"reference": "lmsysorg/sglang:v0.5.16"}}
APRIL = {"path": "/models/flash", "source": {"repo": "deepseek-ai/DeepSeek-V4-Flash"}, "served_name": "flash"}


@pytest.mark.parametrize(
    ("changes", "table", "says"),
    [
        (
            {"model": V4},
            {"method": "ngram", "draft_tokens": 4},
            "cannot speculate with ngram in sglang 0.5.23: SGLang takes only EAGLE (the MTP head) and DSPARK",
        ),
        (
            {"image": {"reference": "lmsysorg/sglang:v0.5.15"}},
            {"method": "dspark"},
            "cannot speculate with dspark in sglang 0.5.15: DSPARK came with SGLang 0.5.16",
        ),
        (
            OLD | {"model": LATER},
            {"method": "dspark"},
            "cannot speculate with dspark in sglang 0.5.16: DSPARK crashed on SM120 at start",
        ),
        (
            {"model": LATER},
            {"method": "mtp", "draft_tokens": 3},
            "cannot speculate with mtp in sglang 0.5.23: this checkpoint ships a DSpark draft and no MTP head",
        ),
        (
            VLLM | {"model": LATER},
            {"method": "mtp", "draft_tokens": 1},
            "cannot speculate with mtp in vllm 0.33.0: this checkpoint ships a DSpark draft and no MTP head",
        ),
        (
            {"model": V4},
            {"method": "dspark"},
            "cannot speculate with dspark in sglang 0.5.23: the Preview checkpoint ships an MTP head and no DSpark draft",
        ),
        (
            VLLM | {"model": APRIL},
            {"method": "dspark", "draft_tokens": 5},
            "cannot speculate with dspark in vllm 0.33.0: the Preview checkpoint ships an MTP head and no DSpark draft",
        ),
        (
            VLLM | {"model": {"served_name": "DeepSeek-V4.1-Flash"}},
            {"method": "mtp", "draft_tokens": 1},
            "cannot speculate with mtp in vllm 0.33.0: DeepSeek V4.1 has no classic MTP draft",
        ),
        (
            {"engine": "vllm", "image": {"reference": "vllm/vllm-openai:v0.20.2"}},
            {"method": "dspark"},
            "cannot speculate with dspark in vllm 0.20.2: vLLM 0.20.2 and older know no DSpark",
        ),
        (
            {"engine": "vllm", "image": {"reference": "vllm/vllm-openai:v0.28.0"}, "model": LATER},
            {"method": "dspark"},
            "cannot speculate with dspark in vllm 0.28.0: DSpark on SM120 needs FlashInfer 0.6.18 (top-k 192)",
        ),
    ],
)
def test_what_does_not_work_is_refused_with_the_reason(
    changes: dict[str, Any], table: dict[str, Any], says: str
) -> None:
    with pytest.raises(LaunchpadError) as caught:
        words(**changes, speculative=table)

    assert caught.value.message.startswith(says)
    assert "source: " in (caught.value.hint or "")


def test_an_image_whose_version_nobody_knows_is_not_refused_for_it() -> None:
    image = {"image": {"reference": "example/sglang:mine"}}

    assert words(**image, model=LATER, speculative={"method": "dspark"}) == "--speculative-algorithm DSPARK"


@pytest.mark.parametrize(
    "model",
    [
        {"path": "/models/weights", "served_name": "deepseek-v4-flash"},
        {"path": "/models/DeepSeek-V4-Flash-DSpark", "served_name": "deepseek-v4-flash"},
        {"path": "/models/DeepSeek-V4-Flash-DSpark", "source": APRIL["source"], "served_name": "flash"},
        {"path": "/models/DeepSeek-V4-Flash/0731", "served_name": "deepseek-v4-flash"},
        {"path": "/models/qwen3-32b", "served_name": "qwen"},
    ],
)
def test_dspark_is_refused_only_where_the_weights_are_known_to_be_the_preview(model: dict[str, Any]) -> None:
    assert words(model=model, speculative={"method": "dspark"}) == "--speculative-algorithm DSPARK"


def test_other_cards_are_not_refused_for_what_crashed_on_sm120() -> None:
    gpus = {"compute_capability": ["8.0"], "min_memory": None}
    made = profile(**OLD, model=LATER, speculative={"method": "dspark"}, gpus=gpus)
    cards = rig(*(gpu(index, compute_capability=(8, 0)) for index in range(2)))

    assert "DSPARK" in resolved(made, cards).containers[0].command


def test_every_refusal_has_a_source_and_a_day() -> None:
    assert all(item.source and item.as_of and item.hint for item in REFUSALS)


@pytest.mark.parametrize(("changes", "flag"), [({}, "--quantization"), (VLLM, "--quantization")])
def test_quantisation_is_handed_on_as_it_is_spelled(changes: dict[str, Any], flag: str) -> None:
    command = resolved(profile(**changes, serving={"quantization": "modelopt_fp4"})).containers[0].command

    assert command[command.index(flag) + 1] == "modelopt_fp4"
