"""What compressing stored arrays row by row saves, and what it costs, beside the plain files and other codecs.

    python benchmarks/bench_packed.py [FOLDER ...] | tee benchmarks/results/packed.txt

Arrays: of each FOLDER of PNGs (masks of PASCAL VOC, say), a frame with the first ROWS of them, as steps store maps of
photographs; of the run store (WSSS_CACHE), as many rows of the first output of each name, stage and type. Ratios are
sizes before and after. Times are of the CPU, relative to those of plain files: written by numpy.save, and read row by
row through a memory map and copied. "stored so": as the run store does; "not so": as it would, were it worth it.
Zstandard has a line where the package `zstandard` is installed.
"""

import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from wsss_lab.lab import packed
from wsss_lab.lab.store import Store
from wsss_lab.lab.values import read_value

ROWS, REPEATS = 100, 3
Codec = tuple[Callable[[np.ndarray], bytes], Callable[[bytes, np.ndarray], np.ndarray]]


def arrays(folders: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """What is measured, by name."""
    for folder in folders:
        maps = [np.array(Image.open(path)) for path in sorted(Path(folder).glob("*.png"))[:ROWS]]  # labels, not colours
        frame = np.full((len(maps), *np.max([each.shape for each in maps], axis=0)), 255, np.uint8)
        for row, each in zip(frame, maps):
            row[:each.shape[0], :each.shape[1]] = each
        yield f"{Path(folder).name}, {frame.dtype}", frame
    seen = set()
    for path, manifest, _ in Store().entries():
        for name, file in manifest.get("outputs", {}).items():
            if not file.endswith((".npy", packed.SUFFIX)):
                continue
            found = np.asarray(read_value(path / file)[:ROWS])
            kind = f"{name} of {path.parent.name}, {found.dtype}"
            if kind not in seen and found.ndim > 1 and len(found) == ROWS and found[0].nbytes >= packed.LEAST:
                seen.add(kind)
                yield kind, found


def of_bytes(compress: Callable[[bytes], bytes], decompress: Callable[[bytes], bytes]) -> Codec:
    """A codec of rows from one of bytes."""
    return (lambda row: compress(row.tobytes()),
            lambda data, row: np.frombuffer(decompress(data), row.dtype).reshape(row.shape))


def codecs(array: np.ndarray) -> dict[str, Codec]:
    """How rows of an array may be stored instead."""
    found = {f"zlib {level}": of_bytes(partial(zlib.compress, level=level), zlib.decompress) for level in (1, 3, 6)}
    if array.dtype == np.uint8 and array.ndim == 3:
        found["PNG"] = (lambda row: cv2.imencode(".png", row)[1].tobytes(),
                        lambda data, row: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    if find_spec("zstandard"):
        import zstandard

        found["zstd 3"] = of_bytes(zstandard.ZstdCompressor(3).compress, zstandard.ZstdDecompressor().decompress)
    return found


def seconds(call: Callable[[], object]) -> tuple[float, object]:
    """The best of REPEATS, and what the last has brought."""
    best = np.inf
    for _ in range(REPEATS):
        began = time.process_time()
        brought = call()
        best = min(best, time.process_time() - began)
    return best, brought


def measure(array: np.ndarray, folder: Path) -> Iterator[tuple[str, float, float, float, float]]:
    """Codec, ratio of sizes, times of writing and reading relative to plain files, milliseconds of reading a row."""
    plain, small = folder / "plain.npy", folder / f"packed{packed.SUFFIX}"
    write, _ = seconds(lambda: np.save(plain, array))
    read, _ = seconds(lambda: [np.array(row) for row in np.load(plain, mmap_mode="r")])

    def line(codec: str, size: int, writes: float, reads: float) -> tuple[str, float, float, float, float]:
        return codec, array.nbytes / size, writes / write, reads / read, 1e3 * reads / len(array)

    writes, _ = seconds(lambda: packed.write(small, array))
    reads, rows = seconds(lambda: list(packed.Packed(small)))
    assert all(one.tobytes() == other.tobytes() for one, other in zip(rows, array, strict=True))
    yield line("stored so" if packed.is_worth_packing(array) else "not so", small.stat().st_size, writes, reads)
    for codec, (encode, decode) in codecs(array).items():
        writes, data = seconds(lambda encode=encode: [encode(row) for row in array])
        reads, _ = seconds(lambda decode=decode, data=data: [decode(each, row) for each, row in zip(data, array)])
        yield line(codec, sum(map(len, data)), writes, reads)


def whole(small: Path) -> str:
    """What compression makes of all arrays of the run store, and what it leaves alone."""
    plain = stored = packable = 0
    for path, manifest, _ in Store().entries():
        for file in manifest.get("outputs", {}).values():
            if file.endswith((".npy", packed.SUFFIX)):
                array = np.asarray(read_value(path / file))
                size = array.nbytes
                if worth := packed.is_worth_packing(array):
                    packed.write(small, array)
                    size = small.stat().st_size
                plain, stored, packable = plain + array.nbytes, stored + size, packable + worth * array.nbytes
    return (f"all arrays of the run store: {plain / 1e6:.1f} MB, {plain / stored:.1f} times as much as stored; "
            f"{100 * packable / plain:.0f} % of it is compressed, {packable / (stored - plain + packable):.1f} times")


def main(folders: list[str]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        print(f"{'array':44}{'codec':12}{'ratio':>7}{'write':>7}{'read':>7}{'a row, ms':>11}")
        for name, array in arrays(folders):
            for codec, ratio, writes, reads, row in measure(array, Path(scratch)):
                print(f"{name:44}{codec:12}{ratio:>7.1f}{writes:>7.1f}{reads:>7.1f}{row:>11.3f}", flush=True)
        print(whole(Path(scratch) / f"packed{packed.SUFFIX}"))


if __name__ == "__main__":
    main(sys.argv[1:])
