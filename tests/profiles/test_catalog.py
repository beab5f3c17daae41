"""Finding, layering and reading: which file a name means, what the layers make together, and files that are no files."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchpad.errors import NotFoundError, ProfileError
from launchpad.profiles.catalog import Catalog, search_path, shipped_profiles
from tests.profiles.bad_profiles import SOUND

if TYPE_CHECKING:
    from collections.abc import Iterator


def write(directory: Path, name: str, text: str = SOUND) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}.toml"
    path.write_text(text)
    return path


def problems_of(catalog: Catalog, name: str) -> tuple[str, ...]:
    with pytest.raises(ProfileError) as caught:
        catalog.load(name)
    return caught.value.problems


# -- the search path ---------------------------------------------------------------------------------------------------


def test_directories_are_searched_from_the_users_own_to_the_shipped() -> None:
    environ = {"LAUNCHPAD_PROFILES": "/a::/b", "XDG_CONFIG_HOME": "/x", "HOME": "/h"}

    assert search_path(environ) == (
        Path("/a"),
        Path("/b"),
        Path("/x/launchpad/profiles"),
        Path("/etc/launchpad/profiles"),
        shipped_profiles(),
    )


def test_without_xdg_the_home_directory_is_searched() -> None:
    assert search_path({"HOME": "/h"})[0] == Path("/h/.config/launchpad/profiles")


def test_a_relative_xdg_directory_is_ignored_as_its_standard_says() -> None:
    assert search_path({"XDG_CONFIG_HOME": "x", "HOME": "/h"})[0] == Path("/h/.config/launchpad/profiles")


def test_with_no_environment_at_all_the_shipped_profiles_are_found() -> None:
    assert "v4-flash-sglang-tp4" in Catalog(search_path({})).names()


def test_the_users_profile_wins_over_the_shipped_one_of_the_same_name(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", "small")
    write(tmp_path / "shipped", "small")

    assert Catalog((tmp_path / "mine", tmp_path / "shipped")).load("small").path == mine


def test_entries_say_which_profiles_are_shipped(tmp_path: Path) -> None:
    write(tmp_path / "mine", "one")
    write(tmp_path / "shipped", "two")
    catalog = Catalog((tmp_path / "mine", tmp_path / "shipped"), shipped=tmp_path / "shipped")

    assert [(entry.name, entry.shipped) for entry in catalog.entries()] == [("one", False), ("two", True)]


def test_a_profile_that_does_not_read_is_listed_with_its_error(tmp_path: Path) -> None:
    path = write(tmp_path, "bad", SOUND.replace("8000", "0").replace("format = 1", "format = 2"))

    (entry,) = Catalog((tmp_path,)).entries()

    assert entry.summary is None
    assert entry.error == f"{path}:1: format: must be 1; has 2 (and 1 more)"


def test_layers_and_examples_are_not_listed(tmp_path: Path) -> None:
    for name in ("_base", "EXAMPLE", ".hidden", "small"):
        write(tmp_path, name)

    assert Catalog((tmp_path,)).names() == ("small",)


def test_an_example_can_be_loaded_by_its_name(tmp_path: Path) -> None:
    write(tmp_path, "EXAMPLE")

    assert Catalog((tmp_path,)).load("EXAMPLE").name == "EXAMPLE"


def test_a_path_is_loaded_without_being_on_the_search_path(tmp_path: Path) -> None:
    path = write(tmp_path, "small")

    assert Catalog(()).load(str(path)).name == "small"


def test_listing_names_does_not_import_pydantic() -> None:
    script = (
        "import sys; from launchpad.profiles.catalog import Catalog, search_path; "
        "assert Catalog(search_path({})).names(); print('pydantic' in sys.modules, 'tomlkit' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "False False\n"


# -- names that are wrong ----------------------------------------------------------------------------------------------


def test_an_unknown_name_says_where_it_was_looked_for_and_what_was_meant(tmp_path: Path) -> None:
    write(tmp_path, "v4-flash")

    with pytest.raises(NotFoundError) as caught:
        Catalog((tmp_path,)).load("v4-flsh")

    assert caught.value.message == f'cannot find profile "v4-flsh": it is in none of {tmp_path}'
    assert caught.value.hint == "did you mean v4-flash?"


@pytest.mark.parametrize("name", ["", "..", "-rf", "a b", "a\0b", "ü", "a" * 5000, "\udcff", "*"])
def test_a_name_that_is_none_is_not_found(name: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="cannot find profile"):
        Catalog((tmp_path,)).load(name)


@pytest.mark.parametrize("path", ["./nothing.toml", "nothing.toml", "/dev/null/x.toml", "../../nothing/"])
def test_a_path_that_leads_nowhere_is_not_found(path: str) -> None:
    with pytest.raises(NotFoundError, match="there is no such file"):
        Catalog(()).load(path)


@pytest.mark.parametrize("path", ["/", "/dev/null", "/etc", "a\0b/c.toml", "/tmp/" + "x" * 300 + ".toml", "/\udcff/"])
def test_a_path_that_is_no_profile_is_one_clear_line(path: str) -> None:
    (problem,) = Catalog(()).check([path])

    assert problem.isprintable()


def test_a_user_who_checks_a_file_with_a_bad_name_is_told_the_good_ones(tmp_path: Path) -> None:
    path = write(tmp_path, "my profile")

    assert Catalog(()).check([path]) == [
        f"{path}: cannot be a profile's name; use letters, digits, dots, _ and -, at most 63"
    ]


# -- files that are no files -------------------------------------------------------------------------------------------


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")

    assert problems_of(Catalog((tmp_path,)), "pipe") == (
        f"{tmp_path}/pipe.toml: is a pipe, socket or device, not a regular file",
    )


def test_an_endless_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zero.toml").symlink_to("/dev/zero")

    assert problems_of(Catalog((tmp_path,)), "zero") == (
        f"{tmp_path}/zero.toml: is a pipe, socket or device, not a regular file",
    )


def test_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dir.toml").mkdir()

    assert problems_of(Catalog((tmp_path,)), "dir") == (f"{tmp_path}/dir.toml: is a directory; name a file in it",)


def test_symbolic_links_that_go_round_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").symlink_to(tmp_path / "b.toml")
    (tmp_path / "b.toml").symlink_to(tmp_path / "a.toml")

    assert problems_of(Catalog((tmp_path,)), "a") == (
        f"{tmp_path}/a.toml: is a symbolic link that goes round in a circle",
    )


def test_a_link_to_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "gone.toml").symlink_to(tmp_path / "nothing")

    assert problems_of(Catalog((tmp_path,)), "gone") == (f"{tmp_path}/gone.toml: there is no such file",)


@contextmanager
def nobody() -> Iterator[None]:
    """Without root's right to read everything, where the tests have it."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, "locked")
    path.chmod(0)

    with nobody():
        problems = Catalog(()).check([path])

    assert problems == [f"{path}: may not be read by this user; check its permissions"]


def test_a_directory_that_may_not_be_read_holds_no_profiles(tmp_path: Path) -> None:
    write(tmp_path / "locked", "small")
    (tmp_path / "locked").chmod(0)

    with nobody():
        names = Catalog((tmp_path / "locked", tmp_path / "missing")).names()
    (tmp_path / "locked").chmod(0o700)

    assert names == ()


BYTES = {
    "larger than a mebibyte": (b"#" * (2**20 + 1), ": is larger than 1 MiB, which no profile is"),
    "a mebibyte of nothing": (b"\n" * 2**20, ":1: format: is missing; add format = 1"),
    "no UTF-8": (b"format = 1\nsummary = '\xff'\n", ":2: byte 0xff is not UTF-8; save the file as UTF-8"),
    "a cut character": (b"format = 1\n# \xc3", ":2: byte 0xc3 is not UTF-8; save the file as UTF-8"),
    "UTF-16": ("format = 1\n".encode("utf-16"), ":1: byte 0xff is not UTF-8; save the file as UTF-8"),
    "a byte order mark": (
        b"\xef\xbb\xbfformat = 1\n",
        ":1: starts with a byte order mark; save it as UTF-8 without one",
    ),
    "a NUL": (b"format = 1\n\n# \0\n", ":3: holds a NUL character; remove it"),
    "an ELF file": (b"\x7fELF\x02\x01\x01\x00", ":1: holds a NUL character; remove it"),
    "a lone carriage return": (
        b"format = 1\r\rsummary = 1\n",
        ":1: something follows the value; put each key on a line of its own",
    ),
    "half a million nested keys": (b"a." * 400_000 + b"a = 1", ":1: is nested deeper than 32 levels"),
    "half a million open brackets": (b"a = " + b"[" * 500_000, ":1: is nested deeper than 32 levels"),
    "half a million quotes": (b'"' * 500_000, None),
    "a very long word": (b"a" * 1_000_000, ":1: a key without a value; write key = value"),
    "thirty thousand unknown keys": (b"".join(b"k%d=1\n" % n for n in range(30_000)), None),
    "nothing": (b"", ":1: format: is missing; add format = 1"),
}


@pytest.mark.parametrize("name", BYTES)
def test_hostile_bytes_are_one_clear_line_and_soon(name: str, tmp_path: Path) -> None:
    data, expected = BYTES[name]
    path = tmp_path / "hostile.toml"
    path.write_bytes(data)

    first = problems_of(Catalog((tmp_path,)), "hostile")[0]

    assert first.isprintable()
    assert expected is None or first == f"{path}{expected}"


def test_windows_line_ends_are_read_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_bytes(SOUND.replace("8000", "0").replace("\n", "\r\n").encode())

    assert problems_of(Catalog((tmp_path,)), "small") == (f"{path}:10: publish.port: must be at least 1; has 0",)


# -- layers ------------------------------------------------------------------------------------------------------------


def test_tables_merge_and_scalars_and_lists_replace(tmp_path: Path) -> None:
    write(tmp_path, "base", SOUND + '[engine_args]\na = 1\nb = [1, 2]\n[env]\nX = "base"\n')
    write(tmp_path, "top", 'extends = "base"\n[engine_args]\nb = [3]\nc = true\n[publish]\nport = 9000\n')

    profile = Catalog((tmp_path,)).load("top").profile

    assert profile.engine_args == {"a": 1, "b": [3], "c": True}
    assert (profile.own_publish.port, profile.env, profile.summary) == (9000, {"X": "base"}, "a small one")


def test_the_layers_are_told_from_the_base_up(tmp_path: Path) -> None:
    base = write(tmp_path, "_base")
    middle = write(tmp_path, "middle", 'extends = "_base"\n')
    top = write(tmp_path, "top", 'extends = "middle"\n')

    assert Catalog((tmp_path,)).load("top").layers == (base, middle, top)


def test_a_profile_may_extend_the_one_of_its_own_name_further_down(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", "small", 'extends = "small"\nsummary = "mine"\n')
    shipped = write(tmp_path / "shipped", "small")

    loaded = Catalog((tmp_path / "mine", tmp_path / "shipped")).load("small")

    assert (loaded.layers, loaded.profile.summary) == ((shipped, mine), "mine")


def test_a_file_off_the_search_path_may_extend_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "_base")
    top = write(tmp_path, "top", 'extends = "_base"\n')

    assert Catalog(()).load(str(top)).profile.engine == "vllm"


@pytest.mark.parametrize(
    ("base", "over", "expected"),
    [
        (
            "[gpus]\ncount = 2\n[parallel]\ntensor = 2\n",
            '[gpus]\nuuids = ["GPU-a", "GPU-b"]\n',
            "uuids=['GPU-a', 'GPU-b']",
        ),
        ("[gpus]\nindices = [0]\n", "[gpus]\ncount = 1\n", "count=1"),
    ],
)
def test_a_nearer_choice_of_gpus_takes_back_the_bases(base: str, over: str, expected: str, tmp_path: Path) -> None:
    write(tmp_path, "base", SOUND + base)
    write(tmp_path, "top", 'extends = "base"\n' + over)

    gpus = Catalog((tmp_path,)).load("top").profile.gpus

    assert expected in repr(gpus)


def test_a_nearer_choice_of_weights_takes_back_the_bases_revision_too(tmp_path: Path) -> None:
    write(tmp_path, "base", SOUND.replace('path = "/models/small"', 'repo = "a/b"\nrevision = "c"'))
    write(tmp_path, "top", 'extends = "base"\n[model]\npath = "/mine"\n')

    model = Catalog((tmp_path,)).load("top").profile.model

    assert (model.path, model.repo, model.revision) == ("/mine", None, None)


def test_a_nearer_source_of_a_secret_takes_back_the_bases(tmp_path: Path) -> None:
    write(tmp_path, "base", SOUND + '[secrets.TOKEN]\nfrom_env = "MINE"\nrequired = false\n')
    write(tmp_path, "top", 'extends = "base"\n[secrets.TOKEN]\nfrom_file = "/etc/token"\n')

    secret = Catalog((tmp_path,)).load("top").profile.secrets["TOKEN"]

    assert (secret.from_env, secret.from_file, secret.required) == (None, "/etc/token", False)


def test_a_nearer_source_of_a_hosted_key_takes_back_the_bases(tmp_path: Path) -> None:
    top = write(tmp_path, "top", 'extends = "v4-flash-deepseek-api"\n[hosted.key]\nfrom_file = "/etc/key"\n')

    hosted = Catalog((tmp_path, shipped_profiles())).load(str(top)).profile.hosted

    assert hosted is not None
    assert hosted.key is not None
    assert (hosted.key.from_env, hosted.key.from_file) == (None, "/etc/key")


VERIFIED = """\
[standing]
status = "verified"
says = "on two cards"
source = "https://example.org/"
as_of = 2026-11-23
"""


def test_what_extends_a_verified_profile_and_says_nothing_is_not_verified(tmp_path: Path) -> None:
    write(tmp_path, "base", SOUND + VERIFIED)
    write(tmp_path, "top", 'extends = "base"\n[publish]\nport = 9000\n')
    catalog = Catalog((tmp_path,))

    assert [catalog.load(name).profile.standing is None for name in ("base", "top")] == [False, True]


def test_a_layer_between_does_not_hand_a_standing_on(tmp_path: Path) -> None:
    write(tmp_path, "_base")
    write(tmp_path, "middle", 'extends = "_base"\n' + VERIFIED)
    write(tmp_path, "top", 'extends = "middle"\n')

    assert Catalog((tmp_path,)).load("top").profile.standing is None


def test_a_layer_s_own_standing_takes_nothing_from_its_base(tmp_path: Path) -> None:
    write(tmp_path, "base", SOUND + VERIFIED)
    top = write(tmp_path, "top", 'extends = "base"\n\n[standing]\nsays = "with my port"\nas_of = 2026-11-24\n')

    assert problems_of(Catalog((tmp_path,)), "top") == (
        f'{top}:3: standing.status: is missing; add status = "verified" or "measured" or "composed"',
        f"{top}:3: standing.source: is missing; add source: URL or reference that can be looked up",
    )


def test_an_entry_tells_the_standing_as_text(tmp_path: Path) -> None:
    write(tmp_path, "proven", SOUND + VERIFIED)
    write(tmp_path, "top", 'extends = "proven"\n')

    assert [entry.standing for entry in Catalog((tmp_path,)).entries()] == [
        {"status": "verified", "says": "on two cards", "source": "https://example.org/", "as_of": "2026-11-23"},
        None,
    ]


def test_a_problem_is_told_at_the_layer_that_set_the_value(tmp_path: Path) -> None:
    base = write(tmp_path, "_base", SOUND.replace("8000", "0") + "[parallel]\ntensor = 1\n")
    top = write(tmp_path, "top", 'extends = "_base"\n\n[parallel]\ntensor = 0\nzzz = 1\n')

    assert problems_of(Catalog((tmp_path,)), "top") == (
        f"{top}:4: parallel.tensor: must be at least 1; has 0",
        f"{top}:5: parallel.zzz: unknown key; known here: tensor, pipeline, data, expert",
        f"{base}:10: publish.port: must be at least 1; has 0",
    )


def test_what_a_replaced_list_lacks_is_told_where_it_was_replaced(tmp_path: Path) -> None:
    write(tmp_path, "_base", SOUND + '[[mounts]]\nsource = "/a"\ntarget = "/b"\n')
    top = write(tmp_path, "top", 'extends = "_base"\n\n[[mounts]]\nsource = "/c"\n')

    assert problems_of(Catalog((tmp_path,)), "top") == (
        f"{top}:3: mounts[0].target: is missing; add target: Path inside the container",
    )


def test_a_circle_is_told_with_its_way_round(tmp_path: Path) -> None:
    write(tmp_path, "a", 'extends = "b"\n')
    write(tmp_path, "b", '# x\nextends = "c"\n')
    c = write(tmp_path, "c", 'extends = "a"\n')

    assert problems_of(Catalog((tmp_path,)), "a") == (f"{c}:1: extends: goes round in a circle: a -> b -> c -> a",)


def test_a_profile_that_extends_itself_is_told_so(tmp_path: Path) -> None:
    path = write(tmp_path, "a", 'extends = "a"\n')

    assert problems_of(Catalog((tmp_path,)), "a") == (
        f'{path}:1: extends: names itself, and no other profile "a" is further down the search path',
    )


def test_more_than_eight_layers_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "p0")
    for number in range(1, 9):
        write(tmp_path, f"p{number}", f'extends = "p{number - 1}"\n')

    assert Catalog((tmp_path,)).load("p7").layers[0] == tmp_path / "p0.toml"
    assert problems_of(Catalog((tmp_path,)), "p8") == (
        f"{tmp_path}/p1.toml:1: extends: makes more than 8 layers; extend something nearer the base",
    )


def test_a_missing_parent_is_told_at_its_line_with_what_was_meant(tmp_path: Path) -> None:
    write(tmp_path, "v4-flash")
    path = write(tmp_path, "mine", '# mine\nextends = "v4-flush"\n')

    assert problems_of(Catalog((tmp_path,)), "mine") == (
        f'{path}:2: extends: there is no profile "v4-flush"; did you mean "v4-flash"?',
    )


def test_a_parent_that_does_not_parse_is_told_in_its_own_file(tmp_path: Path) -> None:
    base = write(tmp_path, "_base", "format = 1\nsummary =\n")
    write(tmp_path, "top", 'extends = "_base"\n')

    (problem,) = problems_of(Catalog((tmp_path,)), "top")

    assert problem.startswith(f"{base}:2: ")


# -- check -------------------------------------------------------------------------------------------------------------


def test_a_layer_is_checked_for_what_it_says_and_not_for_what_it_lacks(tmp_path: Path) -> None:
    path = write(tmp_path, "_base", '[gpus]\nmin_memory = "94GiB"\n[parallel]\nzzz = 1\nexpert = 1\n')

    assert [line.removeprefix(f"{path}:") for line in Catalog(()).check([path])] == [
        "4: parallel.zzz: unknown key; known here: tensor, pipeline, data, expert",
        "5: parallel.expert: must be true or false; has 1",
    ]


def test_check_takes_names_files_and_directories(tmp_path: Path) -> None:
    write(tmp_path / "named", "one", "x")
    file = write(tmp_path, "two", "x")
    write(tmp_path / "dir", "three", "x")

    problems = Catalog((tmp_path / "named",)).check(["one", file, tmp_path / "dir", "four"])

    assert [line.split(":")[0].rsplit("/", 1)[-1] for line in problems] == [
        "one.toml",
        "two.toml",
        "three.toml",
        'cannot find profile "four"',
    ]


def test_a_problem_of_a_shared_layer_is_told_once(tmp_path: Path) -> None:
    write(tmp_path, "_base", SOUND.replace("8000", "0"))
    write(tmp_path, "a", 'extends = "_base"\n')
    write(tmp_path, "b", 'extends = "_base"\n')

    assert Catalog((tmp_path,)).check() == [f"{tmp_path}/_base.toml:10: publish.port: must be at least 1; has 0"]
