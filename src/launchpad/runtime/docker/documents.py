"""Docker's documents: what a request says, and the values in what the engine answers.

Pure: a :class:`~launchpad.runtime.base.ContainerSpec` becomes the body of a request field by field; inspect documents, facts and
events become our values. It refuses to decide (Docker's restart policy is always ``no``, what a spec does not say is not sent),
to put a secret into a label, and to give an inspect document away with the values of secrets in it.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from launchpad.errors import ContainerError
from launchpad.runtime.base import (
    LABEL_DEPLOYMENT,
    LABEL_SECRETS,
    Container,
    ContainerSpec,
    ExitStatus,
    Image,
    RuntimeEvent,
    RuntimeInfo,
)
from launchpad.runtime.frames import moment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

#: The engine's own log of a container: launchpad reads it back, so it must be one that can be read, and it must end.
LOG_CONFIG: Final = {"Type": "json-file", "Config": {"max-size": "64m", "max-file": "2"}}
#: Environment names whose values never leave the engine in an inspect document.
SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)


def create_body(spec: ContainerSpec, secrets: Mapping[str, str], *, image: str) -> dict[str, Any]:
    """The body of ``POST /containers/create`` for ``spec``: every field of it, and nothing that is not in it.

    ``memory_bytes`` limits memory and swap together, so that the limit is one. ``shm_bytes`` is left out
    where /dev/shm is another's.
    Source: Docker Engine API 1.41, ContainerCreate.
    """
    environment = dict(spec.env) | dict(secrets)
    labels = dict(spec.labels)
    if secrets:
        labels[LABEL_SECRETS] = ",".join(sorted(secrets))
    host: dict[str, Any] = {
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "NetworkMode": spec.network,
        "IpcMode": spec.ipc,
        "Init": spec.init,
        "ReadonlyRootfs": spec.read_only_root,
        "LogConfig": LOG_CONFIG,
        "Mounts": [
            {"Type": mount.kind, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
            if mount.kind != "tmpfs"
            else {"Type": "tmpfs", "Target": mount.target, "ReadOnly": mount.read_only}
            for mount in spec.mounts
        ],
        "PortBindings": {
            f"{number}/tcp": [
                {"HostIp": port.host, "HostPort": str(port.host_port)}
                for port in spec.ports
                if port.container_port == number
            ]
            for number in dict.fromkeys(port.container_port for port in spec.ports)
        },
        "CapAdd": list(spec.cap_add),
        "CapDrop": list(spec.cap_drop),
        "SecurityOpt": ["no-new-privileges"] if spec.no_new_privileges else [],
        "Ulimits": [{"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard} for limit in spec.ulimits],
    }
    if spec.gpus:
        host["DeviceRequests"] = [{"Driver": "nvidia", "DeviceIDs": list(spec.gpus), "Capabilities": [["gpu"]]}]
    if spec.shm_bytes is not None and spec.ipc in {"private", "shareable"}:
        host["ShmSize"] = spec.shm_bytes
    if spec.memory_bytes is not None:
        host |= {"Memory": spec.memory_bytes, "MemorySwap": spec.memory_bytes}
    body: dict[str, Any] = {
        "Image": image,
        "Cmd": list(spec.command),
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": labels,
        "ExposedPorts": {f"{port.container_port}/tcp": {} for port in spec.ports},
        "StopSignal": spec.stop_signal,
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": host,
    }
    if spec.entrypoint is not None:
        body["Entrypoint"] = list(spec.entrypoint)
    if spec.user is not None:
        body["User"] = spec.user
    return body


def container_of(document: Mapping[str, Any]) -> Container:
    """The container that an inspect document describes."""
    state, config = document["State"], document["Config"]
    status = state["Status"]
    started_at = moment(state.get("StartedAt"))
    ended = started_at is not None and status in {"exited", "dead", "removing"}
    created_at = moment(document["Created"])
    if created_at is None:
        raise ContainerError(f"cannot read container {document['Id'][:12]}: Docker says no time of creation")
    return Container(
        id=document["Id"],
        name=document["Name"].lstrip("/"),
        image=config["Image"],
        image_id=document["Image"],
        status=status,
        created_at=created_at,
        started_at=started_at,
        finished_at=moment(state.get("FinishedAt")) if ended else None,
        exit=ExitStatus(state["ExitCode"], bool(state.get("OOMKilled")), state.get("Error") or "") if ended else None,
        pid=state.get("Pid") or None,
        labels=dict(config.get("Labels") or {}),
    )


def image_of(document: Mapping[str, Any]) -> Image:
    """The image that an inspect document describes."""
    config = document.get("Config") or {}
    pairs = (entry.partition("=") for entry in config.get("Env") or ())
    return Image(
        id=document["Id"],
        tags=tuple(document.get("RepoTags") or ()),
        digests=tuple(document.get("RepoDigests") or ()),
        size_bytes=int(document.get("Size") or 0),
        created_at=moment(document.get("Created")),
        env=tuple((name, value) for name, _, value in pairs),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        labels=dict(config.get("Labels") or {}),
        layers=tuple((document.get("RootFS") or {}).get("Layers") or ()),
        config_hash=_config_hash(config),
    )


#: What an image's metadata tells every container made from it. What else an engine shows there differs from release to release.
_TELLS: Final = (
    *("Env", "Entrypoint", "Cmd", "User", "WorkingDir", "Labels", "ExposedPorts", "Volumes", "StopSignal", "Shell"),
    "Healthcheck",
)


def _config_hash(config: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of what the image tells its containers; empty and absent are one."""
    told = {key: config[key] for key in _TELLS if config.get(key)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def info_of(said: Mapping[str, Any], api_version: str, *, local: bool = False) -> RuntimeInfo:
    """The engine's facts. A GPU hook on dockerd's PATH shows nowhere in them: then ``gpu_ready`` is None, not False.

    Every Docker Engine that we talk to (20.10 and later) carries BuildKit on Linux; Podman, which answers in its place, does not,
    and tells that by a ``BuildahVersion``. ``local``: the engine runs on this machine.
    """
    runtimes = tuple(sorted(said.get("Runtimes") or ()))
    devices = (str(device.get("ID", "")) for device in said.get("DiscoveredDevices") or ())
    ready = "nvidia" in runtimes or any(device.startswith("nvidia.com/gpu") for device in devices)
    return RuntimeInfo(
        version=str(said.get("ServerVersion") or ""),
        api_version=api_version,
        storage_driver=str(said.get("Driver") or ""),
        cgroup_version=str(said.get("CgroupVersion") or "1"),
        runtimes=runtimes,
        gpu_ready=True if ready else None,
        buildkit=said.get("OSType") == "linux" and "BuildahVersion" not in said,
        cpus=int(said.get("NCPU") or 0) or None,
        memory_bytes=int(said.get("MemTotal") or 0) or None,
        root_dir=str(said.get("DockerRootDir") or "") or None if local else None,
    )


def event_of(message: Mapping[str, Any]) -> RuntimeEvent | None:
    """The event in a message of ``GET /events``, or None where it is about no container."""
    actor = message.get("Actor") or {}
    at = _from_nanoseconds(message.get("timeNano"))
    if message.get("Type") != "container" or not actor.get("ID") or at is None:
        return None
    said = actor.get("Attributes") or {}
    code = str(said.get("exitCode", ""))
    return RuntimeEvent(
        at,
        str(message.get("Action", "")),
        str(actor["ID"]),
        said.get(LABEL_DEPLOYMENT),
        int(code) if code.isdigit() else None,
    )


def redact_environment(document: Mapping[str, Any]) -> dict[str, object]:
    """An inspect document whose environment values are ``***`` where the name looks secret or the labels say it is."""
    config = dict(document.get("Config") or {})
    named = set(str((config.get("Labels") or {}).get(LABEL_SECRETS, "")).split(","))
    pairs = (str(entry).partition("=") for entry in config.get("Env") or ())
    config["Env"] = [
        f"{name}=***" if name in named or SECRET_NAME.search(name) else f"{name}={value}" for name, _, value in pairs
    ]
    return dict(document) | {"Config": config}


def _from_nanoseconds(value: object) -> datetime | None:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(value / 1e9, UTC) if isinstance(value, int) else None
