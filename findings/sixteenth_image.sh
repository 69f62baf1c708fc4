#!/usr/bin/env bash
# What a 1x1 convolution gives for an image changes when 16 are in the batch instead of 15, with one thread only.
#
# Versions: torch 2.14.1, numpy 2.4.6, on an x86-64 CPU
# Guessed:  on a CPU, and at the latest with use_deterministic_algorithms(True), an image's result depends neither on
#           the other images of its batch nor on how many there are.
# Seen:     batches of 1 to 15 agree with each other bit by bit, and so do those of 16 and more, but not with the
#           former: with one thread and below 16 images PyTorch multiplies matrices itself, else oneDNN convolves. With
#           two threads all batches agree. A last, smaller batch, or one image alone, hence gives other last digits in a
#           worker process of one thread than in a notebook.
source "$(dirname "$0")/environment.sh"
environment torch==2.14.1 numpy==2.4.6

"$python" - <<'PYTHON'
import torch

torch.use_deterministic_algorithms(True)


def groups(threads):
    """Sizes of batches that agree on their first image, bit by bit, and the largest difference between groups."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    convolution, images = torch.nn.Conv2d(512, 512, 1), torch.randn(40, 512, 8, 8)
    found = []
    with torch.inference_mode():
        for size in range(1, 41):
            first = convolution(images[:size])[0]
            same = next((group for group in found if torch.equal(group[0], first)), None)
            if same is None:
                found.append(same := (first, []))
            same[1].append(size)
    apart = max(float((one - other).abs().max()) for one, _ in found for other, _ in found)
    return [f"{sizes[0]} to {sizes[-1]}" for _, sizes in found], apart


seen = {threads: groups(threads) for threads in (1, 2)}
for threads, (sizes, apart) in seen.items():
    print(f"{threads} thread(s): batches of {', of '.join(sizes)} agree; up to {apart:.1e} apart")
assert seen[1][0] == ["1 to 15", "16 to 40"] and seen[2][0] == ["1 to 40"]
print("as seen before")
PYTHON
