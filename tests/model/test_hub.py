"""The hub's door against a stand-in on loopback: resumed where it was cut, checked, and honest about what went wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from launchpad.model.digest import Notes
from launchpad.model.hub import Fetched, Hub, HubError, connect, fetch, missing_bytes, refuse_full
from launchpad.model.origin import NOTES, Origin, origin
from tests.support.hub import COMMIT, REPO, StandInHub, stand_in_hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 2**20
LARGE = "model-00001-of-00001.safetensors"


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    files = {"config.json": b'{"model_type": "small"}', "sub/extra.py": b"x = 1\n", LARGE: os.urandom(3 * MIB + 7)}
    with stand_in_hub(files) as made:
        yield made


@pytest.fixture
def door(hub: StandInHub) -> Hub:
    return connect(endpoint=hub.endpoint, token="hf_token_of_the_test")


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


def content(folder: Path) -> dict[str, bytes]:
    """What a model directory holds, but for what is hidden."""
    paths = [path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_repository_tells_its_commit_and_its_files(hub: StandInHub, door: Hub) -> None:
    remote = door.find(REPO, "main")

    assert (remote.repo, remote.commit, remote.total_bytes) == (REPO, COMMIT, sum(map(len, hub.files.values())))
    assert {file.name: file.sha256 for file in remote.files} == {
        "config.json": None,
        "sub/extra.py": None,
        LARGE: hub.sha256(LARGE),
    }


def test_every_file_comes_and_is_what_the_hub_has(hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes) -> None:
    seen: list[Fetched] = []
    fetched = fetch(door, door.find(REPO, "main"), tmp_path / "model", notes, progress=seen.append)

    assert content(tmp_path / "model") == hub.files
    assert sorted(fetched) == sorted(hub.files)
    assert (seen[-1].done, seen[-1].moved) == (seen[-1].total, seen[-1].total)
    assert origin(tmp_path / "model") == Origin(None, COMMIT)


def test_what_is_there_already_is_not_fetched_again(hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes) -> None:
    remote = door.find(REPO, "main")
    fetch(door, remote, tmp_path / "model", notes)
    hub.asked.clear()

    assert fetch(door, remote, tmp_path / "model", notes) == ()
    assert hub.asked == []


def test_a_file_that_is_there_and_wrong_is_fetched(hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / LARGE).write_bytes(bytes(3 * MIB + 7))
    (tmp_path / "model" / "config.json").write_bytes(b"other")
    fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)

    assert content(tmp_path / "model") == hub.files


def test_a_connection_cut_in_the_middle_is_continued_with_a_range(
    hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes
) -> None:
    hub.faults.cut_after = [MIB, MIB]
    fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)

    assert hub.ranges(LARGE) == [None, f"bytes={MIB}-", f"bytes={2 * MIB}-"]
    assert content(tmp_path / "model") == hub.files


KILLED = """
import os, sys
from pathlib import Path
from launchpad.model.digest import Notes
from launchpad.model.hub import connect, fetch

def die(now):
    if now.moved > 2**20:
        os.kill(os.getpid(), 9)

door = connect(endpoint=sys.argv[1], token=None)
fetch(door, door.find(sys.argv[2], "main"), Path(sys.argv[3]), Notes(Path(sys.argv[4])), progress=die)
"""


def test_a_download_that_was_killed_goes_on_in_the_next_process(
    hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes
) -> None:
    hub.files[LARGE] = os.urandom(40 * MIB)
    words = (sys.executable, "-c", KILLED, hub.endpoint, REPO, str(tmp_path / "model"), str(tmp_path / "notes"))
    killed = subprocess.run(words, timeout=60)
    (partial,) = (tmp_path / "model" / NOTES).rglob("*.incomplete")
    came = partial.stat().st_size
    remote = door.find(REPO, "main")
    to_come = missing_bytes(remote, tmp_path / "model")
    fetch(door, remote, tmp_path / "model", notes)

    assert killed.returncode == -9
    assert 0 < came < 40 * MIB
    assert to_come == 40 * MIB - came
    assert hub.ranges(LARGE)[-1] == f"bytes={came}-"
    assert content(tmp_path / "model") == hub.files


def test_a_hub_that_ignores_ranges_sends_everything_again(
    hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes
) -> None:
    hub.faults.cut_after, hub.faults.ignore_range = [MIB], True
    seen: list[Fetched] = []
    fetch(door, door.find(REPO, "main"), tmp_path / "model", notes, progress=seen.append)

    assert content(tmp_path / "model") == hub.files
    assert seen[-1].done == seen[-1].total


#: Tries again at once, twice, and then gives up.
QUICK = (0.0, 0.0)
PAGE = b"<html>your company has blocked this page</html>"


@pytest.mark.parametrize(
    ("page", "says"),
    [
        pytest.param(PAGE, f"the answer has {len(PAGE)} bytes instead of {3 * MIB + 7}", id="a proxy's page"),
        pytest.param(b"", f"the answer has 0 bytes instead of {3 * MIB + 7}", id="nothing at all"),
    ],
)
def test_a_whole_answer_of_another_length_is_given_up_after_a_while(
    hub: StandInHub, tmp_path: Path, notes: Notes, page: bytes, says: str
) -> None:
    door = connect(endpoint=hub.endpoint, token=None, waits_s=QUICK)
    hub.faults.page = page
    with pytest.raises(HubError, match=f"cannot fetch {LARGE} of {REPO}: {says}") as raised:
        fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)

    assert len(hub.ranges(LARGE)) == 1 + len(QUICK)
    assert "it may be the page of a proxy" in (raised.value.hint or "")


def test_an_empty_rest_is_given_up_after_a_while(hub: StandInHub, tmp_path: Path, notes: Notes) -> None:
    door = connect(endpoint=hub.endpoint, token=None, waits_s=QUICK)
    hub.faults.page, hub.faults.politely = b"", True
    with pytest.raises(HubError, match=f"the answer ended at byte 0 of {3 * MIB + 7}"):
        fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)


def test_a_proxys_page_costs_nothing_of_what_has_come(hub: StandInHub, tmp_path: Path, notes: Notes) -> None:
    door = connect(endpoint=hub.endpoint, token=None, waits_s=QUICK)
    remote = door.find(REPO, "main")
    partial = tmp_path / "model" / NOTES / f"{LARGE}.{hub.sha256(LARGE)[:16]}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(hub.files[LARGE][:MIB])
    hub.faults.page, hub.faults.pages = PAGE, 2
    fetch(door, remote, tmp_path / "model", notes)

    assert hub.ranges(LARGE) == [f"bytes={MIB}-"] * 3
    assert content(tmp_path / "model") == hub.files


def test_a_hub_that_ignores_ranges_and_breaks_at_the_same_place_is_given_up(
    hub: StandInHub, tmp_path: Path, notes: Notes
) -> None:
    door = connect(endpoint=hub.endpoint, token=None, waits_s=QUICK)
    hub.faults.cut_after, hub.faults.ignore_range = [MIB] * 100, True
    with pytest.raises(HubError, match="the connection broke"):
        fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)

    assert 2 + len(QUICK) >= len(hub.ranges(LARGE)) > 1


def test_an_answer_that_is_longer_than_the_file_is_not_written_to_its_end(
    hub: StandInHub, tmp_path: Path, notes: Notes
) -> None:
    door = connect(endpoint=hub.endpoint, token=None, waits_s=QUICK)
    partial = tmp_path / "model" / NOTES / f"{LARGE}.{hub.sha256(LARGE)[:16]}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(hub.files[LARGE][:MIB])
    hub.faults.page, hub.faults.politely = bytes(20 * MIB), True
    seen: list[Fetched] = []
    with pytest.raises(HubError, match="cannot trust"):
        fetch(door, door.find(REPO, "main"), tmp_path / "model", notes, progress=seen.append)

    assert max(now.moved for now in seen) < 10 * MIB


def test_an_empty_file_is_made_without_being_asked_for(
    hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes
) -> None:
    hub.files["__init__.py"] = b""
    fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)

    assert content(tmp_path / "model") == hub.files


INTERRUPTED = """
import _thread, sys, threading, time
from pathlib import Path
from launchpad.model.digest import Notes
from launchpad.model.hub import Remote, RemoteFile, connect, fetch

folder, size = Path(sys.argv[1]), int(sys.argv[2])
door = connect(endpoint=sys.argv[3], token=None)
remote = Remote("acme/small-model", "a" * 40, tuple(RemoteFile(f"{n}.safetensors", size, "b" * 64) for n in range(2)))
threading.Timer(1, _thread.interrupt_main).start()
begin = time.monotonic()
try:
    fetch(door, remote, folder, Notes(folder.parent / "notes"))
except KeyboardInterrupt:
    print(time.monotonic() - begin)
"""


def test_ctrl_c_ends_a_pull_that_is_hashing(hub: StandInHub, tmp_path: Path) -> None:
    """Two files of 64 GiB that hold nothing: a minute's reading at the least."""
    (tmp_path / "model").mkdir()
    for number in range(2):
        with (tmp_path / "model" / f"{number}.safetensors").open("wb") as file:
            file.truncate(64 * 2**30)
    words = (sys.executable, "-c", INTERRUPTED, str(tmp_path / "model"), str(64 * 2**30), hub.endpoint)
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300)

    assert 1 <= float(ended.stdout) < 15, ended.stderr


def test_ctrl_c_ends_a_pull_that_waits_for_a_hub_to_answer_rightly(hub: StandInHub, tmp_path: Path) -> None:
    hub.faults.page, hub.faults.politely = b"", True
    code = INTERRUPTED.replace('Remote("acme', 'door.find("acme/small-model", "main") or Remote("acme')
    words = (sys.executable, "-c", code, str(tmp_path / "model"), "1", hub.endpoint)
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300)

    assert 1 <= float(ended.stdout) < 15, ended.stderr


def test_a_file_that_is_not_what_the_hub_publishes_is_thrown_away(
    hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes
) -> None:
    hub.faults.spoil = {LARGE}
    with pytest.raises(HubError, match=f"cannot trust {LARGE} of {REPO}: what came is not what the hub publishes"):
        fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)
    hub.faults.spoil = set()
    fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)

    assert content(tmp_path / "model") == hub.files


def test_a_small_file_is_checked_too(hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes) -> None:
    hub.faults.spoil = {"config.json"}
    with pytest.raises(HubError, match=r"cannot trust config\.json"):
        fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)


@pytest.mark.parametrize(
    ("status", "says", "hint"),
    [
        (401, "the hub wants a token", "export HF_TOKEN="),
        (403, "this token may not", "ask for access"),
        (404, "no such repository", "look at"),
        (429, "too many requests", "wait 1 s, then pull again"),
        (500, "the hub answered 500", "pull again"),
    ],
)
def test_what_the_hub_answers_is_told_in_words(hub: StandInHub, door: Hub, status: int, says: str, hint: str) -> None:
    hub.faults.status, hub.faults.retry_after = status, "1"
    with pytest.raises(HubError, match=says) as raised:
        door.find(REPO, "main")

    assert hint in (raised.value.hint or "")
    assert "hf_token_of_the_test" not in f"{raised.value.message} {raised.value.hint}"


def test_a_file_that_the_hub_is_too_busy_for_is_asked_for_again(
    hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes
) -> None:
    remote = door.find(REPO, "main")
    hub.faults.status, hub.faults.retry_after, hub.faults.times = 429, "1", 3
    fetch(door, remote, tmp_path / "model", notes)

    assert content(tmp_path / "model") == hub.files


def test_a_hub_that_asks_for_an_hour_is_not_waited_for(
    hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes
) -> None:
    remote = door.find(REPO, "main")
    hub.faults.status, hub.faults.retry_after = 429, "3600"
    with pytest.raises(HubError, match="too many requests") as raised:
        fetch(door, remote, tmp_path / "model", notes)

    assert "wait 3600 s, then pull again" in (raised.value.hint or "")


def test_a_revision_that_is_not_there_is_named(door: Hub) -> None:
    with pytest.raises(HubError, match="it has no revision v9"):
        door.find(REPO, "v9")


def test_a_hub_that_does_not_answer_is_told(door: Hub) -> None:
    nobody = connect(endpoint="http://127.0.0.1:9", token=None)
    with pytest.raises(HubError, match=r"the connection broke \(ConnectError\)"):
        nobody.find(REPO, "main")


@pytest.mark.parametrize(
    "endpoint", ["nonsense", "", "hub.example.org", "ftp://hub.example.org", "https://", "http://[::"]
)
def test_an_endpoint_that_is_no_address_is_named_before_anything_is_asked(endpoint: str) -> None:
    with pytest.raises(HubError, match="HF_ENDPOINT is no address of a hub"):
        connect(endpoint=endpoint, token=None)


def test_another_hub_that_does_not_answer_is_named_without_the_password_in_its_address() -> None:
    nobody = connect(endpoint="http://me:secret@127.0.0.1:9/hub", token=None)
    with pytest.raises(HubError) as raised:
        nobody.find(REPO, "main")

    assert (raised.value.hint or "").endswith("; http://127.0.0.1:9/hub is what HF_ENDPOINT names")


@pytest.mark.parametrize("status", [401, 403, 404])
def test_the_page_to_look_at_is_of_the_hub_that_was_asked(hub: StandInHub, door: Hub, status: int) -> None:
    hub.faults.status = status
    with pytest.raises(HubError) as raised:
        door.find(REPO, "main")

    assert f" at {hub.endpoint}/{REPO}" in (raised.value.hint or "")


def test_a_private_repository_opens_with_its_token() -> None:
    with stand_in_hub({"config.json": b"{}"}, private="hf_right") as hub:
        assert connect(endpoint=hub.endpoint, token="hf_right").find(REPO, "main").commit == COMMIT
        with pytest.raises(HubError, match="the hub wants a token"):
            connect(endpoint=hub.endpoint, token="hf_wrong").find(REPO, "main")


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(
    hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes
) -> None:
    fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)

    assert {item.token for item in hub.asked if not item.cdn} == {"Bearer hf_token_of_the_test"}
    assert {item.token for item in hub.asked if item.cdn} == {None}


def test_a_full_disk_is_told_before_the_first_byte(door: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError, match=r"3\.0 MiB are to come and 1\.0 MiB are free"):
        refuse_full(door.find(REPO, "main"), tmp_path / "not" / "yet", free=lambda _: MIB)


def test_a_disk_that_fills_up_on_the_way_is_told(hub: StandInHub, door: Hub, tmp_path: Path, notes: Notes) -> None:
    partial = tmp_path / "model" / NOTES / f"{LARGE}.{hub.sha256(LARGE)[:16]}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    with pytest.raises(HubError, match=f"cannot fetch {REPO}: .* is full"):
        fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)


@pytest.mark.parametrize("name", ["../outside.json", "/etc/cron.d/x", "sub/../../x", "..\\x"])
def test_a_name_that_climbs_out_of_the_folder_is_refused(hub: StandInHub, door: Hub, name: str) -> None:
    hub.faults.names = {"config.json": name}
    with pytest.raises(HubError, match=re.escape(f"names a file outside its folder ({name!r})")):
        door.find(REPO, "main")


def test_without_huggingface_hub_the_error_says_what_to_install() -> None:
    hidden = "import sys; sys.modules['huggingface_hub'] = None\n"
    code = f"{hidden}from launchpad.model.hub import connect; connect(endpoint=None, token=None)"
    ended = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True)

    assert "HubError: cannot fetch models: huggingface_hub is not installed" in ended.stderr


def test_a_snapshot_in_a_hubs_cache_says_where_it_came_from(tmp_path: Path) -> None:
    folder = tmp_path / "models--acme--small-model" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    assert origin(folder) == Origin(REPO, COMMIT)


def test_files_of_several_commits_come_from_no_one_commit(door: Hub, tmp_path: Path, notes: Notes) -> None:
    fetch(door, door.find(REPO, "main"), tmp_path / "model", notes)
    (tmp_path / "model" / NOTES / "config.json.metadata").write_text("f" * 40 + "\n\n0\n")
    assert origin(tmp_path / "model") == Origin(None, None)


def test_a_launchpad_without_the_hubs_library_says_how_to_get_just_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(HubError, match="huggingface_hub is not installed where launchpad is") as caught:
        connect(endpoint=None, token=None)
    hint = caught.value.hint or ""
    assert hint.startswith("pipx inject launchpad 'huggingface_hub>=1.0', or ")
    assert hint.endswith("pip install 'huggingface_hub>=1.0'")
