"""A real vLLM under a lock: what the lock holds of the real image, what drifts while it serves, and what that stops.

One deployment lives through the whole file, and the tests run in its order; each puts back what it changed.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.harness import Rig
from tests.e2e_vllm.models import IMAGE, PROFILE, chat_model
from tests.support.served import UP_SECONDS, Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    import docker

pytestmark = [pytest.mark.docker, pytest.mark.e2e, pytest.mark.slow]


@dataclass(frozen=True)
class Locked:
    """A deployment that was locked before it came up, and its model."""

    rig: Rig
    served: Served
    model: Path
    lock: dict[str, Any]

    def drifts(self, *words: str) -> list[str]:
        """What ``verify`` found, each as ``id: what``; its exit code must fit."""
        ran = self.served.run("verify", "--json", *words)
        found = [f"{drift['id']}: {drift['what']}" for drift in ran.json["drifts"]]
        ran.ends(4 if found else 0)
        return found


def written(rig: Rig, model: Path, **tables: Any) -> Served:
    """The profile, changed by ``tables``."""
    quick = {"deadlines": {"stop_grace": "5s"}, "model": {"path": str(model), "served_name": "tiny"}}
    return Served.under(rig, "locked", PROFILE, **quick, **tables)


@pytest.fixture(scope="module")
def locked(
    rig: Rig, client: docker.DockerClient, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Locked]:
    model = chat_model(client, tmp_path_factory.mktemp("model"))
    served = written(rig, model)
    served.run("lock", "--weights").ends(0)
    try:
        served.up()
        yield Locked(rig, served, model, json.loads((rig.folder / f"{served.name}.lock").read_text()))
    finally:
        served.down()


@contextmanager
def other_bytes(path: Path) -> Iterator[None]:
    """Meanwhile the file says something else, and says what it did again afterwards."""
    whole = path.read_bytes()
    path.write_bytes(whole + b"\n")
    try:
        yield
    finally:
        path.write_bytes(whole)


@contextmanager
def other_flag(locked: Locked) -> Iterator[None]:
    """Meanwhile the profile asks for four requests at once, not eight."""
    written(locked.rig, locked.model, serving={"max_running_requests": 4})
    try:
        yield
    finally:
        written(locked.rig, locked.model)


def test_what_is_as_it_was_locked_comes_up_and_answers(locked: Locked) -> None:
    said = locked.served.run("ask", "Hello?", "--max-tokens", "8", "--json").ends(0).json
    assert (said["completion_tokens"], bool(said["answer"])) == (8, True)


def test_the_lock_names_the_layers_and_the_versions_of_the_real_image(
    locked: Locked, client: docker.DockerClient
) -> None:
    pinned = locked.lock["images"][0]
    versions = {name: version.partition("+")[0] for name, version in pinned["packages"].items()}
    assert pinned["layers"] == client.images.get(IMAGE).attrs["RootFS"]["Layers"]
    assert (versions["vllm"], "torch" in versions) == ("0.32.0", True)


def test_the_lock_has_the_sum_of_every_file_of_the_model(locked: Locked) -> None:
    pinned = {file["name"]: file["sha256"] for part in ("files", "weights") for file in locked.lock["model"][part]}
    assert pinned == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in locked.model.iterdir()}


def test_nothing_has_drifted_while_it_serves(locked: Locked) -> None:
    assert locked.drifts("--weights") == []


def test_another_tokenizer_is_named_and_keeps_up_from_starting_anything(locked: Locked) -> None:
    before = locked.served.kept()
    with other_bytes(locked.model / "tokenizer.json"):
        assert locked.drifts() == ["lock.model-file: tokenizer.json"]
        locked.served.run("up").ends(4, "lock.model-file", "tokenizer.json", f"launchpad lock {locked.served.name}")
    assert (locked.drifts(), locked.served.kept()) == ([], before)


def test_another_flag_is_named_and_keeps_up_from_starting_anything(locked: Locked) -> None:
    before = locked.served.kept()
    with other_flag(locked):
        assert locked.drifts() == ["lock.flags: flag --max-num-seqs"]
        locked.served.run("up").ends(4, "lock.flags", "--max-num-seqs", f"launchpad lock {locked.served.name}")
    assert (locked.drifts(), locked.served.kept()) == ([], before)


def test_a_drift_that_is_accepted_by_name_is_served_and_kept_in_the_journal(locked: Locked) -> None:
    with other_flag(locked):
        locked.served.run("up", "--accept", "lock.flags", timeout=UP_SECONDS).ends(0, "is READY")
        assert locked.drifts() == ["lock.flags: flag --max-num-seqs"]
    journal = locked.served.run("events", "--json").ends(0).out
    assert "lock.flags" in journal
