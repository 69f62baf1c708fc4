"""Is this machine ready? One line per thing looked at, each with the command that puts it right."""

import importlib
import os
import platform
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from wsss_lab import settings
from wsss_lab.errors import LabError, ParameterError
from wsss_lab.lab.profiles import unknown_name
from wsss_lab.lab.provenance import PACKAGE_FOLDER, cores, memory_gib, project_folder

OK, WARNING, MISSING = "ok", "warn", "missing"

#: Name on PyPI and import name, where they differ, of what the package can't do without.
PACKAGES = {name: name for name in ("torch", "torchvision", "numpy", "pandas", "scipy", "matplotlib", "seaborn",
                                    "jupyterlab", "papermill", "sphinx", "furo", "sphinx-mathjax-offline", "pooch",
                                    "tqdm")}
PACKAGES |= {"scikit-learn": "sklearn", "opencv-python-headless": "cv2", "pillow": "PIL",
             "pydensecrf2": "pydensecrf.densecrf", "ipykernel": "ipykernel.kernelspec", "myst-nb": "myst_nb"}
#: What some are called here instead of by name and version.
CALLED = {"pydensecrf2": "pydensecrf (dense CRF)", "ipykernel": f"Jupyter kernel of {sys.executable}"}
COMPILED = "pydensecrf2"  # when it is installed
COMPILER_FIX = "sudo apt install g++ python3-dev   (macOS: xcode-select --install)"
#: Variable: what its folder holds, how much of that it must hold, what that is, who needs it, and an example.
#: Photographs of COCO may lie in one of two places; saliency maps by what their detector was trained on.
LAYOUTS = {
    "WSSS_DATA": (("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"), all, "VOC layout",
                  "only PROFILE=photos and PROFILE=voc need it",
                  "/path/to/VOCdevkit/VOC2012, or another folder in VOC layout"),
    "WSSS_SALIENCY": (("masks", "boxes", "unsupervised"), any, "saliency maps",
                      "only saliency maps of other detectors need it",
                      "/path/to/saliency, with a folder of maps per detector"),
    "WSSS_COCO": (("annotations", "stuffthingmaps"), all, "COCO 2014",
                  "only Table 7 of Lee et al. 2021 in PROFILE=voc needs it",
                  "/path/to/coco, with COCO 2014 and the masks of COCO-Stuff"),
}
#: File name: what it is for, and what `wsss data` calls its source ("" where it can't be fetched).
WEIGHT_FILES = {
    "mobilenet_v2_imagenet.pth": ("ImageNet weights for PROFILE=photos", "imagenet-weights"),
    "vgg16_imagenet.pth": ("ImageNet weights for PROFILE=voc", "imagenet-weights"),
    "resnet101_imagenet.pth": ("ImageNet weights for PROFILE=voc", "imagenet-weights"),
    "resnet50_imagenet.pth": ("ImageNet weights for PROFILE=voc", "imagenet-weights"),
    "ilsvrc-cls_rna-a1_cls1000_ep-0001.pth": ("ImageNet weights of WideResNet-38 for PROFILE=voc", ""),
    "u2netp_saliency.pth": ("U2-Net-P, an off-the-shelf saliency detector", "saliency"),
}
MEMORY_WANTED, DISK_WANTED = 4, 5  # GiB
PYTHON_WANTED = (3, 11)


@dataclass(frozen=True)
class Check:
    """What was looked at: `state` is "ok", "warn" (some things won't work) or "missing" (nothing will)."""

    state: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"[{self.state}]".ljust(10) + self.what
        return f"{line}\n{' ' * 10}fix: {self.fix}" if self.fix and self.state != OK else line


def examine(environment: Mapping[str, str] = os.environ) -> list[Check]:
    """Look at everything; the order is that in which a newcomer would put things right."""
    return [check_python(), *map(check_package, PACKAGES), check_machine(), check_gpu(), *check_variables(environment),
            check_cache(environment), check_data(environment), *check_weights(environment), *check_networks(),
            *(check_layout(environment, variable) for variable in ("WSSS_SALIENCY", "WSSS_COCO"))]


def report(checks: Iterable[Check]) -> int:
    """Print every check and the verdict; returns the exit status, 1 if anything required is missing."""
    checks = list(checks)
    missing = sum(check.state == MISSING for check in checks)
    print(*checks, f"\n{missing} thing(s) missing" if missing else "\nReady: make reproduce", sep="\n")
    return int(missing > 0)


def check_python() -> Check:
    """The version of Python is recent enough."""
    what = f"Python {platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < PYTHON_WANTED:
        wanted = "python" + ".".join(map(str, PYTHON_WANTED))
        return Check(MISSING, f"{what}; {wanted} or later is needed", f"sudo apt install {wanted}-venv")
    return Check(OK, what)


def check_package(name: str) -> Check:
    """Whether a package of PACKAGES can be imported, its version, and what it takes to install it."""
    try:
        importlib.import_module(PACKAGES[name])
    except Exception as error:  # a damaged package may raise anything
        what = f"{CALLED.get(name, name)}: {type(error).__name__}: {error}"
        install = f"{sys.executable} -m pip install {name}"
        if name == COMPILED and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            return Check(MISSING, f"{what}; and no C++ compiler to build it", f"{COMPILER_FIX}, then {install}")
        return Check(MISSING, what, install)
    try:
        return Check(OK, CALLED.get(name) or f"{name} {metadata.version(name)}")
    except metadata.PackageNotFoundError:  # conda may use another name
        return Check(OK, name)


def check_machine() -> Check:
    """Cores, memory and free disk space."""
    memory, disk = memory_gib(), shutil.disk_usage(Path.cwd()).free / 2**30
    what = f"{cores()} core(s), {memory:.1f} GiB memory, {disk:.1f} GiB free disk"
    if memory < MEMORY_WANTED:
        return Check(WARNING, what, f"under {MEMORY_WANTED} GiB of memory: make reproduce JOBS=1")
    if disk < DISK_WANTED:
        return Check(WARNING, what, f"under {DISK_WANTED} GiB: set WSSS_CACHE to a folder on a larger disk")
    return Check(OK, what)


def check_gpu() -> Check:
    """A GPU that torch can use; none is fine."""
    with suppress(ImportError):
        import torch

        if torch.cuda.is_available():
            return Check(OK, f"GPU: {torch.cuda.get_device_name()} (DEVICE=auto uses it)")
    if shutil.which("nvidia-smi"):
        return Check(WARNING, "GPU: a driver is there, but torch can't use it",
                     "install the torch build for your driver, see https://pytorch.org/get-started/locally")
    return Check(OK, "GPU: none, the CPU is used")


def check_variables(environment: Mapping[str, str]) -> list[Check]:
    """Variables WSSS_... with values that aren't allowed, and those that nothing reads: a name may be mistyped."""
    found = []
    for name in sorted(name for name in environment if name.startswith("WSSS_")):
        try:
            if name in settings.VARIABLES:
                settings.variable(name, environment)
            elif name not in settings.OTHERS:
                raise unknown_name("variable", name, [*settings.OTHERS, *settings.VARIABLES])
        except ParameterError as error:
            fix = error.fix or f"unset {name}"
            found.append(Check(MISSING, f"{error.problem}, expected {error.expected}", fix) if name in
                         settings.VARIABLES else Check(WARNING, error.problem, fix))
    return found


def check_cache(environment: Mapping[str, str]) -> Check:
    """The run store can be written."""
    # Not asked of the store, which can't be imported where numpy is missing.
    folder = Path(environment.get("WSSS_CACHE") or project_folder() / ".wsss_cache").expanduser()
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Check(OK, f"run store: {folder}")
    except OSError as error:
        return Check(MISSING, f"run store: can't write to {folder} ({error.strerror})",
                     "export WSSS_CACHE=/a/folder/you/may/write")


def check_data(environment: Mapping[str, str]) -> Check:
    """WSSS_DATA, when set, is a folder in VOC layout whose files are sound."""
    layout = check_layout(environment, "WSSS_DATA")
    folder = environment.get("WSSS_DATA", "")
    if not folder or layout.state != OK:
        return layout
    try:
        from wsss_lab.data.folder_check import table
        from wsss_lab.lab.data_check import checked

        notes = checked(folder)
    except ImportError:  # told by the checks of packages
        return layout
    except LabError as error:
        return Check(MISSING, f"WSSS_DATA={folder}: {error.problem.removeprefix(f'{folder}: ')}", error.fix)
    return Check(WARNING, f"{layout.what}, worth a look\n{table(notes)}") if notes else layout


def check_weights(environment: Mapping[str, str]) -> list[Check]:
    """WSSS_WEIGHTS, when set, is a folder; says which of the known files it holds."""
    folder = environment.get("WSSS_WEIGHTS", "")
    if not folder:
        return [Check(OK, "WSSS_WEIGHTS: not set (only PROFILE=photos and PROFILE=voc need it)")]
    if not Path(folder).is_dir():
        return [Check(MISSING, f"WSSS_WEIGHTS={folder}: no such folder", "export WSSS_WEIGHTS=/path/to/weights")]
    found = []
    for name, (use, source) in WEIGHT_FILES.items():
        fix = f"wsss data {source} --to {shlex.quote(folder)}" if source else f"put it into {folder}"
        found.append(Check(OK, f"WSSS_WEIGHTS: {name}") if (Path(folder) / name).is_file() else
                     Check(WARNING, f"WSSS_WEIGHTS: no {name} ({use})", fix))
    return found


def check_networks(folder: Path = PACKAGE_FOLDER / "weights") -> list[Check]:
    """The trained networks that come with the package, for `wsss apply` and for lessons."""
    found = [Check(OK, f"trained networks: {path.name}, {path.stat().st_size / 1e6:.1f} MB")
             for path in sorted(folder.glob("*.pth"))]
    return found or [Check(WARNING, f"trained networks: none in {folder} (`wsss apply` needs them)",
                           "wsss weights --profile photos --out $WSSS_WEIGHTS")]


def check_layout(environment: Mapping[str, str], variable: str) -> Check:
    """Whether the folder that a variable of LAYOUTS names, if it is set, holds what it should; says what it holds."""
    folders, enough, layout, use, example = LAYOUTS[variable]
    folder = environment.get(variable, "")
    if not folder:
        return Check(OK, f"{variable}: not set ({use})")
    there = [name for name in folders if (Path(folder) / name).is_dir()]
    if enough(name in there for name in folders):
        return Check(OK, f"{variable}={folder}: {layout} ({', '.join(there)})")
    absent = ", ".join(name for name in folders if name not in there)
    return Check(MISSING, f"{variable}={folder}: no {absent} in it", f"export {variable}={example}")
