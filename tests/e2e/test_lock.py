"""Pins on a real Docker Engine: what a lock holds, what it notices, and how it travels."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import docker.errors
import pytest

from tests.e2e.faults.engine import private_engine
from tests.e2e.harness import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.faults.engine import Engine

#: What the image holds besides the stand-in server: enough of a Python for versions to be read.
SITE = "usr/lib/python3/dist-packages"
FILES = {
    f"{SITE}/torch/version.py": "__version__ = '2.11.0'\ncuda = '13.0'\n",
    f"{SITE}/sglang/version.py": "__version__ = '0.5.23'\n",
    f"{SITE}/nvidia/nccl/include/nccl.h": "#define NCCL_MAJOR 2\n#define NCCL_MINOR 29\n#define NCCL_PATCH 3\n",
}


@dataclass(frozen=True)
class Bench:
    """A profile with an image and a model of its own, and the means to change each."""

    rig: Rig
    base: str
    tag: str
    model: Path
    made: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"e2e-{self.rig.tag}-server"

    @property
    def path(self) -> Path:
        """The profile's lock."""
        return self.rig.folder / f"{self.name}.lock"

    def profile(self, revision: str | None = None, **tables: Any) -> str:
        """Write the profile, changed by ``tables``."""
        source = {"repo": "acme/tiny", **({"revision": revision} if revision else {})}
        mounted = {"path": str(self.model), "in_image": None, "source": source}
        return self.rig.generic(image=self.tag, model=mounted, **tables)

    def image(self, files: dict[str, str] = FILES, *words: str) -> str:
        """Build the image anew under its tag; its id."""
        held = io.BytesIO()
        dockerfile = "\n".join((f"FROM {self.base}", "COPY root/ /", *words))
        with tarfile.open(fileobj=held, mode="w") as tar:
            for path, text in {
                "Dockerfile": dockerfile,
                **{f"root/{path}": text for path, text in files.items()},
            }.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        held.seek(0)
        made, _ = self.rig.client.images.build(fileobj=held, custom_context=True, tag=self.tag, rm=True)
        self.made.append(str(made.id))
        return str(made.id)

    def lock(self, *words: str) -> dict[str, Any]:
        """``launchpad lock``; what its file says."""
        self.rig.run("lock", self.name, *words).ends(0)
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found

    def drifts(self, *words: str) -> list[str]:
        """What ``launchpad verify --json`` found, each as ``id: what``; its exit code must fit."""
        ran = self.rig.run("verify", self.name, "--json", *words)
        found = [f"{drift['id']}: {drift['what']}" for drift in ran.json["drifts"]]
        ran.ends(4 if found else 0)
        return found


@pytest.fixture
def bench(rig: Rig, client: docker.DockerClient, image: str, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(rig, image, f"launchpad-test-lock/{rig.tag}:1", tmp_path / "model")
    made.model.mkdir()
    header = b'{"w":{"dtype":"U8","shape":[99],"data_offsets":[0,99]}}'
    shard = len(header).to_bytes(8, "little") + header + os.urandom(99)
    for name, data in {
        "config.json": b'{"model_type": "tiny"}',
        "tokenizer.json": b"{}",
        "model.safetensors": shard,
    }.items():
        (made.model / name).write_bytes(data)
    made.image()
    made.profile()
    yield made
    if made.rig.container(made.name) is not None:
        made.rig.run("down", made.name).ends(0)
    for name in (made.tag, *made.made):
        with contextlib.suppress(docker.errors.APIError):  # a test removed it, or another image holds its layers
            client.images.remove(name, force=True)


def test_a_lock_holds_what_runs(bench: Bench) -> None:
    lock = bench.lock("--weights")
    image, model, container = lock["images"][0], lock["model"], lock["containers"][0]
    known = bench.rig.client.images.get(bench.tag)

    assert (image["id"], image["layers"]) == (known.id, known.attrs["RootFS"]["Layers"])
    assert image["packages"] == {"nccl": "2.29.3", "sglang": "0.5.23", "torch": "2.11.0"}
    assert image["cuda"] == "13.0"
    assert {file["name"]: file["sha256"] for file in (*model["files"], *model["weights"])} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in bench.model.iterdir()
    }
    assert container["command"] == ["--port", "8000"]
    assert "LAUNCHPAD_REHEARSAL" in container["env"]


def test_what_was_locked_is_what_is_there(bench: Bench) -> None:
    bench.lock("--weights")
    assert bench.drifts() == []
    assert bench.drifts("--weights") == []


def test_verifying_runs_nothing_and_leaves_nothing(bench: Bench) -> None:
    bench.lock()
    began = int(time.time())
    bench.drifts()
    said = bench.rig.client.events(since=began, until=int(time.time()) + 1, decode=True, filters={"type": "container"})
    mine = [
        event["Action"] for event in said if event["from"] in {bench.tag, bench.rig.client.images.get(bench.tag).id}
    ]
    assert mine
    assert not {"start", "exec_create"} & set(mine)
    assert bench.rig.client.api.containers(all=True, filters={"ancestor": bench.tag}) == []


#: launchpad with every way out of this machine closed but the one to the Docker Engine.
OFFLINE = """
import os, sys
from urllib.parse import urlsplit

engine = urlsplit(os.environ.get("DOCKER_HOST", "")).hostname

def refuse(event, words):
    if event == "socket.getaddrinfo" and words[0] != engine:
        raise SystemExit(f"asked for the address of {words[0]}")
    if event == "socket.connect" and isinstance(words[1], tuple) and words[1][0] != engine:
        raise SystemExit(f"connected to {words[1]}")

sys.addaudithook(refuse)
sys.argv[0] = "launchpad"
from launchpad.cli.main import main
main()
"""


def offline(bench: Bench, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``launchpad WORDS`` where nothing but the Docker Engine can be reached."""
    command = (sys.executable, "-c", OFFLINE, *words)
    return subprocess.run(
        command, env=bench.rig.environ, cwd=bench.rig.root, capture_output=True, text=True, timeout=60
    )


def test_verifying_needs_no_network(bench: Bench) -> None:
    bench.lock("--weights")
    ran = offline(bench, "verify", bench.name, "--weights", "--json")
    assert (ran.returncode, json.loads(ran.stdout or "{}").get("holds")) == (0, True), ran.stderr


def test_a_way_out_that_is_closed_is_noticed(bench: Bench) -> None:
    ran = offline(bench, "pull", bench.name, "--model-only", "--allow-unpinned")
    assert "asked for the address of" in ran.stderr


def test_a_rebuilt_image_is_named_with_the_layer_and_the_versions_that_changed(bench: Bench) -> None:
    bench.lock()
    bench.image({**FILES, f"{SITE}/torch/version.py": "__version__ = '2.11.1'\ncuda = '13.0'\n"})
    layers = len(bench.rig.client.images.get(bench.tag).attrs["RootFS"]["Layers"])

    assert bench.drifts() == [
        f"lock.image: image {bench.tag}, layer {layers} of {layers}",
        f"lock.packages: torch in {bench.tag}",
    ]


def test_an_image_that_only_tells_its_containers_something_else_is_named(bench: Bench) -> None:
    bench.lock()
    bench.image(FILES, "ENV NCCL_DEBUG=INFO")
    assert bench.drifts() == [
        f"lock.image: image {bench.tag}, what it tells its containers (environment, entrypoint, labels)"
    ]


def test_an_image_that_is_gone_is_named(bench: Bench) -> None:
    bench.lock()
    bench.rig.client.images.remove(bench.tag, force=True)
    assert bench.drifts() == [f"lock.image: image {bench.tag}"]


def test_a_model_that_is_gone_is_named(bench: Bench) -> None:
    bench.lock()
    bench.model.rename(bench.model.with_name("elsewhere"))
    assert bench.drifts() == [f"lock.model-file: model {bench.model}"]


def test_a_tokenizer_a_revision_and_a_flag_are_each_named(bench: Bench) -> None:
    bench.profile(revision="a" * 40)
    bench.lock()
    (bench.model / "tokenizer.json").write_text('{"added": 1}')
    bench.profile(
        revision="b" * 40,
        command=["--port", "8000", "--threads", "4"],
        env={"NCCL_DEBUG": "INFO"},
    )
    assert bench.drifts() == [
        "lock.revision: model revision in the profile",
        "lock.model-file: tokenizer.json",
        "lock.flags: flag --threads",
        "lock.flags: env NCCL_DEBUG",
    ]


def test_a_restart_from_what_is_no_longer_locked_is_refused_and_what_runs_stays(bench: Bench) -> None:
    bench.lock()
    bench.rig.run("up", bench.name).ends(0)
    started = bench.rig.started_at(bench.name)
    (bench.model / "tokenizer.json").write_text('{"added": 1}')
    bench.rig.run("restart", bench.name).ends(4, f"cannot restart {bench.name}: ", "tokenizer.json")

    assert (bench.rig.started_at(bench.name), bench.rig.status(bench.name)["phase"]) == (started, "READY")

    bench.rig.run("up", bench.name, "--accept", "lock.model-file").ends(0)
    bench.rig.run("restart", bench.name).ends(0)


def test_a_restart_under_a_profile_that_no_longer_reads_says_that_nothing_was_compared(bench: Bench) -> None:
    bench.lock()
    bench.rig.run("up", bench.name).ends(0)
    path = bench.rig.folder / f"{bench.name}.toml"
    path.write_text(path.read_text() + "\nunknown = 1\n")
    bench.rig.run("restart", bench.name).ends(0, "not compared with a lock: ", "is READY")


def test_weights_of_another_content_are_named_where_they_are_read(bench: Bench) -> None:
    bench.lock("--weights")
    shard = bench.model / "model.safetensors"
    before = shard.stat()
    shard.write_bytes(shard.read_bytes()[:-1] + b"\0")
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert bench.drifts() == []
    assert bench.drifts("--weights") == ["lock.weights: model.safetensors"]


def test_weights_that_were_written_to_are_named_without_being_read(bench: Bench) -> None:
    bench.lock("--weights")
    shard = bench.model / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4] + b"evil")

    assert bench.drifts() == ["lock.weights: model.safetensors"]


def test_weights_that_were_read_and_found_damaged_are_refused_by_verify_plan_and_up_alike(bench: Bench) -> None:
    bench.lock("--weights")
    shard = bench.model / "model.safetensors"
    shard.write_bytes(shard.read_bytes()[:-4] + b"evil")
    bench.rig.run("verify", bench.name, "--weights").ends(4, "model.safetensors: locked sha256")

    bench.rig.run("verify", bench.name).ends(4, "lock.weights: model.safetensors: locked sha256")
    bench.rig.run("plan", bench.name).ends(4, "lock.weights")
    bench.rig.run("up", bench.name, "-d").ends(4, "lock.weights")


def test_a_hash_that_is_remembered_is_not_told_as_compared(bench: Bench) -> None:
    bench.lock("--weights")
    ran = bench.rig.run("verify", bench.name, "--json").ends(0)

    assert [line.partition(":")[0] for line in ran.json["not_compared"]] == ["weights' contents"]


def test_a_mount_from_elsewhere_is_named(bench: Bench, tmp_path: Path) -> None:
    for name in ("one.jinja", "other.jinja"):
        (tmp_path / name).write_text(name)
    bench.profile(mounts=[{"source": str(tmp_path / "one.jinja"), "target": "/templates/chat.jinja"}])
    bench.lock()
    bench.profile(mounts=[{"source": str(tmp_path / "other.jinja"), "target": "/templates/chat.jinja"}])

    assert bench.drifts() == ["lock.container: source of mount /templates/chat.jinja"]


def test_another_driver_is_named(bench: Bench) -> None:
    bench.rig.profile(model={"path": str(bench.model)}, gpus={"count": 4})
    bench.rig.run("lock", bench.name, "--rig", "4x-rtx-pro-6000").ends(0)
    lock = json.loads(bench.path.read_text())
    lock["rig"]["driver"] = "999.1"
    bench.path.write_text(json.dumps(lock))

    found = bench.drifts("--rig", "4x-rtx-pro-6000")
    assert found == ["lock.driver: NVIDIA driver"]


def test_a_profile_for_gpus_is_verified_where_there_is_none(bench: Bench) -> None:
    bench.rig.profile(model={"path": str(bench.model)})
    bench.rig.run("lock", bench.name, "--rig", "4x-rtx-pro-6000").ends(0)
    lock = json.loads(bench.path.read_text())
    lock["rig"]["driver"] = "580.126.09"  # as a lock that was made on the rig that serves
    bench.path.write_text(json.dumps(lock))

    ran = bench.rig.run("verify", bench.name, "--json").ends(0)
    assert ran.json["not_compared"][0].startswith("driver: none is loaded here; the lock was made with ")


def test_up_keeps_to_the_lock_and_says_what_has_drifted(bench: Bench) -> None:
    bench.lock()
    (bench.model / "tokenizer.json").write_text('{"added": 1}')
    refused = bench.rig.run("up", bench.name)

    refused.ends(4, "lock.model-file", "tokenizer.json", f"launchpad lock {bench.name}")
    assert bench.rig.container(bench.name) is None


def test_a_drift_is_accepted_by_its_own_name_alone(bench: Bench) -> None:
    bench.lock()
    (bench.model / "tokenizer.json").write_text('{"added": 1}')
    bench.rig.run("up", bench.name, "--accept", "lock.flags").ends(4, "lock.model-file")
    bench.rig.run("up", bench.name, "--accept", "lock.model-file").ends(0, "READY")


def test_up_of_what_is_as_it_was_locked_serves(bench: Bench) -> None:
    bench.lock()
    bench.rig.run("up", bench.name).ends(0, "READY")


def test_weights_that_were_written_to_keep_it_from_coming_up_until_they_are_proved(bench: Bench) -> None:
    bench.lock("--weights")
    os.utime(bench.model / "model.safetensors")
    bench.rig.run("up", bench.name).ends(4, "lock.weights", "written to since", "--weights")
    assert bench.drifts("--weights") == []
    bench.rig.run("up", bench.name).ends(0, "READY")


def test_a_damaged_lock_is_refused_by_name(bench: Bench) -> None:
    bench.path.write_text("{")
    bench.rig.run("up", bench.name).ends(4, f"cannot read lock {bench.path}", f"launchpad lock {bench.name}")


def test_without_a_lock_there_is_nothing_to_verify(bench: Bench) -> None:
    bench.rig.run("verify", bench.name).ends(1, "cannot find a lock", f"launchpad lock {bench.name}")


def test_locking_again_tells_what_changed(bench: Bench) -> None:
    bench.lock()
    (bench.model / "tokenizer.json").write_text('{"added": 1}')
    ran = bench.rig.run("lock", bench.name).ends(0)
    assert "changed    tokenizer.json: sha256" in ran.out


def test_locking_again_from_another_state_directory_says_which_hashes_are_gone(bench: Bench, tmp_path: Path) -> None:
    bench.lock("--weights")
    ran = bench.rig.run("lock", bench.name, env={"LAUNCHPAD_STATE_DIR": str(tmp_path / "other-state")}).ends(0)
    gone = "changed    weights' contents: SHA-256 of 1 file -> not pinned"
    assert f"{gone}; launchpad lock {bench.name} --weights" in ran.out.splitlines()


# -- carried to a rig without a network ----------------------------------------------------------------------------------


@pytest.fixture
def exported(bench: Bench, tmp_path: Path) -> Path:
    """An export of the bench, whose image is then gone from the Docker Engine."""
    bench.lock("--weights")
    bench.rig.run("lock", "--export", str(tmp_path / "usb"), bench.name).ends(0)
    bench.rig.client.images.remove(bench.tag, force=True)
    return tmp_path / "usb"


def elsewhere(bench: Bench, tmp_path: Path) -> dict[str, str]:
    """The environment of another rig's launchpad: no profile and no state of the first."""
    return {"LAUNCHPAD_PROFILES": str(tmp_path / "other"), "LAUNCHPAD_STATE_DIR": str(tmp_path / "other-state")}


def test_an_export_comes_up_where_no_registry_is(bench: Bench, exported: Path, tmp_path: Path) -> None:
    other = elsewhere(bench, tmp_path)
    bench.rig.run("lock", "--import", str(exported), env=other).ends(0, "imported")

    assert bench.rig.run("verify", bench.name, "--weights", "--json", env=other).ends(0).json["holds"] is True
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == [f"{bench.name}.lock", f"{bench.name}.toml"]
    assert 'pull = "never"' in (tmp_path / "other" / f"{bench.name}.toml").read_text()


@pytest.fixture(scope="module")
def other_engine() -> Iterator[Engine]:
    """A second Docker Engine, which has no image and reaches no registry."""
    with private_engine() as engine:
        yield engine


def test_an_export_serves_on_another_docker_engine_with_another_state(
    bench: Bench, tmp_path: Path, other_engine: Engine
) -> None:
    bench.lock("--weights")
    bench.rig.run("lock", "--export", str(tmp_path / "usb"), bench.name).ends(0)
    other = elsewhere(bench, tmp_path) | {"DOCKER_HOST": other_engine.host}
    bench.rig.run("lock", "--import", str(tmp_path / "usb"), env=other).ends(0, "imported")
    try:
        assert bench.rig.run("verify", bench.name, "--weights", "--json", env=other).ends(0).json["holds"] is True
        bench.rig.run("up", bench.name, env=other).ends(0, "READY")
        (bench.model / "tokenizer.json").write_text('{"added": 1}')
        bench.rig.run("up", bench.name, env=other).ends(4, "lock.model-file", "tokenizer.json")
    finally:
        bench.rig.run("down", bench.name, env=other).ends(0)


def test_a_profile_is_exported_with_what_it_extends(bench: Bench, exported: Path) -> None:
    assert "extends" not in (exported / f"{bench.name}.toml").read_text().partition("\n\n")[2]


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_a_damaged_archive_is_refused_by_name(bench: Bench, exported: Path, tmp_path: Path, harm: str) -> None:
    (tar,) = exported.glob("image-*.tar")
    data = tar.read_bytes()
    match harm:
        case "flipped":
            tar.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
        case "cut":
            tar.write_bytes(data[:5000])
        case _:
            tar.unlink()
    ran = bench.rig.run("lock", "--import", str(exported), env=elsewhere(bench, tmp_path))

    ran.ends(1, tar.name)
    assert not (tmp_path / "other").exists()
    with pytest.raises(docker.errors.ImageNotFound):
        bench.rig.client.images.get(bench.tag)


def test_an_export_that_did_not_end_is_no_export(bench: Bench, exported: Path, tmp_path: Path) -> None:
    (exported / "manifest.json").unlink()
    bench.rig.run("lock", "--import", str(exported), env=elsewhere(bench, tmp_path)).ends(1, "it has no manifest.json")


def test_an_import_overwrites_nothing_of_its_name(bench: Bench, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / f"{bench.name}.toml").write_text("# mine\n")
    other = elsewhere(bench, tmp_path)

    bench.rig.run("lock", "--import", str(exported), env=other).ends(1, "says something else", "--replace")
    bench.rig.run("lock", "--import", str(exported), "--replace", env=other).ends(0)


def test_what_is_not_as_it_was_locked_is_not_exported(bench: Bench, tmp_path: Path) -> None:
    bench.lock()
    bench.rig.client.images.remove(bench.tag, force=True)
    bench.image(FILES, "ENV NCCL_DEBUG=INFO")
    bench.rig.run("lock", "--export", str(tmp_path / "usb"), bench.name).ends(4, "cannot export", "layer")
    assert not list(tmp_path.glob("usb/*"))
