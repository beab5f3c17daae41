"""A profile: what to run, in the words of its author.

Pydantic models of the TOML that people write; unknown keys are refused. A profile is only text made safe: it is resolved
against a rig by ``deploy/spec.py``, and nothing in it is ever executed by launchpad itself. Every key's description here is
what ``launchpad profiles schema`` and ``profiles/EXAMPLE.toml`` tell; ``tests/profiles`` holds the two together.
"""

from __future__ import annotations

import re
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from launchpad.profiles.contradictions import contradictions
from launchpad.units import parse_bytes, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FORMAT: Final = 1

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_NAME: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"
_URL_PATH: Final = r"^/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*$"
_ENV_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
_FLAG_NAME: Final = r"^[A-Za-z][A-Za-z0-9_.+-]*$"
_IMAGE: Final = r"^[a-z0-9][A-Za-z0-9._/:-]*$"
_DIGEST: Final = r"^sha256:[0-9a-f]{64}$"
_REPO: Final = r"^[A-Za-z0-9][\w.-]*/[\w.-]+$"
_REVISION: Final = r"^[\w.-]+$"
_SERVED_NAME: Final = r"^[\w./:-]+$"
_GPU_UUID: Final = r"^(GPU|MIG)-[0-9A-Za-z-]+$"
_USER: Final = r"^[\w-]+(:[\w-]+)?$"
_CAPABILITY: Final = r"^[A-Z_]+$"
_ADDRESS: Final = r"^[0-9a-fA-F.:]{2,45}$"
_BASE_URL: Final = r"^https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$"

FORMS: Final[Mapping[str, str]] = {
    _NAME: "use lower-case letters, digits, dots, _ and -, at most 63",
    _URL_PATH: 'write a path such as "/health"',
    _ENV_NAME: "an environment name is letters, digits and _, not starting with a digit",
    _FLAG_NAME: 'a flag is written without dashes in front, such as "watchdog-timeout"',
    _IMAGE: "write repository:tag; a digest goes into image.digest",
    _DIGEST: 'write "sha256:" and 64 hexadecimal digits',
    _REPO: 'write owner/name, such as "deepseek-ai/DeepSeek-V4-Flash"',
    _REVISION: "write a commit, tag or branch without slashes or spaces",
    _SERVED_NAME: 'use letters, digits and . / : _ -, such as "deepseek-v4-flash"',
    _GPU_UUID: 'write it as `nvidia-smi -L` shows it, such as "GPU-5c8e2d6f-..."',
    _USER: 'write "uid" or "uid:gid", such as "1000:1000"',
    _CAPABILITY: 'write it as Docker does, such as "SYS_NICE"',
    _ADDRESS: 'write an IP address, such as "127.0.0.1" or "0.0.0.0"',
    _BASE_URL: 'write where its API begins, without a key, such as "https://api.deepseek.com/v1"',
}
"""What text of each form looks like, for people; ``explain`` looks a refused value up here."""


ALTERNATIVES: Final[Mapping[tuple[str, ...], tuple[frozenset[str], ...]]] = {
    ("gpus",): (frozenset({"count"}), frozenset({"indices"}), frozenset({"uuids"})),
    ("model",): (frozenset({"path", "source"}), frozenset({"repo", "revision"}), frozenset({"in_image"})),
    ("hosted", "key"): (frozenset({"from_env"}), frozenset({"from_file"})),
    ("secrets", "*"): (frozenset({"from_env"}), frozenset({"from_file"})),
}
"""Tables of which one choice excludes the others: a layer that makes one takes back what its base chose.

``*`` at a path's end is any table there.
"""

NOT_INHERITED: Final = frozenset({"standing"})
"""Keys at the top that speak of one file alone: a layer says its own or has none, so that no change passes for verified."""


class Contradictions(ValueError):
    """Keys that are right one by one and wrong together: ``found`` holds (key path, what is wrong) of each."""

    def __init__(self, found: tuple[tuple[tuple[str, ...], str], ...]) -> None:
        super().__init__("; ".join(f"{'.'.join(path)}: {says}" for path, says in found))
        self.found = found


def _plain(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("holds a control character; remove it")
    return text


def _absolute_path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is no absolute path; start it with /")
    if ".." in text.split("/"):
        raise ValueError(f"{text!r} climbs with ..; write the path it means")
    if ":" in text:
        raise ValueError(f"{text!r} holds a colon, which Docker's mounts cannot carry")
    return text


def _size(value: object) -> object:
    if isinstance(value, str):
        return parse_bytes(value)
    raise ValueError('must be a size with its unit, such as "32GiB"')


def _duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError('must be a duration with its unit, such as "90s" or "20m"')


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return value


def _capability(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"\d{1,2}\.\d", value, re.ASCII):
        return value
    raise ValueError('must be a CUDA compute capability in quotes, such as "12.0"')


def _json(value: dict[str, Any]) -> dict[str, Any]:
    found = next(_dates_in(value), None)
    if found is not None:
        raise ValueError(f"holds the date {found.isoformat()}, which JSON has no word for; put it in quotes")
    return value


def _dates_in(value: object) -> Iterator[date | time]:
    if isinstance(value, date | time):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _dates_in(inner)


def _whole_url(text: str) -> str:
    """Refuse what only looks like a URL: a port that there is not, a host that is none."""
    try:
        host, _ = (parts := urlsplit(text)).hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from error
    if not (host or "").strip(".-"):
        raise ValueError("is no URL: it names no host")
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=4096), AfterValidator(_plain)]
Name = Annotated[str, StringConstraints(pattern=_NAME)]
HostPath = Annotated[
    str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_plain), AfterValidator(_absolute_path)
]
UrlPath = Annotated[str, StringConstraints(pattern=_URL_PATH, max_length=256)]
EnvName = Annotated[str, StringConstraints(pattern=_ENV_NAME, max_length=128)]
FlagName = Annotated[str, StringConstraints(pattern=_FLAG_NAME, max_length=128)]
Size = Annotated[int, BeforeValidator(_size, json_schema_input_type=str)]
Duration = Annotated[timedelta, BeforeValidator(_duration, json_schema_input_type=str), AfterValidator(_positive)]
Capability = Annotated[str, BeforeValidator(_capability, json_schema_input_type=str)]
PortNumber = Annotated[int, Field(ge=1, le=65535, strict=True)]
Count = Annotated[int, Field(ge=1, le=1024, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
EnvValue = Annotated[str, StringConstraints(max_length=32768)] | Annotated[int, Field(strict=True)]
JsonTable = Annotated[dict[str, Any], AfterValidator(_json)]
ArgumentValue = (
    Flag
    | Annotated[int, Field(strict=True)]
    | Annotated[float, Field(strict=True, allow_inf_nan=False)]
    | str
    | list[str | Annotated[int, Field(strict=True)] | Annotated[float, Field(strict=True, allow_inf_nan=False)]]
    | JsonTable
)


class Part(BaseModel):
    """A table of a profile: frozen, and no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class Build(Part):
    """How to make the image here instead of pulling it."""

    template: Name = Field(
        description="Folder under templates/ (shipped, or beside your own profiles) with Dockerfile.j2"
    )
    args: dict[FlagName, EnvValue] = Field(default_factory=dict, description="Values the template may use, by name")


class Image(Part):
    """Which container image runs, pinned as far as you can pin it."""

    reference: Annotated[str, StringConstraints(pattern=_IMAGE, max_length=255)] = Field(
        description="Repository and tag, e.g. lmsysorg/sglang:v0.5.23; the digest goes into its own key"
    )
    digest: Annotated[str, StringConstraints(pattern=_DIGEST)] | None = Field(
        None, description="Registry digest; with it the tag is only a comment, and a moved tag cannot surprise you"
    )
    pull: Literal["missing", "always", "never"] = Field("missing", description="When `up` asks the registry")
    build: Build | None = Field(None, description="Build the image from a template where it is missing")


class ModelSource(Part):
    """Where a checkpoint comes from, so that `launchpad pull` can fetch it and `launchpad lock` can name it."""

    repo: Annotated[str, StringConstraints(pattern=_REPO, max_length=200)] = Field(description="Model hub repository")
    revision: Annotated[str, StringConstraints(pattern=_REVISION, max_length=64)] | None = Field(
        None, description="Commit, tag or branch; a commit cannot move, and `pull` refuses what can"
    )


class Model(Part):
    """What is served. One of `path`, `repo` and `in_image` says where the weights are; hosted elsewhere, none does."""

    path: HostPath | None = Field(None, description="Directory of the checkpoint on this rig; mounted read-only")
    source: ModelSource | None = Field(
        None, description="Hub repository that the checkpoint in `path` was fetched from; `launchpad pull` fetches it"
    )
    repo: Annotated[str, StringConstraints(pattern=_REPO, max_length=200)] | None = Field(
        None, description="Model hub repository, fetched by the engine itself into the cache volume"
    )
    revision: Annotated[str, StringConstraints(pattern=_REVISION, max_length=64)] | None = Field(
        None, description="Commit, tag or branch of `repo`; pin a commit"
    )
    in_image: HostPath | None = Field(None, description="Path inside the image, for images that carry their model")
    served_name: Annotated[str, StringConstraints(pattern=_SERVED_NAME, max_length=128)] = Field(
        description="The model name that clients ask for"
    )

    @property
    def weights_names(self) -> tuple[str | None, ...]:
        """What the weights are called by where they are: path, hub repository, path in the image, repository of origin."""
        return (self.path, self.repo, self.in_image, self.source.repo if self.source else None)

    @property
    def names(self) -> tuple[str | None, ...]:
        """Everything that the model is called: what clients ask for, and what the weights are called."""
        return (self.served_name, *self.weights_names)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        given = [key for key in ("path", "repo", "in_image") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"needs exactly one of path, repo and in_image; has {' and '.join(given)}")
        if self.revision is not None and self.repo is None:
            raise ValueError("revision goes with repo; remove it or name the repo")
        if self.source is not None and self.path is None:
            raise ValueError("source goes with path; remove it or name the path")
        return self


class Gpus(Part):
    """Which GPUs, and what they must be. Give `count`, or pin them by `indices` or `uuids`. Leave the table out for CPU."""

    count: Count | None = Field(None, description="How many; launchpad picks free ones that satisfy the rest")
    indices: list[Annotated[int, Field(ge=0, le=1023, strict=True)]] | None = Field(
        None, description="These, by nvidia-smi index (PCI bus order)", min_length=1
    )
    uuids: list[Annotated[str, StringConstraints(pattern=_GPU_UUID, max_length=80)]] | None = Field(
        None, description="These, by UUID (nvidia-smi -L); survives a reseated card", min_length=1
    )
    compute_capability: list[Capability] = Field(
        default_factory=list, description="Any one of these; empty accepts every GPU"
    )
    min_memory: Size | None = Field(None, description="Least memory of each GPU, as NVML counts it")
    share: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Share of each GPU's memory this may take, so that others may stand beside it; unset: all"
    )

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        given = [key for key in ("count", "indices", "uuids") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of count, indices and uuids; has {' and '.join(given) or 'none'}")
        for key in ("indices", "uuids"):
            chosen = getattr(self, key)
            if chosen and len(set(chosen)) != len(chosen):
                raise ValueError(f"{key} names a GPU twice")
        return self

    @property
    def number(self) -> int:
        """How many GPUs are asked for."""
        return self.count or len(self.indices or self.uuids or ())


class Parallel(Part):
    """How the model is split. tensor x pipeline x data must equal the number of GPUs."""

    tensor: Count = Field(1, description="Tensor parallel size")
    pipeline: Count = Field(1, description="Pipeline parallel size")
    data: Count = Field(1, description="Data parallel size")
    expert: Flag = Field(default=False, description="Spread experts over the tensor parallel ranks")


class Speculative(Part):
    """Speculative decoding, as the checkpoint and the engine allow it. Off without this table."""

    method: Literal["mtp", "dspark", "eagle", "eagle3", "draft-model", "ngram"] = Field(
        description="mtp or dspark, whichever the checkpoint ships; eagle, eagle3 and draft-model need draft_model"
    )
    draft_tokens: Annotated[int, Field(ge=1, le=64, strict=True)] | None = Field(
        None, description="Tokens drafted at a time; dspark alone may leave it to the checkpoint"
    )
    draft_model: HostPath | None = Field(
        None, description="Directory of the draft checkpoint on this rig; mounted read-only"
    )


class Serving(Part):
    """Engine settings that every engine has, under one name; each engine maps them to its own flag."""

    context_length: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        None, description="Tokens, prompt and answer"
    )
    max_running_requests: Annotated[int, Field(ge=1, strict=True)] | None = Field(None, description="Decoded at once")
    memory_fraction: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Share of each GPU's memory for weights and KV cache"
    )
    kv_cache_dtype: Text | None = Field(None, description="As the engine spells it, e.g. fp8_e4m3 or fp8")
    trust_remote_code: Flag = Field(default=False, description="Let the engine run Python code from the checkpoint")
    custom_all_reduce: Flag = Field(default=True, description="False on PCIe-only rigs with more than two GPUs")
    cuda_graphs: Flag = Field(default=True, description="False is slower and easier to debug")
    reasoning_parser: Text | None = Field(None, description="As the engine spells it")
    tool_call_parser: Text | None = Field(None, description="As the engine spells it")
    quantization: Text | None = Field(
        None, description="As the engine spells it, e.g. modelopt_fp4; unset: what the checkpoint says"
    )
    reasoning: Literal["non-think", "think-high", "think-max"] | None = Field(
        None, description="How `ask` and the completion that proves readiness ask it to think, said in each request"
    )
    metrics: Flag = Field(default=True, description="Serve Prometheus metrics, which liveness will read")


class Dynamo(Part):
    """Dynamo's frontend and what stands behind it; goes with `engine = "dynamo"`."""

    worker: Literal["trtllm", "mocker"] = Field(description="Behind the frontend: trtllm, or mocker (no GPU, no sense)")
    frontend_args: dict[FlagName, ArgumentValue] = Field(
        default_factory=dict, description="Flags of the frontend, as in `engine_args`, which are the worker's"
    )


class Secret(Part):
    """Where the value of a secret is read when the container is created. Never written in a profile."""

    from_env: EnvName | None = Field(None, description="Environment variable of the process that applies")
    from_file: HostPath | None = Field(
        None, description="File with the value; the better choice for a server that restarts"
    )
    required: Flag = Field(default=True, description="False: go on without it where it is not set")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.from_env is None) == (self.from_file is None):
            raise ValueError("needs exactly one of from_env and from_file")
        return self


class Cache(Part):
    """The named volume for JIT and compile caches, keyed by image, compute capability and driver."""

    enabled: Flag = Field(default=True, description="False starts cold every time")
    mount: HostPath = Field("/cache", description="Where the volume is seen inside the container")


class MountTable(Part):
    """One more path made visible inside the container."""

    source: HostPath = Field(description="Host path; must exist")
    target: HostPath = Field(description="Path inside the container")
    writable: Flag = Field(default=False, description="Read-only unless true")


class Ulimits(Part):
    """Resource limits as `ulimit` counts them; -1 is unlimited."""

    memlock: Annotated[int, Field(ge=-1, strict=True)] | None = Field(None, description="Bytes that may be locked")
    stack: Annotated[int, Field(ge=-1, strict=True)] | None = Field(None, description="Bytes of stack")
    nofile: Annotated[int, Field(ge=-1, strict=True)] | None = Field(None, description="Open files")


class ContainerTable(Part):
    """How tightly the container is held. The defaults are the safe ones."""

    ipc: Literal["private", "host"] = Field(
        "private", description="host shares /dev/shm with the rig and voids shm_size"
    )
    shm_size: Size | None = Field(None, description="Size of /dev/shm; NCCL over PCIe wants 16GiB and more")
    init: Flag = Field(default=True, description="A tiny init as PID 1, so that SIGTERM works during the load")
    user: Annotated[str, StringConstraints(pattern=_USER, max_length=64)] | None = Field(
        None, description="uid[:gid] inside the container"
    )
    capabilities: list[Annotated[str, StringConstraints(pattern=_CAPABILITY, max_length=40)]] = Field(
        default_factory=list, description="Linux capabilities to keep; all others are dropped"
    )
    memory_limit: Size | None = Field(None, description="Host memory; the kernel kills the container above it")
    read_only_root: Flag = Field(default=False, description="Make the image's own files read-only")
    ulimits: Ulimits = Field(default_factory=Ulimits, description="memlock, stack, nofile")


class Publish(Part):
    """Where the server is reached. Loopback unless you say otherwise."""

    host: Annotated[str, StringConstraints(pattern=_ADDRESS)] = Field(
        "127.0.0.1", description="Address of this rig to listen on; 0.0.0.0 lets the network in"
    )
    port: PortNumber = Field(description="Port on this rig")
    container_port: PortNumber | None = Field(
        None, description="Port inside the container; the engine's default where unset"
    )


class Hosted(Part):
    """An OpenAI-compatible endpoint that somebody else runs: nothing is launched here, it is only asked."""

    base_url: Annotated[str, StringConstraints(pattern=_BASE_URL, max_length=255), AfterValidator(_whole_url)] = Field(
        description="Where its API begins, with or without the last /v1"
    )
    key: Secret | None = Field(None, description="The API key, sent as a bearer token; never written down")


class ReadinessProbe(Part):
    """The HTTP question of a load: asked ten times a second until it holds, and then the completion."""

    path: UrlPath | None = Field(None, description="The engine's own where unset")
    timeout: Duration | None = Field(None, description="After that it counts as failed")


class LivenessProbe(Part):
    """The HTTP question of a serving replica, asked again and again."""

    path: UrlPath | None = Field(None, description="The engine's own where unset")
    interval: Duration | None = Field(None, description="Time between two questions")
    timeout: Duration | None = Field(None, description="After that it counts as failed")
    failures: Count | None = Field(None, description="Failures in a row that matter")
    idle: Duration | None = Field(
        None, description="Without traffic, and without metrics, one token is asked for this often"
    )


class CompletionProbe(Part):
    """The one real request that proves readiness."""

    kind: Literal["chat", "completion", "embedding", "none"] = Field(
        "chat", description="Which OpenAI endpoint is asked"
    )
    prompt: Text = Field("Say hello.", description="What is asked")
    max_tokens: Annotated[int, Field(ge=1, le=1024, strict=True)] = Field(8, description="Upper bound of the answer")
    timeout: Duration = Field(timedelta(seconds=120), description="The first answer may compile kernels")
    extra: JsonTable = Field(default_factory=dict, description="More fields of the request body")


class Probes(Part):
    """How launchpad asks the server whether it lives. Engines bring their own; a generic image must say `readiness.path`."""

    readiness: ReadinessProbe = Field(default_factory=ReadinessProbe, description="Does it serve?")
    liveness: LivenessProbe = Field(default_factory=LivenessProbe, description="Does it still live?")
    completion: CompletionProbe = Field(default_factory=CompletionProbe, description="One real completion")


class Deadlines(Part):
    """Progress, not a fixed clock, is what a start is judged by; these are the outer limits."""

    startup: Duration = Field(timedelta(minutes=60), description="READY by then, or the start has failed")
    stall: Duration = Field(timedelta(minutes=15), description="No new log line or stage for so long: stalled")
    stop_grace: Duration = Field(
        timedelta(seconds=120), description="From SIGTERM to SIGKILL; longer than the engine's drain"
    )
    stable: Duration = Field(timedelta(minutes=10), description="READY for so long clears the count of failures")
    hang: Duration = Field(
        timedelta(minutes=5), description="Requests running and no token for so long: hung, and restarted"
    )


class Restart(Part):
    """What happens after a crash."""

    first_delay: Duration = Field(timedelta(seconds=5), description="Backoff after the first failure; doubles")
    max_delay: Duration = Field(timedelta(minutes=5), description="Backoff never exceeds this")
    budget: Annotated[int, Field(ge=0, le=1000, strict=True)] = Field(
        5, description="Failures without a stable spell before giving up"
    )
    rollback: Flag = Field(
        default=True, description="A changed spec that does not become READY gives way to the last one that did"
    )


class Power(Part):
    """What the rig must be able to feed."""

    budget_w: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = Field(
        None, description="Watts all GPUs of this deployment may draw together; their limits must not exceed it"
    )
    cap_w: Annotated[int, Field(ge=1, le=100_000, strict=True)] | None = Field(
        None,
        description="Power limit of each GPU in watts: set where we may, read back, set again after a driver reload",
    )


class Standing(Part):
    """How far this profile, as it stands, was proven. A file that extends another says its own, or nobody vouches for it."""

    status: Literal["verified", "measured", "composed"] = Field(
        description="verified by upstream, measured by us, or composed by us from parts"
    )
    says: Text = Field(description="What of it that is true of, and what it leaves open")
    source: Text = Field(description="URL or reference that can be looked up")
    as_of: date = Field(description="The day it was true")


class Claim(Part):
    """A statement this profile rests on, where it comes from, and as of when."""

    about: Text = Field(description="The key or subject it speaks of")
    says: Text = Field(description="The statement")
    basis: Literal["verified", "measured", "modelled", "composed", "reported"] = Field(
        description="verified by upstream, measured by us, modelled, composed by us from parts, or reported by others"
    )
    source: Text = Field(description="URL or reference that can be looked up")
    as_of: date = Field(description="The day it was true")


class Profile(Part):
    """One profile, whole."""

    format: Literal[1] = Field(description="Version of this file format; 1")
    summary: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_plain)] = Field(
        description="One line for `launchpad profiles list`"
    )
    engine: Literal["sglang", "vllm", "trtllm", "dynamo", "nim", "hosted", "generic"] = Field(
        description="What serves inside the container; hosted: nothing does, an endpoint elsewhere is asked"
    )
    caveats: list[Text] = Field(
        default_factory=list, description="What a person should know before launch; `plan` and `up` print them"
    )
    standing: Standing | None = None
    fallback: Name | None = Field(
        None,
        description="Hosted profile that `status` names while this one does not serve; nothing is sent there by itself",
    )
    hosted: Hosted | None = None
    image: Image | None = None
    model: Model
    gpus: Gpus | None = None
    parallel: Parallel = Field(default_factory=Parallel)
    serving: Serving = Field(default_factory=Serving)
    speculative: Speculative | None = None
    engine_args: dict[FlagName, ArgumentValue] = Field(
        default_factory=dict,
        description="The engine's own flags, without dashes: true sets a flag, a list repeats values, a table becomes JSON",
    )
    engine_config: JsonTable = Field(
        default_factory=dict, description="trtllm, also behind dynamo: what its own YAML file says, as a table"
    )
    dynamo: Dynamo | None = None
    command: list[Annotated[str, StringConstraints(max_length=4096)]] | None = Field(
        None, description="generic only: the command, verbatim"
    )
    entrypoint: list[Annotated[str, StringConstraints(max_length=4096)]] | None = Field(
        None, description="Replaces the image's entrypoint", min_length=1
    )
    env: dict[EnvName, EnvValue] = Field(
        default_factory=dict, description="Environment inside the container; never secrets"
    )
    secrets: dict[EnvName, Secret] = Field(
        default_factory=dict, description="Environment names whose values are read at apply"
    )
    cache: Cache = Field(default_factory=Cache)
    mounts: list[MountTable] = Field(default_factory=list)
    container: ContainerTable = Field(default_factory=ContainerTable)
    publish: Publish | None = None
    probes: Probes = Field(default_factory=Probes)
    deadlines: Deadlines = Field(default_factory=Deadlines)
    restart: Restart = Field(default_factory=Restart)
    power: Power = Field(default_factory=Power)
    claims: list[Claim] = Field(default_factory=list)

    @property
    def own_image(self) -> Image:
        """The image of the containers that run here; no question for a hosted profile, which has none."""
        if self.image is None:
            raise TypeError(f"engine {self.engine} has no image")
        return self.image

    @property
    def own_publish(self) -> Publish:
        """Where the server that runs here is reached; no question for a hosted profile, which publishes nothing."""
        if self.publish is None:
            raise TypeError(f"engine {self.engine} publishes nothing")
        return self.publish

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if found := tuple(contradictions(self)):
            raise Contradictions(found)
        return self


class ProfileHere(Profile):
    """A profile whose server runs on this rig: it needs an image, and a port to be reached at."""

    image: Image
    publish: Publish


def shape_of(table: Mapping[str, Any]) -> type[Profile]:
    """What a table has to look like, by its engine: only a hosted one does without an image and a port."""
    return Profile if table.get("engine") == "hosted" else ProfileHere
