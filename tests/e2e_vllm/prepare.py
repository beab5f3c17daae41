"""Run a command where `launchpad up demo-vllm-cpu` can build its image: ``python tests/e2e_vllm/prepare.py -- COMMAND...``.

Another demo profile's image: ``prepare.py demo-dynamo-mocker -- COMMAND...``.

On an ordinary machine, with an image registry and a package index within reach, it only runs the command. Otherwise it makes
up for what is missing, first:

- no registry has the image's base: a Debian root filesystem is made from this machine's own package source, and imported
  under the base's name. It is for this machine: never push it.
- pip is told of folders or of certificates that are this machine's own, which a build cannot see: the wheels are downloaded
  here, with those settings, and served on the loopback address while the command runs.

Nothing is done twice: an image that exists is left alone, and wheels stay in ``.cache/`` of the checkout. It installs
``mmdebstrap`` where it is missing and we are root.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from launchpad.deploy.build import Recipe, build_context, template_path, template_roots
from launchpad.deploy.origin import origin_of
from launchpad.errors import ImageError, LaunchpadError
from launchpad.profiles.catalog import Catalog, search_path
from launchpad.runtime.docker import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from launchpad.runtime.base import Runtime

PROFILE: Final = "demo-vllm-cpu"
CACHE: Final = Path(__file__).resolve().parents[2] / ".cache" / "e2e-vllm"
#: What the base made here has beyond Debian's essential packages: what the template would install with apt, so that the
#: build needs no package source of its own.
PACKAGES: Final = "apt,ca-certificates,libnuma1,python3,python3-venv"
UNREAD: Final = ("doc", "man", "info", "locale")


def say(text: str) -> None:
    """Tell the person what goes on, on stderr."""
    print(f"prepare: {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Prepare, run the command, return its exit status."""
    profile, rest = (argv[0], argv[1:]) if argv and argv[0] != "--" else (PROFILE, argv)
    if len(rest) < 2 or rest[0] != "--":
        say("usage: prepare.py [PROFILE] -- COMMAND...")
        return 2
    try:
        with prepared(environ, profile) as settings:
            return subprocess.run(rest[1:], env={**environ, **settings}, check=False).returncode
    except LaunchpadError as error:
        say(error.message)
        if error.hint:
            say(f"hint: {error.hint}")
        return error.exit_code


@contextmanager
def prepared(environ: Mapping[str, str], profile: str = PROFILE) -> Iterator[dict[str, str]]:
    """While this lasts, the image of ``profile`` can be built under the environment settings it yields."""
    image = Catalog(search_path(environ)).load(profile).profile.image
    if image is None or image.build is None:
        raise ImageError(f"cannot prepare {profile}: its profile names no template")
    template = template_path(image.build.template, template_roots(search_path(environ)))
    context = build_context(template, image.build.args)
    runtime = connect(environ)
    try:
        built = runtime.image(image.reference)
        recipe = Recipe(image.reference, image.build.template, image.build.args, template, environ)
        if built is not None and origin_of(built, recipe).kind == "recipe":
            say(f"{image.reference} is there, made from this very template")
            yield {}
            return
        # Two cores, two jobs: most of a minute each.
        with ThreadPoolExecutor() as pool:
            wheels = pool.submit(local_wheels, template, environ)
            ensure_base(runtime, base_of(context["Dockerfile"]))
            folder = wheels.result()
    finally:
        runtime.close()
    if folder is None:
        yield {}
        return
    with served(folder) as url:
        yield {"PIP_FIND_LINKS": url, "PIP_NO_INDEX": "1", **past_any_proxy(environ)}


def past_any_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """The loopback address added to what needs no proxy."""
    names = [name for name in ("no_proxy", "NO_PROXY") if environ.get(name)] or ["no_proxy"]
    return {name: ",".join(filter(None, (environ.get(name), "127.0.0.1"))) for name in names}


# -- the base image ------------------------------------------------------------------------------------------------------


def base_of(dockerfile: bytes | Path) -> str:
    """The image that a Dockerfile starts from."""
    text = dockerfile.decode() if isinstance(dockerfile, bytes) else dockerfile.read_text()
    found = re.search(r"^FROM\s+(\S+)", text, re.MULTILINE)
    if found is None:
        raise ImageError("cannot read the template's Dockerfile: it has no FROM line")
    return found[1]


def ensure_base(runtime: Runtime, base: str) -> None:
    """The base image: present, else pulled, else made here."""
    if runtime.image(base) is not None:
        return
    try:
        runtime.pull(base, lambda _: None)
    except ImageError as error:
        say(f"{error.message}; making {base} from this machine's Debian packages")
    else:
        return
    if not base.startswith("debian:bookworm"):
        raise ImageError(
            f"cannot make {base}: only debian:bookworm can be made from packages",
            hint=f"docker load an image that has the name {base}",
        )
    with tempfile.TemporaryDirectory() as folder:
        tar = Path(folder) / "base.tar"
        make_debian(tar)
        runtime.import_image(tar, base, changes=("CMD /bin/bash",))


def make_debian(tar: Path) -> None:
    """A Debian 12 root filesystem with Python, from the source that this machine's apt uses."""
    sources = debian_sources()
    if shutil.which("mmdebstrap") is None:
        if os.geteuid() != 0:
            raise ImageError("cannot make a base image: mmdebstrap is missing", hint="apt-get install mmdebstrap")
        act("install mmdebstrap", ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "mmdebstrap"])
    leave_out = [f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in UNREAD]
    command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={PACKAGES}", *leave_out]
    act("make a Debian root filesystem", [*command, "bookworm", str(tar), *sources])


def debian_sources() -> list[str]:
    """One-line apt sources of Debian 12 as this machine's apt knows them, whatever files they are written in."""
    fields = ("ORIGIN", "CODENAME", "SITE", "RELEASE", "COMPONENT")
    listing = [
        "apt-get",
        "indextargets",
        "--format",
        "|".join(f"$({field})" for field in fields),
        "Created-By: Packages",
    ]
    if shutil.which("apt-get") is None:
        raise ImageError(
            "cannot make a base image: this machine has no apt", hint="docker pull it where a registry answers"
        )
    if os.geteuid() == 0:
        act("update apt's lists", ["apt-get", "update", "-qq"])
    rows = {tuple(line.split("|")) for line in act("ask apt for its sources", listing).splitlines()}
    found = sorted(
        f"deb {site} {release} {component}"
        for origin, codename, site, release, component in rows
        if origin == "Debian" and codename.startswith("bookworm")
    )
    if not found:
        raise ImageError(
            "cannot make a base image: this machine's apt knows no source of Debian 12 (bookworm)",
            hint="docker load an image that has the name debian:bookworm-slim",
        )
    return found


# -- the wheels ----------------------------------------------------------------------------------------------------------


def local_wheels(template: Path, environ: Mapping[str, str]) -> Path | None:
    """A folder with every wheel the template installs, where a build could not fetch them itself; else None."""
    reason = what_a_build_cannot_see(act("read pip's settings", [*PIP, "config", "list"]))
    if reason is None:
        return None
    lists = [path for name in ("installer.txt", "requirements.txt") if (path := template / name).is_file()]
    key = hashlib.sha256(b"\0".join(path.read_bytes() for path in lists)).hexdigest()[:16]
    folder = CACHE / f"wheels-{key}"
    if folder.is_dir():
        return folder
    say(f"pip here uses {reason}, which a build cannot see: downloading its wheels first")
    half = folder.with_suffix(f".{os.getpid()}")
    half.mkdir(parents=True)
    wanted = ["--dest", str(half), *(word for path in lists for word in ("--requirement", str(path)))]
    python = ["--python-version", "3.11", "--only-binary", ":all:"]
    try:
        act("download the image's wheels", [*PIP, "download", "--quiet", "--no-deps", *python, *wanted])
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return folder


PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check")
_PLACES: Final = frozenset({"find-links", "index-url", "extra-index-url"})


def what_a_build_cannot_see(settings: str) -> str | None:
    """What in ``pip config list`` is this machine's own, in words: a folder, or a certificate bundle; None for nothing."""
    for key, value in re.findall(r"^(\S+?)='(.*)'$", settings, re.MULTILINE):
        name = key.rpartition(".")[2]
        if name == "cert":
            return f"the certificates in {value}"
        if name in _PLACES:
            for word in value.replace("\\n", " ").split():
                if urlsplit(word).scheme not in {"http", "https"}:
                    return f"the folder {word}"
    return None


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder on a free loopback port; yields its URL."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class calls it that)
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def act(what: str, command: Sequence[str]) -> str:
    """Run a program to its end and return what it printed; raises ImageError with its last words."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageError(f"cannot {what}: {' '.join(done.stderr.strip().splitlines()[-3:])}", hint=" ".join(command))
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
