"""The page of `scn serve` in a browser: as somebody with a photograph uses it."""

import io
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tifffile
from chromium import DESKTOP, MARKS, PHONE, chromium, resize
from photo_folder import picture
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait
from served_page import Served

from scn.serving.work import Progress, Restored, Wanted

pytestmark = MARKS


@pytest.fixture(scope="module")
def shared_browser() -> Iterator[webdriver.Chrome]:
    driver = chromium()
    yield driver
    driver.quit()


@pytest.fixture
def browser(shared_browser: webdriver.Chrome, served: Served) -> webdriver.Chrome:
    """Chromium with the page, which has listed its models."""
    resize(shared_browser, DESKTOP)
    shared_browser.get_log("browser")
    return opened(shared_browser, served)


def opened(browser: webdriver.Chrome, served: Served) -> webdriver.Chrome:
    browser.get(served.url)
    until(browser, lambda: "Low resolution" in browser.find_element(By.ID, "model").text)
    return browser


def until(browser: webdriver.Chrome, condition: Callable[[], object]) -> None:
    WebDriverWait(browser, 200, poll_frequency=0.05).until(lambda _: condition())


def photograph(folder: Path, name: str, seed: int = 0, height: int = 60, width: int = 80) -> Path:
    Image.fromarray(picture(seed, height, width)).save(folder / name)
    return folder / name


def add(browser: webdriver.Chrome, *paths: Path) -> None:
    browser.find_element(By.ID, "files").send_keys("\n".join(map(str, paths)))


def items(browser: webdriver.Chrome) -> list[WebElement]:
    return browser.find_elements(By.CLASS_NAME, "photograph")


def states(browser: webdriver.Chrome) -> list[str]:
    return [str(item.get_attribute("class")).split()[-1] for item in items(browser)]


def start(browser: webdriver.Chrome, model: str) -> None:
    Select(browser.find_element(By.ID, "model")).select_by_value(model)
    browser.find_element(By.ID, "start").click()


def run(browser: webdriver.Chrome, script: str, *arguments: object) -> Any:
    return browser.execute_script(script, *arguments)  # type: ignore[no-untyped-call]


def downloaded(browser: webdriver.Chrome, item: WebElement) -> np.ndarray:
    link = item.find_element(By.CLASS_NAME, "download")
    assert link.is_displayed()
    return np.asarray(Image.open(io.BytesIO(requests.get(str(link.get_attribute("href")), timeout=60).content)))


def test_several_photographs_are_restored_and_downloaded(
    browser: webdriver.Chrome, served: Served, tmp_path: Path
) -> None:
    assert not browser.find_element(By.ID, "start").is_enabled()
    add(browser, photograph(tmp_path, "a.png"), photograph(tmp_path, "b.png", 1), photograph(tmp_path, "c.tif", 2))
    button = browser.find_element(By.ID, "start")
    until(browser, lambda: button.text == "Restore 3 photographs")
    until(browser, lambda: "takes about" in items(browser)[0].text)  # before anything is started
    assert "about" in browser.find_element(By.ID, "cost").text
    start(browser, "sr-x2")
    until(browser, lambda: states(browser) == ["done"] * 3)
    for seed, item in enumerate(items(browser)):
        assert downloaded(browser, item).shape == (120, 160, 3)
        assert "120 pixels by sr-x2@v1 in" in item.text
        assert run(browser, "return arguments[0].querySelector('img').naturalWidth > 0", item), seed  # a TIFF, too
    assert "is restored" in browser.find_element(By.ID, "told").text
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_what_is_enlarged_goes_through_a_network_for_it(browser: webdriver.Chrome, tmp_path: Path) -> None:
    add(browser, photograph(tmp_path, "a.png"))
    Select(browser.find_element(By.ID, "factor")).select_by_value("3")
    start(browser, "dn-s25")
    until(browser, lambda: states(browser) == ["done"])
    assert "by dn-s25@v1, sr-x2@v1 in" in items(browser)[0].text
    assert downloaded(browser, items(browser)[0]).shape == (180, 240, 3)


def test_models_follow_one_another_and_a_lossy_format_has_a_quality(
    browser: webdriver.Chrome, served: Served, tmp_path: Path
) -> None:
    add(browser, photograph(tmp_path, "a.png"))
    quality = browser.find_element(By.ID, "quality")
    assert not quality.is_displayed()
    Select(browser.find_element(By.ID, "format")).select_by_value("jpg")
    quality.send_keys(Keys.HOME)
    assert browser.find_element(By.ID, "quality-shown").text == "50"
    Select(browser.find_element(By.ID, "then")).select_by_value("sr-x2")
    browser.find_element(By.ID, "chroma").click()
    start(browser, "dn-s25")
    until(browser, lambda: states(browser) == ["done"])
    assert "by dn-s25@v1, sr-x2@v1 in" in items(browser)[0].text
    assert downloaded(browser, items(browser)[0]).shape == (120, 160, 3)
    (job,) = served.jobs._jobs.values()
    assert (job.wanted.quality, job.wanted.chroma, job.wanted.as_format) == (50, "keep", "jpg")


@pytest.mark.parametrize("kind", ["classic", "big", "big-endian", "behind a preview", "heic"])
def test_what_a_browser_can_not_show_has_an_estimate_too(browser: webdriver.Chrome, tmp_path: Path, kind: str) -> None:
    path, pixels = tmp_path / "a.tif", picture(0, 70, 90)
    if kind == "heic":  # as its boxes have it: of a tile, and of the whole
        path = tmp_path / "a.heic"
        box = b"ispe" + bytes(4)
        size = [width.to_bytes(4, "big") + height.to_bytes(4, "big") for width, height in ((64, 64), (90, 70))]
        path.write_bytes(bytes(4) + b"ftypheic" + box + size[0] + box + size[1])
    else:
        with tifffile.TiffWriter(path, bigtiff=kind == "big", byteorder=">" if kind == "big-endian" else "<") as file:
            if kind == "behind a preview":
                file.write(pixels[:8, :9], photometric="rgb", subfiletype=1)
            file.write(pixels, photometric="rgb")
    add(browser, path)
    until(browser, lambda: "70 pixels, takes about" in items(browser)[0].text)


def test_a_page_that_is_loaded_again_still_has_them(browser: webdriver.Chrome, tmp_path: Path) -> None:
    add(browser, photograph(tmp_path, "a.png"), photograph(tmp_path, "b.png", 1))
    start(browser, "sr-x2")
    until(browser, lambda: states(browser) == ["done"] * 2)
    browser.refresh()
    until(browser, lambda: states(browser) == ["done"] * 2)
    assert "a.png" in items(browser)[0].text
    assert downloaded(browser, items(browser)[1]).shape == (120, 160, 3)
    items(browser)[0].find_element(By.CLASS_NAME, "remove").click()
    browser.refresh()
    until(browser, lambda: states(browser) == ["done"])
    assert "b.png" in items(browser)[0].text


def test_before_and_after_lie_under_a_slider(browser: webdriver.Chrome, tmp_path: Path) -> None:
    add(browser, photograph(tmp_path, "a.png", height=300, width=100))
    start(browser, "dn-s25")
    until(browser, lambda: states(browser) == ["done"])
    browser.find_element(By.CLASS_NAME, "compare").click()
    before, after = (browser.find_element(By.ID, name) for name in ("before", "after"))
    until(browser, lambda: run(browser, "return arguments[0].naturalWidth * arguments[1].naturalWidth", before, after))
    assert before.rect == after.rect
    assert (after.rect["width"], after.rect["height"]) == (100, 300)  # a pixel of the photograph is one of the screen

    def cut() -> float:
        clip = run(browser, "return arguments[0].style.clipPath", after)
        return float(re.findall(r"[\d.]+", clip)[-1])

    split = browser.find_element(By.ID, "split")
    assert browser.switch_to.active_element == split
    half = cut()
    assert half == pytest.approx(50, abs=2)  # the middle of the frame, in which the photograph lies in the middle
    split.send_keys(Keys.ARROW_LEFT * 2)
    assert cut() < half
    split.send_keys(Keys.HOME)
    assert cut() == 0  # all of it is the result
    split.send_keys(Keys.END)
    assert cut() > 100  # nothing of it
    resize(browser, DESKTOP, 240)
    browser.find_element(By.ID, "zoom").click()
    assert after.rect["height"] < 240  # all of it is seen
    close = browser.find_element(By.ID, "close").rect
    assert close["x"] + close["width"] <= run(browser, "return document.documentElement.clientWidth")
    browser.find_element(By.ID, "close").send_keys(Keys.ESCAPE)
    assert not browser.find_element(By.ID, "viewer").is_displayed()
    resize(browser, DESKTOP)


def test_a_file_that_is_no_photograph_is_told_and_stops_no_other(browser: webdriver.Chrome, tmp_path: Path) -> None:
    (tmp_path / "letter.pdf").write_bytes(b"%PDF-1.4")
    add(browser, tmp_path / "letter.pdf", photograph(tmp_path, "a.png"))
    start(browser, "dn-s25")
    until(browser, lambda: states(browser) == ["failed", "done"])
    assert "letter.pdf is PDF, and no image that can be read" in items(browser)[0].text
    assert items(browser)[0].find_element(By.CLASS_NAME, "again").is_displayed()
    items(browser)[0].find_element(By.CLASS_NAME, "remove").click()
    until(browser, lambda: states(browser) == ["done"])


def test_what_waits_or_runs_can_be_cancelled(browser: webdriver.Chrome, served: Served, tmp_path: Path) -> None:
    restorer: Any = served.jobs.workers[0]
    restore, go = restorer.restore, threading.Event()

    def waiting(data: bytes, wanted: Wanted, progress: Progress) -> Restored:
        while not go.wait(0.01):
            progress(0.5)
        restored: Restored = restore(data, wanted, progress)
        return restored

    restorer.restore = waiting
    add(browser, *(photograph(tmp_path, f"{name}.png") for name in "abc"))
    start(browser, "dn-s25")
    until(browser, lambda: states(browser) == ["running", "queued", "queued"])
    assert "waits, 2 before it" in items(browser)[2].text
    for number in (1, 0):
        items(browser)[number].find_element(By.CLASS_NAME, "remove").click()
    until(browser, lambda: states(browser) == ["ready", "ready", "running"])
    go.set()
    until(browser, lambda: states(browser)[2] == "done")
    assert len(list(served.jobs.folder.iterdir())) == 1


@pytest.mark.parametrize("held", ["new Promise((_, no) => { options.signal.onabort = no; })", "full()"])
def test_a_cancelled_upload_is_not_sent_again_and_what_came_later_waits(
    browser: webdriver.Chrome, tmp_path: Path, held: str
) -> None:
    """The upload of a.png does not end, or waits for room in the queue, until it is cancelled."""
    script = """
        const send = window.fetch;
        const full = () => Promise.resolve(new Response("{}", { status: 503, headers: { "Retry-After": "0.05" } }));
        window.sent = [];
        window.fetch = (path, options = {}) => {
          if (options.method !== "POST") return send(path, options);
          const query = new URL(path, location).searchParams;
          sent.push(`${query.get("name")} ${query.get("format")}`);
          return query.get("name") === "a.png" ? HELD : send(path, options);
        };"""
    run(browser, script.replace("HELD", held))
    add(browser, photograph(tmp_path, "a.png"), photograph(tmp_path, "b.png", 1))
    start(browser, "dn-s25")
    until(browser, lambda: "a.png png" in run(browser, "return sent"))
    add(browser, photograph(tmp_path, "c.png", 2))
    Select(browser.find_element(By.ID, "format")).select_by_value("bmp")
    assert browser.find_element(By.ID, "start").text == "Restore"  # c.png only
    items(browser)[0].find_element(By.CLASS_NAME, "remove").click()
    until(browser, lambda: states(browser) == ["ready", "done", "ready"])
    assert list(dict.fromkeys(run(browser, "return sent"))) == ["a.png png", "b.png png"]
    assert run(browser, "return sent.at(-1)") == "b.png png"


def test_two_at_once_see_their_own(browser: webdriver.Chrome, served: Served, tmp_path: Path) -> None:
    first, second = browser.current_window_handle, None
    add(browser, photograph(tmp_path, "mine.png", 3))
    browser.switch_to.new_window("tab")
    try:
        second = browser.current_window_handle
        opened(browser, served)
        add(browser, photograph(tmp_path, "yours.png", 4))
        for window in (first, second):
            browser.switch_to.window(window)
            start(browser, "dn-s25")
        for window, name in ((first, "mine.png"), (second, "yours.png")):
            browser.switch_to.window(window)
            until(browser, lambda: states(browser) == ["done"])
            assert name in items(browser)[0].text
        owners = {job.owner for job in served.jobs._jobs.values()}
        assert len(owners) == 2
    finally:
        browser.switch_to.window(second or first)
        browser.close()
        browser.switch_to.window(first)


def test_the_keyboard_is_enough(browser: webdriver.Chrome, tmp_path: Path) -> None:
    add(browser, photograph(tmp_path, "a.png"))
    reached: list[str] = []

    def press(*keys: str) -> WebElement:
        webdriver.ActionChains(browser).send_keys(*keys).perform()
        return browser.switch_to.active_element

    run(browser, "document.activeElement.blur()")
    for _ in range(9):
        reached.append(str(press(Keys.TAB).get_attribute("id")))
    assert reached == ["files", "model", "then", "factor", "strength", "format", "ensemble", "chroma", "start"]
    press(Keys.SHIFT, Keys.TAB, Keys.NULL)
    run(browser, "arguments[0].focus()", browser.find_element(By.ID, "model"))
    press("N")  # the first that begins with it: Noise
    assert Select(browser.find_element(By.ID, "model")).first_selected_option.get_attribute("value") == "dn-s25"
    run(browser, "arguments[0].focus()", browser.find_element(By.ID, "start"))
    press(Keys.ENTER)
    until(browser, lambda: states(browser) == ["done"])
    run(browser, "arguments[0].focus()", browser.find_element(By.CLASS_NAME, "compare"))
    press(Keys.ENTER)
    assert browser.find_element(By.ID, "viewer").is_displayed()
    press(Keys.ESCAPE)
    assert browser.switch_to.active_element.get_attribute("class") == "compare"


def test_it_fits_a_phone(browser: webdriver.Chrome, tmp_path: Path) -> None:
    resize(browser, PHONE)
    name = f"{'a_photograph_with_a_name_that_is_far_too_long_for_it' * 2}.png"
    add(browser, photograph(tmp_path, name, height=200, width=250))
    start(browser, "dn-s25")
    until(browser, lambda: states(browser) == ["done"])
    wide = "return document.documentElement.scrollWidth"
    assert run(browser, wide) <= PHONE
    browser.find_element(By.CLASS_NAME, "compare").click()
    assert run(browser, wide) <= PHONE
    heights = "return [...document.querySelectorAll('button, select, .download')].map(each => each.offsetHeight)"
    assert all(height == 0 or height >= 32 for height in run(browser, heights))  # a finger hits them
    resize(browser, DESKTOP)
