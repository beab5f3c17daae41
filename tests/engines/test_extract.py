"""What the extractor reads in the sources of real releases, against what those releases' own parsers say.

``data/schemas`` holds the sources and the truth, and says how both were made. Hostile sources end in one clear error.
"""

from __future__ import annotations

import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from launchpad.engines.extract import extract, wanted_files
from launchpad.engines.schemas import Argument, ArgumentSchema, EngineName, load_schema
from launchpad.errors import ImageError

DATA = Path(__file__).parent / "data" / "schemas"
FIXTURES = sorted(path.name.removesuffix(".tar.xz") for path in DATA.glob("*.tar.xz"))
#: Releases that no shipped schema was made from.
HELD_OUT = {"sglang-0.5.10.post1", "sglang-0.5.11", "vllm-0.19.1", "vllm-0.20.1"}

#: Flags whose choices the source leaves open: they depend on the machine, or on code that is not simple.
OPEN_CHOICES = {"--mm-processor-device", "--collect-detailed-traces"}

KINDS = {"_StoreTrueAction": "switch", "_StoreFalseAction": "switch", "EnableDisableAction": "pair"}
KINDS |= {"BooleanOptionalAction": "pair"}
TYPES = {"int": "int", "float": "float", "str": "str", None: "str", "human_readable_int": "size"}
TYPES |= {"human_readable_int_or_auto": "size-or-auto", "json_list_type": "json", "loads": "json"}


@cache
def unpacked(name: str) -> dict[str, str]:
    with tarfile.open(DATA / f"{name}.tar.xz") as archive:
        return {
            item.name: stream.read().decode("utf-8", "replace")
            for item in archive.getmembers()
            if (stream := archive.extractfile(item)) is not None
        }


def named(name: str) -> tuple[EngineName, str]:
    engine, _, version = name.partition("-")
    return ("sglang" if engine == "sglang" else "vllm"), version


@cache
def extracted(name: str) -> ArgumentSchema:
    engine, version = named(name)
    return extract(engine, unpacked(name), version)


def truth(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(unpacked(name)["truth.json"])["actions"]
    return found


def pairs(name: str) -> list[tuple[dict[str, Any], Argument]]:
    """Every action of the real parser with what was read for its first option string."""
    read = extracted(name).option_strings()
    return [
        (action, read[action["flags"][0]]) for action in truth(name) if action["flags"] and action["flags"][0] in read
    ]


def test_the_releases_tested_are_four_and_more_of_each_engine_and_two_of_each_that_no_schema_was_made_from() -> None:
    for engine in ("sglang", "vllm"):
        mine = {name for name in FIXTURES if name.startswith(engine)}
        assert len(mine - HELD_OUT) >= 4
        assert len(mine & HELD_OUT) == 2
    assert all(load_schema(*named(name)) is None for name in HELD_OUT)


@pytest.mark.parametrize("name", FIXTURES)
def test_every_option_string_of_the_real_parser_is_found_and_no_other(name: str) -> None:
    real = {flag for action in truth(name) for flag in action["flags"]}
    beside = {"--model-type"}  # taken by `sglang serve` before its parser sees the words

    assert set(extracted(name).option_strings()) - beside == real


@pytest.mark.parametrize("name", FIXTURES)
def test_every_argument_takes_as_many_words_as_the_real_one(name: str) -> None:
    def kind(action: dict[str, Any]) -> str:
        by_count = {0: "switch", "?": "optional", None: "value"}
        return KINDS.get(action["action"]) or by_count.get(action["nargs"], "list")

    wrong = [
        (action["flags"], read.kind)
        for action, read in pairs(name)
        if ("value" if read.kind == "json" else read.kind) != kind(action)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", FIXTURES)
def test_every_choice_is_the_real_one_where_the_source_states_it(name: str) -> None:
    def wrong(action: dict[str, Any], read: Argument) -> bool:
        real = None if action["choices"] is None else {str(choice) for choice in action["choices"]}
        return (None if read.choices is None else set(read.choices)) != real

    assert {action["flags"][0] for action, read in pairs(name) if wrong(action, read)} <= OPEN_CHOICES


@pytest.mark.parametrize("name", FIXTURES)
def test_every_value_is_read_as_the_real_parser_reads_it(name: str) -> None:
    wrong = [
        (action["flags"][0], read.type, action["type"])
        for action, read in pairs(name)
        if read.kind not in {"switch", "pair"} and action["type"] in TYPES and read.type != TYPES[action["type"]]
    ]
    assert wrong == []


@pytest.mark.parametrize("name", FIXTURES)
def test_every_destination_is_the_real_one(name: str) -> None:
    assert [(action["flags"][0], read.dest) for action, read in pairs(name) if read.dest != action["dest"]] == []


@pytest.mark.parametrize("name", FIXTURES)
def test_the_variables_that_a_release_declares_are_found(name: str) -> None:
    real = set(json.loads(unpacked(name)["truth.json"])["env"])

    assert real <= set(extracted(name).variables())


@pytest.mark.parametrize("name", FIXTURES)
def test_an_image_inspector_copies_what_is_needed(name: str) -> None:
    engine, _ = named(name)
    wanted = wanted_files(engine)

    assert all(wanted(f"usr/lib/python3/dist-packages/{path}") for path in unpacked(name) if path.endswith(".py"))
    assert not wanted(f"opt/{engine}/server_args.txt")


@pytest.mark.parametrize("name", sorted(set(FIXTURES) - HELD_OUT))
def test_the_shipped_schema_is_what_these_sources_say(name: str) -> None:
    shipped = load_schema(*named(name))

    assert shipped is not None
    assert shipped.arguments == extracted(name).arguments
    assert shipped.sha256 == json.loads(unpacked(name)["origin.json"])["sha256"]


def test_any_folder_may_stand_before_the_package() -> None:
    files = {f"sgl-workspace/sglang/python/{path}": text for path, text in unpacked("sglang-0.5.23").items()}

    assert extract("sglang", files, "0.5.23") == extracted("sglang-0.5.23")


# --- hostile and broken sources ---------------------------------------------------------------------------------------------

SGLANG = "sglang/srt/server_args.py"
HEAD = "class ServerArgs:\n    @staticmethod\n    def add_cli_args(parser):\n"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("def (:", "not Python"),
        ("x = 1\0", "not Python"),
        ("x = " + "(" * 5_000 + ")" * 5_000, "not Python|nested too deeply"),
        ("x = " + "-" * 100_000 + "1", "nested too deeply"),
        ("x = a" + ".b" * 100_000, "nested too deeply"),
        ("#" * 4_000_001, "more than"),
        ("x = 1", "no class ServerArgs"),
        ("class ServerArgs:\n    pass", "no add_cli_args"),
        (HEAD + "        pass", "none that can be read"),
        (HEAD + "        ServerArgs.add_cli_args(parser)", "too large or nests too deeply"),
        (HEAD + "        for a in range(9):\n            parser.add_argument(a)", "none that can be read"),
        (HEAD + "        x = [1, 1, 1, 1, 1, 1, 1, 1]\n" + "        x = x + x\n" * 40, "too large"),
        (
            HEAD + "".join(f"{' ' * (8 + i)}for a{i} in [1,2,3,4,5,6,7,8,9]:\n" for i in range(12)) + " " * 30 + "pass",
            "too large",
        ),
        ("import sglang.srt.server_args as s\nServerArgs = s.ServerArgs", "no class ServerArgs"),
    ],
)
def test_a_hostile_source_ends_in_one_clear_error(text: str, cause: str) -> None:
    with pytest.raises(ImageError, match=cause):
        extract("sglang", {SGLANG: text}, "0")


def test_an_image_without_the_engine_says_which_file_was_looked_for() -> None:
    with pytest.raises(ImageError, match=r"cannot read the arguments of vllm 1\.0: no vllm/engine/arg_utils\.py"):
        extract("vllm", {"etc/passwd": ""}, "1.0")


def test_what_cannot_be_read_is_unknown_and_the_rest_is_kept() -> None:
    text = HEAD + (
        "        parser.add_argument('--plain', type=int, default=3)\n"
        "        parser.add_argument('--dynamic', choices=plugin.load())\n"
        "        parser.add_argument(*names(), help='nobody knows')\n"
    )
    found = extract("sglang", {SGLANG: text}, "0").arguments

    assert found == (
        Argument(("--plain",), "plain", "value", "int", default="3"),
        Argument(("--dynamic",), "dynamic", "value", "str"),
    )
