"""What the cards say while a deployment runs, judged: alarms that begin and end, and the one thing that ends retries.

Pure but for its memory of the last looks: samples, Xid events and trouble go in, alarms and remarks come out. Heat and power never
move the machine; a GPU that is lost gives a fatal verdict that names the card, because no restart brings it back. A software power
cap is normal under a cap, and no alarm. What a card does not say is never taken for good or bad news.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from launchpad.doctor.xids import Xid, meaning_of
from launchpad.supervise.machine import Verdict
from launchpad.supervise.snapshot import Alarm
from launchpad.units import counted, show_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchpad.deploy.spec import GpuSeat, Spec
    from launchpad.rig.facts import GpuSample, GpuTrouble, XidEvent

#: Degrees Celsius. NVIDIA gives 90 as the highest temperature of the RTX 5090 (nvidia.com, specifications, read 2026-11-23), whose
#: chip the RTX PRO 6000 Blackwell shares; H100 and H200 slow down near it too.
HOT_C: Final = 90
#: A card that works: below this an idle one lowers its link, and that is normal.
BUSY_PERCENT: Final = 50
#: Watts by which a limit may differ from the cap: NVML rounds.
CAP_TOLERANCE_W: Final = 1.0
#: Corrected ECC errors within a minute. NVIDIA does not publish what its own Xid 92 counts; healthy cards show a handful a month.
ECC_STORM: Final = 60
#: Seconds that an uncorrected ECC error stays in view: long enough for a person, and it does not come back unnoticed.
ECC_STANDS: Final = 3600.0
#: Seconds that an Xid stays in view where nothing shows that it is over: one that asks for a reset, and one that a restart mends.
XID_STANDS: Final = 3600.0
XID_STANDS_BRIEFLY: Final = 600.0
#: Seconds in which a fatal Xid explains a death on a card that answers still; a later death has another cause.
XID_EXPLAINS: Final = 600.0
#: Seconds between two journal lines on the same Xid of the same card: some come by the thousand.
XID_QUIET: Final = 60.0
#: Seconds of answers after which a card that was lost counts as back; a sample may have been on its way when it went.
BACK_AFTER: Final = 10.0
#: The longest time between two looks that counts as one: nobody knows what was between, in a machine that slept.
_LONGEST_STEP: Final = 5.0
_OFF_THE_BUS: Final = 79
_NAMED = re.compile(r"\bGPU (\d+)\b", re.ASCII)


@dataclass(frozen=True, slots=True)
class Remark:
    """A journal line about a GPU: ``event`` is "gpu-alarm" (begins), "gpu-clear" (ended), "xid" or "power-cap"."""

    event: str
    reason: str
    detail: dict[str, str | int | float | bool | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of alarm. Seconds: it begins after ``begins`` of its cause and ends after ``ends`` without.

    Time without counts back time with: a cause that comes and goes every second makes one alarm, not sixty. ``forgets``: an alarm
    whose cause cannot be seen any more ends after that. ``hint`` may name the card as ``{gpu}``. Power comes and goes with the load
    within seconds, hence half a minute to end; heat goes slowly, hence one or two; what the driver states it means at once.
    """

    id: str
    severity: str
    do: str
    hint: str
    begins: float = 0.0
    ends: float = 5.0
    forgets: float = 60.0


_RESET: Final = "stop what uses it, then `sudo nvidia-smi --gpu-reset -i {gpu}`; reboot where that fails"
_FEED: Final = (
    "check its power cables and the power supply, or lower power.cap_w; `nvidia-smi -q -d PERFORMANCE -i {gpu}`"
)
_COOL: Final = "check fans, air flow and the room, or lower power.cap_w"

#: Why clocks are down, by NVML's reason. NVML sets the general hardware reason also for a moment when clocks change, hence 10 s.
_REASONS: Final = {
    "power-brake": (
        Kind("power-brake", "critical", "power", _FEED, begins=3, ends=30),
        "the power brake is on: the power supply asks for less, and the clocks are halved or worse",
    ),
    "hardware-thermal": (
        Kind("hardware-thermal", "critical", "cool", _COOL, begins=5, ends=60),
        "is too hot: the hardware has halved its clocks or worse",
    ),
    "software-thermal": (
        Kind("software-thermal", "warning", "cool", _COOL, begins=15, ends=60),
        "is hot: the driver lowers its clocks",
    ),
    "hardware-slowdown": (
        Kind("hardware-slowdown", "warning", "power", _FEED, begins=10, ends=30),
        "the hardware has halved its clocks or worse",
    ),
}
#: Those that the general one includes: it says something of its own only without them.
_NAMED_SLOWDOWNS: Final = frozenset({"power-brake", "hardware-thermal"})

_HOT: Final = Kind("hot", "warning", "cool", _COOL, begins=10, ends=120)
#: Under load a link comes up within a second; 20 s leave time for the first requests. What an idle card says is no news.
_LINK: Final = Kind(
    "link-down",
    "warning",
    "reseat",
    "reseat the card or its riser, and check the slot's speed in the BIOS; `nvidia-smi -q -d PCIE_REPLAY_COUNTER -i {gpu}` or "
    "`sudo lspci -vv` tell more",
    begins=20,
    ends=30,
    forgets=3600,
)
_CAP: Final = Kind(
    "power-cap",
    "warning",
    "power",
    "",  # filled in with the watts
    begins=20,  # it is asked for, set and read back within seconds, where we may
    ends=3,
)
_BUDGET: Final = Kind(
    "power-budget",
    "critical",
    "power",
    "lower power.cap_w, or raise power.budget_w if the circuit carries it",
    begins=10,  # a breaker bears seconds of too much, and a sample is a moment
    ends=30,
)
_UNCORRECTED: Final = Kind("ecc-uncorrected", "critical", "reset", _RESET, ends=0)
_CORRECTED: Final = Kind(
    "ecc-corrected",
    "warning",
    "look",
    "watch `nvidia-smi -q -d ECC -i {gpu}`; a card whose rate stays high is on its way out",
    ends=600,
)
_PENDING: Final = Kind(
    "remapped-pending",
    "warning",
    "drain",
    "finish what runs, then `sudo nvidia-smi --gpu-reset -i {gpu}`; what runs is not affected",
)
_FAILURE: Final = Kind(
    "remapped-failure",
    "critical",
    "look",
    "the card has no spare rows left there: have it replaced; `nvidia-smi -q -d ROW_REMAPPER -i {gpu}`",
)

#: NVML's recovery actions: the kind of alarm, what to say, and whether an engine cannot start until it is done.
#: Source: docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt, error recovery and response flags (read 2026-11-23).
_RECOVERIES: Final = {
    "gpu-reset": (Kind("recovery-gpu-reset", "critical", "reset", _RESET), "the driver asks for a reset", True),
    "node-reboot": (
        Kind("recovery-node-reboot", "critical", "reboot", "reboot the rig"),
        "the driver asks for a reboot",
        True,
    ),
    "drain-p2p": (
        Kind("recovery-drain-p2p", "warning", "drain", "stop what uses peer access between GPUs, then start it again"),
        "the driver asks to drain peer traffic",
        False,
    ),
    "drain-and-reset": (
        Kind("recovery-drain-and-reset", "warning", "drain", "finish what runs; " + _RESET),
        "works at reduced capacity; the driver asks to finish what runs and to reset it",
        False,
    ),
}
_RECOVERY_OTHER: Final = Kind("recovery-other", "warning", "look", "`nvidia-smi -q -i {gpu}` says what the driver asks")

#: What NVML's trouble asks for, by its kind. One that comes of a single unlucky read gets a few seconds; the others are certain.
_TROUBLES: Final = {
    "gpu-lost": Kind(
        "nvml-gpu-lost", "critical", "reboot", "reboot; check its power cables and riser", ends=BACK_AFTER
    ),
    "reset-required": Kind("nvml-reset-required", "critical", "reset", _RESET, ends=BACK_AFTER),
    "version-mismatch": Kind(
        "nvml-version-mismatch", "critical", "reboot", "reboot, or reload the nvidia kernel modules", ends=BACK_AFTER
    ),
    "no-answer": Kind("nvml-no-answer", "critical", "reboot", "read `dmesg | grep -iE 'nvrm|xid'`", ends=BACK_AFTER),
    "driver-not-loaded": Kind("nvml-driver-not-loaded", "critical", "look", "`modprobe nvidia`", begins=5),
    "library-missing": Kind("nvml-library-missing", "warning", "look", "install the NVIDIA driver", begins=5),
    "other": Kind("nvml-other", "warning", "look", "`nvidia-smi` may tell more", begins=10, ends=10),
}
#: Trouble that no restart of an engine mends, and the id of its verdict. A driver that is not loaded may be on its way; one that
#: does not answer may answer again.
_FATAL_TROUBLES: Final = {
    "gpu-lost": "gpu.lost",
    "reset-required": "gpu.reset-required",
    "version-mismatch": "driver.version-mismatch",
}
#: Trouble with one card; the others answer on.
_OF_ONE_CARD: Final = frozenset({"gpu-lost", "reset-required", "other"})


#: A kind of alarm, whether its cause holds (None: nobody can tell), and what to say of it.
_Sign: TypeAlias = tuple[Kind, bool | None, str]


@dataclass(frozen=True, slots=True)
class _Cause:
    """The cause of an alarm at one look: ``holds`` None where nobody can tell. ``uuid`` None: of no card in particular."""

    kind: Kind
    uuid: str | None
    holds: bool | None
    says: str = ""
    gpu: int | None = None
    hint: str | None = None


@dataclass(slots=True)
class _Watched:
    """How near an alarm is to its beginning or its end: ``level`` rises to 1 and falls to 0."""

    kind: Kind
    level: float = 0.0
    unseen: float = 0.0
    alarm: Alarm | None = None

    def feed(self, holds: bool | None, step: float) -> None:  # noqa: FBT001 - three-valued, and the point of the call
        if holds is None:
            self.unseen += step
            if self.unseen >= self.kind.forgets:
                self.level = 0.0
            return
        self.unseen = 0.0
        if holds:
            self.level = min(1.0, self.level + step / self.kind.begins) if self.kind.begins else 1.0
        else:
            self.level = max(0.0, self.level - step / self.kind.ends) if self.kind.ends else 0.0
        nearest = round(self.level)  # ten tenths are one
        self.level = nearest if abs(self.level - nearest) < 1e-6 else self.level


@dataclass(slots=True)
class _Counts:
    """A card's error counters, looked after: when they last grew, and how fast."""

    uncorrected: int | None = None
    grew: int = 0
    grew_at: datetime | None = None
    minute: tuple[datetime, int] | None = None
    storms: bool | None = None
    energy_j: float | None = None


@dataclass(slots=True)
class _Heard:
    """An Xid of one card: when it came last, and when and how often it was told."""

    row: Xid
    at: datetime
    gpu: int | None
    told_at: datetime | None = None
    untold: int = 0
    over: bool = False


class GpuWatch:
    """Judges the GPUs of one deployment, look by look."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._cards: dict[str, GpuSeat] = {gpu.uuid: gpu for gpu in spec.gpus}
        self._watched: dict[tuple[str, str | None], _Watched] = {}
        self._counts: dict[str, _Counts] = {uuid: _Counts() for uuid in self._cards}
        self._heard: dict[tuple[str | None, int], _Heard] = {}
        self._at: datetime | None = None
        self.alarms: tuple[Alarm, ...] = ()
        self.lost: Verdict | None = None

    def look(
        self, samples: tuple[GpuSample, ...], xids: tuple[XidEvent, ...], trouble: GpuTrouble | None, now: datetime
    ) -> tuple[Remark, ...]:
        """Take one look; what began and what ended since the last. Updates ``alarms`` and ``lost``."""
        if not self._cards:
            return ()
        step = min(_LONGEST_STEP, max(0.0, (now - self._at).total_seconds())) if self._at else 0.0
        self._at = now
        ours = {sample.uuid: sample for sample in samples if sample.uuid in self._cards}
        told = trouble if trouble and self._concerns(trouble, ours) else None
        for sample in ours.values():
            self._count(sample, now)
        remarks = [*self._hear(xids, now)]
        self._age(ours, now)
        for cause in self._causes(ours, told):
            remarks += self._judge(cause, step, now)
        self.alarms = tuple(item.alarm for item in self._watched.values() if item.alarm is not None)
        self.lost = self._verdict(ours, told, now)
        return tuple(remarks)

    # ---- causes ------------------------------------------------------------------------------------------------------

    def _causes(self, ours: dict[str, GpuSample], told: GpuTrouble | None) -> Iterator[_Cause]:
        yield from self._troubles(ours, told)
        for uuid in self._cards:
            sample = ours.get(uuid)
            if sample is not None:
                yield from self._of_card(sample)
        absent = [uuid for uuid in self._cards if uuid not in ours]
        for (id_, of), watched in tuple(self._watched.items()):  # a card that says nothing says nothing on any of these
            if of in absent and not id_.startswith("xid-"):
                yield _Cause(watched.kind, of, None)
        yield self._budget(ours)
        yield from self._of_xids()

    def _of_card(self, sample: GpuSample) -> Iterator[_Cause]:
        """What holds of a card, and what held before; the rest is no news, and most looks bring none."""
        uuid, gpu = sample.uuid, sample.index
        for kind, holds, says in self._signs(sample):
            if holds or (kind.id, uuid) in self._watched:
                hint = f"`sudo nvidia-smi -i {gpu} -pl {self._spec.power_cap_w}`" if kind is _CAP else None
                yield _Cause(kind, uuid, holds, f"{self._name(uuid, gpu)}: {says}", gpu, hint)

    def _signs(self, sample: GpuSample) -> Iterator[_Sign]:
        """Every kind of alarm of one card: whether its cause holds, and what to say of it."""
        yield from _clocks(sample)
        yield _HOT, _above(sample.temperature_c, HOT_C), f"has {sample.temperature_c} C"
        down = _downgraded(sample)
        yield _LINK, down, _link_says(sample) if down else ""
        yield _PENDING, sample.remapped_pending, "memory rows wait for a reset to be remapped"
        yield _FAILURE, sample.remapped_failure, "a memory row could not be remapped"
        yield from _recovery(sample)
        yield from self._ecc(sample)
        cap, limit = self._spec.power_cap_w, sample.power_limit_w
        if cap is not None:
            differs = None if limit is None else abs(limit - cap) > CAP_TOLERANCE_W
            yield _CAP, differs, f"enforces {limit:g} W, the profile's cap is {cap} W" if differs else ""

    def _budget(self, ours: dict[str, GpuSample]) -> _Cause:
        budget, drawn = self._spec.power_budget_w, [sample.power_w for sample in ours.values()]
        known = [watts for watts in drawn if watts is not None]
        if budget is None:
            return _Cause(_BUDGET, None, holds=False)
        over = sum(known) > budget
        holds = True if over else (False if len(known) == len(self._cards) else None)
        return _Cause(_BUDGET, None, holds, f"the GPUs draw {sum(known):.0f} W together, the budget is {budget} W")

    def _ecc(self, sample: GpuSample) -> Iterator[_Sign]:
        counts = self._counts[sample.uuid]
        told = None if sample.ecc_uncorrected is None and counts.grew_at is None else counts.grew_at is not None
        yield _UNCORRECTED, told, counted(counts.grew, "uncorrected ECC error")
        storms = None if sample.ecc_corrected is None else counts.storms
        yield _CORRECTED, storms, f"corrected ECC errors come by more than {ECC_STORM} a minute"

    def _count(self, sample: GpuSample, now: datetime) -> None:
        """Follow the counters of a card; one that goes back tells of a reset or a driver that was loaded again."""
        counts = self._counts[sample.uuid]
        count, before = sample.ecc_uncorrected, counts.uncorrected
        if count is not None and before is not None and count > before:
            counts.grew, counts.grew_at = counts.grew + count - before, now
        elif count is not None and before is not None and count < before:
            counts.grew, counts.grew_at = 0, None
        if counts.grew_at is not None and not 0 <= (now - counts.grew_at).total_seconds() < ECC_STANDS:
            counts.grew, counts.grew_at = 0, None
        counts.uncorrected = count if count is not None else before
        self._storm(counts, sample.ecc_corrected, now)
        if sample.energy_j is not None:
            if counts.energy_j is not None and sample.energy_j < counts.energy_j:
                self._loaded_again(sample.uuid)
            counts.energy_j = sample.energy_j

    @staticmethod
    def _storm(counts: _Counts, count: int | None, now: datetime) -> None:
        if count is None:
            return
        begun, first = counts.minute or (now, count)
        seconds = (now - begun).total_seconds()
        if count < first or seconds < 0:
            counts.minute, counts.storms = (now, count), False
        elif count - first > ECC_STORM:
            counts.minute, counts.storms = (now, count), True
        elif seconds >= 60:
            counts.minute, counts.storms = (now, count), False
        else:
            counts.minute = (begun, first)
            counts.storms = counts.storms or False

    def _loaded_again(self, uuid: str) -> None:
        for (of, _), heard in self._heard.items():
            if of == uuid:
                heard.over = True

    # ---- trouble -----------------------------------------------------------------------------------------------------

    def _concerns(self, trouble: GpuTrouble, ours: dict[str, GpuSample]) -> bool:
        """Trouble with one card is not ours where all of ours answer."""
        return trouble.kind not in _OF_ONE_CARD or len(ours) < len(self._cards)

    def _troubles(self, ours: dict[str, GpuSample], told: GpuTrouble | None) -> Iterator[_Cause]:
        nothing = told is None and not ours  # a sampler that has only just begun
        for name, kind in _TROUBLES.items():
            if told is not None and (told.kind if told.kind in _TROUBLES else "other") == name:
                gpu = self._troubled(told, ours)
                yield _Cause(kind, None, holds=True, says=self._trouble_says(told, gpu), gpu=gpu, hint=told.hint)
            elif (kind.id, None) in self._watched:
                yield _Cause(kind, None, None if nothing else False)

    def _troubled(self, told: GpuTrouble, ours: dict[str, GpuSample]) -> int | None:
        """The index of the card that trouble speaks of, where that can be told."""
        if told.kind not in _OF_ONE_CARD:
            return None
        if (named := _NAMED.search(told.message)) is not None:
            return int(named[1])
        absent = [card.index for uuid, card in self._cards.items() if uuid not in ours]
        return absent[0] if len(absent) == 1 else None

    def _trouble_says(self, told: GpuTrouble, gpu: int | None) -> str:
        card = next((card for card in self._cards.values() if card.index == gpu), None)
        if card is None:
            return told.message
        named = self._name(card.uuid, card.index)
        says = _NAMED.sub(lambda found: named if int(found[1]) == gpu else found[0], told.message, count=1)
        return says if named in says else f"{named}: {says}"

    # ---- Xids --------------------------------------------------------------------------------------------------------

    def _hear(self, xids: tuple[XidEvent, ...], now: datetime) -> Iterator[Remark]:
        """Take in what the driver reported; a journal line for each, but for floods of the same one."""
        indices = {card.index: uuid for uuid, card in self._cards.items()}
        for event in xids:
            uuid = event.uuid or (None if event.index is None else indices.get(event.index))
            if (uuid is None and event.index is not None) or (uuid is not None and uuid not in self._cards):
                continue  # another deployment's card
            gpu = self._cards[uuid].index if event.index is None and uuid is not None else event.index
            heard = self._heard.setdefault((uuid, event.xid), _Heard(meaning_of(event.xid), now, gpu))
            heard.at, heard.gpu, heard.over, heard.untold = now, gpu, False, heard.untold + 1
        for (uuid, _), heard in self._heard.items():
            quiet = XID_QUIET if heard.told_at is None else abs((now - heard.told_at).total_seconds())
            if heard.untold and quiet >= XID_QUIET:
                yield self._xid_remark(uuid, heard)
                heard.told_at, heard.untold = now, 0

    def _xid_remark(self, uuid: str | None, heard: _Heard) -> Remark:
        row = heard.row
        times = f" ({heard.untold} times)" if heard.untold > 1 else ""
        return Remark(
            "xid",
            self._xid_says(uuid, heard) + times,
            {
                "xid": row.code,
                "gpu": heard.gpu,
                "uuid": uuid,
                "count": heard.untold,
                "severity": row.severity,
                "do": row.do,
                "hint": _filled(row.hint, heard.gpu),
                "source": row.source,
            },
        )

    def _xid_says(self, uuid: str | None, heard: _Heard) -> str:
        card = "a GPU" if uuid is None else self._name(uuid, heard.gpu)
        return f"{card}: Xid {heard.row.code}, {heard.row.meaning}"

    def _age(self, ours: dict[str, GpuSample], now: datetime) -> None:
        """End what is over: by time, by the driver's own word, or because a card that was lost answers again."""
        for (uuid, code), heard in tuple(self._heard.items()):
            row, age = heard.row, (now - heard.at).total_seconds()
            if age < 0:  # the clock was set back
                heard.at, age = now, 0.0
            sample = ours.get(uuid) if uuid else None
            settled = sample is not None and (sample.at - heard.at).total_seconds() >= BACK_AFTER
            if code == _OFF_THE_BUS and uuid is not None:
                heard.over = heard.over or settled
            else:
                stands = XID_STANDS if row.do in {"drain", "reset", "reboot", "reseat"} else XID_STANDS_BRIEFLY
                well = settled and sample is not None and sample.recovery == "none" and row.fatal
                heard.over = heard.over or well or age >= stands
            told = heard.told_at is not None and abs((now - heard.told_at).total_seconds()) >= XID_QUIET
            if heard.over and told and not heard.untold and (f"xid-{code}", uuid) not in self._watched:
                del self._heard[uuid, code]

    def _of_xids(self) -> Iterator[_Cause]:
        for (uuid, code), heard in tuple(self._heard.items()):
            row = heard.row
            if row.severity == "info":
                continue
            do = "look" if row.do == "nothing" else row.do
            kind = Kind(f"xid-{code}", row.severity, do, row.hint or "", ends=0)
            yield _Cause(kind, uuid, not heard.over, self._xid_says(uuid, heard), heard.gpu)

    # ---- alarms ------------------------------------------------------------------------------------------------------

    def _judge(self, cause: _Cause, step: float, now: datetime) -> Iterator[Remark]:
        key = (cause.kind.id, cause.uuid)
        watched = self._watched.get(key)
        if watched is None:
            if not cause.holds:
                return
            watched = self._watched[key] = _Watched(cause.kind)
        watched.feed(cause.holds, step)
        if watched.alarm is None and watched.level >= 1.0 and cause.holds:
            watched.alarm = _alarm(cause, now)
            yield _begins(watched.alarm)
        elif watched.level <= 0.0:
            if watched.alarm is not None:
                yield _ends(watched.alarm, now, seen=cause.holds is not None)
            if cause.holds is not True:
                del self._watched[key]

    def _name(self, uuid: str, index: int | None) -> str:
        """A card as a person finds it: ``GPU 1 (RTX PRO 6000 Blackwell)``."""
        card = self._cards[uuid]
        return f"GPU {card.index if index is None else index} ({card.name.removeprefix('NVIDIA ')})"

    # ---- what no restart mends ---------------------------------------------------------------------------------------

    def _verdict(self, ours: dict[str, GpuSample], told: GpuTrouble | None, now: datetime) -> Verdict | None:
        if told is not None and told.kind in _FATAL_TROUBLES and self._ours(told, ours):
            gpu = self._troubled(told, ours)
            hint = told.hint or _filled(_TROUBLES[told.kind].hint, gpu)
            return Verdict(fatal=True, reason=self._trouble_says(told, gpu), hint=hint, id=_FATAL_TROUBLES[told.kind])
        for (uuid, code), heard in self._heard.items():
            if uuid is None or not heard.row.fatal or heard.over:
                continue
            if uuid in ours and code != _OFF_THE_BUS and (now - heard.at).total_seconds() >= XID_EXPLAINS:
                continue
            hint = _filled(heard.row.hint, heard.gpu)
            return Verdict(fatal=True, reason=self._xid_says(uuid, heard), hint=hint, id=f"gpu.xid-{code}")
        for sample in ours.values():
            kind, says, fatal = _RECOVERIES.get(sample.recovery or "", (_RECOVERY_OTHER, "", False))
            if fatal:
                reason = f"{self._name(sample.uuid, sample.index)}: {says}"
                return Verdict(fatal=True, reason=reason, hint=_filled(kind.hint, sample.index), id=f"gpu.{kind.id}")
        return None if len(ours) == len(self._cards) else self.lost

    def _ours(self, told: GpuTrouble, ours: dict[str, GpuSample]) -> bool:
        """Whether trouble may be with a card of this deployment; not where it names another one."""
        gpu = self._troubled(told, ours)
        return gpu is None or gpu in {card.index for card in self._cards.values()}


def _alarm(cause: _Cause, now: datetime) -> Alarm:
    hint = cause.hint or _filled(cause.kind.hint, cause.gpu) or ""
    return Alarm(cause.kind.id, cause.kind.severity, cause.says, hint, cause.kind.do, now, cause.gpu)


def _begins(alarm: Alarm) -> Remark:
    return Remark(
        "gpu-alarm",
        alarm.message,
        {"id": alarm.id, "severity": alarm.severity, "gpu": alarm.gpu, "do": alarm.do, "hint": alarm.hint},
    )


def _ends(alarm: Alarm, now: datetime, *, seen: bool) -> Remark:
    lasted = max(now, alarm.since) - alarm.since
    how = f"over after {show_duration(lasted)}" if seen else "can no longer be seen"
    return Remark(
        "gpu-clear",
        f"{how}: {alarm.message}",
        {"id": alarm.id, "gpu": alarm.gpu, "seconds": round(lasted.total_seconds(), 1)},
    )


def _filled(hint: str | None, gpu: int | None) -> str | None:
    return None if hint is None else hint.replace("{gpu}", "<index>" if gpu is None else str(gpu))


def _above(value: int | None, limit: int) -> bool | None:
    return None if value is None else value >= limit


def _clocks(sample: GpuSample) -> Iterator[_Sign]:
    for reason, (kind, says) in _REASONS.items():
        if sample.reasons is None:
            yield kind, None, says
        elif reason == "hardware-slowdown" and _NAMED_SLOWDOWNS & set(sample.reasons):
            yield kind, False, says
        else:
            yield kind, reason in sample.reasons, says


def _downgraded(sample: GpuSample) -> bool | None:
    """Whether the link is slower or narrower than it could be while the card works; None where it idles or does not say."""
    pairs = ((sample.pcie_gen, sample.pcie_gen_max), (sample.pcie_width, sample.pcie_width_max))
    known = [(now, most) for now, most in pairs if now is not None and most is not None]
    if len(known) == len(pairs) and all(now >= most for now, most in known):
        return False
    if sample.utilization_percent is None or sample.utilization_percent < BUSY_PERCENT:
        return None
    return True if any(now < most for now, most in known) else None


def _link_says(sample: GpuSample) -> str:
    now, most = (sample.pcie_gen, sample.pcie_width), (sample.pcie_gen_max, sample.pcie_width_max)
    shown = ("gen {} x{}".format(*("?" if part is None else part for part in pair)) for pair in (now, most))
    return "its PCIe link runs at {} under load; card and slot can do {}".format(*shown)


def _recovery(sample: GpuSample) -> Iterator[_Sign]:
    asked = sample.recovery
    for action, (kind, says, _) in _RECOVERIES.items():
        yield kind, None if asked is None else asked == action, says
    other = None if asked is None else asked != "none" and asked not in _RECOVERIES
    yield _RECOVERY_OTHER, other, f"the driver asks for {asked}"
