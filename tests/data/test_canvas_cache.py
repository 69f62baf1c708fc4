"""The cache of canvases, which several threads read and fill."""

import threading

import numpy as np

from wsss_lab.data.canvas import canvas_box
from wsss_lab.data.pixels import CanvasCache


def canvas(key):
    return np.full((10, 10, 3), key, np.uint8), canvas_box(10, 10, 10)


def in_threads(*calls):
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_the_least_recently_used_is_dropped_and_kept_ones_are_not_made_again():
    cache, made = CanvasCache(limit_bytes=650), []  # room for two of 300 bytes
    found = [cache.get((key, 10), lambda key=key: made.append(key) or canvas(key)) for key in (1, 2, 1, 3, 1, 2)]
    assert [pixels[0, 0, 0] for pixels, _ in found] == [1, 2, 1, 3, 1, 2] and made == [1, 2, 3, 2]


def test_what_two_threads_make_at_once_counts_once():
    cache, together, made = CanvasCache(limit_bytes=650), threading.Barrier(2), []

    def make():
        together.wait(10)
        return canvas(1)

    in_threads(*[lambda: cache.get((1, 10), make)] * 2)
    cache.get((2, 10), lambda: canvas(2))
    for key in (1, 2):
        assert cache.get((key, 10), lambda key=key: made.append(key) or canvas(key))[0][0, 0, 0] == key
    assert made == []


def test_other_canvases_can_be_had_while_one_is_made():
    cache, asked, had = CanvasCache(limit_bytes=650), threading.Event(), threading.Event()

    def slow():
        asked.set()
        assert had.wait(10)
        return canvas(1)

    def other():
        asked.wait(10)
        cache.get((2, 10), lambda: canvas(2))
        had.set()

    in_threads(lambda: cache.get((1, 10), slow), other)
    assert had.is_set()
