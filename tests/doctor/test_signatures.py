"""Log lines that name a crash: each signature knows a real line, spares one that only looks like it, and says where it is from."""

from __future__ import annotations

from datetime import date

import pytest

from launchpad.doctor.hazards import SIGNATURES, UNKNOWN
from launchpad.supervise.crash import signature

#: id -> lines as the engines, torch, NCCL, Docker, argparse and the kernel write them.
REAL: dict[str, tuple[str, ...]] = {
    "deepgemm.sf-transformation": (
        "RuntimeError: Assertion error (csrc/apis/layout.hpp:60): Unknown SF transformation",
        "tvm.error.InternalError: Assertion error (csrc/apis/layout.hpp:59): Unknown SF transformation",
    ),
    "deepgemm.recipe": ("RuntimeError: Assertion error (csrc/utils/layout.hpp:76): Unknown recipe",),
    "deepgemm.architecture": (
        "RuntimeError: Assertion error (csrc/apis/hyperconnection.hpp:56): Unsupported architecture",
        "RuntimeError: Assertion error (csrc/apis/attention.hpp:189): Unsupported architecture",
        "RuntimeError: Assertion error (csrc/apis/gemm.hpp:122): Unsupported architecture or scaling factor types",
    ),
    "image.no-kernel": (
        "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device",
        "RuntimeError: CUDA driver error: 200 (CUDA_ERROR_INVALID_IMAGE, device kernel image is invalid)",
        "NVIDIA RTX PRO 6000 with CUDA capability sm_120 is not compatible with the current PyTorch installation.",
    ),
    "flashinfer.sm120-shape": (
        "tvm.error.InternalError: Check failed: num_tokens > 64 (5 vs. 64)",
        "RuntimeError: Unsupported sparse-MLA prefill configuration: model=DSV4 topk=192",
        "SM120 sparse-MLA has no decode kernel for this shape",
        "DSV4 on SM120 requires a FlashInfer DSV4 sparse MLA decode specialization for (num_q_heads=32, top_k=192)",
    ),
    "engine.unknown-flag": (
        "vllm: error: unrecognized arguments: --no-such-flag",
        "sglang serve: error: ambiguous option: --cuda-graph-max-bs could match --cuda-graph-max-bs-decode",
        "sglang serve: error: argument --moe-runner-backend: invalid choice: 'nope' (choose from auto, triton)",
        "vllm serve: error: argument --port: invalid int value: 'http'",
        "vllm serve: error: argument --dtype: expected one argument",
        "sglang serve: error: the following arguments are required: --model-path/--model",
    ),
    "gpu.weights-leave-no-kv": (
        "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current value: mem_fraction_static=0.4",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
        "... is needed. Based on the available memory, the estimated maximum model length is 65536. Try increasing",
    ),
    "gpu.busy-at-start": (
        "ValueError: Free memory on device cuda:0 (10.5/94.97 GiB) on startup is less than desired GPU memory utilization",
    ),
    "gpu.graph-capture-memory": ("Exception: Capture cuda graph failed: CUDA out of memory. Possible solutions: ...",),
    "gpu.out-of-memory": (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "torch.cuda.OutOfMemoryError: Tried to allocate 2.00 GiB.",
        "RuntimeError: CUDA out of memory",
    ),
    "gpu.lost": (
        "NVMLError_GpuIsLost: GPU is lost",
        "NVRM: Xid (PCI:0000:41:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        "GPU 1 fell off the bus",
    ),
    "gpu.kernel-failed": (
        "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
        "RuntimeError: CUDA error: device-side assert triggered",
        "RuntimeError: CUDA error: unspecified launch failure",
    ),
    "driver.mismatch": (
        "Failed to initialize NVML: Driver/library version mismatch",
        "nvidia-container-cli: initialization error: nvml error: driver/library version mismatch: unknown",
        "RuntimeError: CUDA driver version is insufficient for CUDA runtime version",
        "nvidia-container-cli: requirement error: unsatisfied condition: cuda>=13.0, please update your driver",
    ),
    "host.no-gpu-runtime": (
        'could not select device driver "nvidia" with capabilities: [[gpu]]',
        "nvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file",
        "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=all",
    ),
    "nccl.hang": ("[Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1, OpType=ALLREDUCE)",),
    "nccl.failed": (
        "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.",
        "ncclUnhandledCudaError: Call to CUDA function failed.",
    ),
    "host.port-in-use": (
        "ERROR:    [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use",
        "OSError: [Errno 98] Address already in use",
        "RuntimeError: Port is already in use. dist_init_port=30001",
    ),
    "host.shared-memory": (
        "Fatal Python error: Bus error",
        "Error while creating shared memory segment /dev/shm/nccl-x7Tq2B (size 9637888), error: No space left on device (28)",
        "OSError: [Errno 28] No space left on device: '/dev/shm/psm_1'",
    ),
    "host.disk-full": (
        "OSError: [Errno 28] No space left on device: '/cache/triton/abc'",
        "write /var/lib/docker/overlay2/x: no space left on device",
    ),
    "nim.no-key": (
        "ERROR: model manifest download failed: Authentication Error",
        "The requested operation requires an API key, but none was found",
    ),
    "model.files-missing": (
        "FileNotFoundError: [Errno 2] No such file or directory: '/models/x/model-00002-of-00046.safetensors'",
        "FileNotFoundError: [Errno 2] No such file or directory: '/models/x/config.json'",
        "RuntimeError: Cannot find any model weights with `/models/x`",
        "OSError: /models/x does not appear to have a file named config.json.",
        "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
        "Error while deserializing header: MetadataIncompleteBuffer",
    ),
    "deepgemm.fp32-scales": (
        "RuntimeError: Assertion error (csrc/apis/sm120_dispatch.hpp:127): sfa.scalar_type() == torch::kInt",
    ),
    "deepgemm.mega-moe": ("NotImplementedError: DeepGEMM MegaMoE requires SM100 GPUs.",),
    "deepgemm.missing": (
        "Sparse Attention Indexer CUDA op requires DeepGEMM support in the current vLLM environment.",
    ),
    "deepgemm.import": ("Module vllm.third_party.deep_gemm was found but failed to import",),
    "jit.toolkit-too-old": ("RuntimeError: NVCC version must be at least 12.9",),
    "jit.compiler-crashed": ("sh: line 1: 4711 Segmentation fault (core dumped) cicc --c++17",),
    "vllm.fp4-indexer": ("ValueError: use_fp4_indexer_cache requires Blackwell datacenter GPUs",),
    "vllm.attention-backend": ("ValueError: FLASHINFER_MLA_SPARSE is not a DeepSeek V4 attention backend",),
    "vllm.cooperative-topk": (
        "RuntimeError: launch_cooperative_cluster, cooperative_topk launch failed: invalid argument",
    ),
    "gpu.kernel-shared-memory": (
        "tvm.error.InternalError: Failed to set the allowed dynamic shared memory size to 206848",
    ),
    "flashinfer.version-mismatch": (
        "RuntimeError: flashinfer-cubin version (0.6.14) does not match flashinfer version (0.6.18)",
    ),
    "flashinfer.too-old": (
        "TypeError: trtllm_batch_decode_sparse_mla_dsv4() got an unexpected keyword argument 'swa_topk_lens'",
    ),
    "flashinfer.sm120-long-prompt": ("sparse_mla_sm120_prefill.cu:88: CUDA error: operation not permitted",),
    "sglang.speculation": ("Only EAGLE and DSPARK speculative algorithms are supported for DeepseekV4ForCausalLM",),
    "sglang.parsers": ("ValueError: deepseekv4 cannot be mixed with other parsers",),
    "sglang.dsv4-backend": ("--dsv4-attn-backend trtllm requires an SM100/SM103 (Blackwell) GPU.",),
    "sglang.moe-shape": ("MXFP4 Marlin requires SM90 or SM120.",),
    "sglang.watchdog": ("Scheduler watchdog timeout (self.watchdog_timeout=300, self.soft=False)",),
    "sglang.warm-up": ("Initialization failed. warmup error: Traceback",),
    "sglang.unhealthy": ("Health check failed. Server couldn't get a response from detokenizer for last 20 seconds.",),
    "trtllm.sm120": ("Assertion failed: Deepseek should be supported by fmha in context phase",),
    "trtllm.kv-events": ("AssertionError: event_buffer_max_size must be 0",),
    "dynamo.model-card": (
        "Error adding model from discovery: hub::from_hf(X): Model snapshots for 'X' not found in cache",
    ),
    "engine.unknown-model": ("has model type `deepseek_v4` but Transformers does not recognize this architecture.",),
    "engine.worker-died": (
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        "Received sigquit from a child process. It usually means the child failed.",
    ),
    "gpu.xid": ("NVRM: Xid (PCI:0000:41:00): 109, pid=4711, name=python3, Ch 00000008",),
    "host.open-files": ("OSError: [Errno 24] Too many open files",),
    "host.killed": ("Rank 0 scheduler died during initialization (exit code: -9). If exit code is -9 (SIGKILL), ...",),
    "vllm.ready-timeout": ("TimeoutError: Timed out waiting for engine core processes to start.",),
}

#: id -> lines that hold some of its words and mean something else.
NEAR: dict[str, tuple[str, ...]] = {
    "deepgemm.sf-transformation": ("RuntimeError: Unknown transformation",),
    "deepgemm.recipe": ("Unknown recipe 'tp4'",),
    "deepgemm.architecture": ("Resolved architecture: LlamaForCausalLM", "ValueError: Unsupported architecture ['Foo']"),
    "image.no-kernel": ("Using 'deep_gemm' kernel backend out of those available",),
    "flashinfer.sm120-shape": ("max_num_batched_tokens > 64",),
    "engine.unknown-flag": ("INFO non-default args: {'port': 8000}", "KeyError: 'argument'", "error: could not argue: invalid"),
    "gpu.weights-leave-no-kv": ("Available KV cache memory: 67.98 GiB",),
    "gpu.busy-at-start": (
        "Free memory on device (138.34/139.8 GiB) on startup. Desired GPU memory utilization is (0.5, 69.9 GiB).",
    ),
    "gpu.graph-capture-memory": ("Capturing batches (bs=1): 100%| 12/12", "Capture target decode CUDA graph begin."),
    "gpu.out-of-memory": ("a common cause is the OS OOM killer",),
    "gpu.lost": ("NVRM: Xid (PCI:0000:41:00): 31, pid=1, Ch 00000008", "GPU KV cache size: 79 tokens"),
    "gpu.kernel-failed": ("CUDA error: no kernel image is available for execution on the device",),
    "driver.mismatch": ("transformers version mismatch", "nvidia-container-cli: initialization error: nvml error"),
    "host.no-gpu-runtime": ("device driver 580.167.08",),
    "nccl.hang": ("Watchdog caught nothing", "ProcessGroupNCCL watchdog thread started, collective operation timeout 600 s"),
    "nccl.failed": ("sglang is using nccl==2.28.9", "NCCL WARN Call to ibv_open_device failed"),
    "host.port-in-use": ("Uvicorn running on http://127.0.0.1:8100", "[Errno 24] Too many open files"),
    "host.shared-memory": ("OSError: [Errno 28] No space left on device: '/cache/triton/abc'", "initialised shared memory"),
    "host.disk-full": ("Free space left on /cache: 12 GiB",),
    "nim.no-key": ("openai.AuthenticationError: Error code: 401", "PreAuthentication Errors: 0"),
    "model.files-missing": ("FileNotFoundError: [Errno 2] No such file or directory: 'nvcc'",),
    "deepgemm.fp32-scales": ("sm120_dispatch ready",),
    "deepgemm.mega-moe": ("Using DeepGEMM MegaMoE",),
    "deepgemm.missing": ("DeepGEMM is optional here",),
    "deepgemm.import": ("Imported vllm.third_party.deep_gemm",),
    "jit.toolkit-too-old": ("NVCC version 12.9",),
    "jit.compiler-crashed": ("nvcc --version", "Segmentation fault (core dumped) python3"),
    "vllm.fp4-indexer": ("Blackwell datacenter GPUs found: 4",),
    "vllm.attention-backend": ("Using FLASH_ATTN attention backend out of potential backends: ['FLASH_ATTN']",),
    "vllm.cooperative-topk": ("cooperative_topk requires SM90+ and is not supported on the SM12x family",),
    "gpu.kernel-shared-memory": ("shared memory size 206848",),
    "flashinfer.version-mismatch": ("flashinfer-cubin version (0.6.18)",),
    "flashinfer.too-old": ("TypeError: f() got an unexpected keyword argument 'x'",),
    "flashinfer.sm120-long-prompt": ("PermissionError: operation not permitted",),
    "sglang.speculation": ("speculative algorithm EAGLE",),
    "sglang.parsers": ("reasoning parser deepseek-v4",),
    "sglang.dsv4-backend": ("Using DeepseekV4AttnBackend for dsv4 attention backend (CUDA).",),
    "sglang.moe-shape": ("MXFP4 Marlin chosen",),
    "sglang.watchdog": ("watchdog_timeout=1200, soft_watchdog_timeout=None",),
    "sglang.warm-up": ("Skipping CuTeDSL warmup because no compile units were requested.",),
    "sglang.unhealthy": ("GET /health HTTP/1.1 503 Service Unavailable",),
    "trtllm.sm120": ("fmha ready",),
    "trtllm.kv-events": ("event_buffer_max_size=0",),
    "dynamo.model-card": ("Adding model from discovery",),
    "engine.unknown-model": ("Resolved architecture: LlamaForCausalLM",),
    "engine.worker-died": ("Started server process [1]", "(Worker pid=603) Using V2 Model Runner"),
    "gpu.xid": ("NVRM: Xid (PCI:0000:41:00): 31, pid=1, Ch 00000008",),
    "host.open-files": ("This can cause fd limit errors like `OSError: [Errno 24] Too many open files`. Consider increasing",),
    "host.killed": ("a common cause is the OS OOM killer",),
    "vllm.ready-timeout": ("Waiting for engine core processes to start",),
}  # fmt: skip
TABLE = {row.id: row for row in SIGNATURES}


@pytest.mark.parametrize(("id_", "line"), [(id_, line) for id_, lines in REAL.items() for line in lines])
def test_a_real_line_is_known_for_what_it_is(id_: str, line: str) -> None:
    found = signature(["something before", line, "something after"])

    assert found is not None
    assert found.id == id_


@pytest.mark.parametrize(("id_", "line"), [(id_, line) for id_, lines in NEAR.items() for line in lines])
def test_a_line_that_only_looks_alike_is_spared(id_: str, line: str) -> None:
    assert TABLE[id_].pattern.search(line) is None


def test_every_row_has_a_real_line_and_a_near_miss() -> None:
    assert set(TABLE) == set(REAL) == set(NEAR)


def test_every_row_has_an_id_of_its_own() -> None:
    assert len(TABLE) == len(SIGNATURES)
    assert UNKNOWN not in TABLE


@pytest.mark.parametrize("row", SIGNATURES, ids=list(TABLE))
def test_every_row_says_what_to_do_and_where_it_is_from(row: object) -> None:
    assert all(getattr(row, field).strip() for field in ("message", "hint", "source"))


@pytest.mark.parametrize("row", SIGNATURES, ids=list(TABLE))
def test_every_row_is_dated_and_not_from_the_future(row: object) -> None:
    assert date(2025, 1, 1) < date.fromisoformat(getattr(row, "as_of", "")) <= date(2026, 12, 31)


@pytest.mark.parametrize(
    ("lines", "id_"),
    [
        (["No space left on device: '/dev/shm/psm_1'"], "host.shared-memory"),
        (["No space left on device: '/cache'", "Bus error"], "host.shared-memory"),
        (["Capture cuda graph failed: torch.OutOfMemoryError: CUDA out of memory"], "gpu.graph-capture-memory"),
        (["CUDA out of memory", "ncclSystemError: ..."], "gpu.out-of-memory"),
        (["nvidia-container-cli: initialization error: nvml error: driver/library version mismatch"], "driver.mismatch"),
        (["layout.hpp:60): Unknown SF transformation", "Assertion error (hyperconnection.hpp:56)"], "deepgemm.sf-transformation"),
        (["torch.OutOfMemoryError", "Assertion error (hyperconnection.hpp:56)"], "deepgemm.architecture"),
    ],
)  # fmt: skip
def test_of_two_rows_that_match_the_specific_one_wins_wherever_its_line_stands(lines: list[str], id_: str) -> None:
    found = signature(lines)

    assert found is not None
    assert found.id == id_


def test_a_log_without_a_known_line_has_no_signature() -> None:
    assert signature(["Traceback (most recent call last):", "Application startup complete."]) is None
