"""Where the files of a model directory were fetched from, as a download left it beside them.

``hf download --local-dir`` and ``launchpad pull`` note commit and ETag of each file under ``.cache/huggingface/download``; a hub's
own cache says repository and commit in the path (``models--OWNER--NAME/snapshots/COMMIT``). Nothing is asked of any hub here.
Source: huggingface_hub 2.4.0, _local_folder.py (read 2026-11-23).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Where a download keeps its own notes, below the model's directory.
NOTES: Final = ".cache/huggingface/download"
_SNAPSHOT: Final = re.compile(r".*/models--([^/]+?)--([^/]+)/snapshots/([0-9a-f]{40})/?", re.ASCII)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}", re.ASCII)
_MOST_NOTES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model came from; None where nothing says, or where its files say different things."""

    repo: str | None = None
    revision: str | None = None


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a whole commit hash, which cannot move."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def hub_folder(cache: Path, repo: str) -> Path:
    """Where a hub's cache keeps a repository; ``cache`` is what HF_HOME names."""
    return cache / "hub" / f"models--{repo.replace('/', '--')}"


def snapshot(cache: Path, repo: str, revision: str | None) -> Path | None:
    """The files of ``repo`` in a hub's cache, at a commit or at what a branch or tag meant when it was fetched; None: not there."""
    kept = hub_folder(cache, repo)
    commit = revision if is_commit(revision) else _commit(kept / "refs" / (revision or "main"))
    try:
        folder = kept / "snapshots" / commit if commit is not None else None
        return folder if folder is not None and folder.is_dir() else None
    except OSError:
        return None


def origin(folder: Path) -> Origin:
    """What is noted about the model in ``folder``; never an error."""
    try:
        real = str(folder.resolve())
        commits = {commit for file in _notes(folder) if (commit := _commit(file)) is not None}
    except OSError:
        return Origin()
    if match := _SNAPSHOT.fullmatch(real):
        return Origin(f"{match.group(1)}/{match.group(2)}", match.group(3))
    return Origin(None, commits.pop() if len(commits) == 1 else None)


def published(folder: Path, name: str) -> str | None:
    """What the hub published of a file when it was fetched: its SHA-256, or git's hash of a small one; None: not noted."""
    try:
        with (folder / NOTES / f"{name}.metadata").open("rb") as stream:
            lines = stream.read(1024).decode("ascii", "replace").splitlines()
    except OSError:
        return None
    return lines[1].strip() if len(lines) > 1 else None


def _notes(folder: Path) -> list[Path]:
    found = sorted((folder / NOTES).rglob("*.metadata"))[:_MOST_NOTES]
    # A note outlives its file where somebody removed it by hand.
    return [file for file in found if (folder / file.relative_to(folder / NOTES).with_suffix("")).exists()]


def _commit(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            line = stream.read(256).split(b"\n", 1)[0].decode("ascii", "replace").strip()
    except OSError:
        return None
    return line if is_commit(line) else None
