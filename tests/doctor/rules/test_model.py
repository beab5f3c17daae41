"""Which model is served, whoever says so, and its weights against the cards: nothing false, and nothing missed for a name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from launchpad.deploy.spec import resolve
from launchpad.doctor.case import Case
from launchpad.doctor.rule import examine
from launchpad.doctor.rules import RULES
from launchpad.model.checkpoint import Checkpoint, ModelConfig, Shard
from launchpad.profiles.catalog import Catalog, shipped_profiles
from launchpad.rig.catalog import RigCatalog
from tests.profiles.own_rigs import OWN_RIG

from .cases import case, checkpoint, generic, other_model, sglang, vllm

if TYPE_CHECKING:
    from collections.abc import Mapping

SHIPPED = Catalog((shipped_profiles(),))
RIGS = RigCatalog(())
#: Bytes of weights by the hub's own indexes, and what their config.json says; 0731 and Pro as recipes weigh them.
WEIGHTS: Final[Mapping[str, tuple[int, ModelConfig]]] = {
    "deepseek-ai/DeepSeek-V4-Flash": (159_609_485_896, ModelConfig(model_type="deepseek_v4", quantization="fp8")),
    "deepseek-ai/DeepSeek-V4-Flash-0731": (167 * 10**9, ModelConfig(model_type="deepseek_v4", quantization="fp8")),
    "deepseek-ai/DeepSeek-V4-Pro": (865 * 10**9, ModelConfig(model_type="deepseek_v4", quantization="fp8")),
    "Qwen/Qwen3-Embedding-0.6B": (1_191_586_416, ModelConfig(model_type="qwen3", dtype="bfloat16")),
}
#: Nothing of these words spells the model: it is told by the hub repository and by the tokenizer.
UNSAID: Final[Mapping[str, Any]] = {"path": "/mnt/models/flash", "served_name": "flash"}


def ids(of: Case, *only: str) -> list[str]:
    return [each.id for each in examine(of, RULES, only=only)]


# ---- which model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("the weights' repository", {"engine_args": {"tokenizer-mode": None}, "model": {**UNSAID}}),
        ("the tokenizer", {"model": {**UNSAID, "source": None}}),
    ],
)
def test_deepseek_v4_under_another_name_is_known_by(what: str, words: dict[str, Any]) -> None:
    parsers = {"reasoning_parser": None, "tool_call_parser": None}
    of = vllm(**words, serving=parsers, image={"reference": "vllm/vllm-openai:v0.27.0"})

    assert "deepgemm.broken-pair" in ids(of), what


def test_a_trt_llm_that_is_given_deepseek_v4_by_repository_alone_is_blocked_on_sm120() -> None:
    profile = SHIPPED.load("v4-flash-trtllm-gb300").profile
    model = profile.model.model_copy(update={**UNSAID, "path": "/mnt/models/flash"})
    facts = RIGS.facts("4x-rtx-pro-6000")
    spec = resolve("flash", profile.model_copy(update={"model": model, "engine_args": {}}), facts, taken={})

    assert "trtllm.sm120" in ids(Case(facts, spec))


def test_the_model_behind_trtllm_serve_is_read_as_its_command_has_it() -> None:
    image = {"reference": "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc24"}
    of = generic("trtllm-serve", "/models/deepseek-v4-flash", image=image, model={**UNSAID})

    assert "trtllm.sm120" in ids(of)


@pytest.mark.parametrize("name", ["DeepSeek-V4-Flash-128k", "deepseek-v4-16bit", "DeepSeek-V4"])
def test_a_number_behind_the_name_makes_no_other_model_of_it(name: str) -> None:
    assert case("generic", model={"path": f"/mnt/models/{name}", "served_name": "flash"}).model_family == "deepseek_v4"


@pytest.mark.parametrize("name", ["DeepSeek-V4.1-Flash", "deepseek-v41", "deepseek_v4_1"])
def test_v41_is_another_model(name: str) -> None:
    of = case(
        "generic", command=["serve", f"/models/{name}"], model={"path": "/mnt/models/any", "served_name": "flash"}
    )

    assert of.model_family == "deepseek_v41"


def test_what_config_json_says_goes_before_every_name() -> None:
    of = vllm(checkpoint=checkpoint(30, model_type="qwen3"), image={"reference": "vllm/vllm-openai:v0.27.0"})

    assert "deepgemm.broken-pair" not in ids(of)


def test_what_config_json_says_is_enough() -> None:
    changes = other_model(image={"reference": "vllm/vllm-openai:v0.27.0"})

    assert "deepgemm.broken-pair" in ids(vllm(**changes, checkpoint=checkpoint(160, model_type="deepseek_v4")))


MTP: Final = {"speculative-config": {"method": "mtp", "num_speculative_tokens": 2}}


@pytest.mark.parametrize("repo", ["deepseek-ai/DeepSeek-V4-Flash-0731", "deepseek-ai/DeepSeek-V4-Pro-0813"])
def test_weights_of_a_date_are_known_by_their_repository(repo: str) -> None:
    assert ids(vllm(model={**UNSAID, "source": {"repo": repo}}, engine_args=MTP), "model.mtp-on-0731") != []


def test_weights_of_a_date_are_known_by_name_where_config_json_alone_tells_the_model() -> None:
    of = vllm(
        **other_model(model={"path": "/mnt/models/dsv4-0731", "served_name": "flash"}, engine_args=MTP),
        checkpoint=checkpoint(167, model_type="deepseek_v4", quantization="fp8"),
    )
    assert ids(of, "model.mtp-on-0731") != []


def test_mtp_on_the_weights_of_april_is_no_mistake() -> None:
    assert ids(vllm(engine_args=MTP), "model.mtp-on-0731") == []


DSPARK: Final = {"speculative-config": {"method": "dspark"}}


def test_dspark_on_the_weights_of_april_is_told_of_both_engines() -> None:
    of = [vllm(engine_args=DSPARK), sglang(engine_args={"speculative-algorithm": "DSPARK"})]

    assert [ids(each, "model.dspark-on-preview") for each in of] == [["model.dspark-on-preview"]] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {**UNSAID, "source": None, "served_name": "deepseek-v4-flash"}, "engine_args": DSPARK},
        {"model": {**UNSAID, "source": {"repo": "deepseek-ai/DeepSeek-V4-Flash-DSpark"}}, "engine_args": DSPARK},
        {"engine_args": {"speculative-config": {"method": "dspark", "model": "/drafts/mine"}}},
    ],
    ids=["served under the name alone", "the DSpark variant", "a draft of one's own"],
)
def test_dspark_is_no_mistake_where_the_draft_may_be_there(changes: dict[str, Any]) -> None:
    assert ids(vllm(**changes), "model.dspark-on-preview") == []


# ---- its weights ------------------------------------------------------------------------------------------------------


def on_its_rig(name: str, times: float = 1.0) -> Case:
    """A shipped profile on its rig with its checkpoint there, its weights so many times as heavy as they are."""
    own = OWN_RIG[name]
    assert own is not None
    profile, facts = SHIPPED.load(name).profile, RIGS.facts(own)
    spec = resolve(name, profile, facts, taken={})
    repo = spec.source or profile.model.repo
    assert repo is not None
    size, config = WEIGHTS[repo]
    shard = Shard("model-00001-of-00001.safetensors", "whole", int(size * times))
    return Case(facts, spec, None, Checkpoint(Path("/mnt/models/x"), config, (shard,), has_index=True))


WITH_WEIGHTS: Final = [name for name, rig in OWN_RIG.items() if rig is not None and name != "v4-flash-nim"]


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_a_shipped_profile_with_its_checkpoint_there_is_told_what_it_is_told_without(name: str) -> None:
    here = on_its_rig(name)

    assert ids(here) == ids(replace(here, checkpoint=None))


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_no_shipped_profile_says_anything_that_keeps_weights_too_large_from_being_seen(name: str) -> None:
    assert "model.larger-than-gpus" in ids(on_its_rig(name, times=500.0))


#: 70 billion parameters in bfloat16: 141 GB, on one card of 102.6 GB.
LLAMA: Final = checkpoint(141, model_type="llama", dtype="bfloat16")


def one(**changes: Any) -> dict[str, Any]:
    """The changes that make it another model on one card."""
    return other_model(gpus={"count": 1}, parallel={"tensor": 1}, **changes)


def too_large(of: Case) -> bool:
    return ids(of, "model.larger-than-gpus") != []


def test_weights_that_no_card_holds_block() -> None:
    assert too_large(sglang(**one(), checkpoint=LLAMA))
    assert too_large(vllm(**one(), checkpoint=LLAMA))


@pytest.mark.parametrize(
    ("what", "of"),
    [
        ("FP8 made while loading", vllm(**one(serving={"quantization": "fp8"}), checkpoint=LLAMA)),
        ("torchao", sglang(**one(engine_args={"torchao-config": "int4wo-128"}), checkpoint=LLAMA)),
        ("a part in RAM", vllm(**one(engine_args={"cpu-offload-gb": 60}), checkpoint=LLAMA)),
        ("experts on the CPU", sglang(**one(engine_args={"kt-num-gpu-experts": 8}), checkpoint=LLAMA)),
        ("another rig beside this", sglang(**one(engine_args={"nnodes": 2}), checkpoint=LLAMA)),
        ("float32 on disk", vllm(**one(), checkpoint=checkpoint(141, dtype="float32"))),
        ("no word of the type", vllm(**one(), checkpoint=checkpoint(141))),
        (
            "an engine that nobody knows",
            case("generic", command=["serve"], image={"reference": "mine:1"}, gpus={"count": 1}, checkpoint=LLAMA),
        ),
        (
            "TensorRT-LLM's own file",
            case(
                "v4-flash-trtllm-gb300.toml",
                RIGS.facts("4x-gb300"),
                engine_config={"quant_config": {"quant_algo": "FP8"}},
                checkpoint=checkpoint(1500, dtype="bfloat16"),
            ),
        ),
    ],
)
def test_weights_that_may_yet_fit_do_not_block(what: str, of: Case) -> None:
    assert not too_large(of), what


def test_quantisation_that_the_checkpoint_has_already_makes_nothing_smaller() -> None:
    of = vllm(**one(serving={"quantization": "fp8"}), checkpoint=checkpoint(141, quantization="fp8"))

    assert too_large(of)


@pytest.mark.parametrize(("index", "blocked"), [(False, False), (True, True)])
def test_a_copy_of_the_weights_beside_them_is_not_counted(index: bool, blocked: bool) -> None:
    shards = tuple(Shard(name, "whole", 70 * 10**9) for name in ("consolidated.safetensors", "model.safetensors"))
    found = Checkpoint(Path("/mnt/models/x"), ModelConfig(dtype="bfloat16"), shards, has_index=index)

    assert too_large(vllm(**one(), checkpoint=found)) is blocked
