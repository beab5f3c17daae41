"""For every rule one case that it hits and one that it spares. What it says of the first stands in ``messages.txt``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from launchpad.doctor.case import Case, DeepGemm
from launchpad.rig.catalog import RigCatalog
from launchpad.rig.facts import DiskFacts, DockerFacts, ForeignProcess, GpuLink

from .cases import (
    GIB,
    H200,
    RIG,
    case,
    checkpoint,
    generic,
    inspected,
    named,
    other_model,
    rig,
    sglang,
    two,
    vendored,
    vllm,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchpad.rig.facts import RigFacts


@dataclass(frozen=True)
class Example:
    hits: Case
    spares: Case


def facts_of(hits: RigFacts, spares: RigFacts = RIG) -> Example:
    """A rule about the rig alone."""
    return Example(Case(hits), Case(spares))


def card(spares: dict[str, Any], **hits: Any) -> Example:
    """A rule about one card of the rig."""
    return facts_of(rig(first=hits), rig(first=spares))


def nobody(problem: str) -> Example:
    """GPUs that could not be counted, on a rig; a deployment on the CPU does not care."""
    hit = rig(gpus=None, gpu_problem=problem)
    return Example(Case(hit), generic("serve", facts=hit, gpus=None))


NVLINKED = rig(H200, gpu={"compute_capability": (12, 0), "memory_bytes": 141 * GIB}, nvlink=True)
A100 = RigCatalog(()).facts("4x-a100")
GB300 = RigCatalog(()).facts("4x-gb300")
MAX_Q = RigCatalog(()).facts("4x-rtx-pro-6000-max-q")
H100 = rig(A100, gpu={"compute_capability": (9, 0)})
ANY_CARD: dict[str, Any] = {"gpus": {"compute_capability": None, "min_memory": None}}
NCCL_OFF: dict[str, Any] = {"env": {"NCCL_P2P_DISABLE": "1"}}
NCCL_ON: dict[str, Any] = {"env": {"NCCL_P2P_DISABLE": None}}
DYNAMO = "nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime"
DEV = f"{DYNAMO}:1.3.0-deepseek-v4-dev.1"
TRTLLM: dict[str, Any] = {"image": {"reference": "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc24"}}
SERVE = ("trtllm-serve", "/models/deepseek-v4-flash", "--host", "0.0.0.0", "--backend", "pytorch")
FRONTEND = ("python3", "-m", "dynamo.frontend", "--http-host", "0.0.0.0", "--http-port", "8000")
WORKER = ("python3", "-m", "dynamo.trtllm", "--model-path", "/models/deepseek-v4-flash")
DSPARK: dict[str, Any] = {"speculative-config": {"method": "dspark", "num_speculative_tokens": 7}}
IMAGE_26: dict[str, Any] = {"image": {"reference": "vllm/vllm-openai:v0.26.0"}}
IMAGE_27: dict[str, Any] = {"image": {"reference": "vllm/vllm-openai:v0.27.1"}}
SGLANG_16: dict[str, Any] = {"image": {"reference": "lmsysorg/sglang:v0.5.16"}}
FP8_MODEL = checkpoint(30, model_type="qwen3", quantization="fp8")
OLD_DRIVER = rig(driver_version="570.86.15")

RIG_EXAMPLES: Mapping[str, Example] = {
    "driver.missing": nobody("NVML library not found (libnvidia-ml.so.1); install the NVIDIA driver, or use --rig"),
    "driver.half-upgraded": nobody(
        "the NVIDIA driver in the kernel and its libraries are of different versions; reboot, or reload the kernel modules"
    ),
    "driver.module-differs": facts_of(
        rig(driver_version="580.167.08", driver_loaded_version="580.126.09"),
        rig(driver_version="580.167.08", driver_loaded_version="580.167.08"),
    ),
    "driver.no-answer": nobody("NVML does not answer within 10 s; a GPU or its driver hangs"),
    "gpu.fell-off": nobody("GPU 2 fell off the bus; read `dmesg | grep -i xid`, then reboot"),
    "driver.no-gpu": Example(
        Case(rig(gpus=(), gpu_problem="NVML counts no GPU")),
        Case(rig(gpus=(), gpu_problem="no NVIDIA GPU is on the PCI bus, and no NVIDIA driver is loaded")),
    ),
    "driver.version-unknown": facts_of(rig(driver_version=None)),
    "driver.too-old-for-sm120": facts_of(rig(driver_version="565.57.01"), OLD_DRIVER),
    "driver.too-old-for-cuda13": Example(
        sglang(OLD_DRIVER), vllm(OLD_DRIVER, image={"reference": "vllm/vllm-openai:v0.33.0-cu129"})
    ),
    "driver.proprietary-modules": facts_of(rig(driver_open=False), rig(driver_open=True)),
    "gpu.capability-mixed": Example(
        sglang(rig(first={"compute_capability": (9, 0), "name": "H200"}), gpus={"compute_capability": None}),
        sglang(),
    ),
    "gpu.memory-mixed": Example(
        sglang(rig(first={"memory_bytes": 90 * GIB}), gpus={"min_memory": None}),
        sglang(rig(first={"memory_bytes": 97800 << 20})),
    ),
    "gpu.foreign-processes": card(
        {"foreign": ()}, foreign=(ForeignProcess(4711, "python3", 3 * GIB), ForeignProcess(4712, None, None))
    ),
    "gpu.display": card({"display_active": False}, display_active=True),
    "gpu.mig": Example(sglang(rig(first={"mig_enabled": True})), sglang(rig(gpu={"mig_enabled": False}))),
    "gpu.compute-prohibited": card({"compute_mode": "exclusive_process"}, compute_mode="prohibited"),
    "gpu.compute-exclusive": card({"compute_mode": "default"}, compute_mode="exclusive_process"),
    "gpu.power-capped": facts_of(rig(gpu={"power_limit_w": 300.0})),
    "gpu.max-q": facts_of(rig(gpu={"power_default_w": 300.0, "power_limit_w": 300.0})),
    "gpu.persistence": facts_of(rig(gpu={"persistence": False}), rig(gpu={"persistence": True})),
    "gpu.ecc-pending": card({"ecc_current": True, "ecc_pending": True}, ecc_current=True, ecc_pending=False),
    "gpu.row-remap-failed": card({"remapped_failure": False}, remapped_failure=True),
    "gpu.row-remap-pending": card({"remapped_pending": True, "remapped_failure": True}, remapped_pending=True),
    "gpu.ecc-uncorrected": card({"ecc_uncorrected": 0}, ecc_uncorrected=2),
    "gpu.bar1-small": facts_of(rig(gpu={"bar1_bytes": 256 << 20}), rig(gpu={"bar1_bytes": 128 * GIB})),
    "pcie.width": card({"pcie_width_now": 16}, pcie_width_now=8),
    "pcie.slot-generation": card({"pcie_gpu_gen_max": 5, "pcie_gen_now": 1}, pcie_gen_max=4, pcie_gpu_gen_max=5),
    "pcie.replays": card({"pcie_replays": 0}, pcie_replays=1204),
    "pcie.no-nvlink": Example(sglang(), sglang(**two())),
    "p2p.acs": Example(
        sglang(rig(acs_redirect=("0000:40:01.1", "0000:60:01.1"))),
        sglang(rig(acs_redirect=("0000:40:01.1", "0000:60:01.1")), **NCCL_OFF),
    ),
    "p2p.iommu": Example(sglang(rig(iommu="translated")), sglang(rig(iommu="passthrough"))),
    "p2p.no-access": Example(
        sglang(rig(links=(GpuLink(0, 1, "node", p2p_read=False), GpuLink(0, 2, "system", p2p_read=True)))),
        sglang(rig(links=(GpuLink(0, 1, "node", p2p_read=None),))),
    ),
    "p2p.sockets": Example(
        sglang(rig(gpu={"numa_node": 0}, first={"numa_node": 1})), sglang(rig(gpu={"numa_node": 0}))
    ),
    "p2p.custom-all-reduce": Example(
        vllm(**two(serving={"custom_all_reduce": True}), **NCCL_ON),
        vllm(**two(serving={"custom_all_reduce": False}), **NCCL_ON),
    ),
    "p2p.half-disabled": Example(
        vllm(**two(serving={"custom_all_reduce": True})), vllm(NVLINKED, **two(serving={"custom_all_reduce": True}))
    ),
    "power.circuit": facts_of(rig(circuit_w=1800), rig(circuit_w=7200)),
    "power.circuit-unknown": facts_of(RIG, rig(gpu={"power_limit_w": 300.0})),
    "power.budget-below-range": Example(sglang(power={"budget_w": 400}), sglang(power={"budget_w": 1200})),
    "power.cap-out-of-range": Example(
        sglang(MAX_Q, power={"budget_w": 1200, "cap_w": 600}), sglang(MAX_Q, power={"budget_w": 1200, "cap_w": 300})
    ),
    "power.uneven": Example(sglang(rig(first={"power_limit_w": 450.0})), Case(rig(first={"power_limit_w": 450.0}))),
    "host.ram-below-weights": Example(
        sglang(rig(ram_bytes=128 * GIB), checkpoint=checkpoint(160)),
        sglang(rig(ram_bytes=256 * GIB), checkpoint=checkpoint(160)),
    ),
    "host.shm-small": Example(
        sglang(rig(shm_bytes=8 * GIB), container={"ipc": "host"}), sglang(rig(shm_bytes=8 * GIB))
    ),
    "host.disk-low": facts_of(
        rig(disks=(DiskFacts("docker", "/var/lib/docker", 5 * GIB), DiskFacts("model", None, GIB))),
        rig(disks=(DiskFacts("docker", "/var/lib/docker", 200 * GIB), DiskFacts("state", None, None))),
    ),
    "host.glibc-cuda": Example(Case(rig(glibc="2.41")), sglang(rig(glibc="2.41"))),
    "container.no-gpu-runtime": facts_of(
        rig(docker=DockerFacts("28.5.1", ("runc",), ())),
        rig(docker=DockerFacts("28.5.1", ("runc",), ("nvidia.com/gpu=all",))),
    ),
    "container.cdi-stale": facts_of(
        rig(docker=DockerFacts("28.5.1", ("runc",), ("nvidia.com/gpu=all",), "570.86.15")),
        rig(docker=DockerFacts("28.5.1", ("runc",), ("nvidia.com/gpu=all",), "580.167.08")),
    ),
    "container.toolkit-unknown": facts_of(
        rig(docker=DockerFacts("28.5.1", ("nvidia", "runc"))),
        rig(docker=DockerFacts("28.5.1", ("runc",), ("nvidia.com/gpu=all",))),
    ),
}

CONTAINER_EXAMPLES: Mapping[str, Example] = {
    "container.shm": Example(sglang(container={"shm_size": None}), sglang(container={"shm_size": None, "ipc": "host"})),
    "container.ipc-host": Example(sglang(container={"ipc": "host"}), sglang()),
    "container.memlock": Example(
        sglang(container={"ulimits": {"memlock": 65536}}), sglang(container={"ulimits": {"memlock": -1}})
    ),
    "container.nofile": Example(
        sglang(container={"ulimits": {"nofile": 1024}}), sglang(container={"ulimits": {"nofile": -1}})
    ),
    "container.no-init": Example(sglang(container={"init": False}), sglang()),
    "container.cold-cache": Example(
        sglang(cache={"enabled": False}),
        sglang(cache={"enabled": False}, mounts=[{"source": "/srv/cache", "target": "/root/.cache", "writable": True}]),
    ),
    "container.loopback": Example(
        generic("python3", "-m", "sglang.launch_server", "--model-path", "/models/deepseek-v4-flash", "--port", "8000"),
        generic("vllm", "serve", "/models/deepseek-v4-flash"),
    ),
    "container.startup-deadline": Example(
        sglang(deadlines={"startup": "20m", "stall": "10m"}), sglang(deadlines={"startup": "40m"})
    ),
    "image.other-card": Example(
        sglang(image={"reference": "lmsysorg/sglang:deepseek-v4-blackwell"}),
        sglang(
            H200,
            image={"reference": "lmsysorg/sglang:deepseek-v4-blackwell"},
            **two(gpus={"count": 2, "compute_capability": None}),
        ),
    ),
    "image.day-zero-vllm": Example(vllm(image={"reference": "docker.io/vllm/vllm-openai:deepseekv4-cu130"}), vllm()),
    "image.dgx-spark-only": Example(
        sglang(image={"reference": "lmsysorg/sglang:dev-v4f-2dgx"}),
        sglang(
            rig(gpu={"compute_capability": (12, 1)}),
            image={"reference": "lmsysorg/sglang:dev-v4f-2dgx"},
            gpus={"compute_capability": None},
        ),
    ),
    "image.runtime-only": Example(sglang(image={"reference": "lmsysorg/sglang:latest-cu130-runtime"}), sglang()),
    "image.mutable-tag": Example(
        vllm(image={"reference": "vllm/vllm-openai:nightly"}),
        vllm(image={"reference": "vllm/vllm-openai:nightly-c71a583aa9f81400528e67e3d818f66b804e8340"}),
    ),
    "image.experimental": Example(
        generic(*WORKER, image={"reference": DEV}), generic(*WORKER, image={"reference": f"{DYNAMO}:1.6.1"})
    ),
    "image.other-engine": Example(
        case("v4-flash-trtllm-gb300.toml", GB300, image={"reference": "lmsysorg/sglang:v0.5.23"}),
        case("v4-flash-trtllm-gb300.toml", GB300, image={"reference": "registry.example/sglang:v0.5.23"}),
    ),
    "image.arch-list": Example(
        vllm(inspected=inspected(arch_list=("8.0", "9.0", "10.0a"))),
        vllm(inspected=inspected(arch_list=("7.5", "8.0", "9.0", "10.0", "11.0", "12.0"))),
    ),
    "image.flashinfer-parts": Example(
        vllm(inspected=inspected(packages={"flashinfer-python": "0.6.10", "flashinfer-cubin": "0.6.8.post1"})),
        vllm(inspected=inspected(packages={"flashinfer-python": "0.7.2", "flashinfer-jit-cache": "0.7.2+cu130"})),
    ),
    "image.dynamo-tag": Example(
        generic(*WORKER, image={"reference": f"{DYNAMO}:v1.3.0-deepseek-v4-dev.1"}),
        generic(*WORKER, image={"reference": DEV}),
    ),
    "image.muse-glimmer": Example(
        vllm(image={"reference": "vllm/vllm-openai:muse-glimmer"}),
        vllm(image={"reference": "vllm/vllm-openai:muse-glimmer"}, inspected=inspected(deep_gemm=vendored(sm120=True))),
    ),
    "model.larger-than-gpus": Example(
        sglang(checkpoint=checkpoint(510, quantization="fp8")), sglang(checkpoint=checkpoint(160, quantization="fp8"))
    ),
    "model.v4-pro-too-large": Example(sglang(**named("DeepSeek-V4-Pro")), sglang(**named("DeepSeek-V4-Flash"))),
    "model.v41-on-sm120": Example(sglang(**named("DeepSeek-V4.1-Flash")), sglang(**named("DeepSeek-V4-Flash-0731"))),
    "model.v4-before-hopper": Example(vllm(A100, **ANY_CARD), vllm(H100, **ANY_CARD)),
    "model.trust-remote-code": Example(
        sglang(serving={"trust_remote_code": False}), sglang(**other_model(serving={"trust_remote_code": False}))
    ),
    "model.mtp-on-0731": Example(
        vllm(**named("DeepSeek-V4-Flash-0731"), engine_args={"speculative-config": {"method": "mtp"}}),
        vllm(engine_args={"speculative-config": {"method": "mtp"}}),
    ),
    "model.eagle-on-0731": Example(
        sglang(**named("DeepSeek-V4-Flash-0731"), engine_args={"speculative-algorithm": "EAGLE"}),
        sglang(engine_args={"speculative-algorithm": "EAGLE"}),
    ),
    "model.dspark-on-preview": Example(
        sglang(engine_args={"speculative-algorithm": "DSPARK"}),
        sglang(**named("DeepSeek-V4-Flash-0731"), engine_args={"speculative-algorithm": "DSPARK"}),
    ),
    "model.dspark-depth": Example(
        vllm(engine_args=DSPARK),
        vllm(engine_args={"speculative-config": {"method": "dspark", "num_speculative_tokens": 3}}),
    ),
    "reasoning.context-too-short": Example(
        vllm(serving={"reasoning": "think-max", "context_length": 65_536}),
        vllm(serving={"reasoning": "think-max", "context_length": 393_216}),
    ),
    "reasoning.unsaid": Example(sglang(serving={"reasoning": None}), sglang(serving={"reasoning": "think-high"})),
    "reasoning.other-prompts": Example(vllm(), vllm(**named("DeepSeek-V4-Flash-0731"))),
    "engine.expandable-segments": Example(
        vllm(env={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}),
        vllm(env={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}, serving={"cuda_graphs": False}),
    ),
    "engine.graphs-off": Example(
        sglang(serving={"cuda_graphs": False}), sglang(**other_model(serving={"cuda_graphs": False}))
    ),
    "engine.memory-fraction": Example(vllm(serving={"memory_fraction": 0.99}), vllm(serving={"memory_fraction": 0.98})),
    "engine.beyond-graphs": Example(
        sglang(serving={"max_running_requests": 64}), sglang(serving={"max_running_requests": 32})
    ),
    "engine.visible-devices": Example(
        sglang(env={"CUDA_VISIBLE_DEVICES": "4,5,6,7"}), sglang(env={"CUDA_VISIBLE_DEVICES": "0,1,2,3"})
    ),
    "engine.visible-uuids": Example(
        sglang(env={"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"}), vllm(env={"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"})
    ),
}

DEEPGEMM_EXAMPLES: Mapping[str, Example] = {
    "deepgemm.broken-pair": Example(
        vllm(**IMAGE_27),
        vllm(**IMAGE_27, inspected=inspected(vllm_declares_sm120=True, deep_gemm=vendored(sm120=True))),
    ),
    "deepgemm.external-override": Example(
        vllm(
            inspected=inspected(
                vllm_declares_sm120=True, deep_gemm=(*vendored(sm120=True), DeepGemm("external", "2.6.0", False))
            )
        ),
        vllm(
            inspected=inspected(
                vllm_declares_sm120=True, deep_gemm=(*vendored(sm120=False), DeepGemm("external", "2.8.1", True))
            )
        ),
    ),
    "deepgemm.vllm-too-old": Example(vllm(image={"reference": "vllm/vllm-openai:v0.20.2"}), vllm(**IMAGE_26)),
    "deepgemm.absent": Example(
        vllm(inspected=inspected(deep_gemm=(DeepGemm("absent"),))),
        vllm(inspected=inspected(deep_gemm=vendored(sm120=True))),
    ),
    "deepgemm.unknown": Example(vllm(image={"reference": "vllm/vllm-openai:v0.34.0"}), vllm()),
    "deepgemm.e8m0-off": Example(
        vllm(env={"VLLM_USE_DEEP_GEMM_E8M0": "0"}),
        vllm(env={"VLLM_USE_DEEP_GEMM_E8M0": "0", "VLLM_USE_DEEP_GEMM": "0"}),
    ),
    "deepgemm.off-with-v4": Example(
        vllm(env={"VLLM_USE_DEEP_GEMM": "0"}), vllm(**other_model(env={"VLLM_USE_DEEP_GEMM": "0"}))
    ),
    "deepgemm.float-scales": Example(
        vllm(**other_model(image={"reference": "vllm/vllm-openai:v0.28.0"}), checkpoint=FP8_MODEL),
        vllm(**other_model(image={"reference": "vllm/vllm-openai:v0.30.0"}), checkpoint=FP8_MODEL),
    ),
    "deepgemm.source-dir": Example(vllm(env={"DEEPGEMM_SRC_DIR": "/src/DeepGEMM"}), vllm()),
    "fork.brittle": Example(
        vllm(env={"VLLM_TRITON_MLA_SPARSE": "1", "VLLM_TRITON_MLA_SPARSE_TOPK_CHUNK_SIZE": "256"}), vllm()
    ),
    "fork.graphs-forced": Example(
        vllm(env={"VLLM_TRITON_MLA_SPARSE_ALLOW_CUDAGRAPH": "1"}),
        vllm(env={"VLLM_TRITON_MLA_SPARSE_ALLOW_CUDAGRAPH": "0"}),
    ),
}

SGLANG_EXAMPLES: Mapping[str, Example] = {
    "sglang.too-old": Example(
        sglang(image={"reference": "lmsysorg/sglang:v0.5.12.post1"}),
        sglang(image={"reference": "lmsysorg/sglang:v0.5.13"}),
    ),
    "sglang.before-native": Example(sglang(image={"reference": "lmsysorg/sglang:v0.5.15"}), sglang(**SGLANG_16)),
    "sglang.unknown": Example(sglang(image={"reference": "lmsysorg/sglang:dev"}), sglang(**SGLANG_16)),
    "sglang.deepgemm-kernels": Example(
        sglang(inspected=inspected(engine="sglang", deep_gemm=(DeepGemm("external", "2.6.1", sm120_kernels=False),))),
        sglang(inspected=inspected(engine="sglang", deep_gemm=(DeepGemm("external", "2.6.1", sm120_kernels=True),))),
    ),
    "sglang.expert-parallel": Example(sglang(parallel={"expert": True}), vllm()),
    "sglang.dsv4-backend": Example(
        sglang(engine_args={"dsv4-attn-backend": "trtllm"}), sglang(engine_args={"dsv4-attn-backend": "flashmla"})
    ),
    "sglang.kv-cache-dtype": Example(
        sglang(serving={"kv_cache_dtype": "fp8_e5m2"}), sglang(serving={"kv_cache_dtype": "fp8_e4m3"})
    ),
    "sglang.speculation": Example(
        sglang(engine_args={"speculative-algorithm": "NGRAM"}),
        sglang(engine_args={"speculative-algorithm": "EAGLE", "speculative-eagle-topk": 1}),
    ),
    "sglang.dspark-sm120": Example(
        sglang(**SGLANG_16, engine_args={"speculative-algorithm": "DSPARK"}),
        sglang(engine_args={"speculative-algorithm": "DSPARK"}),
    ),
    "sglang.eagle-sm120": Example(
        sglang(engine_args={"speculative-algorithm": "EAGLE"}), sglang(engine_args={"speculative-algorithm": "DSPARK"})
    ),
    "sglang.max-total-tokens": Example(
        sglang(engine_args={"max-total-tokens": 524288}), sglang(serving={"context_length": 524288})
    ),
    "sglang.hicache": Example(sglang(engine_args={"enable-hierarchical-cache": True}), sglang()),
    "sglang.nvfp4": Example(
        sglang(image={"reference": "lmsysorg/sglang:v0.5.18"}, **named("DeepSeek-V4-Flash-NVFP4")),
        sglang(image={"reference": "lmsysorg/sglang:v0.5.18"}),
    ),
    "sglang.moe-backend": Example(
        sglang(engine_args={"moe-a2a-backend": "megamoe"}), sglang(engine_args={"moe-a2a-backend": "none"})
    ),
    "sglang.watchdog": Example(
        sglang(engine_args={"watchdog-timeout": None}), sglang(engine_args={"watchdog-timeout": 600})
    ),
    "sglang.warm-up": Example(
        sglang(env={"SGLANG_WARMUP_TIMEOUT": None}),
        sglang(env={"SGLANG_WARMUP_TIMEOUT": None}, engine_args={"skip-server-warmup": True}),
    ),
    "sglang.own-defaults": Example(
        sglang(env={"SGLANG_OPT_DEEPGEMM_HC_PRENORM": "1"}), sglang(env={"SGLANG_OPT_DEEPGEMM_HC_PRENORM": "0"})
    ),
    "sglang.fp4-experts": Example(
        sglang(env={"SGLANG_DSV4_FP4_EXPERTS": "0"}),
        sglang(env={"SGLANG_DSV4_FP4_EXPERTS": "0"}, **named("DeepSeek-V4-Flash-FP8")),
    ),
    "sglang.liveness-timeout": Example(
        sglang(probes={"liveness": {"timeout": "5s"}}),
        sglang(probes={"liveness": {"timeout": "5s"}}, env={"SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "false"}),
    ),
    "sglang.readiness-path": Example(
        sglang(probes={"readiness": {"path": "/v1/models"}}), sglang(probes={"readiness": {"path": "/ping"}})
    ),
    "sglang.stop-grace": Example(sglang(deadlines={"stop_grace": "30s"}), sglang(deadlines={"stop_grace": "80s"})),
}

VLLM_EXAMPLES: Mapping[str, Example] = {
    "vllm.kv-cache-dtype": Example(
        vllm(serving={"kv_cache_dtype": None}), vllm(**other_model(serving={"kv_cache_dtype": None}))
    ),
    "vllm.block-size": Example(
        vllm(engine_args={"block-size": 64}), vllm(**other_model(engine_args={"block-size": 64}))
    ),
    "vllm.mega-moe": Example(vllm(engine_args={"moe-backend": "deep_gemm_mega_moe"}), vllm()),
    "vllm.fp4-indexer": Example(
        vllm(engine_args={"attention-config": None, "attention_config.indexer_kv_dtype": "mxfp4"}),
        vllm(engine_args={"attention-config": {"use_fp4_indexer_cache": False}}),
    ),
    "vllm.attention-backend": Example(
        vllm(engine_args={"attention-backend": "FLASHINFER_MLA_SPARSE_SM120"}),
        vllm(**other_model(engine_args={"attention-backend": "FLASHINFER_MLA_SPARSE_SM120"})),
    ),
    "vllm.flashinfer-old": Example(
        vllm(image={"reference": "vllm/vllm-openai:v0.25.1"}),
        vllm(
            image={"reference": "vllm/vllm-openai:v0.25.1"},
            inspected=inspected(packages={"flashinfer-python": "0.6.14"}),
        ),
    ),
    "vllm.flashinfer-dspark": Example(vllm(**IMAGE_26, engine_args=DSPARK), vllm(engine_args=DSPARK)),
    "vllm.ready-timeout": Example(
        vllm(env={"VLLM_ENGINE_READY_TIMEOUT_S": None}), vllm(env={"VLLM_ENGINE_READY_TIMEOUT_S": 1800})
    ),
    "vllm.dspark-concurrency": Example(vllm(**IMAGE_26, engine_args=DSPARK), vllm(engine_args=DSPARK)),
    "vllm.tokenizer-mode": Example(
        vllm(engine_args={"tokenizer-mode": None}), vllm(**other_model(engine_args={"tokenizer-mode": None}))
    ),
    "vllm.reasoning-parser": Example(vllm(serving={"reasoning_parser": None}), vllm()),
    "vllm.instanttensor-memlock": Example(
        vllm(engine_args={"load-format": "instanttensor"}, container={"ulimits": {}}),
        vllm(engine_args={"load-format": "instanttensor"}),
    ),
    "vllm.eager-prefill": Example(
        vllm(env={"VLLM_USE_BREAKABLE_CUDAGRAPH": "0"}), vllm(env={"VLLM_USE_BREAKABLE_CUDAGRAPH": "1"})
    ),
    "vllm.nvfp4-variant": Example(vllm(**named("DeepSeek-V4-Flash-NVFP4")), vllm()),
}

TRTLLM_EXAMPLES: Mapping[str, Example] = {
    "trtllm.sm120": Example(
        generic(*SERVE, **TRTLLM), generic("trtllm-serve", "/models/qwen", **TRTLLM, **other_model())
    ),
    "trtllm.before-blackwell": Example(generic(*SERVE, facts=A100, **TRTLLM), generic(*SERVE, **TRTLLM)),
    "trtllm.pin": Example(
        generic(
            *WORKER,
            image={"reference": DEV},
            inspected=inspected(DEV, engine="trtllm", packages={"tensorrt-llm": "1.3.0rc19"}),
        ),
        generic(
            *WORKER,
            image={"reference": DEV},
            inspected=inspected(DEV, engine="trtllm", packages={"tensorrt-llm": "1.3.0rc15post1"}),
        ),
    ),
    "trtllm.too-old": Example(
        generic(*SERVE, image={"reference": "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc15"}),
        generic(*SERVE, image={"reference": "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc15.post1"}),
    ),
    "trtllm.pip-pin": Example(
        generic("sh", "-c", "pip install tensorrt-llm==1.3.0rc15.post1 && trtllm-serve /models/deepseek-v4-flash"),
        generic("sh", "-c", "pip install tensorrt-llm==1.3.0rc29 && trtllm-serve /models/deepseek-v4-flash"),
    ),
    "dynamo.serve-gone": Example(generic("dynamo", "serve", "graphs.deepseek_v4_pro:Frontend"), generic(*FRONTEND)),
    "dynamo.think-modes": Example(
        generic("dynamo", "serve", "graphs.x:Frontend", "--enable-think-modes"), generic(*FRONTEND)
    ),
    "dynamo.kv-events": Example(generic(*WORKER, "--publish-events-and-metrics"), generic(*WORKER)),
    "trtllm.kv-block-size": Example(
        generic(*WORKER, "--kv-block-size", "64", image={"reference": DEV}),
        generic(*WORKER, "--kv-block-size", "128", image={"reference": DEV}),
    ),
    "dynamo.discovery": Example(generic(*WORKER), generic(*WORKER, env={"DYN_DISCOVERY_BACKEND": "file"})),
    "dynamo.worker-health": Example(
        generic(*WORKER, env={"DYN_SYSTEM_PORT": 9090}),
        generic(*WORKER, env={"DYN_SYSTEM_PORT": 9090, "DYN_HEALTH_CHECK_ENABLED": "true"}),
    ),
    "dynamo.frontend-health": Example(
        generic(*FRONTEND), generic(*FRONTEND, probes={"readiness": {"path": "/v1/models/deepseek-v4-flash/ready"}})
    ),
    "nim.sm120-unknown": Example(
        generic("start", image={"reference": "nvcr.io/nim/deepseek-ai/deepseek-v4-flash:1.11.0"}),
        generic("start", facts=replace(RIG), image={"reference": "nvcr.io/nim/meta/llama3-8b:1.0.3"}),
    ),
    "nim.before-hopper": Example(
        case("v4-flash-nim.toml", A100, gpus={"min_memory": None}),
        case("v4-flash-nim.toml", H100, gpus={"min_memory": None}),
    ),
}

EXAMPLES: Mapping[str, Example] = {
    **RIG_EXAMPLES,
    **CONTAINER_EXAMPLES,
    **DEEPGEMM_EXAMPLES,
    **SGLANG_EXAMPLES,
    **VLLM_EXAMPLES,
    **TRTLLM_EXAMPLES,
}
