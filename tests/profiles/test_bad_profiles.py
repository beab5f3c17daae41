"""Every bad profile is refused with exactly its own lines, each naming file, line and key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launchpad.errors import ProfileError
from launchpad.profiles.catalog import Catalog
from tests.profiles.bad_profiles import BAD, SOUND, Bad

if TYPE_CHECKING:
    from pathlib import Path


def test_the_profile_that_the_bad_ones_are_made_of_is_sound(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(SOUND)

    assert Catalog((tmp_path,)).load("small").profile.own_publish.port == 8000


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_each_problem_is_one_line_with_its_place(bad: Bad, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(bad.text)

    with pytest.raises(ProfileError) as caught:
        Catalog((tmp_path,)).load("bad")

    assert caught.value.problems == tuple(f"{path}:{line}" for line in bad.expected)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_a_problem_never_holds_what_a_terminal_obeys(bad: Bad, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(bad.text)

    assert all(line.isprintable() for line in Catalog((tmp_path,)).check())


def test_the_message_counts_the_problems_and_names_the_profile(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(SOUND.replace("8000", "0").replace("format = 1", "format = 2"))

    with pytest.raises(ProfileError, match=r'^cannot read profile "bad": 2 problems$'):
        Catalog((tmp_path,)).load("bad")


def test_there_are_at_least_sixty_bad_profiles() -> None:
    assert len({bad.text for bad in BAD}) >= 60


def test_a_secret_written_by_mistake_is_in_no_message(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(
        SOUND + '[secrets]\nA = "hunter2"\n[secrets.B]\nfrom_env = "hunter2!"\n[secrets.C]\nfrom_file = "hunter2"\n'
    )

    problems = Catalog((tmp_path,)).check()

    assert len(problems) == 3
    assert not [line for line in problems if "hunter2" in line]


def test_a_file_of_many_problems_is_told_in_fifty_lines_and_a_count(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(SOUND + "[serving]\n" + "".join(f"k{n} = 1\n" for n in range(80)))

    problems = Catalog((tmp_path,)).check()

    assert len(problems) == 51
    assert problems[-1] == f"{tmp_path / 'bad.toml'}: and 30 more"
