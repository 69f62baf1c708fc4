"""Each check, with the machine as it is and with something taken away."""

import subprocess
import sys
from unittest.mock import Mock

import pytest

from wsss_lab.lab import doctor, lesson, provenance, trained
from wsss_lab.lab.store import default_root
from wsss_lab.papers.lee2021.route import DETECTORS


@pytest.mark.parametrize("name, module, compiler, wanted", [
    ("scikit-learn", "sklearn", None, "-m pip install scikit-learn"),
    ("pydensecrf2", "pydensecrf.densecrf", "/usr/bin/g++", "-m pip install pydensecrf2"),
    ("pydensecrf2", "pydensecrf.densecrf", None, "apt install g++")])
def test_a_package_that_cannot_be_imported_comes_with_its_install_command(monkeypatch, name, module, compiler, wanted):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: compiler)
    check = doctor.check_package(name)
    assert check.state == "missing" and wanted in check.fix


@pytest.mark.parametrize("name, folders, absent, complete", [
    ("WSSS_DATA", ["JPEGImages"], "no SegmentationClass, ImageSets/Segmentation in it", None),
    ("WSSS_DATA", doctor.LAYOUTS["WSSS_DATA"][0], "no image in JPEGImages", None),
    ("WSSS_COCO", ["annotations"], "no stuffthingmaps in it", None),
    ("WSSS_COCO", doctor.LAYOUTS["WSSS_COCO"][0], "", "COCO 2014 (annotations, stuffthingmaps)"),
    ("WSSS_SALIENCY", [], "no masks, boxes, unsupervised in it", None),
    ("WSSS_SALIENCY", ["masks", "unsupervised"], "", "saliency maps (masks, unsupervised)")])
def test_folders_are_not_set_incomplete_or_complete(tmp_path, name, folders, absent, complete):
    def check(environment):
        return doctor.check_data(environment) if name == "WSSS_DATA" else doctor.check_layout(environment, name)

    assert check({}).state == "ok" and doctor.LAYOUTS["WSSS_SALIENCY"][0] == DETECTORS
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    found = check({name: str(tmp_path)})
    assert found.state == ("missing" if absent else "ok")
    assert found.what == f"{name}={tmp_path}: {absent or complete}"
    assert absent == "no image in JPEGImages" or not absent or f"export {name}=" in found.fix


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
    monkeypatch.delenv("WSSS_CACHE", raising=False)
    assert doctor.check_cache({}).what == f"run store: {default_root()}"  # the one that is used
    folder = tmp_path / "not" / "yet"
    assert doctor.check_cache({"WSSS_CACHE": str(folder)}).state == "ok" and not folder.exists()
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", Mock(side_effect=PermissionError(13, "Permission denied")))
    check = doctor.check_cache({"WSSS_CACHE": str(folder)})
    assert check.state == "missing" and "WSSS_CACHE" in check.fix


def test_weights_folder_unset_absent_and_half_filled(tmp_path):
    assert [check.state for check in doctor.check_weights({})] == ["ok"]
    assert doctor.check_weights({"WSSS_WEIGHTS": str(tmp_path / "none")})[0].state == "missing"
    (tmp_path / "u2netp_saliency.pth").touch()
    checks = doctor.check_weights({"WSSS_WEIGHTS": str(tmp_path)})
    assert [check.state for check in checks] == ["warn"] * 5 + ["ok"]
    assert checks[1].fix == f"wsss data imagenet-weights --to {tmp_path}"


def test_the_packed_networks_are_listed_with_their_size(tmp_path):
    folder = provenance.PACKAGE_FOLDER / "weights"
    sizes = {name: (folder / name).stat().st_size for name in (lesson.FILE, trained.FILE)}
    assert doctor.check_networks() == [
        doctor.Check("ok", f"trained networks: {name}, {size / 1e6:.1f} MB") for name, size in sizes.items()]
    assert [check.state for check in doctor.check_networks(tmp_path)] == ["warn"]


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
