"""What a person may turn to while a deployment does not serve: the hosted profile that its own profile names.

Nothing is ever sent there by launchpad itself. Whoever turns to it should know that what is asked leaves the rig.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launchpad.doctor.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.cli.world import World


def fallback_of(world: World, name: str | None) -> dict[str, Any] | None:
    """The fallback ``name`` under the published names of ``status --json``; None where there is none.

    ``phase``, ``endpoint`` and ``model`` are None where it is not up here. FAILED stays told: it would fail again.
    """
    from launchpad.supervise.machine import Phase
    from launchpad.supervise.snapshot import Snapshot

    if name is None:
        return None
    deployment = world.store.deployment(name)
    snapshot = deployment.read_state(Snapshot, world.clock.now())
    failed = snapshot is not None and snapshot.state.phase is Phase.FAILED
    if snapshot is None or not (failed or deployment.supervisor_pid() is not None):
        return {"name": name, "phase": None, "endpoint": None, "model": None}
    phase = str(snapshot.state.phase)
    return {"name": name, "phase": phase, "endpoint": snapshot.endpoint, "model": snapshot.model}


def fallback_text(view: dict[str, Any]) -> str:
    """``v4-flash-deepseek-api: READY, deepseek-flash at https://...; what is asked there leaves this rig``."""
    name = view["name"]
    if view["phase"] is None:
        return f"{name}, not up: launchpad up {name} (what is asked there leaves this rig)"
    if view["phase"] == "FAILED":
        return f"{name}: FAILED; launchpad status {name} tells why"
    return f"{name}: {view['phase']}, {view['model']} at {view['endpoint']}/v1 (what is asked there leaves this rig)"


def fallback_findings(world: World, name: str | None) -> Iterator[Finding]:
    """What is wrong with a fallback that a profile names."""
    from launchpad.errors import LaunchpadError

    if name is None:
        return
    try:
        problem = None if world.profiles.load(name).profile.hosted is not None else "it is not hosted"
    except LaunchpadError as error:
        problem = error.message
    if problem is not None:
        yield Finding(
            "fallback.unusable",
            "warns",
            f"fallback {name} cannot be turned to: {problem}",
            "name a profile with engine hosted under fallback: launchpad profiles list",
        )
