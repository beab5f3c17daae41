"""Whatever bytes a profile file holds, the loader answers with a profile or a ProfileError of printable lines."""

from __future__ import annotations

import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launchpad.errors import ProfileError
from launchpad.profiles.catalog import Catalog, Loaded, shipped_profiles
from launchpad.profiles.source import LARGEST_FILE, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = [path.read_bytes() for path in sorted(shipped_profiles().glob("*.toml"))]
FRAGMENTS = [
    b'"', b"'", b'"""', b"'''", b"[", b"]", b"[[", b"]]", b"{", b"}", b"=", b".", b",", b"#", b"\n", b"\r\n", b"\\", b"\\u0000",
    b"\0", b"\xff", b"\xef\xbb\xbf", b"true", b"nan", b"-inf", b"1e400", b"0x", b"2026-02-30", b"[gpus]\n", b"[[gpus]]\n",
    b"extends = 'x'\n", b"extends = 'fuzz'\n", b"a.b.c = 1\n", b"[" * 500, b"x." * 200, b"9" * 5000, "ü\u202e\u0000".encode(),
]  # fmt: skip
QUICK = settings(max_examples=250)


def load(data: bytes) -> Loaded | ProfileError:
    """What the loader answers to a file of these bytes."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "fuzz.toml").write_bytes(data)
        try:
            return Catalog((Path(folder),)).load("fuzz")
        except ProfileError as error:
            return error


def assert_clear(answer: Loaded | ProfileError) -> None:
    if isinstance(answer, ProfileError):
        assert answer.problems
        assert all(line.isprintable() and "fuzz.toml" in line and len(line) < 1000 for line in answer.problems)


@given(data=st.binary(max_size=400))
@QUICK
def test_random_bytes_load_or_are_refused_clearly(data: bytes) -> None:
    assert_clear(load(data))


@given(
    pieces=st.lists(
        st.sampled_from(FRAGMENTS) | st.text("ab=[]{}.,#'\"\\ \n1", max_size=6).map(str.encode), max_size=30
    )
)
@QUICK
def test_broken_toml_loads_or_is_refused_clearly(pieces: list[bytes]) -> None:
    assert_clear(load(b"".join(pieces)))


@given(
    profile=st.sampled_from(SHIPPED),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 40), st.sampled_from(FRAGMENTS) | st.binary(max_size=4)), max_size=4
    ),
)
@QUICK
def test_mutated_profiles_load_or_are_refused_clearly(profile: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    for where, cut, put in edits:
        at = int(where * len(profile))
        profile = profile[:at] + put + profile[at + cut :]
    assert_clear(load(profile))


@given(
    profile=st.sampled_from(SHIPPED),
    value=st.sampled_from(["-1", '""', "[]", "{}", "true", "1.5", '"\\u0007"', "2026-11-22"]),
    at=st.integers(0),
)
@QUICK
def test_a_profile_with_another_value_somewhere_loads_or_is_refused_clearly(
    profile: bytes, value: str, at: int
) -> None:
    lines = profile.decode().splitlines()
    assignments = [number for number, line in enumerate(lines) if " = " in line and not line.startswith(("#", " "))]
    number = assignments[at % len(assignments)]
    lines[number] = f"{lines[number].split(' = ')[0]} = {value}"
    assert_clear(load("\n".join(lines).encode()))


def key_paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*path, key)
        yield from key_paths(below, (*path, key))


KEYS = st.sampled_from(["a", "b", "c-d", '"e f"', "'g.h'", '"\\u00fc"', "1"])
DOTTED = st.lists(KEYS, min_size=1, max_size=3).map(".".join)
SCALARS = st.sampled_from(
    [
        "1",
        "-2.5e3",
        "true",
        '"x # = [ \\" y"',
        "'C:\\'",
        '"""two\nlines ""x"" """""',
        "'''a\n'b'''",
        "2026-11-22 10:00:00",
        "{ }",
        "[ ]",
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[ " + ", # c ] }\n  ".join(items) + " ]")
        | st.dictionaries(KEYS, inner, max_size=3).map(
            lambda table: "{ " + ", ".join(f"{k} = {v}" for k, v in table.items()) + " }"
        )
    ),
    max_leaves=6,
)
STATEMENTS = (
    st.tuples(DOTTED, VALUES).map(" = ".join)
    | DOTTED.map("[{}]".format)
    | DOTTED.map("[[{}]]".format)
    | st.just("# [a]")
)


@given(statements=st.lists(STATEMENTS, max_size=12))
@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_every_key_that_tomllib_reads_has_a_line(statements: list[str]) -> None:
    text = "\n".join(statements)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return

    assert set(lines_of(text).known) == set(key_paths(table))


@pytest.mark.parametrize("data", SHIPPED)
def test_each_line_of_a_shipped_profile_is_the_one_that_names_its_key(data: bytes) -> None:
    lines = data.decode().splitlines()

    for path, line in lines_of(data.decode()).known.items():
        names = [part for part in path if isinstance(part, str)]
        assert isinstance(path[-1], int) or names[-1] in lines[line - 1]


def test_a_file_of_a_mebibyte_less_a_byte_is_read() -> None:
    assert isinstance(load(SHIPPED[1] + b"#" * (LARGEST_FILE - len(SHIPPED[1]) - 1)), Loaded)
