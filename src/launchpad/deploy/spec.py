"""A profile made concrete for this rig: nothing left to default.

:func:`resolve` is pure: profile x facts (and what is already taken) -> :class:`Spec`. What cannot be decided is an error with
the fix, never a guess. The spec hash covers the containers alone: a changed probe or backoff needs no new container, a changed
flag does. Secrets are in it by name only.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from launchpad.deploy.claims import MOST
from launchpad.engines import engine, nim, reasoning
from launchpad.engines.base import HUB_MOUNT, ROLE_WORKER, Health, Seat, image_reference
from launchpad.engines.hosted import base_of
from launchpad.errors import LaunchpadError
from launchpad.runtime.base import (
    LABEL_DEPLOYMENT,
    LABEL_GPUS,
    LABEL_OWNER,
    LABEL_REHEARSAL,
    LABEL_ROLE,
    LABEL_SPEC_HASH,
    ContainerSpec,
    SecretRef,
)
from launchpad.store.files import encode
from launchpad.units import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.engines.reasoning import Served
    from launchpad.profiles.schema import Profile
    from launchpad.rig.facts import Gpu, RigFacts


@dataclass(frozen=True, slots=True)
class GpuSeat:
    """A GPU given to a deployment."""

    uuid: str
    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Completion:
    """The one real request that proves readiness; ``kind`` none means that the readiness path alone decides."""

    kind: Literal["chat", "completion", "embedding", "none"]
    prompt: str
    max_tokens: int
    timeout_s: float
    extra: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Policy:
    """What the machine judges by. Durations in seconds; ``budget`` failures without a stable spell are the last.

    ``dead_after`` failed probes in a row call for a restart; None where there is nothing that a restart could mend.
    """

    startup_s: float
    stall_s: float
    stop_grace_s: float
    stable_s: float
    first_delay_s: float
    max_delay_s: float
    budget: int
    unready_after: int
    dead_after: int | None
    hang_s: float = 300.0
    rollback: bool = True

    @property
    def stable(self) -> timedelta:
        """How long READY must last to clear the failures."""
        return timedelta(seconds=self.stable_s)


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """The image: ``reference`` is what Docker is asked for, ``named`` what the profile calls it, tag and all.

    ``build_template`` and its arguments are set where it is made here.
    """

    reference: str
    named: str
    pull: Literal["missing", "always", "never"]
    build_template: str | None = None
    build_args: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CacheChoice:
    """The cache volume and, in words, what it is keyed by. ``warm`` is a fact of the moment and no part of the spec.

    ``weights``: the server fetches its model into it, at its first start, ``weights_bytes`` at most where that is known.
    """

    volume: str
    keyed_by: str
    weights: bool = False
    weights_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RehearsalChoice:
    """What a rehearsal plays: the recorded rig, the faults, and how long its load takes."""

    rig: str
    faults: tuple[str, ...]
    load_seconds: float


@dataclass(frozen=True, slots=True)
class HostedChoice:
    """The endpoint that is asked where nothing runs here: its base URL without ``/v1``, and where its key is read."""

    base_url: str
    key: SecretRef | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the profile was proven, in its own words; ``status`` None where it says nothing, and nobody vouches for it."""

    status: str | None = None
    says: str | None = None
    source: str | None = None
    as_of: date | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """A deployment, fully resolved. ``host`` and ``port`` are where a client on this rig reaches it.

    ``hosted`` is set where somebody else serves: then there are no containers and no ``image``. ``fallback`` names a hosted
    profile for people to turn to.

    ``accepted`` are the ids of hazards that a person overrode by name; ``gpu_share`` is the share of each GPU's memory that
    it may take beside others, None where the cards are its own. ``reasoning`` is the mode that the profile asks for;
    ``source`` the hub repository that the weights of ``model_path`` come from.
    ``standing`` is None in a spec that was written before profiles said theirs.
    """

    name: str
    profile: str
    engine: str
    summary: str
    model: str
    host: str
    port: int
    containers: tuple[ContainerSpec, ...]
    gpus: tuple[GpuSeat, ...]
    image: ImageChoice | None
    health: Health
    completion: Completion
    policy: Policy
    cache: CacheChoice | None
    model_path: str | None
    rig: str
    power_budget_w: int | None = None
    power_cap_w: int | None = None
    gpu_share: float | None = None
    caveats: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    reasoning: str | None = None
    rehearsal: RehearsalChoice | None = None
    hosted: HostedChoice | None = None
    fallback: str | None = None
    standing: Standing | None = None
    source: str | None = None

    @property
    def hash(self) -> str:
        """SHA-256 of the containers' canonical JSON, 16 hex digits: equal means adopt, different means drift.

        Of a hosted deployment it is the endpoint's and the model's.
        """
        what = (self.hosted, self.model) if self.hosted is not None else self.containers
        return hashlib.sha256(encode(what)).hexdigest()[:16]

    @property
    def own_image(self) -> ImageChoice:
        """The image of the containers that run here; no question for a hosted deployment, which has none."""
        if self.image is None:
            raise TypeError(f"{self.name} is hosted and has no image")
        return self.image

    @property
    def server(self) -> ContainerSpec:
        """The container that the engine runs in: the only one, or the worker behind a frontend."""
        return next((item for item in self.containers if item.role == ROLE_WORKER), self.containers[0])

    @property
    def hub_volume(self) -> str | None:
        """The volume into which the engine itself fetches a model named by ``repo``; None for every other model."""
        mounts = (mount for container in self.containers for mount in container.mounts)
        return next((mount.source for mount in mounts if mount.target == HUB_MOUNT), None)

    @property
    def served(self) -> Served:
        """What answers there, as far as names and words tell: by it the way is found in which a mode is said."""
        whence = self.hosted.base_url if self.hosted is not None else self.own_image.named
        words = (word for container in self.containers for word in container.command)
        return reasoning.served(self.engine, whence, (self.model, self.model_path, self.source, *words))

    @property
    def context_tokens(self) -> int | None:
        """The longest context that the server is told to take; None where its command says nothing of it."""
        return reasoning.context_of(self.server.command) if self.containers else None

    @property
    def endpoint(self) -> str:
        """The base URL of its OpenAI API without ``/v1``."""
        if self.hosted is not None:
            return self.hosted.base_url
        return f"http://{url_host(self.host)}:{self.port}"

    def labelled(self, owner: str) -> tuple[ContainerSpec, ...]:
        """The containers with the labels that make them ours; labels are no part of the hash."""
        return tuple(
            replace(
                container,
                labels=(
                    *container.labels,
                    (LABEL_DEPLOYMENT, self.name),
                    (LABEL_SPEC_HASH, self.hash),
                    (LABEL_ROLE, container.role),
                    (LABEL_GPUS, ",".join(gpu.uuid for gpu in self.gpus)),
                    (LABEL_REHEARSAL, "true" if self.rehearsal else "false"),
                    (LABEL_OWNER, owner),
                ),
            )
            for container in self.containers
        )


def url_host(published: str) -> str:
    """The host a client on this rig puts in a URL: loopback for a wildcard, brackets for IPv6."""
    if published == "0.0.0.0":  # noqa: S104 - read, not bound
        return "127.0.0.1"
    if published == "::":
        return "[::1]"
    return f"[{published}]" if ":" in published else published


def resolve(
    name: str,
    profile: Profile,
    facts: RigFacts,
    *,
    taken: Mapping[str, str],
    keep: tuple[str, ...] = (),
    image_id: str | None = None,
    shares: Mapping[str, float] | None = None,
) -> Spec:
    """The spec of ``profile`` on the rig of ``facts``.

    ``taken`` maps the UUIDs of GPUs that other deployments hold to the holder's name; ``keep`` are the UUIDs this deployment
    holds already and stays on where the profile allows; ``shares`` says what of a GPU's memory (0 to 1) is taken by holders that
    share it, None that nobody looked. Raises LaunchpadError where the rig cannot seat it.
    """
    serves = engine(profile.engine)
    gpus = choose_gpus(name, profile, facts, taken=taken, keep=keep, shares=shares)
    hosted = _hosted(profile)
    cache = _cache(profile, facts, gpus, image_id) if hosted is None else None
    host, port = _address(profile, hosted)
    health, completion = serves.health(profile), profile.probes.completion
    made = Spec(
        name=name,
        profile=name,
        engine=profile.engine,
        summary=profile.summary,
        model=profile.model.served_name,
        host=host,
        port=port,
        containers=serves.render(
            profile, Seat(name, gpus, cache.volume if cache is not None and not cache.weights else None, image_id)
        ),
        gpus=tuple(GpuSeat(gpu.uuid, gpu.index, gpu.name) for gpu in gpus),
        image=_image(profile) if hosted is None else None,
        health=health,
        completion=Completion(
            completion.kind, completion.prompt, completion.max_tokens, completion.timeout.total_seconds(), {}
        ),
        policy=_policy(profile, health),
        cache=cache,
        model_path=profile.model.path,
        rig=facts.title,
        power_budget_w=profile.power.budget_w,
        power_cap_w=profile.power.cap_w,
        gpu_share=profile.gpus.share if profile.gpus else None,
        caveats=tuple(profile.caveats),
        reasoning=profile.serving.reasoning,
        hosted=hosted,
        fallback=profile.fallback,
        standing=standing_of(profile),
        source=profile.model.source.repo if profile.model.source else None,
    )
    extra, unsaid = _extra(profile, made.served)
    return replace(made, completion=replace(made.completion, extra=extra), caveats=(*made.caveats, *unsaid))


def standing_of(profile: Profile) -> Standing:
    """What the profile says of itself as a whole."""
    said = profile.standing
    return Standing(said.status, said.says, said.source, said.as_of) if said is not None else Standing()


def _hosted(profile: Profile) -> HostedChoice | None:
    """The endpoint of a profile that runs nothing here."""
    wish = profile.hosted
    if wish is None:
        return None
    key = wish.key
    secret = None if key is None else SecretRef("hosted.key", key.from_env, key.from_file, key.required)
    return HostedChoice(base_of(wish.base_url), secret)


def _address(profile: Profile, hosted: HostedChoice | None) -> tuple[str, int]:
    if hosted is None:
        return profile.own_publish.host, profile.own_publish.port
    url = urlsplit(hosted.base_url)
    return url.hostname or "", url.port or (80 if url.scheme == "http" else 443)


def _image(profile: Profile) -> ImageChoice:
    wish, build = profile.own_image, profile.own_image.build
    args = tuple(sorted((key, str(value)) for key, value in build.args.items())) if build else ()
    return ImageChoice(image_reference(profile), wish.reference, wish.pull, build.template if build else None, args)


def _policy(profile: Profile, health: Health) -> Policy:
    deadlines, restart = profile.deadlines, profile.restart
    return Policy(
        startup_s=deadlines.startup.total_seconds(),
        stall_s=deadlines.stall.total_seconds(),
        stop_grace_s=deadlines.stop_grace.total_seconds(),
        stable_s=deadlines.stable.total_seconds(),
        first_delay_s=restart.first_delay.total_seconds(),
        max_delay_s=restart.max_delay.total_seconds(),
        budget=restart.budget,
        unready_after=min(2, health.live_failures),
        dead_after=health.live_failures if profile.hosted is None else None,
        hang_s=deadlines.hang.total_seconds(),
        rollback=restart.rollback,
    )


#: Fields by which a probe's own ``extra`` says something of reasoning.
_OF_REASONING = frozenset({"chat_template_kwargs", "reasoning", "reasoning_effort", "thinking", "enable_thinking"})


def _extra(profile: Profile, it: Served) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the completion says besides: the mode of ``serving.reasoning``, and over it the probe's own fields.

    How a mode is said to an engine and a model that nobody has written down is not guessed, and keeps nobody from launching
    them: then it goes unsaid, and a caveat tells. Where the profile asks for no mode it is non-think if that can be said,
    as ``ask`` does it, unless the probe's fields speak of reasoning themselves.
    """
    mode, probe = profile.serving.reasoning, profile.probes.completion
    if probe.kind != "chat" or (mode is None and _OF_REASONING & set(probe.extra)):
        return probe.extra, ()
    try:
        said = reasoning.request(mode or "non-think", it)
    except reasoning.UnknownMode as error:
        caveats = (f"the smoke test says no reasoning mode: {error.message}",) if mode is not None else ()
        return probe.extra, caveats
    return reasoning.merged(said, probe.extra), ()


def choose_gpus(
    name: str,
    profile: Profile,
    facts: RigFacts,
    *,
    taken: Mapping[str, str],
    keep: tuple[str, ...],
    shares: Mapping[str, float] | None = None,
) -> tuple[Gpu, ...]:
    """The GPUs that satisfy ``profile.gpus``: those named, else those kept, else the first that are free."""
    wish = profile.gpus
    if wish is None:
        return ()
    if facts.gpus is None:
        raise LaunchpadError(
            f"cannot place {name} on this rig: its GPUs cannot be counted: {facts.gpu_problem or 'no reason given'}",
            hint="mend the driver, or try it on a recorded rig: --rig 4x-rtx-pro-6000, or launchpad rehearse " + name,
        )
    if wish.indices is not None or wish.uuids is not None:
        chosen = _named(name, profile, facts)
        for gpu in chosen:
            if reason := unsuitable(profile, gpu):
                raise LaunchpadError(
                    f"cannot place {name} on GPU {gpu.index}: {reason}",
                    hint="name other GPUs under gpus in the profile",
                )
            if gpu.uuid in taken:
                raise LaunchpadError(
                    f"cannot place {name} on GPU {gpu.index}: {_beside(profile, gpu, taken, shares)}",
                    hint=f"{_down(taken[gpu.uuid])}, or name other GPUs under gpus in the profile",
                )
        return chosen
    return _counted(name, profile, facts.gpus, taken, keep, shares)


def unsuitable(profile: Profile, gpu: Gpu) -> str | None:
    """Why this GPU does not satisfy the profile, or None. What the rig does not know is not held against it."""
    wish = profile.gpus
    if wish is None:
        return None
    if wish.compute_capability and gpu.compute_capability is not None:
        has = "{}.{}".format(*gpu.compute_capability)
        if has not in wish.compute_capability:
            return f"{gpu.name} has compute capability {has}, the profile needs {' or '.join(wish.compute_capability)}"
    if wish.min_memory is not None and gpu.memory_bytes is not None and gpu.memory_bytes < wish.min_memory:
        return f"{gpu.name} has {gpu.memory_bytes / 2**30:.1f} GiB, the profile needs {wish.min_memory / 2**30:.1f} GiB"
    return None


def _named(name: str, profile: Profile, facts: RigFacts) -> tuple[Gpu, ...]:
    wish, gpus = profile.gpus, facts.gpus or ()
    chosen: list[Gpu] = []
    keys: list[int] | list[str] = (wish.indices or wish.uuids or []) if wish is not None else []
    for key in keys:
        found = [gpu for gpu in gpus if key in (gpu.index, gpu.uuid)]
        if not found:
            have = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in gpus) or "none"
            why = f": {facts.gpu_problem}" if facts.gpu_problem and not gpus else ""
            raise LaunchpadError(
                f"cannot place {name}: this rig has no GPU {key}{why}",
                hint=f"it has {have}; correct gpus in the profile",
            )
        chosen.extend(found)
    return tuple(chosen)


def _counted(
    name: str,
    profile: Profile,
    gpus: tuple[Gpu, ...],
    taken: Mapping[str, str],
    keep: tuple[str, ...],
    shares: Mapping[str, float] | None,
) -> tuple[Gpu, ...]:
    count = profile.gpus.number if profile.gpus is not None else 0
    needs = f"it needs {counted(count, 'GPU')}"
    fitting = [gpu for gpu in gpus if unsuitable(profile, gpu) is None]
    free = [gpu for gpu in fitting if gpu.uuid not in taken]
    if len(free) >= count:
        held_first = sorted(free, key=lambda gpu: gpu.uuid not in keep)
        return tuple(sorted(held_first[:count], key=lambda gpu: gpu.index))
    if len(fitting) >= count:
        holders = sorted({taken[gpu.uuid] for gpu in fitting if gpu.uuid in taken})
        gone = [gpu for gpu in fitting if gpu.uuid in taken]
        held = ", ".join(f"{gpu.index} ({taken[gpu.uuid]})" for gpu in gone)
        if profile.gpus is not None and profile.gpus.share is not None:
            said: dict[str, list[str]] = {}
            for gpu in gone:
                said.setdefault(_beside(profile, gpu, taken, shares), []).append(str(gpu.index))
            held = "; ".join(f"GPU {', '.join(indices)}: {why}" for why, indices in said.items())
        raise LaunchpadError(
            f"cannot place {name}: {needs} and {len(free)} {'is' if len(free) == 1 else 'are'} free; held: {held}",
            hint=_down(", ".join(holders)),
        )
    reasons = sorted({reason for gpu in gpus if (reason := unsuitable(profile, gpu))})
    why = "; ".join(reasons) or f"this rig has {len(gpus)}"
    raise LaunchpadError(
        f"cannot place {name}: {needs} and {len(fitting)} of this rig's {len(gpus)} will do: {why}",
        hint="choose a profile for this rig (launchpad profiles list), or try this one on a recorded rig: "
        f"launchpad rehearse {name}",
    )


def _down(holders: str) -> str:
    """The line that frees a card of its holders, each of them named once."""
    return f"launchpad down {' '.join(dict.fromkeys(holders.split(', ')))}"


def _beside(profile: Profile, gpu: Gpu, taken: Mapping[str, str], shares: Mapping[str, float] | None) -> str:
    """Who holds a card, and what keeps one that shares its cards from standing beside them."""
    holders = taken[gpu.uuid]
    many = "," in holders
    who = f"deployments {holders} hold" if many else f"deployment {holders} holds"
    share = profile.gpus.share if profile.gpus is not None else None
    if share is None or shares is None:
        return f"{who} it"
    if gpu.uuid not in shares:
        return f"{who} it whole"
    return f"{who} {shares[gpu.uuid]:.4g} of it; {share:g} more is over {MOST:g}"


def _cache(profile: Profile, facts: RigFacts, gpus: tuple[Gpu, ...], image_id: str | None) -> CacheChoice | None:
    """The volume for compiled kernels. They are valid for one image, one compute capability and one driver.

    A server that fetches its own model has one of its own instead, where it compiles, too.
    """
    if (own := nim.weights(profile)) is not None:
        kept = "the weights that it fetches, and what it compiles"
        return CacheChoice(own.volume, kept, weights=True, weights_bytes=own.at_most_bytes)
    if not profile.cache.enabled:
        return None
    image = profile.own_image.digest or image_id or profile.own_image.reference
    capability = "+".join(sorted({gpu.sm or "unknown" for gpu in gpus})) or "cpu"
    driver = (facts.driver_version or "unknown") if gpus else "none"
    key = hashlib.sha256("\n".join((image, capability, driver)).encode()).hexdigest()[:12]
    short = image.removeprefix("sha256:")[:12] if image.startswith("sha256:") else image
    return CacheChoice(f"launchpad-cache-{key}", f"image {short}, sm {capability}, driver {driver}")
