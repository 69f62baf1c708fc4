#!/usr/bin/env bash
# On a CPU torch keeps no memory between layers: a convolution spends about half of its time on fresh pages.
#
# Version: torch 2.14.1 (CPU, Linux with glibc 2.36)
# Guessed: memory of tensors is kept for the next ones, as torch does on a GPU.
# Seen:    one 3x3 layer of 32 channels, called again and again on 32 images of 64 x 64 pixels, takes some 370 new pages
#          an image at every call, because glibc returns large blocks to the system; the system clears them first, which
#          takes about as long as the convolution. With MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ of 4 GiB in
#          the environment it needs none.
source "$(dirname "$0")/environment.sh"
environment torch==2.14.1

code='
import resource, torch
torch.set_num_threads(1)
layer, x = torch.nn.Conv2d(32, 32, 3, padding=1), torch.randn(32, 32, 64, 64)
with torch.inference_mode():
    for _ in range(5):
        layer(x)
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(10):
        layer(x)
after = resource.getrusage(resource.RUSAGE_SELF)
system, user = after.ru_stime - before.ru_stime, after.ru_utime - before.ru_utime
print((after.ru_minflt - before.ru_minflt) // (10 * len(x)), f"{system / (system + user):.0%}")
'
read -r usual share < <("$python" -c "$code")
export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296
read -r kept kept_share < <("$python" -c "$code")
echo "fresh pages an image: $usual, and $share of the time in the system; $kept, and $kept_share, where glibc keeps memory"
if [ "$usual" -lt 100 ] || [ "$kept" -gt 10 ]; then
    echo "no longer so"
    exit 1
fi
echo "as seen before"
