"""What is there now, as one value, so that planning needs no further question.

:func:`observe` asks the runtime once; :func:`ours` tells our containers from those of another launchpad on the same Docker Engine
(another state directory), which are never adopted and never removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from launchpad.runtime.base import LABEL_OWNER, Container, Image

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launchpad.deploy.spec import Spec
    from launchpad.runtime.base import Runtime


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an image stands to its profile's recipe.

    ``recipe``: it is what would be built now. ``pins``: its pins are others, ``changes`` says which where the labels tell;
    ``template``: its pins are the same, and the template's own files are not. ``nobody``: it has no label of a build.
    ``unknown``: the recipe cannot be rendered, ``changes`` says why.
    """

    kind: Literal["recipe", "pins", "template", "nobody", "unknown"]
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observed:
    """A deployment as found: its containers, strangers under its name, its image, and whether the volumes are there.

    ``origin`` says where an image that is made here stands to what its profile would build now; None: nobody has compared.
    """

    containers: tuple[Container, ...] = ()
    strangers: tuple[Container, ...] = ()
    image: Image | None = None
    cache_exists: bool = False
    hub_exists: bool = False
    origin: Origin | None = None


def ours(containers: Iterable[Container], owner: str) -> tuple[Container, ...]:
    """Those of ``containers`` that the launchpad with state directory ``owner`` made."""
    return tuple(container for container in containers if container.labels.get(LABEL_OWNER) == owner)


def observe(spec: Spec, runtime: Runtime, owner: str) -> Observed:
    """Ask the runtime what there is of ``spec``; raises RuntimeUnavailable where it does not answer."""
    found = runtime.containers(spec.name)
    mine = ours(found, owner)
    return Observed(
        containers=mine,
        strangers=tuple(container for container in found if container not in mine),
        image=runtime.image(spec.image.reference) if spec.image is not None else None,
        cache_exists=spec.cache is not None and runtime.volume_exists(spec.cache.volume),
        hub_exists=spec.hub_volume is not None and runtime.volume_exists(spec.hub_volume),
    )
