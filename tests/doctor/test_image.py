"""What is told of an image by its files: real images on a real Docker Engine, in upstream's layouts, and hostile ones.

Every image here is one small layer; none of them is ever run.
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import time
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from launchpad.doctor.case import DeepGemm, ImageFacts
from launchpad.doctor.image import inspect_image
from launchpad.errors import ImageError
from launchpad.runtime.base import ContainerSpec, Image
from launchpad.runtime.docker import DockerRuntime, connect
from tests.fakes.runtime import FakeRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from launchpad.runtime.archive import Tree

pytestmark = pytest.mark.docker

REPOSITORY: Final = "launchpad-test-doctor"
RIG: Final = "4x-rtx-pro-6000"
SITE: Final = "/usr/local/lib/python3.12/dist-packages"
EDITABLE: Final = "/sgl-workspace/sglang/python"
DECLARES: Final = b"def support_deep_gemm(cls):\n    return cls.is_device_capability_family(120)\n"
DECLARES_NOT: Final = b"def support_deep_gemm(cls):\n    return cls.is_device_capability(90)\n"
IMPLS: Final = "deep_gemm/include/deep_gemm/impls"


@dataclass(frozen=True)
class Odd:
    """A member that is no ordinary file."""

    type: bytes = tarfile.SYMTYPE
    target: str = ""
    mode: int = 0o777


Files = dict[str, "bytes | Odd"]


def layer(files: Mapping[str, bytes | Odd]) -> bytes:
    """A root filesystem as a tar."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w", errors="surrogateescape") as tar:
        for path, content in {"/etc/hostname": b"x\n", **files}.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            if isinstance(content, Odd):
                entry.type, entry.linkname, entry.mode = content.type, content.target, content.mode
                if entry.type == tarfile.CHRTYPE:
                    entry.devmajor, entry.devminor = 1, 5  # /dev/zero
                tar.addfile(entry)
            else:
                entry.size, entry.mode = len(content), 0o755
                tar.addfile(entry, io.BytesIO(content))
    return held.getvalue()


@dataclass
class Workshop:
    """Makes images on the engine and remembers them, so that none is left."""

    runtime: DockerRuntime
    folder: Path
    made: list[str] = field(default_factory=list)

    def image(self, files: Mapping[str, bytes | Odd], *changes: str) -> Image:
        tag = f"{REPOSITORY}:{uuid.uuid4().hex[:12]}"
        path = self.folder / "layer.tar"
        path.write_bytes(layer(files))
        self.made.append(tag)
        return self.runtime.import_image(path, tag, changes=changes)

    def facts(self, files: Mapping[str, bytes | Odd], *changes: str) -> ImageFacts:
        made = self.image(files, *changes)
        with self.runtime.files(made.id) as looked:
            return inspect_image(made, looked)

    def clean(self) -> None:
        """A runtime removes no images, so docker-py does."""
        from docker import from_env
        from docker.errors import APIError

        with closing(from_env()) as client:
            for tag in self.made:
                with suppress(APIError):
                    client.images.remove(tag, force=True)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    runtime = connect(os.environ)
    made = Workshop(runtime, tmp_path_factory.mktemp("layers"))
    yield made
    made.clean()
    runtime.close()


def vllm(site: str = SITE, *, version: str = "0.33.0", declares: bool = True, kernels: bool = True) -> Files:
    """The files that tell vLLM apart, as the official image keeps them."""
    third_party = f"{site}/vllm/third_party"
    header = "sm120_fp8_gemm_1d1d.cuh" if kernels else "sm100_fp8_gemm_1d1d.cuh"
    return {
        f"{site}/vllm/_version.py": f"__version__ = version = '{version}'\n__version_tuple__ = (0, 33)\n".encode(),
        f"{site}/vllm/platforms/cuda.py": DECLARES if declares else DECLARES_NOT,
        f"{third_party}/deep_gemm/__init__.py": b"import torch\n__version__ = '2.8.1+local'\n",
        f"{third_party}/{IMPLS}/sm90_fp8_gemm_1d1d.cuh": b"// kernel\n",
        f"{third_party}/{IMPLS}/{header}": b"// kernel\n",
        f"{site}/torch/version.py": b"__version__ = '2.11.0+cu130'\ncuda: Optional[str] = '13.0'\nhip = None\n",
        f"{site}/flashinfer/_build_meta.py": b'"""Build metadata."""\n__version__ = "0.7.2.post1"\n__git_version__ = "abc"\n',
    }


# -- layouts


def test_the_official_vllm_layout_is_read(workshop: Workshop) -> None:
    made = workshop.facts(
        vllm(), "ENV CUDA_VERSION=13.0.2", "ENV TORCH_CUDA_ARCH_LIST='8.0 9.0 12.0a+PTX'", "LABEL a=b"
    )
    assert (made.engine, made.engine_version) == ("vllm", "0.33.0")
    assert dict(made.packages) == {"vllm": "0.33.0", "torch": "2.11.0+cu130", "flashinfer-python": "0.7.2.post1"}
    assert (made.cuda_version, made.arch_list) == ("13.0.2", ("8.0", "9.0", "12.0a+PTX"))
    assert made.vllm_declares_sm120 is True
    assert made.deep_gemm == (DeepGemm("vendored", "2.8.1+local", sm120_kernels=True),)
    assert made.labels["a"] == "b"


def test_cuda_is_torchs_own_where_the_image_does_not_say(workshop: Workshop) -> None:
    assert workshop.facts(vllm()).cuda_version == "13.0"


def test_a_vllm_that_declares_sm120_without_kernels_is_seen(workshop: Workshop) -> None:
    made = workshop.facts(vllm(kernels=False))
    assert made.vllm_declares_sm120 is True
    assert [found.sm120_kernels for found in made.deep_gemm or ()] == [False]


def test_a_vllm_that_does_not_declare_sm120_is_seen(workshop: Workshop) -> None:
    assert workshop.facts(vllm(declares=False)).vllm_declares_sm120 is False


def test_an_external_deep_gemm_is_seen_beside_the_vendored_one(workshop: Workshop) -> None:
    external: Files = {f"{SITE}/deep_gemm/__init__.py": b"__version__ = '2.5.0'\n"}
    found = workshop.facts({**vllm(), **external}).deep_gemm
    assert found == (
        DeepGemm("external", "2.5.0", sm120_kernels=None),
        DeepGemm("vendored", "2.8.1+local", sm120_kernels=True),
    )


@pytest.mark.parametrize(
    "asks",
    [
        b"from importlib.metadata import version\n__version__ = version('sglang')\n",
        b'__version__ = "0.0.0.dev0"\n',
    ],
    ids=["by its metadata", "and falls back"],
)
def test_sglangs_generated_version_counts_where_its_module_only_asks_for_it(workshop: Workshop, asks: bytes) -> None:
    files = {
        f"{EDITABLE}/sglang/version.py": asks,
        f"{EDITABLE}/sglang/_version.py": b"__version__ = version = '0.5.16'\n",
    }
    assert workshop.facts(files).engine_version == "0.5.16"


def test_sglangs_editable_layout_is_read(workshop: Workshop) -> None:
    files: Files = {
        f"{EDITABLE}/sglang/version.py": b'__version__ = "0.5.23"\n',
        f"{SITE}/torch/version.py": b"__version__ = '2.11.0+cu130'\ncuda: str = '13.0'\n",
        f"{SITE}/deep_gemm/__init__.py": b"__version__ = '2.5.0+54e2261'\n",
        f"{SITE}/{IMPLS}/sm100_gemm.cuh": b"//\n",
    }
    made = workshop.facts(files)
    assert (made.engine, made.engine_version, made.packages["torch"]) == ("sglang", "0.5.23", "2.11.0+cu130")
    assert made.deep_gemm == (DeepGemm("external", "2.5.0+54e2261", sm120_kernels=False),)
    assert made.vllm_declares_sm120 is None


def test_dynamo_is_told_beside_the_engine_it_drives_and_where_it_stands_alone(workshop: Workshop) -> None:
    site = "/opt/dynamo/venv/lib/python3.12/site-packages"
    own: Files = {f"{site}/dynamo/common/_version.py": b'# generated\n__version__ = "1.6.1"\n'}
    worker: Files = {f"{site}/tensorrt_llm/version.py": b'__version__ = "1.3.0rc15.post1"\n'}
    alone = workshop.facts(own, "ENV VIRTUAL_ENV=/opt/dynamo/venv")
    both = workshop.facts({**own, **worker}, "ENV VIRTUAL_ENV=/opt/dynamo/venv")
    assert (alone.engine, dict(alone.packages)) == (None, {"ai-dynamo": "1.6.1"})
    assert (both.engine, dict(both.packages)) == (
        "tensorrt-llm",
        {"ai-dynamo": "1.6.1", "tensorrt-llm": "1.3.0rc15.post1"},
    )


def test_an_engine_without_any_deep_gemm_is_told_as_absent(workshop: Workshop) -> None:
    assert workshop.facts({f"{EDITABLE}/sglang/version.py": b'__version__ = "0.5.23"\n'}).deep_gemm == (
        DeepGemm("absent"),
    )


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV=/srv/env", "CONDA_PREFIX=/srv/env", "PATH=/srv/env/bin:/usr/bin"])
def test_a_virtual_environment_is_found_by_the_images_own_variables(workshop: Workshop, variable: str) -> None:
    made = workshop.facts(vllm("/srv/env/lib/python3.11/site-packages"), f"ENV {variable}")
    assert (made.engine, made.engine_version) == ("vllm", "0.33.0")


def test_an_image_without_python_is_told_as_unknown(workshop: Workshop) -> None:
    made = workshop.facts({"/bin/server": b"\x7fELF"})
    assert (made.engine, dict(made.packages), made.cuda_version, made.deep_gemm) == (None, {}, None, None)


def test_an_image_whose_entrypoint_is_missing_is_looked_into(workshop: Workshop) -> None:
    assert workshop.facts(vllm(), 'ENTRYPOINT ["/no/such/program"]').engine == "vllm"


def test_looking_leaves_no_container(workshop: Workshop) -> None:
    from docker import from_env

    made = workshop.image(vllm())
    with workshop.runtime.files(made.id) as looked:
        inspect_image(made, looked)
    with closing(from_env()) as client:
        assert client.containers.list(all=True, filters={"ancestor": made.id}) == []


# -- end to end


@dataclass(frozen=True)
class Doctor:
    """The command, with a state directory and profiles of its own."""

    root: Path

    def profile(self, image: Image) -> str:
        folder = self.root / "profiles"
        folder.mkdir(exist_ok=True)
        (folder / "doctored.toml").write_text(
            'extends = "v4-flash-vllm-tp4"\nformat = 1\nsummary = "An image to look into"\nengine = "vllm"\n'
            f'[image]\nreference = "{image.tags[0]}"\npull = "never"\n'
        )
        return "doctored"

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("LAUNCHPAD_", "XDG_"))}
        environ |= {
            "HOME": str(self.root),
            "LAUNCHPAD_STATE_DIR": str(self.root / "state"),
            "LAUNCHPAD_PROFILES": str(self.root / "profiles"),
        }
        command = [sys.executable, "-m", "launchpad", "doctor", *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)

    def findings(self, *words: str) -> dict[str, dict[str, Any]]:
        ran = self.run(*words, "--json")
        assert "Traceback" not in ran.stderr, ran.stderr
        return {item["id"]: item for item in json.loads(ran.stdout)["findings"]}


@pytest.fixture
def doctor(tmp_path: Path) -> Doctor:
    return Doctor(tmp_path)


def deepgemm(findings: Mapping[str, dict[str, Any]]) -> set[str]:
    return {id_ for id_, item in findings.items() if id_.startswith("deepgemm.") and item["severity"] == "blocks"}


def test_the_broken_pair_is_found_by_what_is_in_the_image(workshop: Workshop, doctor: Doctor) -> None:
    name = doctor.profile(workshop.image(vllm(version="0.99.0", kernels=False)))
    assert deepgemm(doctor.findings(name, "--rig", RIG))
    assert doctor.run(name, "--rig", RIG).returncode == 4


def test_the_same_pair_with_kernels_is_spared(workshop: Workshop, doctor: Doctor) -> None:
    name = doctor.profile(workshop.image(vllm(version="0.99.0")))
    assert deepgemm(doctor.findings(name, "--rig", RIG)) == set()


def test_a_tag_that_lies_about_its_version_is_judged_by_its_files(workshop: Workshop, doctor: Doctor) -> None:
    """0.27.1 is known to be broken; this one was mended by whoever built it."""
    name = doctor.profile(workshop.image(vllm(version="0.27.1")))
    assert deepgemm(doctor.findings(name, "--rig", RIG)) == set()


def test_an_image_that_is_not_here_is_told_as_not_looked_into(workshop: Workshop, doctor: Doctor) -> None:
    gone = Image("sha256:" + "0" * 64, (f"{REPOSITORY}:gone",), (), 0, None)
    ran = doctor.run(doctor.profile(gone), "--rig", RIG)
    assert f"inside image {REPOSITORY}:gone: it is not on this Docker Engine" in ran.stdout


def test_the_second_look_at_an_image_asks_docker_for_no_files(workshop: Workshop, tmp_path: Path) -> None:
    from launchpad.cli.launch import image_facts
    from launchpad.cli.world import World

    world = World({"LAUNCHPAD_STATE_DIR": str(tmp_path)})
    made = workshop.image(vllm())
    first = image_facts(world, made, workshop.runtime)
    nobody = FakeRuntime()  # which has no such image, and would say so

    assert image_facts(world, made, nobody) == first
    with pytest.raises(ImageError):
        image_facts(world, workshop.image({}), nobody)


def test_another_image_under_the_same_tag_is_looked_into_again(workshop: Workshop, doctor: Doctor) -> None:
    first = workshop.image(vllm(version="0.99.0", kernels=False))
    name = doctor.profile(first)
    before = deepgemm(doctor.findings(name, "--rig", RIG))
    path = workshop.folder / "again.tar"
    path.write_bytes(layer(vllm(version="0.99.0")))
    workshop.runtime.import_image(path, first.tags[0], changes=())
    workshop.made.append(first.id)

    assert (bool(before), deepgemm(doctor.findings(name, "--rig", RIG))) == (True, set())


def test_what_is_remembered_of_an_image_may_be_damaged(workshop: Workshop, doctor: Doctor) -> None:
    name = doctor.profile(workshop.image(vllm(version="0.99.0", kernels=False)))
    before = deepgemm(doctor.findings(name, "--rig", RIG))
    (remembered,) = (doctor.root / "state" / "images").rglob("*.json")
    remembered.write_bytes(b'{"reference": ')
    assert (bool(before), deepgemm(doctor.findings(name, "--rig", RIG))) == (True, before)


# -- hostile images


def test_a_link_to_the_hosts_secrets_is_not_followed(workshop: Workshop) -> None:
    files: Files = {**vllm(), f"{SITE}/torch/version.py": Odd(target="/etc/shadow")}
    made = workshop.facts(files)
    assert (made.engine, "torch" in made.packages) == ("vllm", False)


def test_a_link_that_climbs_out_stays_inside(workshop: Workshop) -> None:
    files: Files = {**vllm(), f"{SITE}/flashinfer/_build_meta.py": Odd(target="../" * 20 + "etc/passwd")}
    assert "flashinfer-python" not in workshop.facts(files).packages


@pytest.mark.parametrize("target", ["/", "/proc/self/root", "../" * 20, SITE], ids=["root", "proc", "up", "itself"])
def test_a_site_packages_that_is_a_link_stays_inside_the_image(workshop: Workshop, target: str) -> None:
    made = workshop.facts({SITE: Odd(target=target), "/torch/version.py": b"__version__ = '1.0'\n"})
    assert made.packages.get("torch") in {None, "1.0"}
    assert made.engine is None


@pytest.mark.parametrize(
    "odd",
    [Odd(tarfile.FIFOTYPE), Odd(tarfile.CHRTYPE), Odd(tarfile.DIRTYPE)],
    ids=["a fifo", "a device", "a directory"],
)
def test_a_version_file_that_is_no_file_is_unknown(workshop: Workshop, odd: Odd) -> None:
    made = workshop.facts({f"{SITE}/vllm/_version.py": odd, f"{SITE}/torch/version.py": b"__version__ = '2.11.0'\n"})
    assert (made.engine, made.packages["torch"]) == (None, "2.11.0")


def test_a_package_that_is_a_file_is_unknown(workshop: Workshop) -> None:
    made = workshop.facts({f"{SITE}/vllm": b"no directory", f"{SITE}/torch/version.py": b"__version__ = '2.11.0'\n"})
    assert (made.engine, made.packages["torch"]) == (None, "2.11.0")


def test_a_file_that_nobody_may_read_is_read_by_the_engine(workshop: Workshop) -> None:
    entry = tarfile.TarInfo(f"{SITE}/vllm/_version.py".lstrip("/"))
    data = b"__version__ = '0.33.0'\n"
    entry.size, entry.mode = len(data), 0
    path = workshop.folder / "mode.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(entry, io.BytesIO(data))
    tag = f"{REPOSITORY}:{uuid.uuid4().hex[:12]}"
    workshop.made.append(tag)
    made = workshop.runtime.import_image(path, tag, changes=())
    with workshop.runtime.files(made.id) as looked:
        assert inspect_image(made, looked).engine_version == "0.33.0"


@pytest.mark.parametrize(
    "text",
    [b"", b"\xff\xfe\x00", b"__version__ = ", b"__version__ = '" + b"9" * 5000 + b"'", b"x" * 100_000, b"(" * 100_000],
    ids=["empty", "binary", "no value", "a long value", "one line", "brackets"],
)
def test_a_version_that_does_not_read_is_unknown(workshop: Workshop, text: bytes) -> None:
    made = workshop.facts({f"{SITE}/vllm/_version.py": text, f"{SITE}/torch/version.py": text})
    assert (made.engine, dict(made.packages)) == (None, {})


def test_names_that_are_not_utf8_are_no_obstacle(workshop: Workshop) -> None:
    bad = f"{SITE}/vllm/third_party/{IMPLS}/sm120_\udcff.cuh"
    made = workshop.facts({**vllm(kernels=False), bad: b"//\n"})
    assert [found.sm120_kernels for found in made.deep_gemm or ()] == [True]


@pytest.mark.slow
def test_thousands_of_kernels_are_read_in_time(workshop: Workshop) -> None:
    many: Files = {f"{SITE}/vllm/third_party/{IMPLS}/n{number:05}.cuh": b"//" for number in range(25_000)}
    begin = time.monotonic()
    made = workshop.facts({**vllm(kernels=False), **many})
    assert made.engine == "vllm"
    assert time.monotonic() - begin < 60


def test_variables_that_are_odd_are_carried_as_they_are(workshop: Workshop) -> None:
    made = workshop.facts(vllm(), "ENV TORCH_CUDA_ARCH_LIST=;;,", "ENV VIRTUAL_ENV=../../etc", "ENV PATH=::/bin")
    assert (made.arch_list, made.engine) == (None, "vllm")


def test_a_layer_that_climbs_is_refused_by_the_engine_or_stays_inside(workshop: Workshop) -> None:
    files: Files = {**vllm(), "a/../../../../../../escaped-by-launchpad-test": b"x"}
    with suppress(ImageError):
        assert workshop.facts(files).engine == "vllm"
    assert not Path("/escaped-by-launchpad-test").exists()


@dataclass(frozen=True)
class Swollen:
    """The files of a container that ran; what ``ImageFiles`` does for one that never did."""

    runtime: DockerRuntime
    container: str

    def read(self, path: str, wanted: Callable[[str], bool]) -> Tree | None:
        return self.runtime.read_archive(self.container, path, wanted, "look")


@pytest.fixture
def swollen(workshop: Workshop) -> Iterator[Swollen]:
    """Ten sparse gigabytes on the engine's disk in place of each version file, and ten whole ones in an archive of it."""
    busybox = Path("/bin/busybox")
    if not busybox.exists():
        pytest.fail("/bin/busybox is missing; install it: apt-get install -y busybox-static")
    names = ("vllm/_version.py", "torch/version.py", "flashinfer/_build_meta.py", "triton/__init__.py")
    files: Files = {f"{SITE}/{name}": b"" for name in names}
    made = workshop.image({"/bin/busybox": busybox.read_bytes(), "/bin/sh": Odd(target="busybox"), **files})
    spec = ContainerSpec(
        role="server",
        name=f"{REPOSITORY}-{uuid.uuid4().hex[:8]}",
        image=made.tags[0],
        image_id=made.id,
        entrypoint=("/bin/sh", "-c"),
        command=(f"cd {SITE} && /bin/busybox truncate -s 10G {' '.join(names)}",),
        init=False,
    )
    container = workshop.runtime.create(spec, {})
    try:
        workshop.runtime.start(container.id)
        deadline = time.monotonic() + 20
        while (now := workshop.runtime.inspect(container.id)) is not None and now.exit is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert now is not None
        assert now.exit is not None
        assert now.exit.code == 0
        yield Swollen(workshop.runtime, container.id)
    finally:
        workshop.runtime.remove(container.id)


def test_ten_gigabytes_in_place_of_each_version_cost_little_time_and_memory(
    workshop: Workshop, swollen: Swollen
) -> None:
    image = Image("sha256:" + "0" * 64, ("a:b",), (), 0, None)
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()

    facts = inspect_image(image, swollen)

    assert dict(facts.packages) == {}
    assert time.monotonic() - begin < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
