"""All hazard rules, one file per subject, in the order in which a person would look: the rig first, then the image, then the flags.

Rules are data (see ``doctor/rule.py``); ``tests/doctor/rules`` holds for each a case that it hits and one that it spares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.doctor.rules import (
    container,
    deepgemm,
    driver,
    engine,
    gpu,
    host,
    image,
    model,
    pcie,
    power,
    sglang,
    trtllm,
    vllm,
)

if TYPE_CHECKING:
    from launchpad.doctor.rule import Rule

RULES: Final[tuple[Rule, ...]] = (
    *driver.RULES,
    *gpu.RULES,
    *pcie.RULES,
    *power.RULES,
    *host.RULES,
    *container.RULES,
    *image.RULES,
    *deepgemm.RULES,
    *model.RULES,
    *engine.RULES,
    *sglang.RULES,
    *vllm.RULES,
    *trtllm.RULES,
)


def rule(id_: str) -> Rule | None:
    """The rule of that id, or None."""
    return next((found for found in RULES if found.id == id_), None)
