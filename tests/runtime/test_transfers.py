"""Progress of pulls and builds, message by message."""

from __future__ import annotations

from typing import Any

from launchpad.runtime.base import Transfer
from launchpad.runtime.transfers import BuildProgress, PullProgress, failure


def layer(name: str, status: str, current: int | None = None, total: int | None = None) -> dict[str, object]:
    detail: dict[str, Any] = {} if current is None else {"current": current, "total": total}
    return {"id": name, "status": status, "progressDetail": detail}


def test_the_total_is_unknown_until_every_layers_size_is_known() -> None:
    pull = PullProgress("pulling x:1")
    said = [
        pull.feed({"status": "Pulling from x", "id": "1"}),
        pull.feed(layer("a", "Pulling fs layer")),
        pull.feed(layer("b", "Pulling fs layer")),
        pull.feed(layer("a", "Downloading", 10, 100)),
        pull.feed(layer("b", "Downloading", 5, 50)),
    ]
    assert [(each.done, each.total) for each in said] == [(None, None), (0, None), (0, None), (10, None), (15, 150)]


def test_layers_that_are_there_already_count_for_nothing() -> None:
    pull = PullProgress("pulling x:1")
    assert pull.feed(layer("a", "Already exists")) == Transfer("pulling x:1")


def test_unpacking_is_told_once_everything_has_arrived() -> None:
    pull = PullProgress("pulling x:1")
    pull.feed(layer("a", "Downloading", 90, 100))
    pull.feed(layer("a", "Download complete"))
    assert pull.feed(layer("a", "Extracting", 30, 100)) == Transfer("pulling x:1 (unpacking)", 30, 100)


def test_a_finished_pull_is_whole() -> None:
    pull = PullProgress("pulling x:1")
    pull.feed(layer("a", "Downloading", 90, 100))
    pull.feed(layer("a", "Extracting", 30, 100))
    assert pull.feed(layer("a", "Pull complete")) == Transfer("pulling x:1 (unpacking)", 100, 100)


def test_a_build_tells_its_step() -> None:
    build = BuildProgress("building x:1")
    said = [
        build.feed({"stream": "Step 1/2 : FROM base\n"}),
        build.feed({"stream": " ---> 0123\n"}),
        build.feed(layer("a", "Downloading", 1, 4)),
        build.feed({"stream": "Step 2/2 : RUN true\n"}),
        build.feed({"aux": {"ID": "sha256:ab"}}),
    ]
    assert said == [
        Transfer("Step 1/2 : FROM base"),
        Transfer("Step 1/2 : FROM base"),
        Transfer("Step 1/2 : FROM base", 1, 4),
        Transfer("Step 2/2 : RUN true"),
        Transfer("Step 2/2 : RUN true"),
    ]


def test_a_builds_last_lines_are_kept() -> None:
    build = BuildProgress("building x:1")
    for number in range(50):
        build.feed({"stream": f"line {number}\n\n"})
    assert list(build.tail) == [f"line {number}" for number in range(30, 50)]


def test_a_failure_is_told_in_its_details_words() -> None:
    assert failure({"error": "short", "errorDetail": {"message": "the whole of it"}}) == "the whole of it"
    assert failure({"status": "Pulling"}) is None
