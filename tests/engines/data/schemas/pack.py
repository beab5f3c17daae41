"""Packs one release for the tests: the sources the extractor opens, and what the release's own parser said. See README.md."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from launchpad.engines.extract import files_read
from launchpad.engines.regenerate import sources

if TYPE_CHECKING:
    from launchpad.engines.schemas import EngineName


def pack(engine: EngineName, version: str, wheel: Path, truth: Path, origin: dict[str, str]) -> Path:
    files = sources(wheel, engine)
    members = {path: files[path].encode() for path in files_read(engine, files, version)}
    members["origin.json"] = json.dumps(origin).encode()
    members["truth.json"] = truth.read_bytes()
    target = Path(__file__).parent / f"{engine}-{version}.tar.xz"
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for name, data in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    return target


if __name__ == "__main__":
    given: EngineName = "sglang" if sys.argv[1] == "sglang" else "vllm"
    path = Path(sys.argv[3])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sys.stdout.write(f"{pack(given, sys.argv[2], path, Path(sys.argv[4]), {'wheel': path.name, 'sha256': digest})}\n")
