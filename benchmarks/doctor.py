"""How long ``doctor`` takes: a profile whose image is known, a new image of some 3 GB, and every rule for many profiles and rigs.

The image is the one that ``make e2e-vllm`` builds where it is here; else one of the same layout is made, of a few files: looking
into an image costs what it is asked for and not what it holds, and the table says which it was. Nothing is started.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.measure import Series, in_turns, launchpad
from benchmarks.report import Result, Row
from launchpad.deploy.spec import resolve
from launchpad.doctor.case import Case
from launchpad.doctor.rule import examine
from launchpad.doctor.rules import RULES
from launchpad.errors import LaunchpadError
from launchpad.profiles.catalog import Catalog, search_path
from launchpad.rig.catalog import RigCatalog
from launchpad.runtime.docker import connect
from launchpad.units import show_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.deploy.spec import Spec
    from launchpad.runtime.base import Image

ROUNDS: Final = 9
PROFILES: Final = 100
RIG: Final = "4x-rtx-pro-6000"
REAL: Final = "launchpad/vllm-cpu-demo:0.32.0"
STAND_IN: Final = "launchpad-bench-doctor:1"
_SITE: Final = "usr/local/lib/python3.12/dist-packages"
_FILES: Final = {
    f"{_SITE}/vllm/_version.py": "__version__ = version = '0.33.0'\n",
    f"{_SITE}/vllm/platforms/cuda.py": "cls.is_device_capability_family(120)\n",
    f"{_SITE}/torch/version.py": "__version__ = '2.11.0+cu130'\ncuda = '13.0'\n",
}
_PROFILE: Final = """\
extends = "v4-flash-vllm-tp4"
format = 1
summary = "A benchmark"
engine = "vllm"

[image]
reference = "{reference}"
pull = "never"
"""
_PEER: Final = "python3 -c 'import docker'"
_KNOWN: Final = "launchpad doctor NAME --rig, image known"
_NEW: Final = "launchpad doctor NAME --rig, new image"
_ALONE: Final = "launchpad doctor, this rig alone"


def run() -> Result:
    """Measure."""
    with image() as found, tempfile.TemporaryDirectory(prefix="launchpad-bench-") as folder:
        wall = _commands(found, Path(folder))
    rules, findings, cases = _rules()
    aims = {_KNOWN: 1.5, _NEW: 5.0}
    rows = [
        *(Row(series, "ms", aims.get(name)) for name, series in wall.items()),
        Row(wall[_KNOWN].ratio_to(wall[_PEER]), "x"),
        Row(wall[_NEW].ratio_to(wall[_PEER]), "x"),
        Row(wall[_NEW].minus(wall[_KNOWN]), "ms"),
        Row(rules, "ms", 2.0),
    ]
    return Result(
        "doctor: from asking to the answer",
        f"Wall time of whole processes, {ROUNDS} rounds in turns, a vLLM profile on recorded rig {RIG}. What is remembered of the "
        "image is removed before each sample of a new one; Docker is asked for its files, and the page cache is warm.",
        tuple(rows),
        (
            f"The image: {found.tags[0]}, {show_bytes(found.size_bytes)}.",
            f"All rules: {len(RULES)} rules, {cases} cases (the rig alone where it cannot seat the profile), {findings} findings.",
        ),
    )


def _commands(found: Image, root: Path) -> dict[str, Series]:
    (root / "bench.toml").write_text(_PROFILE.format(reference=found.tags[0]), encoding="utf-8")
    environ = {**os.environ, "LAUNCHPAD_STATE_DIR": str(root / "state"), "LAUNCHPAD_PROFILES": str(root)}
    doctor = (launchpad(), "doctor", "bench", "--rig", RIG)
    wall = {name: Series(name) for name in (_PEER, _ALONE, _KNOWN, _NEW)}

    commands = {_PEER: (sys.executable, "-c", "import docker"), _ALONE: doctor[:2], _KNOWN: doctor, _NEW: doctor}

    def sample(name: str) -> None:
        if name == _NEW:
            shutil.rmtree(root / "state" / "images", ignore_errors=True)
        begin = time.perf_counter()
        _ask(commands[name], environ)
        wall[name].samples.append(time.perf_counter() - begin)

    for name in reversed(wall):
        sample(name)  # bytecode and page cache warm, and the image known, as on any second use
        wall[name].samples.clear()
    in_turns(ROUNDS, [partial(sample, name) for name in wall])
    if not list((root / "state" / "images").iterdir()):
        raise RuntimeError("doctor remembered nothing of the image")
    return wall


def _ask(words: tuple[str, ...], environ: dict[str, str]) -> None:
    """Run a command to its end; 1 and 4 are answers of doctor's, too."""
    done = subprocess.run(words, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode not in {0, 1, 4} or "Traceback" in done.stderr:
        raise RuntimeError(f"{' '.join(words[:3])} ended with {done.returncode}: {done.stderr[-2000:]}")


def _rules() -> tuple[Series, int, int]:
    """Seconds to judge every case by every rule; how many findings and cases there were."""
    catalog, rigs = Catalog(search_path({})), RigCatalog(search_path({}))
    loaded = [catalog.load(name) for name in ("v4-flash-vllm-tp4", "v4-flash-sglang-tp4", "v4-flash-sglang-tp2")]
    facts = [rigs.facts(name) for name in rigs.names()]
    cases = []
    for number in range(PROFILES):
        one = loaded[number % len(loaded)]
        for rig in facts:
            spec: Spec | None = None
            with contextlib.suppress(LaunchpadError):  # it has no seat there: the rig alone is judged
                spec = resolve(f"bench-{number:03}", one.profile, rig, taken={})
            cases.append(Case(rig, spec))
    series = Series(f"all rules, {PROFILES} profiles x {len(facts)} rigs")
    findings = 0
    for _ in range(5):
        begin = time.perf_counter()
        findings = sum(len(examine(case, RULES)) for case in cases)
        series.samples.append(time.perf_counter() - begin)
    return series, findings, len(cases)


@contextlib.contextmanager
def image() -> Iterator[Image]:
    """The real image where it is here, else one of the same layout, which is removed again."""
    runtime = connect(os.environ)
    try:
        if (real := runtime.image(REAL)) is not None:
            yield real
            return
        with tempfile.TemporaryDirectory() as folder:
            layer = Path(folder) / "layer.tar"
            with tarfile.open(layer, "w") as tar:
                for name, text in _FILES.items():
                    entry = tarfile.TarInfo(name)
                    entry.size = len(text)
                    tar.addfile(entry, io.BytesIO(text.encode()))
            made = runtime.import_image(layer, STAND_IN, changes=())
        try:
            yield made
        finally:
            subprocess.run(["docker", "rmi", "--force", STAND_IN], capture_output=True, check=False)
    finally:
        runtime.close()
