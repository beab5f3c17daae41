"""How containers are given GPUs: the Container Device Interface's spec files and NVIDIA's Container Toolkit.

The Docker Engine itself is not asked here; :func:`docker_facts` puts its answers and these together. Spec files are read with
suspicion: bounded in number, size and depth, and one that is no spec counts for nothing. This module refuses to write specs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from launchpad.rig.facts import DockerFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Where the Docker Engine looks for specs unless it is told otherwise.
FOLDERS: Final = (Path("/etc/cdi"), Path("/var/run/cdi"))
_MOST_FILES: Final = 32
_LARGEST_FILE: Final = 256 * 1024
_MOST_DEVICES: Final = 256
_DEEPEST: Final = 64
_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,100}/[A-Za-z0-9_.-]{1,100}", re.ASCII)
_DEVICE = re.compile(r"[A-Za-z0-9_.:-]{1,100}", re.ASCII)
_DRIVER = re.compile(rb"lib(?:cuda|nvidia-ml)\.so\.(\d{3,4}\.\d{1,4}(?:\.\d{1,4})?)\b", re.ASCII)
_TOOLKIT = re.compile(
    r"NVIDIA Container (?:Toolkit CLI|Runtime Hook|Toolkit) version (\d{1,3}(?:\.\d{1,4}){1,2}[\w.~-]{0,20})"
)
_TOOLKIT_PATIENCE: Final = 1.0


@dataclass(frozen=True, slots=True)
class CdiSpecs:
    """What the spec files offer: qualified device names, sorted, and the driver version NVIDIA's were made for."""

    devices: tuple[str, ...]
    driver: str | None


def docker_facts(
    version: str | None = None,
    runtimes: Sequence[str] = (),
    cgroup_version: str | None = None,
    *,
    cdi: CdiSpecs | None = None,
    toolkit_version: str | None = None,
) -> DockerFacts:
    """The Docker Engine's own answers with what this machine says about CDI and the toolkit. Pure."""
    return DockerFacts(
        version=version or None,
        runtimes=tuple(sorted(runtimes)),
        cdi_devices=None if cdi is None else cdi.devices,
        cdi_spec_driver=None if cdi is None else cdi.driver,
        toolkit_version=toolkit_version,
        cgroup_version=cgroup_version or None,
    )


def read_cdi(folders: Sequence[Path] = FOLDERS) -> CdiSpecs | None:
    """The devices of all spec files; no device where there is no file, None where a folder or file cannot be read."""
    devices: set[str] = set()
    driver: str | None = None
    for folder in folders:
        try:
            names = sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml", ".json"})
        except FileNotFoundError:
            continue
        except OSError:
            return None
        for path in names[:_MOST_FILES]:
            text = _read(path)
            if text is None:
                return None
            found = parse_cdi(text, is_json=path.suffix == ".json")
            devices.update(found)
            if any(name.startswith("nvidia.com/") for name in found) and (match := _DRIVER.search(text)):
                driver = match[1].decode()
    return CdiSpecs(tuple(sorted(devices)), driver)


def parse_cdi(text: bytes, *, is_json: bool) -> tuple[str, ...]:
    """Qualified device names (``nvidia.com/gpu=0``) of a spec file's text; none where it is no CDI spec.

    Source of the form: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md
    """
    spec = _loaded_json(text) if is_json else _loaded_yaml(text)
    kind, devices = (spec.get("kind"), spec.get("devices")) if isinstance(spec, dict) else (None, None)
    if not isinstance(kind, str) or not _KIND.fullmatch(kind) or not isinstance(devices, list):
        return ()
    names = [device.get("name") for device in devices[:_MOST_DEVICES] if isinstance(device, dict)]
    return tuple(f"{kind}={name}" for name in names if isinstance(name, str) and _DEVICE.fullmatch(name))


def read_toolkit_version(run: Callable[[], str | None] | None = None) -> str | None:
    """The version of NVIDIA's Container Toolkit by its own word (``nvidia-ctk --version``); None where it is absent."""
    said = (run or _ask_toolkit)()
    match = _TOOLKIT.search((said or "")[:4096])
    return match[1] if match else None


def _ask_toolkit() -> str | None:
    import shutil
    import subprocess

    program = shutil.which("nvidia-ctk")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TOOLKIT_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def _loaded_json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _loaded_yaml(text: bytes) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # compiled: the other takes a second for eight GPUs
    depth = 0
    try:
        for event in yaml.parse(text, Loader=loader):
            # The compiled loader recurses without a limit of its own, and merged aliases multiply: specs need neither.
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST or isinstance(event, yaml.AliasEvent):
                return None
        return yaml.load(text, Loader=loader)  # noqa: S506  it is the safe loader
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError):
        return None


def _read(path: Path) -> bytes | None:
    """A regular file's bytes, None where it cannot be read; of one too large for a spec nothing."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            found = file.read(_LARGEST_FILE + 1)
    except OSError:
        return None
    return found if len(found) <= _LARGEST_FILE else b""
