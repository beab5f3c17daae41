"""What a profile may say to a template: its build arguments, vetted before anything is rendered or run.

The end of an argument's name says what it is: ``commit`` and ``deepgemm_commit`` are hashes, ``base_image`` is an image. Refused is
a source that may be something else tomorrow (a repository without a commit, a branch, a tag alone, part of a hash, ``latest``), and
what can be no value of its kind: an architecture that no card has, a date that is none, a URL that git would read as an option. An
argument of no known kind may be anything printable that carries no password. This module reads where a profile says its arguments;
it renders nothing and asks no network.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from launchpad.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: The compute capabilities that PyTorch compiles for: ``supported_arches`` in torch/utils/cpp_extension.py of torch 2.13.0, read
#: 2026-11-23. It refuses others ("Unknown CUDA arch"), which a build would meet after an hour of fetching.
CAPABILITIES: Final = frozenset(
    [
        "3.5",
        "3.7",
        "5.0",
        "5.2",
        "5.3",
        "6.0",
        "6.1",
        "6.2",
        "7.0",
        "7.2",
        "7.5",
        "8.0",
        "8.6",
        "8.7",
        "8.9",
        "9.0",
        "10.0",
        "10.3",
        "11.0",
        "12.0",
        "12.1",
    ]
)

_LONGEST_SHOWN: Final = 80
_TABLE: Final = ("image", "build", "args")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_ARCH = re.compile(r"(\d+\.\d)[af]?(?:\+PTX)?", re.ASCII)
#: A password in a URL of any scheme or in scp's form, and any user over HTTP, where a token goes as one: git would use it, and an
#: image's history would keep it. The bare user of ``ssh://git@...`` is no secret.
_WITH_USER = re.compile(r"https?://[^/]*@|[a-z][a-z0-9+.-]*://[^/:]*:[^/]*@|[^/@:]*:[^/]*@", re.IGNORECASE)
#: The same in a URL anywhere in a value (an index may be several), and what a query calls a secret. scp's form is left out: it
#: looks like an image with a digest.
_SECRET_URL = re.compile(
    r"https?://[^/\s]*@|[a-z][a-z0-9+.-]*://[^/:\s]*:[^/\s]*@"
    r"|://\S*[?&](?:[a-z0-9_-]*(?:token|secret|signature)|passw(?:or)?d|api_?key|auth|sig)=",
    re.IGNORECASE,
)
#: What else may name the commit of a repository. A whole hash in one of them is as good as ``commit``.
_REVISIONS: Final = ("branch", "ref", "rev", "revision")
_REPOSITORIES: Final = ("repository", "repo")
#: Words with which a tag says that it is pushed again and again, at its front or, for those that say nothing else, anywhere. A hash
#: or a day behind the word fixes it (``nightly-f63bfd3d``).
_MOVING = re.compile(
    r"(?:latest|dev|devel|develop|nightly|main|master|head|edge|stable|testing|unstable|rolling|canary|current|snapshot|lts)"
    r"(?:[-_.](?!.*[0-9a-f]{7}).*)?"
    r"|(?:.*[-_.])?(?:latest|nightly|rolling|canary)(?:[-_.](?!.*[0-9a-f]{7}).*)?",
    re.IGNORECASE,
)
#: What ADD takes as a repository, and a commit of it: ``URL#COMMIT``, ``URL#COMMIT:FOLDER``, ``URL?commit=COMMIT`` (or checksum).
_ADDED_REPOSITORY = re.compile(r"^(?:git|ssh)://|^[^/]+@|\.git/?(?:[?#]|$)", re.IGNORECASE)
_ADDED_COMMIT = re.compile(
    r"(?:\.git/?#|^(?!https?:)[^#]*#|[?&](?:commit|checksum)=)[0-9a-f]{40}(?:[0-9a-f]{24})?(?![0-9a-zA-Z])"
)
_GIT_VALUE = re.compile(r"git\+\w+://(?P<place>[^@#]+)(?:@(?P<at>[^#]*))?(?:#.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What an argument must look like: ``pattern`` matches all of it, ``what`` says it in words, ``hint`` how it is written."""

    pattern: re.Pattern[str]
    what: str
    hint: str


def _kind(pattern: str, what: str, hint: str) -> _Kind:
    return _Kind(re.compile(pattern, re.ASCII), what, hint)


_WORD: Final = r"[A-Za-z0-9][A-Za-z0-9._+!-]*"
_RELEASE: Final = _kind(r"\d[A-Za-z0-9._+!-]*", "a release number", 'write it as "2.11.0"')
_WHOLE: Final = _kind(r"\d{1,18}", "a whole number", "write it with digits alone")

#: By the end of an argument's name. A tag or a digest that is empty is none.
_KINDS: Final = {
    **dict.fromkeys(
        _REPOSITORIES,
        _kind(
            r"(?:(?:https?|ssh|git|file)://|[A-Za-z0-9][\w.-]*@\w[\w.-]*:)(?!-)[\w.~/@:%+,=-]+",
            "a URL that git can fetch from",
            'write it as "https://github.com/vllm-project/vllm.git"',
        ),
    ),
    "tag": _kind(
        r"(?!.*(?:\.\.|//|@\{))(?:\w[\w./+@-]*)?", "the name of a git tag", 'write it as "v1.2.3", or "" for none'
    ),
    "image": _kind(
        r"[A-Za-z0-9][\w./:-]*(?:@sha256:[0-9a-f]{64})?", "an image reference", 'write it as "nvidia/cuda:13.0.3-devel"'
    ),
    "digest": _kind(
        rf"(?:{_DIGEST.pattern})?",
        "the digest of an image",
        "it is sha256: and 64 digits",
    ),
    "version": _kind(_WORD, "a version", 'write it as "1.2.3" or "20260717+gf63bfd3d"'),
    "backend": _kind(_WORD, "the name of a PyTorch backend", 'write it as "cpu" or "cu130"'),
    "cuda": _RELEASE,
    "torch": _RELEASE,
    "flashinfer": _RELEASE,
    "source_date_epoch": _kind(
        r"\d{1,11}", "a number of seconds since 1970", "date --utc --date 2026-07-17 +%s (the commit's day) tells it"
    ),
    "threads": _kind(r"[1-9]\d{0,3}", "a number of threads", "write a whole number, such as 2"),
    "seed": _WHOLE,
}


@dataclass(frozen=True, slots=True)
class Places:
    """Where a profile says its build arguments, each as ``FILE:LINE``; empty where nobody knows."""

    table: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)

    def before(self, name: str) -> str:
        """``FILE:LINE: `` to put before what is said of the argument ``name``; the table's place for one that is missing."""
        place = self.keys.get(name) or self.table
        return f"{place}: " if place else ""


NOWHERE: Final = Places()


def places_of(layers: Iterable[Path], names: Iterable[str]) -> Places:
    """Where the files that a profile is layered from (base first) say its build arguments ``names``.

    A file that can no longer be read costs the places and nothing else: the profile was read before.
    """
    from launchpad.profiles.layers import Layers
    from launchpad.profiles.source import KeyPath, Unreadable, printable, read_source

    try:
        stack = Layers(tuple(read_source(path) for path in layers))
    except Unreadable:
        return NOWHERE

    def place(path: KeyPath) -> str:
        _, source, line = stack.place(path)
        return f"{printable(str(source.path))}:{line}"

    return Places(place(_TABLE), {name: place((*_TABLE, name)) for name in names})


def refuse_unfit(template: str, args: Mapping[str, str | int], places: Places = NOWHERE) -> None:
    """Raise ImageError for an argument that can be no value of its kind, or that pins nothing; what to write is in the hint.

    A branch moves every day and a tag may be moved; a hash names its content, and only a whole one is that.
    """
    for look in (_misshapen, _loose, _unpinned):
        for name, value in args.items():
            if wrong := look(name, str(value), args):
                cause, hint = wrong
                raise ImageError(f"cannot build from template {template}: {places.before(name)}{cause}", hint=hint)


def refuse_floating(template: str, base: str, args: Mapping[str, str | int], places: Places = NOWHERE) -> None:
    """Raise ImageError for a base image that names neither a version nor a digest, or a digest that is none.

    ``base`` is any image that a Dockerfile takes something from. A tag that moves (``latest``, ``nightly``) is no version.
    """
    name, at, digest = base.partition("@")
    version = name.rpartition("/")[2].partition(":")[2]
    if "$" in base:
        cause = f"its base image {base} is named by a variable that has no value"
        hint = "give that ARG a default before the first FROM, or make it an argument of the template"
    elif at and not _DIGEST.fullmatch(digest):
        cause, hint = f"its base image {base} names a digest that is none", _digest_of(name)
    elif not at and (not version or _MOVING.fullmatch(version)):
        cause = f"its base image {base} is pinned to nothing"
        hint = f"name a version, or better a digest: {_digest_of(base)}"
    else:
        return
    said = next((places.before(key) for key, value in args.items() if value == base), "")
    raise ImageError(f"cannot build from template {template}: {said}{cause}", hint=hint)


def refuse_unpinned_add(template: str, source: str, checksum: str | None) -> None:
    """Raise ImageError for what ADD fetches where nothing fixes what comes: neither a checksum nor, of a repository, a commit.

    ``source`` is a URL or git's ``user@host:path``, with the fragment or query that names its commit, as BuildKit takes them.
    """
    if checksum or _ADDED_COMMIT.search(source):
        return
    cause = f"ADD {source[:_LONGEST_SHOWN]} is pinned to nothing: what is there may be something else tomorrow"
    if _ADDED_REPOSITORY.search(source):
        plain = re.split(r"[?#]", source, maxsplit=1)[0]
        hint = f"put # and the commit behind it; {_tells(plain, 'HEAD')}"
    else:
        hint = f"ADD --checksum=sha256:..., the 64 digits that this tells: curl -fsSL {shlex.quote(source)} | sha256sum"
    raise ImageError(f"cannot build from template {template}: {cause}", hint=hint)


_Wrong = tuple[str, str]


def _misshapen(name: str, value: str, args: Mapping[str, str | int]) -> _Wrong | None:
    repository = _is(name, *_REPOSITORIES)
    if (repository and _WITH_USER.match(value)) or _SECRET_URL.search(value):
        cause = f"{name} carries a user or password, which the image's history and labels would keep"
        return cause, f"name the {'repository' if repository else 'URL'} without one"
    if not value.isprintable():
        return f"{_shown(name, value)}: it holds a control character, such as the end of a line", "take it out"
    if _is(name, "arch_list"):
        return _strange_architecture(name, value)
    kind = next((kind for ending, kind in _KINDS.items() if _is(name, ending)), None)
    if kind is None or kind.pattern.fullmatch(value):
        return None
    image = args.get(f"{name.removesuffix('digest')}image") if _is(name, "digest") else None
    return f"{_shown(name, value)}: that is not {kind.what}", _digest_of(f"{image}") if image else kind.hint


def _strange_architecture(name: str, value: str) -> _Wrong | None:
    words = value.replace(";", " ").split()
    hint = f'write it as {name} = "12.0", several with ; between them; the capability of your cards: launchpad doctor'
    if not words:
        return f"{_shown(name, value)}: it names no architecture, and nothing would be compiled for any card", hint
    for word in words:
        matched = _ARCH.fullmatch(word)
        if matched is None or matched[1] not in CAPABILITIES:
            return f"{_shown(name, value)}: {word} is no compute capability that PyTorch compiles for", hint
    return None


def _loose(name: str, value: str, args: Mapping[str, str | int]) -> _Wrong | None:
    if _is(name, "commit"):
        prefix = name.removesuffix("commit")
        return None if _HASH.fullmatch(value) else _no_hash(name, value, *_source(prefix, args))
    if _is(name, *_REVISIONS):
        prefix = name.removesuffix(_ending(name, _REVISIONS))
        if not value or _HASH.fullmatch(value):
            return None
        cause = f"{_shown(name, value)}: a branch or a tag, which may be something else tomorrow"
        return cause, f"call it {prefix}commit: {_tells(_source(prefix, args)[0], f'{value}*')}"
    prefix = name.removesuffix("tag")
    if _is(name, "tag") and value and args.get(f"{prefix}commit") is None:
        cause = f"{_shown(name, value)} and {prefix}commit is missing: a tag can be moved"
        return cause, _tells(_source(prefix, args)[0], f"refs/tags/{value}*")
    if (pip := _GIT_VALUE.fullmatch(value)) is not None and not _HASH.fullmatch(pip["at"] or ""):
        cause = f"{_shown(name, value)}: it names no commit, and what is there may be something else tomorrow"
        return cause, f"put @ and the commit behind it; {_tells(value[4:].partition('#')[0].partition('@')[0], 'HEAD')}"
    return None


def _unpinned(name: str, value: str, args: Mapping[str, str | int]) -> _Wrong | None:
    """A repository whose commit nobody says, under any of the names that one has."""
    if not _is(name, *_REPOSITORIES):
        return None
    prefix = name.removesuffix(_ending(name, _REPOSITORIES))
    if any(_HASH.fullmatch(str(args.get(f"{prefix}{ending}", ""))) for ending in ("commit", *_REVISIONS)):
        return None
    tag = str(args.get(f"{prefix}tag", ""))
    cause = f"{_shown(name, value)} and {prefix}commit is missing: what is built would change with every push"
    return cause, _tells(value, f"refs/tags/{tag}*" if tag else "HEAD")


def _source(prefix: str, args: Mapping[str, str | int]) -> tuple[str, str]:
    """Repository and tag that the arguments of one source name; ``URL`` stands for a repository that nobody said."""
    said = (args.get(f"{prefix}{ending}") for ending in _REPOSITORIES)
    return str(next((url for url in said if url), "URL")), str(args.get(f"{prefix}tag", ""))


def _no_hash(name: str, value: str, source: str, tag: str) -> _Wrong:
    asked = f"refs/tags/{tag}*" if tag else None
    if not value:
        return f"{_shown(name, value)}: no commit at all", _tells(source, asked or "HEAD")
    if _HASH.fullmatch(value.lower()):
        return f"{_shown(name, value)}: a whole hash in capitals", f'write it in lower case: {name} = "{value.lower()}"'
    if not _HEX.fullmatch(value):
        cause = f"{_shown(name, value)}: a branch or a tag, which may be something else tomorrow"
        return cause, _tells(source, f"{value}*")
    if len(value) > 40:
        return f"{_shown(name, value)}: {len(value)} digits, and a commit has 40", _tells(source, asked or "HEAD")
    cause = f"{_shown(name, value)}: part of a hash, which may mean something else tomorrow"
    if asked:
        return cause, _tells(source, asked)
    listed = f"git ls-remote {shlex.quote(source)} | grep -i ^{value}"
    return cause, f"paste all 40 digits; where a branch or tag is at that commit, this tells them: {listed}"


def _tells(source: str, pattern: str) -> str:
    command = f"git ls-remote {shlex.quote(source)} {shlex.quote(pattern)}"
    return f"put the 40 digits that this tells (of two lines, the one with ^{{}}) into it: {command}"


def _digest_of(image: str) -> str:
    command = f"docker image inspect --format '{{{{.RepoDigests}}}}' {shlex.quote(image)}"
    return f"sha256: and 64 digits, what stands behind the @ in this: {command}"


def _is(name: str, *endings: str) -> bool:
    return any(name == ending or name.endswith(f"_{ending}") for ending in endings)


def _ending(name: str, endings: Iterable[str]) -> str:
    """Which of ``endings`` the name has; it has one."""
    return next(ending for ending in endings if _is(name, ending))


def _shown(name: str, value: str) -> str:
    return f"{name} is {value[:_LONGEST_SHOWN]!r}"
