"""A forge and a CUDA image for builds that need neither the network nor a compiler.

:class:`Forge` serves git repositories on loopback with ``git daemon``: the fork of vLLM with the files that its build touches, and
DeepGEMM. Their "compilation" takes part of a second a file and knows a cache, as nvcc behind ccache does. :func:`cuda_image` is a
base image of a few megabytes out of this machine's own programs, with stand-ins for uv, the compilers and useradd.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.harness import eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.runtime.docker import DockerRuntime

TAG: Final = "sm120-stable"
FILES: Final = 6

_COMPILE: Final = """\
set -eu
out=$1
mkdir -p "$out"
for file in "$(dirname "$0")"/csrc/*.cu; do
  object=$(sha256sum < "$file" | cut -c1-24)-$TORCH_CUDA_ARCH_LIST
  if [ -f "${CCACHE_DIR:-/nowhere}/$object" ]; then
    echo "cached $(basename "$file")"
  else
    echo "compiling $(basename "$file")"
    sleep 0.4
    if [ -d "${CCACHE_DIR:-/nowhere}" ]; then touch "$CCACHE_DIR/$object"; fi
  fi
  echo "$object" >> "$out/objects"
done
mv "$out/objects" "$out/vllm-$SETUPTOOLS_SCM_PRETEND_VERSION-py3-none-any.whl"
"""
_UV: Final = """\
#!/bin/sh
set -eu
for last; do :; done
case "$1 ${2:-}" in
  "--version ") echo "uv 0.13.9" ;;
  "venv "*) mkdir -p /opt/venv/bin ;;
  "pip install") ;;
  "pip freeze") echo standin==1 ;;
  "build --wheel") exec sh "$last/compile.sh" /wheels ;;
  *) echo "the stand-in of uv does not know: $*" >&2; exit 2 ;;
esac
"""
_USERADD: Final = """\
#!/bin/sh
echo launchpad:x:10001:10001::/home/launchpad:/bin/sh >> /etc/passwd
echo launchpad:x:10001: >> /etc/group
mkdir -p /home/launchpad
"""
_SCRIPTS: Final = {
    "uv": _UV,
    "useradd": _USERADD,
    **dict.fromkeys(("cc", "ccache", "ninja", "python3"), "#!/bin/sh\nexit 0\n"),
}
# fmt: off
_PROGRAMS: Final = (
    "sh", "git", "basename", "cat", "chmod", "cp", "cut", "dirname", "grep", "head", "install", "ln", "ls", "mkdir", "mv", "rm",
    "sed", "sha256sum", "sleep", "touch", "tr",
)
# fmt: on


class Forge:
    """Repositories ``vllm`` and ``DeepGEMM`` under ``root``, served at :attr:`url` until :meth:`close`."""

    def __init__(self, root: Path, salt: str) -> None:
        self.root = root
        self.port = free_port()
        sources = {f"csrc/{number}.cu": f"{salt} {number}\n" for number in range(1, FILES + 1)}
        self.commit = self.add("vllm", {"compile.sh": _COMPILE, **sources, **_requirements("2.11.0")})
        self.git("vllm", "tag", "-a", TAG, "-m", "as annotated as a real one")
        self.deepgemm = self.add("DeepGEMM", {"README": salt})
        words = ["git", "daemon", f"--base-path={root}", "--export-all", "--listen=127.0.0.1", f"--port={self.port}"]
        self._server = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        eventually(self._listens, what="git daemon")

    def add(self, name: str, files: Mapping[str, str]) -> str:
        """One more commit with ``files`` in it; its hash."""
        folder = self.root / name
        if not folder.is_dir():
            folder.mkdir(parents=True)
            self.git(name, "init", "--quiet", "--initial-branch=main")
        for inside, text in files.items():
            path = folder / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git(name, "add", "--all")
        self.git(name, "commit", "--quiet", "-m", "a change")
        return self.git(name, "rev-parse", "HEAD")

    def git(self, name: str, *words: str) -> str:
        """What git says to ``words`` in that repository."""
        who = {f"GIT_{role}_{what}": "nobody" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environ = {**os.environ, **who, "GIT_CONFIG_GLOBAL": "/dev/null"}
        told = subprocess.run(
            ["git", *words], cwd=self.root / name, env=environ, capture_output=True, text=True, check=True
        )
        return told.stdout.strip()

    def url(self, name: str) -> str:
        """Where that repository is fetched from."""
        return f"git://127.0.0.1:{self.port}/{name}/.git"

    def close(self) -> None:
        """Serve no more."""
        self._server.terminate()
        self._server.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def _requirements(torch: str) -> dict[str, str]:
    return {"requirements/cuda.txt": f"-r common.txt\ntorch=={torch}\n", "requirements/build/cuda.txt": "ninja\n"}


def cuda_image(runtime: DockerRuntime, tag: str, folder: Path) -> str:
    """Import the stand-in of a CUDA image as ``tag``."""
    tar = folder / "cuda.tar"
    with tarfile.open(tar, "w") as archive:
        for name in (
            "etc",
            "root",
            "tmp",
            "usr/bin",
            "usr/lib",
            "usr/lib/git-core",
            "usr/local/bin",
            "opt",
            "dev",
            "proc",
            "sys",
        ):
            _put(archive, name, tarfile.DIRTYPE)
        multiarch = "x86_64-linux-gnu" if os.uname().machine == "x86_64" else f"{os.uname().machine}-linux-gnu"
        links = {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib", f"usr/lib/{multiarch}": "."}
        for name, target in {**links, "usr/lib64": "lib", "usr/lib/git-core/git": "../../bin/git"}.items():
            _put(archive, name, tarfile.SYMTYPE, link=target)
        programs = [Path(_which(name)) for name in _PROGRAMS]
        for program in programs:
            archive.add(program.resolve(), f"usr/bin/{program.name}")
        for library in _libraries(programs):
            archive.add(library.resolve(), f"usr/lib/{library.name}")
        for name, text in _SCRIPTS.items():
            _put(archive, f"usr/bin/{name}", text=text)
        _put(archive, "etc/passwd", text="root:x:0:0:root:/root:/bin/sh\n")
        _put(archive, "etc/group", text="root:x:0:\n")
    return runtime.import_image(tar, tag, changes=("ENV PATH=/usr/local/bin:/usr/bin",)).tags[0]


def _which(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"the program {name} is missing on this machine")
    return found


def _libraries(programs: list[Path]) -> list[Path]:
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    return [Path(name) for name in sorted(set(re.findall(r"(?:=>\s+|^\s+)(/\S+)\s+\(0x", told, re.MULTILINE)))]


def _put(archive: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", text: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname, entry.size = kind, 0o1777 if name == "tmp" else 0o755, link, len(text)
    archive.addfile(entry, io.BytesIO(text.encode()))
