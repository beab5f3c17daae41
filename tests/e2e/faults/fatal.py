"""What no restart mends: given up at the first look, with the fix named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.faults.play import fault

if TYPE_CHECKING:
    from tests.e2e.faults.play import Play

GROUP = "verdict"

#: The fault, what it is called, and words of what is said and of the fix.
CASES = {
    "cuda-oom@weights": (
        "a GPU runs out of memory while weights load",
        "a GPU ran out of memory",
        "lower serving.memory_fraction",
    ),
    "cuda-oom@graphs": (
        "a GPU runs out of memory while graphs are captured",
        "a GPU ran out of memory",
        "lower serving.memory_fraction",
    ),
    "fatal:not-enough-memory": ("the weights leave no room for the KV cache", "KV", "memory_fraction"),
    "fatal:no-kernel-image": ("the image has no kernels for this GPU's architecture", "kernel", "image"),
    "fatal:deepgemm-arch": (
        "DeepGEMM does not know this GPU's architecture",
        "does not support this GPU's compute capability",
        "SGLang >= 0.5.16",
    ),
    "fatal:deepgemm-sf": (
        "DeepGEMM asserts on its scaling factors",
        "DeepGEMM in this image has no SM120 branch",
        "SGLang >= 0.5.16",
    ),
    "fatal:shape": (
        "a kernel refuses the model's shape",
        "no SM120 kernel for this attention shape",
        "remove the table [speculative]",
    ),
    "unknown-flag:--moe-runner-backend": (
        "the engine does not know a flag",
        "does not know a flag",
        "compare engine_args",
    ),
    "fatal:address-in-use": (
        "the port inside the container is taken",
        "port inside the container is taken",
        "publish.container_port",
    ),
}


def row_of(text: str, name: str, says: str, fix: str) -> None:
    """Make the row of one fatal line."""

    @fault(
        GROUP,
        name,
        by=f"`rehearse --fault {text}`".replace("`", ""),
        sees=f"`{says}`, `trying again cannot help`, and the fix: `{fix}`",
    )
    def play(play: Play) -> None:
        ran = play.rehearse(text)
        play.fatal(ran, fix)
        play.struck_at_its_end()
        assert play.rig.crash(play.name)["verdict.json"]["fatal"] is True


for written, (called, words, mend) in CASES.items():
    row_of(written, called, words, mend)
