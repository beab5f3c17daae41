"""The stand-in's image, made on the spot: no registry, no network, no build.

One layer: the Python interpreter that runs launchpad, its standard library without what a server never imports, the shared
libraries that these link to, and the stand-in: its package under its own name, and ``faults.py``. The tag is a hash of what
goes in, so an unchanged image is made once. Nothing of this machine travels in it but those files; it is refused where their
libraries cannot be told.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from launchpad.errors import ImageError
from launchpad.runtime.base import LABEL_REHEARSAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launchpad.runtime.base import Image, Runtime

REPOSITORY: Final = "launchpad/rehearsal"
HOME: Final = "opt/rehearsal"
PYTHON: Final = "/usr/bin/python3"
SCRIPT: Final = f"/{HOME}/engine.py"
#: What every container of this image starts with; the profile's own command follows.
ENTRYPOINT: Final = (PYTHON, SCRIPT)

_ROOM: Final = Path(__file__).parent
# fmt: off
_LEFT_OUT: Final = frozenset({
    "__pycache__", "asyncio", "ctypes", "curses", "dbm", "distutils", "doctest.py", "ensurepip", "idlelib",
    "lib2to3", "msilib", "multiprocessing", "pip", "pydoc_data", "site-packages", "dist-packages", "sqlite3",
    "test", "tests", "tkinter", "turtle.py", "turtledemo", "unittest", "venv", "wsgiref", "xml", "xmlrpc",
})
# fmt: on
#: Extension modules that a server without TLS, database and terminal never imports; some pull in big libraries.
_NO_MODULE = re.compile(
    r"(_ssl|_hashlib|_sqlite3|_tkinter|_curses\w*|_dbm|_gdbm|readline|nis|_ctypes\w*|_test\w*|xx\w*|_xx\w*|_codecs_\w+"
    r"|_decimal|_elementtree|pyexpat|_asyncio|_interp\w+|_lsprof|_multiprocessing|_zoneinfo|ossaudiodev|audioop)\."
)
_LIBRARY = re.compile(r"(?:=>\s+|^\s+)(/\S+)\s+\(0x", re.MULTILINE)
_FILES: Final = {
    "etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/os-release": 'NAME="launchpad rehearsal"\nID=launchpad-rehearsal\n',
}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that goes in: its real executable, its standard library, and its extension modules."""

    executable: Path
    stdlib: Path
    modules: Path
    version: str


def this_interpreter() -> Interpreter:
    """The interpreter below any virtual environment that runs launchpad."""
    base: str = getattr(sys, "_base_executable", None) or sys.executable
    stdlib = Path(os.__file__).resolve().parent
    shared = sysconfig.get_config_var("DESTSHARED")
    modules = stdlib / "lib-dynload"
    if not modules.is_dir() and shared:
        modules = Path(shared)
    return Interpreter(Path(base).resolve(), stdlib, modules, sys.version)


def sources() -> dict[str, bytes]:
    """The stand-in's files by their path under :data:`HOME`: all of its package, and of launchpad what it imports.

    They keep their full names, so that one import line holds here and there. The packages around them are empty.
    """
    room = "launchpad/rehearse"
    package = {f"{room}/standin/{file.name}": file for file in sorted((_ROOM / "standin").glob("*.py"))}
    script = package.pop(f"{room}/standin/__main__.py")
    files = {Path(SCRIPT).name: script, f"{room}/faults.py": _ROOM / "faults.py", **package}
    empty = dict.fromkeys(("launchpad/__init__.py", f"{room}/__init__.py"), b"")
    return empty | {name: file.read_bytes() for name, file in files.items()}


def image_tag(recipe: bytes | None = None, carried: Mapping[str, bytes] | None = None) -> str:
    """``launchpad/rehearsal:<12 hex digits>``, a hash of the stand-in's files, the interpreter and the recipe.

    The recipe is this very file, and what is carried :func:`sources`, unless given: whatever changes what the image holds,
    or how it is made, makes another image.
    """
    python = this_interpreter()
    digest = hashlib.sha256("\n".join([python.version, sysconfig.get_platform(), str(python.executable)]).encode())
    digest.update(Path(__file__).read_bytes() if recipe is None else recipe)
    for name, source in (sources() if carried is None else carried).items():
        digest.update(f"{name} {len(source)}\n".encode() + source)
    return f"{REPOSITORY}:{digest.hexdigest()[:12]}"


def changes() -> tuple[str, ...]:
    """The Dockerfile instructions that the import carries."""
    return (
        f"ENTRYPOINT {json.dumps(ENTRYPOINT)}",
        "ENV PATH=/usr/bin",
        "ENV PYTHONDONTWRITEBYTECODE=1",
        "ENV PYTHONUNBUFFERED=1",
        "ENV LANG=C.UTF-8",
        "WORKDIR /",
        f"LABEL {LABEL_REHEARSAL}=true",
    )


def ensure_image(runtime: Runtime) -> Image:
    """The stand-in's image, made and imported only where its tag is missing. Raises ImageError."""
    tag = image_tag()
    found = runtime.image(tag)
    if found is not None:
        return found
    with tempfile.TemporaryDirectory(prefix="launchpad-rehearsal-") as folder:
        tar = Path(folder) / "rootfs.tar"
        write_rootfs(tar)
        return runtime.import_image(tar, tag, changes=changes())


def write_rootfs(path: Path) -> None:
    """Write the root filesystem's tar to ``path``; raises ImageError where it cannot be put together.

    Every library lies in ``/usr/lib``, and the directories where a dynamic loader looks (``/lib``, ``/lib64``, Debian's
    multiarch one) are links to it, so that neither the host's ``ld.so.cache`` nor its paths matter inside.
    """
    python = this_interpreter()
    lib = f"usr/lib/{python.stdlib.name}"
    files = {f"{lib}/{name}": file for name, file in _stdlib(python.stdlib)}
    modules = [file for file in sorted(python.modules.glob("*.so")) if not _NO_MODULE.match(file.name)]
    files |= {f"{lib}/lib-dynload/{file.name}": file for file in modules}
    files[f"usr/bin/{python.stdlib.name}"] = python.executable
    files |= {f"usr/lib/{Path(library).name}": Path(library) for library in _libraries([python.executable, *modules])}
    try:
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            _write_skeleton(tar, python.stdlib.name, _loader_directories())
            for name, text in _FILES.items():
                _write_bytes(tar, name, text.encode())
            for name, source in sources().items():
                _write_bytes(tar, f"{HOME}/{name}", source)
            for name in sorted(files):
                _write_file(tar, name, files[name])
    except OSError as problem:
        raise ImageError(f"cannot put the rehearsal's image together: {problem}") from problem


def _stdlib(root: Path) -> Iterator[tuple[str, Path]]:
    """Pure modules by the name they have under the library's directory, and their bytecode: it halves the start."""
    for folder, folders, names in os.walk(root):
        at = Path(folder)
        folders[:] = sorted(
            name for name in folders if name not in _LEFT_OUT and not name.startswith(("config-", "lib-"))
        )
        for name in sorted(names):
            if name.endswith(".py") and name not in _LEFT_OUT:
                yield str((at / name).relative_to(root)), at / name
                compiled = Path(importlib.util.cache_from_source(str(at / name)))
                if compiled.is_file():
                    yield str(compiled.relative_to(root)), compiled


def _libraries(binaries: list[Path]) -> tuple[str, ...]:
    """The shared libraries that ``binaries`` link to, the dynamic loader among them, as the host's loader finds them."""
    command = ["ldd", *map(str, binaries)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise ImageError(
            f"cannot put the rehearsal's image together: ldd did not tell which libraries Python needs: {problem}",
            hint="install the package that brings ldd (libc-bin on Debian and Ubuntu)",
        ) from problem
    missing = re.search(r"^\s*(\S+) => not found", told.stdout, re.MULTILINE)
    if missing:
        raise ImageError(f"cannot put the rehearsal's image together: {missing[1]}, which Python needs, is not found")
    return tuple(sorted(set(_LIBRARY.findall(told.stdout))))


def _loader_directories() -> tuple[str, ...]:
    multiarch = sysconfig.get_config_var("MULTIARCH")
    return (f"usr/lib/{multiarch}",) if multiarch else ()


def _write_skeleton(tar: tarfile.TarFile, python: str, beside: tuple[str, ...]) -> None:
    for name in ("dev", "etc", "opt", HOME, "proc", "root", "sys", "usr", "usr/bin", "usr/lib"):
        _write_entry(tar, name, tarfile.DIRTYPE, mode=0o700 if name == "root" else 0o755)
    _write_entry(tar, "tmp", tarfile.DIRTYPE, mode=0o1777)
    links = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib", "usr/lib64": "lib", "usr/bin/python3": python}
    for name, target in {**links, **dict.fromkeys(beside, ".")}.items():
        _write_entry(tar, name, tarfile.SYMTYPE, link=target)


def _write_entry(tar: tarfile.TarFile, name: str, kind: bytes, *, mode: int = 0o777, link: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, link
    tar.addfile(entry)


def _write_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))


def _write_file(tar: tarfile.TarFile, name: str, source: Path) -> None:
    entry = tarfile.TarInfo(name)
    runs = name.startswith("usr/bin/") or ".so" in Path(name).name
    with source.open("rb") as stream:
        status = os.fstat(stream.fileno())
        entry.size, entry.mode = status.st_size, 0o755 if runs else 0o644
        entry.mtime = int(status.st_mtime)  # bytecode is valid only beside a source of the same time
        tar.addfile(entry, stream)
