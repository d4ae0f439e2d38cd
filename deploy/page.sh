#!/bin/sh
# The page of deploy/: takes photographs and shows them; the Ray cluster restores them.
set -eu
trap 'exit 143' TERM       # as the first process of a container it would not be ended by it

: "${RAY_ADDRESS:?}"

. "$(dirname "$0")/join.sh"

exec scn serve --ray --host 0.0.0.0 --port 8765 --threads "${SCN_PAGE_THREADS:-1}"
