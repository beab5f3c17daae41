"""Putting the last good version back where a new one never became READY, on cards that cannot hold both.

:func:`why` decides, :func:`put_back` asks for the older version in the place of the person who is not looking, and the machine
brings it up like any other wish. Only a version that was READY here is put back, so it is never taken back itself and nothing can
go round in circles. It refuses to act against a person: whoever asked for something else meanwhile has been heard.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from launchpad import log
from launchpad.deploy.claims import Claims, claims_of
from launchpad.deploy.spec import Spec
from launchpad.errors import LaunchpadError, StoreError
from launchpad.store.history import Life, Version
from launchpad.store.lock import held
from launchpad.store.state import RolledBack, Wanted
from launchpad.supervise.machine import Phase

if TYPE_CHECKING:
    from datetime import datetime

    from launchpad.clock import Clock
    from launchpad.runtime.base import Runtime
    from launchpad.store.history import Ending
    from launchpad.store.state import Deployment, Store
    from launchpad.supervise.machine import State

#: Seconds to wait for those who choose GPUs or ask for something just now.
_WAIT_S = 10.0


def why(before: State, after: State) -> str | None:
    """Why this step is the end of a version that never was READY, or None where it gets its retries.

    A start that passed its deadline or stalled is not tried again: the next would take as long. A fatal verdict and a budget
    that is used up end in FAILED. An ordinary crash is retried as any other.
    """
    if after.phase is Phase.FAILED and before.phase is not Phase.FAILED:
        return after.reason
    if after.phase is Phase.BACKOFF and before.phase is Phase.STOPPING and before.failing is not None:
        return before.failing
    return None


class Lives:
    """What becomes of a deployment's versions, remembered. A disk that refuses costs the memory, never the supervisor."""

    def __init__(self, deployment: Deployment, clock: Clock) -> None:
        self._history, self._clock = deployment.history, clock
        self._ready: int | None = None
        self._lives: dict[int, Life] = {}
        try:
            self._lives = self._history.lives(clock.now())
        except StoreError as error:
            log.get("supervise").error(error.message)

    def proven(self, number: int) -> bool:
        """Whether that version was ever READY here."""
        return self._lives.get(number, Life()).proven is not None

    def see(self, state: State, wanted: Wanted[Spec]) -> None:
        """Remember that the wanted version is READY, once for each start."""
        if state.phase is Phase.STARTING:
            self._ready = None
        if state.phase is not Phase.READY or wanted.number in {0, self._ready}:
            return
        self._ready = wanted.number
        now = self._clock.now()
        self._write(wanted.number, Life(self._lives.get(wanted.number, Life()).proven or now, now))

    def ended(self, number: int, how: Ending, reason: str) -> None:
        """Remember how a version ended; of one that has ended already the first word stands."""
        life = self._lives.get(number, Life())
        if number and life.ended is None:
            self._write(number, replace(life, ended=how, ended_at=self._clock.now(), reason=reason))

    def asked(self, before: Wanted[Spec], now: Wanted[Spec]) -> None:
        """Remember what another wish means for the version before it."""
        back = now.rolled_back
        if back is not None:
            self.ended(back.failed, "rolled-back", back.reason)
        elif now.wanted and now.number != before.number:
            self.ended(before.number, "replaced", f"version {now.number} was asked for")

    def last_good(self, number: int) -> Version[Spec] | None:
        """Of all versions but ``number`` the one that was READY last, None where none was or its file is gone."""
        good = [
            (life.ready, other) for other, life in self._lives.items() if life.ready is not None and other != number
        ]
        for _, other in sorted(good, reverse=True):
            try:
                found = self._history.version(other, Version[Spec], self._clock.now())
            except StoreError as error:
                log.get("supervise").error(error.message)
                continue
            if found is not None:
                return found
        return None

    def _write(self, number: int, life: Life) -> None:
        self._lives[number] = life
        try:
            self._history.write_lives(self._lives)
        except StoreError as error:
            log.get("supervise").error(error.message)


def put_back(
    deployment: Deployment,
    store: Store,
    runtime: Runtime,
    failed: Wanted[Spec],
    good: Version[Spec],
    reason: str,
    now: datetime,
) -> bool:
    """Ask for ``good`` in the place of ``failed``; False where somebody asked for something else meanwhile.

    Raises LaunchpadError where it cannot be asked for: its GPUs or its port are somebody else's now, or the disk refuses.
    """
    with held(store.rig_lock, f"bring {good.spec.name} back", wait_s=_WAIT_S):
        refuse_claimed(good.spec, claims(deployment.name, store, runtime, now))
        with held(deployment.wanted_lock, f"change {good.spec.name}", wait_s=_WAIT_S):
            current = deployment.read_wanted(Wanted[Spec], now)
            if current is None or current.generation != failed.generation:
                return False
            asked = replace(
                failed,
                wanted=True,
                generation=failed.generation + 1,
                at=now,
                spec=good.spec,
                number=good.number,
                rollback=False,
                rolled_back=RolledBack(failed.number, good.number, reason),
            )
            deployment.write_wanted(asked)
    return True


def claims(name: str, store: Store, runtime: Runtime, now: datetime) -> Claims:
    """What every deployment but ``name`` holds; one whose files cannot be read holds what its containers show."""
    wanted = []
    for other in store.deployments():
        try:
            found = other.read_wanted(Wanted[Spec], now) if other.name != name else None
        except StoreError:
            continue
        if found is not None and found.wanted:
            wanted.append(found.spec)
    return claims_of(name, wanted, runtime.containers())


def refuse_claimed(spec: Spec, held_by: Claims) -> None:
    """Raise LaunchpadError where somebody else holds a GPU or the port that ``spec`` needs."""
    for gpu in spec.gpus:
        if (holder := held_by.gpus.get(gpu.uuid)) is not None:
            raise LaunchpadError(
                f"cannot bring {spec.name} back: deployment {holder} holds GPU {gpu.index}",
                hint=f"launchpad down {holder}",
            )
    if spec.hosted is None and (holder := held_by.port_holder(spec.host, spec.port)) is not None:
        raise LaunchpadError(
            f"cannot bring {spec.name} back: deployment {holder} publishes port {spec.port}",
            hint=f"launchpad down {holder}",
        )
