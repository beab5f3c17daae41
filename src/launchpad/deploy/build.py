"""What an image is built from: a template folder and its arguments, turned into a build context.

A template is a folder with a ``Dockerfile.j2`` (or a plain ``Dockerfile``): every ``*.j2`` in it is rendered by Jinja2 with
StrictUndefined, every other file goes along as it is. ``{{ value | shell }}`` is one word in a RUN line, ``{{ value | docker }}``
one in a LABEL or ENV line. A user's ``templates/`` folders beside their profiles win over the shipped ones. Rendering happens on
this machine, so it is sandboxed; what the Dockerfile says happens in the build.

A ``build.toml`` beside the Dockerfile says what a build needs; it is no part of the context.

This module decides what goes into a build; :func:`make_image` then obeys, through :meth:`launchpad.runtime.base.Runtime.build`.
It follows no link out of a template, and passes no password to a build, because an image's history keeps its arguments. Which
arguments are fit for a build at all is :mod:`launchpad.deploy.pinned`'s to say.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from launchpad.deploy.dockerfile import added, bases, frontend
from launchpad.deploy.pinned import NOWHERE, Places, refuse_floating, refuse_unfit, refuse_unpinned_add
from launchpad.errors import ImageError, NotFoundError
from launchpad.runtime.base import LABEL_PREFIX, RuntimeInfo
from launchpad.runtime.buildkit import NO_SESSION
from launchpad.shipped import shipped
from launchpad.units import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jinja2 import Environment

    from launchpad.runtime.base import Image, Runtime, Transfer

#: The template's name, on an image that launchpad built.
LABEL_TEMPLATE: Final = f"{LABEL_PREFIX}template"
#: SHA-256 of the build context, on an image that launchpad built: a different one means that the template or its arguments changed,
#: or that the other builder made it (:mod:`launchpad.deploy.origin` compares).
LABEL_CONTEXT: Final = f"{LABEL_PREFIX}build-context"
#: The build arguments as the profile said them, a JSON object of text sorted by name, on an image that launchpad built.
LABEL_ARGS: Final = f"{LABEL_PREFIX}build-args"

#: What the base image was when the image was built: the registry's digest, else the image's id.
LABEL_BASE: Final = f"{LABEL_PREFIX}pin.base-image-digest"
#: What a template's ``build.toml`` is called; it says what a build needs and goes into none.
NEEDS_FILE: Final = "build.toml"

#: Builds use the host's network. The pip settings and proxies that a person has often name a loopback address (a local mirror,
#: a tunnel), which means another machine on Docker's bridge; and a bridge's DNS breaks behind many a VPN. Published ports and
#: running containers are not affected: this is for the build alone.
BUILD_NETWORK: Final = "host"

#: pip's settings that a template may declare with ARG, each a list of words separated by spaces.
PIP_SETTINGS: Final = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "PIP_TRUSTED_HOST")
#: Docker knows these without an ARG and keeps them out of the image's history.
PROXY_SETTINGS: Final = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")

_URL_SETTINGS: Final = frozenset({"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"})
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_ARG = re.compile(r"^ARG\s+(\w+)", re.IGNORECASE | re.MULTILINE)
_SUFFIX: Final = ".j2"
_GIB: Final = 1 << 30
#: Memory of the builder that is left to everything but compilers, and what one job may take where a template does not say.
_RESERVE: Final = 8 * _GIB
_JOB_MEMORY: Final = 4 * _GIB
_LARGEST_TEMPLATE: Final = 1024 * 1024


def template_roots(profile_directories: Iterable[Path]) -> tuple[Path, ...]:
    """The folders that hold templates, first wins: ``templates/`` beside each profile directory, then the shipped one.

    Shipped means inside the wheel, else the checkout's own. A folder that does not exist is no error.
    """
    beside = (directory.parent / "templates" for directory in profile_directories)
    return tuple(dict.fromkeys((*beside, shipped("templates"))))


def template_path(name: str, search: Sequence[Path]) -> Path:
    """The folder of the template ``name`` in the first of ``search`` that has one; raises NotFoundError."""
    if _NAME.fullmatch(name):
        for root in search:
            if (root / name).is_dir():
                return root / name
    close = _closest(name, (path.name for root in search if root.is_dir() for path in root.iterdir() if path.is_dir()))
    raise NotFoundError(
        f"cannot find template {name[:80]!r}: it is in none of {', '.join(map(str, search)) or 'no folder at all'}",
        hint=f"did you mean {close}?" if close else "a template is a folder with a Dockerfile.j2 in it",
    )


def build_context(
    template_dir: Path, args: Mapping[str, str | int], *, buildkit: bool = False, places: Places = NOWHERE
) -> dict[str, bytes | Path]:
    """The build context: its paths, each with rendered bytes or the file to stream, sorted by path.

    ``*.j2`` files see ``args`` as their variables, and ``buildkit``, which says whether BuildKit will read them; they lose the
    suffix. ``places`` says where the profile has its arguments. Raises ImageError, naming file and line, for a variable that has
    neither argument nor default, an argument that no file uses, a link, or a folder without a Dockerfile; and for arguments that
    :mod:`launchpad.deploy.pinned` refuses.
    """
    files = _files(template_dir)
    rendered = _Templates(template_dir, places)
    rendered.refuse_unused(args, [name for name in files if name.endswith(_SUFFIX)])
    refuse_unfit(template_dir.name, args, places)
    args = {"buildkit": int(buildkit), **args}
    context: dict[str, bytes | Path] = {}
    for name, path in files.items():
        target = name.removesuffix(_SUFFIX)
        if target in context:
            raise _cannot(template_dir, f"both {target} and {target}{_SUFFIX} are there; remove one")
        context[target] = rendered.text(name, args).encode() if name.endswith(_SUFFIX) else path
    if "Dockerfile" not in context:
        raise _cannot(template_dir, "it has neither Dockerfile.j2 nor Dockerfile")
    return dict(sorted(context.items()))


@dataclass(frozen=True, slots=True)
class Needs:
    """What a build needs, in bytes; None: nobody has said. ``source`` tells where the figures are from."""

    disk_bytes: int | None = None
    least_disk_bytes: int | None = None
    job_memory_bytes: int | None = None
    source: str = ""


def needs_of(template_dir: Path) -> Needs:
    """What the template's ``build.toml`` says; nothing where there is none. Raises ImageError for one that cannot be read."""
    path = template_dir / NEEDS_FILE
    if not path.is_file():
        return Needs()
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        disk, least, job = (
            parse_bytes(str(said[key])) if key in said else None for key in ("disk", "disk_least", "job_memory")
        )
        return Needs(disk, least, job, str(said.get("source", "")))
    except (OSError, ValueError) as error:
        raise _cannot(template_dir, f"{error}", NEEDS_FILE) from error


def max_jobs(info: RuntimeInfo | None, needs: Needs, environ: Mapping[str, str]) -> tuple[int, str]:
    """How many compilers may run at once, and why: a person's MAX_JOBS, else what cores and memory of the builder allow.

    Memory less a reserve of 8 GiB, divided by what one job takes. Unknown cores or memory: 1, which is slow and never too much.
    """
    given = environ.get("MAX_JOBS", "")
    if given:
        if not given.isascii() or not given.isdigit() or int(given) == 0:
            raise ImageError(f"cannot build with MAX_JOBS={given[:40]}: it is no number of jobs", hint="unset MAX_JOBS")
        return int(given), "your MAX_JOBS"
    if info is None or info.cpus is None or info.memory_bytes is None:
        return 1, "cores and memory of the builder are unknown"
    each = needs.job_memory_bytes or _JOB_MEMORY
    fitting = max(1, (info.memory_bytes - _RESERVE) // each)
    why = f"{info.cpus} cores, {info.memory_bytes / _GIB:.0f} GiB of memory of which a job may take {each / _GIB:g} GiB"
    return min(info.cpus, fitting), why


@dataclass(frozen=True, slots=True)
class Recipe:
    """An image to build: where from, with which values, and on what machine. ``info`` None: the builder is unknown.

    ``places`` says where the profile has its arguments, for whoever must mend them.
    """

    reference: str
    template: str
    args: Mapping[str, str | int]
    folder: Path
    environ: Mapping[str, str]
    info: RuntimeInfo | None = None
    classic: bool = False
    places: Places = NOWHERE


@dataclass(frozen=True, slots=True)
class Making:
    """A build decided upon: everything that goes in, and what a person should know before it begins."""

    reference: str
    context: Mapping[str, bytes | Path]
    build_args: Mapping[str, str]
    labels: Mapping[str, str]
    bases: tuple[str, ...]
    buildkit: bool
    remarks: tuple[str, ...]

    @property
    def dockerfile(self) -> str:
        """The Dockerfile as it will be read."""
        return dockerfile_of(self.context)


def dockerfile_of(context: Mapping[str, bytes | Path]) -> str:
    """The Dockerfile of a context as text."""
    content = context["Dockerfile"]
    return (content if isinstance(content, bytes) else content.read_bytes()).decode("utf-8", "replace")


def making_of(recipe: Recipe, checked_at: str, free_bytes: int | None) -> Making:
    """What will be built, and how. Raises ImageError for what is not pinned, or where the disk is too small for it.

    ``checked_at`` is now, for steps that must not come out of a cache; ``free_bytes`` what is free where images are kept.
    """
    buildkit = recipe.info is not None and recipe.info.buildkit and not recipe.classic
    context = build_context(recipe.folder, recipe.args, buildkit=buildkit, places=recipe.places)
    dockerfile = dockerfile_of(context)
    needs = needs_of(recipe.folder)
    jobs, why = max_jobs(recipe.info, needs, recipe.environ)
    own = {"MAX_JOBS": str(jobs), "LAUNCHPAD_CHECKED_AT": checked_at}
    declared = set(_ARG.findall(dockerfile))
    remarks = [f"MAX_JOBS={jobs}: {why}"] if "MAX_JOBS" in declared else []
    remarks += _disk_remarks(recipe.reference, needs, free_bytes)
    if not buildkit and recipe.info is not None:
        remarks.append(
            "classic builder: finished steps are kept, but no compiler cache lives through an interrupted one"
        )
    found = bases(dockerfile)
    reader = frontend(dockerfile)
    for base in (*found, *([reader] if reader else [])):
        refuse_floating(recipe.template, base, recipe.args, recipe.places)
    for source, checksum in added(dockerfile):
        refuse_unpinned_add(recipe.template, source, checksum)
    return Making(
        recipe.reference,
        context,
        {**pip_build_args(recipe.environ), **{name: value for name, value in own.items() if name in declared}},
        build_labels(recipe.template, context, recipe.args),
        found,
        buildkit,
        tuple(remarks),
    )


def _disk_remarks(reference: str, needs: Needs, free_bytes: int | None) -> list[str]:
    if needs.disk_bytes is None:
        return []
    first = f"a first build takes about {needs.disk_bytes / _GIB:.0f} GiB of disk ({needs.source})"
    if free_bytes is None:
        return [f"{first}; how much is free cannot be seen from here"]
    free = f"{free_bytes / _GIB:.0f} GiB are free"
    if needs.least_disk_bytes is not None and free_bytes < needs.least_disk_bytes:
        least = f"even with its first steps done it takes {needs.least_disk_bytes / _GIB:.0f} GiB"
        raise ImageError(
            f"cannot build {reference}: {free}, {first}, and {least}", hint="docker system df; docker builder prune"
        )
    if free_bytes < needs.disk_bytes:
        return [f"{first}, and {free}: enough only where its first steps are done already"]
    return [f"{first}; {free}"]


def free_bytes(info: RuntimeInfo | None) -> int | None:
    """What is free where the engine keeps its images; None where that is another machine, or hidden."""
    if info is None or info.root_dir is None:
        return None
    try:
        return shutil.disk_usage(info.root_dir).free
    except OSError:
        return None


def make_image(
    recipe: Recipe,
    runtime: Runtime,
    checked_at: str,
    progress: Callable[[Transfer], None],
    say: Callable[[str], None],
    *,
    no_cache: bool = False,
) -> Image:
    """Build it: fetch the base images that are missing, then run the Dockerfile.

    BuildKit has no session here and could not fetch them itself; an engine whose BuildKit wants one all the same gets the
    classic builder, and ``say`` is told. Raises ImageError.
    """
    making = making_of(recipe, checked_at, free_bytes(recipe.info))
    labels = {**making.labels, **_base_labels(making.bases, runtime, progress)}
    for remark in making.remarks:
        say(remark)
    try:
        return runtime.build(
            making.context,
            making.reference,
            build_args=making.build_args,
            labels=labels,
            network=BUILD_NETWORK,
            progress=progress,
            buildkit=making.buildkit,
            no_cache=no_cache,
        )
    except ImageError as error:
        if not making.buildkit or NO_SESSION not in error.message:
            raise
        say(
            "this Docker Engine's BuildKit asks for a session, which only the docker command has: the classic builder takes over"
        )
        return make_image(replace(recipe, classic=True), runtime, checked_at, progress, say, no_cache=no_cache)


def _base_labels(names: Iterable[str], runtime: Runtime, progress: Callable[[Transfer], None]) -> dict[str, str]:
    """What the base images are, after fetching those that are not here; nothing where there is none."""
    found = [runtime.image(name) or runtime.pull(name, progress) for name in names]
    said = ",".join(image.digests[0] if image.digests else image.id for image in found)
    return {LABEL_BASE: said} if said else {}


def render_file(folder: Path, name: str, values: Mapping[str, str | int | tuple[str | int, ...]]) -> str:
    """One shipped template that is no part of an image (a systemd unit), rendered as strictly; raises ImageError."""
    return _Templates(folder).text(name, values)


def context_hash(context: Mapping[str, bytes | Path]) -> str:
    """SHA-256, in hex, of the context's paths and contents; file modes and times are left out."""
    total = hashlib.sha256()
    for name, content in sorted(context.items()):
        data = content if isinstance(content, bytes) else content.read_bytes()
        total.update(f"{name}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


def build_labels(template: str, context: Mapping[str, bytes | Path], args: Mapping[str, str | int]) -> dict[str, str]:
    """Labels for the image: which template it is made from, with which arguments, and the hash of what went in."""
    said = json.dumps({name: str(value) for name, value in sorted(args.items())})
    return {LABEL_TEMPLATE: template, LABEL_CONTEXT: context_hash(context), LABEL_ARGS: said}


def pip_build_args(environ: Mapping[str, str]) -> dict[str, str]:
    """The person's pip and proxy settings as build arguments.

    Words that are no http(s) URL are left out where a URL belongs: a folder of this machine does not exist inside a build.
    Raises ImageError for a pip URL that carries a password.
    """
    found = {name: environ[name] for name in PROXY_SETTINGS if environ.get(name)}
    for name in PIP_SETTINGS:
        words = environ.get(name, "").split()
        if name in _URL_SETTINGS:
            words = [word for word in words if urlsplit(word).scheme in {"http", "https"}]
            _refuse_passwords(name, words)
        if words:
            found[name] = " ".join(words)
    return found


def _refuse_passwords(name: str, urls: Iterable[str]) -> None:
    if any("@" in urlsplit(url).netloc for url in urls):
        raise ImageError(
            f"cannot build with {name}: its URL carries a user or password, which the image's history would keep",
            hint=f"set {name} to a URL without one, or leave it out: unset {name}",
        )


def _files(template_dir: Path) -> dict[str, Path]:
    """Every file of the template by its path in the context; refuses links out of it and what is no file."""
    root = template_dir.resolve()
    found: dict[str, Path] = {}
    for folder, folders, names in os.walk(template_dir):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        here = Path(folder)
        for name in (*folders, *sorted(names)):
            path, inside = here / name, (here / name).relative_to(template_dir).as_posix()
            if path.is_symlink() and (name in folders or not path.resolve().is_relative_to(root)):
                raise _cannot(template_dir, f"{inside} is a link to {path.readlink()}; put a copy there")
            if name in folders or inside == NEEDS_FILE:
                continue
            if not path.is_file():
                raise _cannot(template_dir, f"{inside} is no regular file, or a link to nothing")
            found[inside] = path
    return found


class _Templates:
    """The ``*.j2`` files of one template folder. Jinja2 is imported here and not before: few commands build."""

    def __init__(self, template_dir: Path, places: Places = NOWHERE) -> None:
        self._dir = template_dir
        self._places = places
        self._env = _environment(template_dir)

    def refuse_unused(self, args: Mapping[str, str | int], names: Iterable[str]) -> None:
        """An argument that no file mentions is a misspelling, not a wish."""
        from jinja2 import meta
        from jinja2.exceptions import TemplateSyntaxError

        known: set[str] = set()
        for name in names:
            try:
                known |= meta.find_undeclared_variables(self._env.parse(self._source(name), name))
            except TemplateSyntaxError as error:
                raise _cannot(self._dir, f"{error.message}", name, error.lineno) from error
        for arg in args:
            if arg not in known:
                close = _closest(arg, known)
                listed = ", ".join(sorted(known)) or "none"
                raise _cannot(
                    self._dir,
                    f"{self._places.before(arg)}no file of it uses the argument {arg!r}",
                    hint=f"did you mean {close}?" if close else f"its variables: {listed}",
                )

    def text(self, name: str, args: Mapping[str, str | int | tuple[str | int, ...]]) -> str:
        """One file, rendered."""
        from jinja2.exceptions import TemplateError, TemplateSyntaxError, UndefinedError

        try:
            return self._env.get_template(name).render(args)
        except TemplateSyntaxError as error:
            raise _cannot(self._dir, f"{error.message}", error.name or name, error.lineno) from error
        except UndefinedError as error:
            profile = self._places.table or "the profile"
            hint = f"give it in [image.build.args] of {profile}, or a default in the template"
            raise _cannot(self._dir, f"{error.message}", *self._place(error, name), hint=hint) from error
        except (TemplateError, ArithmeticError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise _cannot(self._dir, f"{error}", *self._place(error, name)) from error

    def _source(self, name: str) -> str:
        path = self._dir / name
        if path.stat().st_size > _LARGEST_TEMPLATE:
            raise _cannot(self._dir, "it is larger than 1 MiB; only small text is rendered", name)
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise _cannot(self._dir, f"byte {error.start} is no UTF-8", name) from error

    def _place(self, error: BaseException, name: str) -> tuple[str, int | None]:
        """The file and line an error was raised at: Jinja2 rewrites the traceback to name the template's own lines."""
        place: tuple[str, int | None] = (name, None)
        frame = error.__traceback__
        while frame is not None:
            path = Path(frame.tb_frame.f_code.co_filename)
            if path.suffix == _SUFFIX and path.is_relative_to(self._dir):
                place = (path.relative_to(self._dir).as_posix(), frame.tb_lineno)
            frame = frame.tb_next
        return place


def _environment(template_dir: Path) -> Environment:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(template_dir), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    environment.filters.update(shell=_shell, docker=_docker)
    return environment


def _shell(value: object) -> str:
    """``value`` as one word of a shell, for RUN."""
    return shlex.quote(str(value))


def _docker(value: object) -> str:
    """``value`` as one word of a Dockerfile, in double quotes, for LABEL and ENV: nothing in it is expanded."""
    return '"' + re.sub(r'(["$\\])', r"\\\1", str(value)) + '"'


def _closest(name: str, known: Iterable[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(name[:64], sorted(set(known)), n=1, cutoff=0.6)), None)


def _cannot(
    template_dir: Path, cause: str, name: str | None = None, line: int | None = None, *, hint: str | None = None
) -> ImageError:
    place = "" if name is None else f"{name}: " if line is None else f"{name}:{line}: "
    return ImageError(
        f"cannot render template {template_dir.name}: {place}{cause}", hint=hint or f"the template is {template_dir}"
    )
