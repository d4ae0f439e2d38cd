"""`scn restore IN... OUT`: what it says, its exit status, and what it does with several models, factors and pipes."""

import errno
import io
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import scn.cli
from scn.imaging.degradation import bicubic_resize
from scn.inference.batch import Outcome
from scn.inference.handle import Model


class Command:
    """Runs `scn restore` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit status, and what was printed to both outputs."""
        fixed = ["scn", "restore", *map(str, arguments), "--device", "cpu", "--precision", "float32"]
        self.monkeypatch.setattr("sys.argv", fixed)
        with pytest.raises(SystemExit) as end:
            scn.cli.main()
        out, err = self.capsys.readouterr()
        return int(end.value.code or 0), out, err


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, photograph: Callable[..., Any]) -> Path:
    """A folder with two photographs, a broken one, and what is no image."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, width in (("a", 30), ("b", 25)):
        Image.fromarray(photograph(20, width)).save(photos / f"{name}.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (photos / "Thumbs.db").write_bytes(b"Windows")
    return photos


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_the_last_line_and_the_status_tell(small_project: Any, command: Command, folder: Path, tmp_path: Path) -> None:
    model, out = small_project.add_model("sr-x2"), tmp_path / "out"
    status, said, told = command(folder, out, "--model", model)
    end = f"1 not: {folder}/broken.jpg; left out: Thumbs.db\n"
    assert (status, said) == (1, f"2 images restored by {model}, in {out}; {end}")
    assert told.startswith(f"scn: {folder}/broken.jpg is ")
    assert size(out / "b.png") == (50, 40)
    (folder / "broken.jpg").unlink()
    status, said, _ = command(folder, out, "--model", model)
    again = "2 already there (--overwrite restores them again); left out: Thumbs.db\n"
    assert (status, said) == (0, f"0 images restored by {model}, in {out}; {again}")
    status, said, _ = command(folder, out, "--model", model, "--overwrite", "--format", "tif", "--suffix", "_x2")
    assert status == 0
    assert size(out / "a_x2.tif") == (60, 40)


def test_ctrl_c_leaves_whole_files_and_says_what_is_done(
    small_project: Any, command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = small_project.add_model("sr-x2"), tmp_path / "out"
    restored, calls = Model.restore_photograph, []

    def interrupted(self: Model, *arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return restored(self, *arguments)

    monkeypatch.setattr(Model, "restore_photograph", interrupted)
    status, said, _ = command(folder, out, "--model", model)
    assert status == 130
    assert said.startswith("1 image restored by ")
    assert said.endswith("; 2 left to do; stopped; the same command goes on\n")  # the broken one is not begun
    assert [path.name for path in out.iterdir()] == ["a.png"]
    assert size(out / "a.png") == (60, 40)


def test_models_one_after_the_other(small_project: Any, command: Command, folder: Path, tmp_path: Path) -> None:
    clean, large = small_project.add_model("dn-s25"), small_project.add_model("sr-x2")
    chained, at_once = tmp_path / "chained.png", tmp_path / "stepwise.png"
    assert command(folder / "a.png", chained, "--model", f"{clean},{large}")[0] == 0
    assert command(folder / "a.png", tmp_path / "clean.png", "--model", clean)[0] == 0
    assert command(tmp_path / "clean.png", at_once, "--model", large)[0] == 0
    difference = np.asarray(Image.open(chained)).astype(int) - np.asarray(Image.open(at_once))
    assert np.abs(difference).max() <= 3  # rounded to 8 bits once more on the way
    assert difference.any()


@pytest.mark.parametrize("factor", [1.5, 2, 2.4, 5])
def test_any_factor(small_project: Any, command: Command, folder: Path, tmp_path: Path, factor: float) -> None:
    model, out = small_project.add_model("sr-x2"), tmp_path / "out.png"
    assert command(folder / "a.png", out, "--model", model, "--scale", factor)[0] == 0
    assert size(out) == (round(30 * factor), round(20 * factor))
    assert command(folder / "a.png", tmp_path / "x2.png", "--model", model)[0] == 0
    expected = bicubic_resize(np.asarray(Image.open(tmp_path / "x2.png")), Fraction(str(factor)) / 2)
    assert np.abs(np.asarray(Image.open(out)).astype(int) - expected).max() <= 2


def test_a_factor_is_reached_by_a_network_where_the_models_do_not_enlarge(
    small_project: Any, command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project.publish("dn-s25", "sr-x2")
    monkeypatch.chdir(small_project.root)
    said = command(folder / "a.png", tmp_path / "a.png", "--model", "dn-s25", "--scale", "3")[1]
    assert said == f"1 image restored by dn-s25@v1, sr-x2@v1, in {tmp_path / 'a.png'}\n"
    command(folder / "a.png", tmp_path / "b.png", "--model", "dn-s25,sr-x2", "--scale", "3")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert command(folder / "a.png", tmp_path / "c.png", "--model", "auto", "--scale", "2")[0] == 0
    assert size(tmp_path / "c.png") == (60, 40)  # enlarged, whatever there was to restore


def test_pipes(small_project: Any, folder: Path) -> None:
    model = small_project.add_model("sr-x2")
    program = [sys.executable, "-c", "import scn.cli; scn.cli.main()", "restore", "-", "-", "--model", str(model)]
    options = ["--device", "cpu", "--threads", "1", "--format", "jpg", "--quality", "70"]
    data = (folder / "a.png").read_bytes()
    done = subprocess.run([*program, *options], input=data, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert (image.format, image.size) == ("JPEG", (60, 40))
    assert done.stderr.decode() == f"1 image restored by {model}, in the pipe\n"


def test_a_full_disk_behind_the_pipe_is_told_as_that(
    small_project: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    model = small_project.add_model("sr-x2")
    monkeypatch.setattr("sys.argv", ["scn", "restore", str(folder / "a.png"), "-", "--model", str(model)])
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patched:
        patched.setattr("sys.stdout", full)
        with pytest.raises(SystemExit, match=r"^1$"):
            scn.cli.main()
    told = capfd.readouterr().err
    assert told.startswith("scn: The pipe can't be written (No space left on device): make room there.\n")


def test_a_pipe_gets_an_image_where_there_is_nothing_to_restore(
    small_project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    small_project.publish("dn-s25")
    monkeypatch.chdir(small_project.root)
    flat = Image.new("RGB", (40, 30), (9, 99, 200))
    flat.save(tmp_path / "flat.png")
    monkeypatch.setattr("sys.argv", ["scn", "restore", str(tmp_path / "flat.png"), "-", "--model", "auto"])
    with pytest.raises(SystemExit, match=r"^0$"):
        scn.cli.main()
    out, err = capfdbinary.readouterr()
    assert Image.open(io.BytesIO(out)).tobytes() == flat.tobytes()
    assert b"nothing to restore; it comes out as it came" in err


def test_clean_photographs_come_along_when_they_are_asked_for(
    small_project: Any,
    command: Command,
    tmp_path: Path,
    photograph: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_project.publish("dn-s25")
    photos, out = tmp_path / "clean", tmp_path / "out"
    photos.mkdir()
    Image.fromarray(photograph(64, 80)).save(photos / "a.png", compress_level=0)
    Image.fromarray(photograph(64, 80)).save(photos / "b.bmp")
    noisy = np.clip(photograph(64, 80) + np.random.default_rng(0).normal(0, 25, (64, 80, 3)), 0, 255)
    Image.fromarray(noisy.astype(np.uint8)).save(photos / "noisy.png")
    monkeypatch.chdir(small_project.root)
    status, said, told = command(photos, out, "--model", "auto", "--copy-clean")
    by = f"1 image restored by auto, in {out}"
    assert (status, said) == (0, f"{by}; 2 with nothing to restore put there as they came\n")
    assert told.count("nothing to restore; it comes out as it came") == 2
    assert (out / "a.png").read_bytes() == (photos / "a.png").read_bytes()  # the file itself
    assert Image.open(out / "b.png").tobytes() == Image.open(photos / "b.bmp").tobytes()
    assert command(photos, out, "--model", "auto", "--copy-clean")[1].endswith("; 3 already there (--overwrite "
                                                                             "restores them again)\n")  # fmt: skip
    assert command(photos, out, "--model", "dn-s25", "--copy-clean")[2].startswith("scn: --copy-clean is for --model")


def test_a_full_disk_ends_it_and_leaves_no_half_file(
    small_project: Any, command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out, written = small_project.add_model("sr-x2"), tmp_path / "out", []
    (folder / "broken.jpg").unlink()
    for name in "cdefg":
        (folder / f"{name}.png").write_bytes((folder / "a.png").read_bytes())

    def full(file: int) -> None:
        written.append(file)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    status, said, told = command(folder, out, "--model", model)
    assert (status, told) == (1, f"scn: {out}/b.png can't be written (No space left on device): make room there.\n")
    failed = said.count(f"{folder}/")
    assert said.startswith(f"1 image restored by {model}, in {out}; {failed} not: {folder}/b.png")
    assert f"; {6 - failed} left to do; stopped, as" in said
    assert said.endswith("; stopped, as there is no room; the same command goes on when there is\n")
    assert len(written) < 5  # the others were not begun
    assert [path.name for path in out.rglob("*")] == ["a.png"]


def test_what_the_format_does_not_hold_is_told(small_project: Any, command: Command, tmp_path: Path) -> None:
    grey = bytes(16) + b"GRAY" + bytes(16) + b"acsp" + bytes(92)
    Image.fromarray(np.full((20, 30), 9000, np.uint16)).save(tmp_path / "a.png", icc_profile=grey)
    status, _, told = command(tmp_path / "a.png", tmp_path / "a.webp", "--model", small_project.add_model("dn-s25"))
    profile = "its grey colour profile is left out, as the WEBP is RGB"
    assert (status, told.splitlines()) == (
        0,
        [f"{tmp_path}/a.png: 16 bits became 8, as WEBP has no more", f"{tmp_path}/a.png: {profile}"],
    )


def test_a_configuration_that_is_named_must_be_there(command: Command, folder: Path, tmp_path: Path) -> None:
    arguments = (folder / "a.png", tmp_path / "out.png", "--model", "dn-s25", "--params", "nofile.yaml")
    status, said, told = command(*arguments)
    assert (status, said) == (1, "")
    assert told == "scn: nofile.yaml does not exist: name the project's params.yaml, or leave --params out.\n"


def test_auto_takes_what_fits_and_says_what_it_found(
    small_project: Any,
    command: Command,
    folder: Path,
    tmp_path: Path,
    photograph: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_project.publish("dn-s25", "car-q10")
    photos, rng = tmp_path / "mixed", np.random.default_rng(0)
    photos.mkdir()
    clean = photograph(64, 80)
    Image.fromarray(clean).save(photos / "clean.png")
    Image.fromarray(clean).save(photos / "small.jpg", quality=10)
    noisy = np.clip(clean + rng.normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(photos / "noisy.png")
    monkeypatch.chdir(small_project.root)
    status, said, told = command(photos, tmp_path / "out", "--model", "auto")
    nothing = f"nothing to restore in {photos}/clean.png"
    assert (status, said) == (0, f"2 images restored by auto, in {tmp_path / 'out'}; {nothing}\n")
    clean_line, noisy_line, small_line = told.splitlines()
    assert clean_line.endswith("(estimated): nothing to restore")
    assert "(estimated): dn-s25" in noisy_line
    assert small_line.startswith(f"{photos}/small.jpg: JPEG quality 10 (of its tables), noise of sigma ")
    assert small_line.endswith(": car-q10")


def test_a_tiny_image_stops_no_other_where_models_are_chosen(
    small_project: Any, command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_project.publish("dn-s25", "car-q10")
    (folder / "broken.jpg").unlink()
    Image.new("L", (20, 7)).save(folder / "tiny.png")
    Image.new("L", (8, 8)).save(folder / "least.png")
    monkeypatch.chdir(small_project.root)
    status, said, told = command(folder, tmp_path / "out", "--model", "auto", "--copy-clean")
    assert status == 1
    assert f"1 not: {folder}/tiny.png" in said
    assert f"scn: {folder}/tiny.png is 20x7 pixels: give an image of at least 8x8." in told
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "b.png", "least.png"}


def test_what_no_one_thought_of_stops_no_other_image(
    small_project: Any, command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Model, photograph: Any, name: str, *rest: Any) -> Any:
        if name.endswith("a.png"):
            raise ZeroDivisionError("a\nsurprise")
        return photograph

    monkeypatch.setattr(Model, "restore_photograph", broken)
    status, _, told = command(folder, tmp_path / "out", "--model", small_project.add_model("dn-s25"))
    assert (status, (tmp_path / "out/b.png").exists()) == (1, True)
    assert (
        f"scn: {folder}/a.png can't be restored (ZeroDivisionError: a surprise): leave it out, and report it." in told
    )


def test_an_enlargement_that_memory_can_not_hold_is_refused_before_it_begins(
    small_project: Any, command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_project.add_model("sr-x2")
    monkeypatch.setattr(Model, "restore_photograph", lambda *_: pytest.fail("it has begun"))
    monkeypatch.setattr("scn.core.memory.free", lambda: 2**20)
    said = command(folder / "a.png", tmp_path / "out.png", "--model", model, "--scale", "16")[2]
    assert "a.png becomes 480x320 pixels, for which 0.0 GiB of memory are needed" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png"], "Name a photograph or a folder, and where the result is to go"),
        (["a.png", "out.png"], "Name a model with --model"),
        (["a.png", "out.png", "-m", ""], "Name a model with --model"),
        (["a.png", "out.png", "-m", "MODEL", "--strength", "nan"], "--strength: nan is out of range: give 0 to 1"),
        (["a.png", "out.png", "--scale", "2"], "There is no model for super-resolution: publish one"),
        (["a.png", "out.png", "-m", "MODEL", "--scale", "17"], "--scale: 17 is out of range: give 1.5 to 16"),
        (["a.png", "out.png", "-m", "MODEL", "--scale", "nan"], "--scale: nan is out of range: give 1.5 to 16"),
        (["a.png", "out.png", "-m", "MODEL,,MODEL"], "'MODEL,,MODEL' names no model between two commas"),
        (
            ["https://example.org/a.png", "out.png", "-m", "auto"],
            "https://example.org/a.png is an address, and",
        ),
        (["a.png", "out.png", "-m", "MODEL", "--tile", "64"], "--tile: '64' is no side of a tile: give auto, or more"),
        (["a.png", "out.png", "-m", "MODEL", "--chroma", "no"], "--chroma: 'no' is none of restore, keep"),
        (
            ["a.png", "out.png", "-m", "MODEL", "--quality", "9"],
            "--quality is for lossy formats, and PNG loses nothing",
        ),
        (["file:///in", "file:///out", "-m", "MODEL", "--quality", "9"], "--quality is for lossy formats, and PNG"),
        (["file:///in", "file:///out", "-m", "MODEL", "--ray"], "--device and --threads are for this machine"),
        (["a.png", "out.png", "-m", "auto,sr-x2", "--copy-clean"], "--copy-clean is for --model auto alone"),
        (["a.png", "out.png", "-m", "MODEL", "--format", "gif"], "'gif' is no format of images here: use one of png"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    small_project: Any,
    command: Command,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    model = small_project.add_model("sr-x2")
    monkeypatch.chdir(folder)
    status, said, told = command(*[str(model) if each == "MODEL" else each for each in arguments])
    assert (status, said) == (1, "")
    assert told.startswith(f"scn: {message}")
    assert told.count("\n") == 1


def test_many_names_are_cut_short() -> None:
    from scn.registry.restore_command import _last_line

    todo: Any = SimpleNamespace(already=[], left_out=[])
    outcome = Outcome(failed=[(f"{number}.jpg", "damaged") for number in range(11)])
    line = _last_line(outcome, todo, "dn-s25", "out")
    assert line.endswith("; 11 not: 0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg, 5.jpg, 6.jpg, 7.jpg and 3 more")
