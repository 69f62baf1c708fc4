"""Fixtures that several files of tests share."""

import signal
from dataclasses import replace

import pytest
import torch
from tiny_views import RandomTrunk, write_photographs

from wsss_lab.lab import worlds
from wsss_lab.networks.u2netp import U2NetP

torch.set_num_threads(1)  # sums are then the same on every machine
pytest.register_assert_rewrite("figure_parts", "table_parts")  # so that their assertions say what they compared


@pytest.fixture(scope="session", autouse=True)
def listens_to_ctrl_c():
    """Tests of Ctrl-C also hold in a run that a shell has put into the background, where it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """WSSS_DATA, WSSS_WEIGHTS and a run store for the profile on photographs."""
    from torchvision.models import mobilenet_v2

    worlds._folder.cache_clear()
    folder = tmp_path / "weights"
    folder.mkdir()
    torch.save(mobilenet_v2(weights=None).state_dict(), folder / "mobilenet_v2_imagenet.pth")
    torch.save(U2NetP().state_dict(), folder / "u2netp_saliency.pth")
    monkeypatch.setenv("WSSS_DATA", str(write_photographs(tmp_path / "photos", masks=True)))
    monkeypatch.setenv("WSSS_WEIGHTS", str(folder))
    monkeypatch.setenv("WSSS_CACHE", str(tmp_path / "store"))
    return folder


@pytest.fixture
def no_folders(monkeypatch):
    """Neither WSSS_SALIENCY nor WSSS_COCO is set."""
    for name in ("WSSS_SALIENCY", "WSSS_COCO"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def on_cpu():
    """Networks of a module run on the CPU: for what is compared to the last digits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WSSS_DEVICE", "cpu")
        yield


@pytest.fixture(scope="session")
def start():
    """State dict of a small VGG's trunk that was never trained, for networks of tiny_views.BACKBONE."""
    return RandomTrunk().load(None)


# --- routes ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def routes(request):
    """Routes of the quick profile, one for each of two seeds. The test module gives PAPER, the module of its paper."""
    return request.module.PAPER.routes("quick", seeds=2)


@pytest.fixture(scope="module")
def route(routes):
    """The route of the first seed. The test module gives PAPER."""
    return routes[0]


@pytest.fixture(scope="module")
def printed(request, route):
    """The steps that the voc profile would have, on a world that is there. The test module gives PAPER."""
    return replace(route, scale=request.module.PAPER.SCALES["voc"])


# --- figures and tables from made-up results -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(request):
    """Made-up results of the quick profile. The test module gives fake_run(profile, seeds), see fake_run.py."""
    return request.module.fake_run()


@pytest.fixture(scope="module")
def photos(request):
    """Made-up results on photographs. The test module gives fake_run(profile, seeds), see fake_run.py."""
    return request.module.fake_run("photos", 1)


@pytest.fixture(scope="module")
def figures(request, run):
    """All figures of `run`, drawn once. The test module gives fake_run and FIGURES, a function of a run by name."""
    return {name: draw(run) for name, draw in request.module.FIGURES.items()}


@pytest.fixture(scope="module")
def of_photos(request, photos):
    """The same figures of `photos`, drawn once. The test module gives fake_run and FIGURES."""
    return {name: draw(photos) for name, draw in request.module.FIGURES.items()}


@pytest.fixture(scope="module")
def everything(request, run, photos):
    """Per profile, quick and photos: a run, all of its tables by name, and the set of steps that these loaded.

    The test module gives fake_run and ALL, what makes each table of a run by name.
    """
    def made_of(run) -> tuple:
        run.loaded.clear()  # of what an earlier test has loaded
        return run, {name: make(run) for name, make in request.module.ALL.items()}, set(run.loaded)

    return {"quick": made_of(run), "photos": made_of(photos)}


@pytest.fixture(scope="module")
def made(everything):
    """All tables of `run`, made once. The test module gives fake_run and ALL."""
    return everything["quick"][1]


@pytest.fixture(scope="module")
def made_of_photos(everything):
    """All tables of `photos`, made once. The test module gives fake_run and ALL."""
    return everything["photos"][1]
