"""The house keeps its floors: what may import what, held by reading the source.

Two tables say it all. FLOOR: a room imports only rooms on lower floors (rooms on one floor do not know each other). DOORS: a
foreign library is imported by the one file that talks to it, and by nobody else.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "launchpad"

#: Room (or single module at the top) -> floor.
FLOOR = {
    "errors": 0,
    "clock": 0,
    "log": 0,
    "units": 0,
    "shipped": 0,
    "profiles": 1,
    "rig": 1,
    "model": 1,
    "runtime": 1,
    "health": 1,
    "store": 1,
    "size": 2,
    "engines": 3,
    "deploy": 4,
    "doctor": 5,
    "supervise": 6,
    "rehearse": 6,
    "bench": 6,
    "observe": 7,
    "cli": 8,
    "__main__": 9,
}

#: Foreign library -> the files (or rooms, ending in /) that may import it.
DOORS = {
    "docker": ("runtime/docker/client.py",),
    "requests": ("runtime/docker/client.py",),
    "urllib3": ("runtime/docker/client.py",),
    "pynvml": ("rig/nvml.py",),
    "httpx": ("health/http.py", "health/post.py", "health/stream.py"),
    "prometheus_client": ("observe/prometheus.py", "engines/metrics.py"),
    "typer": ("cli/",),
    "rich": ("cli/",),
    "structlog": ("log.py",),
    "jinja2": ("deploy/build.py",),
    "pydantic": ("profiles/", "rig/catalog.py"),
    "msgspec": ("store/",),
    "huggingface_hub": ("model/hub.py",),
    "tomli_w": ("profiles/",),
    "yaml": ("cli/", "rig/cdi.py"),
}


def imports_of(tree: ast.AST) -> list[str]:
    """Every module a tree imports, lazily or not, for typing or not."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import at line {node.lineno}"
            module = node.module or ""
            found.extend(f"{module}.{alias.name}" if module == "launchpad" else module for alias in node.names)
    return found


def room_of(module: str) -> str:
    """``launchpad.rig.facts`` -> ``rig``; the package itself has no room."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def breaches(path: str, source: str) -> list[str]:
    """What ``source``, standing at ``path`` under the package, imports against the two tables."""
    room = path.split("/", maxsplit=1)[0].removesuffix(".py")
    found = []
    for module in imports_of(ast.parse(source)):
        top = module.split(".")[0]
        if top == "launchpad":
            other = room_of(module)
            if other in FLOOR and other != room and FLOOR[other] >= FLOOR[room]:
                found.append(f"{path} (floor {FLOOR[room]}) imports {module} (floor {FLOOR[other]})")
        elif top in DOORS and not path.startswith(DOORS[top]):
            found.append(f"{path} imports {top}, whose door is {' or '.join(DOORS[top])}")
    return found


def modules() -> list[str]:
    found = (path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")
    return sorted(str(path.relative_to(SOURCE)) for path in found)


@pytest.mark.parametrize("path", modules())
def test_a_module_imports_only_from_lower_floors_and_through_the_doors(path: str) -> None:
    assert breaches(path, (SOURCE / path).read_text()) == []


def test_every_room_has_a_floor() -> None:
    assert {path.split("/")[0].removesuffix(".py") for path in modules()} <= set(FLOOR)


@pytest.mark.parametrize(
    ("path", "source", "breach"),
    [
        (
            "rig/x.py",
            "from launchpad.deploy.spec import Spec",
            "rig/x.py (floor 1) imports launchpad.deploy.spec (floor 4)",
        ),
        ("rig/x.py", "from launchpad.store import files", "rig/x.py (floor 1) imports launchpad.store (floor 1)"),
        (
            "runtime/docker/x.py",
            "def f():\n    import docker",
            "runtime/docker/x.py imports docker, whose door is runtime/docker/client.py",
        ),
        ("supervise/x.py", "import rich.table", "supervise/x.py imports rich, whose door is cli/"),
        (
            "supervise/x.py",
            "from launchpad.rehearse import stage",
            "supervise/x.py (floor 6) imports launchpad.rehearse (floor 6)",
        ),
    ],
)
def test_a_bad_import_is_caught(path: str, source: str, breach: str) -> None:
    assert breaches(path, source) == [breach]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("cli/x.py", "import typer\nfrom launchpad.deploy.spec import Spec"),
        ("deploy/x.py", "from launchpad.deploy import plan\nfrom launchpad.errors import LaunchpadError"),
        ("runtime/docker/client.py", "import docker"),
    ],
)
def test_a_good_import_is_left_alone(path: str, source: str) -> None:
    assert breaches(path, source) == []
