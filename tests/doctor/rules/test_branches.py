"""Rules that weigh: the same hazard blocks, warns or informs by how sure it is, and each of its other sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from launchpad.doctor.case import Case, DeepGemm
from launchpad.doctor.rule import examine
from launchpad.doctor.rules import RULES
from launchpad.rig.catalog import RigCatalog
from launchpad.rig.facts import DockerFacts, RigFacts

from .cases import GIB, H200, RIG, case, generic, inspected, named, other_model, rig, sglang, table, two, vendored, vllm
from .examples import A100, ANY_CARD, DEV, DSPARK, DYNAMO, OLD_DRIVER, SERVE, WORKER

if TYPE_CHECKING:
    from launchpad.doctor.finding import Severity

GB300 = RigCatalog(()).facts("4x-gb300")
EIGHT = RigCatalog(()).facts("8x-rtx-pro-6000-server")
NIGHTLY = "0.26.1rc1.dev303+gabcdef0"
BOTH_RUNTIMES = DockerFacts("28.5.1", ("nvidia", "runc"), ("nvidia.com/gpu=all",), "570.86.15", "1.18.0")
FORK: dict[str, Any] = table("v4-flash-vllm-sm120-fork.toml")["image"]["build"]
MAX: dict[str, Any] = {"serving": {"reasoning": "think-max"}}
SGLANG_UNKNOWN: dict[str, Any] = {"image": {"reference": "lmsysorg/sglang:v0.5.18"}}


def trtllm(**changes: Any) -> Case:
    """The shipped TensorRT-LLM profile on its rig, changed."""
    return case("v4-flash-trtllm-gb300.toml", GB300, **changes)


def carries(version: str, reference: str) -> Case:
    """Dynamo's worker for V4 in ``reference``, in which TensorRT-LLM of ``version`` was found."""
    image = inspected(reference, engine="trtllm", engine_version=version, packages={"tensorrt-llm": version})
    return generic(*WORKER, facts=GB300, image={"reference": reference}, inspected=image)


OLD_GB300 = rig(GB300, driver_version="570.86.15")
GB10 = rig(GB300, gpu={"compute_capability": (12, 1)})
GA = f"{DYNAMO}:1.3.0"
RELEASE = "nvcr.io/nvidia/tensorrt-llm/release:1.3.0rc19"
VLLM_RUNTIME = "nvcr.io/nvidia/ai-dynamo/vllm-runtime:1.6.1"

#: (what, case, id, severity or None where it must be silent)
BRANCHES: tuple[tuple[str, Case, str, Severity | None], ...] = (
    (
        "CUDA 13 read in the image",
        sglang(OLD_DRIVER, inspected=inspected(cuda_version="13.0.3")),
        "driver.too-old-for-cuda13",
        "blocks",
    ),
    (
        "CUDA 12.9 read in the image",
        sglang(OLD_DRIVER, inspected=inspected(cuda_version="12.9.1")),
        "driver.too-old-for-cuda13",
        None,
    ),
    (
        "CUDA compatibility turned on",
        vllm(OLD_DRIVER, env={"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}),
        "driver.too-old-for-cuda13",
        "informs",
    ),
    (
        "CUDA 13 asked for by a build",
        case("v4-flash-vllm-sm120-fork.toml", OLD_DRIVER),
        "driver.too-old-for-cuda13",
        "blocks",
    ),
    (
        "CUDA 12.9 asked for by a build",
        case(
            "v4-flash-vllm-sm120-fork.toml",
            OLD_DRIVER,
            image={"build": {**FORK, "args": {**FORK["args"], "cuda": "12.9"}}},
        ),
        "driver.too-old-for-cuda13",
        None,
    ),
    ("a tag of TensorRT-LLM", case("v4-flash-trtllm-gb300.toml", OLD_GB300), "driver.too-old-for-cuda13", "warns"),
    (
        "a tag of TensorRT-LLM from before CUDA 13",
        generic(*SERVE, facts=OLD_GB300, image={"reference": "nvcr.io/nvidia/tensorrt-llm/release:1.1.0rc3"}),
        "driver.too-old-for-cuda13",
        None,
    ),
    (
        "a tag of Dynamo with TensorRT-LLM",
        case("v4-flash-dynamo-trtllm-gb300.toml", OLD_GB300),
        "driver.too-old-for-cuda13",
        "warns",
    ),
    (
        "a tag of Dynamo with SGLang, of when it had both",
        generic("x", facts=OLD_GB300, image={"reference": "nvcr.io/nvidia/ai-dynamo/sglang-runtime:1.2.1"}),
        "driver.too-old-for-cuda13",
        None,
    ),
    (
        "a tag that says cuda13",
        generic(
            "x",
            facts=OLD_GB300,
            image={"reference": "nvcr.io/nvidia/ai-dynamo/sglang-runtime:1.2.0-deepseek-v4-cuda13-dev.2"},
        ),
        "driver.too-old-for-cuda13",
        "warns",
    ),
    (
        "a tag that says cu129",
        generic("x", facts=OLD_GB300, image={"reference": "lmsysorg/sglang:v0.5.23-cu129"}),
        "driver.too-old-for-cuda13",
        None,
    ),
    ("the snapshot with NVIDIA's own mark", carries("1.3.0rc15.post1+g154e76c", DEV), "trtllm.pin", None),
    ("the snapshot with another TensorRT-LLM", carries("1.3.0rc14", DEV), "trtllm.pin", "warns"),
    ("the snapshot, old by its number", carries("1.3.0rc14", DEV), "trtllm.too-old", None),
    ("Dynamo's own release with rc19", carries("1.3.0rc19", GA), "trtllm.too-old", "warns"),
    ("the pin, marked, in another image", carries("1.3.0rc15.post1+g154e76c", GA), "trtllm.too-old", None),
    (
        "TensorRT-LLM's own release rc19",
        generic(*SERVE, facts=GB300, image={"reference": RELEASE}),
        "trtllm.too-old",
        "blocks",
    ),
    ("TensorRT-LLM on SM121", case("v4-flash-trtllm-gb300.toml", GB10), "trtllm.sm120", "blocks"),
    ("TensorRT-LLM on SM103", case("v4-flash-trtllm-gb300.toml", GB300), "trtllm.sm120", None),
    (
        "another NIM on Ampere",
        generic("start", facts=A100, image={"reference": "nvcr.io/nim/meta/llama3-8b:1.0.3"}),
        "nim.before-hopper",
        None,
    ),
    (
        "a NIM from a registry of one's own",
        case(
            "v4-flash-nim.toml", A100, gpus={"min_memory": None}, image={"reference": "registry.example/mirror/flash:1"}
        ),
        "nim.before-hopper",
        "warns",
    ),
    (
        "think-max in 128k tokens",
        generic("vllm", "serve", "/models/x", "--max-model-len", "128k", **MAX),
        "reasoning.context-too-short",
        "warns",
    ),
    (
        "think-max in 384K tokens",
        generic("vllm", "serve", "/models/x", "--max-model-len", "384K", **MAX),
        "reasoning.context-too-short",
        None,
    ),
    ("CUDA 13 on a new driver", sglang(inspected=inspected(cuda_version="13.0.3")), "driver.too-old-for-cuda13", None),
    (
        "a block of 32 in TensorRT-LLM's own file",
        trtllm(engine_config={"kv_cache_config": {"tokens_per_block": 32}}),
        "trtllm.kv-block-size",
        "blocks",
    ),
    (
        "a block of 256 in TensorRT-LLM's own file",
        trtllm(engine_config={"kv_cache_config": {"tokens_per_block": 256}}),
        "trtllm.kv-block-size",
        None,
    ),
    (
        "no block in TensorRT-LLM's own file",
        trtllm(engine_config={"kv_cache_config": {}}),
        "trtllm.kv-block-size",
        None,
    ),
    (
        "a block of 32 in the file of Dynamo's worker",
        case("v4-flash-dynamo-trtllm-gb300.toml", GB300, engine_config={"kv_cache_config": {"tokens_per_block": 32}}),
        "trtllm.kv-block-size",
        "blocks",
    ),
    ("proprietary modules on Hopper", Case(rig(H200, driver_open=False)), "driver.proprietary-modules", None),
    ("MIG on a rig without a deployment", Case(rig(first={"mig_enabled": True})), "gpu.mig", "informs"),
    (
        "TP=8 over PCIe",
        vllm(EIGHT, gpus={"count": 8}, parallel={"tensor": 8}),
        "pcie.no-nvlink",
        "warns",
    ),
    (
        "another engine's image under TensorRT-LLM",
        case("v4-flash-dynamo-trtllm-gb300.toml", GB300, image={"reference": "lmsysorg/sglang:v0.5.23"}),
        "trtllm.too-old",
        None,
    ),
    (
        "another engine found in the image",
        trtllm(inspected=inspected(RELEASE, engine="sglang", engine_version="0.5.23")),
        "trtllm.too-old",
        None,
    ),
    (
        "an engine's own image under Dynamo",
        case("v4-flash-dynamo-trtllm-gb300.toml", GB300, image={"reference": "lmsysorg/sglang:v0.5.23"}),
        "image.other-engine",
        "blocks",
    ),
    (
        "Dynamo's image with another worker",
        case(
            "v4-flash-dynamo-trtllm-gb300.toml",
            GB300,
            image={"reference": VLLM_RUNTIME},
        ),
        "image.other-engine",
        "blocks",
    ),
    (
        "Dynamo's release with that worker",
        case("v4-flash-dynamo-trtllm-gb300.toml", GB300, image={"reference": f"{DYNAMO}:1.6.1"}),
        "image.other-engine",
        None,
    ),
    (
        "an official name, and the engine found inside",
        vllm(image={"reference": "lmsysorg/sglang:v0.5.23"}, inspected=inspected(packages={"vllm": "0.33.0"})),
        "image.other-engine",
        None,
    ),
    ("Dynamo's image of the same engine", vllm(image={"reference": VLLM_RUNTIME}), "image.other-engine", None),
    ("TP=4 over NVLink", vllm(A100, **ANY_CARD), "pcie.no-nvlink", None),
    ("SGLang's verified cell", sglang(**two(serving={"custom_all_reduce": True})), "p2p.custom-all-reduce", "informs"),
    ("a circuit that will do", Case(rig(circuit_w=4000)), "power.circuit", None),
    (
        "a data-centre rig without a circuit",
        Case(rig(H200, gpu={"power_limit_w": 700.0})),
        "power.circuit-unknown",
        None,
    ),
    ("8 GiB of shared memory", sglang(container={"shm_size": "8GiB"}), "container.shm", "warns"),
    ("half a GiB of shared memory", sglang(container={"shm_size": "512MiB"}), "container.shm", "blocks"),
    (
        "one GPU needs little",
        sglang(container={"shm_size": None}, gpus={"count": 1}, parallel={"tensor": 1}),
        "container.shm",
        None,
    ),
    ("no word of locked memory", sglang(container={"ulimits": {}}), "container.memlock", "informs"),
    ("a loopback host said aloud", vllm(engine_args={"host": "127.0.0.1"}), "container.loopback", "blocks"),
    ("TensorRT-LLM without a host", generic("trtllm-serve", "/models/x"), "container.loopback", "blocks"),
    ("a stale CDI spec beside the runtime", Case(rig(docker=BOTH_RUNTIMES)), "container.cdi-stale", "warns"),
    ("Docker unknown", Case(rig(docker=DockerFacts("28.5.1", ("runc",), None))), "container.no-gpu-runtime", None),
    (
        "Docker without a runtime, for a deployment",
        sglang(rig(docker=DockerFacts("28.5.1"))),
        "container.no-gpu-runtime",
        "blocks",
    ),
    ("no tag at all", vllm(image={"reference": "vllm/vllm-openai"}), "image.mutable-tag", "warns"),
    (
        "latest with a digest",
        vllm(image={"reference": "vllm/vllm-openai:latest", "digest": "sha256:" + "a" * 64}),
        "image.mutable-tag",
        None,
    ),
    ("PTX only", vllm(inspected=inspected(arch_list=("9.0+PTX",))), "image.arch-list", "warns"),
    ("a family list", vllm(inspected=inspected(arch_list=("12.0f",))), "image.arch-list", None),
    ("a list of 12.0a on 12.0", vllm(inspected=inspected(arch_list=("12.0a",))), "image.arch-list", None),
    ("a list that names no numbers", vllm(inspected=inspected(arch_list=("Ampere",))), "image.arch-list", None),
    (
        "an older minor of the same major",
        vllm(A100, **ANY_CARD, inspected=inspected(arch_list=("8.0", "9.0"))),
        "image.arch-list",
        None,
    ),
    (
        "no kernels, another engine",
        sglang(inspected=inspected(engine="sglang", arch_list=("9.0",))),
        "image.arch-list",
        "warns",
    ),
    (
        "versions apart, check disabled",
        vllm(
            inspected=inspected(packages={"flashinfer-python": "0.6.10", "flashinfer-cubin": "0.6.8"}),
            env={"FLASHINFER_DISABLE_VERSION_CHECK": "1"},
        ),
        "image.flashinfer-parts",
        None,
    ),
    (
        "muse-glimmer with another model",
        vllm(**other_model(image={"reference": "vllm/vllm-openai:muse-glimmer"})),
        "image.muse-glimmer",
        "warns",
    ),
    (
        "an external DeepGEMM, another model",
        vllm(**other_model(), inspected=inspected(deep_gemm=(DeepGemm("external", "2.6.0", sm120_kernels=False),))),
        "deepgemm.external-override",
        "warns",
    ),
    (
        "a build between releases that declares nothing",
        vllm(
            inspected=inspected(
                engine_version="0.20.3.dev9+gabc", vllm_declares_sm120=False, deep_gemm=(DeepGemm("absent"),)
            )
        ),
        "deepgemm.vllm-too-old",
        "warns",
    ),
    (
        "a build between releases without DeepGEMM",
        vllm(inspected=inspected(engine_version=NIGHTLY, deep_gemm=(DeepGemm("absent"),))),
        "deepgemm.absent",
        "warns",
    ),
    (
        "E8M0 off on Hopper",
        vllm(H200, **two(gpus={"count": 2, "compute_capability": None}), env={"VLLM_USE_DEEP_GEMM_E8M0": "0"}),
        "deepgemm.e8m0-off",
        None,
    ),
    ("a fork by its name", vllm(image={"reference": "local/vllm-jasl:1"}), "fork.brittle", "warns"),
    (
        "the fork's variables on a private image",
        vllm(image={"reference": "registry.example/vllm:1"}, env={"VLLM_TRITON_MLA_SPARSE": "1"}),
        "fork.brittle",
        "warns",
    ),
    (
        "V4.1 on vLLM's day-0 image",
        vllm(image={"reference": "vllm/vllm-openai:deepseekv41-flash-0909"}, **named("DeepSeek-V4.1-Flash")),
        "model.v41-on-sm120",
        "blocks",
    ),
    ("SGLang on Ampere", sglang(A100, **ANY_CARD), "model.v4-before-hopper", "blocks"),
    (
        "a later SGLang on Ampere",
        sglang(A100, image={"reference": "lmsysorg/sglang:v0.5.24"}, **ANY_CARD),
        "model.v4-before-hopper",
        "warns",
    ),
    (
        "a fork of SGLang on Ampere",
        sglang(A100, image={"reference": "registry.example/sglang-sm80:v0.5.23"}, **ANY_CARD),
        "model.v4-before-hopper",
        "warns",
    ),
    ("a cap below a card's lowest", sglang(power={"cap_w": 100}), "power.cap-out-of-range", "warns"),
    (
        "a cap on cards of unknown range",
        sglang(rig(gpu={"power_min_w": None, "power_max_w": None}), power={"cap_w": 9999}),
        "power.cap-out-of-range",
        None,
    ),
    (
        "Pro on cards that hold it",
        vllm(RigCatalog(()).facts("4x-gb300"), **ANY_CARD, **named("DeepSeek-V4-Pro")),
        "model.v4-pro-too-large",
        None,
    ),
    ("no block size on SM120", vllm(engine_args={"block-size": None}), "vllm.block-size", "warns"),
    ("a bf16 KV cache on SM120", vllm(serving={"kv_cache_dtype": "bfloat16"}), "vllm.kv-cache-dtype", "blocks"),
    ("an fp8_e4m3 KV cache", vllm(serving={"kv_cache_dtype": "fp8_e4m3"}), "vllm.kv-cache-dtype", None),
    (
        "no fp8 on Hopper",
        vllm(
            H200,
            **two(gpus={"count": 2, "compute_capability": None, "min_memory": None}, serving={"kv_cache_dtype": None}),
        ),
        "vllm.kv-cache-dtype",
        "warns",
    ),
    (
        "mega-MoE by kernel-config",
        vllm(engine_args={"moe-backend": None, "kernel-config": {"moe_backend": "deep_gemm_mega_moe"}}),
        "vllm.mega-moe",
        "blocks",
    ),
    (
        "the indexer's old flag",
        vllm(engine_args={"attention-config": {"use_fp4_indexer_cache": True}}),
        "vllm.fp4-indexer",
        "blocks",
    ),
    (
        "one sequence at a time",
        vllm(image={"reference": "vllm/vllm-openai:v0.26.0"}, engine_args=DSPARK, serving={"max_running_requests": 1}),
        "vllm.dspark-concurrency",
        None,
    ),
    (
        "speculation in a version unknown",
        vllm(image={"reference": "vllm/vllm-openai:nightly"}, engine_args=DSPARK),
        "vllm.dspark-concurrency",
        "warns",
    ),
    (
        "DSPARK, FlashInfer unknown",
        sglang(**SGLANG_UNKNOWN, engine_args={"speculative-algorithm": "DSPARK"}),
        "sglang.dspark-sm120",
        "informs",
    ),
    (
        "DSPARK on Triton",
        sglang(
            image={"reference": "lmsysorg/sglang:v0.5.16"},
            engine_args={"speculative-algorithm": "DSPARK"},
            env={"SGLANG_SM120_FLASHMLA_BACKEND": "triton"},
        ),
        "sglang.dspark-sm120",
        None,
    ),
    (
        "EAGLE with top-k 4",
        sglang(engine_args={"speculative-algorithm": "EAGLE", "speculative-eagle-topk": 4}),
        "sglang.speculation",
        "blocks",
    ),
    ("DeepEP", sglang(engine_args={"moe-a2a-backend": "deepep"}), "sglang.moe-backend", "warns"),
    (
        "a TensorRT-LLM runner",
        sglang(engine_args={"moe-runner-backend": "flashinfer_trtllm_routed"}),
        "sglang.moe-backend",
        "warns",
    ),
    ("NVFP4 on a newer SGLang", sglang(**named("DeepSeek-V4-Flash-NVFP4")), "sglang.nvfp4", "warns"),
    (
        "0.5.11 knows no V4 on any card",
        sglang(
            H200, image={"reference": "lmsysorg/sglang:v0.5.11"}, **two(gpus={"count": 2, "compute_capability": None})
        ),
        "sglang.too-old",
        "blocks",
    ),
    (
        "/ping of an older SGLang",
        sglang(image={"reference": "lmsysorg/sglang:v0.5.18"}, probes={"readiness": {"path": "/ping"}}),
        "sglang.readiness-path",
        "warns",
    ),
    ("the pin that nobody read", generic(*WORKER, image={"reference": DEV}), "trtllm.pin", "informs"),
    (
        "GPUs uncounted, a deployment without GPUs",
        generic("serve", facts=RigFacts(None, "NVML counts no GPU"), gpus=None),
        "driver.no-gpu",
        None,
    ),
    ("half the state's disk", sglang(rig(shm_bytes=64 * GIB), container={"ipc": "host"}), "host.shm-small", None),
    (
        "a vendored copy of unknown kernels",
        vllm(inspected=inspected(deep_gemm=vendored(sm120=None))),
        "deepgemm.broken-pair",
        None,
    ),
    ("the rig itself", Case(RIG), "power.circuit", None),
)


@pytest.mark.parametrize(
    ("case", "id_", "severity"), [branch[1:] for branch in BRANCHES], ids=[branch[0] for branch in BRANCHES]
)
def test_a_rule_weighs_what_it_sees(case: Case, id_: str, severity: Severity | None) -> None:
    assert [found.severity for found in examine(case, RULES, only=[id_])] == ([] if severity is None else [severity])


#: (what, case, id, the hint that can be pasted as it stands)
HINTS: tuple[tuple[str, Case, str, str], ...] = (
    (
        "a NIM names its own image",
        generic("start", image={"reference": "nvcr.io/nim/deepseek-ai/deepseek-v4-pro:2.1"}),
        "nim.sm120-unknown",
        "docker run --rm --gpus=all -e NGC_API_KEY nvcr.io/nim/deepseek-ai/deepseek-v4-pro:2.1 list-model-profiles",
    ),
    (
        "a Dynamo image that was not inspected is asked by its name",
        generic(*WORKER, image={"reference": DEV}),
        "trtllm.pin",
        (
            f"docker run --rm --network none --entrypoint /opt/dynamo/venv/bin/python3 {DEV} "
            "-c \"import importlib.metadata as m; print(m.version('tensorrt_llm'))\""
        ),
    ),
    (
        "a build of ours has no other tag to take",
        case("v4-flash-vllm-sm120-fork.toml", OLD_DRIVER),
        "driver.too-old-for-cuda13",
        "update the driver to 580 or newer and reboot",
    ),
    (
        "a frontend is asked for the served name",
        generic("python3", "-m", "dynamo.frontend", model={"served_name": "my-v4"}),
        "dynamo.frontend-health",
        'set probes.readiness.path = "/v1/models/my-v4/ready" in the profile',
    ),
    (
        "a block size is mended where it stands",
        trtllm(engine_config={"kv_cache_config": {"tokens_per_block": 32}}),
        "trtllm.kv-block-size",
        "set tokens_per_block = 128 in engine_config.kv_cache_config of the profile",
    ),
    (
        "the fork is not told to switch on what its caveat warns of",
        case("v4-flash-vllm-sm120-fork.toml"),
        "engine.graphs-off",
        "leave it so in the SM120 fork, whose graphs stalled with MTP; a release has them: launchpad plan v4-flash-vllm-tp4",
    ),
    (
        "Dynamo's snapshot is told Dynamo's release",
        case("v4-flash-dynamo-trtllm-gb300.toml", GB300),
        "image.experimental",
        f'set image.reference = "{DYNAMO}:1.6.1" in the profile',
    ),
    (
        "Dynamo's snapshot of another worker is told its own image",
        generic("x", image={"reference": "nvcr.io/nvidia/ai-dynamo/sglang-runtime:1.2.0-deepseek-v4-cuda13-dev.2"}),
        "image.experimental",
        'set image.reference = "nvcr.io/nvidia/ai-dynamo/sglang-runtime:1.6.1" in the profile',
    ),
    (
        "a nightly of vLLM is told vLLM's release",
        vllm(image={"reference": "vllm/vllm-openai:nightly"}),
        "image.experimental",
        'set image.reference = "vllm/vllm-openai:v0.33.0" in the profile',
    ),
    (
        "a preview of nobody knows what is told none",
        generic("start", image={"reference": "registry.example/mine:preview"}),
        "image.experimental",
        "name a release of registry.example/mine",
    ),
    (
        "eight cards of vLLM are told four of vLLM, and whose weights",
        vllm(EIGHT, gpus={"count": 8}, parallel={"tensor": 8}, **named("DeepSeek-V4-Flash-0731")),
        "pcie.no-nvlink",
        "measure two replicas of TP=4 against one of TP=8: launchpad plan v4-flash-vllm-tp4, which names the Preview weights",
    ),
    (
        "four cards of SGLang are told two of SGLang",
        sglang(),
        "pcie.no-nvlink",
        "measure two replicas of TP=2 against one of TP=4: launchpad plan v4-flash-sglang-tp2",
    ),
    (
        "another model is told no profile of DeepSeek's",
        vllm(**other_model()),
        "pcie.no-nvlink",
        "measure two replicas of TP=2 against one of TP=4, if the model fits 2 cards (gpus.count and parallel.tensor)",
    ),
    (
        "a release without graphs is told to switch them on",
        vllm(serving={"cuda_graphs": False}),
        "engine.graphs-off",
        "set serving.cuda_graphs = true in the profile once the start is sound",
    ),
)


@pytest.mark.parametrize(("looked_at", "id_", "hint"), [row[1:] for row in HINTS], ids=[row[0] for row in HINTS])
def test_a_hint_speaks_of_the_case_in_question(looked_at: Case, id_: str, hint: str) -> None:
    assert [found.hint for found in examine(looked_at, RULES) if found.id == id_] == [hint]
