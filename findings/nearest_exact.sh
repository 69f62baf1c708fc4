#!/usr/bin/env bash
# OpenCV's INTER_NEAREST_EXACT picks other pixels in 4.13 than in 5.0.
#
# Versions: opencv-python-headless 4.13.0.92 and 5.0.0.93
# Guessed:  "exact" names the one right answer, which doesn't change.
# Seen:     for about one in five pairs of lengths below 80 the two differ. These are lengths for which the centre of an
#           output pixel falls on the border between two input pixels. Neither version decides all of these alike: of 2
#           pixels that become 5, 4.13 gives the middle one the first, 5.0 the second, and the other way round at 7.
source "$(dirname "$0")/environment.sh"
environment opencv-python-headless==5.0.0.93 numpy==2.4.6
before=$(mktemp -d)
trap 'rm -rf "$before" "${folder:-}"' EXIT
"$python" -m pip install --quiet --no-deps --target "$before" opencv-python-headless==4.13.0.92

"$python" - "$before" <<'PYTHON'
import subprocess
import sys

RESIZE = '''
import cv2, numpy as np
def row(old, new):
    labels = np.tile(np.arange(old, dtype=np.uint8), (2, 1))
    return cv2.resize(labels, (new, 2), interpolation=cv2.INTER_NEAREST_EXACT)[0].tolist()
print({(old, new): row(old, new) for old in range(2, 80) for new in range(1, 80)})
'''
new, old = (eval(subprocess.check_output([sys.executable, "-c", path + RESIZE], text=True))
            for path in ("", f"import sys; sys.path.insert(0, {sys.argv[1]!r})"))
differing = [pair for pair in new if new[pair] != old[pair]]
print(f"{len(differing)} of {len(new)} pairs of lengths differ; 2 pixels as 5: {old[2, 5]}, {new[2, 5]}")
assert (old[2, 5], new[2, 5]) == ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])
assert (old[2, 7], new[2, 7]) == ([0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1])
assert all(2 * (place + 0.5) * a / b % 2 == 0 or new[a, b][place] == old[a, b][place]
           for a, b in differing for place in range(b))
print("as seen before")
PYTHON
