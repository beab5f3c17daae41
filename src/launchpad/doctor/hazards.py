"""Known bad combinations, as dated data.

One table serves twice: before a launch (what a check looks for) and after a crash (which line in the log betrays it). This first
table holds the log signatures; the rules that look at a rig, a profile and an image before the load join it with ``doctor``.
Every row says where it comes from, as of when, and whether it was seen, measured, or inferred. A verdict is ``fatal`` where trying
again cannot help, ``recoverable`` where it may. Nothing here acts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Signature:
    """A line in an engine's log that names the cause of a crash. ``basis`` says how we know."""

    id: str
    pattern: re.Pattern[str]
    verdict: Literal["fatal", "recoverable"]
    message: str
    hint: str
    source: str
    as_of: str
    basis: Literal["seen", "measured", "inferred", "reported"]


def _row(
    id_: str,
    pattern: str,
    verdict: Literal["fatal", "recoverable"],
    message: str,
    *,
    hint: str,
    source: str,
    basis: Literal["seen", "measured", "inferred", "reported"] = "reported",
    as_of: str = "2026-11-22",
) -> Signature:
    return Signature(id_, re.compile(pattern), verdict, message, hint, source, as_of, basis)


#: In order: the first row that matches a log wins, so the specific stands before the general.
SIGNATURES: Final = (
    _row(
        "deepgemm.sf-transformation",
        r"Unknown SF transformation",
        "fatal",
        "DeepGEMM in this image has no SM120 branch for its scaling factors",
        hint="use vLLM 0.26.0 or >= 0.28.0, or SGLang >= 0.5.16; with SGLang SGLANG_ENABLE_JIT_DEEPGEMM=0 avoids it",
        source="https://github.com/deepseek-ai/DeepGEMM/issues/372",
    ),
    _row(
        "deepgemm.recipe",
        r"Assertion error .*Unknown recipe",
        "fatal",
        "DeepGEMM in this image has no FP8 recipe for SM120",
        hint="use vLLM 0.26.0 or >= 0.28.0, whose vendored DeepGEMM carries SM120 kernels",
        source="https://github.com/vllm-project/vllm/issues/47130",
    ),
    _row(
        "deepgemm.architecture",
        r"Assertion error .*Unsupported architecture|hyperconnection\.hpp|sm120_dispatch\.hpp",
        "fatal",
        "DeepGEMM in this image does not support this GPU's compute capability",
        hint="use an image whose DeepGEMM has SM120 kernels: vLLM 0.26.0 or >= 0.28.0, SGLang >= 0.5.16",
        source="https://github.com/vllm-project/vllm/issues/51758",
    ),
    _row(
        "image.no-kernel",
        r"no kernel image is available for execution on the device|CUDA_ERROR_INVALID_IMAGE",
        "fatal",
        "the image was built without kernels for this GPU's compute capability",
        hint="use an image whose TORCH_CUDA_ARCH_LIST has 12.0 (12.0a, 12.0f)",
        source="https://github.com/vllm-project/vllm/issues/32109",
    ),
    _row(
        "flashinfer.sm120-shape",
        r"num_tokens > 64|SM120 sparse-MLA has no decode kernel|Unsupported sparse-MLA prefill configuration"
        r"|requires a FlashInfer DSV4 sparse MLA decode specialization",
        "fatal",
        "FlashInfer in this image has no SM120 kernel for this attention shape",
        hint="turn speculative decoding off, use FlashInfer >= 0.6.18, or set SGLANG_SM120_FLASHMLA_BACKEND=triton",
        source="https://github.com/sgl-project/sglang/pull/33407",
    ),
    _row(
        "engine.unknown-flag",
        r"error: (unrecognized arguments|ambiguous option|argument .*: (invalid|expected)|the following arguments are required)"
        r"|invalid choice:",
        "fatal",
        "the engine does not know a flag or value of this profile",
        hint="compare engine_args with the image's version: launchpad render NAME, then the engine's --help",
        source="argparse, in every engine version read",
        basis="seen",
    ),
    _row(
        "gpu.weights-leave-no-kv",
        r"Not enough memory\. Please try to increase --mem-fraction-static|No available memory for the cache blocks"
        r"|estimated maximum model length is",
        "fatal",
        "after the weights there is no GPU memory left for the KV cache",
        hint="raise serving.memory_fraction, lower serving.context_length, or use more GPUs",
        source="sglang 0.5.23 pool_configurator.py; vllm 0.33.0 kv_cache_utils.py",
        basis="seen",
    ),
    _row(
        "gpu.busy-at-start",
        r"Free memory on device .* on startup is less than desired GPU memory utilization",
        "recoverable",
        "another process holds memory on a GPU of this deployment",
        hint="nvidia-smi shows the holder; end it, or lower serving.memory_fraction",
        source="vllm 0.33.0 gpu_worker.py",
    ),
    _row(
        "gpu.graph-capture-memory",
        r"Capture cuda graph failed",
        "fatal",
        "GPU memory ran out while capturing CUDA graphs",
        hint="lower serving.memory_fraction, or cuda-graph-max-bs-decode under engine_args",
        source="sglang 0.5.23",
    ),
    _row(
        "gpu.out-of-memory",
        r"torch\.(cuda\.)?OutOfMemoryError|CUDA out of memory",
        "fatal",
        "a GPU ran out of memory",
        hint="lower serving.memory_fraction, serving.context_length or serving.max_running_requests",
        source="torch",
        basis="seen",
    ),
    _row(
        "gpu.lost",
        r"GPU is lost|(fell|fallen) off the bus|Xid.*: 79",
        "fatal",
        "a GPU stopped answering",
        hint="nvidia-smi -q and dmesg | grep -i xid; reset the GPU or reboot, then reseat the card if it returns",
        source="https://docs.nvidia.com/deploy/xid-errors/",
    ),
    _row(
        "gpu.kernel-failed",
        r"CUDA error: (an illegal memory access was encountered|unspecified launch failure|device-side assert triggered)",
        "recoverable",
        "a CUDA kernel failed, which ends the process and not the GPU",
        hint="if it comes back, turn speculative decoding off, or take another image version; dmesg | grep -i xid tells more",
        source="https://docs.nvidia.com/cuda/cuda-runtime-api/ (cudaError: the process must be terminated and relaunched)",
    ),
    _row(
        "driver.mismatch",
        r"[Dd]river/library version mismatch|CUDA driver version is insufficient|unsatisfied condition: cuda",
        "fatal",
        "the driver does not fit the CUDA of this image",
        hint="CUDA 13 images need driver >= 580; update the driver and reboot, or take a cu129 image",
        source="https://docs.nvidia.com/deploy/cuda-compatibility/",
    ),
    _row(
        "host.no-gpu-runtime",
        r"could not select device driver|nvidia-container-cli: initialization error|unresolvable CDI devices",
        "fatal",
        "Docker cannot give GPUs to containers",
        hint="install nvidia-container-toolkit, then: sudo nvidia-ctk runtime configure --runtime=docker"
        " && sudo systemctl restart docker",
        source="https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html",
        basis="seen",
    ),
    _row(
        "nccl.failed",
        r"ncclSystemError|ncclUnhandledCudaError|Watchdog caught collective operation timeout",
        "recoverable",
        "the GPUs cannot talk to each other over NCCL",
        hint="try NCCL_P2P_DISABLE=1 under env; on bare metal turn IOMMU translation or PCIe ACS off",
        source="https://github.com/NVIDIA/nccl/issues/1999",
    ),
    _row(
        "host.port-in-use",
        r"\[Errno 98\].*[Aa]ddress already in use|Port is already in use",
        "fatal",
        "the server's port inside the container is taken",
        hint="with container networking host, free the port or change publish.container_port",
        source="uvicorn",
        basis="seen",
    ),
    _row(
        "host.shared-memory",
        r"Bus error|Error while creating shared memory segment|[Nn]o space left on device.*/dev/shm",
        "fatal",
        "the container's shared memory is too small",
        hint='set container.shm_size = "32GiB", or container.ipc = "host"',
        source="https://docs.sglang.ai/get_started/install.html",
    ),
    _row(
        "host.disk-full",
        r"[Nn]o space left on device",
        "fatal",
        "a disk is full",
        hint="df -h; docker system df; launchpad keeps caches in volumes named launchpad-cache-*",
        source="errno ENOSPC",
        basis="seen",
    ),
    _row(
        "model.files-missing",
        r"FileNotFoundError:.*(safetensors|config\.json)|Cannot find any model weights"
        r"|does not appear to have a file named config\.json|SafetensorError|MetadataIncompleteBuffer",
        "fatal",
        "files of the model are missing or cut short",
        hint="compare the folder with model.safetensors.index.json and fetch what is missing",
        source="transformers and safetensors",
        basis="seen",
    ),
)
#: The default for an exit that no row explains.
UNKNOWN: Final = "exit.unexplained"
