"""Hazards of the cards themselves: mixed, shared, capped, misconfigured or failing. Facts only; no sample is taken here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.doctor.case import SM120
from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.lookup import AS_OF, GIB, cards, does, ids, name, tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.doctor.case import Case

_NVIDIA_SMI: Final = "https://docs.nvidia.com/deploy/nvidia-smi/index.html"
_MEMORY_ERRORS: Final = "https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/index.html"


def _mixed_capability(case: Case) -> Iterator[Seen]:
    found = sorted({gpu.compute_capability for gpu in case.gpus if gpu.compute_capability is not None})
    if case.spec is not None and len(found) > 1 and tensor(case) > 1:
        has = " and ".join("{}.{}".format(*each) for each in found)
        yield Seen(f"{name(case)} splits one model over GPUs of compute capability {has}", evidence=_listed(case))


def _mixed_memory(case: Case) -> Iterator[Seen]:
    sizes = [gpu.memory_bytes for gpu in case.gpus if gpu.memory_bytes is not None]
    if case.spec is not None and len(sizes) > 1 and min(sizes) < 0.98 * max(sizes):
        yield Seen(
            f"the GPUs of {name(case)} have between {min(sizes) / GIB:.1f} and {max(sizes) / GIB:.1f} GiB; "
            "every rank gets what the smallest has",
            evidence=_listed(case),
        )


def _listed(case: Case) -> str:
    return "; ".join(f"{gpu.index}: {gpu.name}" for gpu in case.gpus)


def _foreign(case: Case) -> Iterator[Seen]:
    taken = [gpu for gpu in case.gpus if gpu.foreign]
    if taken:
        who = sorted({f"{each.command or 'a process'} (pid {each.pid})" for gpu in taken for each in gpu.foreign or ()})
        yield Seen(
            f"{cards(taken)} of {name(case)} {does(taken, 'is', 'are')} in use by {', '.join(who[:4])}"
            + (f" and {len(who) - 4} more" if len(who) > 4 else ""),
            evidence="; ".join(
                f"GPU {gpu.index}: {sum(each.memory_bytes or 0 for each in gpu.foreign or ()) / GIB:.1f} GiB"
                for gpu in taken
            ),
        )


def _display(case: Case) -> Iterator[Seen]:
    taken = [gpu for gpu in case.gpus if gpu.display_active]
    if taken:
        yield Seen(f"{cards(taken)} {does(taken, 'drives', 'drive')} a display, which takes memory and steals time")


def _mig(case: Case) -> Iterator[Seen]:
    taken = [gpu for gpu in case.gpus if gpu.mig_enabled]
    if taken:
        yield Seen(
            f"{cards(taken)} {does(taken, 'is', 'are')} split by MIG; {name(case)} needs whole GPUs",
            hint=f"sudo nvidia-smi -i {ids(taken)} -mig 0",
            severity="blocks" if case.spec is not None else "informs",
        )


def _prohibited(case: Case) -> Iterator[Seen]:
    taken = [gpu for gpu in case.gpus if gpu.compute_mode == "prohibited"]
    if taken:
        yield Seen(
            f"{cards(taken)} {does(taken, 'lets', 'let')} nobody compute (compute mode PROHIBITED)",
            hint=f"sudo nvidia-smi -i {ids(taken)} -c DEFAULT",
        )


def _exclusive(case: Case) -> Iterator[Seen]:
    taken = [gpu for gpu in case.gpus if gpu.compute_mode == "exclusive_process"]
    if taken:
        yield Seen(
            f"{cards(taken)} {does(taken, 'lets', 'let')} one process in at a time (compute mode EXCLUSIVE_PROCESS)",
            hint=f"sudo nvidia-smi -i {ids(taken)} -c DEFAULT",
        )


def _capped(case: Case) -> Iterator[Seen]:
    taken = [
        gpu
        for gpu in case.gpus
        if gpu.power_limit_w is not None and gpu.power_default_w is not None and gpu.power_limit_w < gpu.power_default_w
    ]
    if taken:
        how = sorted({f"{gpu.power_limit_w:.0f} W of {gpu.power_default_w:.0f} W" for gpu in taken})
        yield Seen(f"{cards(taken)} {does(taken, 'is', 'are')} capped at {' and '.join(how)}")


def _max_q(case: Case) -> Iterator[Seen]:
    taken = [
        gpu
        for gpu in case.gpus
        if gpu.compute_capability == SM120
        and gpu.power_default_w is not None
        and 0 < gpu.power_default_w <= 325
        and "RTX PRO 6000" in gpu.name
    ]
    if taken:
        yield Seen(
            f"{cards(taken)} {does(taken, 'is a', 'are')} 300 W (Max-Q) {does(taken, 'card', 'cards')}: "
            "figures of 600 W cards do not hold for prefill"
        )


def _persistence(case: Case) -> Iterator[Seen]:
    taken = [gpu for gpu in case.gpus if gpu.persistence is False]
    if taken:
        yield Seen(
            f"{cards(taken)} {does(taken, 'forgets its', 'forget their')} settings when nobody uses "
            f"{does(taken, 'it', 'them')} (persistence mode off)"
        )


def _ecc_pending(case: Case) -> Iterator[Seen]:
    taken = [
        gpu
        for gpu in case.gpus
        if gpu.ecc_current is not None and gpu.ecc_pending is not None and gpu.ecc_current != gpu.ecc_pending
    ]
    if taken:
        turned = "on" if taken[0].ecc_pending else "off"
        yield Seen(f"ECC of {cards(taken)} will be {turned} only after a reset")


def _remap_failed(case: Case) -> Iterator[Seen]:
    taken = [gpu for gpu in case.gpus if gpu.remapped_failure]
    if taken:
        yield Seen(f"{cards(taken)} could not replace broken memory rows: the card is failing")


def _remap_pending(case: Case) -> Iterator[Seen]:
    taken = [gpu for gpu in case.gpus if gpu.remapped_pending and not gpu.remapped_failure]
    if taken:
        yield Seen(f"{cards(taken)} will replace broken memory rows only after a reset")


def _uncorrected(case: Case) -> Iterator[Seen]:
    taken = [gpu for gpu in case.gpus if gpu.ecc_uncorrected]
    if taken:
        yield Seen(
            f"{cards(taken)} met memory errors that ECC could not correct",
            evidence="; ".join(f"GPU {gpu.index}: {gpu.ecc_uncorrected}" for gpu in taken),
        )


def _bar1(case: Case) -> Iterator[Seen]:
    taken = [
        gpu
        for gpu in case.gpus
        if gpu.bar1_bytes is not None and gpu.memory_bytes is not None and gpu.bar1_bytes < gpu.memory_bytes
    ]
    if taken and len(case.gpus) > 1:
        least = min(gpu.bar1_bytes or 0 for gpu in taken)
        yield Seen(
            f"{cards(taken)} {does(taken, 'opens', 'open')} only {least / GIB:.2f} GiB of memory to the other GPUs (BAR1)"
        )


RULES: Final = (
    Rule(
        id="gpu.capability-mixed",
        severity="blocks",
        title="One model split over cards of different compute capability",
        look=_mixed_capability,
        hint="name cards of one kind under gpus.indices or gpus.uuids in the profile",
        source="https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#compute-capability",
        as_of=AS_OF,
        basis="inferred",
        explain="Engines choose kernels for the capability of one card and run them on all ranks, and a JIT cache is"
        " made for one capability. A set of, say, SM90 and SM120 cards starts to load and then fails in a "
        "rank, or is silently wrong.",
    ),
    Rule(
        id="gpu.memory-mixed",
        severity="warns",
        title="Cards of different memory in one deployment",
        look=_mixed_memory,
        hint="name cards of one kind under gpus.indices or gpus.uuids in the profile",
        source="https://github.com/sgl-project/sglang/issues/1533",
        as_of=AS_OF,
        basis="reported",
        explain="Tensor parallel ranks hold equal shares, so the smallest card sets the KV cache of all. SGLang goes"
        " further and refuses ('The memory capacity is unbalanced') where free memory differs by more than a"
        " tenth.",
    ),
    Rule(
        id="gpu.foreign-processes",
        severity="warns",
        title="Somebody else computes on these cards",
        look=_foreign,
        hint="nvidia-smi --query-compute-apps=pid,process_name,used_memory --format=csv; end what should not be there",
        source="vllm 0.33.0 gpu_worker.py (refuses with 'Free memory on device ... is less than desired')",
        as_of=AS_OF,
        basis="measured",
        explain="Both engines size their KV cache by what is free when they start; vLLM refuses where less is free "
        "than gpu-memory-utilization promises. A process that outlived a crash looks just the same, and may "
        "need a kill or a reset.",
    ),
    Rule(
        id="gpu.display",
        severity="warns",
        title="A card drives a display",
        look=_display,
        hint="connect the display to another card or to the board's own graphics",
        source=_NVIDIA_SMI,
        as_of=AS_OF,
        basis="inferred",
        explain="A desktop takes some hundred MiB of one card, which unbalances a tensor parallel set, and a driver "
        "that serves a display may interrupt long kernels.",
    ),
    Rule(
        id="gpu.mig",
        severity="blocks",
        title="MIG is on",
        look=_mig,
        hint="sudo nvidia-smi -mig 0",
        source="https://docs.nvidia.com/datacenter/tesla/mig-user-guide/index.html",
        as_of=AS_OF,
        basis="reported",
        explain="With MIG on, the whole card cannot be used: CUDA sees at most one instance of it, and instances of "
        "different cards have no peer access. launchpad seats deployments on whole cards.",
    ),
    Rule(
        id="gpu.compute-prohibited",
        severity="blocks",
        title="Compute mode PROHIBITED",
        look=_prohibited,
        hint="sudo nvidia-smi -c DEFAULT",
        source=_NVIDIA_SMI,
        as_of=AS_OF,
        basis="reported",
        explain="In this mode no context can be created on the card; every engine fails at its first CUDA call.",
    ),
    Rule(
        id="gpu.compute-exclusive",
        severity="warns",
        title="Compute mode EXCLUSIVE_PROCESS",
        look=_exclusive,
        hint="sudo nvidia-smi -c DEFAULT",
        source=_NVIDIA_SMI,
        as_of=AS_OF,
        basis="inferred",
        explain="Only one process may hold a context on the card. Engines run one process a card, but peer access "
        "through CUDA IPC, probes and monitoring open a second one, which then fails.",
    ),
    Rule(
        id="gpu.power-capped",
        severity="informs",
        title="A card runs below its default power limit",
        look=_capped,
        hint="wanted? then leave it. Otherwise: sudo nvidia-smi -pl <default>",
        source="https://github.com/vllm-project/recipes/issues/967",
        as_of=AS_OF,
        basis="reported",
        explain="Rigs in the wild run caps of 250-300 W on 600 W cards on purpose. A sweep on the Workstation card "
        "gave 64 % of compute at 350 W and 55 % at 300 W; decoding, bound by memory, loses far less. Compare"
        " your own figures at the same cap.",
    ),
    Rule(
        id="gpu.max-q",
        severity="informs",
        title="Max-Q edition: same name, half the watts",
        look=_max_q,
        hint="set power.budget_w to 300 W a card in the profile",
        source="NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition data sheet: 300 W",
        as_of=AS_OF,
        basis="reported",
        explain="Workstation and Server editions draw up to 600 W, Max-Q 300 W with the same memory bandwidth as the"
        " Workstation card (1,792 GB/s; the Server edition has 1,597). Expect about 15-20 % less under "
        "sustained load, more in prefill.",
    ),
    Rule(
        id="gpu.persistence",
        severity="warns",
        title="Persistence mode is off",
        look=_persistence,
        hint="sudo systemctl enable --now nvidia-persistenced   (or: sudo nvidia-smi -pm 1)",
        source="https://docs.nvidia.com/deploy/driver-persistence/index.html",
        as_of=AS_OF,
        basis="reported",
        explain="Without a client the driver tears the card down: power limits and modes set by nvidia-smi are lost,"
        " and the next start waits for the card to wake. Between a crash and a restart there is no client.",
    ),
    Rule(
        id="gpu.ecc-pending",
        severity="warns",
        title="A change of ECC waits for a reset",
        look=_ecc_pending,
        hint="reboot, or with the GPUs idle: sudo nvidia-smi --gpu-reset",
        source=_NVIDIA_SMI,
        as_of=AS_OF,
        basis="reported",
        explain="ECC changes memory size a little and, on some cards, its speed. A restart that happens to follow a "
        "reset would then find other figures than the profile was tuned for.",
    ),
    Rule(
        id="gpu.row-remap-failed",
        severity="blocks",
        title="Row remapping failed",
        look=_remap_failed,
        hint="nvidia-smi -q -d ROW_REMAPPER; take the card out of gpus in the profile and have it replaced",
        source=_MEMORY_ERRORS,
        as_of=AS_OF,
        basis="reported",
        explain="The card has no spare rows left for a broken one: NVIDIA's own threshold for returning it. Weights "
        "in such a row are wrong or the process is killed, at any time.",
    ),
    Rule(
        id="gpu.row-remap-pending",
        severity="warns",
        title="Row remapping waits for a reset",
        look=_remap_pending,
        hint="reboot, or with the GPUs idle: sudo nvidia-smi --gpu-reset",
        source=_MEMORY_ERRORS,
        as_of=AS_OF,
        basis="reported",
        explain="An uncorrectable error was found and its row will be swapped for a spare at the next reset. Until "
        "then it may strike again.",
    ),
    Rule(
        id="gpu.ecc-uncorrected",
        severity="warns",
        title="Uncorrected memory errors since the driver was loaded",
        look=_uncorrected,
        hint="nvidia-smi -q -d ECC,ROW_REMAPPER; dmesg | grep -i xid; reset the GPU before you trust it",
        source=_MEMORY_ERRORS,
        as_of=AS_OF,
        basis="reported",
        explain="Each kills the process that touched it (Xid 48, 94 or 95). One may be chance; several in one card "
        "are a card to replace.",
    ),
    Rule(
        id="gpu.bar1-small",
        severity="warns",
        title="BAR1 is smaller than the card's memory",
        look=_bar1,
        hint="turn on 'Above 4G decoding' and 'Resizable BAR' in the BIOS, then check: nvidia-smi -q -d MEMORY | "
        "grep -A3 BAR1",
        source=_NVIDIA_SMI,
        as_of=AS_OF,
        basis="inferred",
        explain="Peer-to-peer over PCIe maps one card's memory through its BAR1. Where the BIOS gave it 256 MiB, "
        "peer access is refused or slow, and NCCL goes through host memory.",
    ),
)
