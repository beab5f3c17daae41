"""Log lines that people posted, word for word: each is known by the signature that explains it, and healthy starts by none."""

from __future__ import annotations

from pathlib import Path

import pytest

from launchpad.supervise.crash import signature

HERE = Path(__file__).parent
#: Of each line of ``log_lines.txt``: the id that explains it (- for none), where it was read (2026-11-22), and what it says.
LINES = [tuple(line.split("\t", 2)) for line in (HERE / "log_lines.txt").read_text().splitlines()]
POSTED = [(id_, where, line) for id_, where, line in LINES if id_ != "-"]
HARMLESS = [(where, line) for id_, where, line in LINES if id_ == "-"]
STARTS = sorted((HERE.parent.parent / "rehearse" / "data").glob("*.txt"))


@pytest.mark.parametrize(("id_", "where", "line"), POSTED, ids=[f"{id_} in {where}" for id_, where, _ in POSTED])
def test_a_line_that_somebody_posted_is_explained(id_: str, where: str, line: str) -> None:
    found = signature([line])
    assert (found.id if found else None) == id_


@pytest.mark.parametrize(("where", "line"), HARMLESS, ids=[where for where, _ in HARMLESS])
def test_a_harmless_line_is_no_crash(where: str, line: str) -> None:
    assert signature([line]) is None


@pytest.mark.parametrize("start", STARTS, ids=lambda path: path.stem)
def test_a_real_start_that_went_well_shows_no_crash(start: Path) -> None:
    assert signature(start.read_text().splitlines()) is None


def test_there_are_real_starts_to_look_at() -> None:
    assert len(STARTS) >= 2


@pytest.mark.parametrize("reason", [line for id_, _, line in POSTED if id_ != "engine.worker-died"])
def test_the_reason_goes_before_the_death_that_follows_it(reason: str) -> None:
    died = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    alone, followed = signature([reason]), signature([reason, died])
    assert followed is not None
    assert alone is not None
    assert followed.id == alone.id
