"""Shell completion: names of what can be typed, from profiles to modes. It never fails and never talks to Docker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launchpad.cli.world import World
from launchpad.errors import LaunchpadError

if TYPE_CHECKING:
    from collections.abc import Callable


def profiles(incomplete: str) -> list[str]:
    """Profiles that can be brought up."""
    return _starting(incomplete, World().profiles.names)


def deployments(incomplete: str) -> list[str]:
    """Deployments that were ever brought up here."""
    return _starting(incomplete, lambda: tuple(item.name for item in World().store.deployments()))


def versions(ctx: Any, incomplete: str) -> list[str]:
    """Versions of the deployment that the line names, newest first."""
    name = ctx.params.get("name") or ""
    return _starting(incomplete, lambda: tuple(map(str, reversed(World().store.known(name).history.numbers()))))


def rigs(incomplete: str) -> list[str]:
    """Recorded rigs."""
    return _starting(incomplete, World().rigs.names)


def faults(incomplete: str) -> list[str]:
    """Faults that a rehearsal can play."""
    from launchpad.rehearse.faults import examples

    return _starting(incomplete, examples)


def hazards(incomplete: str) -> list[str]:
    """Ids of hazards that ``--accept`` takes."""
    from launchpad.doctor.rules import RULES

    return _starting(incomplete, lambda: tuple(sorted(rule.id for rule in RULES)))


def modes(incomplete: str) -> list[str]:
    """Modes of reasoning as ``--think`` takes them: short, and in full where that is begun."""
    from launchpad.engines.reasoning import MODES, SHORT

    return _starting(incomplete, lambda: (*SHORT, *(mode for mode in MODES if "-" in incomplete)))


def _starting(incomplete: str, names: Callable[[], tuple[str, ...]]) -> list[str]:
    try:
        return [name for name in names() if name.startswith(incomplete)]
    except LaunchpadError:
        return []
