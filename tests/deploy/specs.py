"""Profiles, rigs, specs and containers for tests: small, whole, and changed by keyword."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from launchpad.deploy.observe import Observed
from launchpad.deploy.spec import Spec, resolve
from launchpad.profiles.catalog import Catalog, shipped_profiles
from launchpad.profiles.schema import Profile
from launchpad.rig.catalog import RigCatalog
from launchpad.rig.facts import Gpu, RigFacts
from launchpad.runtime.base import Container, ExitStatus, Image
from tests.profiles.own_rigs import OWN_RIG

if TYPE_CHECKING:
    from collections.abc import Mapping

SHIPPED = Catalog((shipped_profiles(),))
NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
OWNER = "/var/lib/launchpad"
RIG = "4x-rtx-pro-6000"
GIB = 2**30

#: A whole profile in the fewest words.
SMALL: dict[str, Any] = {
    "format": 1,
    "summary": "a small one",
    "engine": "sglang",
    "image": {"reference": "lmsysorg/sglang:v0.5.23"},
    "model": {"path": "/models/small", "served_name": "small"},
    "gpus": {"count": 2, "compute_capability": ["12.0"], "min_memory": "94GiB"},
    "parallel": {"tensor": 2},
    "publish": {"port": 8000},
}


def table(**changes: Any) -> dict[str, Any]:
    """SMALL with ``changes``: a dict is merged into the table of its name, None takes a key away."""
    made: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in SMALL.items()}
    for key, value in changes.items():
        if value is None:
            made.pop(key)
        elif isinstance(value, dict):
            made[key] = {name: item for name, item in (made.get(key, {}) | value).items() if item is not None}
        else:
            made[key] = value
    return made


def profile(**changes: Any) -> Profile:
    """The profile of :func:`table`."""
    return Profile.model_validate(table(**changes))


def gpu(index: int, **changes: Any) -> Gpu:
    """An RTX PRO 6000, by index."""
    known = Gpu(
        index,
        f"GPU-{index}",
        "RTX PRO 6000",
        compute_capability=(12, 0),
        memory_bytes=97887 << 20,
        power_limit_w=600.0,
    )
    return replace(known, **changes)


def rig(*gpus: Gpu, **changes: Any) -> RigFacts:
    """A rig with these GPUs, four without any, and a driver."""
    return replace(RigFacts(gpus or tuple(gpu(index) for index in range(4)), driver_version="580.167.08"), **changes)


NO_GPU = RigFacts((), driver_version=None)


def spec(
    made: Profile | None = None,
    facts: RigFacts | None = None,
    *,
    taken: Mapping[str, str] | None = None,
    keep: tuple[str, ...] = (),
    image_id: str | None = None,
    name: str = "small",
) -> Spec:
    """A spec; with nothing said, of SMALL on four cards."""
    return resolve(name, made or profile(), facts or rig(), taken=taken or {}, keep=keep, image_id=image_id)


def shipped(name: str) -> Spec:
    """A shipped profile on the recorded rig it is made for, or on a rig without GPUs where it asks for none."""
    found = SHIPPED.load(name).profile
    own = OWN_RIG.get(name)
    facts = RigCatalog(()).facts(own) if own is not None else NO_GPU
    return resolve(name, found, facts, taken={})


def image(id_: str = "sha256:" + "a" * 64) -> Image:
    """An image that is there."""
    return Image(id_, (), (), 1, None)


def container(
    of: Spec,
    status: Literal["created", "running", "exited"] = "running",
    *,
    owner: str = OWNER,
    code: int | None = None,
    labels: Mapping[str, str] | None = None,
) -> Container:
    """The container of a spec, as the runtime would show it."""
    made = of.labelled(owner)[0]
    return Container(
        id="0123456789abcdef",
        name=made.name,
        image=made.image,
        image_id=made.image_id or "sha256:unknown",
        status=status,
        created_at=NOW,
        started_at=NOW,
        finished_at=NOW if status == "exited" else None,
        exit=ExitStatus(code or 0) if status == "exited" else None,
        pid=4711 if status == "running" else None,
        labels=dict(made.labels) if labels is None else labels,
    )


def found(*containers: Container, pulled: bool = True, cache: bool = True, hub: bool = True) -> Observed:
    """What there is: these containers, and by default the image and the volumes."""
    return Observed(containers, image=image() if pulled else None, cache_exists=cache, hub_exists=hub)
