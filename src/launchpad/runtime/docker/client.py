"""The client: the only module that imports docker-py and requests, and the door at which their errors become ours.

docker-py leaks three families (DockerException, requests' ConnectionError and ReadTimeout; APIError is two of them at once), and
streams leak urllib3's and the socket's: :meth:`Client.door` knows them all. Reads that change nothing are tried again for about
two seconds; nothing that acts is ever repeated.

It refuses to know containers or images: the rooms beside it do, and are handed this client. It refuses to let a foreign error, or
an error that carries a secret, past the door. Importing this module is cheap; docker-py is imported by :func:`connected`.
"""

from __future__ import annotations

import errno
import re
from contextlib import closing, contextmanager
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

from launchpad.clock import SystemClock
from launchpad.errors import ImageError, LaunchpadError, RuntimeUnavailable
from launchpad.runtime.causes import NO_IMAGE, explain, redact
from launchpad.runtime.docker.address import DEFAULT_HOST, knock, of_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import TypeAlias

    from docker.api import APIClient
    from docker.tls import TLSConfig
    from requests import Response

    from launchpad.clock import Clock

    #: What the engine answers, as it streams in.
    Answer: TypeAlias = Response

T = TypeVar("T")

#: Seconds an ordinary call may take to answer; streams have no limit.
CALL_TIMEOUT: Final = 60
#: Seconds a read is tried again for while the engine does not answer, and how often at most.
READ_AGAIN: Final = (2.0, 3)

_OLDEST_API: Final = "1.41"  # Docker Engine 20.10


def connected(environ: Mapping[str, str], *, clock: Clock | None, timeout_s: float) -> Client:
    """A client of the Docker Engine that ``environ`` names; it has answered once. Raises RuntimeUnavailable."""
    from docker.api import APIClient
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    host = environ.get("DOCKER_HOST") or DEFAULT_HOST
    try:
        host, tls = _endpoint(environ)
        knock(host)
        # Asked with a client of its own, so that one that fails is closed: docker-py's "auto" would leak its socket.
        settings: Any = {"base_url": host, "tls": tls or False, "timeout": timeout_s}
        with closing(APIClient(**settings, version=_OLDEST_API)) as probe:
            spoken = str(probe.version(api_version=False)["ApiVersion"])
        api = APIClient(**settings, version=spoken)
    except (DockerException, RequestException, OSError, ValueError) as error:
        raise unavailable("use the Docker Engine", host, error, timeout_s) from error
    # A socket needs no proxy and no ~/.netrc; looking for them costs time on every call.
    api.trust_env = not host.startswith("unix://")
    return Client(api, host=host, clock=clock or SystemClock(), timeout_s=timeout_s)


def _endpoint(environ: Mapping[str, str]) -> tuple[str, TLSConfig | None]:
    """Where the engine listens, and with which certificates, as the docker command would find it."""
    from docker.tls import TLSConfig
    from docker.utils import kwargs_from_env

    if environ.get("DOCKER_HOST"):
        found = kwargs_from_env(environment=dict(environ))
        return str(found["base_url"]), found.get("tls")
    host, certificates = of_context(environ)
    if certificates is None:
        return host, None
    pair = (str(certificates / "cert.pem"), str(certificates / "key.pem"))
    return host, TLSConfig(client_cert=pair, ca_cert=str(certificates / "ca.pem"), verify=True)


class Client:
    """One Docker Engine's API: ``api`` is docker-py's client, to be used inside :meth:`door` alone."""

    def __init__(self, api: APIClient, *, host: str, clock: Clock, timeout_s: float) -> None:
        self.api: Any = api  # types-docker leaves half of its methods untyped
        self.host = host
        self.clock = clock
        self.timeout_s = timeout_s

    @property
    def local(self) -> bool:
        """Whether the engine runs on this machine."""
        return self.host.startswith("unix://")

    @contextmanager
    def door(
        self, doing: str, kind: type[LaunchpadError], *, reference: str = "", secrets: Iterable[str] = ()
    ) -> Iterator[None]:
        """Whatever docker-py, requests, urllib3 or the socket raise inside comes out as one of our errors.

        ``doing`` is what the message says could not be done, ``kind`` what a refusal of the engine becomes (ImageError where an
        image is missing), ``reference`` the image in question, ``secrets`` values that no message may show.
        """
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
                found = unavailable(doing, self.host, error, self.timeout_s)
                found = RuntimeUnavailable(redact(found.message, values), hint=found.hint)
            # An error that carries a secret must not travel on as the cause.
            raise found from (error if redact(said, values) == said else None)

    def read(self, call: Callable[[], T]) -> T:
        """``call``'s answer, asked again for a moment where the connection failed; only for what changes nothing."""
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_exponential

        seconds, attempts = READ_AGAIN
        again = Retrying(
            retry=retry_if_exception(_transient),
            stop=stop_after_attempt(attempts) | stop_after_delay(seconds),
            wait=wait_exponential(multiplier=0.2, max=1.0),
            sleep=self.clock.sleep,
            reraise=True,
        )
        return again(call)

    def found(self, call: Callable[[], T], *, unless: str | None = None) -> T | None:
        """What :meth:`read` gives, or None where there is no such thing, or the engine refuses in words that match ``unless``."""
        from docker.errors import APIError

        try:
            return self.read(call)
        except APIError as error:
            if _gone(error) or _says(error, unless):
                return None
            raise

    def act(self, call: Callable[[], object], *, unless: str | None = None) -> bool:
        """Do it, once; there being no such thing (any more) is no error.

        False where the engine refuses in words that match ``unless``; every other refusal is raised.
        """
        from docker.errors import APIError

        try:
            call()
        except APIError as error:
            if not _gone(error) and not _says(error, unless):
                raise
            return _gone(error)
        return True

    def stream(
        self, path: str, params: Mapping[str, str | int], *, timeout: float | None, method: str = "GET"
    ) -> Answer:
        """A streaming answer; raises APIError. Each read may take ``timeout`` seconds."""
        limits = (self.timeout_s, timeout)
        return _accepted(self.api.request(method, self._url(path), params=dict(params), stream=True, timeout=limits))

    def upload(self, path: str, tar: IO[bytes] | Iterable[bytes], params: Mapping[str, str]) -> Answer:
        """The streaming answer to a tar, however long either takes; raises APIError. Closing it stops what it asked for."""
        settings: Any = {"headers": {"Content-Type": "application/x-tar"}, "stream": True, "timeout": None}
        return _accepted(self.api.post(self._url(path), data=tar, params=dict(params), **settings))

    def _url(self, path: str) -> str:
        return f"{self.api.base_url}/v{self.api.api_version}{path}"


class Part:
    """Some of a runtime's methods, over the client that all of them share."""

    def __init__(self, client: Client) -> None:
        self._client = client


# ---------------------------------------------------------------------- what went wrong


def _accepted(answer: Answer) -> Answer:
    """Raises docker-py's APIError for an answer that is none, and lets go of its connection."""
    from docker.errors import create_api_error_from_http_exception
    from requests.exceptions import HTTPError

    try:
        answer.raise_for_status()
    except HTTPError as error:
        with closing(answer):
            create_api_error_from_http_exception(error)
    return answer


def _words(error: Exception) -> str:
    """What the engine said in an APIError, without docker-py's frame around it."""
    return str(getattr(error, "explanation", None) or error)


def _says(error: Exception, pattern: str | None) -> bool:
    return pattern is not None and re.search(pattern, _words(error)) is not None


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


def _start(host: str) -> str:
    """What to type where nobody listens at ``host``: Docker's own unit listens at the default socket and nowhere else."""
    if host in {DEFAULT_HOST, "unix:///run/docker.sock"}:
        return "sudo systemctl start docker"
    return f"DOCKER_HOST or the docker context names {host}: start the engine that listens there, or correct it (docker context ls)"


def unavailable(doing: str, host: str, error: BaseException, timeout_s: float) -> RuntimeUnavailable:
    """No answer from the engine at ``host``: why, and what to type."""
    from requests.exceptions import Timeout

    root = _root(error)
    where = f"the Docker Engine at {host}"
    number = getattr(root, "errno", None)
    if isinstance(error, Timeout) or isinstance(root, TimeoutError):
        cause, hint = f"{where} did not answer within {timeout_s:g} s", "sudo systemctl status docker"
    elif number == errno.ENOENT and host.startswith("unix://"):
        cause, hint = f"{host} is not there: Docker is not running", _start(host)
    elif number == errno.ECONNREFUSED:
        cause, hint = f"{where} refuses connections", _start(host)
    elif number in {errno.EACCES, errno.EPERM}:
        cause, hint = (
            f"permission denied at {host.removeprefix('unix://')}",
            "sudo usermod -aG docker $USER && newgrp docker",
        )
    else:
        cause, hint = f"{where} does not answer ({root})", "docker version"
    return RuntimeUnavailable(f"cannot {doing}: {cause}", hint=hint)
