"""Named volumes: whether there is one, where its files lie, made and removed.

It refuses to remove one that a container uses, and to name a path that lies on another machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from launchpad.errors import ContainerError
from launchpad.runtime.docker.client import Part

if TYPE_CHECKING:
    from collections.abc import Mapping


class Volumes(Part):
    """Named volumes."""

    def volume_exists(self, name: str) -> bool:
        """Whether a volume of that name exists."""
        return self._volume(name) is not None

    def volume_path(self, name: str) -> Path | None:
        """Where a named volume's files lie on this rig, None where there is none or the engine is elsewhere."""
        found = self._volume(name)
        if found is None or not self._client.local or not found.get("Mountpoint"):
            return None
        return Path(str(found["Mountpoint"]))

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a named volume; one that exists is no error."""
        with self._client.door(f"create volume {name}", ContainerError):
            self._client.api.create_volume(name, labels=dict(labels))

    def remove_volume(self, name: str) -> None:
        """Remove a named volume; one that is gone is no error, one in use raises ContainerError."""
        with self._client.door(f"remove volume {name}", ContainerError):
            self._client.act(lambda: self._client.api.remove_volume(name))

    def _volume(self, name: str) -> dict[str, Any] | None:
        with self._client.door(f"inspect volume {name}", ContainerError):
            found: dict[str, Any] | None = self._client.found(lambda: self._client.api.inspect_volume(name))
        return found
