"""Where the Docker Engine listens, as the docker command finds it where DOCKER_HOST is not set.

The command's current context names a host and, it may be, a directory of certificates; without one it is the default socket. It
refuses to guess: a context that cannot be read is an error, never another engine.
"""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HOST: Final = "unix:///var/run/docker.sock"


def of_context(environ: Mapping[str, str]) -> tuple[str, Path | None]:
    """The host of the current context, and the directory of its certificates where it has one; raises ValueError."""
    folder = Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/"), ".docker"))
    name = environ.get("DOCKER_CONTEXT") or _json_file(folder / "config.json").get("currentContext")
    if not name or name == "default":
        return DEFAULT_HOST, None
    stem = hashlib.sha256(str(name).encode()).hexdigest()
    meta = _json_file(folder / "contexts" / "meta" / stem / "meta.json")
    host = ((meta.get("Endpoints") or {}).get("docker") or {}).get("Host")
    if not host:
        raise ValueError(f"the docker context {name} cannot be read; see: docker context ls")
    certificates = folder / "contexts" / "tls" / stem / "docker"
    return str(host), certificates if certificates.is_dir() else None


def knock(host: str) -> None:
    """Raises the kernel's own OSError where nobody listens at a Unix socket (docker-py 7.2 would leak one to say so)."""
    if host.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(host.removeprefix("unix://"))


def _json_file(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read (the docker command goes on, too)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
