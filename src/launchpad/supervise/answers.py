"""What a probe's answer means to the machine.

A server of ours is judged by how often it fails, whatever it says: its restart is in our hands. A hosted endpoint tells by its
status whether asking again is any use, and there is nothing here to restart. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.engines.hosted import MEANS, UNASKED
from launchpad.supervise.machine import ProbeSeen, Verdict

if TYPE_CHECKING:
    from launchpad.deploy.spec import Spec
    from launchpad.supervise.watch import Asked


#: So many characters of what a provider says are repeated in a reason.
_WORDS: Final = 200
#: What asks to be left alone does not serve, and will not be asked soon: it counts as a streak of failures.
_AT_ONCE: Final = 2


def seen(asked: Asked, spec: Spec) -> ProbeSeen:
    """A finished question as the machine counts it."""
    answer = asked.answer
    if spec.hosted is None or answer.ok:
        return ProbeSeen(asked.number, answer.ok, answer.detail)
    meaning = MEANS.get(answer.status or 0)
    counts = 1 if answer.retry_after_s is None else _AT_ONCE
    said = " ".join(answer.detail.split())
    if meaning is None:
        return ProbeSeen(asked.number, answer.ok, said, hint=UNASKED if answer.status is None else None, counts=counts)
    hint = meaning.hint.replace("NAME", spec.name)
    reason = f"{spec.endpoint} answers {answer.status}: {meaning.says}; its words: {said[:_WORDS]}"
    final = Verdict(fatal=True, reason=reason, hint=hint, id=f"hosted.{answer.status}")
    return ProbeSeen(
        asked.number,
        answer.ok,
        f"{said[:_WORDS]} ({meaning.says})",
        hint=hint,
        counts=counts,
        ends=final if meaning.ends == "ever" else None,
        ends_start=final if meaning.ends != "never" else None,
    )


def awaited(asked: Asked | None, spec: Spec) -> str | None:
    """What the start of a hosted endpoint waits for after an answer that was none; the same words for the same trouble."""
    if spec.hosted is None or asked is None or asked.answer.ok:
        return None
    answer = asked.answer
    if answer.status is not None:
        meaning = MEANS.get(answer.status)
        return f"{spec.endpoint} to answer: {answer.status}" + (f", {meaning.says}" if meaning else "")
    return f"{spec.endpoint} to answer: {' '.join(answer.detail.split())[:_WORDS]}"
