"""Figures in, findings out. Pure: every threshold stands here with its source, every figure in the evidence with its unit.

Bandwidths are 10^9 bytes a second, as data sheets have them. A finding blocks only where nothing could come up: GPU
containers that do not start, an all-reduce that hangs or sums wrongly, weights that cannot be read, more watts than the breaker
carries.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from launchpad.doctor.finding import Finding, Severity
from launchpad.units import show_bytes, show_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from launchpad.doctor.deep.plan import ActiveCheck, Subject
    from launchpad.doctor.deep.run import Outcome
    from launchpad.rig.facts import Gpu, GpuSample

AS_OF: Final = "2026-11-23"
GB: Final = 1e9
TOOLKIT: Final = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
NCCL_P2P: Final = (
    "https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/troubleshooting.html (PCI Access Control Services)"
)
BUS_BANDWIDTH: Final = "https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md"
NEC: Final = "NEC 210.20(A): 80 % of a circuit for loads of three hours and more"

#: Bytes a second that one PCIe lane carries one way, by generation: 8, 16, 32 GT/s with 128b/130b, 64 GT/s in 242 of 256 bytes.
LANE: Final[Mapping[int, float]] = {
    3: 8e9 / 8 * 128 / 130,
    4: 16e9 / 8 * 128 / 130,
    5: 32e9 / 8 * 128 / 130,
    6: 7.563e9,
}
PCIE_SOURCE: Final = "PCI Express Base Specification (line rate and encoding by generation)"
#: Pinned copies reach 80 to 90 % of the line rate (packet headers take the rest); below this share something is in the way.
PCIE_SHARE: Final = 0.6
#: Share of the slot's line rate that an all-reduce without NVLink reaches at 64 MiB. Staged through host memory, two H200 in
#: gen 5 x16 slots still reached 43 % (27.0 GB/s with NCCL_P2P_DISABLE=1, measured 2026-11-23): below a quarter, more is wrong.
ALL_REDUCE_PCIE_SHARE: Final = 0.25
#: A copy inside an H200 moved 4.3 of its 4.8 TB/s here (90 %, measured 2026-11); three quarters leave room for other cards' ways.
MEMORY_SHARE: Final = 0.75
#: A card this far behind the fastest of its kind holds up tensor parallel ranks, which wait for each other in every layer.
STRAGGLER: Final = 0.9
#: Below this share of its limit a card was not at full tilt, and the measured sum is no worst case.
FULL_TILT: Final = 0.8
CONTINUOUS: Final = 0.8
#: Seconds after the load's begin that power takes to settle.
SETTLE_S: Final = 2.0
FULL_LOAD_PERCENT: Final = 99

_P2P_HINT: Final = (
    "try NCCL_P2P_DISABLE=1 launchpad doctor --deep --deep-only all-reduce; if that passes, turn off ACS redirection and the "
    "IOMMU (iommu=pt or amd_iommu=off on the kernel's command line), or keep env.NCCL_P2P_DISABLE in the profile"
)
_ALREADY_HINT: Final = (
    "peer-to-peer was off already: look for the driver's own word, dmesg | grep -i xid; then nvidia-smi -q"
)

#: A word of the GPU's name (the first that fits) -> its memory's bytes a second, and the data sheet that says so.
DATA_SHEETS: Final[tuple[tuple[str, float, str], ...]] = (
    ("GB300", 8.0e12, "https://www.nvidia.com/en-us/data-center/gb300-nvl72/"),
    ("B300", 8.0e12, "https://www.nvidia.com/en-us/data-center/dgx-b300/"),
    ("GB200", 8.0e12, "https://www.nvidia.com/en-us/data-center/gb200-nvl72/"),
    ("B200", 8.0e12, "https://www.nvidia.com/en-us/data-center/dgx-b200/"),
    ("H200", 4.8e12, "https://www.nvidia.com/en-us/data-center/h200/"),
    ("H100 NVL", 3.9e12, "https://www.nvidia.com/en-us/data-center/h100/"),
    ("H100 80GB HBM3", 3.35e12, "https://www.nvidia.com/en-us/data-center/h100/"),
    ("H100 PCIe", 2.0e12, "https://www.nvidia.com/en-us/data-center/h100/"),
    ("A100-SXM4-80GB", 2.039e12, "https://www.nvidia.com/en-us/data-center/a100/"),
    ("A100 80GB PCIe", 1.935e12, "https://www.nvidia.com/en-us/data-center/a100/"),
    (
        "RTX PRO 6000 Blackwell Server",
        1.597e12,
        "https://www.nvidia.com/en-us/data-center/rtx-pro-6000-blackwell-server-edition/",
    ),
    (
        "RTX PRO 6000 Blackwell",
        1.792e12,
        "https://www.nvidia.com/en-us/products/workstations/professional-desktop-gpus/",
    ),
)


def finding(
    name: str,
    severity: Severity,
    message: str,
    evidence: str | None,
    *,
    hint: str | None = None,
    source: str | None = None,
) -> Finding:
    """A finding of an active check: blocking ones are hazards, with exit code 4."""
    return Finding(name, severity, message, hint, source, AS_OF if source else None, evidence, severity == "blocks")


def judge_gpu_container(check: ActiveCheck, subject: Subject, outcome: Outcome) -> tuple[Finding, ...]:
    """Whether a container starts with the chosen GPUs and computes on each."""
    image = subject.image.reference if subject.image else "the image"
    if outcome.refusal is not None:
        hint = outcome.refusal.hint or "nvidia-ctk --version; docker info | grep -i runtimes"
        return (
            finding(
                check.id,
                "blocks",
                f"no GPU container starts: {outcome.refusal.message}",
                None,
                hint=hint,
                source=TOOLKIT,
            ),
        )
    if why := trouble(check, outcome):
        message = f"a container of {image} starts, but cannot compute on {subject.gpu_words}: {why}"
        hint = "nvidia-smi on the host; then compare the driver with the CUDA version of the image"
        return (finding(check.id, "blocks", message, _noise(outcome), hint=hint, source=TOOLKIT),)
    seen: list[str] = list(outcome.answer.get("gpus", ()))
    told = f"{outcome.answer.get('via')} sees {len(seen)}: {', '.join(seen)}; {outcome.seconds:.1f} s"
    if len(seen) != len(subject.gpus):
        message = f"a container of {image} sees {len(seen)} of the {len(subject.gpus)} GPUs it was given"
        return (finding(check.id, "blocks", message, told, hint="docker info | grep -i -A3 runtimes", source=TOOLKIT),)
    return (finding(check.id, "informs", f"a container of {image} starts and computes on {subject.gpu_words}", told),)


def judge_all_reduce(
    check: ActiveCheck, subject: Subject, outcome: Outcome, after: Sequence[GpuSample] = ()
) -> tuple[Finding, ...]:
    """Whether the GPUs can sum together, rightly and in time, and how fast; ``after`` are samples from after a hang."""
    rounds = [line for line in outcome.lines if "bus_bytes_per_s" in line]
    evidence = "; ".join(map(_round, rounds)) or None
    if outcome.how == "hung" or (outcome.error or "").startswith("TimeoutError"):
        return _hang(check, subject, outcome, after)
    if wrong := sorted({int(line["wrong"]) for line in outcome.lines if "wrong" in line}):
        sizes = ", ".join(map(show_bytes, wrong))
        message = f"all-reduce over {subject.gpu_words} sums wrongly at {sizes}: peers read stale memory"
        return (finding(check.id, "blocks", message, evidence, hint=_P2P_HINT, source=NCCL_P2P),)
    if why := trouble(check, outcome):
        severity: Severity = "warns" if _has_no_tools(outcome) else "blocks"
        message = f"all-reduce over {subject.gpu_words} fails: {why}"
        return (finding(check.id, severity, message, _noise(outcome), hint=_P2P_HINT, source=NCCL_P2P),)
    largest = max(rounds, key=lambda line: float(line["bytes"]), default=None)
    if largest is None:
        return (finding(check.id, "warns", f"all-reduce over {subject.gpu_words} reported no figure", _noise(outcome)),)
    return (_reduced(check, subject, float(largest["bus_bytes_per_s"]), int(largest["bytes"]), evidence),)


def _reduced(check: ActiveCheck, subject: Subject, bus: float, size: int, evidence: str | None) -> Finding:
    at = f"{bus / GB:.1f} GB/s bus bandwidth at {show_bytes(size)}"
    line = slot_line_rate(subject.gpus)
    joined = _all_nvlink(subject) and not _p2p_disabled(subject)
    if _p2p_disabled(subject):
        at += " with NCCL_P2P_DISABLE set"
    floor = None if line is None else line if joined else ALL_REDUCE_PCIE_SHARE * line
    if floor is not None and bus < floor:
        than = (
            "the PCIe slot's line rate, although NVLink joins them"
            if joined
            else f"{ALL_REDUCE_PCIE_SHARE:.0%} of the slot's line rate"
        )
        message = f"all-reduce over {subject.gpu_words} is slow: {at}, below {than} ({floor / GB:.1f} GB/s)"
        source = f"{BUS_BANDWIDTH}; {PCIE_SOURCE}"
        return finding(
            check.id, "warns", message, evidence, hint="nvidia-smi topo -m; nvidia-smi topo -p2p r", source=source
        )
    return finding(check.id, "informs", f"all-reduce over {subject.gpu_words}: {at}", evidence, source=BUS_BANDWIDTH)


def _hang(check: ActiveCheck, subject: Subject, outcome: Outcome, after: Sequence[GpuSample]) -> tuple[Finding, ...]:
    message = f"all-reduce over {subject.gpu_words} hung and was killed after {outcome.seconds:.0f} s"
    rounds = [line for line in outcome.lines if "bus_bytes_per_s" in line]
    joined = any(line.get("stage") == "joined" for line in outcome.lines)
    where = (
        f"after {_round(rounds[-1])}"
        if rounds
        else "at the first size"
        if joined
        else "before the ranks found each other"
    )
    hint = _ALREADY_HINT if _p2p_disabled(subject) else _P2P_HINT
    known = [item for item in after if item.utilization_percent is not None]
    busy = ", ".join(f"GPU {item.index} {item.utilization_percent} %" for item in known) or "unknown"
    evidence = f"it hung {where}; busy afterwards by NVML: {busy}"
    found = [finding(check.id, "blocks", message, evidence, hint=hint, source=NCCL_P2P)]
    if stuck := stuck_gpus(after):
        message = f"GPU {', '.join(map(str, stuck))} stays at 100 % although no process is on it: the hang wedged it"
        hint = "reboot (or nvidia-smi --gpu-reset -i INDEX where nothing else uses the card)"
        found.append(
            finding(
                f"{check.id}.wedged",
                "blocks",
                message,
                "NVML: utilisation 100 %, no process",
                hint=hint,
                source=NCCL_P2P,
            )
        )
    return tuple(found)


def stuck_gpus(samples: Iterable[GpuSample]) -> tuple[int, ...]:
    """Indices of GPUs that are fully busy with nobody on them."""
    return tuple(
        sorted(
            item.index
            for item in samples
            if (item.utilization_percent or 0) >= FULL_LOAD_PERCENT
            and item.processes is not None
            and not item.processes
        )
    )


def judge_gpu_memory(check: ActiveCheck, subject: Subject, outcome: Outcome) -> tuple[Finding, ...]:
    """Each GPU's memory bandwidth against its data sheet and against the fastest of its kind here."""
    if why := trouble(check, outcome):
        return (_unmeasured(check, "memory bandwidth", why, outcome),)
    figures = dict(zip(subject.gpus, map(float, outcome.answer.get("bytes_per_s", ())), strict=False))
    evidence = "; ".join(f"GPU {gpu.index}: {rate / GB:,.0f} GB/s read + written" for gpu, rate in figures.items())
    slow = []
    for gpu, rate in figures.items():
        best = max(other for card, other in figures.items() if card.name == gpu.name)
        sheet = data_sheet(gpu.name)
        if sheet is not None and rate < MEMORY_SHARE * sheet[0]:
            slow.append((f"GPU {gpu.index} reaches {rate / sheet[0]:.0%} of its {sheet[0] / GB:,.0f} GB/s", sheet[1]))
        elif rate < STRAGGLER * best:
            slow.append(
                (
                    f"GPU {gpu.index} reaches {rate / best:.0%} of the fastest of its kind here",
                    "compared with its neighbours",
                )
            )
    if slow:
        message = f"memory is slow: {'; '.join(words for words, _ in slow)} ({MEMORY_SHARE:.0%} are expected of a copy)"
        hint = "nvidia-smi -q -d CLOCK,PERFORMANCE,ECC,ROW_REMAPPER"
        return (finding(check.id, "warns", message, evidence, hint=hint, source=slow[0][1]),)
    known = [sheet for gpu in figures if (sheet := data_sheet(gpu.name)) is not None]
    against = (
        f"{min(rate for rate in figures.values()) / known[0][0]:.0%} of the data sheet"
        if known
        else "no data sheet known to compare"
    )
    lowest = f"{min(figures.values()) / GB:,.0f} GB/s" if figures else "no figure"
    return (
        finding(
            check.id,
            "informs",
            f"GPU memory: {lowest} at least, {against}",
            evidence,
            source=known[0][1] if known else None,
        ),
    )


def judge_pcie(
    check: ActiveCheck, subject: Subject, outcome: Outcome, under_load: Mapping[str, tuple[int | None, int | None]]
) -> tuple[Finding, ...]:
    """Each GPU's copies against its link; ``under_load`` is uuid -> (generation, width) seen while copying."""
    if why := trouble(check, outcome):
        return (_unmeasured(check, "PCIe bandwidth", why, outcome),)
    told, slow = [], []
    for gpu, figures in zip(subject.gpus, outcome.answer.get("gpus", ()), strict=False):
        gen, width = under_load.get(gpu.uuid, (None, None))
        to_gpu, to_host = float(figures["to_gpu"]), float(figures["to_host"])
        at_most = f"of gen {gpu.pcie_gen_max or '?'} x{gpu.pcie_width_max or '?'}"
        told.append(
            f"GPU {gpu.index}: {to_gpu / GB:.1f} GB/s to it, {to_host / GB:.1f} GB/s from it, "
            f"gen {gen or '?'} x{width or '?'} under load {at_most}"
        )
        if (gen and gpu.pcie_gen_max and gen < gpu.pcie_gen_max) or (
            width and gpu.pcie_width_max and width < gpu.pcie_width_max
        ):
            slow.append(f"GPU {gpu.index} runs at gen {gen} x{width} under load {at_most}")
        line = line_rate(gen or gpu.pcie_gen_max, width or gpu.pcie_width_max)
        if line is not None and min(to_gpu, to_host) < PCIE_SHARE * line:
            slow.append(
                f"GPU {gpu.index} copies at {min(to_gpu, to_host) / line:.0%} of its link's {line / GB:.1f} GB/s"
            )
    evidence = "; ".join(told)
    if slow:
        hint = (
            "sudo lspci -vv -s BUS_ID | grep -E 'LnkCap|LnkSta'; look at slot, riser, cable and the BIOS's bifurcation"
        )
        return (
            finding(check.id, "warns", f"PCIe is slow: {'; '.join(slow)}", evidence, hint=hint, source=PCIE_SOURCE),
        )
    rates = [min(float(figures["to_gpu"]), float(figures["to_host"])) for figures in outcome.answer.get("gpus", ())]
    lowest = f"{min(rates) / GB:.1f} GB/s" if rates else "no figure"
    return (
        finding(
            check.id,
            "informs",
            f"PCIe: {lowest} at least between pinned memory and each GPU",
            evidence,
            source=PCIE_SOURCE,
        ),
    )


def judge_disk(check: ActiveCheck, subject: Subject, said: Mapping[str, Any] | None) -> tuple[Finding, ...]:
    """How long the weights take to read, against the profile's own deadline for coming up."""
    if said is None:
        message = f"{subject.model_path} did not answer within {check.deadline_s:.0f} s: its disk hangs"
        return (finding(check.id, "blocks", message, None, hint=f"dmesg | tail; findmnt -T {subject.model_path}"),)
    read, seconds = int(said["bytes"]), float(said["seconds"])
    if said["error"]:
        return (
            finding(
                check.id,
                "blocks",
                f"cannot read the weights: {said['error']}",
                None,
                hint=f"ls -lL {subject.model_path}",
            ),
        )
    if not read or seconds <= 0:
        return (
            finding(
                check.id, "warns", f"nothing of {subject.model_path} could be read within {check.takes_s:.0f} s", None
            ),
        )
    speed = read / seconds
    whole = timedelta(seconds=subject.total_bytes / speed)
    way = (
        "past the page cache"
        if said["direct"]
        else "the file system allows no O_DIRECT, so some may have come from memory"
    )
    evidence = f"{show_bytes(read)} in {seconds:.1f} s: {speed / GB:.2f} GB/s, {way}"
    weights = show_bytes(subject.total_bytes)
    message = f"reading all {weights} of weights takes {show_duration(whole)} at the disk's {speed / GB:.2f} GB/s"
    if subject.startup_s is not None and whole.total_seconds() > subject.startup_s:
        promised = show_duration(timedelta(seconds=subject.startup_s))
        hint = "raise deadlines.startup in the profile, or move the weights to a faster disk"
        return (
            finding(
                check.id,
                "warns",
                f"{message}, longer than deadlines.startup ({promised})",
                evidence,
                hint=hint,
                source="deadlines.startup of the profile",
            ),
        )
    return (finding(check.id, "informs", message, evidence),)


def judge_power(
    check: ActiveCheck, subject: Subject, outcome: Outcome, samples: Sequence[GpuSample]
) -> tuple[Finding, ...]:
    """The GPUs' power at full tilt, together, against the profile's budget and the rig's circuit."""
    if why := trouble(check, outcome):
        return (_unmeasured(check, "power at full tilt", why, outcome),)
    began, ended = float(outcome.answer["began"]) + SETTLE_S, float(outcome.answer["ended"])
    rounds: dict[float, dict[str, float]] = {}
    for item in samples:
        if item.power_w is not None and began <= item.at.timestamp() <= ended:
            rounds.setdefault(item.at.timestamp(), {})[item.uuid] = item.power_w
    uuids = {gpu.uuid for gpu in subject.gpus}
    whole = [
        {key: watts for key, watts in found.items() if key in uuids}
        for found in rounds.values()
        if uuids <= found.keys()
    ]
    if not whole:
        return (finding(check.id, "warns", f"{subject.gpu_words} were loaded, but NVML told no power meanwhile", None),)
    sums = [sum(found.values()) for found in whole]
    mean, peak = sum(sums) / len(sums), max(sums)
    each = {gpu: sum(found[gpu.uuid] for found in whole) / len(whole) for gpu in subject.gpus}
    cards = "; ".join(f"GPU {gpu.index}: {watts:.0f} W of {_watts(gpu.power_limit_w)}" for gpu, watts in each.items())
    hottest = max((item.temperature_c for item in samples if item.temperature_c is not None), default=None)
    heat = f", at most {hottest} °C" if hottest is not None else ""
    rate = float(outcome.answer.get("flop_per_s", 0)) / 1e12
    evidence = f"{cards}; {len(whole)} samples over {ended - began:.0f} s{heat}; {rate:,.0f} TFLOP/s a GPU (bf16)"
    return (*_against(check, subject, mean, peak, evidence), *_not_full(check, each, evidence))


def _against(check: ActiveCheck, subject: Subject, mean: float, peak: float, evidence: str) -> list[Finding]:
    draws = f"{subject.gpu_words} draw {mean:.0f} W together at full tilt (peak {peak:.0f} W)"
    found = []
    circuit, budget = subject.circuit_w, subject.power_budget_w
    lower = "sudo nvidia-smi -pl WATTS, or fewer cards (launchpad changes no limit)"
    if circuit is not None and mean > CONTINUOUS * circuit:
        over: Severity = "blocks" if mean > circuit else "warns"
        message = f"{draws}; the circuit of {circuit} W carries {CONTINUOUS * circuit:.0f} W for hours"
        found.append(finding(check.id, over, message, evidence, hint=lower, source=NEC))
    if budget is not None and mean > budget:
        message = f"{draws}, more than power.budget_w of the profile ({budget} W)"
        found.append(finding(check.id, "warns", message, evidence, hint=lower, source="power.budget_w of the profile"))
    if not found:
        left = [
            f"budget {budget} W" if budget is not None else "no power.budget_w",
            f"circuit {circuit} W" if circuit is not None else "circuit unknown",
        ]
        found.append(finding(check.id, "informs", f"{draws}; {', '.join(left)}", evidence))
    return found


def _not_full(check: ActiveCheck, each: Mapping[Gpu, float], evidence: str) -> list[Finding]:
    idle = [
        gpu for gpu, watts in each.items() if gpu.power_limit_w is not None and watts < FULL_TILT * gpu.power_limit_w
    ]
    if not idle:
        return []
    which = ", ".join(str(gpu.index) for gpu in idle)
    message = f"GPU {which} stayed below {FULL_TILT:.0%} of the power limit: the sum is no worst case"
    hint = "nvidia-smi -q -d PERFORMANCE says what holds the clocks down"
    return [finding(f"{check.id}.not-full", "informs", message, evidence, hint=hint)]


def trouble(check: ActiveCheck, outcome: Outcome) -> str | None:
    """In words why a container gave no answer, or None where it did."""
    match outcome.how:
        case "refused":
            return outcome.refusal.message if outcome.refusal else "it did not start"
        case "hung":
            return f"it hung and was killed after {check.deadline_s:.0f} s"
        case "silent":
            return f"it ended without an answer (exit code {outcome.exit_code})"
    return outcome.error or (None if outcome.answer else "it ended before it was done")


def data_sheet(name: str) -> tuple[float, str] | None:
    """Bytes a second of that GPU's memory by its data sheet, and which; None where it is not known here."""
    return next(((rate, source) for word, rate, source in DATA_SHEETS if word in name), None)


def line_rate(gen: int | None, width: int | None) -> float | None:
    """Bytes a second that a PCIe link carries one way."""
    return None if gen is None or gen not in LANE or not width else LANE[gen] * width


def slot_line_rate(gpus: Sequence[Gpu]) -> float | None:
    """The slowest slot's line rate; None where one is unknown."""
    rates = [line_rate(gpu.pcie_gen_max, gpu.pcie_width_max) for gpu in gpus]
    known = [rate for rate in rates if rate is not None]
    return min(known) if known and len(known) == len(rates) else None


def _p2p_disabled(subject: Subject) -> bool:
    return dict(subject.env).get("NCCL_P2P_DISABLE", "0") != "0"


def _all_nvlink(subject: Subject) -> bool:
    indices = {gpu.index for gpu in subject.gpus}
    between = [link for link in subject.links or () if {link.a, link.b} <= indices]
    return bool(between) and all(link.topology == "nvlink" for link in between)


def _has_no_tools(outcome: Outcome) -> bool:
    """Whether the image cannot be asked this way at all: no python3, no torch."""
    said = outcome.error or (outcome.refusal.message if outcome.refusal else "")
    return said.startswith("ModuleNotFoundError") or "no program python3" in said


def _unmeasured(check: ActiveCheck, what: str, why: str, outcome: Outcome) -> Finding:
    hint = "name another image: --image REFERENCE (it needs python3 and torch)" if _has_no_tools(outcome) else None
    return finding(check.id, "warns", f"{what} could not be measured: {why}", _noise(outcome), hint=hint)


def _noise(outcome: Outcome) -> str | None:
    return " | ".join(outcome.noise)[:600] or None


def _round(line: Mapping[str, Any]) -> str:
    bus = float(line["bus_bytes_per_s"]) / GB
    return f"{show_bytes(int(line['bytes']))}: {float(line['seconds']) * 1e6:,.0f} µs, {bus:.2f} GB/s"


def _watts(watts: float | None) -> str:
    return "an unknown limit" if watts is None else f"{watts:.0f} W"
