#!/bin/sh
# A Prefect worker of deploy/: brings the project up to date, makes its deployments known, and takes flow runs.
# A flow run is a clone of $SCN_PROJECT, which also keeps DVC's cache; what it trains runs on the Ray cluster.
set -eu
trap 'exit 143' TERM       # as the first process of a container it would not be ended by it

: "${SCN_REPOSITORY:?names the git repository of the project}" "${PREFECT_API_URL:?}" "${RAY_ADDRESS:?}"
branch=${SCN_BRANCH:-main}
project=${SCN_PROJECT:-/project/scn}         # not the volume itself, which may hold lost+found and belong to another user
here=$(cd "$(dirname "$0")" && pwd)
repository=$SCN_REPOSITORY
case $repository in
  http://*@* | https://*@*)                  # without its token, which git asks credential.py for
    rest=${repository#*://}
    authority=${rest%%/*}                    # of an @ in what follows nothing is cut off
    repository=${repository%%://*}://${authority##*@}${rest#"$authority"} ;;
esac
helper="!python '$here/credential.py'"
mkdir -p "$project"
cd "$project"
if [ ! -d .git ]; then                       # it gets its name when it is whole: a clone that was killed is made again
  rm -rf .cloning
  git clone --quiet --no-checkout --config "credential.helper=$helper" "$repository" .cloning
  mv .cloning/.git .git
  rmdir .cloning
fi
find .git -name '*.lock' -type f -delete     # of a container that was killed: nobody else is at work in this clone
git remote set-url origin "$repository"
git config --replace-all credential.helper "$helper"      # in the clone, so that commands of `exec` have it
git fetch --quiet --prune origin             # all branches: `scn gc` keeps what their dvc.lock files name
git checkout --quiet --force --detach "origin/$branch"     # what runs have added to dvc.lock is on branches of their own
# No fetch moves the branch that the clone made: without it `ref` means the repository's. One that somebody has made here
# stays: if it follows none of the repository, or has commits that are nowhere else.
git for-each-ref --format='%(if)%(upstream)%(then)%(refname)%(end)' refs/heads | sed '/^$/d; /^refs\/heads\/runs\//d' \
  | while read -r ref; do
    own=$(git rev-list --max-count=1 "$ref" --not --remotes)
    if [ -z "$own" ]; then
      echo "delete $ref"
    else
      echo "the branch ${ref#refs/heads/} stays, as the repository lacks commits of it: push it, or delete it" >&2
    fi
  done | git update-ref --stdin
export PYTHONPATH="$project"                 # the project's flows, not those that the image was made with

. "$here/join.sh"

until python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$PREFECT_API_URL/ready" 2> /dev/null
do
  echo "waits for Prefect's server at $PREFECT_API_URL"
  sleep 5
done
python -m flows.deployments
export PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30  # a run without a sign of life for a while counts as crashed
python -m flows.metrics --address 0.0.0.0 --port 8081 &   # for Prometheus: when each flow was last completed, and if Prefect answers
exec prefect worker start --pool scn --type process --limit "${SCN_LIMIT:-1}" --with-healthcheck
