"""What the doctor makes of an installation, and the command it names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from installer.diagnosis import Probe, Report, diagnose
from installer.installation import wanted_needs
from installer.machine import Installed, Machine
from installer.needs import HOST_NEEDS
from installer.remedies import INSTALL_SCRIPT, Remedies

NEEDS = (*HOST_NEEDS, *wanted_needs(with_tests=False))
MODULES = frozenset(need.module for need in NEEDS)
VERSIONS = {
    **{need.distribution: "9.0" for need in NEEDS},
    "torch": "2.15.0+cu130",
    "torchvision": "0.29.2+cu130",
    "onnxruntime-gpu": "1.31.1",
}
del VERSIONS["onnxruntime"]
GPU = Machine(nvidia=True, driver_cuda=(13, 2), torch_cuda="13.0")
ORT_ON_CUDA = Probe(
    "works",
    facts={
        "providers": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "cuda": "13.0",
        "cuda_runs": True,
    },
)
TORCH_ON_CUDA = Probe("works", facts={"runs_on": ["cuda"]})
WELL = Report(
    NEEDS,
    Installed(MODULES, VERSIONS, ("onnxruntime-gpu",)),
    GPU,
    {
        **dict.fromkeys(MODULES, Probe("works")),
        "torch": TORCH_ON_CUDA,
        "onnxruntime": ORT_ON_CUDA,
    },
)
SCRIPT = INSTALL_SCRIPT.name


def with_probe(module: str, probe: Probe, report: Report = WELL) -> Report:
    return replace(report, probes={**report.probes, module: probe})


def with_versions(report: Report = WELL, **versions: str) -> Report:
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    distributions = {**report.installed.distributions, **named}
    return replace(report, installed=replace(report.installed, distributions=distributions))


def with_onnxruntimes(*names: str, report: Report = WELL) -> Report:
    return replace(report, installed=replace(report.installed, onnxruntimes=names))


def without(*modules: str) -> Report:
    probes = {name: probe for name, probe in WELL.probes.items() if name not in modules}
    gone = {need.distribution for need in NEEDS if need.module in modules}
    versions = {name: version for name, version in VERSIONS.items() if name not in gone}
    installed = replace(WELL.installed, modules=MODULES - set(modules), distributions=versions)
    return replace(WELL, installed=installed, probes=probes)


def findings_of(report: Report) -> list[tuple[bool, str, str]]:
    """Whether it is wrong, what it is, and the command, for each finding."""
    remedies = Remedies(("py", "-m", "pip"), report.installed, python="py")
    return [(found.wrong, found.problem, found.remedy) for found in diagnose(report, remedies)]


FELL_BACK = replace(ORT_ON_CUDA, facts={**ORT_ON_CUDA.facts, "cuda_runs": False})
CPU_TORCH = Probe("works", facts={"runs_on": []})


SETUPTOOLS_CONFLICT = (
    "torch 2.15.0+cu130 requires setuptools>=77, but you have setuptools 65.5 which is "
    "incompatible."
)
#: A report with one thing amiss; whether that is wrong, the problem, and the command.
CASES = [
    (
        with_onnxruntimes("onnxruntime", "onnxruntime-gpu"),
        True,
        "overwrite each other: onnxruntime, onnxruntime-gpu",
        "py -m pip uninstall --yes onnxruntime onnxruntime-gpu && py ",
    ),
    (
        with_probe("onnxruntime", replace(FELL_BACK, log="libcudart.so.13: cannot open")),
        True,
        "falls back to the CPU: libcudart.so.13 can't be loaded",
        "install 'onnxruntime-gpu[cuda,cudnn]==1.31.1'",
    ),
    (
        with_probe(
            "onnxruntime",
            replace(FELL_BACK, log='a.dll" which depends on "cublasLt64_13.dll" which is missing'),
        ),
        True,
        "falls back to the CPU: cublasLt64_13.dll can't be loaded",
        "onnxruntime-gpu[cuda,cudnn]==1.31.1",
    ),
    (
        with_probe("onnxruntime", replace(FELL_BACK, facts={**FELL_BACK.facts, "cuda": "12.8"})),
        True,
        "built for CUDA 12, torch brings CUDA 13",
        "uninstall --yes onnxruntime-gpu && py ",
    ),
    (
        replace(
            with_probe("onnxruntime", FELL_BACK, with_probe("torch", CPU_TORCH)),
            machine=Machine(torch_cuda="13.0"),
        ),
        False,
        "no NVIDIA GPU with a working driver",
        "uninstall --yes onnxruntime-gpu && py ",
    ),
    (
        with_probe(
            "onnxruntime",
            Probe("works", facts={"providers": ["CPUExecutionProvider"]}),
            with_onnxruntimes("onnxruntime"),
        ),
        False,
        "onnxruntime runs on the CPU only",
        "uninstall --yes onnxruntime && py ",
    ),
    (
        replace(with_probe("torch", CPU_TORCH), machine=replace(GPU, torch_cuda=None)),
        True,
        "CPU-only build",
        "uninstall --yes torch torchvision && py -m pip install torch torchvision "
        "--index-url https://download.pytorch.org/whl/cu130",
    ),
    (
        replace(
            with_probe("torch", Probe("works", facts={"gpu_error": "driver too old"})),
            machine=replace(GPU, driver_cuda=(12, 4)),
        ),
        True,
        "driver too old",
        "https://download.pytorch.org/whl/cu126",
    ),
    (
        replace(with_probe("torch", CPU_TORCH), hidden_gpus="CUDA_VISIBLE_DEVICES=-1"),
        True,
        "CUDA_VISIBLE_DEVICES=-1 hides",
        "unset CUDA_VISIBLE_DEVICES",
    ),
    (
        with_probe("torchvision", Probe("FAILS", "operator torchvision::nms does not exist")),
        True,
        "torchvision::nms does not exist",
        "install --force-reinstall --no-deps torchvision==0.29.2+cu130 "
        "--index-url https://download.pytorch.org/whl/cu130",
    ),
    (
        with_probe("cv2", Probe("CRASHES", "the process ended with -11")),
        True,
        "cv2 crashes",
        "install --force-reinstall --no-deps opencv-python-headless==9.0",
    ),
    (
        with_probe(
            "cv2",
            Probe("FAILS", "libGL.so.1: cannot open shared object file"),
            with_versions(opencv_python="4.9"),
        ),
        True,
        "libGL.so.1",
        "install opencv-python-headless",
    ),
    (
        with_probe("insightface", Probe("FAILS", "No module named 'skimage'")),
        True,
        "insightface fails",
        "install scikit-image",
    ),
    (
        with_probe("scipy", Probe("FAILS", "numpy.dtype size changed, may indicate")),
        True,
        "scipy fails",
        "install --upgrade --no-deps scipy",
    ),
    (
        with_probe("onnxruntime", Probe("FAILS", "ImportError: DLL load failed while")),
        True,
        "onnxruntime fails",
        "winget install Microsoft.VCRedist.2015+.x64",
    ),
    (without("xxhash"), True, "not installed: xxhash>=3", SCRIPT),
    (without("onnx", "tqdm"), False, "not installed (optional): onnx, tqdm", SCRIPT),
    (without("torch", "torchvision"), True, "torch is not installed", "torch torchvision"),
    (
        without("torchvision"),
        False,
        "torchvision is not installed",
        "install torchvision torch==2.15.0+cu130 --index-url",
    ),
    (with_versions(xxhash="2.0"), True, "not installed: xxhash>=3", SCRIPT),
    (replace(WELL, can_install=False), True, "neither pip nor uv", "py -m ensurepip"),
    (
        replace(
            WELL,
            conflicts=["onnx 9.0 has requirement numpy>=10, but you have numpy 9.0."],
        ),
        True,
        "onnx 9.0 has requirement numpy>=10",
        "install onnx numpy==9.0",
    ),
    (
        replace(WELL, conflicts=["onnx 9.0 requires ml-dtypes, which is not installed."]),
        True,
        "ml-dtypes",
        "install ml-dtypes",
    ),
    (
        replace(
            WELL,
            conflicts=["The package `scipy` requires `numpy<3`, but `9.0` is installed"],
        ),
        True,
        "numpy<3",
        "install scipy numpy==9.0",
    ),
    (
        replace(
            WELL,
            installed=replace(WELL.installed, modules=MODULES - {"onnxruntime"}),
            probes={**WELL.probes, "insightface": Probe("FAILS", "no attribute InferenceSession")},
        ),
        True,
        "onnxruntime-gpu is on record, but its module onnxruntime is gone",
        "install --force-reinstall --no-deps onnxruntime-gpu==1.31.1",
    ),
    (
        replace(with_versions(setuptools="65.5"), conflicts=[SETUPTOOLS_CONFLICT]),
        True,
        "torch 2.15.0+cu130 requires setuptools>=77",
        "'setuptools>=77' torch==2.15.0+cu130",
    ),
]


@pytest.mark.parametrize(("report", "wrong", "problem", "remedy"), CASES)
def test_one_cause_is_one_finding_with_one_command(
    report: Report, wrong: bool, problem: str, remedy: str
) -> None:
    (found,) = findings_of(report)
    assert found[0] is wrong
    assert problem in found[1]
    assert remedy in found[2]


@pytest.mark.parametrize(
    "report",
    [
        WELL,
        replace(
            with_probe(
                "onnxruntime",
                Probe("works", facts={"providers": ["CPUExecutionProvider"]}),
                with_probe("torch", CPU_TORCH, with_onnxruntimes("onnxruntime")),
            ),
            machine=Machine(torch_cuda="13.0"),
        ),
        # an AMD build of torch beside an idle NVIDIA card
        replace(
            with_probe("torch", CPU_TORCH),
            machine=replace(GPU, torch_cuda=None, torch_other="hip"),
        ),
        # installed in spite of their pins, on purpose
        replace(
            WELL,
            conflicts=[
                "facenet-pytorch 2.6.0 has requirement torch<2.3.0, but you have torch 2.15.",
                "insightface 2.1 requires opencv-python, which is not installed.",
                "somebody-elses 1.0 has requirement numpy<2, but you have numpy 2.4.",
                "No broken requirements found.",
            ],
        ),
    ],
)
def test_all_is_well(report: Report) -> None:
    assert findings_of(report) == []


def test_nothing_installed_at_all() -> None:
    report = Report(NEEDS, machine=Machine())
    found = findings_of(report)
    assert [wrong for wrong, _, _ in found] == [True] * 4 + [False]
    assert "torch is not installed" in found[0][1]


def test_a_broken_torch_is_not_blamed_on_what_rests_on_it() -> None:
    report = WELL
    for module in ("torch", "torchvision", "facenet_pytorch"):
        report = with_probe(module, Probe("FAILS", "libtorch.so: broken"), report)
    (found,) = findings_of(report)
    assert found[1].startswith("torch fails")


def test_what_is_wrong_comes_before_advice() -> None:
    report = replace(without("onnx"), can_install=False)
    assert [wrong for wrong, _, _ in findings_of(report)] == [True, False]


@pytest.mark.parametrize(
    ("version", "index"),
    [
        ("2.15.0", ""),
        ("2.15.0+cpu", "https://download.pytorch.org/whl/cpu"),
        ("2.15.0+rocm6.4", "https://download.pytorch.org/whl/rocm6.4"),
        ("2.9.0a0+50eac811a6.nv25.09", ""),  # somebody's own build
    ],
)
def test_torchvision_comes_from_where_torch_came(version: str, index: str) -> None:
    report = with_probe(
        "torchvision", Probe("FAILS", "undefined symbol"), with_versions(torch=version)
    )
    (found,) = findings_of(report)
    assert found[2].endswith(f"--index-url {index}" if index else "torchvision==0.29.2+cu130")


def test_commands_for_uv() -> None:
    remedies = Remedies(("/bin/uv", "pip"), WELL.installed, python="py")
    assert remedies.install("onnx") == "/bin/uv pip install --python py onnx"
    assert remedies.uninstall("onnx") == "/bin/uv pip uninstall --python py onnx"
    assert "--reinstall --no-deps scipy==9.0" in remedies.reinstall("scipy")
