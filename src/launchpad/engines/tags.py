"""What an image's reference tells by itself: its repository, its tag, and the release that a tag of an official image names.

Read in one place, so that flags, hazards and reasoning modes never take one image for two releases. A name is not what is in the
image: who has looked inside knows better. Nothing here asks a registry, and a tag that tells no release (``latest``, ``nightly``,
``dev``) gives None.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Repositories whose tags carry the engine's own release -> that engine. Dynamo's images carry Dynamo's and stand elsewhere.
ENGINES: Final[Mapping[str, str]] = {
    "vllm/vllm-openai": "vllm",
    "lmsysorg/sglang": "sglang",
    "nvcr.io/nvidia/tensorrt-llm/release": "trtllm",
}
#: ``v0.27.0``, ``v0.5.12.post1-cu130-runtime``, ``1.3.0rc24``, ``v0.27.0-cu129-x86_64``: a release, and what it was built for.
_RELEASE: Final = re.compile(r"v?(\d+\.\d+(?:\.\d+)*(?:(?:rc|a|b)\d+)?(?:\.?post\d+)?)(?:-[A-Za-z0-9_.-]+)?")
#: Docker's names for the registry that it asks where a reference names none.
_DOCKER_HUB: Final = ("docker.io/", "index.docker.io/")


@lru_cache(maxsize=512)
def image_parts(reference: str) -> tuple[str, str | None]:
    """Repository (without Docker Hub's own name) and tag of a reference; tag None where only a digest or nothing stands there."""
    name = reference.split("@", 1)[0]
    name = next((name.removeprefix(hub) for hub in _DOCKER_HUB if name.startswith(hub)), name)
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, None)


@lru_cache(maxsize=512)
def release_of_tag(tag: str | None) -> str | None:
    """``0.27.0`` of ``v0.27.0-cu129-x86_64``; None for a tag that begins with no release."""
    matched = _RELEASE.fullmatch(tag) if tag else None
    return matched[1] if matched else None


def release_of(engine: str, reference: str, engines: Mapping[str, str] = ENGINES) -> str | None:
    """The release of ``engine`` by the tag of one of its own images (``engines``: repository -> engine); None for all others."""
    repository, tag = image_parts(reference)
    return release_of_tag(tag) if engines.get(repository) == engine else None
