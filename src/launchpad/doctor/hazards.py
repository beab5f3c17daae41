"""Known bad combinations, as dated data.

This table holds what a log betrays after a crash: read by the crash classifier and by ``doctor --log``. What can be seen before a
launch, in a rig, a profile and an image, stands in ``doctor/rules``. A line that healthy starts write too is no row here.
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
        "deepgemm.fp32-scales",
        r"sm120_dispatch\.hpp",
        "fatal",
        "DeepGEMM was given float32 scales, and its SM120 kernels read packed UE8M0 scales only",
        hint="remove VLLM_USE_DEEP_GEMM_E8M0=0 from env; for a checkpoint with float32 scales set VLLM_USE_DEEP_GEMM=0",
        source="https://github.com/vllm-project/vllm/issues/57486",
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
        "deepgemm.mega-moe",
        r"DeepGEMM MegaMoE requires SM100|MegaMoE is only supported on Blackwell GPUs",
        "fatal",
        "mega-MoE kernels exist for SM100 (B200, GB200) only",
        hint='set moe-backend = "marlin" under engine_args (vLLM), or remove moe-a2a-backend (SGLang)',
        source="vllm 0.33.0 deep_gemm_mega_moe.py; SGLang docs, DeepSeek-V4",
        basis="seen",
    ),
    _row(
        "deepgemm.missing",
        r"Sparse Attention Indexer CUDA op requires DeepGEMM",
        "fatal",
        "DeepSeek's sparse attention needs the deep_gemm package, and this image has none that imports",
        hint="use the official image vllm/vllm-openai of 0.26.0 or >= 0.28.0, which vendors it",
        source="https://github.com/eugr/spark-vllm-docker/issues/209",
    ),
    _row(
        "jit.toolkit-too-old",
        r"NVCC version must be at least 12\.9|jit/handle\.hpp",
        "fatal",
        "the CUDA toolkit that compiles kernels at start is too old for SM120",
        hint="use an image with CUDA >= 12.9 (13.0 by default since vLLM 0.33), not kernels compiled on the host",
        source="https://github.com/vllm-project/vllm/issues/50705",
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
        "jit.compiler-crashed",
        r"(nvcc|cicc|ptxas)\b.*[Ss]egmentation fault|[Ss]egmentation fault.*\b(nvcc|cicc|ptxas)",
        "recoverable",
        "the CUDA compiler crashed while compiling kernels",
        hint="compile with the container's own CUDA toolkit (13.1 and 13.2 are known to crash on V4 kernels), or try again",
        source="https://github.com/sgl-project/sglang/issues/30936",
    ),
    _row(
        "vllm.fp4-indexer",
        r"requires Blackwell datacenter GPUs",
        "fatal",
        "the FP4 indexer cache needs SM100, and this card is SM120",
        hint='set attention-config = { indexer_kv_dtype = "fp8" } under engine_args',
        source="vllm 0.33.0 v1/attention/backends/mla/indexer.py",
        basis="seen",
    ),
    _row(
        "vllm.attention-backend",
        r"is not a DeepSeek V4 attention backend|No valid attention backend found",
        "fatal",
        "no attention backend of this vLLM takes this model on this GPU with these settings",
        hint="remove attention-backend from engine_args: vLLM picks the SM120 backend for DeepSeek V4 by itself from 0.24.0",
        source="https://github.com/vllm-project/vllm/issues/31936",
    ),
    _row(
        "vllm.cooperative-topk",
        r"cooperative_topk launch failed|launch_cooperative_cluster",
        "fatal",
        "this vLLM launches a top-k kernel that SM120 does not have",
        hint="use vLLM 0.26.0 or >= 0.28.0; 0.24.0 needed nine workarounds",
        source="https://github.com/vllm-project/vllm/issues/47266",
    ),
    _row(
        "gpu.kernel-shared-memory",
        r"Failed to set the allowed dynamic shared memory size|out of resource: shared memory",
        "fatal",
        "a kernel wants more shared memory than this GPU has (SM120: 99 KiB a block)",
        hint="the kernel was written for a datacentre GPU: use an image with SM120 support, vLLM >= 0.28.0 or SGLang >= 0.5.16",
        source="https://github.com/QwenLM/FlashQLA/issues/4",
    ),
    _row(
        "image.no-kernel",
        r"no kernel image is available for execution on the device|CUDA_ERROR_INVALID_IMAGE"
        r"|No compiled cutlass_scaled_mm for CUDA device capability"
        r"|is not compatible with the current PyTorch installation",
        "fatal",
        "the image was built without kernels for this GPU's compute capability",
        hint="use an image whose TORCH_CUDA_ARCH_LIST has 12.0 (12.0a, 12.0f)",
        source="https://github.com/vllm-project/vllm/issues/32109",
    ),
    _row(
        "flashinfer.version-mismatch",
        r"flashinfer-(cubin|jit-cache) version \(.*\) does not match flashinfer version",
        "fatal",
        "the FlashInfer packages in this image are of different versions",
        hint="use an official image, or install flashinfer-cubin and flashinfer-jit-cache of flashinfer-python's version",
        source="https://github.com/vllm-project/vllm/issues/49804",
    ),
    _row(
        "flashinfer.too-old",
        r"trtllm_batch_decode_sparse_mla_dsv4\(\) got an unexpected keyword argument",
        "fatal",
        "FlashInfer in this image is too old for DeepSeek V4 on SM120: it needs 0.6.14",
        hint="use vLLM 0.26.0 or >= 0.28.0; 0.24.0 and 0.25.x pin FlashInfer 0.6.12 and 0.6.13",
        source="https://github.com/vllm-project/vllm/issues/47266",
    ),
    _row(
        "flashinfer.sm120-shape",
        r"num_tokens > 64|SM120 sparse-MLA has no decode kernel|Unsupported sparse-MLA prefill configuration"
        r"|requires a FlashInfer DSV4 sparse MLA decode specialization",
        "fatal",
        "FlashInfer in this image has no SM120 kernel for this attention shape",
        hint="remove the table [speculative], use FlashInfer >= 0.6.18, or set SGLANG_SM120_FLASHMLA_BACKEND=triton",
        source="https://github.com/sgl-project/sglang/pull/33407",
    ),
    _row(
        "flashinfer.sm120-long-prompt",
        r"sparse_mla_sm120_prefill\.cu.*operation not permitted",
        "recoverable",
        "FlashInfer's SM12x sparse prefill failed, which one user met at prompts of about 40K tokens",
        hint="lower the longest prompt (serving.context_length), or use a newer image",
        source="public report of a DeepSeek V4 NIM on SM121, read 2026-11-22",
    ),
    _row(
        "sglang.speculation",
        r"Only EAGLE and DSPARK speculative algorithms are supported for DeepseekV4",
        "fatal",
        "SGLang takes EAGLE (top-k 1) and DSPARK for DeepSeek V4 and no other speculation",
        hint='write [speculative] with method = "mtp" or "dspark" in the place of what drafts now, or leave both away',
        source="sglang 0.5.23 deepseek_v4_hook.py",
        basis="seen",
    ),
    _row(
        "sglang.parsers",
        r"cannot be mixed with other parsers",
        "fatal",
        "SGLang's reasoning and tool-call parsers of DeepSeek V4 go together only",
        hint='set serving.reasoning_parser = "deepseek-v4" and serving.tool_call_parser = "deepseekv4"',
        source="sglang 0.5.23 server arguments",
        basis="seen",
    ),
    _row(
        "sglang.dsv4-backend",
        r"--dsv4-attn-backend trtllm requires an SM100|flashmla_mega requires",
        "fatal",
        "that DeepSeek V4 attention backend exists for SM100 only",
        hint="remove dsv4-attn-backend from engine_args",
        source="sglang 0.5.23",
        basis="seen",
    ),
    _row(
        "sglang.moe-shape",
        r"MXFP4 Marlin requires SM90 or SM120|does not satisfy Marlin constraints"
        r"|requires hidden_size and intermediate_size_per_partition to be multiples of 128",
        "fatal",
        "the MoE kernels cannot take this model split this way on this GPU",
        hint="lower parallel.tensor, and leave moe-runner-backend to SGLang or set flashinfer_mxfp4",
        source="sglang 0.5.23 mxfp4 MoE methods",
        basis="seen",
    ),
    _row(
        "trtllm.sm120",
        r"Deepseek should be supported by fmha",
        "fatal",
        "TensorRT-LLM has no attention kernel for DeepSeek on this GPU",
        hint="serve it with SGLang or vLLM: launchpad up v4-flash-sglang-tp4",
        source="https://github.com/NVIDIA/TensorRT-LLM/issues/18039",
    ),
    _row(
        "trtllm.kv-events",
        r"event_buffer_max_size must be 0",
        "fatal",
        "TensorRT-LLM cannot publish KV events for DeepSeek V4",
        hint="remove --publish-events-and-metrics (--publish-kv-events in newer Dynamo) from the command",
        source="https://github.com/ai-dynamo/dynamo/pull/8825",
    ),
    _row(
        "dynamo.model-card",
        r"Error adding model from discovery.*not found in cache",
        "fatal",
        "Dynamo 1.3's frontend looks for the served model in a hub cache and does not find it",
        hint="mount the model cache into the frontend and set HF_HOME to it, or use Dynamo 1.6.1 with a local path",
        source="ai-dynamo 1.3.1, run here",
        basis="seen",
    ),
    _row(
        "engine.unknown-model",
        r"but Transformers does not recognize this architecture|Cannot find model module",
        "fatal",
        "this engine's version does not know this model",
        hint="use a newer image: DeepSeek V4 needs SGLang >= 0.5.12 or vLLM >= 0.20 with a recent transformers",
        source="https://github.com/swiss-ai/model-launch/pull/138",
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
        r"Free memory on device .* on startup is less than desired GPU memory utilization"
        r"|The memory capacity is unbalanced\. Some GPUs may be occupied",
        "recoverable",
        "another process holds memory on a GPU of this deployment",
        hint="nvidia-smi shows the holder; end it, or lower serving.memory_fraction",
        source="vllm 0.33.0 gpu_worker.py; https://github.com/sgl-project/sglang/issues/1533",
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
        hint="if it comes back, remove the table [speculative], or take another image version; dmesg | grep -i xid tells more",
        source="https://docs.nvidia.com/cuda/cuda-runtime-api/ (cudaError: the process must be terminated and relaunched)",
    ),
    _row(
        "gpu.xid",
        r"NVRM: Xid \([^)]*\): (8|43|109|119|154)\b|NVRM: .*GPU is probably locked",
        "recoverable",
        "the driver reports a GPU or its firmware that hung",
        hint="dmesg | grep -i xid; reset the GPU or reboot, and take a newer driver where it comes again",
        source="https://github.com/NVIDIA/open-gpu-kernel-modules/issues/1045",
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
        "nccl.hang",
        r"Watchdog caught collective operation timeout",
        "fatal",
        "a collective over the GPUs hung in NCCL",
        hint="set NCCL_P2P_DISABLE = 1 under env; on bare metal turn IOMMU translation or PCIe ACS off; dmesg | grep -i xid",
        source="https://github.com/NVIDIA/nccl/issues/1999",
    ),
    _row(
        "nccl.failed",
        r"ncclSystemError|ncclUnhandledCudaError",
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
        "nim.no-key",
        r"(?<![A-Za-z])Authentication Error(?![A-Za-z])|requested operation requires an API key, but none was found",
        "fatal",
        "NGC did not let the container fetch its model: the key is missing, wrong, or may not use it (it ends with code 0 then)",
        hint="set secrets.NGC_API_KEY to a key whose NGC account may fetch this NIM: docker login alone is not enough",
        source="https://github.com/NVIDIA/NemoClaw/issues/3333",
        as_of="2026-11-23",
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
    _row(
        "host.open-files",
        r"(?<!`)OSError: \[Errno 24\] Too many open files",
        "fatal",
        "the container may not open enough files",
        hint="set container.ulimits.nofile = 65535",
        source="vllm 0.33.0 system_utils.py, which warns of it",
        basis="seen",
    ),
    _row(
        "host.killed",
        r"scheduler died during initialization \(exit code: -9\)",
        "recoverable",
        "a process of the engine was killed, most often by the kernel for want of host memory",
        hint="dmesg | grep -i oom; raise container.memory_limit, or free host memory",
        source="https://github.com/sgl-project/sglang/pull/20287",
    ),
    _row(
        "vllm.ready-timeout",
        r"Timed out waiting for engine core processes to start|Timed out waiting for engines to send",
        "recoverable",
        "vLLM gave up on its own start: loading and compiling took longer than VLLM_ENGINE_READY_TIMEOUT_S",
        hint="set VLLM_ENGINE_READY_TIMEOUT_S = 3600 under env; the next start finds a warmer cache",
        source="https://github.com/vllm-project/vllm/issues/32116",
    ),
    _row(
        "sglang.watchdog",
        r"[Ww]atchdog timeout \(self\.watchdog_timeout=",
        "recoverable",
        "one batch took longer than SGLang's watchdog allows: a kernel was compiled in it, or the GPUs hang",
        hint="set watchdog-timeout = 1200 under engine_args; with NCCL the last word, try NCCL_P2P_DISABLE = 1 under env",
        source="https://github.com/sgl-project/sglang/issues/3752",
    ),
    _row(
        "sglang.warm-up",
        r"Initialization failed\. warmup error",
        "recoverable",
        "SGLang's first request failed or timed out, and it ends itself then",
        hint="set SGLANG_WARMUP_TIMEOUT = 1800 under env; a cold start compiles kernels in that request",
        source="sglang 0.5.23 http_server.py",
        basis="seen",
    ),
    _row(
        "sglang.unhealthy",
        r"Health check failed\. Server couldn't get a response from detokenizer",
        "recoverable",
        "SGLang answered no health request for 20 s: its scheduler hangs or is far behind",
        hint="launchpad logs NAME; nvidia-smi: GPUs at 100 % and low power hang in NCCL, then NCCL_P2P_DISABLE = 1",
        source="sglang 0.5.23 http_server.py",
        basis="seen",
    ),
    _row(
        "deepgemm.import",
        r"Failed to import vendored deep_gemm|vllm\.third_party\.deep_gemm was found but failed to import",
        "fatal",
        "the DeepGEMM that this image carries cannot be imported",
        hint="use an official image; an own build needs CUDA >= 12.9 and the toolkit that it was built with",
        source="vllm 0.33.0 utils/deep_gemm.py",
        basis="seen",
    ),
    _row(
        "engine.worker-died",
        r"Engine core initialization failed|EngineCore (failed to start|encountered a fatal error)"
        r"|WorkerProc failed to start|Worker proc .* died unexpectedly|scheduler died during initialization"
        r"|[Rr]eceived sigquit from a child proces|SIGQUIT received\.|Subprocess .* crashed with exit code",
        "recoverable",
        "a process of the engine died; the reason stands further up in its log",
        hint="launchpad logs NAME, and look for the first Traceback",
        source="vllm 0.33.0 and sglang 0.5.23",
        basis="seen",
    ),
)
#: The default for an exit that no row explains.
UNKNOWN: Final = "exit.unexplained"
