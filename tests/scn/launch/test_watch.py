"""What is told, and how often, when nodes are lost and workers do not answer."""

from scn.launch.messages import Joined
from scn.launch.watch import Watch

WORKERS = [Joined(0, "10.0.0.1", "a"), Joined(1, "10.0.0.2", "b"), Joined(2, "10.0.0.2", "b")]


def test_a_lost_node_is_told_once() -> None:
    told: list[str] = []
    watch = Watch(told.append)
    watch.workers = WORKERS
    watch.look({"a", "b"}, {})
    assert told == []
    watch.look({"a"}, {1: 30.0, 2: 30.0})
    watch.look({"a"}, {1: 40.0, 2: 40.0})
    assert told == ["node 10.0.0.2 is lost"]


def test_a_silent_worker_is_told_until_it_answers() -> None:
    told: list[str] = []
    watch = Watch(told.append)
    watch.workers = WORKERS
    for silent in ({1: 21.2}, {1: 25.0}, {}, {}, {1: 20.5}):
        watch.look({"a", "b"}, silent)
    away = "rank 1 on 10.0.0.2 has not answered for {} s: its machine or the network is away"
    assert told == [away.format(21), "rank 1 on 10.0.0.2 answers again", away.format(20)]
