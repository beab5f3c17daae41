"""Profiles found, read, layered and checked.

A profile is a TOML file; its name is the file's stem. Directories are searched in order: those of ``LAUNCHPAD_PROFILES`` (a
path list), ``$XDG_CONFIG_HOME/launchpad/profiles`` (else ``~/.config``), ``/etc/launchpad/profiles``, and last the shipped
ones. The first file of a name wins, and may extend the one of the same name further down. Files that start with ``_`` or a
capital are layers and examples: they are read and checked, never listed.

Every problem of a file is reported at once, each as ``file:line: key: what is wrong, what would be right``. This module
refuses to resolve a profile against a rig, and to print. It imports pydantic only once a profile is validated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from launchpad.errors import NotFoundError, ProfileError
from launchpad.profiles.layers import Layers, read_layers, unknown_parent
from launchpad.profiles.source import Unreadable, printable, quote, unfit
from launchpad.shipped import shipped as shipped_folder
from launchpad.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from launchpad.profiles.schema import Profile  # noqa: TC004 - listing names must not pay for pydantic

SUFFIX: Final = ".toml"
MOST_PROBLEMS: Final = 50

_FILE_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,62}")
_LISTED = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A profile that reads well: its name, its file, the files it is layered from (base first, itself last), and itself."""

    name: str
    path: Path
    layers: tuple[Path, ...]
    profile: Profile


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of ``launchpad profiles list``; ``error`` says why a profile does not read, and then the rest is None.

    ``standing`` is the profile's own table of that name, with ``as_of`` as text; None where it has none.
    """

    name: str
    path: Path
    shipped: bool
    summary: str | None = None
    engine: str | None = None
    standing: dict[str, str] | None = None
    error: str | None = None


def shipped_profiles() -> Path:
    """The directory of the profiles that come with launchpad: inside the wheel, else the checkout's own."""
    return shipped_folder("profiles")


def search_path(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The directories that profiles are looked for in, first wins; they need not exist."""
    own = [Path(text) for text in environ.get("LAUNCHPAD_PROFILES", "").split(":") if text]
    config, home = environ.get("XDG_CONFIG_HOME", ""), environ.get("HOME", "")
    if config.startswith("/"):
        own.append(Path(config) / "launchpad" / "profiles")
    elif home:
        own.append(Path(home) / ".config" / "launchpad" / "profiles")
    return (*own, Path("/etc/launchpad/profiles"), shipped_profiles())


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a profile file, ``extends`` included, for editors."""
    from launchpad.profiles.editor import editor_schema

    return editor_schema()


class Catalog:
    """The profiles of a search path."""

    def __init__(self, directories: tuple[Path, ...], *, shipped: Path | None = None) -> None:
        self.directories = directories
        self.shipped = shipped or shipped_profiles()

    def names(self) -> tuple[str, ...]:
        """Every name that ``load`` and ``up`` know, sorted; no file is read."""
        return tuple(sorted(self._listed()))

    def entries(self) -> tuple[Entry, ...]:
        """Every listed profile, read and validated, sorted by name; one that does not read carries its error."""
        return tuple(self._entry(name, path) for name, path in sorted(self._listed().items()))

    def find(self, name_or_path: str) -> Path:
        """The file that ``name_or_path`` means; a path holds a / or ends in .toml. Raises NotFoundError."""
        if "/" in name_or_path or name_or_path.endswith(SUFFIX):
            path = Path(name_or_path)
            if _absent(path):
                raise NotFoundError(f"cannot find profile {quote(name_or_path)}: there is no such file")
            return path
        found = self._lookup(name_or_path, self.directories)
        if found is None:
            raise self._not_found(name_or_path)
        return found

    def load(self, name_or_path: str) -> Loaded:
        """The profile of that name or path. Raises NotFoundError, or ProfileError with every problem it has."""
        path = self.find(name_or_path)
        name = path.name.removesuffix(SUFFIX)
        layers, problems = self._read(path)
        if layers is not None:
            from launchpad.profiles.schema import shape_of

            files = tuple(source.path for source in layers.sources)
            return Loaded(name, path, files, shape_of(layers.table).model_validate(layers.table))
        raise ProfileError(
            f"cannot read profile {quote(name)}: {counted(len(problems), 'problem')}",
            problems=tuple(problems),
            hint="mend the lines above; `launchpad profiles show EXAMPLE` explains every key",
        )

    def table(self, name_or_path: str) -> dict[str, Any]:
        """The tables of a sound profile with everything it extends merged in, as TOML has them; raises as :meth:`load` does."""
        loaded = self.load(name_or_path)
        return read_layers(loaded.path, self._parent).table

    def check(self, paths: Iterable[str | Path] = ()) -> list[str]:
        """Every problem of these files, directories and names, one printable line each; of the whole search path if none."""
        found: list[str] = []
        for path in self._to_check([str(path) for path in paths]):
            if isinstance(path, Path):
                found.extend(self._read(path, partial=path.name.startswith("_"))[1])
            else:
                found.append(path)
        return list(dict.fromkeys(found))

    # -- finding -------------------------------------------------------------------------------------------------------

    def _listed(self) -> dict[str, Path]:
        listed: dict[str, Path] = {}
        for directory in self.directories:
            for path in _files(directory):
                if _LISTED.fullmatch(path.stem):
                    listed.setdefault(path.stem, path)
        return listed

    def _to_check(self, paths: list[str]) -> Iterator[Path | str]:
        if not paths:
            for directory in self.directories:
                yield from _files(directory)
        for text in paths:
            if _is_directory(Path(text)):
                files = _files(Path(text))
                yield from files
                if not files:
                    yield f"{printable(text)}: holds no profile; they end in {SUFFIX}"
                continue
            try:
                yield self.find(text)
            except NotFoundError as error:
                yield error.message

    def _lookup(self, name: str, directories: Iterable[Path]) -> Path | None:
        if not _FILE_STEM.fullmatch(name):
            return None
        candidates = (directory / f"{name}{SUFFIX}" for directory in directories)
        return next((path for path in candidates if _there(path)), None)

    def _parent(self, name: str, child: Path) -> Path | str:
        """The file that ``extends = name`` means in ``child``, or why there is none.

        A name means what it means everywhere; only the child's own name means the next one down the search path.
        """
        home = child.parent
        place = next((i for i, directory in enumerate(self.directories) if _same(directory, home)), None)
        if name == child.stem:
            below = self.directories if place is None else self.directories[place + 1 :]
            found = self._lookup(name, below)
            return found or f"names itself, and no other profile {quote(name)} is further down the search path"
        beside = (home,) if place is None else ()
        return self._lookup(name, (*beside, *self.directories)) or unknown_parent(name, self._close(name))

    def _close(self, name: str) -> str | None:
        import difflib

        stems = {path.stem for directory in self.directories for path in _files(directory)}
        return next(iter(difflib.get_close_matches(name[:64], sorted(stems), n=1, cutoff=0.6)), None)

    def _not_found(self, name: str) -> NotFoundError:
        looked = ", ".join(printable(str(directory)) for directory in self.directories)
        close = self._close(name)
        return NotFoundError(
            f"cannot find profile {quote(name)}: it is in none of {looked}",
            hint=f"did you mean {close}?" if close else "launchpad profiles list",
        )

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self, path: Path, *, partial: bool = False) -> tuple[Layers | None, list[str]]:
        """The layers of a sound profile, or the problems of an unsound one."""
        if not _FILE_STEM.fullmatch(path.name.removesuffix(SUFFIX)):
            return None, [
                f"{printable(str(path))}: cannot be a profile's name; use letters, digits, dots, _ and -, at most 63"
            ]
        try:
            layers = read_layers(path, self._parent)
        except Unreadable as error:
            return None, [error.problem]
        problems = _wrong_lines(layers, partial=partial)
        return (None if problems else layers), problems

    def _entry(self, name: str, path: Path) -> Entry:
        shipped = _same(path.parent, self.shipped)
        layers, problems = self._read(path)
        if layers is None:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            return Entry(name, path, shipped, error=problems[0] + more)
        table, said = layers.table, layers.table.get("standing")
        standing = {key: str(value) for key, value in said.items()} if said is not None else None
        return Entry(name, path, shipped, table["summary"], table["engine"], standing)


def _wrong_lines(layers: Layers, *, partial: bool) -> list[str]:
    """Everything wrong with the merged table, the asked file's own lines first, each file in the order of its lines."""
    from launchpad.profiles.explain import problems_of

    unfit_values = list(islice(unfit(layers.table), MOST_PROBLEMS))
    unfit_places = {path for path, _ in unfit_values}
    broken, more = problems_of(layers.table, partial=partial, most=MOST_PROBLEMS)
    wrong = unfit_values + [(path, says) for path, says in broken if path not in unfit_places]
    wrong.sort(key=lambda item: layers.order(item[0]))
    lines = [layers.problem(path, says) for path, says in wrong]
    return [*lines, f"{printable(str(layers.sources[-1].path))}: and {more} more"] if more else lines


def _files(directory: Path) -> list[Path]:
    """The profile files of ``directory``, sorted; none if it cannot be read."""
    try:
        return sorted(path for path in directory.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    except OSError:
        return []


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _there(path: Path) -> bool:
    """Whether something has that name, a broken or circular symbolic link included."""
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _absent(path: Path) -> bool:
    """Whether it is certain that nothing is there; reading tells what else may be wrong with a path."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):
        return False
    return False


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
