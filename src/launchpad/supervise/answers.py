"""What a probe's answer means to the machine.

A server of ours is judged by how often it fails, whatever it says: its restart is in our hands. A hosted endpoint tells by its
status whether asking again is any use, and there is nothing here to restart. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launchpad.engines.hosted import MEANS
from launchpad.supervise.machine import ProbeSeen, Verdict

if TYPE_CHECKING:
    from launchpad.deploy.spec import Spec
    from launchpad.supervise.watch import Asked


def seen(asked: Asked, spec: Spec) -> ProbeSeen:
    """A finished question as the machine counts it."""
    answer = asked.answer
    plain = ProbeSeen(asked.number, answer.ok, answer.detail)
    meaning = MEANS.get(answer.status or 0) if spec.hosted is not None and not answer.ok else None
    if meaning is None:
        return plain
    detail = f"{answer.detail} ({meaning.says})"
    final = Verdict(fatal=True, reason=f"{spec.endpoint} answers {answer.status}: {meaning.says}", hint=meaning.hint)
    return ProbeSeen(
        asked.number,
        answer.ok,
        detail,
        hint=meaning.hint,
        ends=final if meaning.ends == "ever" else None,
        ends_start=final if meaning.ends != "never" else None,
    )
