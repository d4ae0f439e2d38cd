"""The report in a browser: headless Chromium, where Debian's packages chromium and chromium-driver are installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import DESKTOP, MARKS, PHONE, chromium, resize
from finished_runs import finish
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from scn.evaluation.page.page import write_page

pytestmark = MARKS
LOADED = "return document.readyState === 'complete' && document.querySelectorAll('.legend button').length > 1"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of four experiments with two sets each."""
    root = tmp_path_factory.mktemp("finished")
    experiments = {"sr-x2": ("sr", 2), "sr-x4": ("sr", 4), "dn-s25": ("dn", 25), "car-q10": ("car", 10)}
    return write_page(finish(root, experiments, sets=("Set5", "sample/evaluation")), root / "report.html", timed=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium, without a network."""
    driver = chromium()
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    """Chromium with the report, freshly opened at a desktop's width."""
    return show(browser, page, DESKTOP)


def show(
    browser: webdriver.Chrome, page: Path, width: int, scheme: str = "light", fragment: str = ""
) -> webdriver.Chrome:
    resize(browser, width)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get("about:blank")
    browser.get(page.as_uri() + fragment)
    # On a busy machine `get` may return while the blank page is still there.
    WebDriverWait(browser, 60).until(lambda _: run(browser, LOADED))
    return browser


def run(browser: webdriver.Chrome, script: str, *arguments: object) -> Any:
    return browser.execute_script(script, *arguments)  # type: ignore[no-untyped-call]


def column(browser: webdriver.Chrome, table: WebElement, number: int) -> list[str]:
    script = "return [...arguments[0].tBodies[0].rows].map(row => row.cells[arguments[1]].innerText.trim())"
    found: list[str] = run(browser, script, table, number)
    return found


def test_it_opens_without_an_error_and_fetches_nothing(opened: webdriver.Chrome, page: Path) -> None:
    opened.get_log("performance")
    show(opened, page, DESKTOP)
    messages = "".join(entry["message"] for entry in opened.get_log("performance"))
    assert page.as_uri() in messages  # the log is one of requests
    assert "http://" not in messages.replace("http://www.w3.org", "")
    assert "https://" not in messages
    assert opened.get_log("browser") == []
    assert opened.title == "What the models reach"
    fetched = run(opened, "return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []


def test_all_pictures_load(opened: webdriver.Chrome) -> None:
    script = "return Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth, () => 0)))"
    widths = run(opened, script)
    assert len(widths) == 4 * 2 * 2 * 7
    assert min(widths) > 0


def test_a_header_sorts_by_click_and_by_key(opened: webdriver.Chrome) -> None:
    table = opened.find_element(By.CSS_SELECTOR, "table.compared")
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")
    names = [head.text.split("\n")[0] for head in heads]
    psnr, size = names.index("PSNR"), names.index("parameters")
    assert heads[psnr].get_attribute("aria-sort") == "ascending"
    heads[psnr].find_element(By.TAG_NAME, "button").click()
    assert heads[psnr].get_attribute("aria-sort") == "descending"
    values = [float(text) for text in column(opened, table, psnr)]
    assert values == sorted(values, reverse=True)
    heads[size].find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    assert [heads[psnr].get_attribute("aria-sort"), heads[size].get_attribute("aria-sort")] == ["none", "descending"]
    sizes = column(opened, table, size)
    assert sizes[0] == "19.4 M"
    known = [text for text in sizes if text]
    assert known == sizes[: len(known)]  # what is not known stays last
    heads[size].find_element(By.TAG_NAME, "button").send_keys(Keys.SPACE)
    assert column(opened, table, size)[: len(known)] == known[::-1]
    heads[0].find_element(By.TAG_NAME, "button").click()
    assert column(opened, table, 0)[0] == "A+"


def test_the_slider_follows_keys_pointer_and_finger(opened: webdriver.Chrome) -> None:
    layers = opened.find_element(By.CSS_SELECTOR, ".layers")
    slider = layers.find_element(By.TAG_NAME, "input")
    run(opened, "arguments[0].scrollIntoView({block: 'center'})", layers)

    def clip() -> float:
        """The share of the width where the degraded image is shown; the handle stands at its end."""
        style = run(opened, "return getComputedStyle(arguments[0].querySelector('.before')).clipPath", layers)
        shown = 1 - float(style.removeprefix("inset(0px ").partition("%")[0].removeprefix("calc(")) / 100
        handle = layers.find_element(By.CLASS_NAME, "handle").rect["x"] + 1 - layers.rect["x"]
        assert handle / layers.rect["width"] == pytest.approx(shown, abs=0.01)
        return shown

    assert clip() == pytest.approx(0.5, abs=0.01)
    run(opened, "arguments[0].focus()", slider)
    slider.send_keys(Keys.END)
    assert clip() == pytest.approx(1, abs=0.01)
    slider.send_keys(Keys.HOME)
    assert clip() == pytest.approx(0, abs=0.01)
    actions = webdriver.ActionChains(opened, duration=20)
    actions.move_to_element_with_offset(layers, 0, 0).click_and_hold().move_by_offset(
        int(layers.rect["width"] * 0.3), 3
    ).release().perform()
    assert clip() == pytest.approx(0.8, abs=0.02)
    assert float(slider.get_attribute("value") or 0) == pytest.approx(80, abs=2)
    box = run(opened, "const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]", layers)
    point = {"x": box[0] + box[2] * 0.25, "y": box[1] + box[3] / 2}
    opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert clip() == pytest.approx(0.25, abs=0.02)


def test_tabs_show_one_set_at_a_time_and_arrows_walk_them(opened: webdriver.Chrome) -> None:
    panels = opened.find_elements(By.CSS_SELECTOR, "#sr .panel")
    tabs = opened.find_elements(By.CSS_SELECTOR, "#sr [role=tab]")
    assert len(panels) == len(tabs) == 4
    assert [panel.is_displayed() for panel in panels] == [True, False, False, False]
    tabs[2].click()
    assert [panel.is_displayed() for panel in panels] == [False, False, True, False]
    tabs[2].send_keys(Keys.ARROW_RIGHT)
    assert panels[3].is_displayed()
    assert [tab.get_attribute("aria-selected") for tab in tabs] == ["false", "false", "false", "true"]


def test_a_name_opens_its_provenance(opened: webdriver.Chrome) -> None:
    details = opened.find_element(By.ID, "run-dn-s25")
    assert details.get_attribute("open") is None
    opened.find_element(By.CSS_SELECTOR, "#overview a[href='#run-dn-s25']").click()
    WebDriverWait(opened, 10).until(lambda _: details.get_attribute("open") is not None)
    assert "academic research only" in details.text
    assert -5 <= run(opened, "return arguments[0].getBoundingClientRect().top", details) < 844
    run(opened, "arguments[0].open = false; scrollTo(0, 0)", details)  # the same link works again
    opened.find_element(By.CSS_SELECTOR, "#overview a[href='#run-dn-s25']").click()
    WebDriverWait(opened, 10).until(lambda _: details.get_attribute("open") is not None)


def test_a_link_to_a_set_opens_its_tab(browser: webdriver.Chrome, page: Path) -> None:
    show(browser, page, DESKTOP)
    panel = browser.find_elements(By.CSS_SELECTOR, "#sr .panel")[2]
    assert not panel.is_displayed()
    show(browser, page, DESKTOP, fragment=f"#{panel.get_attribute('id')}")
    assert browser.find_elements(By.CSS_SELECTOR, "#sr .panel")[2].is_displayed()


def test_the_legend_hides_a_run_in_all_plots(opened: webdriver.Chrome) -> None:
    button = opened.find_elements(By.CSS_SELECTOR, ".legend button")[1]
    every = "[...document.querySelectorAll('.curves .curve')]"
    shown = f"return {every}.filter(curve => getComputedStyle(curve).display != 'none').length"
    assert run(opened, shown) == 16
    run(opened, "arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    assert [run(opened, shown), button.get_attribute("aria-pressed")] == [12, "false"]
    button.click()
    assert run(opened, shown) == 16


def test_pointing_at_a_curve_tells_its_value(opened: webdriver.Chrome) -> None:
    plot = opened.find_elements(By.CSS_SELECTOR, "figure.curves")[1]
    run(opened, "arguments[0].scrollIntoView({block: 'center'})", plot)
    svg = plot.find_element(By.TAG_NAME, "svg")
    webdriver.ActionChains(opened).move_to_element(svg).perform()
    told = plot.find_element(By.TAG_NAME, "output").text
    name, _, value = told.partition(": step ")
    step, psnr = value.split(", ")
    assert name.endswith(", Set5")
    assert float(psnr) == pytest.approx(30 + int(step) / 500, abs=0.1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_it_can_be_read(browser: webdriver.Chrome, page: Path, width: int, scheme: str) -> None:
    """The page is as wide as the screen, letters are large enough, and stand out from what is behind them."""
    show(browser, page, width, scheme)
    for tab in browser.find_elements(By.CSS_SELECTOR, "[role=tab]")[:3]:
        run(browser, "arguments[0].click()", tab)
        assert run(browser, "const e = document.documentElement; return e.scrollWidth - e.clientWidth") == 0
    smallest = run(
        browser,
        "return Math.min(...[...document.querySelectorAll('main :is(p, td, th, a, dd, button, figcaption, abbr)')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize)))",
    )
    assert smallest >= 10
    letters = run(browser, "return document.querySelector('#curves .grid text').getBoundingClientRect().height")
    assert letters >= 9
    for selector in ("p", ".quiet", "tbody a", "tr.model th", ".psnr", "thead button", "nav a", "[role=tab]"):
        assert contrast(browser, selector) >= 4.5, selector


def contrast(browser: webdriver.Chrome, selector: str) -> float:
    """The contrast of the first element's text with what is behind it (WCAG 2.2)."""
    script = """
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    let element = document.querySelector(arguments[0]);
    const ink = rgb(getComputedStyle(element).color);
    let behind = [0, 0, 0, 0];
    for (; element && behind[3] === 0; element = element.parentElement) {
      const found = rgb(getComputedStyle(element).backgroundColor);
      behind = found.length === 3 ? [...found, 1] : found;
    }
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const [a, b] = [light(ink), light(behind)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    """
    return float(run(browser, script, selector))
