"""A profile's flags against the argument schema of the very engine release that will read them, as findings.

The judging is ``engines/flags.py``; this module only chooses the schema and puts problems into findings. The schema is that of the
version found inside the image, else of the version a person names, else of the tag of an official image; none is guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launchpad.doctor.finding import Finding
from launchpad.engines.flags import lint
from launchpad.engines.schemas import load_schema
from launchpad.engines.tags import release_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.deploy.spec import Spec
    from launchpad.doctor.case import ImageFacts
    from launchpad.engines.schemas import ArgumentSchema, EngineName


def linted(spec: Spec) -> EngineName | None:
    """The engine whose flags can be judged, None for one whose command is verbatim."""
    match spec.engine:
        case "sglang" | "vllm" as name:
            return name
        case _:
            return None


def version_of(spec: Spec, image: ImageFacts | None, given: str | None) -> str | None:
    """The engine version that will read the flags, None where it cannot be told."""
    if given is not None:
        return given
    if image is not None and image.engine == spec.engine and image.engine_version is not None:
        return image.engine_version
    return release_of(spec.engine, spec.own_image.named)


def schema_of(spec: Spec, version: str | None) -> ArgumentSchema | None:
    """The shipped schema of that version of the spec's engine, or None."""
    name = linted(spec)
    return load_schema(name, version) if name is not None and version is not None else None


def flag_findings(spec: Spec, schema: ArgumentSchema) -> Iterator[Finding]:
    """What that release's parser would say of the spec's command and environment names."""
    container = spec.server
    words = (*(container.entrypoint or ()), *container.command)
    own = tuple(
        f"{mount.target.rstrip('/')}/" for mount in container.mounts if spec.cache and mount.source == spec.cache.volume
    )
    # What moves a cache onto its volume is launchpad's own, and said to every release: nobody could take it out.
    names = [name for name, value in container.env if not own or not value.startswith(own)]
    for problem in lint(schema.engine, words, names, schema):
        yield Finding(
            id=f"flags.{problem.kind}",
            severity=problem.severity,
            message=problem.message,
            hint=problem.hint,
            source=problem.source or schema.source,
            as_of=schema.extracted,
            evidence=f"{problem.flag} ({schema.engine} {schema.version})",
            hazard=True,
        )
