"""The JSON Schema of a profile file, for editors that complete and underline TOML.

pydantic's schema of ``Profile``, with what belongs to the file and not to the profile: ``extends``, and that a layer may leave
out what its base says. It is looser than ``check`` there, and never stricter; it refuses to be a second validator.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema

from launchpad.profiles.schema import Profile

_MERGED_TABLES: Final = ("Image", "Model", "Publish", "Build")
"""Tables that merge key by key, so that what they need may stand in the base."""

EXTENDS_SCHEMA: Final = {
    "type": "string",
    "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$",
    "title": "Extends",
    "description": "Name of the profile this one is laid over: tables merge key by key, scalars and lists replace",
}


class _Spelled(GenerateJsonSchema):
    """Defaults as people write them: 20m, not PT1200S."""

    def encode_default(self, dft: Any) -> Any:
        return spelled(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def spelled(duration: timedelta) -> str:
    """A duration in the largest unit that divides it: ``20m``, ``1h``, ``90s``."""
    seconds = duration.total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if seconds and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds * 1000:.0f}ms"


def editor_schema() -> dict[str, Any]:
    """A fresh schema; see the module."""
    schema = Profile.model_json_schema(schema_generator=_Spelled)
    for name in _MERGED_TABLES:
        schema["$defs"][name].pop("required", None)
    needed = schema.pop("required")
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        **schema,
        "title": "launchpad profile",
        "properties": {"extends": EXTENDS_SCHEMA, **schema["properties"]},
        "anyOf": [{"required": ["extends"]}, {"required": needed}],
    }
