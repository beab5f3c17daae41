"""The difference between what is wanted and what is there, as a value that can be printed before anything is done.

:func:`make_plan` is pure: spec x observed -> steps, each with its cause in words a person understands. Doing nothing has one too.
Steps of kind pull, build and volume are carried out by ``up``; container steps by the deployment's supervisor.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal

from launchpad.runtime.base import LABEL_SPEC_HASH
from launchpad.units import show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from launchpad.deploy.observe import Observed, Origin
    from launchpad.deploy.spec import Spec
    from launchpad.runtime.base import ContainerSpec

Action = Literal["pull", "build", "create-volume", "create", "start", "ask", "stop", "remove", "keep"]


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step: what is done, to what, and why."""

    action: Action
    target: str
    cause: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order they happen. ``changes`` are the differences that make a replacement necessary."""

    steps: tuple[PlanStep, ...]
    changes: tuple[str, ...] = ()

    @property
    def keeps(self) -> bool:
        """Whether nothing is to be done."""
        return all(step.action == "keep" for step in self.steps)

    def __str__(self) -> str:
        """Golden text: one line a step, columns aligned."""
        width = max((len(step.action) for step in self.steps), default=0)
        target = max((len(step.target) for step in self.steps), default=0)
        return "\n".join(f"{step.action:<{width}}  {step.target:<{target}}  {step.cause}" for step in self.steps)


def make_plan(
    spec: Spec, found: Observed, *, phase: str | None, before: Spec | None, warm: bool, fetched: bool = False
) -> Plan:
    """What it takes to make ``spec`` so.

    ``phase`` is the deployment's last known one, ``before`` the spec it was brought up with, ``warm`` whether a start has filled
    the cache volume, ``fetched`` that the image has just been pulled or built.
    """
    if spec.hosted is not None:
        return _ask(spec, phase=phase, before=before)
    steps = [*([] if fetched else _image_steps(spec, found)), *_volume_steps(spec, found, warm=warm)]
    drifted = [item for item in found.containers if item.labels.get(LABEL_SPEC_HASH) != spec.hash]
    running = [item for item in found.containers if item.running]
    if running and not drifted and all(step.action in {"pull", "keep"} for step in steps):
        state = phase.lower() if phase else "running"
        pulls = any(step.action == "pull" for step in steps)
        cause = f"already {state}, spec unchanged" + (", unless the pull brings another image" if pulls else "")
        return Plan((*steps, *(PlanStep("keep", f"container {item.name}", cause) for item in running)))
    changes = changed(before, spec) if before is not None and drifted else ()
    cause = _cause(found, changes, drifted=bool(drifted), steps=steps)
    for item in found.containers:
        if item.running:
            steps.append(PlanStep("stop", f"container {item.name}", cause))
        steps.append(PlanStep("remove", f"container {item.name}", cause))
    for container in spec.containers:
        why = cause if found.containers else "no container of this deployment"
        steps.append(PlanStep("create", f"container {container.name}", why))
        steps.append(PlanStep("start", f"container {container.name}", _temperature(spec, warm=warm)))
    return Plan(tuple(steps), changes)


def _ask(spec: Spec, *, phase: str | None, before: Spec | None) -> Plan:
    """A hosted deployment is asked and nothing else."""
    target = f"endpoint {spec.endpoint}"
    before = None if before is None or before.hosted is None else before
    if before is not None and before.hash == spec.hash and phase == "READY":
        return Plan((PlanStep("keep", target, "already ready, spec unchanged"),))
    changes = changed(before, spec) if before is not None else ()
    asked = "its list of models" if spec.completion.kind == "none" else "one short completion"
    why = _first(changes) or f"hosted elsewhere: {asked}, and nothing is started here"
    return Plan((PlanStep("ask", target, why),), changes)


def _cause(found: Observed, changes: tuple[str, ...], *, drifted: bool, steps: list[PlanStep]) -> str:
    if drifted:
        return _first(changes) or "spec hash changed"
    if any(item.running for item in found.containers):
        return next((step.cause for step in steps if step.action != "keep"), "asked")
    return "ended, left behind"


def _first(changes: tuple[str, ...]) -> str:
    """The first change, and how many more there are; empty where there is none."""
    return "".join(changes[:1]) + (f" (and {len(changes) - 1} more)" if len(changes) > 1 else "")


def _image_steps(spec: Spec, found: Observed) -> list[PlanStep]:
    image, target = spec.own_image, f"image {spec.own_image.reference}"
    if spec.rehearsal is not None:
        return [] if found.image else [PlanStep("build", target, "the rehearsal's stand-in is made on the spot")]
    if image.build_template is not None:
        if found.image is None:
            return [PlanStep("build", target, f"not present; made from template {image.build_template}")]
        return _rebuild_steps(spec, target, found.origin)
    if image.pull == "always":
        return [PlanStep("pull", target, "the profile says pull = always")]
    if found.image is None and image.pull == "missing":
        return [PlanStep("pull", target, "not present on this Docker Engine")]
    return []


def _rebuild_steps(spec: Spec, target: str, origin: Origin | None) -> list[PlanStep]:
    """An image with other pins than the profile's is built again; any other difference is told, and a person decides."""
    template, again = spec.own_image.build_template, f"launchpad build {spec.name}"
    if origin is None or origin.kind == "recipe":
        return []
    if origin.kind == "pins":
        said = f": {_first(origin.changes)}" if origin.changes else ", or its template did"
        return [PlanStep("build", target, f"its pins changed since it was built{said}")]
    told = {
        "template": f"template {template} changed since it was built, its pins did not",
        "nobody": f"no label says that it was built from template {template}",
        "unknown": f"it cannot be compared with template {template}: {_first(origin.changes)}",
    }[origin.kind]
    return [PlanStep("keep", target, f"{told}; taken as it is, {again} makes it anew")]


def _volume_steps(spec: Spec, found: Observed, *, warm: bool) -> list[PlanStep]:
    return [*_hub_steps(spec, found), *_cache_steps(spec, found, warm=warm)]


def _hub_steps(spec: Spec, found: Observed) -> list[PlanStep]:
    if spec.hub_volume is None or found.hub_exists:
        return []
    why = "no model is fetched for a rehearsal" if spec.rehearsal else f"the first start fetches {spec.model} into it"
    return [PlanStep("create-volume", f"volume {spec.hub_volume}", why)]


def _cache_steps(spec: Spec, found: Observed, *, warm: bool) -> list[PlanStep]:
    if spec.cache is None or found.cache_exists:
        return []
    why = f"cold: nothing compiled yet for {spec.cache.keyed_by}" if not warm else "it was removed"
    if spec.cache.weights and spec.rehearsal is None:
        most = (
            "of a size that is not known" if spec.cache.weights_bytes is None else show_bytes(spec.cache.weights_bytes)
        )
        why = f"the first start fetches the weights into it, {'up to ' if spec.cache.weights_bytes else ''}{most}"
    return [PlanStep("create-volume", f"volume {spec.cache.volume}", why)]


def _temperature(spec: Spec, *, warm: bool) -> str:
    if spec.cache is None:
        return "cold: the profile keeps no cache"
    if warm:
        return "warm: an earlier start filled the cache"
    fetches = spec.cache.weights and spec.rehearsal is None
    return f"cold: {'weights are fetched and ' if fetches else ''}kernels are compiled on this start"


#: Fields of a container whose change is told in one word, without values.
_PLAIN: Final[Mapping[str, str]] = {
    "image_id": "image digest changed",
    "mounts": "mounts changed",
    "gpus": "GPUs changed",
    "ulimits": "ulimits changed",
    "cap_add": "capabilities changed",
    "cap_drop": "capabilities changed",
    "secrets": "secrets changed (by name)",
    "entrypoint": "entrypoint changed",
}


def changed(before: Spec, after: Spec) -> tuple[str, ...]:
    """The differences between two specs' containers or endpoints: ``flag --tp-size: 4 -> 2``, ``env NCCL_DEBUG added``."""
    words: list[str] = _hosted_changes(before, after)
    if len(before.containers) != len(after.containers):
        words.append(f"containers: {len(before.containers)} -> {len(after.containers)}")
    for old, new in zip(before.containers, after.containers, strict=False):
        words.extend(_container_changes(old, new))
    return tuple(dict.fromkeys(words))


def _hosted_changes(before: Spec, after: Spec) -> list[str]:
    """The differences between two hosted specs that make it another one."""
    old, new = before.hosted, after.hosted
    if old is None or new is None:
        return []
    pairs = (("endpoint", old.base_url, new.base_url), ("model", before.model, after.model))
    words = [f"{what}: {was} -> {is_}" for what, was, is_ in pairs if was != is_]
    return [*words, *(["key changed (by name)"] if old.key != new.key else [])]


def _container_changes(old: ContainerSpec, new: ContainerSpec) -> Iterable[str]:
    if old.image != new.image:
        yield f"image: {old.image} -> {new.image}"
    yield from _mapping_changes("flag", flag_map(old.command), flag_map(new.command))
    yield from _mapping_changes("env", dict(old.env), dict(new.env))
    if old.ports != new.ports:
        yield f"published: {_ports(old)} -> {_ports(new)}"
    told = {"role", "name", "image", "command", "env", "ports", "labels"}
    for field in fields(old):
        was, is_ = getattr(old, field.name), getattr(new, field.name)
        if field.name not in told and was != is_:
            yield _PLAIN.get(field.name) or f"{field.name}: {was} -> {is_}"


def _ports(spec: ContainerSpec) -> str:
    return ", ".join(f"{port.host}:{port.host_port}" for port in spec.ports) or "nothing"


def _mapping_changes(kind: str, old: Mapping[str, str], new: Mapping[str, str]) -> Iterable[str]:
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield f"{kind} {name} removed"
        elif name not in old:
            yield f"{kind} {name} added" + (f": {new[name]}" if new[name] and kind == "flag" else "")
        elif old[name] != new[name]:
            yield f"{kind} {name}: {old[name]} -> {new[name]}"


def flag_map(command: tuple[str, ...]) -> dict[str, str]:
    """A command as flag -> values; words before the first flag count under ``command``."""
    found: dict[str, str] = {}
    name = "command"
    for word in command:
        if word.startswith("--"):
            name = word
            found.setdefault(name, "")
        else:
            found[name] = f"{found.get(name, '')} {word}".strip()
    return found
