"""Images: looked at, fetched, named, imported, saved and loaded.

What the engine says of a transfer is passed on as progress, and read to its end before a failure is told, so that the connection
is given back. It refuses to choose: a reference is used as it is given. (Images are built in ``builds``, looked into by ``files``.)
"""

from __future__ import annotations

import re
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from launchpad.errors import ImageError
from launchpad.runtime.causes import explain
from launchpad.runtime.docker.client import Part
from launchpad.runtime.docker.documents import image_of
from launchpad.runtime.frames import json_lines
from launchpad.runtime.transfers import PullProgress, cause_in, failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from launchpad.runtime.base import Image, Transfer
    from launchpad.runtime.docker.client import Answer, Client


class Images(Part):
    """Images that are there, or come from elsewhere."""

    def image(self, reference: str) -> Image | None:
        """The image of that tag, digest (``repo@sha256:...``) or id where it is present, else None."""
        return find(self._client, reference)

    def pull(self, reference: str, progress: Callable[[Transfer], None]) -> Image:
        """Fetch an image from its registry; raises ImageError with the registry's reason."""
        doing = f"pull {reference}"
        steps = PullProgress(f"pulling {reference}")
        with self._client.door(doing, ImageError, reference=reference):
            messages = json_lines(self._client.api.pull(reference, stream=True, decode=False))
            follow(messages, steps.feed, progress, doing, reference)
        return made(self._client, reference, doing)

    def import_image(self, tar: Path, tag: str, *, changes: tuple[str, ...]) -> Image:
        """Make a one-layer image of a root filesystem's tar; ``changes`` are Dockerfile instructions."""
        doing = f"import {tag} from {tar}"
        if not tar.is_file():
            raise ImageError(f"cannot {doing}: there is no such file", hint=f"ls -l {tar}")
        repository, version = _name_and_tag(tag)
        with self._client.door(doing, ImageError, reference=tag):
            said = self._client.api.import_image_from_file(str(tar), repository, version, changes=list(changes))
            for message in json_lines([str(said).encode()]):
                if cause := failure(message):
                    raise _refused(doing, cause, tag)
        return made(self._client, tag, doing)

    def tag(self, image_id: str, reference: str) -> None:
        """Give an image one more name, taking it from any other that has it; raises ImageError."""
        doing = f"tag {image_id[:19]} as {reference}"
        repository, version = _name_and_tag(reference)
        with self._client.door(doing, ImageError, reference=image_id):
            if not self._client.api.tag(image_id, repository, version, force=True):
                raise ImageError(f"cannot {doing}: the Docker Engine did not do it")

    @contextmanager
    def save_image(self, image_id: str) -> Iterator[Iterator[bytes]]:
        """The image as a tar, in chunks, without its tags; raises ImageError."""
        doing = f"save image {image_id[:19]}"
        with self._client.door(doing, ImageError, reference=image_id):
            answer = self._client.stream("/images/get", {"names": image_id}, timeout=None)
        with closing(answer):
            yield self._chunks(answer, doing)

    def load_image(self, tar: Iterable[bytes]) -> Image:
        """Take in what :meth:`save_image` gave, also on another rig; raises ImageError where the tar is damaged."""
        doing = "load an image from a tar"
        with (
            self._client.door(doing, ImageError),
            closing(self._client.upload("/images/load", iter(tar), {"quiet": "1"})) as answer,
        ):
            # Read to its end: a damaged layer is told there, after a status of 200.
            said = list(json_lines(answer.iter_content(64 * 1024)))
        if cause := next(filter(None, map(failure, said)), None):
            raise _refused(doing, cause, "")
        loaded = re.search(
            r"Loaded image ID: (sha256:[0-9a-f]{64})", " ".join(str(item.get("stream")) for item in said)
        )
        if loaded is None:
            raise ImageError(
                f"cannot {doing}: the Docker Engine does not say what it loaded; is it an image saved by id?"
            )
        return made(self._client, loaded.group(1), doing)

    def _chunks(self, answer: Answer, doing: str) -> Iterator[bytes]:
        with self._client.door(doing, ImageError):
            yield from answer.raw.stream(1024 * 1024, decode_content=False)


def find(client: Client, reference: str) -> Image | None:
    """The image of that tag, digest or id where it is present, else None."""
    with client.door(f"inspect image {reference}", ImageError, reference=reference):
        document = client.found(lambda: client.api.inspect_image(reference))
    return None if document is None else image_of(document)


def made(client: Client, reference: str, doing: str) -> Image:
    """The image that the engine says it made; raises ImageError where there is none after all."""
    image = find(client, reference)
    if image is None:
        raise ImageError(f"cannot {doing}: the Docker Engine says it did, but has no such image")
    return image


def follow(
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
        raise _refused(doing, cause_in(tail) or cause, reference, tail=tuple(tail))


def _refused(doing: str, said: str, reference: str, *, tail: tuple[str, ...] = ()) -> ImageError:
    cause, hint = explain(said, reference=reference)
    shown = "".join(f"\n  {line}" for line in tail)
    return ImageError(f"cannot {doing}: {cause}{shown}", hint=hint)


def _name_and_tag(reference: str) -> tuple[str, str]:
    """``registry:5000/name:1.0`` -> (``registry:5000/name``, ``1.0``); the tag is latest where there is none."""
    name, colon, tag = reference.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (reference, "latest")
