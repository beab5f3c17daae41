"""What an image holds, read from its metadata and a few of its files; it is never run.

The files come from a container that is created and never started (:class:`~launchpad.runtime.base.ImageFiles`). Where Python
packages stand differs between images, so a short list of places is asked for one small file each. What cannot be told is None.
Versions are read out of the packages' own version modules: a listing of site-packages would cost a copy of gigabytes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from launchpad.doctor.case import DeepGemm, ImageFacts
from launchpad.engines.extract import wanted_files
from launchpad.runtime.base import ImageFiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launchpad.engines.schemas import EngineName
    from launchpad.runtime.base import Image

#: Where upstream's images keep an editable SGLang; seen in its Dockerfile, 2026-11-22.
_EDITABLE: Final = ("/sgl-workspace/sglang/python",)
_PYTHONS: Final = tuple(f"3.{minor}" for minor in (12, 13, 11, 10, 14))
_DIST: Final = "/usr/lib/python3/dist-packages"

#: Package -> the file with its version, below site-packages; the first that tells one counts.
_VERSIONS: Final[Mapping[str, str]] = {
    "vllm": "vllm/_version.py",
    # Since setuptools_scm came, version.py only asks for it, and falls back to 0.0.0.dev0 (wheel sglang 0.5.16).
    "sglang": "sglang/_version.py sglang/version.py",
    "torch": "torch/version.py",
    "flashinfer-python": "flashinfer/_build_meta.py",
    "transformers": "transformers/__init__.py",
    "triton": "triton/__init__.py",
    "tilelang": "tilelang/VERSION",
    "tensorrt-llm": "tensorrt_llm/version.py",
    "sgl-kernel": "sgl_kernel/version.py",
    "flash-attn": "flash_attn/__init__.py",
    "deep-ep": "deep_ep/__init__.py",
    # One in each of its parts, none above them (wheels ai-dynamo 1.3.1 and 1.4.0 to 1.6.1).
    "ai-dynamo": "dynamo/common/_version.py dynamo/frontend/_version.py",
}
#: NVIDIA library -> the header that tells its version, in its wheel below site-packages or the system's, and how its macros begin.
_HEADERS: Final[Mapping[str, tuple[str, str, str]]] = {
    "nccl": ("nvidia/nccl/include/nccl.h", "/usr/include/nccl.h", "NCCL"),
    "cudnn": ("nvidia/cudnn/include/cudnn_version.h", "/usr/include/cudnn_version.h", "CUDNN"),
}
#: Where the sources of an engine's flags stand in its package: not the package whole, whose libraries are a gigabyte.
_SOURCES: Final[Mapping[EngineName, tuple[str, ...]]] = {
    "sglang": ("srt", "cli/serve.py", "kernels/ops/kv_canary", "jit_kernel/kv_canary", "kv_canary"),
    "vllm": (
        *("envs.py", "sampling_params.py", "engine/arg_utils.py", "config", "utils/argparse_utils.py", "entrypoints"),
        *("renderers", "tool_parsers", "transformers_utils", "platforms/interface.py", "tokenizers"),
        *("v1/attention/backends/registry.py", "v1/structured_output", "model_executor/model_loader/__init__.py"),
        "model_executor/layers/quantization/__init__.py",
    ),
}
_VERSION: Final = re.compile(r"^\s*(?:__version__|version)\b[^'\"\n]*['\"]([0-9][^'\"\n]{0,79})['\"]", re.MULTILINE)
_PLAIN_VERSION: Final = re.compile(r"\A\s*([0-9][\w.+!-]{0,80})\s*\Z")
_CUDA: Final = re.compile(r"^cuda\b[^'\"\n]*['\"]([0-9.]{1,16})['\"]", re.MULTILINE)
_FAMILY_120: Final = re.compile(r"family\(\s*120\s*\)")
_SM120_HEADER: Final = re.compile(r"/sm120_[^/]*\.cuh$")


@dataclass(frozen=True, slots=True)
class Look:
    """Where an image keeps its Python packages, and how to read a file below."""

    files: ImageFiles
    sites: tuple[str, ...]

    def text(self, path: str) -> str | None:
        """The text of ``path`` below the first place that has it."""
        for site in self.sites:
            tree = self.files.read(f"{site}/{path}", lambda _: True)
            if tree is not None and tree.files:
                return next(iter(tree.files.values())).decode("utf-8", "replace")
        return None

    def absolute(self, path: str) -> str | None:
        """The text of ``path``, wherever packages are."""
        tree = self.files.read(path, lambda _: True)
        return next(iter(tree.files.values())).decode("utf-8", "replace") if tree is not None and tree.files else None

    def names(self, path: str) -> tuple[str, ...] | None:
        """The names of the files below ``path``, None where no place has it."""
        for site in self.sites:
            tree = self.files.read(f"{site}/{path}", lambda _: False)
            if tree is not None:
                return tuple(f"/{name}" for name in tree.names)
        return None


def inspect_image(image: Image, files: ImageFiles) -> ImageFacts:
    """The facts of ``image``; raises ImageError only where the runtime cannot be asked."""
    env = dict(image.env)
    look = Look(files, tuple(_sites(env, files)))
    packages = dict(_packages(look))
    engine = next((name for name in ("vllm", "sglang", "tensorrt-llm") if name in packages), None)
    torch = look.text("torch/version.py") or ""
    cuda = _CUDA.search(torch)
    declares = look.text("vllm/platforms/cuda.py") if engine == "vllm" else None
    return ImageFacts(
        reference=image.tags[0] if image.tags else image.id,
        id=image.id,
        digest=image.digests[0] if image.digests else None,
        engine=engine,
        engine_version=packages.get(engine) if engine else None,
        packages=packages,
        cuda_version=env.get("CUDA_VERSION") or (cuda.group(1) if cuda else None),
        arch_list=_arch_list(env),
        vllm_declares_sm120=None if declares is None else bool(_FAMILY_120.search(declares)),
        deep_gemm=tuple(_deep_gemms(look, engine)) if engine in {"vllm", "sglang"} else None,
        env=env,
        labels=image.labels,
    )


def engine_sources(image: Image, files: ImageFiles, engine: EngineName) -> dict[str, str]:
    """The source files that tell the engine's flags, by their path below site-packages; empty where it is not there."""
    wanted = wanted_files(engine)
    for site in _sites(dict(image.env), files):
        found: dict[str, str] = {}
        for path in _SOURCES[engine]:
            parent = f"{engine}/{path}".rpartition("/")[0]
            tree = files.read(f"{site}/{engine}/{path}", lambda name, parent=parent: wanted(f"{parent}/{name}"))  # type: ignore[misc]
            if tree is not None:
                found.update({f"{parent}/{name}": data.decode("utf-8", "replace") for name, data in tree.files.items()})
        if found:
            return found
    return {}


def _sites(env: Mapping[str, str], files: ImageFiles) -> Iterator[str]:
    """The places that hold torch, an engine or Dynamo, in the order Python would search them."""
    for candidate in dict.fromkeys((*_EDITABLE, *_candidates(env))):
        marks = (
            ("sglang/version.py",)
            if candidate in _EDITABLE
            else (
                "torch/version.py",
                "vllm/_version.py",
                "sglang/version.py",
                "tensorrt_llm/version.py",
                "dynamo/common/_version.py",
            )
        )
        if any(files.read(f"{candidate}/{mark}", lambda _: False) is not None for mark in marks):
            yield candidate


def _candidates(env: Mapping[str, str]) -> Iterator[str]:
    prefixes = [env[name] for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if env.get(name, "").startswith("/")]
    prefixes.extend(path.removesuffix("/bin") for path in env.get("PATH", "").split(":") if path.endswith("/bin"))
    for prefix in dict.fromkeys((*prefixes, "/usr/local", "/opt/venv", "/usr")):
        for python in _PYTHONS:
            for kind in ("site-packages", "dist-packages"):
                yield f"{prefix}/lib/python{python}/{kind}"
    yield _DIST


def _packages(look: Look) -> Iterator[tuple[str, str]]:
    for name, path in _VERSIONS.items():
        versions = (_version(look.text(place) or "") for place in path.split())
        if (version := next(filter(None, versions), None)) is not None:
            yield name, version
    for name, (wheel, system, macro) in _HEADERS.items():
        header = look.text(wheel) or look.absolute(system)
        if header is not None and (told := _macros(header, macro)):
            yield name, told


def _version(text: str) -> str | None:
    """The version that a package's version module spells out; None for one that has to be run to tell."""
    found = _VERSION.search(text) or _PLAIN_VERSION.match(text)
    return None if found is None or found[1] == "0.0.0.dev0" else found[1]


def _macros(header: str, macro: str) -> str | None:
    """``2.27.3`` of ``#define NCCL_MAJOR 2`` and so on."""
    parts = [
        re.search(rf"^\s*#define\s+{macro}_{part}\s+(\d{{1,6}})\b", header, re.MULTILINE)
        for part in ("MAJOR", "MINOR", "PATCH(?:LEVEL)?")
    ]
    return ".".join(part.group(1) for part in parts if part is not None) if all(parts) else None


def _arch_list(env: Mapping[str, str]) -> tuple[str, ...] | None:
    """``TORCH_CUDA_ARCH_LIST`` as a tuple: ``("9.0", "12.0a")``; None where the image does not say."""
    words = re.split(r"[\s;,]+", env.get("TORCH_CUDA_ARCH_LIST", "").strip())
    return tuple(word for word in words if word) or None


def _deep_gemms(look: Look, engine: str | None) -> Iterator[DeepGemm]:
    """The DeepGEMMs an engine could import. An external one wins over vLLM's vendored copy (vllm/utils/deep_gemm.py, 0.33.0)."""
    external = _deep_gemm(look, "external", "deep_gemm")
    if external is not None:
        yield external
    vendored = _deep_gemm(look, "vendored", "vllm/third_party/deep_gemm") if engine == "vllm" else None
    if vendored is not None:
        yield vendored
    if external is None and vendored is None:
        yield DeepGemm("absent")


def _deep_gemm(look: Look, kind: str, path: str) -> DeepGemm | None:
    init = look.text(f"{path}/__init__.py")
    if init is None:
        return None
    version = _VERSION.search(init)
    headers = look.names(f"{path}/include/deep_gemm/impls")
    return DeepGemm(
        "external" if kind == "external" else "vendored",
        version.group(1) if version else None,
        None if headers is None else any(_SM120_HEADER.search(name) for name in headers),
    )
