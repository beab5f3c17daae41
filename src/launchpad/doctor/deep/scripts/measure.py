"""Runs inside a container of the image under test, by that image's own python3 (3.8 and later) and its own torch.

``python3 -c TEXT '{"work": "all-reduce", "ranks": 2, "limit_s": 90, ...}'`` prints lines that begin with the mark, a JSON object
each; the last one has ``done`` or ``error``. The first process imports no torch: it forks one process a rank, and kills them all at
the limit, so that nothing here outlives its time even where whoever started it is gone. It changes no setting of any GPU.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = "LAUNCHPAD-DEEP "
MIB = 2**20


def say(**figures: Any) -> None:
    """One line, in one write: ranks share the pipe."""
    os.write(1, f"{MARK}{json.dumps(figures)}\n".encode())


def see(_rank: int, _settings: dict[str, Any]) -> None:
    """Which GPUs there are, and one real kernel on each."""
    try:
        torch: Any = import_module("torch")
    except ImportError:
        listed = subprocess.run(("nvidia-smi", "-L"), capture_output=True, text=True, check=True, timeout=60)
        say(
            done=True,
            via="nvidia-smi -L",
            gpus=[line for line in listed.stdout.splitlines() if line.startswith("GPU ")],
        )
        return
    if not torch.cuda.is_available():
        torch.zeros(1, device="cuda")  # raises with CUDA's own reason
    names = []
    for index in range(torch.cuda.device_count()):
        ones = torch.ones((256, 256), device=f"cuda:{index}")
        if float((ones @ ones)[0, 0]) != 256.0:
            raise ArithmeticError(f"a small matrix product is wrong on GPU {index} of the container")
        names.append(torch.cuda.get_device_name(index))
    say(done=True, via="torch", gpus=names, torch=torch.__version__, cuda=torch.version.cuda)


def device_memory(_rank: int, settings: dict[str, Any]) -> None:
    """Bytes read and written a second by a copy inside each GPU's memory, the median of batches."""
    torch: Any = import_module("torch")
    say(
        done=True,
        bytes_per_s=[copy_within(torch, gpu, settings["seconds"]) for gpu in range(torch.cuda.device_count())],
    )


def copy_within(torch: Any, gpu: int, seconds: float) -> float:
    """Bytes a second, read and written, of copies inside one GPU's memory."""
    with torch.cuda.device(gpu):
        size = int(min(2**31, torch.cuda.mem_get_info()[0] // 4))
        a = torch.ones(size, dtype=torch.uint8, device="cuda")
        b = torch.empty_like(a)
        return 2 * size / timed(torch, lambda: b.copy_(a), seconds)


def pcie(_rank: int, settings: dict[str, Any]) -> None:
    """Bytes a second between pinned host memory and each GPU, one GPU and one direction after another."""
    torch: Any = import_module("torch")
    say(done=True, gpus=[copy_over(torch, gpu, settings["seconds"]) for gpu in range(torch.cuda.device_count())])


def copy_over(torch: Any, gpu: int, seconds: float) -> dict[str, float]:
    """Bytes a second of copies to one GPU and back."""
    size = 256 * MIB
    with torch.cuda.device(gpu):
        host = torch.ones(size, dtype=torch.uint8).pin_memory()
        device = torch.ones(size, dtype=torch.uint8, device="cuda")
        to_gpu = size / timed(torch, lambda: device.copy_(host, non_blocking=True), seconds)
        to_host = size / timed(torch, lambda: host.copy_(device, non_blocking=True), seconds)
    return {"to_gpu": to_gpu, "to_host": to_host}


def timed(torch: Any, act: Callable[[], Any], seconds: float) -> float:
    """Seconds that ``act`` takes on the current GPU: the median of batches of eight over ``seconds``, warmed up first."""
    for _ in range(3):
        act()
    torch.cuda.synchronize()
    took: list[float] = []
    until = time.monotonic() + seconds
    while not took or time.monotonic() < until:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(8):
            act()
        end.record()
        end.synchronize()
        took.append(start.elapsed_time(end) / 8000)
    return sorted(took)[len(took) // 2]


def all_reduce(rank: int, settings: dict[str, Any]) -> None:
    """NCCL's sum over all ranks, by size, checked and timed."""
    torch: Any = import_module("torch")
    dist: Any = import_module("torch.distributed")
    ranks = settings["ranks"]
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=f"file://{settings['meet']}", rank=rank, world_size=ranks)
    if rank == 0:
        say(stage="joined", nccl=".".join(map(str, torch.cuda.nccl.version())), torch=torch.__version__)
    for size in settings["sizes"]:
        data = torch.full((size // 4,), rank + 1.0, dtype=torch.float32, device="cuda")
        dist.all_reduce(data)
        right = bool((data == ranks * (ranks + 1) / 2).all())
        if not right:
            say(wrong=size, rank=rank)
        data.zero_()
        for _ in range(5):
            dist.all_reduce(data)
        torch.cuda.synchronize()
        rounds = 200 if size < MIB else 50
        began = time.perf_counter()
        for _ in range(rounds):
            dist.all_reduce(data)
        torch.cuda.synchronize()
        took = (time.perf_counter() - began) / rounds
        if rank == 0:
            say(bytes=size, seconds=took, bus_bytes_per_s=2 * (ranks - 1) / ranks * size / took)
    dist.destroy_process_group()
    if rank == 0:
        say(done=True)


def full_tilt(_rank: int, settings: dict[str, Any]) -> None:
    """Matrix products on every GPU at once, for ``seconds``; random numbers, because zeros draw less."""
    torch: Any = import_module("torch")
    gpus = range(torch.cuda.device_count())
    n = 8192
    factors = [torch.randn((n, n), dtype=torch.bfloat16, device=f"cuda:{gpu}") for gpu in gpus]
    products = [torch.empty_like(factor) for factor in factors]
    marks: list[Any] = [None for _ in gpus]
    for gpu in gpus:
        torch.cuda.synchronize(gpu)
    began, rounds = time.time(), 0
    until = time.monotonic() + settings["seconds"]
    while time.monotonic() < until:
        for gpu in gpus:
            with torch.cuda.device(gpu):
                waiting = torch.cuda.Event()
                for _ in range(8):
                    torch.mm(factors[gpu], factors[gpu], out=products[gpu])
                waiting.record()
            before, marks[gpu] = marks[gpu], waiting
            if before is not None:
                before.synchronize()
        rounds += 8
    for gpu in gpus:
        torch.cuda.synchronize(gpu)
    ended = time.time()
    say(done=True, began=began, ended=ended, flop_per_s=2 * n**3 * rounds / (ended - began))


WORKS: dict[str, Callable[[int, dict[str, Any]], None]] = {
    "see": see,
    "device-memory": device_memory,
    "pcie": pcie,
    "all-reduce": all_reduce,
    "full-tilt": full_tilt,
}


def one_rank(rank: int, settings: dict[str, Any]) -> NoReturn:
    """A rank's whole life; never returns."""
    code = 1
    try:
        WORKS[settings["work"]](rank, settings)
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever went wrong is the answer
        say(error=" ".join(str(error).split())[:600], kind=type(error).__name__, rank=rank)
    finally:
        os._exit(code)


def main() -> int:
    """Fork the ranks and see them out."""
    if sys.path and not sys.path[0]:
        del sys.path[0]  # the image's working directory holds no modules for us
    settings: dict[str, Any] = json.loads(sys.argv[1])
    say(stage="started")
    ranks = {os.fork() or one_rank(rank, settings) for rank in range(settings.get("ranks", 1))}
    until = time.monotonic() + settings["limit_s"]
    code = 0
    while ranks and not code:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended:
            ranks.discard(ended)
            code = int(status != 0)
        elif time.monotonic() > until:
            say(error="the limit was reached inside the container", kind="TimeoutError")
            code = 124
        else:
            time.sleep(0.05)
    for rank in ranks:
        os.kill(rank, signal.SIGKILL)
    return code


if __name__ == "__main__":
    sys.exit(main())
