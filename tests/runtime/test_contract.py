"""What every runtime promises: one suite, held against the stand-in and a real Docker Engine."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from launchpad.errors import ContainerError, ImageError
from launchpad.runtime.base import LABEL_DEPLOYMENT, LABEL_SECRETS, ExitStatus, Mount, Port
from tests.runtime.conftest import IMAGE, Program, Stage, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from launchpad.runtime.base import Container, LogLine


def ended(stage: Stage, container: Container) -> Container:
    def exited() -> Container | None:
        seen = stage.runtime.inspect(container.id)
        return seen if seen is not None and seen.exit is not None else None

    found: Container = eventually(exited)
    return found


def texts(lines: Iterable[LogLine]) -> list[str]:
    return [line.text for line in lines]


class Reader:
    """A thread that reads a stream to its end."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.got: list[Any] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._read, args=(items,), daemon=True)
        self._thread.start()

    def _read(self, items: Iterable[Any]) -> None:
        try:
            for item in items:
                self.got.append(item)
        except Exception as error:
            self.error = error
            raise

    def ends_within(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


# ---------------------------------------------------------------------- life


def test_a_created_container_is_not_started(stage: Stage) -> None:
    container = stage.runtime.create(stage.spec(), {})
    assert (container.status, container.started_at, container.exit, container.pid) == ("created", None, None, None)


def test_create_answers_what_inspect_answers(stage: Stage) -> None:
    container = stage.runtime.create(stage.spec(), {})
    assert stage.runtime.inspect(container.id) == container


def test_a_container_is_found_by_its_name_too(stage: Stage) -> None:
    spec = stage.spec()
    container = stage.runtime.create(spec, {})
    assert stage.runtime.inspect(spec.name) == container


def test_a_created_container_knows_the_image_it_was_made_from(stage: Stage) -> None:
    container = stage.runtime.create(stage.spec(), {})
    assert (container.image, container.image_id) == (IMAGE, stage.image.id)


def test_a_started_container_runs_with_a_pid_and_a_start_time(stage: Stage) -> None:
    container = stage.runtime.inspect(stage.run().id)
    assert container is not None
    assert container.running
    assert container.pid is not None
    assert container.started_at is not None
    assert container.started_at.utcoffset() == timedelta(0)


def test_starting_a_running_container_changes_nothing(stage: Stage) -> None:
    container = stage.run()
    before = stage.runtime.inspect(container.id)
    stage.runtime.start(container.id)
    assert stage.runtime.inspect(container.id) == before


def test_starting_what_is_not_there_is_an_error(stage: Stage) -> None:
    with pytest.raises(ContainerError, match="cannot start container no-such-cont"):
        stage.runtime.start("no-such-container")


@pytest.mark.parametrize("code", [0, 1, 77])
def test_an_exit_code_is_seen(stage: Stage, code: int) -> None:
    assert ended(stage, stage.run(Program(code=code))).exit == ExitStatus(code)


def test_an_ended_container_has_a_start_and_a_finish_time(stage: Stage) -> None:
    container = ended(stage, stage.run(Program(code=3)))
    assert container.started_at is not None
    assert container.finished_at is not None
    # Docker 20.10 notes the end of a very short life a few milliseconds before its start.
    assert abs(container.finished_at - container.started_at) < timedelta(seconds=5)


def test_an_ended_container_does_not_run(stage: Stage) -> None:
    container = ended(stage, stage.run(Program(code=3)))
    assert (container.running, container.status, container.pid) == (False, "exited", None)


def test_an_obeyed_sigterm_ends_it_with_its_own_code(stage: Stage) -> None:
    container = stage.run(Program(says=("up",)))
    follow_to(stage, container, "up")
    stage.runtime.signal(container.id, "SIGTERM")
    assert ended(stage, container).exit == ExitStatus(0)


def test_an_ignored_sigterm_leaves_it_running(stage: Stage) -> None:
    container = stage.run(Program(says=("up",), obeys_sigterm=False))
    follow_to(stage, container, "up")
    stage.runtime.signal(container.id, "SIGTERM")
    time.sleep(0.3)
    seen = stage.runtime.inspect(container.id)
    assert seen is not None
    assert seen.running


def test_sigkill_is_seen_as_signal_9(stage: Stage) -> None:
    container = stage.run(Program(obeys_sigterm=False))
    stage.runtime.signal(container.id, "SIGKILL")
    exited = ended(stage, container).exit
    assert exited is not None
    assert (exited.code, exited.signal, exited.oom_killed) == (137, 9, False)


def test_a_signal_to_what_does_not_run_is_no_error(stage: Stage) -> None:
    container = stage.runtime.create(stage.spec(), {})
    stage.runtime.signal(container.id, "SIGTERM")
    stage.runtime.signal("no-such-container", "SIGTERM")
    assert stage.runtime.inspect(container.id) == container


def test_a_signal_that_does_not_exist_is_an_error(stage: Stage) -> None:
    container = stage.run()
    with pytest.raises(ContainerError, match=r"(?i)invalid signal"):
        stage.runtime.signal(container.id, "SIGNONE")


def test_a_container_over_its_memory_limit_is_seen_as_out_of_memory(stage: Stage) -> None:
    """One of five at the least: on cgroup v1 Docker's own shim may lose the kernel's word (``launchpad.supervise.crash``)."""

    def killed() -> ExitStatus | None:
        return ended(stage, stage.run(Program(eats_memory=True), memory_bytes=32 * 1024**2)).exit

    exits: list[ExitStatus | None] = []
    while ExitStatus(137, oom_killed=True) not in exits and len(exits) < 5:
        exits.append(killed())
    assert exits[-1] == ExitStatus(137, oom_killed=True), exits
    assert {found.code for found in exits if found} == {137}


# ---------------------------------------------------------------------- removal


def test_a_removed_container_is_gone(stage: Stage) -> None:
    container = stage.run()
    stage.runtime.remove(container.id)
    assert stage.runtime.inspect(container.id) is None


def test_removing_twice_is_no_error(stage: Stage) -> None:
    container = stage.run()
    stage.runtime.remove(container.id)
    stage.runtime.remove(container.id)


# ---------------------------------------------------------------------- what is asked for is what is there


def test_labels_are_carried(stage: Stage) -> None:
    labels = ((LABEL_DEPLOYMENT, stage.deployment), ("io.launchpad.spec-hash", "abc"), ("empty", ""))
    container = stage.runtime.create(stage.spec(labels=labels), {})
    assert dict(labels).items() <= dict(container.labels).items()


def test_docker_never_restarts_it(stage: Stage) -> None:
    raw: Any = stage.runtime.inspect_raw(stage.runtime.create(stage.spec(), {}).id)
    assert raw["HostConfig"]["RestartPolicy"]["Name"] == "no"


def test_a_secret_is_in_no_label(stage: Stage) -> None:
    container = stage.runtime.create(stage.spec(), {"MY_LOGIN": "s3cr3t-value"})
    assert "s3cr3t-value" not in str(dict(container.labels))
    assert container.labels[LABEL_SECRETS] == "MY_LOGIN"


def test_the_raw_document_hides_secrets_and_what_looks_like_one(stage: Stage) -> None:
    spec = stage.spec(env=(("HF_TOKEN", "in-the-profile"), ("PLAIN", "seen")))
    raw: Any = stage.runtime.inspect_raw(stage.runtime.create(spec, {"MY_LOGIN": "s3cr3t-value"}).id)
    environment = {entry for entry in raw["Config"]["Env"] if not entry.startswith("PATH=")}
    assert environment == {"HF_TOKEN=***", "PLAIN=seen", "MY_LOGIN=***"}


def test_the_raw_document_of_nothing_is_none(stage: Stage) -> None:
    assert stage.runtime.inspect_raw("no-such-container") is None


@pytest.mark.parametrize(
    ("changes", "kind", "cause"),
    [
        (
            {"image": "launchpad-contract/none:1", "image_id": None},
            ImageError,
            "launchpad-contract/none:1 is not on this Docker Engine",
        ),
        ({"image": "x:1", "image_id": "sha256:" + "0" * 64}, ImageError, "x:1.* is not on this Docker Engine"),
        (
            {"network": "host", "ports": (Port(80, "127.0.0.1", 80),)},
            ContainerError,
            'ports cannot be published with network "host"',
        ),
    ],
)
def test_a_create_that_fails_says_why_and_leaves_nothing(
    stage: Stage, changes: dict[str, Any], kind: type[Exception], cause: str
) -> None:
    spec = stage.spec(**changes)
    with pytest.raises(kind, match=f"cannot create container {spec.name}: .*{cause}"):
        stage.runtime.create(spec, {})
    assert stage.runtime.containers(stage.deployment) == ()


def test_a_missing_bind_source_is_an_error_and_leaves_nothing(stage: Stage) -> None:
    path = stage.missing_path()
    with pytest.raises(ContainerError, match=f"the host path {path} does not exist"):
        stage.runtime.create(stage.spec(mounts=(Mount("bind", path, "/model"),)), {})
    assert stage.runtime.containers(stage.deployment) == ()


def test_a_name_in_use_is_an_error_and_leaves_the_holder(stage: Stage) -> None:
    spec = stage.spec()
    holder = stage.runtime.create(spec, {})
    with pytest.raises(ContainerError, match=f"another container \\({holder.id[:12]}\\) has that name"):
        stage.runtime.create(spec, {})
    assert stage.runtime.containers(stage.deployment) == (holder,)


def test_a_port_in_use_is_named_at_the_start(stage: Stage) -> None:
    port = free_port()
    stage.run(ports=(Port(8000, "127.0.0.1", port),))
    with pytest.raises(ContainerError, match=rf"port {port} on 127\.0\.0\.1 is already in use"):
        stage.run(ports=(Port(8000, "127.0.0.1", port),))


# ---------------------------------------------------------------------- lists


def test_only_the_deployments_own_containers_are_listed_newest_first(stage: Stage) -> None:
    older = stage.runtime.create(stage.spec(), {})
    newer = stage.run()
    stage.runtime.create(stage.spec(labels=((LABEL_DEPLOYMENT, stage.deployment + "-other"),)), {})
    found = [container.id for container in stage.runtime.containers(stage.deployment)]
    for container in stage.runtime.containers(stage.deployment + "-other"):
        stage.runtime.remove(container.id)
    assert found == [newer.id, older.id]


def test_all_deployments_are_listed_and_nothing_without_our_label(stage: Stage) -> None:
    ours = stage.runtime.create(stage.spec(), {})
    others = stage.runtime.create(stage.spec(labels=(("somebody", "else"),)), {})
    found = {container.id for container in stage.runtime.containers()}
    stage.runtime.remove(others.id)
    assert ours.id in found
    assert others.id not in found


def test_pids_of_a_running_container_hold_its_first_process(stage: Stage) -> None:
    container = stage.runtime.inspect(stage.run().id)
    assert container is not None
    assert container.pid in stage.runtime.pids(container.id)


def test_pids_of_what_does_not_run_are_none(stage: Stage) -> None:
    container = stage.runtime.create(stage.spec(), {})
    assert (stage.runtime.pids(container.id), stage.runtime.pids("no-such-container")) == ((), ())


# ---------------------------------------------------------------------- logs


def follow_to(stage: Stage, container: Container, text: str) -> None:
    """Wait until the container has written a line."""
    with stage.runtime.logs(container.id, follow=True) as lines:
        assert any(line.text == text for line in lines)


def test_a_log_tells_lines_and_streams_in_utc(stage: Stage) -> None:
    container = ended(stage, stage.run(Program(says=("one", "two"), complains=("oh",), code=0)))
    with stage.runtime.logs(container.id) as lines:
        found = list(lines)
    assert sorted((line.stream, line.text) for line in found) == [
        ("stderr", "oh"),
        ("stdout", "one"),
        ("stdout", "two"),
    ]
    assert all(line.at is not None and line.at.utcoffset() == timedelta(0) for line in found)


def test_a_log_can_be_read_from_its_end(stage: Stage) -> None:
    container = ended(stage, stage.run(Program(says=("one", "two", "three"), code=0)))
    with stage.runtime.logs(container.id, tail=2) as lines:
        assert texts(lines) == ["two", "three"]


def test_a_log_can_be_read_since_a_moment(stage: Stage) -> None:
    container = ended(stage, stage.run(Program(says=("one", "two"), code=0)))
    with stage.runtime.logs(container.id) as lines:
        last = list(lines)[-1].at
    assert last is not None
    with stage.runtime.logs(container.id, since=last + timedelta(seconds=1)) as lines:
        assert texts(lines) == []
    with stage.runtime.logs(container.id, since=last - timedelta(seconds=60)) as lines:
        assert texts(lines) == ["one", "two"]


def test_a_follow_ends_when_the_container_does(stage: Stage) -> None:
    container = stage.run(Program(says=("one",), code=0))
    with stage.runtime.logs(container.id, follow=True) as lines:
        assert texts(lines) == ["one"]


def test_leaving_the_context_ends_a_silent_follow_in_another_thread(stage: Stage) -> None:
    container = stage.run(Program(says=("one",)))
    following = stage.runtime.logs(container.id, follow=True)
    reader = Reader(following.__enter__())
    eventually(lambda: texts(reader.got) == ["one"])
    following.__exit__(None, None, None)
    assert reader.ends_within(1.0)
    assert reader.error is None


def test_the_log_of_nothing_is_an_error(stage: Stage) -> None:
    with pytest.raises(ContainerError, match="cannot read the log of container no-such-cont"):  # noqa: SIM117
        with stage.runtime.logs("no-such-container"):
            pass


# ---------------------------------------------------------------------- events


def test_events_tell_a_containers_life(stage: Stage) -> None:
    with stage.runtime.events() as events:
        container = stage.run(Program(code=0))
        ended(stage, container)
        stage.runtime.remove(container.id)
        actions: list[str] = []
        for event in events:
            if event.container_id == container.id:
                actions.append(event.action)
                assert event.deployment == stage.deployment
            if "destroy" in actions:
                break
    assert [action for action in actions if action != "kill"] == ["create", "start", "die", "destroy"]


def test_leaving_the_context_ends_silent_events_in_another_thread(stage: Stage) -> None:
    listening = stage.runtime.events()
    reader = Reader(listening.__enter__())
    time.sleep(0.2)
    listening.__exit__(None, None, None)
    assert reader.ends_within(1.0)
    assert reader.error is None


def test_asking_for_pids_is_no_event(stage: Stage) -> None:
    container = stage.run()
    with stage.runtime.events() as events:
        reader = Reader(events)
        stage.runtime.pids(container.id)
        stage.runtime.remove(container.id)
        eventually(lambda: any(event.action == "destroy" for event in reader.got))
    ours = {event.action for event in reader.got if event.container_id == container.id}
    assert ours <= {"kill", "die", "destroy"}


# ---------------------------------------------------------------------- volumes and images


@pytest.fixture
def volume(stage: Stage) -> Any:
    name = f"launchpad-{stage.deployment}"
    yield name
    for container in stage.runtime.containers(stage.deployment):
        stage.runtime.remove(container.id)
    stage.runtime.remove_volume(name)


def test_a_volume_comes_and_goes_and_both_may_be_said_twice(stage: Stage, volume: str) -> None:
    def twice(act: Callable[[], None]) -> bool:
        act()
        act()
        return stage.runtime.volume_exists(volume)

    seen = [stage.runtime.volume_exists(volume)]
    seen.append(twice(lambda: stage.runtime.create_volume(volume, {"io.launchpad.cache": "x"})))
    seen.append(twice(lambda: stage.runtime.remove_volume(volume)))
    assert seen == [False, True, False]


def test_a_volume_in_use_is_not_removed(stage: Stage, volume: str) -> None:
    stage.runtime.create_volume(volume, {})
    stage.runtime.create(stage.spec(mounts=(Mount("volume", volume, "/cache", read_only=False),)), {})
    with pytest.raises(ContainerError, match=f"cannot remove volume {volume}: .*in use"):
        stage.runtime.remove_volume(volume)


def test_an_image_is_found_by_tag_and_by_id(stage: Stage) -> None:
    assert stage.runtime.image(IMAGE) == stage.runtime.image(stage.image.id) == stage.image


def test_an_image_that_is_not_there_is_none(stage: Stage) -> None:
    assert stage.runtime.image("launchpad-contract/none:1") is None


def test_a_pull_of_what_no_registry_has_says_so(stage: Stage) -> None:
    reference = "127.0.0.1:9/launchpad-contract/none:1"
    with pytest.raises(ImageError, match=f"cannot pull {reference}: the registry"):
        stage.runtime.pull(reference, lambda _: None)


def test_the_runtime_says_which_api_it_speaks(stage: Stage) -> None:
    assert stage.runtime.info().api_version.startswith("1.")


# -- looking into an image -----------------------------------------------------------------------------------------------


def test_the_files_of_an_image_are_read_without_running_it(stage: Stage) -> None:
    with stage.runtime.files(stage.image.id) as files:
        tree = files.read("/opt/site/engine", lambda name: name.endswith("version.py"))
    assert tree is not None
    assert sorted(tree.names) == ["engine/notes.txt", "engine/version.py"]
    assert dict(tree.files) == {"engine/version.py": b'__version__ = "1.2.3"\n'}


def test_a_path_that_an_image_has_not_is_none(stage: Stage) -> None:
    with stage.runtime.files(stage.image.id) as files:
        assert files.read("/opt/site/none", lambda _: True) is None


def test_a_link_out_of_an_image_leads_nowhere(stage: Stage) -> None:
    with stage.runtime.files(stage.image.id) as files:
        tree = files.read("/opt/site/engine/shadow", lambda _: True)
    assert tree is not None
    assert dict(tree.files) == {}


def test_looking_into_an_image_that_is_not_there_says_so(stage: Stage) -> None:
    with pytest.raises(ImageError, match="cannot look into image"), stage.runtime.files("sha256:" + "0" * 64):
        pass


# -- carrying an image -----------------------------------------------------------------------------------------------------


def test_an_image_tells_its_layers_and_a_hash_of_what_it_tells_its_containers(stage: Stage) -> None:
    assert stage.image.layers
    assert all(layer.startswith("sha256:") for layer in stage.image.layers)
    assert stage.image.config_hash is not None


def test_a_saved_image_loads_as_the_image_it_was(stage: Stage) -> None:
    with stage.runtime.save_image(stage.image.id) as chunks:
        saved = list(chunks)
    again = stage.runtime.load_image(saved)
    assert (again.id, again.layers, again.config_hash) == (stage.image.id, stage.image.layers, stage.image.config_hash)


def test_saving_an_image_that_is_not_there_says_so(stage: Stage) -> None:
    with pytest.raises(ImageError, match="cannot save image"), stage.runtime.save_image("sha256:" + "0" * 64):
        pass


def test_what_is_no_image_does_not_load(stage: Stage) -> None:
    with pytest.raises(ImageError, match="cannot load an image from a tar"):
        stage.runtime.load_image([b"this is no tar " * 100])


def test_an_image_gets_one_more_name(stage: Stage) -> None:
    stage.runtime.tag(stage.image.id, "launchpad-contract/again:1")
    again = stage.runtime.image("launchpad-contract/again:1")
    assert again is not None
    assert again.id == stage.image.id


def test_an_image_that_is_not_there_gets_no_name(stage: Stage) -> None:
    with pytest.raises(ImageError, match="cannot tag"):
        stage.runtime.tag("sha256:" + "0" * 64, "launchpad-contract/again:1")


def test_a_volume_that_is_not_there_has_no_path(stage: Stage) -> None:
    assert stage.runtime.volume_path("no-such-volume-launchpad") is None
