"""The Docker Engine behind :class:`~launchpad.runtime.base.Runtime`, through docker-py; the only module that imports it.

Foreign errors are translated here, once. docker-py leaks three families (DockerException, requests' ConnectionError and
ReadTimeout; APIError is two of them at once), and streams leak urllib3's and the socket's: :meth:`DockerRuntime._door` knows
them all. Reads that change nothing are tried again for about two seconds; nothing that acts is ever repeated.

It refuses to decide: a spec is passed on field by field, Docker's restart policy is always ``no``, a bind mount whose source
is missing is an error and never a new directory, and no secret reaches a label or an error text. Importing this module is
cheap; docker-py is imported by :func:`connect`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import socket
import threading
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Generic, TypeVar
from urllib.parse import quote

from launchpad import log
from launchpad.clock import SystemClock
from launchpad.errors import ContainerError, ImageError, LaunchpadError, RuntimeUnavailable
from launchpad.runtime.archive import Tree, read_tree
from launchpad.runtime.base import (
    LABEL_DEPLOYMENT,
    LABEL_SECRETS,
    Container,
    ContainerSpec,
    ExitStatus,
    Image,
    LogLine,
    RuntimeEvent,
    RuntimeInfo,
    Transfer,
)
from launchpad.runtime.buildkit import BuildKitProgress
from launchpad.runtime.causes import NO_IMAGE, explain, redact
from launchpad.runtime.frames import Frames, Lines, json_lines, moment
from launchpad.runtime.transfers import BuildProgress, PullProgress, cause_in, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from types import TracebackType

    from docker.api import APIClient
    from docker.tls import TLSConfig
    from requests import Response

    from launchpad.clock import Clock

T = TypeVar("T")

#: Seconds an ordinary call may take to answer; streams have no limit.
CALL_TIMEOUT: Final = 60
#: Seconds a read is tried again for while the engine does not answer, and how often at most.
READ_AGAIN: Final = (2.0, 3)
#: Seconds a removal that somebody else began may take.
REMOVAL_TIMEOUT: Final = 15.0
#: The engine's own log of a container: launchpad reads it back, so it must be one that can be read, and it must end.
LOG_CONFIG: Final = {"Type": "json-file", "Config": {"max-size": "64m", "max-file": "2"}}
#: Environment names whose values never leave the engine in an inspect document.
SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)

#: Events about a container's life. Docker also reports `top` and `exec`, which our own questions cause.
LIFECYCLE: Final = ("create", "start", "oom", "kill", "die", "stop", "pause", "unpause", "rename", "destroy")

_OLDEST_API: Final = "1.41"  # Docker Engine 20.10
_DEFAULT_HOST: Final = "unix:///var/run/docker.sock"


def connect(
    environ: Mapping[str, str], *, clock: Clock | None = None, timeout_s: float = CALL_TIMEOUT
) -> DockerRuntime:
    """The Docker Engine that ``environ`` names, as the docker command finds it; it has answered once.

    DOCKER_HOST (with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH), else the docker command's current context, else the default
    socket. ``timeout_s`` is how long an ordinary call may take to answer; streams have no limit. Raises RuntimeUnavailable
    with the reason and what to do.
    """
    from docker.api import APIClient
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    host = environ.get("DOCKER_HOST") or _DEFAULT_HOST
    try:
        host, tls = _endpoint(environ)
        _knock(host)
        # Asked with a client of its own, so that one that fails is closed: docker-py's "auto" would leak its socket.
        settings: Any = {"base_url": host, "tls": tls or False, "timeout": timeout_s}
        with closing(APIClient(**settings, version=_OLDEST_API)) as probe:
            spoken = str(probe.version(api_version=False)["ApiVersion"])
        client = APIClient(**settings, version=spoken)
    except (DockerException, RequestException, OSError, ValueError) as error:
        raise _unavailable("use the Docker Engine", host, error, timeout_s) from error
    # A socket needs no proxy and no ~/.netrc; looking for them costs time on every call.
    client.trust_env = not host.startswith("unix://")
    return DockerRuntime(client, host=host, clock=clock or SystemClock(), timeout_s=timeout_s)


class DockerRuntime:
    """A Docker Engine. Safe to use from several threads; made by :func:`connect`."""

    def __init__(self, client: APIClient, *, host: str, clock: Clock, timeout_s: float = CALL_TIMEOUT) -> None:
        self._client: Any = client  # types-docker leaves half of its methods untyped
        self._host = host
        self._clock = clock
        self._timeout_s = timeout_s

    # ------------------------------------------------------------------ the engine

    def info(self) -> RuntimeInfo:
        """Facts about the engine; raises RuntimeUnavailable where it does not answer."""
        with self._door("ask the Docker Engine about itself", RuntimeUnavailable):
            said: dict[str, Any] = self._read(self._client.info)
        return info_of(said, self._client.api_version, local=self._host.startswith("unix://"))

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    # ------------------------------------------------------------------ images

    def image(self, reference: str) -> Image | None:
        """The image of that tag, digest (``repo@sha256:...``) or id where it is present, else None."""
        with self._door(f"inspect image {reference}", ImageError, reference=reference):
            found = self._found(lambda: self._client.inspect_image(reference))
        return None if found is None else image_of(found)

    def pull(self, reference: str, progress: Callable[[Transfer], None]) -> Image:
        """Fetch an image from its registry; raises ImageError with the registry's reason."""
        doing = f"pull {reference}"
        steps = PullProgress(f"pulling {reference}")
        with self._door(doing, ImageError, reference=reference):
            messages = json_lines(self._client.pull(reference, stream=True, decode=False))
            self._follow_transfer(messages, steps.feed, progress, doing, reference)
        return self._made(reference, doing)

    def build(
        self,
        context: Mapping[str, bytes | Path],
        tag: str,
        *,
        build_args: Mapping[str, str],
        labels: Mapping[str, str],
        network: str | None,
        progress: Callable[[Transfer], None],
        buildkit: bool = False,
        no_cache: bool = False,
    ) -> Image:
        """Build from ``context`` (path in the context -> bytes, or a file to stream), whose ``Dockerfile`` it runs.

        With the classic builder, or with the BuildKit inside the engine: neither needs a plugin or the docker command. Raises
        ImageError with the build's last lines.
        """
        import tempfile

        doing = f"build {tag}"
        steps = BuildKitProgress(f"building {tag}") if buildkit else BuildProgress(f"building {tag}")
        with tempfile.TemporaryFile() as archive:
            _pack(context, archive, doing)
            with self._door(doing, ImageError, reference=tag):
                if buildkit:
                    wanted = _buildkit_settings(tag, build_args, labels, network, no_cache=no_cache)
                    with closing(self._post_context(archive, wanted)) as response:
                        said = json_lines(response.iter_content(None))
                        self._follow_transfer(said, steps.feed, progress, doing, tag, tail=steps.tail)
                    return self._made(tag, doing)
                said = self._client.build(
                    fileobj=archive,
                    custom_context=True,
                    tag=tag,
                    buildargs=dict(build_args),
                    labels=dict(labels),
                    network_mode=network,
                    nocache=no_cache,
                    rm=True,
                    forcerm=True,
                    decode=False,
                )
                self._follow_transfer(json_lines(said), steps.feed, progress, doing, tag, tail=steps.tail)
        return self._made(tag, doing)

    def _post_context(self, archive: IO[bytes], wanted: Mapping[str, str]) -> Response:
        """Start a build by BuildKit, which docker-py has no words for; closing the answer stops it."""
        response: Response = self._client.post(
            f"{self._client.base_url}/v{self._client.api_version}/build",
            data=archive,
            params=dict(wanted),
            headers={"Content-Type": "application/x-tar"},
            stream=True,
            timeout=None,
        )
        self._refuse_status(response)
        return response

    def import_image(self, tar: Path, tag: str, *, changes: tuple[str, ...]) -> Image:
        """Make a one-layer image of a root filesystem's tar; ``changes`` are Dockerfile instructions."""
        doing = f"import {tag} from {tar}"
        if not tar.is_file():
            raise ImageError(f"cannot {doing}: there is no such file", hint=f"ls -l {tar}")
        repository, version = _name_and_tag(tag)
        with self._door(doing, ImageError, reference=tag):
            said = self._client.import_image_from_file(str(tar), repository, version, changes=list(changes))
            for message in json_lines([str(said).encode()]):
                if cause := failure(message):
                    raise _image_error(doing, cause, tag)
        return self._made(tag, doing)

    def tag(self, image_id: str, reference: str) -> None:
        """Give an image one more name, taking it from any other that has it; raises ImageError."""
        doing = f"tag {image_id[:19]} as {reference}"
        repository, version = _name_and_tag(reference)
        with self._door(doing, ImageError, reference=image_id):
            if not self._client.tag(image_id, repository, version, force=True):
                raise ImageError(f"cannot {doing}: the Docker Engine did not do it")

    @contextmanager
    def save_image(self, image_id: str) -> Iterator[Iterator[bytes]]:
        """The image as a tar, in chunks, without its tags; raises ImageError."""
        doing = f"save image {image_id[:19]}"
        with self._door(doing, ImageError, reference=image_id):
            response = self._open("/images/get", {"names": image_id}, timeout=None)
        try:
            yield self._doored(lambda: response.raw.stream(1024 * 1024, decode_content=False), doing)
        finally:
            response.close()

    def load_image(self, tar: Iterable[bytes]) -> Image:
        """Take in what :meth:`save_image` gave, also on another rig; raises ImageError where the tar is damaged."""
        doing = "load an image from a tar"
        with self._door(doing, ImageError):
            response: Response = self._client.post(
                f"{self._client.base_url}/v{self._client.api_version}/images/load",
                data=iter(tar),
                params={"quiet": "1"},
                headers={"Content-Type": "application/x-tar"},
                stream=True,
                timeout=None,
            )
            with closing(response):
                self._refuse_status(response)
                # Read to its end: a damaged layer is told there, after a status of 200.
                said = list(json_lines(response.iter_content(64 * 1024)))
        if cause := next(filter(None, map(failure, said)), None):
            raise _image_error(doing, cause, "")
        loaded = re.search(
            r"Loaded image ID: (sha256:[0-9a-f]{64})", " ".join(str(item.get("stream")) for item in said)
        )
        if loaded is None:
            raise ImageError(
                f"cannot {doing}: the Docker Engine does not say what it loaded; is it an image saved by id?"
            )
        return self._made(loaded.group(1), doing)

    def _doored(self, opened: Callable[[], Iterator[bytes]], doing: str) -> Iterator[bytes]:
        with self._door(doing, ImageError):
            yield from opened()

    @contextmanager
    def files(self, image_id: str) -> Iterator[_ImageFiles]:
        """Look into an image through a container that is created, never started, and removed on leaving."""
        doing = f"look into image {image_id[:19]}"
        with self._door(doing, ImageError, reference=image_id):
            # A command is named only because Docker refuses an image without one; it is never run.
            body = {"Image": image_id, "Cmd": ["true"], "NetworkDisabled": True, "HostConfig": {"NetworkMode": "none"}}
            made = self._client.create_container_from_config(body)
        try:
            yield _ImageFiles(self, str(made["Id"]), doing)
        finally:
            self._remove_quietly(str(made["Id"]))

    # ------------------------------------------------------------------ containers

    def create(self, spec: ContainerSpec, secrets: Mapping[str, str]) -> Container:
        """Create, do not start; ``secrets`` maps environment names to values. Leaves nothing behind when it fails."""
        doing = f"create container {spec.name}"
        self._refuse_contradictions(spec, doing)
        body = create_body(spec, secrets, image=self._pinned(spec, doing))
        values = tuple(secrets.values())
        with self._sweeping(spec), self._door(doing, ContainerError, secrets=values):
            made = self._client.create_container_from_config(body, name=spec.name)
        try:
            for warning in made.get("Warnings") or ():
                log.get("runtime").warning("docker warns", container=spec.name, warning=redact(str(warning), values))
            return self._created(str(made["Id"]), doing)
        except BaseException:
            self._remove_quietly(str(made["Id"]))
            raise

    def start(self, container_id: str) -> None:
        """Start a created container; one that runs already is no error."""
        with self._door(f"start container {self._title(container_id)}", ContainerError):
            self._client.start(container_id)

    def signal(self, container_id: str, signal: str) -> None:
        """Send a signal to the first process; a container that is gone, or that does not run, is no error."""
        from docker.errors import APIError

        with self._door(f"send {signal} to container {container_id[:12]}", ContainerError):
            try:
                self._client.kill(container_id, signal=signal)
            except APIError as error:
                if not _gone(error) and "is not running" not in _words(error):
                    raise

    def remove(self, container_id: str) -> None:
        """Remove a container and its anonymous volumes, killing it if need be; one that is gone is no error.

        When this returns it is gone, also where somebody else had begun to remove it.
        """
        from docker.errors import APIError

        with self._door(f"remove container {container_id[:12]}", ContainerError):
            try:
                self._client.remove_container(container_id, v=True, force=True)
            except APIError as error:
                if _gone(error):
                    return
                if "already in progress" not in _words(error):
                    raise
                self._await_removal(container_id)

    def inspect(self, container_id: str) -> Container | None:
        """The container of that id or name, or None where it is gone."""
        found = self._inspect(container_id)
        return None if found is None else container_of(found)

    def inspect_raw(self, container_id: str) -> dict[str, object] | None:
        """Docker's own inspect document, for a crash folder; environment values that may be secret are ``***``."""
        found = self._inspect(container_id)
        return None if found is None else redact_environment(found)

    def containers(self, deployment: str | None = None) -> tuple[Container, ...]:
        """Containers that launchpad labelled, of one deployment or all, running or not, newest first."""
        label = LABEL_DEPLOYMENT if deployment is None else f"{LABEL_DEPLOYMENT}={deployment}"
        with self._door("list containers", RuntimeUnavailable):
            rows: list[dict[str, Any]] = self._read(
                lambda: self._client.containers(all=True, filters={"label": [label]})
            )
        found = [container for row in rows if (container := self.inspect(str(row["Id"]))) is not None]
        return tuple(sorted(found, key=lambda container: container.created_at, reverse=True))

    def pids(self, container_id: str) -> tuple[int, ...]:
        """Host process ids inside the container, empty where it is gone or does not run."""
        from docker.errors import APIError

        with self._door(f"list the processes of container {container_id[:12]}", ContainerError):
            try:
                table: dict[str, Any] = self._read(lambda: self._client.top(container_id, ps_args="-eo pid,comm"))
            except APIError as error:
                if _gone(error) or "is not running" in _words(error):
                    return ()
                raise
        column = table["Titles"].index("PID")
        return tuple(int(row[column]) for row in table["Processes"] or ())

    def read_archive(self, container_id: str, path: str, wanted: Callable[[str], bool], doing: str) -> Tree | None:
        """The regular files at or under ``path`` of a container, running or not; None where there is no such path."""
        from docker.errors import APIError

        with self._door(f"{doing} at {path}", ImageError):
            try:
                found = self._found(lambda: self._client.get_archive(container_id, path))
            except APIError as error:
                # A link to itself, or a file where the path wants a directory: nothing is there, whatever the status.
                if not re.search("too many links|not a directory", _words(error), re.IGNORECASE):
                    raise
                return None
            if found is None:
                return None
            chunks, _ = found
            try:
                return read_tree(chunks, wanted)
            except ValueError as error:
                raise ImageError(f"cannot {doing} at {path}: {error}") from error
            finally:
                chunks.close()

    # ------------------------------------------------------------------ streams

    def logs(
        self, container_id: str, *, follow: bool = False, since: datetime | None = None, tail: int | None = None
    ) -> AbstractContextManager[Iterator[LogLine]]:
        """Lines the container wrote; leaving the context ends a follow from another thread too.

        ``since`` is inclusive; ``tail`` counts lines as they were written (a progress bar's updates are one). Raises
        ContainerError where the container is gone, RuntimeUnavailable where the connection breaks.
        """
        wanted: dict[str, str | int] = {
            "stdout": 1,
            "stderr": 1,
            "timestamps": 1,
            "follow": int(follow),
            "tail": "all" if tail is None else str(tail),
        }
        if since is not None:
            wanted["since"] = f"{since.timestamp():.6f}"
        doing = f"read the log of container {container_id[:12]}"
        path = f"/containers/{quote(container_id, safe='')}/logs"
        return _Stream(
            lambda: self._open(path, wanted, timeout=None if follow else self._timeout_s),
            lambda chunks: _log_lines(chunks, doing),
            lambda: self._door(doing, ContainerError),
        )

    def output(self, container_id: str) -> AbstractContextManager[Iterator[LogLine]]:
        """What a running container writes from now on, as it writes it; leaving the context ends it from another thread too."""
        doing = f"listen to container {container_id[:12]}"
        path = f"/containers/{quote(container_id, safe='')}/attach"
        return _Stream(
            lambda: self._open(path, {"stream": 1, "stdout": 1, "stderr": 1}, timeout=None, method="POST"),
            lambda chunks: _log_lines(chunks, doing),
            lambda: self._door(doing, ContainerError),
        )

    def events(self) -> AbstractContextManager[Iterator[RuntimeEvent]]:
        """Events from now on of labelled containers; leaving the context ends the stream from another thread too.

        The iterator never ends of itself: it raises RuntimeUnavailable where the connection breaks.
        """
        filters = json.dumps({"type": ["container"], "label": [LABEL_DEPLOYMENT], "event": list(LIFECYCLE)})

        def opened() -> Response:
            # The engine answers before it subscribes; `since` has it send what happened in between.
            since = f"{self._clock.now().timestamp():.6f}"
            return self._open("/events", {"filters": filters, "since": since}, timeout=None)

        return _Stream(
            opened, self._events_of, lambda: self._door("follow the Docker Engine's events", RuntimeUnavailable)
        )

    # ------------------------------------------------------------------ volumes

    def volume_exists(self, name: str) -> bool:
        """Whether a volume of that name exists."""
        with self._door(f"inspect volume {name}", ContainerError):
            return self._found(lambda: self._client.inspect_volume(name)) is not None

    def volume_path(self, name: str) -> Path | None:
        """Where a named volume's files lie on this rig, None where there is none or the engine is elsewhere."""
        with self._door(f"inspect volume {name}", ContainerError):
            found: dict[str, Any] | None = self._found(lambda: self._client.inspect_volume(name))
        if found is None or not self._host.startswith("unix://") or not found.get("Mountpoint"):
            return None
        return Path(str(found["Mountpoint"]))

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a named volume; one that exists is no error."""
        with self._door(f"create volume {name}", ContainerError):
            self._client.create_volume(name, labels=dict(labels))

    def remove_volume(self, name: str) -> None:
        """Remove a named volume; one that is gone is no error, one in use raises ContainerError."""
        from docker.errors import APIError

        with self._door(f"remove volume {name}", ContainerError):
            try:
                self._client.remove_volume(name)
            except APIError as error:
                if not _gone(error):
                    raise

    # ------------------------------------------------------------------ the door

    @contextmanager
    def _door(
        self, doing: str, kind: type[LaunchpadError], *, reference: str = "", secrets: Iterable[str] = ()
    ) -> Iterator[None]:
        """Whatever docker-py, requests, urllib3 or the socket raise inside comes out as one of our errors."""
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        values = tuple(secrets)
        try:
            yield
        except (APIError, DockerException, RequestException, HTTPError, OSError) as error:
            said = str(error)
            if isinstance(error, APIError):
                cause, hint = explain(redact(_words(error), values), reference=reference)
                found = (ImageError if cause.endswith(NO_IMAGE) else kind)(f"cannot {doing}: {cause}", hint=hint)
            else:
                found = _unavailable(doing, self._host, error, self._timeout_s)
                found = RuntimeUnavailable(redact(found.message, values), hint=found.hint)
            # An error that carries a secret must not travel on as the cause.
            raise found from (error if redact(said, values) == said else None)

    def _read(self, call: Callable[[], T]) -> T:
        """``call``'s answer, asked again for a moment where the connection failed; only for what changes nothing."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_exponential

        seconds, attempts = READ_AGAIN
        again = Retrying(
            retry=retry_if_exception(_transient),
            stop=stop_after_attempt(attempts) | stop_after_delay(seconds),
            wait=wait_exponential(multiplier=0.2, max=1.0),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return again(call)

    def _found(self, call: Callable[[], T]) -> T | None:
        """``call``'s answer, or None where the engine says that there is no such thing."""
        from docker.errors import APIError

        try:
            return self._read(call)
        except APIError as error:
            if _gone(error):
                return None
            raise

    def _open(
        self, path: str, params: Mapping[str, str | int], *, timeout: float | None, method: str = "GET"
    ) -> Response:
        """A streaming answer; raises APIError. Each read may take ``timeout`` seconds."""
        response: Response = self._client.request(
            method,
            f"{self._client.base_url}/v{self._client.api_version}{path}",
            params=dict(params),
            stream=True,
            timeout=(self._timeout_s, timeout),
        )
        self._refuse_status(response)
        return response

    @staticmethod
    def _refuse_status(response: Response) -> None:
        """Raises docker-py's APIError for an answer that is none."""
        from docker.errors import create_api_error_from_http_exception
        from requests.exceptions import HTTPError

        try:
            response.raise_for_status()
        except HTTPError as error:
            create_api_error_from_http_exception(error)

    # ------------------------------------------------------------------ helpers

    def _inspect(self, container_id: str) -> dict[str, Any] | None:
        with self._door(f"inspect container {container_id[:64]}", ContainerError):
            found: dict[str, Any] | None = self._found(lambda: self._client.inspect_container(container_id))
        return found

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

    def _made(self, reference: str, doing: str) -> Image:
        found = self.image(reference)
        if found is None:
            raise ImageError(f"cannot {doing}: the Docker Engine says it did, but has no such image")
        return found

    def _follow_transfer(
        self,
        messages: Iterable[dict[str, object]],
        feed: Callable[[dict[str, object]], Transfer],
        progress: Callable[[Transfer], None],
        doing: str,
        reference: str,
        *,
        tail: Iterable[str] = (),
    ) -> None:
        """Tells ``progress`` what changed; read to its end, so that the connection is given back, before a failure is."""
        said: Transfer | None = None
        cause: str | None = None
        for message in messages:
            cause = cause or failure(message)
            if (now := feed(message)) != said:
                said = now
                progress(now)
        if cause:
            raise _image_error(doing, cause_in(tail) or cause, reference, tail=tuple(tail))

    def _pinned(self, spec: ContainerSpec, doing: str) -> str:
        """What to create from: the readable reference where it still means ``image_id``, else the id itself."""
        if spec.image_id is None:
            return spec.image
        found = self.image(spec.image)
        if found is not None and found.id == spec.image_id:
            return spec.image
        if self.image(spec.image_id) is None:
            cause = f"the image {spec.image} ({spec.image_id[:19]}) {NO_IMAGE}"
            raise ImageError(f"cannot {doing}: {cause}", hint=f"docker pull {spec.image}")
        return spec.image_id

    def _refuse_contradictions(self, spec: ContainerSpec, doing: str) -> None:
        """Docker discards these without an error; a spec that asks for them means something else than it gets."""
        if spec.ports and spec.network != "bridge":
            raise ContainerError(f'cannot {doing}: ports cannot be published with network "{spec.network}"')

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

    def _remove_quietly(self, container_id: str) -> None:
        with suppress(LaunchpadError):
            self.remove(container_id)

    def _await_removal(self, container_id: str) -> None:
        deadline = self._clock.monotonic() + REMOVAL_TIMEOUT
        while self.inspect(container_id) is not None:
            if self._clock.monotonic() > deadline:
                cause = f"a removal that began earlier did not end within {REMOVAL_TIMEOUT:.0f} s"
                raise ContainerError(f"cannot remove container {container_id[:12]}: {cause}")
            self._clock.sleep(0.1)

    def _events_of(self, chunks: Iterable[bytes]) -> Iterator[RuntimeEvent]:
        for message in json_lines(chunks):
            if event := event_of(message):
                yield event
        raise RuntimeUnavailable(
            f"cannot follow the Docker Engine's events: the Docker Engine at {self._host} closed the connection",
            hint="sudo systemctl status docker",
        )


class _ImageFiles:
    """The files of a container that was never started."""

    def __init__(self, runtime: DockerRuntime, container_id: str, doing: str) -> None:
        self._runtime, self._id, self._doing = runtime, container_id, doing

    def read(self, path: str, wanted: Callable[[str], bool]) -> Tree | None:
        """The regular files at or under ``path``; the engine resolves it inside the image's own root."""
        return self._runtime.read_archive(self._id, path, wanted, self._doing)


class _Stream(Generic[T]):
    """A streaming answer as a context manager whose end comes at once, also while another thread waits for a byte.

    docker-py's own CancellableStream closes the file that the other thread holds locked, and so waits for the next byte
    (docker-py 7.1, docker/types/daemon.py). Shutting the socket down first wakes the reader with an end of file.
    """

    def __init__(
        self,
        opened: Callable[[], Response],
        decode: Callable[[Iterable[bytes]], Iterator[T]],
        door: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._opened = opened
        self._decode = decode
        self._door = door
        self._ended = threading.Event()
        self._response: Response | None = None

    def __enter__(self) -> Iterator[T]:
        with self._door():
            self._response = self._opened()
        return self._items(self._response)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._response is not None:
            with suppress(OSError, ValueError, RuntimeError):  # already at its end, or closed by the reader
                self._response.raw.shutdown()
            with suppress(OSError, ValueError):
                self._response.close()

    def _items(self, response: Response) -> Iterator[T]:
        try:
            for item in self._decode(self._chunks(response)):
                if self._ended.is_set():
                    return
                yield item
        except LaunchpadError:
            if not self._ended.is_set():
                raise

    def _chunks(self, response: Response) -> Iterator[bytes]:
        with self._door():
            try:
                if response.raw.chunked:
                    yield from response.raw.stream(64 * 1024, decode_content=False)
                else:  # an attached container: what there is now, not what fills a buffer
                    while chunk := response.raw.read1(64 * 1024, decode_content=False):
                        yield chunk
            except Exception:
                if not self._ended.is_set():
                    raise


# ---------------------------------------------------------------------- values out of Docker's documents


def create_body(spec: ContainerSpec, secrets: Mapping[str, str], *, image: str) -> dict[str, Any]:
    """The body of ``POST /containers/create`` for ``spec``: every field of it, and nothing that is not in it.

    ``memory_bytes`` limits memory and swap together, so that the limit is one. ``shm_bytes`` is left out
    where /dev/shm is another's.
    Source: Docker Engine API 1.41, ContainerCreate.
    """
    environment = dict(spec.env) | dict(secrets)
    labels = dict(spec.labels)
    if secrets:
        labels[LABEL_SECRETS] = ",".join(sorted(secrets))
    host: dict[str, Any] = {
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "NetworkMode": spec.network,
        "IpcMode": spec.ipc,
        "Init": spec.init,
        "ReadonlyRootfs": spec.read_only_root,
        "LogConfig": LOG_CONFIG,
        "Mounts": [
            {"Type": mount.kind, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
            if mount.kind != "tmpfs"
            else {"Type": "tmpfs", "Target": mount.target, "ReadOnly": mount.read_only}
            for mount in spec.mounts
        ],
        "PortBindings": {
            f"{number}/tcp": [
                {"HostIp": port.host, "HostPort": str(port.host_port)}
                for port in spec.ports
                if port.container_port == number
            ]
            for number in dict.fromkeys(port.container_port for port in spec.ports)
        },
        "CapAdd": list(spec.cap_add),
        "CapDrop": list(spec.cap_drop),
        "SecurityOpt": ["no-new-privileges"] if spec.no_new_privileges else [],
        "Ulimits": [{"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard} for limit in spec.ulimits],
    }
    if spec.gpus:
        host["DeviceRequests"] = [{"Driver": "nvidia", "DeviceIDs": list(spec.gpus), "Capabilities": [["gpu"]]}]
    if spec.shm_bytes is not None and spec.ipc in {"private", "shareable"}:
        host["ShmSize"] = spec.shm_bytes
    if spec.memory_bytes is not None:
        host |= {"Memory": spec.memory_bytes, "MemorySwap": spec.memory_bytes}
    body: dict[str, Any] = {
        "Image": image,
        "Cmd": list(spec.command),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": labels,
        "ExposedPorts": {f"{port.container_port}/tcp": {} for port in spec.ports},
        "StopSignal": spec.stop_signal,
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": host,
    }
    if spec.entrypoint is not None:
        body["Entrypoint"] = list(spec.entrypoint)
    if spec.user is not None:
        body["User"] = spec.user
    return body


def container_of(document: Mapping[str, Any]) -> Container:
    """The container that an inspect document describes."""
    state, config = document["State"], document["Config"]
    status = state["Status"]
    started_at = moment(state.get("StartedAt"))
    ended = started_at is not None and status in {"exited", "dead", "removing"}
    created_at = moment(document["Created"])
    if created_at is None:
        raise ContainerError(f"cannot read container {document['Id'][:12]}: Docker says no time of creation")
    return Container(
        id=document["Id"],
        name=document["Name"].lstrip("/"),
        image=config["Image"],
        image_id=document["Image"],
        status=status,
        created_at=created_at,
        started_at=started_at,
        finished_at=moment(state.get("FinishedAt")) if ended else None,
        exit=ExitStatus(state["ExitCode"], bool(state.get("OOMKilled")), state.get("Error") or "") if ended else None,
        pid=state.get("Pid") or None,
        labels=dict(config.get("Labels") or {}),
    )


def image_of(document: Mapping[str, Any]) -> Image:
    """The image that an inspect document describes."""
    config = document.get("Config") or {}
    pairs = (entry.partition("=") for entry in config.get("Env") or ())
    return Image(
        id=document["Id"],
        tags=tuple(document.get("RepoTags") or ()),
        digests=tuple(document.get("RepoDigests") or ()),
        size_bytes=int(document.get("Size") or 0),
        created_at=moment(document.get("Created")),
        env=tuple((name, value) for name, _, value in pairs),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        labels=dict(config.get("Labels") or {}),
        layers=tuple((document.get("RootFS") or {}).get("Layers") or ()),
        config_hash=_config_hash(config),
    )


#: What an image's metadata tells every container made from it. What else an engine shows there differs from release to release.
_TELLS: Final = (
    *("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "Labels", "ExposedPorts", "Volumes", "StopSignal", "Shell"),
    "Healthcheck",
)


def _config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of what the image tells its containers; empty and absent are one."""
    told = {key: config[key] for key in _TELLS if config.get(key)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _name_and_tag(reference: str) -> tuple[str, str]:
    """``registry:5000/name:1.0`` -> (``registry:5000/name``, ``1.0``); the tag is latest where there is none."""
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (reference, "latest")


def info_of(said: Mapping[str, Any], api_version: str, *, local: bool = False) -> RuntimeInfo:
    """The engine's facts. A GPU hook on dockerd's PATH shows nowhere in them: then ``gpu_ready`` is None, not False.

    Every Docker Engine that we talk to (20.10 and later) carries BuildKit on Linux; Podman, which answers in its place, does not,
    and tells that by a ``BuildahVersion``. ``local``: the engine runs on this machine.
    """
    runtimes = tuple(sorted(said.get("Runtimes") or ()))
    devices = (str(device.get("ID", "")) for device in said.get("DiscoveredDevices") or ())
    ready = "nvidia" in runtimes or any(device.startswith("nvidia.com/gpu") for device in devices)
    return RuntimeInfo(
        version=str(said.get("ServerVersion") or ""),
        api_version=api_version,
        storage_driver=str(said.get("Driver") or ""),
        cgroup_version=str(said.get("CgroupVersion") or "1"),
        runtimes=runtimes,
        gpu_ready=True if ready else None,
        buildkit=said.get("OSType") == "linux" and "BuildahVersion" not in said,
        cpus=int(said.get("NCPU") or 0) or None,
        memory_bytes=int(said.get("MemTotal") or 0) or None,
        root_dir=str(said.get("DockerRootDir") or "") or None if local else None,
    )


def event_of(message: Mapping[str, Any]) -> RuntimeEvent | None:
    """The event in a message of ``GET /events``, or None where it is about no container."""
    actor = message.get("Actor") or {}
    at = _from_nanoseconds(message.get("timeNano"))
    if message.get("Type") != "container" or not actor.get("ID") or at is None:
        return None
    said = actor.get("Attributes") or {}
    code = str(said.get("exitCode", ""))
    return RuntimeEvent(
        at,
        str(message.get("Action", "")),
        str(actor["ID"]),
        said.get(LABEL_DEPLOYMENT),
        int(code) if code.isdigit() else None,
    )


def redact_environment(document: Mapping[str, Any]) -> dict[str, object]:
    """An inspect document whose environment values are ``***`` where the name looks secret or the labels say it is."""
    config = dict(document.get("Config") or {})
    named = set(str((config.get("Labels") or {}).get(LABEL_SECRETS, "")).split(","))
    pairs = (str(entry).partition("=") for entry in config.get("Env") or ())
    config["Env"] = [
        f"{name}=***" if name in named or SECRET_NAME.search(name) else f"{name}={value}" for name, _, value in pairs
    ]
    return dict(document) | {"Config": config}


def _from_nanoseconds(value: object) -> datetime | None:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(value / 1e9, UTC) if isinstance(value, int) else None


def _log_lines(chunks: Iterable[bytes], doing: str) -> Iterator[LogLine]:
    frames, lines = Frames(), Lines()
    try:
        for chunk in chunks:
            for stream, payload in frames.feed(chunk):
                if stream == "error":
                    raise ContainerError(f"cannot {doing}: {payload.decode('utf-8', 'replace').strip()}")
                yield from lines.feed(stream, payload)
    except ValueError as error:
        raise ContainerError(f"cannot {doing}: {error}") from error
    yield from lines.flush()


# ---------------------------------------------------------------------- what went wrong


def _words(error: Exception) -> str:
    """What the engine said in an APIError, without docker-py's frame around it."""
    return str(getattr(error, "explanation", None) or error)


def _gone(error: Exception) -> bool:
    return getattr(error, "status_code", None) == 404


def _transient(error: BaseException) -> bool:
    """Whether asking again may help: the connection broke. A missing socket or a closed door stays what it is."""
    from requests.exceptions import ConnectionError as Broken

    lasting = {errno.ENOENT, errno.EACCES, errno.EPERM}
    return isinstance(error, Broken) and getattr(_root(error), "errno", None) not in lasting


def _root(error: BaseException) -> BaseException:
    """The operating system's error inside the wrappers of docker-py, requests and urllib3, else ``error`` itself."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        here = queue.pop(0)
        if not isinstance(here, BaseException) or any(here is other for other in seen):
            continue
        seen.append(here)
        if isinstance(here, OSError) and here.errno is not None:
            return here
        queue += [*here.args, getattr(here, "reason", None), here.__cause__, here.__context__]
    return error


def _unavailable(doing: str, host: str, error: BaseException, timeout_s: float) -> RuntimeUnavailable:
    """No answer from the engine at ``host``: why, and what to type."""
    from requests.exceptions import Timeout

    root = _root(error)
    where = f"the Docker Engine at {host}"
    number = getattr(root, "errno", None)
    if isinstance(error, Timeout) or isinstance(root, TimeoutError):
        cause, hint = f"{where} did not answer within {timeout_s:g} s", "sudo systemctl status docker"
    elif number == errno.ENOENT and host.startswith("unix://"):
        cause, hint = f"{host} is not there: Docker is not running", "sudo systemctl start docker"
    elif number == errno.ECONNREFUSED:
        cause, hint = f"{where} refuses connections", "sudo systemctl start docker"
    elif number in {errno.EACCES, errno.EPERM}:
        cause, hint = (
            f"permission denied at {host.removeprefix('unix://')}",
            "sudo usermod -aG docker $USER && newgrp docker",
        )
    else:
        cause, hint = f"{where} does not answer ({root})", "docker version"
    return RuntimeUnavailable(f"cannot {doing}: {cause}", hint=hint)


def _image_error(doing: str, said: str, reference: str, *, tail: tuple[str, ...] = ()) -> ImageError:
    cause, hint = explain(said, reference=reference)
    shown = "".join(f"\n  {line}" for line in tail)
    return ImageError(f"cannot {doing}: {cause}{shown}", hint=hint)


# ---------------------------------------------------------------------- what goes in


def _buildkit_settings(
    tag: str, build_args: Mapping[str, str], labels: Mapping[str, str], network: str | None, *, no_cache: bool
) -> dict[str, str]:
    """The query of ``POST /build`` for BuildKit."""
    return {
        "version": "2",
        "t": tag,
        "buildargs": json.dumps(dict(build_args)),
        "labels": json.dumps(dict(labels)),
        **({"networkmode": network} if network else {}),
        **({"nocache": "1"} if no_cache else {}),
    }


def _pack(context: Mapping[str, bytes | Path], into: IO[bytes], doing: str) -> None:
    """The build context as a tar in ``into``, the same bytes for the same content (no times, no owners)."""
    import tarfile
    from io import BytesIO

    with tarfile.open(fileobj=into, mode="w") as archive:
        for name in sorted(context):
            content = context[name]
            entry = tarfile.TarInfo(name)
            entry.mode = 0o644
            if isinstance(content, bytes):
                entry.size = len(content)
                archive.addfile(entry, BytesIO(content))
                continue
            try:
                with content.open("rb") as file:
                    status = content.stat()
                    entry.size = status.st_size
                    entry.mode = 0o755 if status.st_mode & 0o111 else 0o644
                    archive.addfile(entry, file)
            except OSError as error:
                raise ImageError(f"cannot {doing}: {content}: {error.strerror}", hint=f"ls -l {content}") from error
    into.seek(0)


def _knock(host: str) -> None:
    """Raises the kernel's own OSError where nobody listens at a Unix socket (docker-py 7.2 would leak one to say so)."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knock:
            knock.connect(host.removeprefix("unix://"))


def _endpoint(environ: Mapping[str, str]) -> tuple[str, TLSConfig | None]:
    """Where the engine listens, and with which certificates, as the docker command would find it."""
    from docker.tls import TLSConfig
    from docker.utils import kwargs_from_env

    if environ.get("DOCKER_HOST"):
        found = kwargs_from_env(environment=dict(environ))
        return str(found["base_url"]), found.get("tls")
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/"), ".docker"))
    name = environ.get("DOCKER_CONTEXT") or _json_file(folder / "config.json").get("currentContext")
    if not name or name == "default":
        return _DEFAULT_HOST, None
    stem = hashlib.sha256(str(name).encode()).hexdigest()
    meta = _json_file(folder / "contexts" / "meta" / stem / "meta.json")
    host = ((meta.get("Endpoints") or {}).get("docker") or {}).get("Host")
    if not host:
        raise ValueError(f"the docker context {name} cannot be read; see: docker context ls")
    certificates = folder / "contexts" / "tls" / stem / "docker"
    if not certificates.is_dir():
        return str(host), None
    pair = (str(certificates / "cert.pem"), str(certificates / "key.pem"))
    return str(host), TLSConfig(client_cert=pair, ca_cert=str(certificates / "ca.pem"), verify=True)


def _json_file(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read (the docker command goes on, too)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
