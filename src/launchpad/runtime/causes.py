r"""What the Docker Engine says, and what a person should do about it.

A table of data, first match wins. ``cause`` is what our message says after "cannot create container x: "; None keeps the
engine's own words. ``hint`` can be pasted. Both may use the pattern's named groups. Sayings are those of Docker Engine 20.10
to 28; where one is not known here, the engine's words stand as they are: nothing is hidden, and nothing is guessed.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: How the cause of a missing image ends, whatever asked for it.
NO_IMAGE: Final = "is not on this Docker Engine"
#: What gcc, nvcc and the shell say of a compiler that the kernel killed.
KILLED_COMPILER: Final = (
    r"died due to signal 9|killed signal terminated program|virtual memory exhausted|^\s*killed\s*$"
)
_CONFIGURE_TOOLKIT: Final = "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker"


@dataclass(frozen=True, slots=True)
class Saying:
    """One thing the engine says."""

    pattern: re.Pattern[str]
    cause: str | None
    hint: str | None


def _saying(pattern: str, cause: str | None, hint: str | None) -> Saying:
    return Saying(re.compile(pattern, re.IGNORECASE | re.DOTALL), cause, hint)


SAYINGS: Final = (
    _saying(
        r"could not select device driver",
        "this Docker Engine cannot hand out NVIDIA GPUs (no NVIDIA Container Toolkit)",
        f"sudo apt-get install -y nvidia-container-toolkit && {_CONFIGURE_TOOLKIT}",
    ),
    _saying(r"unknown or invalid runtime name: nvidia|unknown runtime specified nvidia", None, _CONFIGURE_TOOLKIT),
    _saying(
        r"(?P<said>nvidia-container-cli: .*?(?:nvml error|driver).*?)(?:: unknown)?$",
        "the NVIDIA Container Toolkit failed: {said}",
        "nvidia-smi",
    ),
    _saying(
        r"(?P<said>nvidia-container-cli: .*?)(?:: unknown)?$",
        "the NVIDIA Container Toolkit failed: {said}",
        "nvidia-smi -L",
    ),
    _saying(
        r"(?:Bind for|listen tcp4?6?) (?P<host>\S+):(?P<port>\d+).*?(?:port is already allocated|address already in use)",
        "port {port} on {host} is already in use",
        "sudo ss -ltnp 'sport = :{port}'",
    ),
    _saying(r"port is already allocated|address already in use", "a published port is already in use", "sudo ss -ltnp"),
    _saying(
        r"bind source path does not exist: (?P<path>.+?)\s*$",
        "the host path {path} does not exist",
        "ls -ld {path}",
    ),
    _saying(
        r'container name "/?(?P<name>[^"]+)" is already in use by container "(?P<id>\w{12})\w*"',
        "another container ({id}) has that name",
        "docker rm -f {name}",
    ),
    _saying(r"no such image: (?P<image>\S+?):?(?:\s|$)", f"the image {{image}} {NO_IMAGE}", "docker pull {image}"),
    _saying(r"no space left on device", "the Docker Engine's disk is full", "docker system df; docker image prune"),
    _saying(
        KILLED_COMPILER,
        "a compiler was killed, most likely for want of memory ({raw})",
        "MAX_JOBS=2 launchpad build ... (fewer jobs at once; what is compiled is kept)",
    ),
    _saying(
        r"toomanyrequests|rate limit", "the registry refuses more pulls for now (rate limit)", "docker login {registry}"
    ),
    _saying(
        r"unauthorized|authentication required|no basic auth credentials|pull access denied|requested access.*denied|"
        r"403 Forbidden",
        "the registry refuses access, or the image does not exist there ({raw})",
        "docker login {registry}",
    ),
    _saying(
        r"manifest (?:for \S+ not found|unknown)|not found: manifest|(?:tag|manifest) .*?not found",
        "the registry has no such tag or digest ({raw})",
        "docker manifest inspect {reference}",
    ),
    _saying(
        r"no such host|i/o timeout|connection refused|network is unreachable|Client\.Timeout|TLS handshake timeout|"
        r"server misbehaving|certificate",
        "the registry cannot be reached from the Docker Engine ({raw})",
        "docker pull {reference}",
    ),
    _saying(
        r'exec: "(?P<program>[^"]+)".*?(?:not found|no such file)',
        "the image has no program {program}",
        None,
    ),
    _saying(r"invalid reference format", "that is no image reference", None),
)


def explain(said: str, *, reference: str = "") -> tuple[str, str | None]:
    """The cause and the hint for what the engine ``said``; ``reference`` is the image in question, where there is one."""
    raw = " ".join(said.split())
    for saying in SAYINGS:
        if "{reference}" in (saying.hint or "") and not reference:
            continue  # only pulls and builds meet a registry
        if match := saying.pattern.search(said.strip()):
            words = {"raw": raw, "registry": registry(reference), "reference": reference} | match.groupdict()
            cause = saying.cause.format(**words) if saying.cause else raw
            quoted = {name: shlex.quote(value) if value else "" for name, value in words.items()}
            return cause, saying.hint.format(**quoted).strip() if saying.hint else None
    return raw, None


def registry(reference: str) -> str:
    """The registry of an image reference as ``docker login`` wants it; empty for Docker Hub."""
    head, slash, _ = reference.partition("/")
    return head if slash and ("." in head or ":" in head or head == "localhost") else ""


def redact(text: str, secrets: Iterable[str]) -> str:
    """``text`` with every secret of four characters or more replaced by ``***``, the longest first."""
    for secret in sorted((value for value in secrets if len(value) >= 4), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
