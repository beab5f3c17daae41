"""The files inside an image, read through a container that is created, never started, and removed on leaving.

The engine resolves every path inside the image's own root, and what it sends is read with suspicion by ``runtime/archive.py``. It
refuses to run anything of the image, to write anything to disk, and to follow a link out of it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from launchpad.errors import ImageError
from launchpad.runtime.archive import Tree, read_tree
from launchpad.runtime.docker.client import Part
from launchpad.runtime.docker.containers import remove_quietly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: A link to itself, or a file where the path wants a directory: nothing is there, whatever the status.
_NOWHERE = "(?i)too many links|not a directory"


class Files(Part):
    """Looks into images."""

    @contextmanager
    def files(self, image_id: str) -> Iterator[_ImageFiles]:
        """Look into an image through a container that is created, never started, and removed on leaving."""
        doing = f"look into image {image_id[:19]}"
        with self._client.door(doing, ImageError, reference=image_id):
            # A command is named only because Docker refuses an image without one; it is never run.
            body = {"Image": image_id, "Cmd": ["true"], "NetworkDisabled": True, "HostConfig": {"NetworkMode": "none"}}
            container_id = str(self._client.api.create_container_from_config(body)["Id"])
        try:
            yield _ImageFiles(self, container_id, doing)
        finally:
            remove_quietly(self._client, container_id)

    def read_archive(self, container_id: str, path: str, wanted: Callable[[str], bool], doing: str) -> Tree | None:
        """The regular files at or under ``path`` of a container, running or not; None where there is no such path."""
        with self._client.door(f"{doing} at {path}", ImageError):
            found = self._client.found(lambda: self._client.api.get_archive(container_id, path), unless=_NOWHERE)
            if found is None:
                return None
            chunks, _ = found
            try:
                return read_tree(chunks, wanted)
            except ValueError as error:
                raise ImageError(f"cannot {doing} at {path}: {error}") from error
            finally:
                chunks.close()


class _ImageFiles:
    """The files of a container that was never started."""

    def __init__(self, files: Files, container_id: str, doing: str) -> None:
        self._files, self._id, self._doing = files, container_id, doing

    def read(self, path: str, wanted: Callable[[str], bool]) -> Tree | None:
        """The regular files at or under ``path``; the engine resolves it inside the image's own root."""
        return self._files.read_archive(self._id, path, wanted, self._doing)
