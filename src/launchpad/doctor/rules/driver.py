"""Hazards of the NVIDIA driver: absent, hung, half upgraded, too old for card or image, or of the wrong flavour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from launchpad.doctor.rule import Rule, Seen
from launchpad.doctor.rules.lookup import (
    AS_OF,
    cards,
    engine,
    engine_version,
    older,
    reference,
    repository,
    tag,
    truth,
    version,
)
from launchpad.engines.tags import release_of_tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from launchpad.doctor.case import Case

_BLACKWELL: Final = 10
_COMPATIBILITY: Final = "https://docs.nvidia.com/deploy/cuda-compatibility/"
_UPDATE: Final = "update the driver to 580 or newer and reboot"
#: Engine, its first release whose own images bring CUDA 13, and why it is thought so.
_CUDA_13_SINCE: Final = (
    ("sglang", "0.5.15", "SGLang >= 0.5.15, whose wheels pin CUDA 13"),
    ("vllm", "0.33.0", "vLLM >= 0.33.0, whose default image is CUDA 13"),
    ("trtllm", "1.2.0rc6.post2", "TensorRT-LLM >= 1.2.0rc6.post2, whose README names CUDA 13.0 and later 13.2"),
)
#: Dynamo's images -> its first release in which they bring CUDA 13 and nothing else.
_DYNAMO_13_SINCE: Final[Mapping[str, str]] = {
    "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime": "0.7.0",
    "nvcr.io/nvidia/ai-dynamo/vllm-runtime": "1.3.0",
    "nvcr.io/nvidia/ai-dynamo/sglang-runtime": "1.3.0",
}


def _wants_gpus(case: Case) -> bool:
    return case.spec is None or case.spec.server.gpus is not None


def _problem(*needles: str) -> Callable[[Case], Iterable[Seen]]:
    """A look for one of the reasons why a survey could not count the GPUs."""

    def look(case: Case) -> Iterator[Seen]:
        said = case.facts.gpu_problem or ""
        if not case.facts.gpus and any(needle in said for needle in needles) and _wants_gpus(case):
            what, _, hint = said.partition("; ")
            yield Seen(f"cannot use the GPUs of this rig: {what}", evidence=said, hint=hint or None)

    return look


def _loaded_other(case: Case) -> Iterator[Seen]:
    library, module = case.facts.driver_version, case.facts.driver_loaded_version
    if library and module and library != module and _wants_gpus(case):
        yield Seen(f"the NVIDIA kernel module is {module}, its libraries are {library}")


def _too_old_for_card(case: Case) -> Iterator[Seen]:
    if case.on_sm120 and older(version(case.facts.driver_version), "570"):
        yield Seen(f"driver {case.facts.driver_version} is older than 570 and does not know SM120 cards")


def _proprietary(case: Case) -> Iterator[Seen]:
    blackwell = [gpu for gpu in case.gpus if (gpu.compute_capability or (0, 0))[0] >= _BLACKWELL]
    if blackwell and case.facts.driver_open is False:
        yield Seen(
            f"{cards(blackwell)} {'needs' if len(blackwell) == 1 else 'need'} NVIDIA's open kernel modules, "
            "and the proprietary ones are loaded"
        )


def _cuda_13(case: Case) -> tuple[str, bool] | None:
    """Why the image is taken to bring CUDA 13, and whether that is certain; None where it does not or nobody knows.

    It is certain where the image was looked into, or the profile builds it for that CUDA; a tag only tells.
    """
    if case.image is not None and case.image.cuda_version:
        found = case.image.cuda_version
        return (f"CUDA {found}", True) if older(version(found), "13") is False else None
    asked = dict(case.spec.own_image.build_args).get("cuda") if case.spec is not None else None
    if asked is not None:
        return (f"image.build.args.cuda = {asked}", True) if older(version(asked), "13") is False else None
    label = tag(case) or ""
    if "cu12" in label or "cuda12" in label:
        return None
    if "cu13" in label or "cuda13" in label:
        return f"its tag {label}", False
    why = _cuda_13_by_release(case)
    return (why, False) if why is not None else None


def _cuda_13_by_release(case: Case) -> str | None:
    """The same by what the tag says of the release: the engine's own, or Dynamo's where the image is Dynamo's."""
    for name, since, why in _CUDA_13_SINCE:
        if older(engine_version(case, name), since) is False:
            return why
    first = _DYNAMO_13_SINCE.get(repository(case))
    if first is not None and older(version(release_of_tag(tag(case))), first) is False:
        return f"Dynamo's images of this engine bring CUDA 13 alone since {first}"
    return None


def _too_old_for_cuda(case: Case) -> Iterator[Seen]:
    if case.spec is None or not case.gpus or not older(version(case.facts.driver_version), "580"):
        return
    said = _cuda_13(case)
    if said is None:
        return
    why, certain = said
    bridged = truth(case.env.get("VLLM_ENABLE_CUDA_COMPATIBILITY")) and engine(case) == "vllm"
    yield Seen(
        f"image {reference(case)} brings CUDA 13, which needs driver 580; this rig has {case.facts.driver_version}",
        evidence=why,
        hint=_cuda_hint(case),
        severity="informs" if bridged else "blocks" if certain else "warns",
    )


def _cuda_hint(case: Case) -> str | None:
    """Another word than the rule's own where there is no image with CUDA 12 to take."""
    ours = case.spec is not None and case.spec.own_image.build_template is not None
    return _UPDATE if ours or engine(case) == "trtllm" or repository(case) in _DYNAMO_13_SINCE else None


def _unknown(case: Case) -> Iterator[Seen]:
    if case.gpus and case.facts.driver_version is None:
        yield Seen("the driver version of this rig is unknown: whether it fits the card and the image was not judged")


RULES: Final = (
    Rule(
        id="driver.missing",
        severity="blocks",
        title="No NVIDIA driver, or it is not loaded",
        look=_problem("NVML library not found", "driver is not loaded"),
        hint="sudo apt install nvidia-open   (or your distribution's package), then reboot; nvidia-smi must answer",
        source="https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html (codes 9 and 12)",
        as_of=AS_OF,
        basis="seen",
        explain="launchpad asks the driver through NVML. Without the library there is no driver; without the module "
        "it did not load: Secure Boot refusing an unsigned module and a kernel upgrade without DKMS are the "
        "usual reasons.",
    ),
    Rule(
        id="driver.half-upgraded",
        severity="blocks",
        title="Kernel module and libraries of different driver versions (as NVML says)",
        look=_problem("of different versions"),
        hint="reboot   (or, with nothing using the GPUs: sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia && "
        "sudo modprobe nvidia)",
        source="https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html (code 18)",
        as_of=AS_OF,
        basis="seen",
        explain="The package was upgraded under a running system. Nothing new can open a GPU until the module is "
        "loaded again; unattended upgrades do this at night. Hold the driver's packages on a serving rig.",
    ),
    Rule(
        id="driver.module-differs",
        severity="blocks",
        title="/proc shows another driver version than NVML",
        look=_loaded_other,
        hint="reboot; then hold the packages: sudo apt-mark hold 'nvidia-*' 'libnvidia-*'",
        source="https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html (code 18)",
        as_of=AS_OF,
        basis="inferred",
        explain="The same half upgrade, seen while NVML still answers: running containers keep the old libraries, "
        "new ones get the new and fail with 'Driver/library version mismatch'.",
    ),
    Rule(
        id="driver.no-answer",
        severity="blocks",
        title="The driver hangs",
        look=_problem("does not answer within"),
        hint="dmesg | grep -iE 'nvrm|xid'; a reboot mends most",
        source="https://github.com/NVIDIA/open-gpu-kernel-modules/issues/446",
        as_of=AS_OF,
        basis="reported",
        explain="A GPU whose firmware (GSP) does not answer blocks everybody who asks, nvidia-smi too. Xid 8, 79, "
        "109 and 119 in the kernel's log name the card.",
    ),
    Rule(
        id="gpu.fell-off",
        severity="blocks",
        title="A card fell off the bus or must be reset",
        look=_problem("fell off the bus", "must be reset"),
        hint="dmesg | grep -i xid; reboot; where it comes again check power cables, riser and cooling",
        source="https://docs.nvidia.com/deploy/xid-errors/",
        as_of=AS_OF,
        basis="reported",
        explain="Xid 79 is most often power or the slot, not the card: 600 W cards on one cable, a riser, or heat. A"
        " card in this state answers nothing until the machine, sometimes with its power supply, was off.",
    ),
    Rule(
        id="driver.no-gpu",
        severity="blocks",
        title="The driver runs and counts no GPU",
        look=_problem("NVML counts no GPU"),
        hint="lspci | grep -i nvidia; dmesg | grep -i nvrm: a driver without this card's id says 'No NVIDIA GPU found'",
        source="https://docs.nvidia.com/deploy/nvml-api/",
        as_of=AS_OF,
        basis="inferred",
        explain="The card is not in the slot, bound to vfio for a virtual machine, or newer than the driver.",
    ),
    Rule(
        id="driver.version-unknown",
        severity="informs",
        title="The driver's version is unknown",
        look=_unknown,
        hint="nvidia-smi --query-gpu=driver_version --format=csv,noheader",
        source=_COMPATIBILITY,
        as_of=AS_OF,
        basis="seen",
        explain="SM120 needs 570, CUDA 13 images need 580. A recorded rig that does not state its driver cannot be "
        "judged on either.",
    ),
    Rule(
        id="driver.too-old-for-sm120",
        severity="blocks",
        title="Driver older than the card",
        look=_too_old_for_card,
        hint="install driver 580 or newer with the open kernel modules: sudo apt install nvidia-open, then reboot",
        source="https://docs.nvidia.com/cuda/cuda-toolkit-release-notes/index.html (CUDA 12.8: first with sm_120, "
        "driver 570)",
        as_of=AS_OF,
        basis="reported",
        versions="driver < 570, compute capability 12.0",
        explain="CUDA 12.8 was the first with sm_120, and 570 its driver. Seen working with DeepSeek V4: 580.126, "
        "580.167.08, 590.48.01, 595.71.05.",
    ),
    Rule(
        id="driver.too-old-for-cuda13",
        severity="blocks",
        title="CUDA 13 image on a driver older than 580",
        look=_too_old_for_cuda,
        hint=f"{_UPDATE}, or take an image with CUDA 12 (a -cu129 tag)",
        source=f"{_COMPATIBILITY}; https://docs.nvidia.com/dynamo/v1.3.0/resources/support-matrix and "
        "https://docs.nvidia.com/dynamo/dev/reference/compatibility (Dynamo: driver 580.xx+); "
        "https://github.com/NVIDIA/TensorRT-LLM/pull/11224 (README at 1.2.0rc6: CUDA 13.0.0)",
        as_of="2026-11-23",
        basis="reported",
        versions="images with CUDA 13 (vLLM 0.33.0, SGLang >= 0.5.15, TensorRT-LLM >= 1.2.0rc6.post2, Dynamo's with TensorRT-LLM"
        " >= 0.7.0 and with vLLM or SGLang >= 1.3.0, tags with cu13), driver < 580",
        explain="The container does not start ('unsatisfied condition: cuda>=13.0'), or fails with CUDA error 803 "
        "where that check is disabled. vLLM's VLLM_ENABLE_CUDA_COMPATIBILITY=1 bridges R535 and R570 hosts "
        "on professional cards, and the compatibility package of CUDA 13 does so elsewhere: which images carry it was not "
        "looked at. Blocks where the image's CUDA was read from the image or stands in image.build.args, warns where it is "
        "told by the tag alone.",
    ),
    Rule(
        id="driver.proprietary-modules",
        severity="blocks",
        title="Blackwell needs the open kernel modules",
        look=_proprietary,
        hint="sudo apt install nvidia-open   (cuda-drivers pulls the proprietary ones), then reboot",
        source="https://developer.nvidia.com/blog/nvidia-transitions-fully-towards-open-source-gpu-kernel-modules/",
        as_of=AS_OF,
        basis="reported",
        versions="compute capability 10.0 and above",
        explain="NVIDIA: for Blackwell 'you must use the open-source GPU kernel modules. The proprietary drivers are"
        " unsupported'. /proc/driver/nvidia/version names 'Open Kernel Module' where they are loaded.",
    ),
)
