"""What is Docker's own: the request body, the door that errors pass, builds, and streams on a real engine."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.errors import ContainerError, ImageError, RuntimeUnavailable
from launchpad.runtime.base import (
    LABEL_DEPLOYMENT,
    ContainerSpec,
    Image,
    Mount,
    Port,
    Runtime,
    Transfer,
    Ulimit,
)
from launchpad.runtime.docker import connect, container_of, create_body, info_of
from launchpad.runtime.docker.client import unavailable
from tests.runtime.conftest import IMAGE, DockerStage, Program, eventually
from tests.runtime.stub_engine import Answers, chunked, hang_up, once, stub_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FULL = ContainerSpec(
    role="server",
    name="launchpad-v4",
    image="vllm/vllm-openai:v1",
    image_id=None,
    command=("serve", "/model"),
    entrypoint=("vllm",),
    env=(("A", "1"), ("B", "x=y")),
    mounts=(
        Mount("bind", "/models/v4", "/model"),
        Mount("volume", "v4-cache", "/cache", read_only=False),
        Mount("tmpfs", "", "/tmp", read_only=False),
    ),
    ports=(Port(8000, "127.0.0.1", 8001), Port(8000, "::1", 8001)),
    gpus=("GPU-1", "GPU-2"),
    shm_bytes=1024,
    ulimits=(Ulimit("memlock", -1, -1),),
    user="1000:1000",
    cap_add=("SYS_NICE",),
    memory_bytes=2048,
    read_only_root=True,
    stop_signal="SIGINT",
    labels=((LABEL_DEPLOYMENT, "v4"),),
)

FULL_BODY = {
    "Image": "vllm/vllm-openai:v1",
    "Cmd": ["serve", "/model"],
    "Entrypoint": ["vllm"],
    "Env": ["A=1", "B=x=y", "HF_TOKEN=hf_abc"],
    "Labels": {"io.launchpad.deployment": "v4", "io.launchpad.secrets": "HF_TOKEN"},
    "ExposedPorts": {"8000/tcp": {}},
    "StopSignal": "SIGINT",
    "Tty": False,
    "OpenStdin": False,
    "User": "1000:1000",
    "HostConfig": {
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "NetworkMode": "bridge",
        "IpcMode": "private",
        "Init": True,
        "ReadonlyRootfs": True,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "64m", "max-file": "2"}},
        "Mounts": [
            {"Type": "bind", "Source": "/models/v4", "Target": "/model", "ReadOnly": True},
            {"Type": "volume", "Source": "v4-cache", "Target": "/cache", "ReadOnly": False},
            {"Type": "tmpfs", "Target": "/tmp", "ReadOnly": False},
        ],
        "PortBindings": {
            "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8001"}, {"HostIp": "::1", "HostPort": "8001"}]
        },
        "CapAdd": ["SYS_NICE"],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}],
        "DeviceRequests": [{"Driver": "nvidia", "DeviceIDs": ["GPU-1", "GPU-2"], "Capabilities": [["gpu"]]}],
        "ShmSize": 1024,
        "Memory": 2048,
        "MemorySwap": 2048,
    },
}


#: An inspect document of a container that was created and never started.
LEFT = {
    "Id": "ab12",
    "Name": "/x",
    "Image": "sha256:1",
    "Created": "2026-11-23T00:00:00Z",
    "State": {"Status": "created", "ExitCode": 0, "StartedAt": "0001-01-01T00:00:00Z"},
    "Config": {"Image": "x:1", "Labels": {}},
}


def small(**changes: Any) -> ContainerSpec:
    settings: dict[str, Any] = {"role": "server", "name": "x", "image": "x:1", "image_id": None, "command": ("go",)}
    return ContainerSpec(**(settings | changes))


# ---------------------------------------------------------------------- the request


def test_every_field_of_a_spec_reaches_the_request() -> None:
    assert create_body(FULL, {"HF_TOKEN": "hf_abc"}, image=FULL.image) == FULL_BODY


def test_the_images_own_entrypoint_and_user_are_left_alone() -> None:
    assert {"Entrypoint", "User"} & set(create_body(small(), {}, image="x:1")) == set()


@pytest.mark.parametrize("gpus", [None, ()])
def test_no_gpu_means_no_device_request(gpus: tuple[str, ...] | None) -> None:
    assert "DeviceRequests" not in create_body(small(gpus=gpus), {}, image="x:1")["HostConfig"]


def test_shared_memory_has_no_size_under_host_ipc() -> None:
    host = create_body(small(ipc="host", shm_bytes=1024), {}, image="x:1")["HostConfig"]
    assert (host["IpcMode"], "ShmSize" in host) == ("host", False)


def test_a_secret_wins_over_a_plain_value_of_the_same_name() -> None:
    assert create_body(small(env=(("A", "plain"),)), {"A": "secret"}, image="x:1")["Env"] == ["A=secret"]


# ---------------------------------------------------------------------- documents


@pytest.mark.parametrize(
    ("said", "ready"),
    [
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, True),
        ({"Runtimes": {"runc": {}}, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}, True),
        ({"Runtimes": {"runc": {}}}, None),
    ],
)
def test_gpu_support_is_known_or_unknown_never_denied(said: dict[str, Any], ready: bool | None) -> None:
    assert info_of(said, "1.48").gpu_ready is ready


def test_a_container_whose_start_failed_was_never_started() -> None:
    container = container_of(
        {
            "Id": "ab",
            "Name": "/x",
            "Image": "sha256:1",
            "Created": "2026-11-23T00:00:00Z",
            "State": {"Status": "created", "ExitCode": 127, "StartedAt": "0001-01-01T00:00:00Z", "Error": "no runc"},
            "Config": {"Image": "x:1", "Labels": None},
        }
    )
    assert (container.started_at, container.exit) == (None, None)


# ---------------------------------------------------------------------- no engine


def refusal(environ: dict[str, str], *, timeout_s: float = 60) -> tuple[str, str | None]:
    with pytest.raises(RuntimeUnavailable) as caught:
        connect(environ, timeout_s=timeout_s)
    return caught.value.message, caught.value.hint


def test_a_missing_socket_of_ones_own_says_what_names_it(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none.sock"
    assert refusal({"DOCKER_HOST": host}) == (
        f"cannot use the Docker Engine: {host} is not there: Docker is not running",
        f"DOCKER_HOST or the docker context names {host}: start the engine that listens there, or correct it (docker context ls)",
    )


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ECONNREFUSED])
def test_nobody_at_the_default_socket_says_how_to_start_docker(number: int) -> None:
    error = unavailable("use the Docker Engine", "unix:///var/run/docker.sock", OSError(number, "nobody"), 60)
    assert error.hint == "sudo systemctl start docker"


def test_a_socket_that_nobody_listens_on_says_so_and_what_names_it(tmp_path: Path) -> None:
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    message, hint = refusal({"DOCKER_HOST": f"unix://{path}"})
    assert message.endswith("refuses connections")
    assert (hint or "").startswith(f"DOCKER_HOST or the docker context names unix://{path}: ")


def test_a_closed_door_says_how_to_open_it(tmp_path: Path) -> None:
    # Root may open any door, so the kernel cannot be made to refuse here; its error can be made to pass ours.
    error = unavailable("use the Docker Engine", "unix:///var/run/docker.sock", PermissionError(13, "denied"), 60)
    assert error.message == "cannot use the Docker Engine: permission denied at /var/run/docker.sock"
    assert error.hint == "sudo usermod -aG docker $USER && newgrp docker"


def test_an_engine_that_hangs_is_not_waited_for_longer_than_asked(tmp_path: Path) -> None:
    path = tmp_path / "hanging.sock"
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(path))
        hanging.listen(8)
        message, hint = refusal({"DOCKER_HOST": f"unix://{path}"}, timeout_s=0.3)
    assert message.endswith("did not answer within 0.3 s")
    assert hint == "sudo systemctl status docker"


def test_a_host_that_is_no_address_is_said(tmp_path: Path) -> None:
    message, _ = refusal({"DOCKER_HOST": "gopher://x"})
    assert message.startswith("cannot use the Docker Engine: the Docker Engine at gopher://x does not answer")


def test_certificates_that_are_missing_are_said(tmp_path: Path) -> None:
    message, _ = refusal(
        {"DOCKER_HOST": "tcp://127.0.0.1:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}
    )
    assert "certificate" in message


# ---------------------------------------------------------------------- an engine on a bad day


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Answers]:
    with stub_engine(tmp_path / "engine.sock") as answers:
        yield answers


@pytest.fixture
def bad_day(engine: Answers, tmp_path: Path) -> Iterator[Runtime]:
    runtime = connect({"DOCKER_HOST": f"unix://{tmp_path}/engine.sock"}, timeout_s=5)
    yield runtime
    runtime.close()


def test_the_current_context_is_used_where_no_host_is_named(engine: Answers, tmp_path: Path) -> None:
    stem = hashlib.sha256(b"mine").hexdigest()
    meta = tmp_path / "config" / "contexts" / "meta" / stem / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": "mine", "Endpoints": {"docker": {"Host": f"unix://{tmp_path}/engine.sock"}}}))
    (tmp_path / "config" / "config.json").write_text('{"currentContext": "mine"}')
    connect({"DOCKER_CONFIG": str(tmp_path / "config")}).close()
    assert engine.asked == ["GET /version"]


def test_a_context_that_does_not_exist_is_said(tmp_path: Path) -> None:
    message, _ = refusal({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "gone"})
    assert "the docker context gone cannot be read; see: docker context ls" in message


def test_a_secret_in_the_engines_complaint_is_starred(engine: Answers, bad_day: Runtime) -> None:
    engine.at("/containers/create", engine.json(500, {"message": "bad variable HF_TOKEN=hf_s3cr3t"}))
    with pytest.raises(ContainerError) as caught:
        bad_day.create(small(), {"HF_TOKEN": "hf_s3cr3t"})
    assert caught.value.message == "cannot create container x: bad variable HF_TOKEN=***"


def test_an_error_that_carries_a_secret_does_not_travel_on(engine: Answers, bad_day: Runtime) -> None:
    engine.at("/containers/create", engine.json(500, {"message": "bad variable HF_TOKEN=hf_s3cr3t"}))
    with pytest.raises(ContainerError) as caught:
        bad_day.create(small(), {"HF_TOKEN": "hf_s3cr3t"})
    assert caught.value.__cause__ is None


def test_a_foreign_error_without_a_secret_is_kept_as_the_cause(engine: Answers, bad_day: Runtime) -> None:
    engine.at("/containers/create", engine.json(500, {"message": "no"}))
    with pytest.raises(ContainerError) as caught:
        bad_day.create(small(), {})
    assert caught.value.__cause__ is not None


def test_a_read_is_asked_again_where_the_connection_broke(engine: Answers, bad_day: Runtime) -> None:
    engine.at("/info", once(hang_up, then=engine.json(200, {"ServerVersion": "20.10.24"})))
    assert bad_day.info().version == "20.10.24"


def test_an_act_is_never_repeated(engine: Answers, bad_day: Runtime) -> None:
    engine.at("/start", hang_up)
    with pytest.raises(RuntimeUnavailable):
        bad_day.start("ab12")
    assert sum(asked.endswith("/start") for asked in engine.asked) == 1


def test_a_removal_that_somebody_else_began_is_waited_for(engine: Answers, bad_day: Runtime) -> None:
    engine.at("/containers/ab12", engine.json(409, {"message": "removal of container ab12 is already in progress"}))
    engine.at("/containers/ab12/json", once(engine.json(200, LEFT), then=engine.json(404, {"message": "gone"})))
    bad_day.remove("ab12")
    assert engine.asked[1:] == ["DELETE /v1.41/containers/ab12", *["GET /v1.41/containers/ab12/json"] * 2]


def test_of_a_container_that_is_gone_nothing_more_is_asked(engine: Answers, bad_day: Runtime) -> None:
    bad_day.remove("ab12")
    assert engine.asked[1:] == ["DELETE /v1.41/containers/ab12"]


def test_a_removal_that_the_engine_refuses_is_an_error(engine: Answers, bad_day: Runtime) -> None:
    engine.at("/containers/ab12", engine.json(409, {"message": "a device is busy"}))
    with pytest.raises(ContainerError, match="cannot remove container ab12: a device is busy"):
        bad_day.remove("ab12")


def test_a_container_whose_creation_was_never_confirmed_is_removed(engine: Answers, bad_day: Runtime) -> None:
    engine.at("/containers/create", hang_up)
    engine.at("/containers/x/json", engine.json(200, LEFT))
    engine.at("/containers/ab12", engine.json(200, {}))
    with pytest.raises(RuntimeUnavailable):
        bad_day.create(small(), {})
    assert engine.asked[-1] == "DELETE /v1.41/containers/ab12"


@pytest.mark.parametrize("whole", [True, False], ids=["closed", "broken"])
def test_events_that_stop_are_an_error(engine: Answers, bad_day: Runtime, whole: bool) -> None:
    engine.at("/events", chunked(b'{"Type":"container","Action":"die"', whole=whole))
    with pytest.raises(RuntimeUnavailable, match="cannot follow the Docker Engine's events"):  # noqa: SIM117
        with bad_day.events() as events:
            list(events)


def test_a_log_that_breaks_is_an_error(engine: Answers, bad_day: Runtime) -> None:
    engine.at("/logs", chunked(b"\x01\0\0\0\0\0\0\x1e2026-11-23T00:00:00Z one line\n", whole=False))
    got: list[str] = []
    with pytest.raises(RuntimeUnavailable), bad_day.logs("ab12", follow=True) as lines:
        got.extend(line.text for line in lines)
    assert got == ["one line"]


def test_a_pull_adds_its_layers_up_and_says_why_it_failed(engine: Answers, bad_day: Runtime) -> None:
    said = [
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 1, "total": 4}},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 1, "total": 4}},
        {"status": "Downloading", "id": "b", "progressDetail": {"current": 2, "total": 6}},
        {"error": "x", "errorDetail": {"message": "manifest unknown"}},
    ]
    engine.at("/images/create", chunked(*[json.dumps(each).encode() + b"\r\n" for each in said], whole=True))
    seen: list[Transfer] = []
    with pytest.raises(ImageError, match=r"cannot pull a/b:1: the registry has no such tag or digest"):
        bad_day.pull("a/b:1", seen.append)
    assert seen == [Transfer("pulling a/b:1", 1, 4), Transfer("pulling a/b:1", 3, 10)]


# ---------------------------------------------------------------------- a real engine

docker = pytest.mark.docker


@docker
def test_the_engine_holds_what_was_asked_for(docker_stage: DockerStage, tmp_path: Path) -> None:
    spec = docker_stage.spec(
        mounts=(Mount("bind", str(tmp_path), "/model"), Mount("tmpfs", "", "/scratch", read_only=False)),
        shm_bytes=64 * 1024**2,
        ulimits=(Ulimit("nofile", 1024, 2048),),
        memory_bytes=64 * 1024**2,
        cap_add=("SYS_NICE",),
        read_only_root=True,
        stop_signal="SIGINT",
        user="1000:1000",
    )
    raw: Any = docker_stage.runtime.inspect_raw(docker_stage.runtime.create(spec, {}).id)
    host = raw["HostConfig"]
    assert {
        "mounts": sorted((mount["Type"], mount["Destination"], mount["RW"]) for mount in raw["Mounts"]),
        "shm": host["ShmSize"],
        "memory": (host["Memory"], host["MemorySwap"]),
        "caps": ([name.removeprefix("CAP_") for name in host["CapAdd"]], host["CapDrop"]),
        "read_only_root": host["ReadonlyRootfs"],
        "security": host["SecurityOpt"],
        "log": host["LogConfig"],
        "stop": raw["Config"]["StopSignal"],
        "user": raw["Config"]["User"],
    } == {
        "mounts": [("bind", "/model", False), ("tmpfs", "/scratch", True)],
        "shm": 64 * 1024**2,
        "memory": (64 * 1024**2, 64 * 1024**2),
        "caps": (["SYS_NICE"], ["ALL"]),
        "read_only_root": True,
        "security": ["no-new-privileges"],
        "log": {"Type": "json-file", "Config": {"max-size": "64m", "max-file": "2"}},
        "stop": "SIGINT",
        "user": "1000:1000",
    }


@docker
def test_a_missing_bind_source_is_not_created(docker_stage: DockerStage, tmp_path: Path) -> None:
    missing = tmp_path / "no-such-model"
    with pytest.raises(ContainerError):
        docker_stage.runtime.create(docker_stage.spec(mounts=(Mount("bind", str(missing), "/model"),)), {})
    assert not missing.exists()


@docker
def test_a_program_that_the_image_lacks_is_named(docker_stage: DockerStage) -> None:
    container = docker_stage.runtime.create(docker_stage.spec(entrypoint=("/no/such",), command=()), {})
    with pytest.raises(
        ContainerError, match=f"cannot start container {container.name}: the image has no program /no/such"
    ):
        docker_stage.runtime.start(container.id)


@docker
def test_a_tag_that_moved_is_not_followed(docker_stage: DockerStage, tmp_path: Path) -> None:
    other = docker_stage.runtime.build(
        {"Dockerfile": f"FROM {IMAGE}\nLABEL moved=yes\n".encode()},
        "launchpad-contract/moved:1",
        build_args={},
        labels={},
        network=None,
        progress=lambda _: None,
    )
    assert other.id != docker_stage.image.id
    spec = docker_stage.spec(image="launchpad-contract/moved:1", image_id=docker_stage.image.id)
    assert docker_stage.runtime.create(spec, {}).image_id == docker_stage.image.id


@docker
def test_a_line_that_docker_cut_is_whole_again(docker_stage: DockerStage) -> None:
    container = docker_stage.run(command=("head -c 40000 /dev/zero | tr '\\0' x; echo; echo after",))
    with docker_stage.runtime.logs(container.id, follow=True) as lines:
        assert [len(line.text) for line in lines] == [40000, 5]


@docker
def test_a_progress_bar_is_lines(docker_stage: DockerStage) -> None:
    container = docker_stage.run(command=(r"printf '\r 1%%\r 2%%\r 3%%\n'",))
    with docker_stage.runtime.logs(container.id, follow=True) as lines:
        assert [line.text for line in lines] == [" 1%", " 2%", " 3%"]


@docker
def test_a_silent_follow_outlives_the_time_limit_of_calls(docker_stage: DockerStage) -> None:
    impatient = connect(os.environ, timeout_s=1)
    container = docker_stage.run(command=("sleep 2; echo late",))
    with impatient.logs(container.id, follow=True) as lines:
        assert [line.text for line in lines] == ["late"]
    impatient.close()


@docker
def test_a_follow_ends_from_another_thread_amid_a_flood(docker_stage: DockerStage) -> None:
    container = docker_stage.run(command=("while :; do echo flood; done",))
    following = docker_stage.runtime.logs(container.id, follow=True)
    lines = following.__enter__()
    count = 0

    def read() -> None:
        nonlocal count
        for _ in lines:
            count += 1

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    eventually(lambda: count > 1000)
    started = time.monotonic()
    following.__exit__(None, None, None)
    reader.join(1.0)
    docker_stage.runtime.signal(container.id, "SIGKILL")
    assert not reader.is_alive(), time.monotonic() - started


@docker
def test_a_build_runs_its_steps_on_its_context(docker_runtime: Runtime, busybox: Image, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho built with $1\n")
    tool.chmod(0o755)
    seen: list[Transfer] = []
    image = docker_runtime.build(
        {
            "Dockerfile": f"FROM {IMAGE}\nARG WORD\nCOPY dir/tool /tool\nRUN /tool $WORD >/out\nENV WORD=$WORD\n".encode(),
            "dir/tool": tool,
        },
        "launchpad-contract/built:1",
        build_args={"WORD": "care"},
        labels={"made": "here"},
        network="none",
        progress=seen.append,
    )
    assert dict(image.env)["WORD"] == "care"
    assert image.labels["made"] == "here"
    assert "Step 4/6 : RUN /tool $WORD >/out" in [each.what for each in seen]


@docker
def test_a_build_that_fails_shows_its_last_lines(docker_runtime: Runtime, busybox: Image) -> None:
    with pytest.raises(ImageError) as caught:
        docker_runtime.build(
            {"Dockerfile": f"FROM {IMAGE}\nRUN echo the reason; exit 7\n".encode()},
            "launchpad-contract/broken:1",
            build_args={},
            labels={},
            network=None,
            progress=lambda _: None,
        )
    assert caught.value.message.startswith("cannot build launchpad-contract/broken:1: ")
    assert "returned a non-zero code: 7" in caught.value.message
    assert "\n  the reason" in caught.value.message


@docker
def test_a_context_file_that_is_missing_is_named(docker_runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=f"cannot build x:1: {tmp_path}/none: No such file or directory"):
        docker_runtime.build(
            {"Dockerfile": b"FROM scratch\n", "none": tmp_path / "none"},
            "x:1",
            build_args={},
            labels={},
            network=None,
            progress=lambda _: None,
        )


@docker
def test_an_imported_image_has_its_changes(busybox: Image) -> None:
    assert (dict(busybox.env)["PATH"], busybox.labels["made.by"]) == ("/bin", "contract")


@docker
def test_a_tar_that_is_none_is_no_image(docker_runtime: Runtime, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.tar"
    nonsense.write_bytes(b"x" * 10_000)
    with pytest.raises(ImageError, match="cannot import launchpad-contract/nonsense:1 from "):
        docker_runtime.import_image(nonsense, "launchpad-contract/nonsense:1", changes=())


@docker
def test_a_killed_program_is_not_taken_for_out_of_memory(docker_stage: DockerStage) -> None:
    container = docker_stage.run(Program(code=137))
    exited = eventually(lambda: (docker_stage.runtime.inspect(container.id) or container).exit)
    assert (exited.code, exited.oom_killed) == (137, False)
