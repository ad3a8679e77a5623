# SPDX-License-Identifier: GPL-2.0-or-later
"""A run's page in Chromium: wide and narrow, light and dark, with 1,000 cases, and with markup in an id."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait
from tests.unit.builders import make_record
from tests.unit.runs import make_line, make_run

from switchover.bench.show import SHOWN_CASES, make_large_history, make_large_run
from switchover.record.record import Verdict, VerdictName
from switchover.record.rundir import RunDirectory
from switchover.report.formats import write_reports
from switchover.report.html.page import PAGE_FILE
from switchover.report.html.past import MOST_RUNS
from switchover.report.rundata import read_run

WIDE, NARROW = 1280, 400
LONGEST_S = 30
"""Until something is on the screen, on a machine that is busy with other things."""
STUTTER_MS = 3000
"""What a filter may take there. People notice a tenth of a second; what it took is printed."""
EVIL = "<img src=x onerror=\"document.body.id='bad'\">&lt;b&gt;</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a run of 1,000 cases with two axes, and of 50 earlier ones."""
    place = tmp_path_factory.mktemp("large")
    directory = make_large_run(place)
    return write_page(directory, make_large_history(place / "history.sqlite", directory))


def write_page(directory: RunDirectory, history: Path | None = None) -> str:
    """Its address."""
    write_reports(replace(read_run(directory), history=history), directory)
    return (directory.path / PAGE_FILE).as_uri()


def look(browser: webdriver.Chrome, address: str, width: int = WIDE, scheme: str = "light") -> None:
    """Open a page anew, in a window of this width."""
    browser.get("about:blank")
    for log in ("browser", "performance"):  # what was before is another page's
        read_log(browser, log)
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(address)


def wait_for(browser: webdriver.Chrome, selector: str) -> WebElement:
    found = WebDriverWait(browser, LONGEST_S, 0.02).until(lambda _: browser.find_elements(By.CSS_SELECTOR, selector))
    return found[0]


def read_log(browser: webdriver.Chrome, name: str) -> list[dict[str, str]]:
    """What came since it was read last."""
    return list(browser.get_log(name))  # type: ignore[no-untyped-call]


def require_quiet(browser: webdriver.Chrome, address: str) -> None:
    """Nothing was asked for but the page, and nothing was said on the console."""
    assert read_log(browser, "browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in read_log(browser, "performance")]
    asked = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} == {address.partition("#")[0]}


def shown_rows(browser: webdriver.Chrome) -> list[str]:
    script = "return [...document.querySelectorAll('#cases tbody tr:not([hidden]) th')].map(one => one.textContent)"
    return list(browser.execute_script(script))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_views(browser: webdriver.Chrome, large: str, width: int, scheme: str) -> None:
    """Overview, case and matrix are drawn in every width and scheme: no view is wider than the window, text stands out
    from the paper, nothing is asked of a network, and nothing is said on the console.
    """
    name = "device.pre_copy=on,number=3"
    views = {
        "": "#cases tbody tr",
        f"#case/{quote(name, safe='')}": "#case .figure svg.main-svg",
        "#matrix": ".cells a",
    }
    for fragment, selector in views.items():
        look(browser, large + fragment, width, scheme)
        assert wait_for(browser, selector).is_displayed()
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        colours = browser.execute_script(
            "const of = getComputedStyle(document.documentElement);"
            "return [of.color, of.backgroundColor].map(one => one.match(/\\d+/g).reduce((sum, part) => sum + +part, 0))"
        )
        assert (colours[0] < colours[1]) == (scheme == "light")
        assert abs(colours[0] - colours[1]) > 400
        require_quiet(browser, large)


def test_what_a_case_shows(browser: webdriver.Chrome, large: str) -> None:
    """One that failed: the timeline of both hosts, bytes, who was heard, parts of downtimes, the failure, checks,
    evidence that is there, how to repeat; and the zoom to the downtime.
    """
    look(browser, large)
    browser.find_element(By.LINK_TEXT, "device.pre_copy=off,number=50").click()
    wait_for(browser, "#case .figure svg.main-svg")
    text = browser.find_element(By.ID, "case").text
    lanes = [f"{side}: {lane}" for side in ("source", "destination") for lane in ("device dut", "migration", "heard")]
    for words in (*lanes, "RAM remaining", "part 4", "NOT AS EXPECTED", "Checks: 20 of 20 passed", "switchover repro"):
        assert words in text
    hrefs = [one.get_attribute("href") for one in browser.find_elements(By.CSS_SELECTOR, "#case .files a")]
    assert f"{large.rpartition('/')[0]}/device.pre_copy%3Doff%2Cnumber%3D50/01/record.json" in hrefs
    ticks = "#case .xtick text"
    before = wait_for(browser, ticks).text
    browser.find_element(By.XPATH, "//button[text()='downtime']").click()
    WebDriverWait(browser, LONGEST_S).until(lambda _: browser.find_element(By.CSS_SELECTOR, ticks).text != before)
    require_quiet(browser, large)


def test_earlier_runs(browser: webdriver.Chrome, large: str) -> None:
    """Of a case whose downtime became longer: the plot with this run and the change, since when and what else changed
    there, and the runs as a table; of one whose downtime did not, that none is seen.
    """
    look(browser, f"{large}#case/{quote('device.pre_copy=off,number=5', safe='')}")
    figure = "#case .figure[aria-label='downtime.explained, run by run']"
    browser.execute_script("arguments[0].scrollIntoView()", wait_for(browser, figure))
    wait_for(browser, f"{figure} .scatterlayer .point")
    assert len(browser.find_elements(By.CSS_SELECTOR, f"{figure} .scatterlayer .point")) == MOST_RUNS + 1
    lines = browser.find_elements(By.CSS_SELECTOR, f"{figure} .shapelayer path")
    assert len(lines) == 3, "two levels, and the change between them"
    change = browser.find_element(By.CSS_SELECTOR, "#case .change").text
    assert "worse since 2026-01-01T00:25: " in change
    assert "10.0 → 11.1" in change
    browser.find_element(By.XPATH, f"//summary[text()='the runs ({MOST_RUNS + 1})']").click()
    assert "this run" in browser.find_element(By.ID, "case").text
    assert browser.execute_script("return document.documentElement.scrollWidth") <= WIDE
    require_quiet(browser, large)
    look(browser, f"{large}#case/{quote('device.pre_copy=on,number=3', safe='')}")
    wait_for(browser, figure)
    assert "No change of the level is seen." in browser.find_element(By.ID, "case").text


def test_a_page_without_a_history(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """Says so in a line, and has all else."""
    address = write_page(make_run(tmp_path, [make_record("a")], [make_line("a")]))
    look(browser, f"{address}#case/a")
    wait_for(browser, "#case h2")
    assert "It was made without a history" in browser.find_element(By.ID, "case").text
    require_quiet(browser, address)


def test_filters(browser: webdriver.Chrome, large: str) -> None:
    """By words of an id, by verdict, and what was not as expected; together they narrow; and the count says so."""
    look(browser, large)
    assert len(shown_rows(browser)) == SHOWN_CASES
    form = browser.find_element(By.ID, "filters")
    form.find_element(By.NAME, "bad").click()
    assert len(shown_rows(browser)) == SHOWN_CASES / 100
    assert form.find_element(By.NAME, "shown").text == "10 of 1000 shown"
    form.find_element(By.NAME, "text").send_keys("NUMBER=5 off")
    assert shown_rows(browser) == ["device.pre_copy=off,number=50"]
    form.find_element(By.NAME, "text").clear()
    form.find_element(By.NAME, "bad").click()
    Select(form.find_element(By.NAME, "verdict")).select_by_visible_text("failed (destination)")
    WebDriverWait(browser, LONGEST_S).until(lambda _: len(shown_rows(browser)) == SHOWN_CASES / 100)
    require_quiet(browser, large)


def test_the_matrix_leads_to_cases(browser: webdriver.Chrome, large: str) -> None:
    """Axes can be exchanged, and a cell is its case."""
    look(browser, large + "#matrix")
    wait_for(browser, ".cells a")
    rows = "return document.querySelectorAll('.cells tbody tr').length"
    assert browser.execute_script(rows) == 2
    browser.find_element(By.XPATH, "//section[@id='matrix']//label[contains(., 'rows')]//option[.='number']").click()
    WebDriverWait(browser, LONGEST_S).until(lambda _: browser.execute_script(rows) == SHOWN_CASES / 2)
    cell = browser.find_element(By.CSS_SELECTOR, ".cells tbody tr:nth-child(8) td a")
    assert "completed" in cell.text
    cell.click()
    assert wait_for(browser, "#case h2").text == "device.pre_copy=off,number=7"


def test_a_thousand_cases_without_a_stutter(browser: webdriver.Chrome, large: str) -> None:
    """The overview is there before what is packed behind it, and a filter is done before somebody waits for it."""
    start = time.monotonic()
    look(browser, large)
    wait_for(browser, "#filters:not([hidden])")
    opened = time.monotonic() - start
    interactive = browser.execute_script("return performance.getEntriesByType('navigation')[0].domInteractive")
    script = """
        const done = arguments[0], field = document.forms.filters.elements.text, times = [];
        (async () => {
          for (const words of ["number=1", "number=12", "on", "nothing", ""]) {
            const start = performance.now();
            field.value = words;
            field.dispatchEvent(new Event("input", {bubbles: true}));
            await new Promise(next => requestAnimationFrame(() => setTimeout(next)));
            times.push(performance.now() - start);
          }
          done(times);
        })();"""
    times = browser.execute_async_script(script)
    start = time.monotonic()
    browser.execute_script("location.hash = '#case/' + encodeURIComponent('device.pre_copy=on,number=9')")
    wait_for(browser, "#case .figure svg.main-svg")
    case = time.monotonic() - start
    print(
        f"\n{SHOWN_CASES} cases: opened {opened:.2f} s, interactive {interactive:.0f} ms, "
        f"filters {', '.join(f'{one:.0f}' for one in times)} ms, a case with its figures {case:.2f} s"
    )
    assert opened < LONGEST_S
    assert max(times) < STUTTER_MS


def test_markup_stays_text(browser: webdriver.Chrome, tmp_path: Path) -> None:
    """In an id with two axes, a reason and a mismatch: no element and no script comes of it in any view."""
    ids = [f"{axis}={EVIL},other={value}" for axis in ("a",) for value in (EVIL, "x")] + ["a=y,other=x"]
    records = [
        replace(make_record(case), verdict=Verdict(VerdictName.FAILED, "source", EVIL), mismatch=f"was failed: {EVIL}")
        for case in ids
    ]
    address = write_page(make_run(tmp_path, records, [make_line(case, scenario=f"s{EVIL}") for case in ids]))
    for fragment, selector in (
        ("", "#cases tr"),
        (f"#case/{quote(ids[0], safe='')}", "#case svg"),
        ("#matrix", ".cells a"),
    ):
        look(browser, address + fragment)
        wait_for(browser, selector)
        assert EVIL in browser.find_element(By.TAG_NAME, "main").text
        assert browser.find_elements(By.CSS_SELECTOR, "img, #bad") == []
        require_quiet(browser, address)


def test_without_scripts(browser: webdriver.Chrome, large: str) -> None:
    """The table of all cases is there, and what takes scripts is not offered."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        look(browser, large)
        assert browser.find_element(By.CSS_SELECTOR, "#cases tbody tr th").text == "device.pre_copy=off,number=0"
        assert not browser.find_element(By.ID, "filters").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
