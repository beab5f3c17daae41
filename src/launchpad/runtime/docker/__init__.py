"""The Docker Engine behind :class:`~launchpad.runtime.base.Runtime`, through docker-py; one module for each thing it has.

================  ==================================================================================================
``client``        the only module that imports docker-py: connects, and lets no foreign error past its door
``address``       where the engine listens, as the docker command finds it
``documents``     our values out of Docker's documents, and the request for a container; pure
``containers``    created, started, signalled, removed, looked at
``images``        looked at, fetched, named, imported, saved, loaded
``builds``        made from a context, by either builder
``files``         inside an image, without running it
``streams``       logs, output, events
``volumes``       named volumes
================  ==================================================================================================

It refuses to decide: a spec is passed on field by field, Docker's restart policy is always ``no``, a bind mount whose source
is missing is an error and never a new directory, and no secret reaches a label or an error text. Importing this package is
cheap; docker-py is imported by :func:`connect`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launchpad.errors import RuntimeUnavailable
from launchpad.runtime.docker.builds import Builds
from launchpad.runtime.docker.client import CALL_TIMEOUT, connected
from launchpad.runtime.docker.containers import Containers
from launchpad.runtime.docker.documents import container_of, create_body, info_of
from launchpad.runtime.docker.files import Files
from launchpad.runtime.docker.images import Images
from launchpad.runtime.docker.streams import Streams
from launchpad.runtime.docker.volumes import Volumes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.clock import Clock
    from launchpad.runtime.base import RuntimeInfo

__all__ = ["DockerRuntime", "connect", "container_of", "create_body", "info_of"]


def connect(
    environ: Mapping[str, str], *, clock: Clock | None = None, timeout_s: float = CALL_TIMEOUT
) -> DockerRuntime:
    """The Docker Engine that ``environ`` names, as the docker command finds it; it has answered once.

    DOCKER_HOST (with DOCKER_TLS_VERIFY and DOCKER_CERT_PATH), else the docker command's current context, else the default
    socket. ``timeout_s`` is how long an ordinary call may take to answer; streams have no limit. Raises RuntimeUnavailable
    with the reason and what to do.
    """
    return DockerRuntime(connected(environ, clock=clock, timeout_s=timeout_s))


class DockerRuntime(Containers, Images, Builds, Files, Streams, Volumes):
    """A Docker Engine. Safe to use from several threads; made by :func:`connect`."""

    def info(self) -> RuntimeInfo:
        """Facts about the engine; raises RuntimeUnavailable where it does not answer."""
        with self._client.door("ask the Docker Engine about itself", RuntimeUnavailable):
            said: dict[str, Any] = self._client.read(self._client.api.info)
        return info_of(said, self._client.api.api_version, local=self._client.local)

    def close(self) -> None:
        """Let go of connections."""
        self._client.api.close()
