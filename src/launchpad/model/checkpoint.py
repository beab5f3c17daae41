"""A model directory as it lies on disk: what its config says, and whether every shard is whole.

A shard is judged by its safetensors header (8 bytes of length, JSON, then the tensors' bytes), never loaded: a truncated file
is found in a millisecond instead of ten minutes into a start. Everything read is bounded, nothing outside the directory is
followed by an index, and nothing is repaired. Format: https://huggingface.co/docs/safetensors (read 2026-11-23).
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from launchpad.errors import LaunchpadError
from launchpad.units import show_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_T = TypeVar("_T")

CONFIG: Final = "config.json"
INDEX: Final = "model.safetensors.index.json"
SINGLE: Final = "model.safetensors"
#: Bounds on what is read: a config, an index, one shard's header (the format's own), and names in a directory.
CONFIG_LIMIT: Final = 8 * 1024 * 1024
INDEX_LIMIT: Final = 256 * 1024 * 1024
HEADER_LIMIT: Final = 100 * 1000 * 1000
ENTRY_LIMIT: Final = 100_000
#: Links that are followed on the way to one file; the kernel's own limit.
LINK_LIMIT: Final = 40
#: How many shards of one kind of problem are named; the others are counted.
NAMED: Final = 5

ShardState = Literal["whole", "missing", "dangling", "empty", "truncated", "junk", "outside", "unreadable"]

_SAYS: Final[dict[ShardState, str]] = {
    "missing": "is missing",
    "dangling": "is a link to a file that is not there (a cache that was cleaned, or a mount of half a cache)",
    "empty": "is empty",
    "truncated": "is cut short",
    "junk": "is no safetensors file",
    "outside": "is named by the index but lies outside the model's directory",
    "unreadable": "cannot be read",
}
#: Shards' names count their siblings: all of them can be told from one of them where there is no index.
_COUNTED: Final = re.compile(r"(.+)-(\d{5,6})-of-(\d{5,6})\.safetensors", re.ASCII)


class CheckpointError(LaunchpadError):
    """A path is no model directory at all; the message names it."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One weight file. ``size_bytes`` is what is there (None where nothing is), ``expected_bytes`` what its header promises."""

    name: str
    state: ShardState
    size_bytes: int | None = None
    expected_bytes: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What config.json says; None where it does not. ``max_positions`` is the trained context length in tokens."""

    architectures: tuple[str, ...] = ()
    model_type: str | None = None
    dtype: str | None = None
    max_positions: int | None = None
    quantization: str | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model directory as found. ``has_index`` False with shards means that their completeness was told by their names.

    ``linked`` are the names of files that a link may lead elsewhere: see :func:`strays`.
    """

    path: Path
    config: ModelConfig
    shards: tuple[Shard, ...]
    has_index: bool
    incomplete: tuple[str, ...] = ()
    other_weights: tuple[str, ...] = ()
    linked: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Bytes of the weight files that are there."""
        return sum(shard.size_bytes or 0 for shard in self.shards)

    @property
    def complete(self) -> bool:
        """Whether an engine could load it."""
        return not self.problems()

    def problems(self) -> tuple[str, ...]:
        """What keeps it from being loaded, in plain words, naming files; empty where all is well."""
        found = [line for state in _SAYS for line in self._said(state)]
        if not self.shards and not self.other_weights:
            found.append(f"no weights: neither {INDEX} nor any *.safetensors file")
        if found and self.incomplete:
            found.append(f"a download did not end: {_names(self.incomplete)} left over")
        return tuple(found)

    def _said(self, state: ShardState) -> list[str]:
        bad = [shard for shard in self.shards if shard.state == state]
        lines = [f"{shard.name} {_SAYS[state]}{shard.detail and f': {shard.detail}'}" for shard in bad[:NAMED]]
        if len(bad) > NAMED:
            lines.append(f"and {len(bad) - NAMED} more of {len(self.shards)} shards: {state}")
        return lines


@dataclass(frozen=True, slots=True)
class Stray:
    """A file that is readable here and not in a container: a link leads to ``wanted`` there, where nothing is mounted."""

    name: str
    wanted: str


def inspect_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a directory; never loads weights.

    Raises CheckpointError where the path is no readable directory with a sound config.json, or where its index is junk.
    Shards that are missing or damaged are no error: see :meth:`Checkpoint.problems`.
    """
    found = _entries(path)
    names = frozenset(found)
    config = _config(path, names)
    if INDEX in names:
        shards = tuple(_listed_shard(path, name) for name in _indexed(path))
    else:
        shards = tuple(_shard(path, name) for name in _expected(names))
    below = {shard.name for shard in shards if "/" in shard.name and shard.state == "whole"}
    return Checkpoint(
        path=path,
        config=config,
        shards=shards,
        has_index=INDEX in names,
        incomplete=_incomplete(path, names),
        other_weights=tuple(sorted(name for name in names if name.endswith((".gguf", ".bin", ".pt", ".pth")))),
        linked=tuple(sorted({name for name, is_link in found.items() if is_link and _read(name)} | below)),
    )


def strays(path: Path, names: Iterable[str], binds: Mapping[str, str], target: str) -> tuple[Stray, ...]:
    """Which of a directory's files cannot be read in a container that sees it at ``target``, though they can be read here.

    ``binds`` maps every path that is mounted into the container to its path on the rig. Links are followed by their text, as the
    kernel in the container follows them; what the image itself holds is not known and does not count. Raises OSError where this
    user may not look.
    """
    places = {PurePosixPath(inside): Path(os.path.realpath(outside)) for inside, outside in binds.items()}
    wanted = ((name, _dangles(PurePosixPath(target, name), places)) for name in names if (path / name).is_file())
    return tuple(Stray(name, str(where)) for name, where in wanted if where is not None)


def _dangles(path: PurePosixPath, places: Mapping[PurePosixPath, Path]) -> PurePosixPath | None:
    """Where in the container the way to ``path`` leaves what is mounted, all its links followed; None where it does not."""
    here, todo, links = PurePosixPath("/"), list(path.parts[1:]), 0
    while todo:
        name = todo.pop(0)
        if name == "..":
            here = here.parent
            continue
        step = here / name
        base = next((place for place in (step, *step.parents) if place in places), None)
        if base is None:
            if not any(place.is_relative_to(step) for place in places):
                return step.joinpath(*todo)
            here = step
            continue
        outside = places[base] / step.relative_to(base)
        if outside.is_symlink():
            links += 1
            if links > LINK_LIMIT:
                return step
            text = PurePosixPath(outside.readlink())
            todo[:0] = text.parts[1:] if text.is_absolute() else text.parts
            here = PurePosixPath("/") if text.is_absolute() else here
        elif not outside.exists() and not any(place.is_relative_to(step) for place in places):
            return step.joinpath(*todo)
        else:
            here = step
    return None


def _read(name: str) -> bool:
    """Whether an engine may read a file of that name; hidden ones and words for people it does not."""
    return not name.startswith((".", "LICENSE")) and not name.endswith(".md")


def read_config(text: bytes) -> ModelConfig:
    """What the text of a config.json says; raises ValueError for what is no JSON object.

    A multimodal model keeps the language model's facts one level down (``text_config``); what it says at the top goes first.
    """
    said = _object(text)
    inner = said.get("text_config")
    layers = [said, inner] if isinstance(inner, dict) else [said]

    def first(kind: type, *keys: str) -> Any:
        found = (layer.get(key) for layer in layers for key in keys)
        return next((value for value in found if isinstance(value, kind) and not isinstance(value, bool)), None)

    architectures = first(list, "architectures") or []
    positions = first(int, "max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
    quantization = first(dict, "quantization_config") or {}
    method = quantization.get("quant_method") or quantization.get("quant_algo")
    return ModelConfig(
        architectures=tuple(name for name in architectures if isinstance(name, str)),
        model_type=first(str, "model_type"),
        # transformers 5 writes "dtype", earlier ones "torch_dtype".
        dtype=first(str, "torch_dtype", "dtype"),
        max_positions=positions if positions and positions > 0 else None,
        quantization=method if isinstance(method, str) else None,
    )


def header_flaw(header: bytes, body_bytes: int) -> tuple[ShardState, int | None, str]:
    """What a safetensors header says of a file whose tensors have ``body_bytes``: a state, the bytes promised, and why.

    A tensor's offsets count from the end of the header, so the greatest end is the body's length.
    """
    try:
        said = _object(header)
    except ValueError as error:
        return "junk", None, f"its header is {error}"
    end = 0
    for name, tensor in said.items():
        if name == "__metadata__":
            continue
        offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
        if not (
            isinstance(offsets, list)
            and len(offsets) == 2
            and all(isinstance(offset, int) and not isinstance(offset, bool) for offset in offsets)
            and 0 <= offsets[0] <= offsets[1] < 2**63
        ):
            return "junk", None, f"its header gives no place to tensor {name[:80]!r}"
        end = max(end, offsets[1])
    if body_bytes < end:
        return "truncated", end, ""
    return "whole", end, ""


def _entries(path: Path) -> dict[str, bool]:
    """What lies in a directory by name, and whether it is a link."""
    try:
        names: dict[str, bool] = {}
        with os.scandir(path) as entries:
            for entry in entries:
                names[entry.name] = entry.is_symlink()
                if len(names) > ENTRY_LIMIT:
                    raise CheckpointError(f"cannot read the model {path}: it holds more than {ENTRY_LIMIT} files")
    except FileNotFoundError as error:
        raise CheckpointError(f"cannot read the model {path}: no such directory", hint=_download(path)) from error
    except NotADirectoryError as error:
        raise CheckpointError(
            f"cannot read the model {path}: it is a file, not a directory",
            hint="name the directory that holds config.json",
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the model {path}: {_why(error)}", hint=f"ls -ld {path}") from error
    return names


def _config(path: Path, names: frozenset[str]) -> ModelConfig:
    if CONFIG not in names:
        inside = sorted(found.parent.name for found in path.glob(f"snapshots/*/{CONFIG}"))[:1]
        hint = f"a hub cache: name {path / 'snapshots' / inside[0]}" if inside else _download(path)
        raise CheckpointError(f"cannot read the model {path}: it has no {CONFIG}", hint=hint)
    return _parsed(path, CONFIG, CONFIG_LIMIT, read_config)


def _indexed(path: Path) -> tuple[str, ...]:
    def shard_names(text: bytes) -> tuple[str, ...]:
        weights = _object(text).get("weight_map")
        if not isinstance(weights, dict) or not weights:
            raise ValueError("without a weight_map")
        if not all(isinstance(name, str) and name for name in weights.values()):
            raise ValueError("a weight_map of something else than file names")
        return tuple(sorted(set(weights.values())))

    found = _parsed(path, INDEX, INDEX_LIMIT, shard_names)
    if len(found) > ENTRY_LIMIT:
        raise CheckpointError(f"cannot read the model {path}: its {INDEX} names more than {ENTRY_LIMIT} files")
    return found


def _expected(names: frozenset[str]) -> tuple[str, ...]:
    """Weight files where there is no index: those present, and the siblings that their names count."""
    present = {name for name in names if name.endswith(".safetensors")}
    wanted = set(present)
    for match in filter(None, map(_COUNTED.fullmatch, present)):
        stem, number, of = match.groups()
        if 0 < int(of) <= ENTRY_LIMIT:
            wanted |= {f"{stem}-{n:0{len(number)}d}-of-{of}.safetensors" for n in range(1, int(of) + 1)}
    return tuple(sorted(wanted))


def _incomplete(path: Path, names: frozenset[str]) -> tuple[str, ...]:
    """Leftovers of a download: here, and where ``hf download --local-dir`` keeps its own."""
    try:
        inner = [str(file.relative_to(path)) for file in (path / ".cache/huggingface/download").iterdir()]
    except OSError:
        inner = []
    return tuple(sorted(name for name in [*names, *inner] if name.endswith((".incomplete", ".aria2", ".part"))))


def _listed_shard(path: Path, name: str) -> Shard:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\0" in name:
        return Shard(_printable(name), "outside")
    return _shard(path, name)


def _shard(path: Path, name: str) -> Shard:
    """One weight file judged by its header. Links are followed: a hub's cache is made of them."""
    file = path / name
    shown = _printable(name)
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            return Shard(shown, "unreadable", detail="it is no regular file")
        if not name.endswith(".safetensors"):
            return Shard(shown, "whole" if found.st_size else "empty", found.st_size)
        return _judged(file, shown, found.st_size)
    except FileNotFoundError:
        return Shard(shown, "dangling" if file.is_symlink() else "missing")
    except OSError as error:
        return Shard(shown, "unreadable", detail=_why(error))


def _judged(file: Path, shown: str, size: int) -> Shard:
    if size == 0:
        return Shard(shown, "empty", 0)
    with file.open("rb") as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        if start == b"version ":
            return Shard(shown, "junk", size, detail="it is a Git LFS pointer; run `git lfs pull` where it was cloned")
        if size < 8:
            return Shard(shown, "truncated", size, detail=f"{size} bytes are no header")
        if length > HEADER_LIMIT or length < 2:
            return Shard(shown, "junk", size, detail=f"its header would have {length} bytes")
        header = stream.read(length)
    if len(header) < length:
        return Shard(shown, "truncated", size, 8 + length, f"{size} bytes, its header alone takes {8 + length}")
    state, end, detail = header_flaw(header, size - 8 - length)
    expected = None if end is None else 8 + length + end
    if state == "truncated" and expected is not None:
        detail = f"{show_bytes(size)} of {show_bytes(expected)} ({expected - size} bytes are missing)"
    return Shard(shown, state, size, expected, detail)


def _parsed(path: Path, name: str, limit: int, parse: Callable[[bytes], _T]) -> _T:
    try:
        with (path / name).open("rb") as stream:
            text = stream.read(limit + 1)
    except OSError as error:
        raise CheckpointError(
            f"cannot read the model {path}: {name}: {_why(error)}", hint=f"ls -lL {path / name}"
        ) from error
    if len(text) > limit:
        raise CheckpointError(f"cannot read the model {path}: {name} is larger than {show_bytes(limit)}")
    try:
        return parse(text)
    except ValueError as error:
        raise CheckpointError(
            f"cannot read the model {path}: {name} is {error}", hint="download that file again"
        ) from error


def _object(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("no JSON" if text.strip() else "empty") from error
    if not isinstance(said, dict):
        raise ValueError("JSON, but not an object")  # noqa: TRY004  one kind of error for one kind of wrong
    return said


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _printable(name: str) -> str:
    return name if name.isprintable() and len(name) <= 255 else ascii(name[:255])


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _download(path: Path) -> str:
    return f"hf download <organisation>/<model> --local-dir {path}"
