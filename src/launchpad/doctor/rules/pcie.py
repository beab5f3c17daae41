"""Hazards of the paths between the cards: links, switches, IOMMU, peer access, and what NCCL makes of them.

Whether peer-to-peer hangs cannot be read anywhere: the driver may promise it and a collective hang all the same. These rules name
what makes it likely; ``doctor --deep`` tries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.lookup import (
    AS_OF,
    cards,
    does,
    engine,
    flag,
    name,
    official_checkpoint,
    pcie_only,
    tensor,
    truth,
    v4,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launchpad.doctor.case import Case

_HANGS: Final = "https://github.com/NVIDIA/nccl/issues/1999"
#: Shipped profiles of DeepSeek V4 Flash whose copies have half the cards: engine and tensor parallel size -> profile.
_HALVES: Final[Mapping[tuple[str, int], str]] = {
    ("sglang", 4): "v4-flash-sglang-tp2",
    ("sglang", 8): "v4-flash-sglang-tp4-dp2",
    ("vllm", 4): "v4-flash-vllm-tp2",
    ("vllm", 8): "v4-flash-vllm-tp4",
}
_GATING: Final = "https://github.com/vllm-project/vllm/issues/51513"


def _width(case: Case) -> Iterator[Seen]:
    taken = [
        gpu
        for gpu in case.gpus
        if gpu.pcie_width_now is not None and gpu.pcie_width_max is not None and gpu.pcie_width_now < gpu.pcie_width_max
    ]
    if taken:
        how = sorted({f"x{gpu.pcie_width_now} of x{gpu.pcie_width_max}" for gpu in taken})
        yield Seen(f"{cards(taken)} {does(taken, 'runs', 'run')} on {' and '.join(how)} PCIe lanes")


def _slot(case: Case) -> Iterator[Seen]:
    taken = [
        gpu
        for gpu in case.gpus
        if gpu.pcie_gen_max is not None and gpu.pcie_gpu_gen_max is not None and gpu.pcie_gen_max < gpu.pcie_gpu_gen_max
    ]
    if taken:
        how = sorted({f"generation {gpu.pcie_gen_max}, the card does {gpu.pcie_gpu_gen_max}" for gpu in taken})
        yield Seen(f"the slot of {cards(taken)} is limited to PCIe {' and '.join(how)}")


def _replays(case: Case) -> Iterator[Seen]:
    taken = [gpu for gpu in case.gpus if gpu.pcie_replays]
    if taken:
        yield Seen(
            f"{cards(taken)} had to repeat PCIe transfers",
            evidence="; ".join(f"GPU {gpu.index}: {gpu.pcie_replays}" for gpu in taken),
        )


def _no_nvlink(case: Case) -> Iterator[Seen]:
    size = tensor(case)
    if case.spec is not None and pcie_only(case) and size >= 4:
        yield Seen(
            f"{name(case)} splits every layer over {size} GPUs that have no NVLink: each token waits for PCIe",
            hint=_fewer(case, size),
            severity="warns" if size >= 8 else "informs",
        )


def _fewer(case: Case, size: int) -> str:
    """What to measure against it: two copies over half the cards each, by a shipped profile of that engine where there is one."""
    half = size // 2
    measure = f"measure two replicas of TP={half} against one of TP={size}"
    shipped = _HALVES.get((engine(case) or "", size)) if v4(case) else None
    if shipped is None:
        return f"{measure}, if the model fits {half} cards (gpus.count and parallel.tensor)"
    others = ", which names the Preview weights" if official_checkpoint(case) else ""
    return f"{measure}: launchpad plan {shipped}{others}"


def _p2p_off(case: Case) -> bool:
    return truth(case.env.get("NCCL_P2P_DISABLE")) is True


def _acs(case: Case) -> Iterator[Seen]:
    bridges = case.facts.acs_redirect
    if bridges and pcie_only(case) and not _p2p_off(case):
        yield Seen(
            f"{len(bridges)} PCIe {'bridge sends' if len(bridges) == 1 else 'bridges send'} GPU traffic up to the root (ACS)",
            evidence=", ".join(bridges[:8]),
        )


def _iommu(case: Case) -> Iterator[Seen]:
    if case.facts.iommu == "translated" and pcie_only(case) and not _p2p_off(case):
        yield Seen(f"the IOMMU translates PCIe addresses: NCCL between the GPUs of {name(case)} may hang or be wrong")


def _no_peer_access(case: Case) -> Iterator[Seen]:
    indices = {gpu.index for gpu in case.gpus}
    pairs = [
        f"{link.a}-{link.b}"
        for link in case.facts.links or ()
        if link.p2p_read is False and link.a in indices and link.b in indices
    ]
    if pairs and not _p2p_off(case):
        yield Seen(
            f"{len(pairs)} {'pair' if len(pairs) == 1 else 'pairs'} of GPUs cannot read each other's memory; "
            "NCCL goes through host memory there",
            evidence=", ".join(pairs[:16]),
        )


def _sockets(case: Case) -> Iterator[Seen]:
    nodes = sorted({gpu.numa_node for gpu in case.gpus if gpu.numa_node is not None and gpu.numa_node >= 0})
    if case.spec is not None and len(nodes) > 1 and pcie_only(case) and tensor(case) > 1:
        yield Seen(
            f"the GPUs of {name(case)} hang on {len(nodes)} CPU sockets; every all-reduce crosses between them",
            evidence="; ".join(f"GPU {gpu.index}: node {gpu.numa_node}" for gpu in case.gpus),
        )


def _custom_all_reduce(case: Case) -> bool:
    return (
        case.spec is not None
        and pcie_only(case)
        and tensor(case) == 2
        and engine(case) in {"vllm", "sglang"}
        and flag(case, "disable-custom-all-reduce") is None
    )


def _custom_at_two(case: Case) -> Iterator[Seen]:
    if _custom_all_reduce(case) and not _p2p_off(case):
        yield Seen(
            f"{name(case)} uses the engine's own all-reduce between two GPUs over PCIe, which hangs on some boards",
            severity="informs" if engine(case) == "sglang" else None,
        )


def _custom_without_p2p(case: Case) -> Iterator[Seen]:
    if _custom_all_reduce(case) and _p2p_off(case):
        yield Seen(f"{name(case)} turns peer-to-peer off for NCCL, and the engine's own all-reduce still uses it")


RULES: Final = (
    Rule(
        id="pcie.width",
        severity="warns",
        title="A card runs on fewer lanes than it has",
        look=_width,
        hint="reseat the card; check bifurcation and the slot's wiring in the board's manual: nvidia-smi -q -d "
        "PERFORMANCE,POWER",
        source="https://docs.nvidia.com/deploy/nvml-api/ (nvmlDeviceGetCurrPcieLinkWidth)",
        as_of=AS_OF,
        basis="inferred",
        explain="Generation drops while a card idles, width does not: fewer lanes than the card has means a slot "
        "wired x8, a riser, bifurcation, or dirt. Half the lanes is half of every all-reduce and twice the "
        "time to load the weights.",
    ),
    Rule(
        id="pcie.slot-generation",
        severity="warns",
        title="The slot is slower than the card",
        look=_slot,
        hint="set the slot to Gen5 or Auto in the BIOS; a riser or retimer of an older generation must go",
        source="https://docs.nvidia.com/deploy/nvml-api/ (nvmlDeviceGetGpuMaxPcieLinkGeneration)",
        as_of=AS_OF,
        basis="inferred",
        explain="Compared is what slot and card can do together with what the card can do alone, both valid at rest."
        " What the link runs at now says nothing on an idle card.",
    ),
    Rule(
        id="pcie.replays",
        severity="informs",
        title="PCIe transfers were repeated",
        look=_replays,
        hint="nvidia-smi -q | grep -iA2 replay, an hour apart: a number that grows is a riser, cable or slot at fault",
        source="https://docs.nvidia.com/deploy/nvml-api/ (nvmlDeviceGetPcieReplayCounter)",
        as_of=AS_OF,
        basis="inferred",
        explain="A handful since boot is normal. Growth under load costs bandwidth, and precedes Xid 79.",
    ),
    Rule(
        id="pcie.no-nvlink",
        severity="informs",
        title="High tensor parallelism without NVLink",
        look=_no_nvlink,
        hint="measure two replicas over half the cards each against one over all: launchpad plan v4-flash-sglang-tp2, or "
        "v4-flash-vllm-tp2",
        source="https://github.com/local-inference-lab/rtx6kpro (models/ds4dspark-v10.md)",
        as_of=AS_OF,
        basis="reported",
        explain="RTX PRO 6000 has no NVLink. PCIe 5.0 x16 carries 63 GB/s each way (56 measured, 39 through NCCL) "
        "against 450 of NVLink 4. At TP=4 the all-reduce of every layer shows in each token; at TP=8 others "
        "saw a third of an 8x H100's throughput. Published: TP=2 128-144 tok/s for a single stream, TP=4 "
        "155-178, on one patched build.",
    ),
    Rule(
        id="p2p.acs",
        severity="warns",
        title="ACS sends peer-to-peer traffic up to the root complex",
        look=_acs,
        hint="turn ACS off in the BIOS, or set NCCL_P2P_DISABLE = 1 under env in the profile; launchpad doctor "
        "--deep tries it",
        source="https://github.com/NVIDIA/nccl/issues/2079",
        as_of=AS_OF,
        basis="reported",
        explain="With ACS redirection every transfer between two cards climbs to the root complex, where an IOMMU "
        "that translates makes NCCL hang at its first collective, often with GPUs at 100 % and low power "
        "that need a reset. Virtual machines need ACS; a serving rig does not.",
    ),
    Rule(
        id="p2p.iommu",
        severity="warns",
        title="The IOMMU translates between the cards",
        look=_iommu,
        hint="add iommu=pt to the kernel's command line and reboot, or set NCCL_P2P_DISABLE = 1 under env in the "
        "profile",
        source=_HANGS,
        as_of=AS_OF,
        basis="reported",
        explain="Reported on many boards: a bare all-reduce hangs at two ranks, with no error and no Xid. The driver"
        " says that peer access is fine all the same. iommu=pt (passthrough) or off mends it; "
        "NCCL_P2P_DISABLE=1 goes through host memory instead.",
    ),
    Rule(
        id="p2p.no-access",
        severity="informs",
        title="No peer access between some cards",
        look=_no_peer_access,
        hint="nvidia-smi topo -p2p r; set NCCL_P2P_DISABLE = 1 under env in the profile to say what happens anyway",
        source="https://docs.nvidia.com/deploy/nvml-api/ (nvmlDeviceGetP2PStatus)",
        as_of=AS_OF,
        basis="inferred",
        explain="The chipset, the driver or a setting refuses it. Slower, and safe.",
    ),
    Rule(
        id="p2p.sockets",
        severity="informs",
        title="One model over two CPU sockets",
        look=_sockets,
        hint="name cards of one socket under gpus.indices (nvidia-smi topo -m shows NODE, not SYS, between them)",
        source=_HANGS,
        as_of=AS_OF,
        basis="inferred",
        explain="Traffic between sockets crosses UPI or xGMI, which is slower than a PCIe switch and shared with "
        "memory.",
    ),
    Rule(
        id="p2p.custom-all-reduce",
        severity="warns",
        title="The engine's own all-reduce between two PCIe cards",
        look=_custom_at_two,
        hint="set serving.custom_all_reduce = false in the profile if the start hangs",
        source=_GATING,
        as_of=AS_OF,
        basis="reported",
        versions="vLLM and SGLang, tensor parallel 2",
        explain="Both engines disable their own all-reduce on more than two PCIe-only cards by themselves; at "
        "exactly two it stays on, trusts the driver's word about peer access, and hangs where that is wrong."
        " SGLang's verified TP=2 cell leaves it on, so there it only informs.",
    ),
    Rule(
        id="p2p.half-disabled",
        severity="warns",
        title="NCCL peer-to-peer off, custom all-reduce on",
        look=_custom_without_p2p,
        hint="set serving.custom_all_reduce = false in the profile",
        source=_GATING,
        as_of=AS_OF,
        basis="reported",
        versions="vLLM and SGLang, tensor parallel 2",
        explain="On a board where peer-to-peer hangs, NCCL_P2P_DISABLE=1 alone moves the hang from NCCL's start to "
        "FlashInfer's autotuning: the engine's own all-reduce does not read that variable.",
    ),
)
