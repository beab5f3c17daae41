"""From a profile's words to an engine's: every typed field in every engine, on and off, and what stays the profile's own."""

from __future__ import annotations

from typing import Any

import pytest

from launchpad.engines import engine
from launchpad.engines.base import Health, Seat, flags, typed
from launchpad.profiles.schema import Parallel, Serving
from launchpad.runtime.base import ContainerSpec, Mount
from tests.deploy.specs import gpu, profile

SEAT = Seat("small", (gpu(0), gpu(1)), "launchpad-cache-1", "sha256:1")
ALWAYS = {
    "sglang": "sglang serve --model-path /models/small --served-model-name small --host 0.0.0.0 --port 30000",
    "vllm": "/models/small --served-model-name small --host 0.0.0.0 --port 8000",
}


def rendered(name: str = "sglang", seat: Seat = SEAT, **changes: Any) -> ContainerSpec:
    """The one container of SMALL and what is changed, for an engine."""
    (made,) = engine(name).render(profile(**{"engine": name, **changes}), seat)
    return made


def bare(name: str, **changes: Any) -> str:
    """The words beyond those that are always there, for one GPU without a typed field."""
    words = " ".join(
        rendered(
            name, **{"gpus": {"count": 1}, "parallel": None, "serving": {"metrics": name == "vllm"}, **changes}
        ).command
    )
    assert words.startswith(ALWAYS[name])
    return words.removeprefix(ALWAYS[name]).strip()


# -- typed fields ------------------------------------------------------------------------------------------------------------

#: field -> (value, SGLang's words, vLLM's words)
SERVING: dict[str, tuple[Any, str, str]] = {
    "context_length": (4096, "--context-length 4096", "--max-model-len 4096"),
    "max_running_requests": (16, "--max-running-requests 16", "--max-num-seqs 16"),
    "memory_fraction": (0.85, "--mem-fraction-static 0.85", "--gpu-memory-utilization 0.85"),
    "kv_cache_dtype": ("fp8", "--kv-cache-dtype fp8", "--kv-cache-dtype fp8"),
    "trust_remote_code": (True, "--trust-remote-code", "--trust-remote-code"),
    "custom_all_reduce": (False, "--disable-custom-all-reduce", "--disable-custom-all-reduce"),
    "cuda_graphs": (
        False,
        "--cuda-graph-backend-decode disabled --cuda-graph-backend-prefill disabled",
        "--enforce-eager",
    ),
    "reasoning_parser": ("r1", "--reasoning-parser r1", "--reasoning-parser r1"),
    "tool_call_parser": ("t1", "--tool-call-parser t1", "--tool-call-parser t1 --enable-auto-tool-choice"),
    "metrics": (True, "--enable-metrics", ""),
}
#: field -> (what the profile's parallel table says, how many GPUs that is, SGLang's words, vLLM's words)
PARALLEL: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "tensor": ({"tensor": 4}, 4, "--tp-size 4", "--tensor-parallel-size 4"),
    "pipeline": ({"pipeline": 2}, 2, "--pp-size 2", "--pipeline-parallel-size 2"),
    "data": ({"data": 2}, 2, "--dp-size 2", "--data-parallel-size 2"),
    "expert": (
        {"tensor": 2, "expert": True},
        2,
        "--tp-size 2 --ep-size 2",
        "--tensor-parallel-size 2 --enable-expert-parallel",
    ),
}


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_with_no_typed_field_an_engine_is_told_only_what_it_must_know(name: str) -> None:
    assert bare(name) == ""


def test_the_tables_below_miss_no_field() -> None:
    assert (set(SERVING), set(PARALLEL)) == (set(Serving.model_fields), set(Parallel.model_fields))


@pytest.mark.parametrize("field", SERVING)
def test_a_serving_field_becomes_sglangs_flag(field: str) -> None:
    assert bare("sglang", serving={"metrics": False, field: SERVING[field][0]}) == SERVING[field][1]


@pytest.mark.parametrize("field", SERVING)
def test_a_serving_field_becomes_vllms_flag(field: str) -> None:
    assert bare("vllm", serving={field: SERVING[field][0]}) == SERVING[field][2]


@pytest.mark.parametrize("field", PARALLEL)
def test_a_parallel_field_becomes_sglangs_flag(field: str) -> None:
    says, count, words, _ = PARALLEL[field]

    assert bare("sglang", gpus={"count": count}, parallel={"tensor": 1, **says}) == words


@pytest.mark.parametrize("field", PARALLEL)
def test_a_parallel_field_becomes_vllms_flag(field: str) -> None:
    says, count, _, words = PARALLEL[field]

    assert bare("vllm", gpus={"count": count}, parallel={"tensor": 1, **says}) == words


def test_vllm_is_told_when_nobody_wants_its_metrics() -> None:
    assert bare("vllm", serving={"metrics": False}) == "--disable-log-stats"


@pytest.mark.parametrize(("name", "port"), [("sglang", 30000), ("vllm", 8000), ("generic", 8000)])
def test_the_port_inside_is_the_engines_own_unless_the_profile_says(name: str, port: int) -> None:
    more: dict[str, Any] = {"command": ["x"], "probes": {"readiness": {"path": "/"}}} if name == "generic" else {}
    default = rendered(name, **more).ports[0].container_port
    said = rendered(name, **more, publish={"container_port": 7}).ports[0].container_port

    assert (default, said) == (port, 7)


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_the_engine_listens_on_the_port_that_is_published(name: str) -> None:
    made = rendered(name, publish={"container_port": 7})

    assert made.command[made.command.index("--port") + 1] == "7"


# -- the profile's own words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, ("--x",)),
        (False, ()),
        (3, ("--x", "3")),
        (0, ("--x", "0")),
        (-1, ("--x", "-1")),
        (0.5, ("--x", "0.5")),
        ("a b", ("--x", "a b")),
        ("", ("--x", "")),
        ([], ("--x",)),
        ([1, 2.5, "c"], ("--x", "1", "2.5", "c")),
        ({"b": [1, {"c": None}], "a": True}, ("--x", '{"a":true,"b":[1,{"c":null}]}')),
    ],
)
def test_an_engine_argument_becomes_words(value: Any, words: tuple[str, ...]) -> None:
    assert flags({"x": value}) == words


def test_engine_arguments_keep_the_profiles_order_and_follow_the_typed_ones() -> None:
    assert bare("sglang", serving={"metrics": True}, engine_args={"z": 1, "a": 2}) == "--enable-metrics --z 1 --a 2"


def test_a_typed_zero_is_a_value_and_none_and_false_are_not() -> None:
    assert typed(a_b=0, c=None, d=False, e=True) == {"a-b": 0, "e": True}


def test_vllms_entrypoint_is_said_aloud_and_a_profile_may_say_another() -> None:
    assert (rendered("vllm").entrypoint, rendered("vllm", entrypoint=["/run.sh"]).entrypoint) == (
        ("vllm", "serve"),
        ("/run.sh",),
    )


def test_sglang_keeps_the_images_entrypoint() -> None:
    assert rendered("sglang").entrypoint is None


# -- where the model is ----------------------------------------------------------------------------------------------------------

HUB = {"path": None, "repo": "org/model", "revision": "abc"}


@pytest.mark.parametrize(
    ("model", "told", "mounts"),
    [
        ({}, "/models/small", (Mount("bind", "/models/small", "/models/small", read_only=True),)),
        ({"path": "/a/b/c"}, "/models/c", (Mount("bind", "/a/b/c", "/models/c", read_only=True),)),
        ({"path": None, "in_image": "/opt/m"}, "/opt/m", ()),
        (HUB, "org/model", (Mount("volume", "launchpad-hub", "/hub", read_only=False),)),
    ],
    ids=["path", "another path", "in the image", "from the hub"],
)
@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_the_engine_is_told_where_the_model_is(
    name: str, model: dict[str, Any], told: str, mounts: tuple[Mount, ...]
) -> None:
    made = rendered(name, model=model)
    said = made.command[made.command.index("--model-path") + 1] if name == "sglang" else made.command[0]

    assert (said, made.mounts[:-1]) == (told, mounts)  # the last mount is the cache


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_a_model_of_the_hub_is_fetched_into_a_volume_of_its_own(name: str) -> None:
    made = rendered(name, model=HUB)

    assert dict(made.env)["HF_HOME"] == "/hub"
    assert made.command[made.command.index("--revision") + 1] == "abc"


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_a_model_on_this_rig_needs_no_hub(name: str) -> None:
    assert "HF_HOME" not in dict(rendered(name).env)


# -- environment and caches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_the_profiles_environment_wins(name: str) -> None:
    made = rendered(name, env={"TRITON_CACHE_DIR": "/mine", "N": 1}, model=HUB)

    assert (dict(made.env)["TRITON_CACHE_DIR"], dict(made.env)["N"]) == ("/mine", "1")


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_every_cache_lies_on_the_volume(name: str) -> None:
    made = rendered(name, cache={"mount": "/kernels/"})

    assert {value for _, value in made.env if not f"{value}/".startswith("/kernels/")} == set()
    assert made.mounts[-1] == Mount("volume", "launchpad-cache-1", "/kernels/", read_only=False)


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_without_a_cache_no_variable_moves_one(name: str) -> None:
    assert rendered(name, seat=Seat("small", (gpu(0), gpu(1)))).env == ()


def test_the_environment_is_sorted_so_that_its_order_is_no_change() -> None:
    one, other = ({"A": "1", "B": "2"}, {"B": "2", "A": "1"})

    assert rendered(env=one) == rendered(env=other)


# -- generic ---------------------------------------------------------------------------------------------------------------------


def test_a_generic_command_is_the_profiles_verbatim() -> None:
    made = rendered(
        "generic",
        command=["llama-server", "-m", "$MODEL", "--x y"],
        probes={"readiness": {"path": "/health"}},
        engine_args={},
        env={"A": "1"},
    )

    assert (made.command, made.env, made.entrypoint) == (
        ("llama-server", "-m", "$MODEL", "--x y"),
        (("A", "1"),),
        None,
    )


# -- health ------------------------------------------------------------------------------------------------------------------------


def health(name: str, **probes: Any) -> Health:
    """How an engine is asked under a profile's probes."""
    more = {"command": ["x"]} if name == "generic" else {}
    return engine(name).health(profile(engine=name, probes=probes, **more))


def test_sglang_is_asked_at_ready_and_where_that_is_unknown_at_health() -> None:
    assert health("sglang").ready_paths == ("/ready", "/health")


def test_sglangs_own_question_takes_up_to_twenty_seconds_and_is_given_more() -> None:
    assert (health("sglang").ready_timeout_s, health("sglang").live_timeout_s) == (25, 25)


def test_vllm_is_asked_at_health() -> None:
    assert health("vllm") == Health(("/health",), 5, "/health", 5, 5, 3)


def test_a_generic_server_lives_where_it_is_ready() -> None:
    assert health("generic", readiness={"path": "/up"}) == Health(("/up",), 5, "/up", 10, 10, 3)


@pytest.mark.parametrize("name", ["sglang", "vllm", "generic"])
def test_the_profiles_own_probes_win(name: str) -> None:
    made = health(
        name,
        readiness={"path": "/r", "timeout": "7s"},
        liveness={"path": "/l", "interval": "8s", "timeout": "9s", "failures": 10},
    )

    assert made == Health(("/r",), 7, "/l", 8, 9, 10)
