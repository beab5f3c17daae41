"""What an image that is here was built from, compared with what its profile would build now.

An image carries its template's name, its arguments and the hash of its build context as labels; :func:`origin_of` compares them
with a recipe. It asks no network and no Docker Engine, and runs nothing of the image. What the two builders render differently
makes no difference: an image that either of them would make from the recipe is the recipe's. What to do about a difference is
:mod:`launchpad.deploy.plan`'s to say.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from launchpad.deploy.build import LABEL_ARGS, LABEL_CONTEXT, LABEL_TEMPLATE, build_context, context_hash, dockerfile_of
from launchpad.deploy.dockerfile import pins
from launchpad.deploy.observe import Origin
from launchpad.errors import LaunchpadError
from launchpad.runtime.base import LABEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from launchpad.deploy.build import Recipe
    from launchpad.runtime.base import Image

_PIN: Final = f"{LABEL_PREFIX}pin."
_HASH = re.compile(r"(?:sha256:)?[0-9a-f]{40,64}", re.ASCII)
_LONGEST_SHOWN: Final = 60


def origin_of(image: Image, recipe: Recipe) -> Origin:
    """Compare an image with what would be built; never raises for a recipe that is no good, which a build will tell."""
    labels = image.labels
    if LABEL_CONTEXT not in labels:
        return Origin("nobody")
    template = labels.get(LABEL_TEMPLATE, recipe.template)
    if template != recipe.template:
        return Origin("pins", (f"template {template} -> {recipe.template}",))
    was = _arguments(labels)
    now = {name: str(value) for name, value in recipe.args.items()}
    try:
        for buildkit in (True, False):
            context = build_context(recipe.folder, recipe.args, buildkit=buildkit, places=recipe.places)
            if context_hash(context) == labels[LABEL_CONTEXT]:
                return Origin("recipe")
    except (LaunchpadError, OSError) as error:
        # By name alone: a value that is refused may be one that is refused for the password in it.
        named = (
            [] if was is None else [name for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name)]
        )
        return Origin("pins", tuple(named)) if named else Origin("unknown", (_text(error),))
    changes = _changes(was or {}, now) if was is not None else ()
    changes += _label_changes(labels, context, {name.partition(" ")[0] for name in changes})
    return Origin("pins", changes) if changes or was is None else Origin("template")


def _arguments(labels: Mapping[str, str]) -> dict[str, str] | None:
    """The arguments that an image was built with; None where no label tells, or one that is not ours."""
    try:
        said = json.loads(labels.get(LABEL_ARGS, "null"))
    except ValueError:
        return None
    return {str(name): str(value) for name, value in said.items()} if isinstance(said, dict) else None


def _changes(was: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    names = (name for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name))
    return tuple(f"{name} {_shown(was.get(name))} -> {_shown(now.get(name))}" for name in names)


def _label_changes(labels: Mapping[str, str], context: Mapping[str, bytes | Path], told: set[str]) -> tuple[str, ...]:
    """Pins that stand on the image and are others in the Dockerfile: those of the template's own files, too."""
    now = pins(dockerfile_of(context))
    was = {key.removeprefix(_PIN): value for key, value in labels.items() if key.startswith(_PIN)}
    both = {name.replace("-", "_"): name for name in sorted(was.keys() & now.keys()) if was[name] != now[name]}
    return tuple(
        f"{name} {_shown(was[label])} -> {_shown(now[label])}" for name, label in both.items() if name not in told
    )


def _shown(value: str | None) -> str:
    if value is None:
        return "not said"
    if _HASH.fullmatch(value):
        return value.removeprefix("sha256:")[:12]
    return value[:_LONGEST_SHOWN] or '""'


def _text(error: LaunchpadError | OSError) -> str:
    return error.message if isinstance(error, LaunchpadError) else f"{error.filename}: {error.strerror or error}"
