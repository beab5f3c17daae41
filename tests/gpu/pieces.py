"""What the runs on real GPUs are made of: profile, image, launchpad's command line, NVML beside it, requests and faults.

The image holds the engine's own wheels and no userland; it sees the host's, read-only, so that the host's torch and driver
serve. Nothing here decides what is run (``real_engines.py`` does), and nothing changes a GPU's settings.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: The host's folders that a container sees. /sbin is left to the container: Docker puts its init there.
HOST_FOLDERS = ("/usr", "/etc", "/lib", "/lib64", "/bin")
EMPTY_FOLDERS = ("usr", "lib", "lib64", "bin", "sbin", "opt", "etc", "tmp", "proc", "sys", "dev", "root", "models")
#: Triton asks /sbin/ldconfig for libcuda.
LINKS = {"sbin/ldconfig": "/usr/sbin/ldconfig", "sbin/ldconfig.real": "/usr/sbin/ldconfig.real"}
SITE = "/opt/engine/lib/python3.12/site-packages"
#: Each engine's program, as its wheel would install it.
PROGRAMS = {
    "vllm": "from vllm.entrypoints.cli.main import main",
    "sglang": "from sglang.cli.main import main",
}
ENV = {
    "PYTHONPATH": SITE,
    "HOME": "/tmp",
    "HF_HUB_OFFLINE": "1",
    "NCCL_NVLS_ENABLE": "0",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    "NVSHMEM_DISABLE_NVLS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
ENGINE_ENV = {"vllm": {"VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_NO_USAGE_STATS": "1"}, "sglang": {}}
ENGINE_ARGS = {
    "vllm": {},
    "sglang": {"attention-backend": "triton", "sampling-backend": "pytorch"},
}
#: A Llama of random weights whose chat template has Qwen3's switch: by this name launchpad knows how thinking is asked for.
SERVED = "qwen3-3b-random"
GIB = 2**30


@dataclass(frozen=True)
class Wish:
    """One deployment of a run. ``share`` is ``gpus.share``; ``fraction`` the memory fraction where there is no share."""

    name: str
    engine: str
    port: int
    gpus: int
    share: float | None = None
    fraction: float | None = None


def image_of(engine: str) -> str:
    return f"launchpad/host-{engine}:1"


def profile(wish: Wish, model: Path, *, hosted: bool = True) -> str:
    """The profile as TOML: settings that are known to work with the host's own torch, in launchpad's words.

    ``hosted`` false leaves out what the image needs of the host: a stand-in brings its own userland.
    """
    lines = [
        "format = 1",
        f'summary = "real {wish.engine} on {wish.gpus} GPUs"',
        f'engine = "{wish.engine}"',
        "[image]",
        f'reference = "{image_of(wish.engine)}"',
        'pull = "never"',
        "[model]",
        f'path = "{model}"',
        f'served_name = "{SERVED}"',
        "[gpus]",
        f"count = {wish.gpus}",
        *([f"share = {wish.share}"] if wish.share is not None else []),
        "[parallel]",
        f"tensor = {wish.gpus}",
        "[serving]",
        "context_length = 4096",
        *([f"memory_fraction = {wish.fraction}"] if wish.fraction is not None else []),
        "custom_all_reduce = false",
        "cuda_graphs = false",
        "[container]",
        'shm_size = "16GiB"',
        "[publish]",
        f"port = {wish.port}",
        "[probes.completion]",
        'kind = "completion"',
        "extra = { ignore_eos = true }",
        "[probes.liveness]",
        'interval = "1s"',
        'idle = "5s"',
        "[deadlines]",
        'hang = "20s"',
        'stop_grace = "30s"',
        "[restart]",
        'first_delay = "1s"',
        "budget = 5",
        "[engine_args]",
        *(f"{key} = {json.dumps(value)}" for key, value in ENGINE_ARGS[wish.engine].items()),
    ]
    if not hosted:
        return "\n".join(lines) + "\n"
    lines += [
        "[env]",
        *(f"{key} = {json.dumps(value)}" for key, value in {**ENV, **ENGINE_ENV[wish.engine]}.items()),
        f"PATH = {json.dumps('/opt/engine/bin:' + os.environ['PATH'])}",
        f"LD_LIBRARY_PATH = {json.dumps(os.environ.get('LD_LIBRARY_PATH', ''))}",
    ]
    beside = (str(path) for path in sorted(Path("/opt").iterdir()) if path.is_dir() and path.name != "engine")
    for folder in (*(folder for folder in HOST_FOLDERS if Path(folder).is_dir()), *beside):
        lines += ["[[mounts]]", f'source = "{folder}"', f'target = "{folder}"']
    return "\n".join(lines) + "\n"


def _program(engine: str) -> str:
    """The engine's command, which unpacked wheels lack. The guard matters: engines import their main module again."""
    lines = ("#!/usr/bin/env python3", "import sys", 'if __name__ == "__main__":', f"    {PROGRAMS[engine]}")
    return "\n".join((*lines, "    sys.exit(main())", ""))


def make_image(engine: str, site: Path) -> str:
    """Import an image of empty folders, for the host's to be mounted on, and of the engine's packages; returns its id."""
    import io

    import docker

    path = Path("/var/tmp") / f"image-{engine}.tar"
    with tarfile.open(path, "w") as archive:
        for name in EMPTY_FOLDERS:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
        for name, target in LINKS.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
        archive.add(site, SITE.removeprefix("/"))
        entry, text = tarfile.TarInfo(f"opt/engine/bin/{engine}"), _program(engine).encode()
        entry.mode, entry.size = 0o755, len(text)
        archive.addfile(entry, io.BytesIO(text))
    client = docker.from_env(timeout=300)
    path_of = "/opt/engine/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    repository, tag = image_of(engine).split(":")
    changes = [f"ENV PATH={path_of}", f"ENV PYTHONPATH={SITE}"]
    client.api.import_image_from_file(str(path), repository=repository, tag=tag, changes=changes)
    path.unlink()
    return str(client.images.get(image_of(engine)).id)


class Memory(threading.Thread):
    """Used bytes of every GPU and the processes on it, a hundred times a second, straight from NVML beside launchpad.

    Where there is no NVML it knows of no GPU, and says None.
    """

    def __init__(self, nvml: Any = None) -> None:
        super().__init__(daemon=True)
        self._nvml, self._cards = nvml, []
        self.rows: list[tuple[float, list[int], list[set[int]]]] = []
        if nvml is not None:
            nvml.nvmlInit()
            self._cards = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
            self.look()
            self.start()

    def look(self) -> None:
        used = [self._nvml.nvmlDeviceGetMemoryInfo(card).used for card in self._cards]
        pids = [{item.pid for item in self._nvml.nvmlDeviceGetComputeRunningProcesses(card)} for card in self._cards]
        self.rows.append((time.time(), used, pids))

    def run(self) -> None:
        while True:
            self.look()
            time.sleep(0.01)

    def used(self) -> list[int]:
        return self.rows[-1][1] if self.rows else []

    def used_gib(self) -> list[float]:
        return [round(used / GIB, 2) for used in self.used()]

    def pids(self) -> list[set[int]]:
        return self.rows[-1][2] if self.rows else []

    def free_after(self, since: float, before: list[int], slack: int = 256 * 2**20) -> float | None:
        """Seconds from ``since`` until every card was back at ``before``; None where that never was, or nobody looked."""
        for at, used, _ in self.rows:
            if at > since and all(now <= was + slack for now, was in zip(used, before, strict=True)):
                return round(at - since, 3)
        return None

    def each_free_after(self, since: float, before: list[int], slack: int = 256 * 2**20) -> list[float | None]:
        """The same for each card by itself: what a dead process leaves at once, what its living siblings keep."""
        return [
            next((round(at - since, 3) for at, used, _ in self.rows if at > since and used[card] <= was + slack), None)
            for card, was in enumerate(before)
        ]


@dataclass(frozen=True)
class Ran:
    """What a command left, and how long it took."""

    words: Sequence[str]
    code: int
    out: str
    err: str
    seconds: float

    def must(self, code: int, *says: str) -> Ran:
        """Itself, where it ended with ``code`` and said all of ``says``."""
        told = self.out + self.err
        missing = [text for text in says if text not in told]
        if self.code != code or missing:
            raise AssertionError(
                f"launchpad {' '.join(self.words)} ended with {self.code}, not {code}, or lacks {missing}: {told[-2500:]}"
            )
        return self


class Rig:
    """launchpad's command line for one deployment, and what its journal says."""

    def __init__(self, name: str, state: Path, profiles: Path) -> None:
        self.name, self.state = name, state
        self._environ = {**os.environ, "LAUNCHPAD_STATE_DIR": str(state), "LAUNCHPAD_PROFILES": str(profiles)}

    def ran(self, *words: str, timeout: float = 300) -> Ran:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "launchpad", *words],
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        return Ran(words, done.returncode, done.stdout, done.stderr, round(time.monotonic() - began, 2))

    def __call__(self, *words: str, timeout: float = 300) -> str:
        return self.ran(*words, timeout=timeout).must(0).out

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("status", self.name, "--json"))
        return found

    @property
    def container(self) -> str:
        return f"launchpad-{self.name}"

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self("events", self.name, "--json").splitlines()]

    def since(self, moment: float) -> list[dict[str, Any]]:
        return [item for item in self.events() if moment_of(item["at"]) >= moment]

    def phases(self, moment: float) -> list[str]:
        """Every change of phase since that moment."""
        return [f"{item['from']}>{item['to']}" for item in self.since(moment) if item["to"]]

    def event(self, since: float, *, to: str | None = None, named: str | None = None, timeout: float = 300) -> float:
        """Seconds from ``since`` (time.time) to the first such line of the journal, waiting for it."""
        deadline = time.monotonic() + timeout
        while True:
            for item in self.since(since):
                if (to and item["to"] == to) or (named and item["event"] == named):
                    return round(moment_of(item["at"]) - since, 3) or 0.001
            if time.monotonic() >= deadline:
                tail = [f"{item['event']} {item['from']}>{item['to']} {item['reason']}" for item in self.events()[-8:]]
                raise AssertionError(f"never came: {to or named}; journal: {tail}")
            time.sleep(0.2)


def together(jobs: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """All of these at once; each one's result. Raises what the first of them raised; an interrupted wait leaves them behind."""
    found: dict[str, Any] = {}
    failed: list[Exception] = []

    def do(name: str, job: Callable[[], Any]) -> None:
        try:
            found[name] = job()
        except Exception as error:  # noqa: BLE001 - raised again below, where it is waited for
            failed.append(error)

    threads = [threading.Thread(target=do, args=item, daemon=True) for item in jobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return {name: found[name] for name in jobs}


def moment_of(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def complete(port: int, max_tokens: int, timeout: float = 120) -> dict[str, Any]:
    """One completion of exactly that many tokens."""
    body = {"model": SERVED, "prompt": "the quick brown fox", "max_tokens": max_tokens, "ignore_eos": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


class Clients:
    """Clients that ask again and again inside the ``with``; how long each answer took, and what failed."""

    def __init__(self, port: int, clients: int, max_tokens: int) -> None:
        self.took: list[float] = []
        self.failed: list[str] = []
        self._asked = (port, max_tokens)
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def _ask(self) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                complete(*self._asked)
            except (OSError, ValueError) as error:
                if not self._ending.is_set():
                    self.failed.append(repr(error)[:200])
            else:
                self.took.append(time.monotonic() - began)
            self._ending.wait(0.1)

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()

    def figures(self) -> dict[str, Any]:
        took = sorted(self.took)
        longest = round(took[-1], 2) if took else None
        return {"answers": len(took), "failed": len(self.failed), "longest_s": longest, "errors": self.failed[:3]}


def watched_load(rig: Rig, port: int, seconds: float) -> dict[str, Any]:
    """What launchpad says of power, memory and tokens while 32 clients ask."""
    seen: list[dict[str, Any]] = []
    with Clients(port, 32, 512):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seen.append(rig.status())
            time.sleep(1)
    traffic = [item["traffic"] for item in seen if item.get("traffic")]
    return {
        "gpus": cards(seen),
        "tokens_per_s_max": max((item.get("generation_tokens_per_s") or 0.0 for item in traffic), default=None),
        "running_max": max((item.get("running") or 0 for item in traffic), default=None),
        "alarms": [alarm["message"] for alarm in seen[-1].get("alarms", ())],
        "traffic": traffic[-1] if traffic else None,
    }


def cards(seen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each card as the last of these statuses has it, with the most power of all of them."""
    powers: dict[int, list[float]] = {}
    for status in seen:
        for gpu in status["gpus"]:
            powers.setdefault(gpu["index"], []).append(gpu.get("power_w") or 0.0)
    return [
        {
            "index": gpu["index"],
            "used_gib": _gib(gpu.get("memory_used_bytes")),
            "ours_gib": _gib(gpu.get("ours_bytes")),
            "power_w_max": max(powers[gpu["index"]]),
            "reasons": gpu.get("reasons"),
        }
        for gpu in seen[-1]["gpus"]
    ]


def _gib(size: int | None) -> float | None:
    return None if size is None else round(size / GIB, 2)


def fault(
    rig: Rig, memory: Memory, idle: list[int], strike: Callable[[], object], *, until: str, timeout: float
) -> dict[str, Any]:
    """Strike, and time what follows: noticed, memory back, and the start that comes of it (``until`` STARTING or READY)."""
    began = time.time()
    strike()
    rig.event(began, to="BACKOFF", timeout=timeout)
    starting = rig.event(began, to="STARTING", timeout=60)
    if until == "READY":
        rig.event(began, to="READY", timeout=timeout)
    journal = [(round(moment_of(item["at"]) - began, 3), item) for item in rig.since(began)]
    changes = {item["to"]: at for at, item in reversed(journal) if item["to"]}  # the first of each
    figures: dict[str, Any] = {
        "noticed_s": min(changes.values()),
        "backoff_s": changes["BACKOFF"],
        "memory_back_s": memory.free_after(began, idle),
        "memory_back_each_s": memory.each_free_after(began, idle),
        "restart_begins_s": starting,
        "ready_again_s": changes.get("READY"),
        "reason": [item["reason"] for _, item in journal if item["to"] == "BACKOFF"][-1],
        "journal": [f"{at} {item['event']} {item['to'] or ''} {item['reason'][:160]}" for at, item in journal],
    }
    released = figures["memory_back_s"]
    if memory.rows and (released is None or released > starting):
        raise AssertionError(f"the restart began before the memory was back: {figures}")
    return figures


@contextlib.contextmanager
def altered(path: Path, old: bytes, new: bytes) -> Iterator[None]:
    """The file with ``old`` replaced while inside, and as it was, time included, afterwards."""
    before, stat = path.read_bytes(), path.stat()
    if old not in before:
        raise AssertionError(f"{path} lacks {old!r}")
    try:
        path.write_bytes(before.replace(old, new, 1))
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
