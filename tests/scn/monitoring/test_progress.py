"""Progress and curves of a run, however it was interrupted, with TensorBoard's files and without."""

import io
import math
import shutil
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from scn.monitoring import progress as module
from scn.monitoring.line import read_line
from scn.monitoring.progress import Progress, duration
from scn.monitoring.tensorboard import EventFile
from scn.training.validation import Validated


def row(step: int, **values: float) -> dict[str, float]:
    known = {"loss": 1 / step, "grad_norm": 0.5, "learning_rate": 1e-3, "data_time": 0.01, "step_time": 1.0}
    return {"step": step, **known, "patches_per_second": 16.0, "memory_mib": 512.0, **values}


def found(psnr: float, **images: Any) -> Validated:
    return Validated(psnr={"corpus/Set5": psnr}, degraded={"corpus/Set5": 30.2}, samples=list(images.items()))


def table(folder: Path, name: str) -> list[list[str]]:
    return [line.split("\t") for line in (folder / f"plots/metrics/{name}.tsv").read_text().splitlines()]


def events(folder: Path) -> list[Any]:
    """Reads events as TensorBoard does, and compares every checksum."""
    (path,) = (folder / "tensorboard").iterdir()
    assert "tfevents" in path.name
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = data[12 : 12 + length]
        assert struct.unpack("<I", data[8:12]) == (masked_crc32c(data[:8]),)
        assert struct.unpack("<I", data[12 + length : 16 + length]) == (masked_crc32c(event),)
        found.append(Event.FromString(event))
        data = data[16 + length :]
    return found


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(e.step, v.simple_value) for e in events(folder) for v in e.summary.value if v.tag == tag]


@pytest.fixture
def every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes Progress print a line for every row."""
    monkeypatch.setattr(module, "LINE_SECONDS", -1.0)


@pytest.fixture(params=["tensorboardX", "without tensorboardX"])
def with_and_without_tensorboard(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without tensorboardX":
        monkeypatch.setitem(sys.modules, "scn.monitoring.tensorboard", None)


@pytest.mark.usefixtures("with_and_without_tensorboard")
def test_tables_for_dvc(tmp_path: Path) -> None:
    monitor = Progress("sr-x2", 40, tmp_path)
    monitor.on_validation(0, found(30.0))
    monitor.on_log(row(20, loss=0.25))
    monitor.on_log(row(40, loss=0.125))
    monitor.on_validation(40, found(31.5))
    monitor.close()
    assert table(tmp_path, "loss") == [["step", "loss"], ["20", "0.25"], ["40", "0.125"]]
    assert table(tmp_path, "psnr_corpus-Set5") == [["step", "psnr_corpus-Set5"], ["0", "30.0"], ["40", "31.5"]]
    files = {path.name for path in (tmp_path / "plots/metrics").iterdir()}
    assert files == {
        *(f"{name}.tsv" for name in ("loss", "grad_norm", "learning_rate", "data_time", "step_time")),
        "psnr_corpus-Set5.tsv",
    }


def test_events_for_tensorboard(tmp_path: Path) -> None:
    colour = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    monitor = Progress("sr-x2", 400, tmp_path)
    monitor.on_log(row(200, loss=0.25, data_time=0.125, step_time=0.5, learning_rate=0.5))
    monitor.on_validation(300, found(30.5, butterfly=colour, grey=colour[..., 0]))
    assert scalars(tmp_path, "loss") == [(200, 0.25)]  # can be seen while the run goes on
    monitor.close()
    assert events(tmp_path)[0].file_version == "brain.Event:2"
    assert scalars(tmp_path, "learning_rate") == [(200, 0.5)]
    assert scalars(tmp_path, "patches_per_second") == [(200, 16.0)]
    assert scalars(tmp_path, "data_share") == [(200, 0.25)]
    assert scalars(tmp_path, "psnr/corpus/Set5") == [(300, 30.5)]
    images = {v.tag: v.image for e in events(tmp_path) for v in e.summary.value if v.image.height}
    for tag, expected in (("samples/butterfly", colour), ("samples/grey", colour[..., 0])):
        image = images[tag]
        assert (image.height, image.width, image.colorspace) == (5, 7, 3 if expected.ndim == 3 else 1)
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(image.encoded_image_string))), expected)


def test_curves_of_a_resumed_run_have_no_gap_and_no_overlap(tmp_path: Path) -> None:
    killed = Progress("sr-x2", 100, tmp_path)
    for step in (20, 40, 60):
        killed.on_log(row(step))
    killed.on_validation(60, found(31.0, x=np.zeros((2, 2), np.uint8)))  # and no summary
    killed.curves.close()  # as the end of a process does

    again = Progress("sr-x2", 100, tmp_path)
    again.on_resume(50, [row(20), row(40)])
    for step in (60, 80):
        again.on_log(row(step))
    again.on_resume(50, [row(20), row(40)])  # a worker died
    for step in (60, 80, 100):
        again.on_log(row(step))
    again.on_validation(60, found(31.0))
    again.on_validation(60, found(31.0))
    again.close()
    assert [line[0] for line in table(tmp_path, "loss")] == ["step", "20", "40", "60", "80", "100"]
    assert [step for step, _ in scalars(tmp_path, "loss")] == [20, 40, 60, 80, 100]
    assert scalars(tmp_path, "psnr/corpus/Set5") == [(60, 31.0)]


def test_to_go_on_costs_as_many_openings_and_waits_for_the_disk_for_many_points_as_for_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Counter[str]()

    def count(kind: type, method: str) -> None:
        call = getattr(kind, method)
        monkeypatch.setattr(kind, method, lambda *given, **more: (calls.update([method]), call(*given, **more))[1])

    count(Path, "open")
    count(EventFile, "flush")
    seen = []
    for points in (10, 1000):
        monitor = Progress("sr-x2", 20_000, tmp_path)
        calls.clear()
        monitor.on_resume(20_000, [row(20 * i) for i in range(1, points + 1)])
        seen.append(calls.copy())
        monitor.close()
        assert [int(step) for step, _ in table(tmp_path, "loss")[1:]] == [20 * i for i in range(1, points + 1)]
        assert len(scalars(tmp_path, "loss")) == points
    assert seen[0] == seen[1] == {"open": 5, "flush": 1}


@pytest.mark.usefixtures("every_line")
def test_the_progress_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Progress("sr-x2", 5000, tmp_path)
    monitor.on_validation(0, found(30.0))
    monitor.on_log(row(200, loss=0.0312))
    monitor.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "sr-x2: validation at step 0: corpus/Set5 30.00 dB (input 30.20 dB)"
    assert lines[1] == (
        "sr-x2: step 200 of 5000, loss 0.0312, lr 1.0e-03, 16 patches/s, data wait 1%, 1 h 20 min left, PSNR 30.00 dB"
    )
    told = read_line(lines[1])  # as a flow does that shows it
    assert told is not None
    assert (told.name, told.step, told.steps) == ("sr-x2", 200, 5000)
    assert (told.left, told.psnr, str(told)) == ("1 h 20 min", "PSNR 30.00 dB", lines[1])
    assert read_line(lines[0]) is None


@pytest.mark.usefixtures("every_line")
def test_a_row_may_have_nothing_but_its_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Progress("sr-x2", 40, tmp_path)
    monitor.on_log({"step": 20})
    monitor.on_log({"step": 40})
    monitor.close()
    out = capsys.readouterr().out
    assert "sr-x2: step 20 of 40, data wait 0%, 0 s left\n" in out
    assert "sr-x2: 40 steps in 0 s including the start\n" in out


def test_lines_are_rare_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Progress("sr-x2", 100, tmp_path)
    monitor.on_log(row(20))
    assert capsys.readouterr().out == ""
    monitor.close()


def test_a_validation_without_a_number_is_never_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Progress("sr-x2", 400, tmp_path)
    for step, psnr in ((0, math.nan), (10, 30.0), (20, 31.0), (30, math.nan), (40, 30.5)):
        monitor.on_validation(step, found(psnr))
    monitor.close()
    told = [line for line in capsys.readouterr().out.splitlines() if "validation" in line]
    assert [line.partition(": ")[2].endswith("the best so far") for line in told] == [False, False, True, False, False]


def test_a_validation_that_is_the_best_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Progress("sr-x2", 100, tmp_path)
    for step, psnr in enumerate((30.0, 32.5, 31.0, 32.5)):
        monitor.on_validation(step, found(psnr))
    assert [line.endswith(", the best so far") for line in capsys.readouterr().out.splitlines()] == [
        *(False, True, False, False),
    ]
    monitor.on_log(row(100))
    monitor.close()
    assert "best validation 32.50 dB at step 1" in capsys.readouterr().out


@pytest.mark.usefixtures("every_line")
def test_what_an_earlier_process_has_said_is_not_said_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Progress("sr-x2", 100, tmp_path)
    monitor.on_resume(50, [row(step, data_time=0.9) for step in (20, 40)])
    for step, psnr in ((0, 30.0), (50, 33.0)):
        monitor.on_validation(step, found(psnr))
    assert capsys.readouterr() == (
        "sr-x2: goes on from step 50 of 100, where an earlier run was stopped\n",
        "",
    )
    monitor.on_log(row(60))
    monitor.on_validation(60, found(32.0))
    monitor.on_log(row(100))
    monitor.close()
    progress, validation, _, summary = capsys.readouterr().out.splitlines()
    assert progress.endswith("data wait 1%, 40 s left, PSNR 33.00 dB")
    assert validation == "sr-x2: validation at step 60: corpus/Set5 32.00 dB (input 30.20 dB)"
    assert summary.startswith("sr-x2: 50 steps in ")
    assert summary.endswith(
        "data wait 1.0% of the step time, 512 MiB of memory at most, best validation 33.00 dB at step 50"
    )


def test_the_summary_of_a_run_that_is_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Progress("sr-x2", 400, tmp_path)
    monitor.start -= 2 * 3600
    monitor.on_log(row(200, step_time=0.5, data_time=0.02, memory_mib=900.0))
    monitor.on_log(row(400, step_time=0.3, data_time=0.02, memory_mib=800.0))
    monitor.close()
    assert capsys.readouterr().out == (
        "sr-x2: 400 steps in 2 h 0 min including the start, 2.50 steps/s, data wait 5.0% of the step time, "
        "900 MiB of memory at most\n"
    )


def test_the_summary_of_a_run_that_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Progress("sr-x2", 400, tmp_path)
    monitor.on_log(row(200))
    monitor.on_checkpoint(207)
    monitor.close()
    assert capsys.readouterr().out.startswith(
        "sr-x2: stopped after step 207 of 400: 207 steps in 0 s including the start, 1.00 steps/s"
    )


def test_a_run_that_has_done_nothing_has_no_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Progress("sr-x2", 400, tmp_path).close()
    assert capsys.readouterr() == ("", "")


def test_waiting_for_patches_is_warned_of_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Progress("sr-x2", 1000, tmp_path, grouped=True)
    for step in range(1, 10):
        monitor.on_log(row(step, data_time=0.2))
    assert capsys.readouterr().err == ""  # the first rows may be slow to come
    for step in range(10, 31):
        monitor.on_log(row(step, data_time=0.2))
    monitor.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("sr-x2: 20% of the step time goes into waiting for patches: leave train.group_mib out")
    assert "run.memory_mib" in line
    assert "run.loader_workers" in line


def test_who_has_no_groups_is_not_told_to_leave_them_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Progress("sr-x2", 20, tmp_path)
    monitor.on_log(row(20, data_time=0.2))
    monitor.close()
    told = capsys.readouterr().err
    assert "waiting for patches: they are cut from memory" in told
    assert "group_mib" not in told


def test_a_short_run_is_warned_at_its_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for data_time, warned in ((0.1, False), (0.11, True)):
        monitor = Progress("sr-x2", 20, tmp_path)
        monitor.on_log(row(20, data_time=data_time))
        monitor.close()
        assert ("waiting for patches" in capsys.readouterr().err) is warned


@pytest.mark.usefixtures("with_and_without_tensorboard")
@pytest.mark.parametrize("from_the_start", [True, False])
def test_a_disk_that_fails_ends_the_curves_and_not_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], from_the_start: bool
) -> None:
    folder = tmp_path / "curves"
    if from_the_start:
        folder.write_text("a file where the folder belongs")
    monitor = Progress("sr-x2", 60, folder)
    monitor.on_log(row(20))
    if not from_the_start:
        shutil.rmtree(folder)
        folder.write_text("a file where the folder belongs")
    monitor.on_log(row(40))
    monitor.on_log(row(60))
    monitor.close()
    out, err = capsys.readouterr()
    assert out.startswith("sr-x2: 60 steps")
    assert err.count("the run goes on without curves") == 1


def test_a_terminal_has_a_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monitor = Progress("sr-x2", 100, tmp_path)
    monitor.on_resume(50, [row(40)])
    for step in (60, 80):
        monitor.on_log(row(step, loss=0.0312))
    assert monitor.bar.n == 80
    monitor.bar.refresh()
    assert "80/100" in (err := capsys.readouterr().err)
    assert "loss 0.0312, lr 1.0e-03, 16 patches/s, data wait 1%" in err
    monitor.close()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (720, "12 min"), (3599, "1 h 0 min"), (4800, "1 h 20 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
