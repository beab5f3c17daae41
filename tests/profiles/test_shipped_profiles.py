"""The profiles that come with launchpad: sound, sourced, explained, and what EXAMPLE.toml promises."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from launchpad.engines.base import model_path
from launchpad.profiles.catalog import Catalog, json_schema, shipped_profiles
from launchpad.profiles.explain import known_keys
from launchpad.profiles.schema import FORMS, Profile
from launchpad.rig.catalog import RigCatalog
from tests.deploy.specs import shipped
from tests.profiles.bad_profiles import SOUND
from tests.profiles.own_rigs import OWN_RIG

CATALOG = Catalog((shipped_profiles(),))
FILES = sorted(path.stem for path in shipped_profiles().glob("*.toml"))
EXAMPLE = (shipped_profiles() / "EXAMPLE.toml").read_text()
ROOT = Path(__file__).parents[2]
#: A URL, a file of this repository, or a file of a named release.
CITABLE = re.compile(r"https://[\w.-]+/|(?:docs|tests)/\S+\.\w+|\w+ \d+\.\d+\.\d+ source distribution, \S+/\S+\.\w+")


def test_the_shipped_profiles_are_these() -> None:
    assert CATALOG.names() == (
        "demo-dynamo-mocker",
        "demo-vllm-cpu",
        "qwen3-embedding-vllm-shared",
        "v4-flash-deepseek-api",
        "v4-flash-dynamo-trtllm-gb300",
        "v4-flash-nim",
        "v4-flash-nvidia-hosted",
        "v4-flash-sglang-h200-tp2",
        "v4-flash-sglang-tp2",
        "v4-flash-sglang-tp4",
        "v4-flash-sglang-tp4-dp2",
        "v4-flash-sglang-tp4-max-q",
        "v4-flash-sglang-tp4-shared",
        "v4-flash-trtllm-gb300",
        "v4-flash-vllm-sm120-fork",
        "v4-flash-vllm-tp2",
        "v4-flash-vllm-tp4",
        "v4-flash-vllm-tp8",
        "v4-pro-dynamo-trtllm-gb300",
    )


def test_every_shipped_file_is_sound() -> None:
    assert CATALOG.check() == []


@pytest.mark.parametrize("name", FILES)
def test_every_shipped_profile_says_what_it_rests_on(name: str) -> None:
    claims = CATALOG.load(name).profile.claims

    assert claims
    assert all(claim.source and claim.as_of for claim in claims)


@pytest.mark.parametrize("name", FILES)
def test_every_shipped_profile_says_how_far_it_was_proven_and_where_that_can_be_looked_up(name: str) -> None:
    standing = CATALOG.load(name).profile.standing

    assert standing is not None
    assert CITABLE.match(standing.source)


@pytest.mark.parametrize("name", FILES)
def test_a_source_inside_the_repository_is_there(name: str) -> None:
    standing = CATALOG.load(name).profile.standing
    inside = re.match(r"(?:docs|tests)/\S+", standing.source) if standing is not None else None

    assert inside is None or (ROOT / inside[0]).is_file()


@pytest.mark.parametrize("source", ["somebody said so", "the internet", "users' files", "https://"])
def test_what_cannot_be_looked_up_is_no_source(source: str) -> None:
    assert not CITABLE.match(source)


@pytest.mark.parametrize("name", [name for name in CATALOG.names() if not name.startswith("demo-")])
def test_only_a_demo_passes_for_measured_where_no_card_of_its_kind_was_at_hand(name: str) -> None:
    standing = CATALOG.load(name).profile.standing

    assert standing is not None
    assert (standing.status, "by us" in standing.says) in {("verified", True), ("composed", True)}


@pytest.mark.parametrize("name", CATALOG.names())
def test_a_summary_leaves_the_status_to_its_own_line(name: str) -> None:
    summary = CATALOG.load(name).profile.summary

    assert not [word for word in ("verified", "measured", "composed") if word in summary]


def test_a_nim_says_how_to_see_its_layouts_with_the_image_it_runs() -> None:
    profile = CATALOG.load("v4-flash-nim").profile

    assert [caveat for caveat in profile.caveats if f"{profile.own_image.reference} list-model-profiles" in caveat]


@pytest.mark.parametrize("name", [name for name, own in OWN_RIG.items() if own is not None])
def test_every_shipped_profile_for_gpus_says_what_is_known_of_the_driver(name: str) -> None:
    profile = CATALOG.load(name).profile
    subjects = [claim.about for claim in profile.claims]

    assert "driver" in subjects or [caveat for caveat in profile.caveats if "driver" in caveat]


@pytest.mark.parametrize("name", FILES)
def test_every_claim_speaks_of_a_key_or_of_a_known_subject(name: str) -> None:
    keys = {".".join(path) for path in known_keys()} | {"driver", "speed", "serving and engine_args"}

    assert {claim.about for claim in CATALOG.load(name).profile.claims} <= keys


@pytest.mark.parametrize("name", FILES)
def test_no_shipped_profile_opens_the_server_to_the_network(name: str) -> None:
    publish = CATALOG.load(name).profile.publish

    assert publish is None or publish.host == "127.0.0.1"


def test_every_shipped_profile_that_needs_gpus_is_made_for_a_recorded_rig() -> None:
    needs = {name for name in CATALOG.names() if CATALOG.load(name).profile.gpus is not None}

    assert {name for name, own in OWN_RIG.items() if own is not None} == needs
    assert {own for own in OWN_RIG.values() if own is not None} <= set(RigCatalog(()).names())


@pytest.mark.parametrize("name", [name for name in CATALOG.names() if not name.startswith("demo-")])
def test_a_shipped_profile_says_how_it_asks_the_model_to_think_where_it_thinks(name: str) -> None:
    profile = CATALOG.load(name).profile

    assert profile.serving.reasoning == (None if profile.probes.completion.kind == "embedding" else "non-think")


@pytest.mark.parametrize("name", [name for name, own in OWN_RIG.items() if own is not None])
def test_how_it_asks_is_known_of_its_engine_and_model(name: str) -> None:
    assert not [caveat for caveat in shipped(name).caveats if "says no reasoning mode" in caveat]


@pytest.mark.parametrize("name", [name for name in CATALOG.names() if "nim" not in name])
def test_engine_arguments_repeat_nothing_that_has_a_key_of_its_own(name: str) -> None:
    profile = CATALOG.load(name).profile
    rendered = {
        "model", "model-path", "served-model-name", "tp-size", "tensor-parallel-size", "host", "port", "trust-remote-code",
        "context-length", "max-model-len", "mem-fraction-static", "gpu-memory-utilization", "kv-cache-dtype", "enable-metrics",
        "enable-expert-parallel", "enable-auto-tool-choice",
        "disable-custom-all-reduce", "reasoning-parser", "tool-call-parser", "max-num-seqs",
    }  # fmt: skip

    assert not rendered & profile.engine_args.keys()


@pytest.mark.parametrize(
    ("name", "retired"),
    [
        ("v4-flash-sglang-tp4", {"max-total-tokens", "attention-backend", "cuda-graph-max-bs", "tp"}),
        ("v4-flash-vllm-tp4", {"use_fp4_indexer_cache", "attention-backend"}),
    ],
)
def test_no_flag_that_the_well_known_commands_get_wrong_is_used(name: str, retired: set[str]) -> None:
    assert not retired & CATALOG.load(name).profile.engine_args.keys()


def test_the_verified_layout_differs_from_the_composed_one_only_where_two_cards_do() -> None:
    four, two = (CATALOG.load(f"v4-flash-sglang-tp{n}").profile for n in (4, 2))
    differs = {name for name in Profile.model_fields if getattr(four, name) != getattr(two, name)}

    assert differs == {"summary", "caveats", "standing", "gpus", "parallel", "serving", "power", "claims"}


# -- EXAMPLE.toml ------------------------------------------------------------------------------------------------------


def uncommented(text: str) -> str:
    """``text`` with the keys that stand in it as comments (# and no space) made real."""
    return re.sub(r"(?m)^#(?=[a-z_\[])", "", text)


def names_of(table: Any, schema_keys: set[tuple[str, ...]], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """The key paths of ``table`` as the schema names them: without list indices and names of the user's own."""
    found: set[tuple[str, ...]] = set()
    if isinstance(table, list):
        return found.union(*(names_of(item, schema_keys, path) for item in table))
    for key, value in table.items() if isinstance(table, dict) else ():
        here = (*path, key) if (*path, key) in schema_keys else path
        found |= {here} | names_of(value, schema_keys, here)
    return found


def test_example_names_every_key_of_the_schema() -> None:
    schema_keys = set(known_keys())

    assert schema_keys - names_of(tomllib.loads(uncommented(EXAMPLE)), schema_keys) == set()


def test_the_check_of_example_notices_a_missing_key() -> None:
    schema_keys = set(known_keys())
    without = uncommented(EXAMPLE).replace("budget_w = ", "budget_kw = ")

    assert schema_keys - names_of(tomllib.loads(without), schema_keys) == {("power", "budget_w")}


def test_the_keys_that_example_comments_out_exclude_others_and_are_right_in_themselves(tmp_path: Any) -> None:
    path = tmp_path / "all.toml"
    path.write_text(re.sub(r"(?m)^extends = .*$", "", uncommented(EXAMPLE)))

    assert [line.split(": ", 1)[1] for line in CATALOG.check([path])] == [
        "hosted.key: needs exactly one of from_env and from_file",
        "model: needs exactly one of path, repo and in_image; has path and repo and in_image",
        "gpus: needs exactly one of count, indices and uuids; has count and indices and uuids",
        "secrets.HF_TOKEN: needs exactly one of from_env and from_file",
    ]


# -- the JSON Schema ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_every_shipped_file_satisfies_the_json_schema(name: str) -> None:
    table = tomllib.loads((shipped_profiles() / f"{name}.toml").read_text())
    for said in (table["standing"], *table["claims"]):
        said["as_of"] = said["as_of"].isoformat()  # editors validate TOML's dates as text

    jsonschema.Draft202012Validator(json_schema()).validate(table)


@pytest.mark.parametrize("line", ["format = 2", "sumary = 1", 'engine = "vlm"', "format = 1\nports = 1"])
def test_the_json_schema_refuses_what_the_loader_refuses(line: str) -> None:
    table = tomllib.loads(SOUND) | tomllib.loads(line)

    assert list(jsonschema.Draft202012Validator(json_schema()).iter_errors(table))


def test_the_json_schema_lets_a_layer_leave_out_what_its_base_says() -> None:
    table = tomllib.loads('extends = "small"\n[publish]\nhost = "0.0.0.0"\n')

    jsonschema.Draft202012Validator(json_schema()).validate(table)


def test_the_json_schema_is_itself_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_defaults_in_the_json_schema_are_spelled_as_people_write_them() -> None:
    deadlines = json_schema()["$defs"]["Deadlines"]["properties"]

    assert {key: deadlines[key]["default"] for key in deadlines} == {
        "startup": "1h",
        "stall": "15m",
        "stop_grace": "2m",
        "stable": "10m",
        "hang": "5m",
    }


def described(schema: Any, place: str = "") -> set[str]:
    """The places of properties that carry no description."""
    found = set()
    for name, part in schema.get("properties", {}).items():
        if "description" not in part and "$ref" not in part and "anyOf" not in part and "items" not in part:
            found.add(f"{place}{name}")
    return found


def test_every_plain_key_of_the_schema_is_described() -> None:
    schema = json_schema()

    assert described(schema).union(*(described(part, f"{name}.") for name, part in schema["$defs"].items())) == set()


def test_every_form_that_text_may_have_is_explained_in_words() -> None:
    patterns = set(re.findall(r"'pattern': '((?:[^'\\]|\\.)*)'", str(Profile.model_json_schema())))

    assert len(patterns) >= 10
    assert {pattern.encode().decode("unicode_escape") for pattern in patterns} <= set(FORMS)


def test_the_example_says_where_the_container_sees_the_model() -> None:
    seen = model_path(CATALOG.load("EXAMPLE").profile)

    assert seen in EXAMPLE
    assert set(re.findall(r"(?<![\w/])/models?/", EXAMPLE)) == {"/models/"}
