"""Containers: created, started, signalled, removed, looked at.

Every method here does what it says once, and leaves nothing behind when it fails: a container whose creation was never confirmed
is removed. It refuses a spec whose wishes Docker would discard without a word, a bind mount whose source is missing (Docker would
make an empty directory of it), and to show a secret. Restarting is nobody's work here.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from launchpad import log
from launchpad.errors import ContainerError, ImageError, LaunchpadError, RuntimeUnavailable
from launchpad.runtime.base import LABEL_DEPLOYMENT, Container, ContainerSpec
from launchpad.runtime.causes import NO_IMAGE, redact
from launchpad.runtime.docker import images
from launchpad.runtime.docker.client import Part
from launchpad.runtime.docker.documents import container_of, create_body, redact_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launchpad.runtime.docker.client import Client

#: Seconds a removal that somebody else began may take.
REMOVAL_TIMEOUT: Final = 15.0


class Containers(Part):
    """Containers, running or not."""

    def create(self, spec: ContainerSpec, secrets: Mapping[str, str]) -> Container:
        """Create, do not start; ``secrets`` maps environment names to values. Leaves nothing behind when it fails."""
        doing = f"create container {spec.name}"
        _refuse_contradictions(spec, doing)
        body = create_body(spec, secrets, image=self._pinned(spec, doing))
        values = tuple(secrets.values())
        with self._sweeping(spec), self._client.door(doing, ContainerError, secrets=values):
            made = self._client.api.create_container_from_config(body, name=spec.name)
        try:
            for warning in made.get("Warnings") or ():
                log.get("runtime").warning("docker warns", container=spec.name, warning=redact(str(warning), values))
            return self._created(str(made["Id"]), doing)
        except BaseException:
            remove_quietly(self._client, str(made["Id"]))
            raise

    def start(self, container_id: str) -> None:
        """Start a created container; one that runs already is no error."""
        with self._client.door(f"start container {self._title(container_id)}", ContainerError):
            self._client.api.start(container_id)

    def signal(self, container_id: str, signal: str) -> None:
        """Send a signal to the first process; a container that is gone, or that does not run, is no error."""
        with self._client.door(f"send {signal} to container {container_id[:12]}", ContainerError):
            self._client.act(lambda: self._client.api.kill(container_id, signal=signal), unless="is not running")

    def remove(self, container_id: str) -> None:
        """Remove a container and its anonymous volumes, killing it if need be; one that is gone is no error.

        When this returns it is gone, also where somebody else had begun to remove it.
        """
        remove(self._client, container_id)

    def inspect(self, container_id: str) -> Container | None:
        """The container of that id or name, or None where it is gone."""
        found = _document(self._client, container_id)
        return None if found is None else container_of(found)

    def inspect_raw(self, container_id: str) -> dict[str, object] | None:
        """Docker's own inspect document, for a crash folder; environment values that may be secret are ``***``."""
        found = _document(self._client, container_id)
        return None if found is None else redact_environment(found)

    def containers(self, deployment: str | None = None) -> tuple[Container, ...]:
        """Containers that launchpad labelled, of one deployment or all, running or not, newest first."""
        label = LABEL_DEPLOYMENT if deployment is None else f"{LABEL_DEPLOYMENT}={deployment}"
        with self._client.door("list containers", RuntimeUnavailable):
            rows: list[dict[str, Any]] = self._client.read(
                lambda: self._client.api.containers(all=True, filters={"label": [label]})
            )
        found = [container for row in rows if (container := self.inspect(str(row["Id"]))) is not None]
        return tuple(sorted(found, key=lambda container: container.created_at, reverse=True))

    def pids(self, container_id: str) -> tuple[int, ...]:
        """Host process ids inside the container, empty where it is gone or does not run."""
        with self._client.door(f"list the processes of container {container_id[:12]}", ContainerError):
            table: dict[str, Any] | None = self._client.found(
                lambda: self._client.api.top(container_id, ps_args="-eo pid,comm"), unless="is not running"
            )
        if table is None:
            return ()
        column = table["Titles"].index("PID")
        return tuple(int(row[column]) for row in table["Processes"] or ())

    def _title(self, container_id: str) -> str:
        """The container's name, or its short id where it cannot be told."""
        with suppress(LaunchpadError):
            if found := self.inspect(container_id):
                return found.name
        return container_id[:12]

    def _created(self, container_id: str, doing: str) -> Container:
        found = self.inspect(container_id)
        if found is None:
            raise ContainerError(f"cannot {doing}: it was gone as soon as it was created")
        return found

    def _pinned(self, spec: ContainerSpec, doing: str) -> str:
        """What to create from: the readable reference where it still means ``image_id``, else the id itself."""
        if spec.image_id is None:
            return spec.image
        found = images.find(self._client, spec.image)
        if found is not None and found.id == spec.image_id:
            return spec.image
        if images.find(self._client, spec.image_id) is None:
            cause = f"the image {spec.image} ({spec.image_id[:19]}) {NO_IMAGE}"
            raise ImageError(f"cannot {doing}: {cause}", hint=f"docker pull {spec.image}")
        return spec.image_id

    @contextmanager
    def _sweeping(self, spec: ContainerSpec) -> Iterator[None]:
        """Removes a container that the engine made although its answer never came."""
        try:
            yield
        except (RuntimeUnavailable, KeyboardInterrupt):
            with suppress(LaunchpadError):
                left = self.inspect(spec.name)
                ours = left is not None and left.status == "created" and left.started_at is None
                if left is not None and ours and dict(spec.labels).items() <= dict(left.labels).items():
                    self.remove(left.id)
            raise


def _refuse_contradictions(spec: ContainerSpec, doing: str) -> None:
    """Docker discards these without an error; a spec that asks for them means something else than it gets."""
    if spec.ports and spec.network != "bridge":
        raise ContainerError(f'cannot {doing}: ports cannot be published with network "{spec.network}"')


def remove(client: Client, container_id: str) -> None:
    """What :meth:`Containers.remove` does."""
    with client.door(f"remove container {container_id[:12]}", ContainerError):
        asked = client.act(
            lambda: client.api.remove_container(container_id, v=True, force=True), unless="already in progress"
        )
        if not asked:
            _await_removal(client, container_id)


def remove_quietly(client: Client, container_id: str) -> None:
    """Remove a container where that can be done: whoever asks has something worse to tell, or nothing to lose."""
    with suppress(LaunchpadError):
        remove(client, container_id)


def _await_removal(client: Client, container_id: str) -> None:
    deadline = client.clock.monotonic() + REMOVAL_TIMEOUT
    while _document(client, container_id) is not None:
        if client.clock.monotonic() > deadline:
            cause = f"a removal that began earlier did not end within {REMOVAL_TIMEOUT:.0f} s"
            raise ContainerError(f"cannot remove container {container_id[:12]}: {cause}")
        client.clock.sleep(0.1)


def _document(client: Client, container_id: str) -> dict[str, Any] | None:
    """Docker's own inspect document, or None where the container is gone."""
    with client.door(f"inspect container {container_id[:64]}", ContainerError):
        found: dict[str, Any] | None = client.found(lambda: client.api.inspect_container(container_id))
    return found
