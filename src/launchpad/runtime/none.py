"""The runtime of a deployment with nothing to launch: it has no containers and never anything to tell.

A supervisor of a hosted endpoint needs no Docker Engine, and must not be blind where there is none. What would make, change or look
into something is refused.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from launchpad.errors import ContainerError
from launchpad.runtime.base import RuntimeInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.runtime.base import Container, Image, RuntimeEvent


class NoRuntime:
    """See the module; a :class:`~launchpad.runtime.base.Runtime` as far as a hosted deployment meets one."""

    def info(self) -> RuntimeInfo:
        """Nothing runs anything here."""
        return RuntimeInfo("none", "none", "none", "none", (), gpu_ready=None)

    def containers(self, deployment: str | None = None) -> tuple[Container, ...]:  # noqa: ARG002 - there are none of any
        """None."""
        return ()

    def image(self, reference: str) -> Image | None:  # noqa: ARG002 - there is none of any name
        """None."""
        return None

    def inspect(self, container_id: str) -> Container | None:  # noqa: ARG002 - as above
        """None."""
        return None

    def volume_exists(self, name: str) -> bool:  # noqa: ARG002 - as above
        """No."""
        return False

    @contextlib.contextmanager
    def events(self) -> Iterator[Iterator[RuntimeEvent]]:
        """Nothing happens until the context is left."""
        left = threading.Event()

        def silence() -> Iterator[RuntimeEvent]:
            left.wait()
            yield from ()

        try:
            yield silence()
        finally:
            left.set()

    def close(self) -> None:
        """Nothing is held."""

    def __getattr__(self, name: str) -> Any:
        def refused(*_args: object, **_kwargs: object) -> NoReturn:
            raise ContainerError(f"cannot {name} anything for a hosted deployment: nothing of it runs here")

        return refused
