"""What puts a folder right in which files are missing: the command that fetches them, or the folder that was meant."""

import shlex
from pathlib import Path

VOC_PLACE, SBD_PLACE = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"  # where the archives unpack to
AUGMENTED_MARKER = ".wsss_augmented"  # in folders that wsss_lab.data.augmented has built: where VOC and SBD are, a line


def fetch_command(source: str, folder: Path, place: str = "") -> str:
    """The command that completes a folder, what is there being kept.

    source: what `wsss data` calls it    place: where its archive unpacks to, below --to
    A folder elsewhere isn't completed: the command then has no --to, and makes another folder.

    >>> fetch_command("voc", Path("/data/VOCdevkit/VOC2012"), VOC_PLACE)
    'wsss data voc --to /data'
    >>> fetch_command("voc", Path("/data/VOC2012"), VOC_PLACE)
    'wsss data voc'
    """
    home = folder.absolute()
    for name in reversed(Path(place).parts):
        if home.name != name:
            return f"wsss data {source}"
        home = home.parent
    return f"wsss data {source} --to {shlex.quote(str(home))}"


def complete_voc(root: Path) -> str:
    """The command that completes PASCAL VOC in the folder `root`, or the augmented set that was built there."""
    try:
        origins = zip(("voc", "sbd"), (root / AUGMENTED_MARKER).read_text(encoding="utf-8").splitlines(), strict=False)
        options = "".join(f" --{name} {shlex.quote(path)}" for name, path in origins)
        return fetch_command("trainaug", root) + options
    except OSError:
        command = fetch_command("voc", root, VOC_PLACE)
        return command if "--to" in command else f"{command}, and take the folder that it names at its end"


def meant_instead(root: Path, wanted: str) -> Path | None:
    """The folder below or above `root` that has the folder `wanted`, which `root` hasn't; None if there is none."""
    near = (root / "VOC2012", root / VOC_PLACE, root.parent)
    return next((folder for folder in near if (folder / wanted).is_dir()), None)
