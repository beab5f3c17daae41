"""What a hazard rule looks at: a rig, and, where there are any, a resolved spec, its image and its checkpoint.

Every part but the facts may be missing (``None``): a rule that needs what is missing says nothing, and ``doctor`` says aloud
what it could not look at. Values only; whoever asks Docker, NVML or the disk stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from launchpad.deploy.spec import Spec
from launchpad.model.checkpoint import Checkpoint
from launchpad.rig.facts import Gpu, RigFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Compute capability 12.0: GeForce and RTX PRO Blackwell. NVML's architecture name cannot tell it from SM100.
SM120 = (12, 0)


@dataclass(frozen=True, slots=True)
class DeepGemm:
    """The DeepGEMM an engine would import. ``sm120_kernels`` None: could not be told."""

    kind: Literal["vendored", "external", "absent"]
    version: str | None = None
    sm120_kernels: bool | None = None


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image's metadata and files say, without running it. ``packages`` maps normalised names to versions."""

    reference: str
    id: str | None = None
    digest: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    cuda_version: str | None = None
    arch_list: tuple[str, ...] | None = None
    vllm_declares_sm120: bool | None = None
    deep_gemm: tuple[DeepGemm, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    known_env: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to examine."""

    facts: RigFacts
    spec: Spec | None = None
    image: ImageFacts | None = None
    checkpoint: Checkpoint | None = None

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """The GPUs in question: those the spec was given, all of the rig without a spec; empty where they are unknown."""
        found = self.facts.gpus or ()
        if self.spec is None:
            return found
        chosen = {seat.uuid for seat in self.spec.gpus}
        return tuple(gpu for gpu in found if gpu.uuid in chosen)

    @property
    def on_sm120(self) -> bool:
        """Whether any GPU in question is SM120."""
        return any(gpu.compute_capability == SM120 for gpu in self.gpus)

    @property
    def command(self) -> tuple[str, ...]:
        """The server's words: entrypoint and command."""
        if self.spec is None:
            return ()
        container = self.spec.server
        return (*(container.entrypoint or ()), *container.command)

    @property
    def env(self) -> dict[str, str]:
        """The environment the server will see: the image's, with the spec's over it."""
        of_image = dict(self.image.env) if self.image is not None else {}
        return {**of_image, **(dict(self.spec.server.env) if self.spec is not None else {})}

    def flag(self, *names: str) -> str | None:
        """The value of the last of these flags on the command line, "" where it has none, None where it is absent."""
        found: str | None = None
        for name, value in self._flags():
            if name in names:
                found = value
        return found

    def _flags(self) -> Iterator[tuple[str, str]]:
        words = self.command
        for position, word in enumerate(words):
            if not word.startswith("-"):
                continue
            name, equals, value = word.partition("=")
            if equals:
                yield name, value
                continue
            after = words[position + 1] if position + 1 < len(words) else ""
            yield name, "" if after.startswith("--") else after

    @property
    def model_family(self) -> str | None:
        """``deepseek_v4``, ``deepseek_v41`` or what config.json calls it; by names and parsers where no checkpoint was read."""
        if self.checkpoint is not None and self.checkpoint.config.model_type:
            return self.checkpoint.config.model_type
        return self.spec.served.family if self.spec is not None else None
