"""Locks that die with their holder, held by real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from launchpad.errors import BusyError, StoreError
from launchpad.store.lock import Lock, held, holder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
    import sys
    from pathlib import Path
    from launchpad.store.lock import Lock
    lock = Lock(Path(sys.argv[1]))
    print(lock.acquire(), flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that tried to take the lock at ``path`` and says on stdout whether it did."""
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def answer(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_a_lock_that_is_held_is_taken_by_nobody_else(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert (first.acquire(), second.acquire(), first.acquire()) == (True, False, False)
    first.release()
    assert second.acquire()
    second.release()


def test_another_process_is_kept_out_and_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held(path, "test"), another_process(path) as child:
        assert answer(child) == "False"
        assert holder(path) == os.getpid()


def test_a_holder_that_is_killed_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with another_process(path) as child:
        assert (answer(child), holder(path)) == ("True", child.pid)
        child.send_signal(signal.SIGKILL)
        child.wait(5.0)
        assert holder(path) is None
    with held(path, "test", wait_s=0):
        assert holder(path) == os.getpid()


def test_a_lock_that_nobody_made_has_no_holder(tmp_path: Path) -> None:
    assert holder(tmp_path / "lock") is None


def test_a_lock_that_was_released_has_no_holder(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock")
    lock.acquire()
    lock.release()
    lock.release()
    assert holder(tmp_path / "lock") is None


def test_a_holder_without_a_pid_is_still_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = Lock(path)
    lock.acquire()
    path.write_text("")
    assert holder(path) == 0
    lock.release()


def test_waiting_ends_with_what_was_wanted_and_who_is_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with another_process(path) as child:
        assert answer(child) == "True"
        with pytest.raises(BusyError) as caught, held(path, "bring demo up", wait_s=0.1):
            pass
    assert caught.value.message == f"cannot bring demo up: process {child.pid} holds {path}"
    assert caught.value.hint == "wait for it to end, then try again"


def test_waiting_ends_when_the_holder_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = Lock(path)
    lock.acquire()
    timer = threading.Timer(0.05, lock.release)
    timer.start()
    with held(path, "test", wait_s=5.0):
        assert holder(path) == os.getpid()
    timer.join()


def test_a_lock_is_let_go_when_its_work_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), held(tmp_path / "lock", "test"):
        raise KeyError
    assert holder(tmp_path / "lock") is None


def test_those_who_only_ask_keep_nobody_from_taking_it(tmp_path: Path) -> None:
    """Asking shares the lock for microseconds: a supervisor that met an asker must not think that it is the second."""
    path = tmp_path / "lock"
    path.touch()
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            holder(path)

    askers = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    for asker in askers:
        asker.start()
    taken = []
    for _ in range(100):
        lock = Lock(path)
        taken.append(lock.acquire())
        lock.release()
    done.set()
    for asker in askers:
        asker.join(5.0)
    assert taken == [True] * 100


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot lock .*gone/lock: No such file or directory"):
        Lock(tmp_path / "gone" / "lock").acquire()
