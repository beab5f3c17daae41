"""Every typed field with every engine: it changes what is run or asked, or the profile is refused, naming the key and why."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

import pytest
from pydantic import ValidationError

from launchpad.profiles.schema import Parallel, Profile, Serving, Speculative
from launchpad.profiles.unmapped import UNMAPPED
from launchpad.rig.facts import RigFacts
from launchpad.store.files import encode
from tests.deploy.specs import profile, spec

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Each kind of deployment in the words that it cannot do without.
KINDS: dict[str, dict[str, Any]] = {
    "sglang": {},
    "vllm": {"engine": "vllm", "image": {"reference": "vllm/vllm-openai:v0.33.0"}},
    "trtllm": {"engine": "trtllm"},
    "dynamo trtllm": {"engine": "dynamo", "dynamo": {"worker": "trtllm"}},
    "dynamo mocker": {"engine": "dynamo", "dynamo": {"worker": "mocker"}, "gpus": None, "parallel": None},
    "nim": {"engine": "nim", "model": {"path": None, "in_image": "/opt/nim/.cache"}, "parallel": None},
    "generic": {
        "engine": "generic",
        "command": ["serve"],
        "probes": {"readiness": {"path": "/health"}},
        "parallel": None,
    },
}

#: What each field is set to: other than its default. Two GPUs are there where the field needs no other number of them.
FIELDS: dict[str, Any] = {
    "parallel.tensor": 4,
    "parallel.pipeline": 2,
    "parallel.data": 2,
    "parallel.expert": True,
    "serving.context_length": 4096,
    "serving.max_running_requests": 7,
    "serving.memory_fraction": 0.5,
    "serving.kv_cache_dtype": "fp8",
    "serving.trust_remote_code": True,
    "serving.custom_all_reduce": False,
    "serving.cuda_graphs": False,
    "serving.reasoning_parser": "deepseek_v4",
    "serving.tool_call_parser": "deepseek_v4",
    "serving.quantization": "modelopt_fp4",
    "serving.reasoning": "think-high",
    "serving.metrics": False,
    "model.revision": "a" * 40,
    **{
        f"speculative.{method}": {"method": method, "draft_tokens": 3}
        | ({"draft_model": "/drafts/small"} if method in {"eagle", "eagle3", "draft-model"} else {})
        for method in get_args(Speculative.model_fields["method"].annotation)
    },
}

#: The only refusals: kind, and the fields that it has nothing for. Everything else must change something.
REFUSED: dict[str, set[str]] = {
    "sglang": set(),
    "vllm": set(),
    "trtllm": {
        *("parallel.data", "serving.memory_fraction", "serving.quantization", "serving.metrics"),
        *(name for name in FIELDS if name.startswith("speculative.")),
    },
    "dynamo trtllm": {
        *("parallel.data", "serving.memory_fraction", "serving.quantization", "model.revision"),
        *(name for name in FIELDS if name.startswith("speculative.")),
    },
    "dynamo mocker": set(FIELDS)
    - {
        *("parallel.data", "serving.max_running_requests", "serving.kv_cache_dtype", "serving.reasoning"),
        "serving.metrics",
    },
    "nim": set(FIELDS) - {"serving.reasoning", "model.revision"},
    "generic": set(FIELDS) - {"serving.reasoning", "model.revision"},
}
#: Not theirs to take: a NIM has no `model.repo`; a generic server's words are its author's, and `pull` and `lock` keep the commit.
NOT_ASKED: set[tuple[str, str]] = {("nim", "model.revision"), ("generic", "model.revision")}

CASES = [(kind, field) for kind in KINDS for field in FIELDS if (kind, field) not in NOT_ASKED]


def changed(kind: str, field: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The profile's table without the field and with it."""
    base = {key: dict(value) if isinstance(value, dict) else value for key, value in KINDS[kind].items()}
    place, _, key = field.partition(".")
    if place == "model":
        base["model"] = {**base.get("model", {}), "path": None, "repo": "acme/deepseek-v4-flash"}
        base["model"].pop("in_image", None)
    else:
        base["model"] = {**base.get("model", {}), "served_name": "deepseek-v4-flash"}
    split = 1
    if place == "parallel" and "parallel" not in base:
        split = FIELDS[field] if key != "expert" else 2
        base |= {"gpus": {"count": split}, "parallel": {"tensor": 1 if key in {"pipeline", "data"} else split}}
    value = FIELDS[field]
    if place == "speculative":
        # DeepSeek V4 refuses most methods, for reasons of its own: another model shows what the engine takes.
        base["model"] = {**base["model"], "served_name": "small"}
        return base, {**base, "speculative": value}
    alone = {"tensor": None} if place == "parallel" and base.get("parallel", {}) is None else {}
    with_it = {**base, place: {**alone, **(base.get(place) or {}), key: value}}
    if place == "parallel" and split > 1 and key in {"tensor", "pipeline", "data"}:
        base |= {"gpus": {"count": 1}, "parallel": {"tensor": 1}}
    return base, with_it


def told(table: dict[str, Any]) -> bytes:
    """Everything that a deployment is told and asked: its containers, its health, the completion, and what a person is told."""
    made = profile(**table)
    found = spec(made, RigFacts((), driver_version=None) if made.gpus is None else None)
    return encode((found.containers, found.health, found.completion, found.caveats))


@pytest.mark.parametrize(("kind", "field"), CASES)
def test_a_typed_field_changes_something_or_is_refused_by_name(kind: str, field: str) -> None:
    without, with_it = changed(kind, field)
    key = field if not field.startswith("speculative") else "speculative"
    try:
        same = told(without) == told(with_it)
    except ValidationError as error:
        message = str(error)
        assert field in REFUSED[kind], message
        assert f"{key}: " in message
        assert "(source: " in message
        return
    assert field not in REFUSED[kind]
    assert not same, f"{kind} ignores {field}"


def test_every_typed_field_of_a_profile_is_asked_about() -> None:
    fields = {
        f"{table}.{name}"
        for table, part in (("parallel", Parallel), ("serving", Serving))
        for name in part.model_fields
    }

    assert fields <= set(FIELDS)


def test_every_engine_is_asked() -> None:
    engines = set(get_args(Profile.model_fields["engine"].annotation))

    assert {kind.partition(" ")[0] for kind in KINDS} == engines - {
        "hosted"
    }  # which the schema gives no server's key at all


def rows() -> Iterator[tuple[str, str]]:
    for kind, items in UNMAPPED.items():
        for item in items:
            for key in item.keys:
                yield kind, key


@pytest.mark.parametrize(("kind", "key"), list(rows()))
def test_a_refusal_speaks_of_a_key_that_there_is(kind: str, key: str) -> None:
    shape: Any = Profile
    for name in key.split("."):
        shape = {"parallel": Parallel, "serving": Serving}.get(name) or shape.model_fields[name].annotation

    assert kind in KINDS


def test_every_refusal_has_a_source_and_a_day() -> None:
    assert all(item.source and item.as_of for items in UNMAPPED.values() for item in items)


# -- TensorRT-LLM's own file --------------------------------------------------------------------------------------------


def file_of(kind: str, **changes: Any) -> dict[str, Any]:
    """What TensorRT-LLM's own file says."""
    server = spec(profile(**KINDS[kind], **changes)).server
    found: dict[str, Any] = json.loads(dict(server.env)["LAUNCHPAD_ENGINE_CONFIG"])
    return found


@pytest.mark.parametrize("kind", ["trtllm", "dynamo trtllm"])
def test_typed_fields_join_what_the_file_says_already(kind: str) -> None:
    said = file_of(
        kind,
        serving={"kv_cache_dtype": "fp8", "cuda_graphs": False, "custom_all_reduce": False},
        engine_config={"kv_cache_config": {"tokens_per_block": 128}},
    )

    assert said == {
        "kv_cache_config": {"tokens_per_block": 128, "dtype": "fp8"},
        "cuda_graph_config": None,
        "allreduce_strategy": "NCCL",
    }


def test_a_file_that_typed_fields_alone_fill_is_read() -> None:
    assert "--config" in spec(profile(**KINDS["trtllm"], serving={"kv_cache_dtype": "fp8"})).server.command


@pytest.mark.parametrize("kind", ["trtllm", "dynamo trtllm"])
@pytest.mark.parametrize(
    ("typed", "file", "says"),
    [
        (
            {"serving": {"context_length": 4096}},
            {"max_seq_len": 8192},
            "engine_config.max_seq_len: says otherwise than",
        ),
        (
            {"serving": {"kv_cache_dtype": "fp8"}},
            {"kv_cache_config": {"dtype": "auto"}},
            "engine_config.kv_cache_config.dtype: says otherwise than serving.kv_cache_dtype",
        ),
        ({"serving": {"kv_cache_dtype": "fp8"}}, {"kv_cache_config": 7}, "engine_config.kv_cache_config.dtype: says"),
        (
            {"serving": {"cuda_graphs": False}},
            {"cuda_graph_config": {}},
            "engine_config.cuda_graph_config: says otherwise",
        ),
        (
            {"parallel": {"tensor": 2}},
            {"tensor_parallel_size": 4},
            "engine_config.tensor_parallel_size: says otherwise",
        ),
        ({"entrypoint": ["sh"]}, {"stream_interval": 10}, "entrypoint: would replace the words that write"),
    ],
)
def test_what_the_file_says_otherwise_is_refused(
    kind: str, typed: dict[str, Any], file: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValidationError, match=says):
        profile(**KINDS[kind], **typed, engine_config=file)


def test_what_the_file_says_alike_is_not_refused() -> None:
    assert file_of("trtllm", serving={"max_running_requests": 4}, engine_config={"max_batch_size": 4})


# -- a NIM --------------------------------------------------------------------------------------------------------------


def test_a_nim_is_asked_in_the_mode_that_its_profile_names() -> None:
    made = spec(
        profile(
            **KINDS["nim"] | {"model": {"path": None, "in_image": "/n", "served_name": "deepseek-v4-flash"}},
            serving={"reasoning": "non-think"},
        )
    )

    assert made.completion.extra == {"chat_template_kwargs": {"thinking": False}}


@pytest.mark.parametrize("args", [{}, {"gpu-memory-utilization": 0.9}, {"gpu-memory-utilization": True}])
def test_a_share_of_a_nim_is_refused_where_the_engine_inside_is_not_told(args: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"gpus\.share: cannot be kept"):
        profile(**KINDS["nim"], engine_args=args, gpus={"share": 0.5})


def test_a_share_of_a_nim_is_kept_where_the_engine_inside_is_told() -> None:
    assert profile(**KINDS["nim"], engine_args={"gpu-memory-utilization": 0.4}, gpus={"share": 0.5})
