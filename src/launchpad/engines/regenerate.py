"""Makes the shipped schemas again: ``python -m launchpad.engines.regenerate [--engine E] [--version V ...] [--wheels DIR]``.

For each release it lets pip download the wheel (no dependencies, one at a time: 10 to 500 MB each), reads the sources out of
it, writes ``schemas/ENGINE-VERSION.json.gz`` and deletes the wheel. With ``--wheels`` it reads wheels that lie there and downloads
nothing. It never installs, imports or runs what it downloads.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from launchpad.engines.extract import extract
from launchpad.engines.schemas import DATA, dumps
from launchpad.errors import ImageError, LaunchpadError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launchpad.engines.schemas import ArgumentSchema, EngineName

#: Every release of SGLang from 0.5.12 to 0.5.23 and of vLLM from 0.20.2 to 0.33.0 that PyPI has (2026-11-23).
RELEASES: Final[dict[EngineName, tuple[str, ...]]] = {
    "sglang": (
        *("0.5.12", "0.5.12.post1", "0.5.13", "0.5.13.post1", "0.5.14", "0.5.15", "0.5.15.post1", "0.5.16"),
        *("0.5.17", "0.5.18", "0.5.19", "0.5.20", "0.5.21", "0.5.22", "0.5.23"),
    ),
    "vllm": (
        *("0.20.2", "0.21.0", "0.22.0", "0.22.1", "0.23.0", "0.24.0", "0.25.0", "0.25.1", "0.26.0"),
        *("0.27.0", "0.27.1", "0.28.0", "0.29.0", "0.30.0", "0.31.0", "0.32.0", "0.33.0"),
    ),
}

MAX_SOURCE: Final = 8_000_000


def schema_of_wheel(engine: EngineName, version: str, wheel: Path, day: str) -> ArgumentSchema:
    """The schema of the sources in one wheel, with the wheel's name and SHA-256; ``day`` is written down as read on (ISO 8601)."""
    digest = hashlib.sha256()
    with wheel.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    schema = extract(engine, sources(wheel, engine), version)
    return replace(schema, source=wheel.name, sha256=digest.hexdigest(), extracted=day)


def sources(wheel: Path, package: str) -> dict[str, str]:
    """The Python files of a package in a wheel, as text.

    Raises:
        ImageError: the wheel is not a zip file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return {
                item.filename: archive.read(item).decode("utf-8", "replace")
                for item in archive.infolist()
                if item.filename.startswith(f"{package}/")
                and item.filename.endswith(".py")
                and item.file_size < MAX_SOURCE
            }
    except (zipfile.BadZipFile, OSError) as error:
        raise ImageError(f"cannot read the wheel {wheel.name}: {error}") from error


def download(engine: str, version: str, folder: Path) -> Path:
    """The wheel of a release, downloaded by pip into ``folder``.

    Raises:
        ImageError: pip could not, or there is no wheel for this platform.
    """
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--only-binary=:all:"),
        *("--dest", str(folder), f"{engine}=={version}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob(f"{engine}-*.whl"))
    if done.returncode != 0 or not wheels:
        last = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
        raise ImageError(f"cannot download {engine} {version}: {last[0]}")
    return wheels[0]


def regenerate(engine: EngineName, versions: Iterable[str], wheels: Path | None, out: Path) -> None:
    """Writes the schema files of these releases, printing a line for each."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    for version in versions:
        with tempfile.TemporaryDirectory() as scratch:
            if wheels is None:
                wheel = download(engine, version, Path(scratch))
            else:
                wheel = next(iter(sorted(wheels.glob(f"{engine}-{version}-*.whl"))), wheels / f"{engine}-{version}.whl")
            schema = schema_of_wheel(engine, version, wheel, day)
        data = dumps(schema)
        (out / f"{engine}-{version}.json.gz").write_bytes(data)
        sys.stdout.write(
            f"{engine} {version}: {len(schema.arguments)} arguments, {len(schema.env)} variables, {len(data)} bytes\n"
        )
        sys.stdout.flush()


def main() -> int:
    """The command; 0 when every file was written, 1 with the cause otherwise."""
    parser = argparse.ArgumentParser(prog="python -m launchpad.engines.regenerate", description=__doc__)
    parser.add_argument("--engine", choices=sorted(RELEASES), action="append")
    parser.add_argument("--version", action="append", help="a release (default: all that ship)")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels; nothing is downloaded")
    parser.add_argument("--out", type=Path, default=DATA, help="where the files are written")
    given = parser.parse_args()
    try:
        for engine in RELEASES:
            if not given.engine or engine in given.engine:
                regenerate(engine, given.version or RELEASES[engine], given.wheels, given.out)
    except LaunchpadError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
