# Read by worker.sh and page.sh: joins the Ray cluster at $RAY_ADDRESS, as a process that starts work on a cluster needs a
# node of it on its machine; this one computes nothing. Where the node is lost later, as when the head was started anew, the
# process that has read this is ended, so that its container starts anew and joins again.
ray start --address "$RAY_ADDRESS" --num-cpus 0 --object-store-memory 200000000 --metrics-export-port 8082 --disable-usage-stats
(
  away=
  while [ "${away:-0}" -lt 3 ]; do          # and it counts only from the first answer on: a node may take long to start
    sleep "${SCN_NODE_CHECK_S:-20}"
    kill -0 "$$" 2> /dev/null || exit 0
    if python -c 'import urllib.request as r; r.build_opener(r.ProxyHandler({})).open("http://127.0.0.1:52365/api/local_raylet_healthz", timeout=10)' 2> /dev/null
    then away=0
    elif [ -n "$away" ]; then away=$((away + 1))
    fi
  done
  echo "This node has left the Ray cluster, so $0 ends: start it anew." >&2
  kill -TERM "$$"
) &
