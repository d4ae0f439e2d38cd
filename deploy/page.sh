#!/bin/sh
# The page of deploy/: takes photographs and shows them; the Ray cluster restores them.
set -eu

: "${RAY_ADDRESS:?}"

# A process that starts work on a Ray cluster needs a node of it on its machine; this one computes nothing.
ray start --address "$RAY_ADDRESS" --num-cpus 0 --object-store-memory 200000000 --disable-usage-stats

exec scn serve --ray --host 0.0.0.0 --port 8765 --threads "${SCN_PAGE_THREADS:-1}"
