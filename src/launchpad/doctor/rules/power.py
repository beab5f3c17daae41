"""Hazards of feeding the rig: circuits, budgets and limits. Watts of the GPUs are facts; what the rest draws is not known here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.lookup import AS_OF, cards, ids, name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.doctor.case import Case

#: NEC 210.20(A): a load of three hours or more may take 80 % of a circuit.
CONTINUOUS: Final = 0.8
#: What a four-card rig draws beside its GPUs under load, by the same article that says 2,400 W for them.
PLATFORM_W: Final = 600
#: What a 15 A and a 20 A circuit at 120 V carry for hours, in watts.
CIRCUIT_15A_120V: Final = 1440
CIRCUIT_20A_120V: Final = 1920


def _total(case: Case) -> float | None:
    """The power limits of all GPUs of the rig together; None where one is unknown or there are none."""
    limits = [gpu.power_limit_w for gpu in case.facts.gpus or ()]
    known = [limit for limit in limits if limit is not None]
    return sum(known) if known and len(known) == len(limits) else None


def _circuit(case: Case) -> Iterator[Seen]:
    total, circuit = _total(case), case.facts.circuit_w
    if total is None or circuit is None:
        return
    lasting = CONTINUOUS * circuit
    if total > lasting:
        yield Seen(
            f"the GPUs of this rig may draw {total:.0f} W; its circuit of {circuit} W carries {lasting:.0f} W for hours",
            severity="blocks" if total > circuit else "warns",
        )
    elif total + PLATFORM_W > lasting:
        yield Seen(
            f"the GPUs of this rig may draw {total:.0f} W and leave {lasting - total:.0f} W of its circuit for everything else",
            severity="informs",
        )


def _household(case: Case) -> Iterator[Seen]:
    total = _total(case)
    plugged = all("RTX" in gpu.name and "Server" not in gpu.name for gpu in case.facts.gpus or ())
    if total is not None and case.facts.circuit_w is None and plugged and total >= CIRCUIT_15A_120V:
        which = "15 A or 20 A" if total >= CIRCUIT_20A_120V else "15 A"
        yield Seen(
            f"the GPUs of this rig may draw {total:.0f} W, more than a {which} circuit at 120 V carries; its circuit is unknown"
        )


def _budget_below_range(case: Case) -> Iterator[Seen]:
    if case.spec is None or case.spec.power_budget_w is None or not case.gpus:
        return
    share = case.spec.power_budget_w / len(case.gpus)
    low = [gpu for gpu in case.gpus if gpu.power_min_w is not None and share < gpu.power_min_w]
    if low:
        yield Seen(
            f"power.budget_w of {name(case)} is {share:.0f} W a card, and {cards(low)} cannot be set below "
            f"{max(gpu.power_min_w or 0 for gpu in low):.0f} W"
        )


def _cap_out_of_range(case: Case) -> Iterator[Seen]:
    cap = case.spec.power_cap_w if case.spec is not None else None
    if case.spec is None or cap is None:
        return
    high = [gpu for gpu in case.gpus if gpu.power_max_w is not None and cap > gpu.power_max_w]
    low = [gpu for gpu in case.gpus if gpu.power_min_w is not None and cap < gpu.power_min_w]
    for found, what, limit in (
        (high, "above", max((gpu.power_max_w or 0 for gpu in high), default=0)),
        (low, "below", max((gpu.power_min_w or 0 for gpu in low), default=0)),
    ):
        if found:
            yield Seen(
                f"power.cap_w of {name(case)} is {cap} W, and {cards(found)} cannot be set {what} {limit:.0f} W",
                hint=f"set power.cap_w = {limit:.0f} in the profile, or leave it out",
            )


def _uneven(case: Case) -> Iterator[Seen]:
    limits = {gpu.power_limit_w for gpu in case.gpus if gpu.power_limit_w is not None}
    if case.spec is not None and len(limits) > 1:
        yield Seen(
            f"the GPUs of {name(case)} have power limits from {min(limits):.0f} to {max(limits):.0f} W; the slowest sets the pace",
            hint=f"sudo nvidia-smi -i {ids(case.gpus)} -pl {min(limits):.0f}",
        )


RULES: Final = (
    Rule(
        id="power.circuit",
        severity="warns",
        title="The GPUs against the wall circuit",
        look=_circuit,
        hint="lower the cards' limits (sudo nvidia-smi -pl WATTS), or feed the rig from 30 A at 240 V (5,760 W "
        "lasting)",
        source="NEC 210.20(A): 80 % of a circuit for loads of three hours and more",
        as_of=AS_OF,
        basis="reported",
        explain="Lasting capacity: 15 A at 120 V 1,440 W, 20 A at 120 V 1,920 W, 20 A at 240 V 3,840 W, 30 A at 240 "
        "V 5,760 W. Four cards of 600 W are 2,400 W before CPU, fans and the losses of the power supply "
        "(about 6 %). Blocks where the GPUs alone exceed the breaker, warns where they exceed what it "
        "carries for hours, informs where less than 600 W is left for the rest. The circuit is what a person"
        " declared (circuit_w).",
    ),
    Rule(
        id="power.circuit-unknown",
        severity="informs",
        title="More than a household circuit carries, and nobody said what feeds it",
        look=_household,
        hint="declare circuit_w in a recorded rig; four 600 W cards want 20 A or 30 A at 240 V, not a 120 V socket",
        source="NEC 210.20(A): 80 % of a circuit for loads of three hours and more",
        as_of=AS_OF,
        basis="reported",
        explain="A breaker that trips under load takes the whole rig down, at the first long prompt. Only asked of "
        "cards that people plug into walls (RTX); data-centre cards come with their own feed.",
    ),
    Rule(
        id="power.budget-below-range",
        severity="warns",
        title="A power budget that the cards cannot be set to",
        look=_budget_below_range,
        hint="raise power.budget_w in the profile, or use fewer cards: nvidia-smi -q -d POWER shows the range",
        source="https://docs.nvidia.com/deploy/nvidia-smi/index.html (-pl outside the range fails)",
        as_of=AS_OF,
        basis="reported",
        explain="The Workstation card takes limits of 150-600 W, the Server edition 300-600 W. nvidia-smi -pl "
        "refuses what is outside, and the budget cannot be kept that way.",
    ),
    Rule(
        id="power.cap-out-of-range",
        severity="warns",
        title="A power cap that the cards cannot be set to",
        look=_cap_out_of_range,
        hint="set power.cap_w within the cards' range: nvidia-smi -q -d POWER shows it",
        source="https://docs.nvidia.com/deploy/nvml-api/ (nvmlDeviceSetPowerManagementLimit: limits outside the range are refused)",
        as_of="2026-11-23",
        basis="reported",
        explain="The driver refuses a limit outside the card's range, and the card keeps the one it has. RTX PRO 6000 by its "
        "edition: Max-Q 250-300 W, Workstation 150-600 W, Server 300-600 W.",
    ),
    Rule(
        id="power.uneven",
        severity="informs",
        title="Different power limits in one deployment",
        look=_uneven,
        hint="give all cards of a deployment one limit",
        source="https://github.com/local-inference-lab/rtx6kpro (power sweep)",
        as_of=AS_OF,
        basis="inferred",
        explain="Tensor parallel ranks wait for each other in every layer, so watts above the lowest limit are heat.",
    ),
)
