"""The scripts themselves, run as they are run: by a python3 from their text, with and without a torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.doctor.deep.run import parse, read_disk
from launchpad.doctor.deep.scripts import MARK, source

if TYPE_CHECKING:
    from pathlib import Path


def measure(folder: Path, **settings: Any) -> tuple[int, tuple[dict[str, Any], ...], float]:
    """Run the script with ``folder``'s modules before all others."""
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", source("measure"), json.dumps(settings)],
        env={"PYTHONPATH": str(folder), "PATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return ended.returncode, parse(ended.stdout.splitlines()), time.monotonic() - began


def test_an_import_that_never_ends_is_ended_by_the_script_itself(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(1000)\n")
    code, lines, seconds = measure(tmp_path, work="all-reduce", ranks=2, limit_s=1.0)

    assert (code, lines[-1]["kind"], seconds < 10) == (124, "TimeoutError", True)


def test_a_rank_that_fails_ends_the_others(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text(
        "import os, time\nif os.getpid() % 2:\n    time.sleep(0)\nraise RuntimeError('CUDA error: no kernel image')\n"
    )
    code, lines, _ = measure(tmp_path, work="all-reduce", ranks=2, limit_s=20.0)

    assert (code, lines[-1]["error"]) == (1, "CUDA error: no kernel image")


def test_without_torch_the_gpus_are_those_of_nvidia_smi(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('none')\n")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA H200 (UUID: GPU-1)'\n")
    tool.chmod(0o755)
    code, lines, _ = measure(tmp_path, work="see", limit_s=20.0)

    assert (code, lines[-1]["gpus"]) == (0, ["GPU 0: NVIDIA H200 (UUID: GPU-1)"])


def test_the_mark_is_the_same_on_both_sides() -> None:
    assert f'MARK = "{MARK}"' in source("measure")


def test_the_script_is_read_by_the_oldest_python_of_an_image() -> None:
    import ast

    assert ast.parse(source("measure"), feature_version=(3, 8))


def test_a_real_file_is_read_whole(tmp_path: Path) -> None:
    files = [(str(tmp_path / name), size) for name, size in (("a", 40 * 2**20), ("b", 4096), ("c", 777))]
    for path, size in files:
        with open(path, "wb") as file:  # noqa: PTH123 - a path as text
            file.truncate(size)
    said = read_disk(files, 30.0)

    assert said is not None
    assert (said["bytes"], said["error"], said["seconds"] > 0) == (40 * 2**20 + 4096 + 777, None, True)


def test_a_file_that_is_gone_is_told_by_name(tmp_path: Path) -> None:
    said = read_disk([(str(tmp_path / "gone"), 100)], 30.0)

    assert said is not None
    assert said["error"] == f"{tmp_path / 'gone'}: No such file or directory"


def test_a_disk_that_never_answers_is_let_go_of_at_the_deadline() -> None:
    began = time.monotonic()

    assert read_disk([("x", 1)], 0.5, (sys.executable, "-c", "import time; time.sleep(1000)")) is None
    assert time.monotonic() - began < 5


def test_a_reader_that_dies_is_no_answer() -> None:
    said = read_disk([("x", 1)], 10.0, (sys.executable, "-c", "raise SystemExit(3)"))

    assert said is not None
    assert said["error"] == "its reader ended with code 3"


@pytest.mark.parametrize(("budget", "count"), [(100, 10), (50, 5), (10, 1), (1, 1), (10_000, 10)])
def test_pieces_lie_evenly_and_within_the_budget(budget: int, count: int) -> None:
    space: dict[str, Any] = {"__name__": "reader"}
    exec(source("read_disk"), space)
    found = space["pieces"]([("a", 60), ("b", 40)], 10, budget)

    assert (len(found), found[0]) == (count, ("a", 0))
    assert len(set(found)) == count
