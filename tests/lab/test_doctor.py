"""Each check, with the machine as it is and with something taken away."""

import importlib
import subprocess
import sys

import pytest

from wsss_lab.lab import doctor


def without(monkeypatch, *modules: str) -> None:
    """Make imports of these modules fail."""
    imported = importlib.import_module

    def fail(name, *arguments, **options):
        if name in modules:
            raise ModuleNotFoundError(f"No module named '{name}'")
        return imported(name, *arguments, **options)

    monkeypatch.setattr(importlib, "import_module", fail)


def test_this_machine_can_run_the_tests_so_nothing_is_missing(capsys):
    assert doctor.report(doctor.examine({})) == 0
    *lines, verdict = capsys.readouterr().out.rstrip().splitlines()
    assert verdict == "Ready: make reproduce"
    assert all(line.startswith(("[ok]", "[warn]", "          fix:")) for line in lines if line)


def test_something_missing_means_status_1_and_its_fix_is_shown_while_warnings_are_no_failure(capsys):
    warning = doctor.Check("warn", "GPU", "get one")
    assert doctor.report([warning]) == 0
    assert doctor.report([warning, doctor.Check("missing", "torch", "pip install torch")]) == 1
    assert capsys.readouterr().out.endswith(
        "[missing] torch\n          fix: pip install torch\n\n1 thing(s) missing\n")


@pytest.mark.parametrize("name, module, compiler, wanted", [
    ("scikit-learn", "sklearn", None, "-m pip install scikit-learn"),
    ("pydensecrf2", "pydensecrf.densecrf", "/usr/bin/g++", "-m pip install pydensecrf2"),
    ("pydensecrf2", "pydensecrf.densecrf", None, "apt install g++")])
def test_a_package_that_cannot_be_imported_comes_with_its_install_command(monkeypatch, name, module, compiler, wanted):
    without(monkeypatch, module)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: compiler)
    check = doctor.check_package(name)
    assert check.state == "missing" and wanted in check.fix


def test_old_python_is_missing_a_newer_one_and_little_memory_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor, "PYTHON_WANTED", (99, 0))
    check = doctor.check_python()
    assert check.state == "missing" and "python99.0" in check.fix
    monkeypatch.setattr(doctor, "memory_gib", lambda: 2.0)
    check = doctor.check_machine()
    assert check.state == "warn" and "JOBS=1" in check.fix


def test_a_driver_that_torch_cannot_use_is_a_warning(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert doctor.check_gpu().state == "warn"
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.check_gpu().state == "ok"


def test_the_run_store_has_to_be_writable(tmp_path, monkeypatch):
    folder = tmp_path / "not" / "yet"
    assert doctor.check_cache({"WSSS_CACHE": str(folder)}).state == "ok"
    assert not folder.exists()

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    check = doctor.check_cache({"WSSS_CACHE": str(folder)})
    assert check.state == "missing"
    assert "WSSS_CACHE" in check.fix


def test_the_run_store_looked_at_is_the_one_that_is_used(monkeypatch):
    from wsss_lab.lab.store import default_root

    monkeypatch.delenv("WSSS_CACHE", raising=False)
    assert doctor.check_cache({}).what == f"run store: {default_root()}"


def test_data_folder_unset_incomplete_and_complete(tmp_path):
    assert doctor.check_data({}).state == "ok"
    (tmp_path / "JPEGImages").mkdir()
    check = doctor.check_data({"WSSS_DATA": str(tmp_path)})
    assert check.state == "missing"
    assert "no SegmentationClass, ImageSets/Segmentation in it" in check.what
    for name in doctor.VOC_FOLDERS:
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    check = doctor.check_data({"WSSS_DATA": str(tmp_path)})  # more in test_folder_check
    assert check.state == "missing" and check.what == f"WSSS_DATA={tmp_path}: no image in JPEGImages"


def test_weights_folder_unset_absent_and_half_filled(tmp_path):
    assert [check.state for check in doctor.check_weights({})] == ["ok"]
    assert doctor.check_weights({"WSSS_WEIGHTS": str(tmp_path / "none")})[0].state == "missing"
    (tmp_path / "u2netp_saliency.pth").touch()
    checks = doctor.check_weights({"WSSS_WEIGHTS": str(tmp_path)})
    assert [check.state for check in checks] == ["warn"] * 5 + ["ok"]
    assert checks[1].fix == f"wsss data imagenet-weights --to {tmp_path}"


def test_saliency_folder_unset_without_a_detector_and_with_some(tmp_path):
    assert doctor.check_saliency({}).state == "ok"
    for folder in (tmp_path, tmp_path / "none"):
        check = doctor.check_saliency({"WSSS_SALIENCY": str(folder)})
        assert check.state == "missing" and "none of masks, boxes, unsupervised in it" in check.what
        assert "WSSS_SALIENCY=" in check.fix
    for name in ("masks", "unsupervised"):
        (tmp_path / name).mkdir()
    check = doctor.check_saliency({"WSSS_SALIENCY": str(tmp_path)})
    assert (check.state, check.what) == ("ok", f"WSSS_SALIENCY={tmp_path}: maps of masks, unsupervised")


def test_the_saliency_folders_looked_for_are_the_detectors_of_the_route():
    from wsss_lab.papers.lee2021.route import DETECTORS

    assert doctor.SALIENCY_FOLDERS == DETECTORS


def test_coco_folder_unset_incomplete_and_complete(tmp_path):
    assert doctor.check_coco({}).state == "ok"
    (tmp_path / "annotations").mkdir()
    check = doctor.check_coco({"WSSS_COCO": str(tmp_path)})
    assert check.state == "missing" and check.what == f"WSSS_COCO={tmp_path}: no stuffthingmaps in it"
    (tmp_path / "stuffthingmaps").mkdir()
    assert doctor.check_coco({"WSSS_COCO": str(tmp_path)}).state == "ok"


def test_the_doctor_needs_none_of_the_packages_it_looks_for():
    hidden = [module.partition(".")[0] for module in doctor.PACKAGES.values()]
    program = f"""
import sys
sys.modules.update(dict.fromkeys({hidden!r}))
from wsss_lab.lab.cli import main
sys.argv = ["wsss", "doctor"]
main()"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 1
    assert answer.stdout.count("[missing]") == len(hidden)
    assert answer.stderr == ""
