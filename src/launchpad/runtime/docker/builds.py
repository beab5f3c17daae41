"""Builds: an image from a context, by the classic builder or by the BuildKit inside the engine.

Neither needs a plugin or the docker command; docker-py has no words for BuildKit, so its request is made here. It refuses to read
a Dockerfile: what is built, and from what, was decided before.
"""

from __future__ import annotations

import json
import tarfile
from contextlib import closing
from io import BytesIO
from typing import IO, TYPE_CHECKING

from launchpad.errors import ImageError
from launchpad.runtime.buildkit import BuildKitProgress
from launchpad.runtime.docker.client import Part
from launchpad.runtime.docker.images import follow, made
from launchpad.runtime.frames import json_lines
from launchpad.runtime.transfers import BuildProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from launchpad.runtime.base import Image, Transfer


class Builds(Part):
    """Images that are made here."""

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
            with self._client.door(doing, ImageError, reference=tag):
                if buildkit:
                    wanted = _buildkit_settings(tag, build_args, labels, network, no_cache=no_cache)
                    # Closing the answer stops the build.
                    with closing(self._client.upload("/build", archive, wanted)) as answer:
                        said = json_lines(answer.iter_content(None))
                        follow(said, steps.feed, progress, doing, tag, tail=steps.tail)
                else:
                    said = self._client.api.build(
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
                    follow(json_lines(said), steps.feed, progress, doing, tag, tail=steps.tail)
        return made(self._client, tag, doing)


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
