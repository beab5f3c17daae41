"""Real vLLM and real SGLang on real GPUs through launchpad: faults, pins, questions, and two engines side by side.

Run on a GPU machine with a Docker Engine (docs/measured.md says what was seen)::

    python -m tests.gpu.real_engines image sglang --site SITE
    python -m tests.gpu.real_engines run GROUP[:STEP] ... --model MODEL --out DIR [--kept DIR] [--limit SECONDS]

SITE holds the engine's wheels, MODEL a checkpoint. The groups: ``vllm`` and ``sglang`` take both cards alone; ``cards`` brings
both up at once, a card each; ``shared`` both on the same two cards, by ``gpus.share``; ``cpu`` is a real vLLM without a GPU. On a
machine of one card, ``--gpus 1`` gives each one card (``cards`` needs two). A group is its steps in order. Figures are written
after each of them, to DIR and to the kept folder, from which another call goes on. Every step has a time limit, prints one line,
and is left out where the call's time is over. No GPU setting is changed. The exit code is 1 where a step did not go as it must.
``--stand-in`` plays the groups that need GPUs with ``launchpad rehearse``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tarfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.gpu.pieces import (
    GIB,
    PROGRAMS,
    SERVED,
    Clients,
    Memory,
    Ran,
    Rig,
    Wish,
    altered,
    cards,
    fault,
    make_image,
    profile,
    together,
    watched_load,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

GROUPS: dict[str, tuple[Wish, ...]] = {
    "vllm": (Wish("real-vllm", "vllm", 18100, 2, fraction=0.5),),
    "sglang": (Wish("real-sglang", "sglang", 18101, 2, fraction=0.5),),
    "cards": (
        Wish("card-vllm", "vllm", 18110, 1, fraction=0.5),
        Wish("card-sglang", "sglang", 18111, 1, fraction=0.5),
    ),
    "shared": (
        Wish("shared-vllm", "vllm", 18120, 2, share=0.4),
        Wish("shared-sglang", "sglang", 18121, 2, share=0.4, fraction=0.35),
    ),
    "cpu": (Wish("cpu-vllm", "vllm", 18130, 0),),
}
THIRD = Wish("shared-third", "vllm", 18122, 2, share=0.3)
#: The settings of profiles/demo-vllm-cpu.toml, with a model beside the image: the pins of its files can be tried.
CPU_PROFILE = """format = 1
summary = "real vLLM on CPU"
engine = "vllm"
image = {{ reference = "launchpad/vllm-cpu-demo:0.32.0", pull = "never" }}
model = {{ path = "{model}", served_name = "{served}" }}
serving = {{ context_length = 512, max_running_requests = 8, cuda_graphs = false }}
engine_args = {{ dtype = "float32" }}
env = {{ VLLM_CPU_KVCACHE_SPACE = 1, VLLM_CPU_OMP_THREADS_BIND = "nobind", OMP_NUM_THREADS = 2, HF_HUB_OFFLINE = 1 }}
cache = {{ enabled = false }}
container = {{ shm_size = "1GiB", memory_limit = "4GiB" }}
publish = {{ port = {port} }}
probes.completion = {{ kind = "completion", timeout = "60s", extra = {{ ignore_eos = true }} }}
deadlines.stop_grace = "30s"
"""


@dataclass
class Stage:
    """One group on this machine: its deployments, NVML beside them, and what is known of it so far."""

    group: str
    wishes: tuple[Wish, ...]
    model: Path
    state: Path
    profiles: Path
    memory: Memory
    stand_in: bool
    init: bool
    known: dict[str, Any] = field(default_factory=dict)

    def rig(self, wish: Wish) -> Rig:
        return Rig(wish.name, self.state, self.profiles)

    @property
    def rigs(self) -> list[Rig]:
        return [self.rig(wish) for wish in self.wishes]

    def write(self, wish: Wish) -> Path:
        self.profiles.mkdir(parents=True, exist_ok=True)
        path = self.profiles / f"{wish.name}.toml"
        if self.group == "cpu":
            text = CPU_PROFILE.format(port=wish.port, model=self.model, served=SERVED)
        else:
            text = profile(wish, self.model, hosted=not self.stand_in)
        if not self.init:
            text = text.replace("[container]\n", "[container]\ninit = false\n")
        path.write_text(text)
        return path

    def up(self, wish: Wish, *, detach: bool = False, load: int = 4) -> Ran:
        words = ["--detach"] if detach else []
        if self.stand_in:
            rehearsal = ("rehearse", wish.name, "--rig", "2x-h200", "--load-seconds", str(load))
            return self.rig(wish).ran(*rehearsal, *words)
        accept = [word for hazard in self.blocking(wish) for word in ("--accept", hazard)]
        return self.rig(wish).ran("up", wish.name, *accept, *words, timeout=560)

    def blocking(self, wish: Wish) -> list[str]:
        """The hazards that would keep this from coming up; what is accepted is written down with the figures."""
        findings = self.doctor(wish)["findings"]
        found = sorted({item["id"] for item in findings if item["severity"] == "blocks"})
        self.known.setdefault("accepted", {})[wish.name] = found
        return found

    def doctor(self, wish: Wish) -> dict[str, Any]:
        words = ("doctor", wish.name, "--json", *(("--rig", "2x-h200") if self.stand_in else ()))
        ran = self.rig(wish).ran(*words)
        if ran.code not in {0, 1, 4}:
            ran.must(0)
        found: dict[str, Any] = json.loads(ran.out)
        return found

    def idle(self) -> list[int]:
        found: list[int] = self.known.setdefault("idle_bytes", self.memory.used())
        return found


# -- one deployment ----------------------------------------------------------------------------------------------------


def bring_up(stage: Stage) -> dict[str, Any]:
    """Profile checked, examined, and up."""
    (wish,) = stage.wishes
    rig = stage.rig(wish)
    rig("profiles", "check", str(stage.write(wish)))
    stage.idle()
    examined = stage.doctor(wish)
    ran = stage.up(wish).must(0)
    status = rig.status()
    return {
        "ready_s": ran.seconds,
        "load": status["load"],
        "doctor": [f"{item['severity']} {item['id']}: {item['message']}" for item in examined["findings"]],
        "gpus": cards([status]),
        "nvml_gib": stage.memory.used_gib(),
        **_attribution(stage, rig),
    }


def _attribution(stage: Stage, rig: Rig) -> dict[str, Any]:
    """Whether every process on the GPUs is one of our container's."""
    on_gpus = set().union(*stage.memory.pids())
    if not on_gpus:
        return {"processes_on_gpus": None}
    inside = _inside(rig)
    if not on_gpus <= inside:
        raise AssertionError(f"processes {sorted(on_gpus - inside)} on the GPUs are not {rig.container}'s")
    return {"processes_on_gpus": len(on_gpus), "all_in_our_container": True}


def _inside(rig: Rig) -> set[int]:
    return {int(row[1]) for row in _container(rig).top()["Processes"]}


def _container(rig: Rig) -> Any:
    import docker

    return docker.from_env().containers.get(rig.container)


def pins(stage: Stage) -> dict[str, Any]:
    """Lock, verify, a changed tokenizer told by ``verify`` and refused by ``up``, and all well again."""
    wish = next((wish for wish in stage.wishes if wish.engine == "vllm"), stage.wishes[0])
    rig, name = stage.rig(wish), wish.name
    locked = rig.ran("lock", name, "--weights", "--json").must(0)
    told = json.loads(locked.out)
    lock = told["lock"]
    verified = rig.ran("verify", name, "--json").must(0)
    whole = rig.ran("verify", name, "--weights", "--json").must(0)
    again = rig.ran("up", name, *_accepted(stage, name)).must(0)
    with altered(stage.model / "tokenizer.json", b"{", b"{ "):
        caught = rig.ran("verify", name).must(4, "lock.model-file", "tokenizer.json")
        refused = rig.ran("up", name, *_accepted(stage, name)).must(4, "lock.model-file", "tokenizer.json")
    after = rig.ran("verify", name, "--json").must(0)
    phase = rig.status()["phase"]
    if phase != "READY":
        raise AssertionError(f"{name} is {phase} after all that looking")
    return {
        "lock_s": locked.seconds,
        "rig": lock.get("rig"),
        "images": lock.get("images"),
        "model": lock.get("model"),
        "unpinned": told["unpinned"],
        "verify_s": verified.seconds,
        "verify": json.loads(verified.out),
        "verify_weights_s": whole.seconds,
        "up_unchanged_s": again.seconds,
        "up_unchanged": again.err[-300:],
        "caught": caught.out,
        "refused": refused.err[-1500:],
        "holds_again": json.loads(after.out)["holds"],
    }


def _accepted(stage: Stage, name: str) -> list[str]:
    found = stage.known.get("accepted", {}).get(name, [])
    return [word for hazard in found for word in ("--accept", hazard)]


def ask(stage: Stage) -> dict[str, Any]:
    """One question to each deployment in each mode that is known, and one that is not; all of a mode at the same time."""
    modes: dict[str, Sequence[str]] = {"unsaid": (), "non": ("--think", "non"), "high": ("--think", "high")}
    found: dict[str, Any] = {mode: _ask_all(stage, words) for mode, words in modes.items()}
    for rig in stage.rigs:
        said, thought = found["non"][rig.name], found["high"][rig.name]
        if not stage.stand_in and said["prompt_tokens"] <= thought["prompt_tokens"]:
            raise AssertionError(f"the template of {rig.name} heard no difference: {said} and {thought}")
    refused = stage.rigs[0].ran("ask", stage.rigs[0].name, "Why?", "--think", "max").must(1, "think-max")
    return {**found, "refused": refused.err}


def _ask_all(stage: Stage, words: Sequence[str]) -> dict[str, Any]:
    question = ("Why is the sky blue?", "--json", "--max-tokens", "256", *words)
    asked = together({rig.name: partial(rig.ran, "ask", rig.name, *question, timeout=60) for rig in stage.rigs})
    answers = {name: json.loads(ran.must(0).out) for name, ran in asked.items()}
    for name, answer in answers.items():
        if not answer["completion_tokens"]:
            raise AssertionError(f"{name} answered with no token: {answer}")
    return {name: {**answer, "answer": answer["answer"][:80]} for name, answer in answers.items()}


def load(stage: Stage) -> dict[str, Any]:
    """Memory, power and tokens as launchpad tells them while 32 clients ask each deployment."""
    seconds = 4 if stage.stand_in else 15
    found = together({wish.name: partial(watched_load, stage.rig(wish), wish.port, seconds) for wish in stage.wishes})
    found["nvml_gib"] = stage.memory.used_gib()
    found["top"] = stage.rigs[0].ran("top", "--once").out[-2500:]
    return found


def killed_worker(stage: Stage) -> dict[str, Any]:
    """SIGKILL to a process that computes on the last card."""
    (rig,) = stage.rigs
    return fault(
        rig, stage.memory, stage.idle(), partial(_signal, stage, rig, signal.SIGKILL), until="READY", timeout=200
    )


def killed_container(stage: Stage) -> dict[str, Any]:
    """``docker kill``."""
    (rig,) = stage.rigs
    return fault(rig, stage.memory, stage.idle(), lambda: _container(rig).kill(), until="READY", timeout=170)


def hang(stage: Stage) -> dict[str, Any]:
    """SIGSTOP to a process that computes on the last card, while clients ask; until the next start begins."""
    (wish,) = stage.wishes
    rig = stage.rig(wish)
    with Clients(wish.port, 4, 256):
        strike = partial(_signal, stage, rig, signal.SIGSTOP)
        return fault(rig, stage.memory, stage.idle(), strike, until="STARTING", timeout=150)


def _signal(stage: Stage, rig: Rig, number: signal.Signals) -> None:
    os.kill(_worker(stage, rig), number)


def _worker(stage: Stage, rig: Rig) -> int:
    """A process of this deployment that computes on the last card that has one."""
    inside = _inside(rig)
    mine = [sorted(pids & inside) for pids in stage.memory.pids() if pids & inside]
    return mine[-1][-1] if mine else max(inside)


def down(stage: Stage) -> dict[str, Any]:
    """All of the group at once; then the cards are as they were."""
    began = time.time()
    ended = together({rig.name: partial(rig.ran, "down", rig.name, timeout=100) for rig in stage.rigs})
    took = {name: ran.must(0).seconds for name, ran in ended.items()}
    time.sleep(1 if stage.memory.rows else 0)
    back = stage.memory.free_after(began, stage.idle()) if stage.memory.rows else None
    return {"down_s": took, "memory_back_s": back, "nvml_gib": stage.memory.used_gib()}


# -- two side by side --------------------------------------------------------------------------------------------------


def both_up(stage: Stage) -> dict[str, Any]:
    """Both at once, by two commands; on cards of their own, or one after the other where they share them."""
    for wish in stage.wishes:
        stage.rig(wish)("profiles", "check", str(stage.write(wish)))
    stage.idle()
    began, watch = time.time(), _Watch(stage)
    with watch:
        ups = together({wish.name: partial(stage.up, wish) for wish in stage.wishes})
    took = {name: ran.must(0).seconds for name, ran in ups.items()}
    started = {rig.name: rig.event(began, named="container-started") for rig in stage.rigs}
    ready = {rig.name: rig.event(began, to="READY") for rig in stage.rigs}
    waited = {
        rig.name: [item["reason"] for item in rig.since(began) if item["event"] == "waiting"] for rig in stage.rigs
    }
    placed = {rig.name: [gpu["index"] for gpu in rig.status()["gpus"]] for rig in stage.rigs}
    figures = {
        "up_s": took,
        "container_started_s": started,
        "ready_s": ready,
        "waited": waited,
        "placed": placed,
        "most_gib": watch.most_gib(),
        **_held(stage),
    }
    _placed_well(stage, figures)
    return figures


class _Watch:
    """The most memory each card had in use inside the ``with``."""

    def __init__(self, stage: Stage) -> None:
        self._memory, self._from = stage.memory, 0

    def __enter__(self) -> None:
        self._from = len(self._memory.rows)

    def __exit__(self, *_: object) -> None:
        pass

    def most_gib(self) -> list[float]:
        rows = [used for _, used, _ in self._memory.rows[self._from :]]
        return [round(max(column) / GIB, 2) for column in zip(*rows, strict=True)]


def _placed_well(stage: Stage, figures: dict[str, Any]) -> None:
    first, second = figures["placed"].values()
    if stage.group == "cards" and set(first) & set(second):
        raise AssertionError(f"both stand on the same card: {figures}")
    if stage.group == "shared":
        late, early = max(figures["container_started_s"].values()), min(figures["ready_s"].values())
        if set(first) != set(second) or late < early or not any(figures["waited"].values()):
            raise AssertionError(f"they did not take turns on the cards: {figures}")


def _held(stage: Stage) -> dict[str, Any]:
    """What each deployment holds of each card, as launchpad tells it, and all of it by NVML."""
    return {
        "holds": {rig.name: cards([rig.status()]) for rig in stage.rigs},
        "nvml_gib": stage.memory.used_gib(),
    }


def held(stage: Stage) -> dict[str, Any]:
    """What each holds once both serve."""
    return _held(stage)


def third_refused(stage: Stage) -> dict[str, Any]:
    """A third, whose share does not fit: refused by the holders' names, and nothing started."""
    third = replace(THIRD, gpus=stage.wishes[0].gpus)
    stage.write(third)
    ran = stage.up(third) if stage.stand_in else stage.rig(third).ran("up", third.name)
    ran.must(1, "cannot place", *(wish.name for wish in stage.wishes))
    return {"refused": ran.err, "seconds": ran.seconds}


def one_killed(stage: Stage) -> dict[str, Any]:
    """The second's container is killed; the first goes on answering, in the same container, and its journal says nothing."""
    stays, dies = stage.rigs
    port = stage.wishes[0].port
    before, began = _container(stays).id, time.time()
    with Clients(port, 2, 128) as clients:
        time.sleep(2)
        calm = clients.figures()
        struck = time.time()
        _container(dies).kill()
        noticed = dies.event(struck, to="BACKOFF", timeout=30)
        ready = dies.event(struck, to="READY", timeout=200)
    figures = {
        "before": calm,
        "during": clients.figures(),
        "noticed_s": noticed,
        "ready_again_s": ready,
        "waited": [item["reason"] for item in dies.since(began) if item["event"] == "waiting"],
        "phases_of_the_other": stays.phases(began),
        **_held(stage),
    }
    if clients.failed or stays.phases(began) or _container(stays).id != before or not clients.took:
        raise AssertionError(f"{stays.name} was disturbed: {figures}")
    return figures


# -- steps ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What is done, its time limit, and what it usually takes: it is not begun with less time left. Seconds."""

    do: Callable[[Stage], dict[str, Any]]
    limit: int
    usual: int


ALONE: dict[str, Step] = {
    "up": Step(bring_up, 240, 120),
    "pins": Step(pins, 90, 25),
    "ask": Step(ask, 45, 15),
    "load": Step(load, 45, 25),
    "worker": Step(killed_worker, 210, 150),
    "container": Step(killed_container, 180, 100),
    "hang": Step(hang, 160, 90),
    "down": Step(down, 60, 10),
}
STEPS: dict[str, dict[str, Step]] = {
    "vllm": ALONE,
    "sglang": ALONE,
    "cards": {
        "up": Step(both_up, 240, 130),
        "pins": Step(pins, 90, 25),
        "ask": Step(ask, 45, 15),
        "load": Step(load, 45, 25),
        "kill": Step(one_killed, 210, 100),
        "down": Step(down, 60, 10),
    },
    "shared": {
        "up": Step(both_up, 300, 200),
        "held": Step(held, 15, 2),
        "pins": Step(pins, 90, 25),
        "third": Step(third_refused, 20, 5),
        "ask": Step(ask, 45, 15),
        "load": Step(load, 45, 25),
        "kill": Step(one_killed, 210, 100),
        "down": Step(down, 60, 10),
    },
    "cpu": {
        "up": Step(bring_up, 540, 120),
        "pins": Step(pins, 120, 20),
        "ask": Step(ask, 120, 15),
        "down": Step(down, 60, 10),
    },
}


class TooLong(Exception):
    """A step outlasted its limit."""


def chosen(words: Sequence[str]) -> list[tuple[str, str]]:
    """``sglang`` is all steps of that group, ``sglang:up`` one of them; a group begun is taken down by its ``down`` alone."""
    found: list[tuple[str, str]] = []
    for word in words:
        group, _, step = word.partition(":")
        if group not in STEPS or (step and step not in STEPS[group]):
            raise SystemExit(f"no step {word}: {', '.join(f'{name}:{key}' for name in STEPS for key in STEPS[name])}")
        found += [(group, step)] if step else [(group, name) for name in STEPS[group]]
    return found


class Run:
    """The steps of one call, within its time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self._began = time.monotonic()
        self._out, self._kept = Path(options.out), Path(options.kept)
        for folder in (self._out, self._kept):
            folder.mkdir(parents=True, exist_ok=True)
        path = self._kept / "figures.json"
        self.figures: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        self._memory = Memory(None if options.stand_in else _nvml())
        self.bad: list[str] = []

    def left(self) -> float:
        return float(self.options.limit) - (time.monotonic() - self._began)

    def stage(self, group: str) -> Stage:
        kept = self._kept
        return Stage(
            group,
            tuple(replace(wish, gpus=min(wish.gpus, self.options.gpus)) for wish in GROUPS[group]),
            Path(self.options.model),
            kept / "state",
            kept / "profiles",
            self._memory,
            stand_in=self.options.stand_in and group != "cpu",
            init=not self.options.no_init,
            known=self.figures.setdefault(group, {}).setdefault("known", {}),
        )

    def step(self, group: str, name: str) -> None:
        """One step, its line, and the figures so far on both disks."""
        told = f"{group}:{name}"
        step = STEPS[group][name]
        stage = self.stage(group)
        done, left = self.figures[group], int(self.left())
        if left < step.usual:
            self.tell(told, "left out: no time left in this call")
            return
        if name not in {"up", "down"} and not done.get("up", {}).get("ok"):
            self.tell(told, "left out: it is not up")
            return
        began = time.monotonic()
        found: dict[str, Any] = {"at": time.strftime("%H:%M:%SZ", time.gmtime())}
        try:
            with _alarm(min(step.limit, left)):
                found |= {"figures": step.do(stage), "ok": True}
        except Exception as error:  # noqa: BLE001 - whatever it is, the next step may still tell something
            found |= {"ok": False, "error": f"{type(error).__name__}: {error}"[:4000]}
            if not isinstance(error, AssertionError | TooLong):
                traceback.print_exc()
            self.bad.append(told)
        found["seconds"] = round(time.monotonic() - began, 1)
        done[name] = found
        self.keep()
        self.tell(told, f"{found['seconds']} s {_short(found)}")

    def tell(self, step: str, text: str) -> None:
        print(f"[{self.options.limit - self.left():5.0f}] {step}: {text}", flush=True)

    def keep(self) -> None:
        text = json.dumps(self.figures, indent=1)
        for folder in {self._kept, self._out}:
            half = folder / "figures.json.half"
            half.write_text(text)
            half.replace(folder / "figures.json")

    def evidence(self) -> None:
        """Journals, the ends of the servers' logs, crash records and profiles, as one file."""
        with tarfile.open(self._out / "evidence.tar.gz", "w:gz") as archive:
            for path in sorted((self._kept / "profiles").glob("*")):
                archive.add(path, f"profiles/{path.name}")
            for folder in sorted((self._kept / "state" / "deployments").glob("*")):
                for path in sorted(folder.rglob("*")):
                    if path.is_file():
                        self._add(archive, path, str(path.relative_to(folder.parent)))

    def _add(self, archive: tarfile.TarFile, path: Path, name: str) -> None:
        with contextlib.suppress(OSError):
            tail = self._kept / "tail"
            tail.write_bytes(path.read_bytes()[-1_000_000:])
            archive.add(tail, name)


def _short(found: dict[str, Any]) -> str:
    if not found["ok"]:
        return f"FAILED {found['error'][:1200]}"
    figures = {
        key: value
        for key, value in found["figures"].items()
        if key not in {"images", "model", "top", "load", "journal"}
    }
    return json.dumps(figures)[:700]


@contextlib.contextmanager
def _alarm(seconds: int) -> Any:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooLong(f"no end within {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _nvml() -> Any:
    import pynvml

    return pynvml


def main(words: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    image = verbs.add_parser("image", help="make the image of one engine")
    image.add_argument("engine", choices=sorted(PROGRAMS))
    image.add_argument("--site", required=True)
    run = verbs.add_parser("run", help="run steps")
    run.add_argument("steps", nargs="+", metavar="GROUP[:STEP]")
    run.add_argument("--model", required=True)
    run.add_argument("--out", required=True)
    run.add_argument("--kept", default="/var/tmp/launchpad-proof")
    run.add_argument("--limit", type=float, default=540)
    run.add_argument("--gpus", type=int, default=2, help="the cards of this machine that a deployment may take")
    run.add_argument("--no-init", action="store_true")
    run.add_argument("--stand-in", action="store_true")
    options = parser.parse_args(words)
    if options.verb == "image":
        print(make_image(options.engine, Path(options.site)))
        return 0
    done = Run(options)
    for group, step in chosen(options.steps):
        done.step(group, step)
    done.evidence()
    print("not as it must be: " + ", ".join(done.bad) if done.bad else "all as it must be", flush=True)
    return 1 if done.bad else 0


if __name__ == "__main__":
    sys.exit(main())
