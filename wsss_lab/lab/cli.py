"""The command `wsss`. Heavy imports stay inside the commands, so that --help answers at once."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from wsss_lab.errors import LabError, ParameterError, SetupError
from wsss_lab.settings import check_variables, checked, forecasting

INTERRUPTED = 130  # the shell's status for a program stopped by Ctrl-C


class Interruptible(typer.core.TyperGroup):
    """Commands that Ctrl-C and SIGTERM end with one sentence."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("\nStopped. What is finished is kept: the same command goes on from there.", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=Interruptible, no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Weakly supervised semantic segmentation, paper by paper: run the notebooks, see what they make.",
)

Paper = Annotated[str, typer.Option(help="A paper, several separated by commas, or all.")]
Profile = Annotated[str, typer.Option(
    help="How much work, on which data: quick, lesson, toy, toy-long, photos or voc.")]
Figures = Annotated[Path | None, typer.Option("--out", help="Folder for results. [default: figures/own]")]
Executed = Annotated[Path | None,
                     typer.Option(help="Folder for executed notebooks. [default: build/notebooks/<profile>]")]
Seeds = Annotated[int, typer.Option(help="Training seeds; from 2 on, tables show intervals.")]
Jobs = Annotated[str, typer.Option(help="Worker processes, or auto for one per core.")]
Artifact = Annotated[str, typer.Option(help="Only these tables and figures, as in oh2017/table2.")]
Notebooks = Annotated[Path | None, typer.Option(help="Folder with the notebooks. [default: notebooks]")]


def main() -> None:
    """Run the command line; a problem the user can solve is told without a traceback, with status 2."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except ModuleNotFoundError as error:
        problem: LabError = SetupError(f"the package '{error.name}' is not installed",
                                       fix="'make doctor' names the command that installs it")
    except LabError as error:
        problem = error
    except OSError as error:
        if not error.filename:
            raise
        problem = SetupError(f"can't read or write {error.filename}: {error.strerror}",
                             "a file or folder that can be used", "put this right, or name another one")
    print(f"error: {problem}", file=sys.stderr)
    sys.exit(2)


@app.callback()
def _check_variables(context: typer.Context) -> None:
    if context.invoked_subcommand != "doctor":  # which lists what it finds
        check_variables()


@app.command()
def reproduce(
    paper: Paper = "all",
    profile: Profile = "toy",
    seeds: Seeds = 1,
    world_seed: Annotated[int, typer.Option(help="Seed of the toy world's images.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Jobs = "auto",
    data: Annotated[str, typer.Option(envvar="WSSS_DATA", help="Photographs in VOC layout.")] = "",
    weights: Annotated[str, typer.Option(envvar="WSSS_WEIGHTS", help="Pre-trained weights.")] = "",
    saliency: Annotated[str, typer.Option(envvar="WSSS_SALIENCY", help="Saliency maps, a folder per detector.")] = "",
    coco: Annotated[str, typer.Option(envvar="WSSS_COCO", help="COCO 2014, for profile voc.")] = "",
    param: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, any of a notebook.")] = None,
    artifact: Artifact = "",
    out: Figures = None,
    executed: Executed = None,
    notebooks_dir: Notebooks = None,
) -> None:
    """Run notebooks headless: every table and figure, the verdict on every claim, and a summary.

    What was computed before is taken from the run store, so a second run, or one after Ctrl-C, goes on from
    there. The exit status is 1 if a notebook failed or a promised table or figure is missing.
    """
    from wsss_lab.lab import data_check, notebooks, profiles, runs, summary
    from wsss_lab.lab.store import Store

    asked = profiles.profile_named(profile)
    selected = notebooks.select_notebooks(notebooks.find_notebooks(notebooks_dir), paper)
    papers = [item.paper for item in selected]
    for variable, folder in (("DATA", data), ("WEIGHTS", weights), ("SALIENCY", saliency), ("COCO", coco)):
        if folder:  # for the kernels, in a form that holds from any working directory
            os.environ[f"WSSS_{variable}"] = str(Path(folder).expanduser().absolute())
    if checked("device", device) == "cuda":
        from wsss_lab.networks.machine import resolve_device

        resolve_device(device)
    figures = (out or notebooks.project_folder() / notebooks.OWN).absolute()
    shared = {"profile": profile, "seeds": checked("seeds", seeds), "world_seed": checked("world_seed", world_seed),
              "device": device, "jobs": _workers(jobs), "figures": str(figures)}
    parameters = {item: notebooks.given_parameters(item.path, shared, param or []) for item in selected}
    if artifact and param:
        raise ParameterError(f"--param {param[0]} beside --artifact", "one of them: no notebook is run")
    profiles.check_inputs(asked)
    target = executed or notebooks.project_folder() / "build" / "notebooks" / profile
    _try_out(figures, "OUT=folder (--out)")
    if not artifact:
        _try_out(target, "EXECUTED=folder (--executed)")
    data_check.before_run(asked)

    from wsss_lab.lab import forecast, registry, session

    if artifact:
        chosen = registry.choose(artifact, papers)
        session.make_artifacts(chosen, **shared)
        for name, id, _ in (each for each in chosen if each.id in registry.artifacts_of(each.paper)):
            print(f"{name}/{id}: {figures / profile / name}, {id}.*")
        _update_gallery(figures, profile)
        return
    if profile == "voc" and not os.environ.get("WSSS_REHEARSAL"):
        print(forecast.of_notebooks(papers, profile, seeds), flush=True)
    reports = []
    for item, given in parameters.items():
        print(f"== {item.path.name} ({profile}: {asked.summary})", flush=True)
        began, shown = time.time(), notebooks.shown_artifacts(item.path)
        if shown and not param:
            forecast.compute_ahead(item.paper, shown, **shared)
        outcome = notebooks.run_notebook(item, given, (target / item.path.name).absolute(), began)
        state = "FAILED, see the end" if outcome.failure else "done"
        print(f"   {state}, {outcome.seconds / 60:.1f} min", flush=True)
        folder = figures / profile / item.paper
        promised = () if profile == profiles.LESSON else summary.promised_artifacts(item.paper)  # it shows kept ones
        reports.append(summary.report(outcome, folder, promised,
                                      summary.waived_artifacts(item.paper, profile),
                                      runs.save(folder, outcome, given, Store())))
    print(summary.render(reports, profile, _update_gallery(figures, profile)))
    raise typer.Exit(0 if all(report.good for report in reports) else 1)


@app.command()
def plan(
    paper: Paper = "all",
    profile: Profile = "voc",
    seeds: Seeds = 1,
    tflops: Annotated[float, typer.Option(help="What a GPU that isn't here keeps up in training, in TFLOP/s.")] = 20.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Jobs = "auto",
    trainings: Annotated[bool, typer.Option("--trainings", help="List every training.")] = False,
    artifacts: Annotated[bool, typer.Option("--artifacts", help="List what each table and figure needs.")] = False,
    artifact: Artifact = "",
    notebooks_dir: Notebooks = None,
) -> None:
    """Say what a run will take, and train nothing: steps, trainings, minutes of this machine, room on the disk.

    Minutes are measured by trying some steps out in small. For the profile voc, whose data and weights needn't be there
    yet, hours and memory of a GPU are estimated.
    """
    from wsss_lab.lab import forecast, notebooks, pool, registry

    selected = notebooks.select_notebooks(notebooks.find_notebooks(notebooks_dir), paper)
    papers = [item.paper for item in selected]
    seeds, tflops = checked("seeds", seeds), checked("tflops", tflops)
    os.environ["WSSS_DEVICE"] = checked("device", device)
    with forecasting():
        tried = (_workers(jobs) or pool.default_jobs()) if forecast.can_be_tried(profile) else 0
        if artifact or artifacts:
            listed = list(filter(registry.makers_of, papers)) or papers
            chosen = registry.choose(artifact or ",".join(listed), papers)
            print(forecast.of_artifacts(chosen, profile, seeds, tflops, tried))
        else:
            print(forecast.of_notebooks(papers, profile, seeds, tflops, trainings, tried, device))


@app.command()
def rehearse(
    network: Annotated[str, typer.Option(help="paper, or mobilenet in the place of every network.")] = "paper",
    paper: Paper = "all",
    jobs: Jobs = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for everything. [default: build/rehearsal]")] = None,
) -> None:
    """Run the profile voc with trainings that end at once: does every table and figure come out?

    Photographs and weights are those of WSSS_DATA and WSSS_WEIGHTS; without them, the toy world is laid out as VOC
    2012, SBD and COCO are, and start weights are random. The numbers mean nothing.
    """
    from wsss_lab.lab import forecast, notebooks, rehearsal

    os.environ["WSSS_REHEARSAL"] = checked("network", network)
    _workers(jobs)
    selected = notebooks.select_notebooks(notebooks.find_notebooks(), paper)
    folder = (out or notebooks.project_folder() / "build" / "rehearsal").absolute()
    os.environ |= rehearsal.prepare(folder)
    found = forecast.of_papers([item.paper for item in selected], "voc", seeds=1)
    print("\n".join(forecast.room(cost for costs in found.values() for cost in costs)), flush=True)
    reproduce(paper, "voc", jobs=jobs, out=folder / network, executed=folder / network / "notebooks")


@app.command()
def doctor() -> None:
    """Check Python, packages, GPU, data and weights; name the command that fixes what is missing."""
    from wsss_lab.lab.doctor import examine, report

    raise typer.Exit(report(examine()))


@app.command()
def book(
    profile: Profile = "toy",
    executed: Executed = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pages. [default: build/book]")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder of results. [default: figures]")] = None,
) -> None:
    """Write the executed notebooks and the gallery as a site of static pages."""
    from wsss_lab.lab import book, notebooks, profiles

    build = (project := notebooks.project_folder()) / "build"
    executed = executed or build / "notebooks" / profiles.profile_named(profile).name
    index = book.write_book(executed, out or build / "book", profile, figures or project / notebooks.KEPT)
    print(f"written; open {index}")


@app.command()
def gallery(
    out: Annotated[Path | None, typer.Option(help="Folder of results. [default: figures]")] = None,
) -> None:
    """Write figures/README.md, every claim's verdict, a page per profile and paper, and the notebooks with figures."""
    from wsss_lab.lab.notebooks import KEPT, project_folder

    print(_update_gallery(out or project_folder() / KEPT, "toy"))


@app.command()
def compare(out: Figures = None) -> None:
    """Put the results of your own runs beside those that are kept in figures/: which verdicts and tables differ."""
    from wsss_lab.lab.notebooks import KEPT, OWN, project_folder
    from wsss_lab.lab.summary import compared

    print(compared((out or project_folder() / OWN).absolute(), project_folder() / KEPT))


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Delete the results listed.")] = False,
    stage: Annotated[str, typer.Option(help="Only this stage, segmenter for instance.")] = "",
) -> None:
    """List what the run store holds, by stage, or delete it; what is gone is computed again when needed."""
    from wsss_lab.lab.profiles import named
    from wsss_lab.lab.store import Store

    store = Store()
    store.clean()
    entries = store.entries()
    stages = sorted({folder.parent.name for folder, *_ in entries})
    shown = [named(f"stage in {store.root}", stage, stages)] if stage else stages
    print(f"{store.root}\n{'stage':<24}{'results':>8}{'MB':>10}{'minutes':>10}")
    for name in shown:
        sound = store.manifests(name)
        size = sum(file["bytes"] for manifest in sound for file in manifest["files"].values())
        minutes = sum(manifest.get("seconds", 0) for manifest in sound) / 60
        print(f"{name:<24}{len(sound):>8}{size / 1e6:>10.1f}{minutes:>10.1f}")
    entries = [entry for entry in entries if stage in ("", entry[0].parent.name)]
    for folder, _, problem in entries:
        if problem:
            print(f"damaged, made again when needed: {folder.relative_to(store.root)}: {problem}")
    if clear:
        for folder, _, _ in entries:
            store.discard(folder)
        print(f"{len(entries)} result(s) deleted")


@app.command()
def apply(
    photo: Annotated[Path, typer.Argument(help="A photo of yours.")],
    out: Annotated[Path, typer.Option(help="Folder for the strip of pictures and the masks.")],
    tags: Annotated[str, typer.Option(help="Its classes, as in cat,person. [default: those the classifier sees]")] = "",
    stages: Annotated[str, typer.Option(help="Only these, as in seeds,G2,crf. [default: all]")] = "",
) -> None:
    """Look at a photo of your own through every stage: a strip of pictures, masks as PNGs with VOC's palette. Saliency
    is U2-Net-P's where WSSS_WEIGHTS has its weights, and a hand-crafted detector's elsewhere."""
    from wsss_lab.lab import apply as stage

    _try_out(out, "--out folder")
    asked, wanted = (list(filter(None, map(str.strip, text.split(",")))) for text in (tags, stages))
    looked = stage.Photo(photo, asked)
    found = stage.apply(looked, wanted)
    print(stage.report(looked, found))
    print("\n".join(map(str, stage.write(looked, found, out, photo.stem))))


@app.command()
def weights(
    out: Annotated[Path, typer.Option(help="Folder for the file, WSSS_WEIGHTS for instance.")],
    profile: Profile = "photos",
    row: Annotated[str, typer.Option(help="A row of Oh et al. 2017, for its segmenter.")] = "G2, seeds at 0.5",
    jobs: Jobs = "auto",
) -> None:
    """Write the trained classifier and segmenter of a profile as one small file, which `wsss apply` looks through.

    Of the profile lesson: all networks that lessons look at. They are taken from the run store; what isn't there is
    trained first.
    """
    from wsss_lab.lab import data_check, lesson, lesson_file, profiles, trained

    asked, workers = profiles.profile_named(profile), _workers(jobs) or None
    profiles.check_inputs(asked)
    _try_out(out, "--out folder")
    data_check.before_run(asked)
    if profile == profiles.LESSON:
        path = lesson_file.write(out, jobs=workers)
        told = f"{len(lesson.read(path))} networks"
    else:
        path, networks = trained.write(out, profile, row, workers)
        told = ", ".join([f"learnt on {networks.about['world']}",
                          *(f"{name} {value:.1f} %" for name, value in networks.about["scores"].items())])
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {told}")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to write.")],
    world_seed: Annotated[int, typer.Option(help="Seed of the images.")] = 0,
    train: Annotated[int, typer.Option(help="Images in the split train.")] = 2000,
    dev: Annotated[int, typer.Option(help="Images in the split dev.")] = 500,
    val: Annotated[int, typer.Option(help="Images in the split val.")] = 500,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the folder holds.")] = False,
) -> None:
    """Write the toy world as a folder in PASCAL VOC layout, for other programs or for WSSS_DATA."""
    from wsss_lab.data.toyvoc import CONTEXTS
    from wsss_lab.data.voc_export import claim, export_voc
    from wsss_lab.lab.compute import compute
    from wsss_lab.lab.store import Store
    from wsss_lab.lab.worlds import ToyWorld

    counts = tuple((split, checked(split, count)) for split, count in (("train", train), ("dev", dev), ("val", val)))
    world, store = ToyWorld(checked("world_seed", world_seed), counts), Store()
    claim(folder, overwrite)
    compute([world.scenes(split) for split, _ in counts], store)
    views = {split: world.eval_view(split).load(store) for split, _ in counts}
    print(export_voc(views, folder, world.classes, CONTEXTS, overwrite))


@app.command()
def data(
    what: Annotated[str, typer.Argument(help="voc, sbd, trainaug, coco, imagenet-weights or saliency.")] = "",
    to: Annotated[Path | None, typer.Option(help="Folder to fill. [default: datasets/, by kind]")] = None,
    voc: Annotated[Path | None, typer.Option(help="For trainaug: VOC 2012. [default: datasets/voc]")] = None,
    sbd: Annotated[Path | None, typer.Option(help="For trainaug: SBD. [default: datasets/sbd]")] = None,
    show: Annotated[bool, typer.Option("--list", help="List what can be fetched, and fetch nothing.")] = False,
) -> None:
    """Fetch data sets and weights for the profiles photos and voc; what is there already is kept. After Ctrl-C or a
    dropped connection, the same command goes on where it was."""
    from wsss_lab.lab import acquire

    default = acquire.default_folder(what or acquire.AUGMENTED)
    if what != acquire.AUGMENTED and (voc or sbd):
        raise ParameterError(f"--voc or --sbd with '{what}'", f"they say what {acquire.AUGMENTED} is built from")
    if show or not what:
        print(acquire.listing())
    elif what == acquire.AUGMENTED:
        places = {"voc": voc, "sbd": sbd}
        acquire.augment(*(given or acquire.default_folder(name) for name, given in places.items()), to or default)
    else:
        acquire.acquire(what, to or default)


def _try_out(folder: Path, option: str) -> None:
    """Refuse a folder for results that can't be written, before anything is computed."""
    probe = folder / f".tmp-probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as problem:
        raise SetupError(f"cannot write to {folder}: {problem.strerror or problem}", "a folder that can be written",
                         f"give another one as {option}") from problem


def _workers(jobs: str) -> int:
    """The notebooks' parameter `jobs`: 0 means one worker per core."""
    return 0 if jobs == "auto" else checked("jobs", jobs)


def _update_gallery(figures: Path, profile: str) -> Path | None:
    """Renew the gallery; what comes with a caveat is no result and never enters it."""
    from wsss_lab.lab.gallery import write_gallery
    from wsss_lab.lab.notebooks import find_notebooks
    from wsss_lab.lab.profiles import profile_named

    found = []
    with suppress(LabError):  # a package without its notebooks
        found = find_notebooks()
    return None if profile_named(profile).caveat else write_gallery(figures, found)


if __name__ == "__main__":
    main()
