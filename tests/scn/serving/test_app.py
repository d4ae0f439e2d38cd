"""What the page asks for, over HTTP: results are those of the model, and everything else is one sentence."""

import errno
import io
import logging
import shutil
import socket
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import tifffile
from photo_folder import picture
from PIL import Image
from served_page import HEADERS, LIMITS, Served

from scn.imaging import formats
from scn.imaging.image_io import photograph_of
from scn.inference.restore import Options
from scn.registry.reference import load
from scn.serving import app
from scn.serving.jobs import State
from scn.storage.base import StoreError
from scn.storage.local import FileStore

pytestmark = pytest.mark.timeout(300)


def png(seed: int = 0, height: int = 40, width: int = 52) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(picture(seed, height, width)).save(encoded, "PNG")
    return encoded.getvalue()


def huge_png() -> bytes:
    """A header that promises 3600 megapixels."""
    data = bytearray(png())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def tiff_behind_a_preview() -> bytes:
    """300x400 pixels, of which Pillow sees the 8x8 of the preview first."""
    encoded = io.BytesIO()
    with tifffile.TiffWriter(encoded) as file:
        file.write(picture(0, 8, 8), photometric="rgb", subfiletype=1)
        file.write(picture(0, 300, 400), photometric="rgb")
    return encoded.getvalue()


def pixels(answer: requests.Response) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_a_photograph_is_restored_as_the_model_restores_it(served: Served) -> None:
    sent = served.send(png(), name="Tür an der Straße.jpg", model="sr-x2")
    assert (sent.status_code, sent.json()["width"], sent.json()["height"]) == (201, 52, 40)
    told = served.ended(sent.json()["id"])
    assert (told["state"], told["by"], told["progress"]) == ("done", "sr-x2@v1", 1.0)
    assert (told["result_width"], told["result_height"]) == (104, 80)
    result = served.file(told["id"], "result")
    assert result.headers["Content-Disposition"] == (
        'attachment; filename="T_r an der Stra_e-restored.png"; '
        "filename*=UTF-8''T%C3%BCr%20an%20der%20Stra%C3%9Fe-restored.png"
    )
    expected = load("sr-x2", "cpu", params_file=served.params_file).restore(picture(0, 40, 52))
    assert np.abs(pixels(result).astype(int) - expected).max() <= 1  # bfloat16, where the processor is fast in it
    assert (pixels(served.file(told["id"], "before.png")) == picture(0, 40, 52)).all()
    assert (pixels(served.file(told["id"], "after.png")) == pixels(result)).all()


def test_settings_are_those_of_restoring(served: Served) -> None:
    told = served.ended(served.send(png(), model="dn-s25", strength=0.0, format="bmp", factor=1.5).json()["id"])
    result = Image.open(io.BytesIO(served.file(told["id"], "result").content))
    assert (result.format, result.size, told["result_name"]) == ("BMP", (78, 60), "a-restored.bmp")
    told = served.ended(served.send(png(), model="dn-s25", strength=0.0).json()["id"])
    assert (pixels(served.file(told["id"], "result")) == picture(0, 40, 52)).all()
    enlarged = served.ended(served.send(png(), model="", factor=2).json()["id"])
    assert enlarged["by"] == "sr-x2@v1"
    chain = served.ended(served.send(png(), model="dn-s25,sr-x2").json()["id"])
    assert (chain["by"], chain["result_width"]) == ("dn-s25@v1, sr-x2@v1", 104)


def test_quality_is_that_of_a_lossy_format(served: Served) -> None:
    def sent(**query: object) -> requests.Response:
        told = served.ended(served.send(png(), model="dn-s25", **query).json()["id"])
        return served.file(told["id"], "result")

    assert len(sent(format="jpg", quality=20).content) < len(sent(format="jpg").content) / 2
    assert (pixels(sent(format="png", quality=20)) == pixels(sent(format="png"))).all()


def test_chroma_may_be_kept(served: Served) -> None:
    told = served.ended(served.send(png(), model="dn-s25", chroma="keep").json()["id"])
    model = load("dn-s25", "cpu", params_file=served.params_file)
    photograph = photograph_of(Image.fromarray(picture(0, 40, 52)))
    expected = model.restore_photograph(photograph, options=Options(chroma="keep")).pixels
    assert (pixels(served.file(told["id"], "result")) == expected).all()
    assert (expected != model.restore_photograph(photograph).pixels).any()


@pytest.mark.parametrize(
    ("data", "query", "status", "words"),
    [
        (b"%PDF-1.4 nothing", {"name": "b.pdf"}, 422, "b.pdf is PDF, and no image that can be read"),
        (png()[:300], {}, 201, "a.png is damaged"),  # its pixels are read when it is its turn
        (b"", {}, 422, "a.png is empty, and no image that can be read"),
        (png(height=4), {}, 422, "a.png is 52x4 pixels: give an image of at least 8x8"),
        (png(), {"model": "dn-s99"}, 422, "dn-s99"),
        (png(), {"model": "n" * 300}, 422, f"model: '{'n' * 60}...' is none of dn-s25, sr-x2: GET /api/about lists"),
        (png(), {"model": "sr-x2,dn-s25@v9"}, 422, "model: dn-s25 has no version 'v9': use one of v1, latest."),
        (png(), {"factor": 40}, 422, "factor: 40 is out of range"),
        (b"", {"quality": 0}, 422, "quality: 0 is out of range: give 1 to 100"),  # told before the file is read
        (png(), {"quality": 101}, 422, "quality: 101 is out of range: give 1 to 100"),
        (png(), {"strength": 2}, 422, "strength: 2 is out of range"),
        (png(), {"format": "exe"}, 422, "'exe' is no format of images here"),
        (png(), {"model": ""}, 422, "Name a model, or a factor"),
        (bytes(2**22 + 1), {}, 413, "a.png has more than 4 MiB"),
        (png(height=200, width=300), {}, 413, "would have 0.06 megapixels, and 0.05 are allowed"),
        (png(height=80, width=200), {"model": "sr-x2"}, 413, "enlarge less, or have it served with a larger --megap"),
        (png(height=90, width=90), {"model": "sr-x2", "factor": 2.5}, 413, "would have 0.050625 megapixels, and 0.05 "),
        (
            png(height=130, width=160),
            {"model": "", "factor": 1.5},
            413,
            "a.png would have 0.0832 megapixels before it is reduced to 0.0468, and 0.05 are allowed: cut it",
        ),
        (huge_png(), {}, 413, "would have 3600 megapixels, and 0.05 are allowed"),
        (tiff_behind_a_preview(), {"name": "a.tif"}, 413, "would have 0.12 megapixels, and 0.05 are allowed"),
    ],
)
def test_what_can_not_be_is_one_sentence(
    served: Served, data: bytes, query: dict[str, object], status: int, words: str
) -> None:
    answer = served.send(data, **query)
    assert answer.status_code == status, answer.text
    if status == 201:
        told = served.ended(answer.json()["id"])
        assert (told["state"], words in told["message"]) == ("failed", True), told
    else:
        assert words in answer.json()["error"]
    left = served.jobs.folder.rglob("*")
    assert not [file for file in left if status != 201 or file.is_file()]  # nothing is left of what was sent


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"factor": "much"}, "factor: 'much': Input should be a valid number, unable to parse string as a number."),
        ({"chroma": "no"}, "chroma: 'no': Input should be 'restore' or 'keep'."),
        ({"self_ensemble": "maybe"}, "self_ensemble: 'maybe': Input should be a valid boolean"),
        ({"model": "../models/dn-s25"}, "model: '../models/dn-s25' is none of dn-s25, sr-x2: GET /api/about lists"),
        ({"owner": "a" * 65}, f"owner: '{'a' * 60}...': String should have at most 64 characters."),
    ],
)
def test_a_parameter_that_is_none_is_one_sentence(served: Served, query: dict[str, object], message: str) -> None:
    answer = served.send(png(), **query)
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert answer.json()["error"].startswith(message)
    missing = requests.get(f"{served.url}api/estimate", headers=HEADERS, timeout=60)
    assert (missing.status_code, missing.json()) == (422, {"error": "pixels: Field required."})
    for pixels, words in (
        ([0], "pixels: '0': Input should be greater than or equal to 1."),
        ([10**400], f"pixels: '1{'0' * 59}...': "),
        ([1] * 257, f"pixels: '{str(['1'] * 257)[:60]}...': List should have at most 256 items"),
    ):
        asked = {"pixels": pixels, "model": "dn-s25"}
        answer = requests.get(f"{served.url}api/estimate", params=asked, headers=HEADERS, timeout=60)
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(words), answer.text


@pytest.mark.parametrize("query", [{"format": "heic"}, {"name": "a.heic", "format": "same"}])
def test_a_format_that_can_not_be_written_here_is_told_at_once(
    served: Served, query: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "can", lambda each: each.name != "HEIF")
    answer = served.send(png(), **query)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("a-restored.heic is HEIF, which the installed Pillow lacks: pip install")
    assert "webp, bmp, avif." in served.send(png(), format="exe").json()["error"]


def test_folders_are_no_models_and_hide_none(served: Served, small_project: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(small_project.root)
    for name in ("mine", "dn-s25", "dn-s25,sr-x2"):
        shutil.copytree(small_project.root / "models/sr-x2", name)
    answer = served.send(png(), model="mine")
    assert (answer.status_code, answer.json()) == (
        422,
        {"error": "model: 'mine' is none of dn-s25, sr-x2: GET /api/about lists them."},
    )
    for model, by in (("dn-s25", "dn-s25@v1"), ("dn-s25,sr-x2", "dn-s25@v1, sr-x2@v1")):
        assert served.ended(served.send(png(), model=model).json()["id"])["by"] == by


def test_other_sites_get_nothing(served: Served) -> None:
    url = f"{served.url}api/jobs"
    refused = requests.post(url, data=png(), timeout=60)
    assert refused.status_code == 403
    assert refused.json() == {"error": "The header X-SCN is missing: send it, with any value (docs/serving-api.md)."}
    estimate = f"{served.url}api/estimate?pixels=1&model=dn-s25"  # which loads a model
    assert requests.get(estimate, timeout=60).status_code == 403
    assert requests.get(served.url, headers={"Host": "elsewhere.example"}, timeout=60).status_code == 400
    page = requests.get(served.url, timeout=60)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert "Drop photographs here" in page.text
    assert "://" not in page.text  # nothing is loaded from elsewhere
    elsewhere = requests.get(f"{served.url}../conftest.py", timeout=60)
    assert (elsewhere.status_code, elsewhere.json()["error"]) == (404, "There is no page /conftest.py: ask for /.")
    assert requests.get(f"{url}/0", timeout=60).json()["error"].startswith("This photograph is not here any more")


def test_an_upload_that_is_given_up_leaves_no_trace(served: Served) -> None:
    told: list[str] = []
    log = logging.getLogger("uvicorn.error")
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        at = urlsplit(served.url)
        with socket.create_connection((str(at.hostname), int(at.port or 0)), timeout=60) as connection:
            head = f"POST /api/jobs?name=a.png HTTP/1.1\r\nHost: {at.netloc}\r\nX-SCN: test\r\n"
            connection.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode() + png()[:100])
            while not list(served.jobs.folder.glob("upload-*/input")):
                time.sleep(0.005)
        while list(served.jobs.folder.iterdir()):
            time.sleep(0.005)
        for _ in range(3):  # what became of it is told meanwhile
            assert requests.get(f"{served.url}healthz", timeout=60).json() == {"waiting": 0}
    finally:
        log.removeHandler(handler)
    assert not told


def test_a_disk_that_is_full_is_one_sentence(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(app, "_receive", full)
    answer = served.send(png())
    assert (answer.status_code, answer.json()) == (
        507,
        {"error": "The disk does not take a.png (No space left on device): make room on it."},
    )
    assert not list(served.jobs.folder.iterdir())


def test_a_folder_that_was_cleaned_away_is_made_again(served: Served) -> None:
    before = served.ended(served.send(png()).json()["id"])["id"]
    shutil.rmtree(served.jobs.folder)
    sent = served.send(png())
    assert sent.status_code == 201
    assert served.jobs.folder.stat().st_mode & 0o777 == 0o700
    assert served.ended(sent.json()["id"])["state"] == "done"
    lost = served.file(before, "result")
    assert (lost.status_code, lost.json()["error"].partition(":")[0]) == (404, "This photograph is not here any more")


def test_a_folder_that_another_user_can_reach_takes_no_photograph(served: Served) -> None:
    """Whoever sees the name of one that was cleaned away can make it."""
    taken = served.jobs.folder
    taken.rmdir()
    taken.mkdir(mode=0o777)
    taken.chmod(0o777)
    sent = served.send(png())
    assert served.ended(sent.json()["id"])["state"] == "done"
    assert not list(taken.iterdir())
    assert served.jobs.folder.stat().st_mode & 0o777 == 0o700


def test_a_registry_that_is_away_is_told_to_strangers_without_its_place(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert served.send(png()).status_code == 201

    def away(_: FileStore) -> None:
        raise StoreError("No answer from http://user:secret@10.0.0.7 for s3://models: start the service.")

    monkeypatch.setattr(FileStore, "reach", away)
    for answer in (
        requests.get(f"{served.url}api/about", timeout=60),
        served.send(png(), model="sr-x2@v1"),
        served.send(png(), model="", factor=2),
    ):
        assert (answer.status_code, answer.json()) == (
            502,
            {"error": "The models that are published can't be looked up now: try again later."},
        )
    assert "No answer from http://***@10.0.0.7 for s3://models" in capsys.readouterr().err
    assert served.send(png()).status_code == 201  # by what was loaded before


def test_a_file_that_is_not_there_is_told_with_why(served: Served) -> None:
    def said(job_id: str, name: str) -> str:
        answer = served.file(job_id, name)
        assert answer.status_code == 404
        return str(answer.json()["error"])

    failed = served.ended(served.send(png()[:300]).json()["id"])
    assert said(failed["id"], "result") == f"a.png has no result: {failed['message']}"
    done = served.ended(served.send(png(), name="/").json()["id"])["id"]
    assert said(done, "a.png") == "photograph has no such file: ask for before.png, after.png, result."
    job = served.jobs.find(done)
    assert job is not None
    for state in (State.QUEUED, State.RUNNING):
        job.state = state
        assert said(done, "result") == "photograph has no such file yet: wait until it is done."
    job.state = State.DONE


def test_what_is_no_request_is_one_sentence(served: Served) -> None:
    for method, path, status in (("GET", "api/foo", 404), ("PUT", "api/about", 405)):
        answer = requests.request(method, served.url + path, timeout=60)
        words = f"{method} /{path} is nothing that can be asked for: see docs/serving-api.md."
        assert (answer.status_code, answer.json()) == (status, {"error": words})


def test_head_tells_what_get_would(served: Served) -> None:
    done = served.ended(served.send(png()).json()["id"])["id"]
    for path in ("healthz", "", "page.js", f"api/jobs/{done}", f"api/jobs/{done}/result"):
        answer = requests.head(served.url + path, timeout=60)
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["Content-Length"] == requests.get(served.url + path, timeout=60).headers["Content-Length"]


def test_fifty_at_once_are_all_served(served: Served) -> None:
    def one(seed: int) -> bool:
        told = served.ended(served.send(png(seed, 24, 24), owner=str(seed % 3), strength=0.0).json()["id"])
        return told["state"] == "done" and (pixels(served.file(told["id"], "result")) == picture(seed, 24, 24)).all()

    with ThreadPoolExecutor(50) as pool:
        assert all(pool.map(one, range(50)))


def test_many_uploads_at_once_lie_on_the_disk_and_not_in_memory(served: Served) -> None:
    photograph = png(0, 24, 24)
    photograph += bytes(LIMITS.upload_mib * 2**20 - len(photograph))  # behind the image; the threads share it
    many = 16

    def one(_: int) -> str:
        return str(served.ended(served.send(photograph, strength=0.0).json()["id"])["state"])

    one(0)  # whatever is made once
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        with ThreadPoolExecutor(many) as pool:
            assert set(pool.map(one, range(many))) == {"done"}
        assert tracemalloc.get_traced_memory()[1] - before < many * len(photograph) / 2
    finally:
        tracemalloc.stop()


def test_a_full_queue_says_when_to_come_again(served: Served) -> None:
    served.jobs.most = 0
    answer = served.send(png())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json()["error"] == "0 photographs wait already: try again in a while."


def test_a_result_can_be_taken_away(served: Served) -> None:
    job_id = served.send(png()).json()["id"]
    served.ended(job_id)
    assert requests.delete(f"{served.url}api/jobs/{job_id}", timeout=60).status_code == 403
    assert requests.delete(f"{served.url}api/jobs/{job_id}", headers=HEADERS, timeout=60).status_code == 204
    assert served.file(job_id, "result").status_code == 404
    assert not list(served.jobs.folder.iterdir())


def test_costs_are_estimated_before(served: Served) -> None:
    def seconds(**query: object) -> list[float | None]:
        asked = {"pixels": [10**6, 10**5], **query}
        answer = requests.get(f"{served.url}api/estimate", params=asked, headers=HEADERS, timeout=60)
        return answer.json()["seconds"]

    while None in seconds(model="dn-s25") or None in seconds(model="sr-x2"):
        pass
    large, small = seconds(model="dn-s25")
    assert large == pytest.approx(10 * small)
    assert seconds(model="dn-s25", self_ensemble=True)[0] == pytest.approx(8 * large)
    assert seconds(model="auto")[0] == pytest.approx(large)  # the one that auto can take
    both = seconds(model="sr-x2,dn-s25")[0]
    assert both == pytest.approx(seconds(model="sr-x2")[0] + 4 * large)  # of four times the pixels


def test_what_can_be_chosen_is_told(served: Served) -> None:
    about = requests.get(f"{served.url}api/about", timeout=60).json()
    assert [(model["reference"], model["scale"]) for model in about["models"]] == [("dn-s25", 1), ("sr-x2", 2)]
    assert {"png", "jpg"} <= set(about["formats"])
    assert (about["upload_mib"], about["megapixels"]) == (4, 0.05)
