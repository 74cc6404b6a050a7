"""The report in a real browser: Chromium without a window, driven through its driver."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from results_folder_example import make_cell, write_failure, write_results
from test_commands import ROOT, call

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
TASKS = ("cartpole_swingup", "walker_stand", "walker_walk")
SHIFTS = ("none", "color_easy", "color_hard", "video_easy", "video_hard", "camera:0.4", "brightness:0.5",
          "color_hard + camera:0.4")  # fmt: skip
SEQUENCE = [shift for shift in ("none", "color_hard", "video_easy") * 2 for _ in range(2)] + ["none", "none"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium or its driver is not here"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The report of a benchmark as large as ours, with videos of a few seconds."""
    folder = tmp_path_factory.mktemp("browser") / "results"
    write_results(folder, TASKS, SHIFTS, episodes=5, decisions=75, size=64, sequence=SEQUENCE)
    write_failure(folder, make_cell("walker_walk", "fog", "default", 0, ["fog"]))
    result = call(f"report.py {folder} --wandb disabled", folder.parent)
    assert result.returncode == 0, result.stderr
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def shown(browser, page):
    """The page, freshly loaded at desktop width."""
    return load(browser, page)


def load(browser, page: Path):
    resize(browser, 1280)
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(page.as_uri())
    return browser


def resize(browser, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def wait_until(check, seconds: float = 15):
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def scroll_to(browser, element) -> None:
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)


def first_player(browser):
    """The first player, in view and with its videos loaded."""
    player = browser.find_element(By.CSS_SELECTOR, ".player")
    scroll_to(browser, player)
    wait_until(lambda: all(browser.execute_script(
        "return [...arguments[0].querySelectorAll('video')].map((v) => v.readyState >= 3)", player)))  # fmt: skip
    return player


def times(browser, player) -> list[float]:
    return browser.execute_script(
        "return [...arguments[0].querySelectorAll('video')].map((v) => v.currentTime)", player
    )


def cursor(browser, player) -> float:
    """Where the cursor of the first curve stands, as a share of its width."""
    script = "return Number(arguments[0].querySelector('.cursor').getAttribute('x1')) / 1000"
    return browser.execute_script(script, player)


def test_the_page_loads_without_errors_and_without_a_single_request(shown, page):
    first_player(shown)
    assert_quiet(shown, page)


def assert_quiet(shown, page: Path) -> None:
    """No error was logged and nothing but the file was asked for."""
    assert [line for line in shown.get_log("browser") if line["level"] != "INFO"] == []
    messages = [json.loads(line["message"])["message"] for line in shown.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked
    assert [url for url in asked if url != page.as_uri() and not url.startswith(("blob:", "data:"))] == []


def test_nothing_plays_by_itself_and_videos_far_away_are_not_loaded(shown):
    player = first_player(shown)
    time.sleep(0.5)
    assert times(shown, player) == [0, 0]
    loaded = shown.execute_script("return [...document.querySelectorAll('video')].map((v) => Boolean(v.src))")
    assert len(loaded) == len(TASKS) * len(SHIFTS) * 2
    assert 2 <= sum(loaded) <= 12


def test_both_arms_play_in_step_and_the_curves_follow(shown):
    player = first_player(shown)
    player.find_element(By.CSS_SELECTOR, ".play").click()
    wait_until(lambda: min(times(shown, player)) > 0.4)
    for _ in range(8):
        together = times(shown, player)
        assert abs(together[0] - together[1]) < 0.1
        time.sleep(0.15)
    player.find_element(By.CSS_SELECTOR, ".play").click()
    duration = shown.execute_script("return arguments[0].querySelector('video').duration", player)
    stopped = times(shown, player)
    assert cursor(shown, player) == pytest.approx(max(stopped) / duration, abs=0.1 / duration)
    time.sleep(0.3)
    assert times(shown, player) == stopped


def test_a_click_on_a_curve_and_the_slider_seek_both_arms(shown):
    player = first_player(shown)
    curve = player.find_element(By.CSS_SELECTOR, ".curve svg")
    webdriver.ActionChains(shown).move_to_element(curve).click().perform()
    duration = shown.execute_script("return arguments[0].querySelector('video').duration", player)
    wait_until(lambda: all(time == pytest.approx(duration / 2, abs=0.1) for time in times(shown, player)))
    assert cursor(shown, player) == pytest.approx(0.5, abs=0.02)
    player.find_element(By.CSS_SELECTOR, "input[type=range]").send_keys(Keys.HOME, Keys.ARROW_RIGHT)
    wait_until(lambda: all(time == pytest.approx(duration / 74, abs=0.02) for time in times(shown, player)))
    assert player.find_element(By.CSS_SELECTOR, ".clock").text == "2 / 75"


def test_space_and_arrow_keys_work_the_player(shown):
    player = first_player(shown)
    slider = player.find_element(By.CSS_SELECTOR, "input[type=range]")
    slider.send_keys(" ")
    wait_until(lambda: min(times(shown, player)) > 0.2)
    slider.send_keys(" ")
    button = player.find_element(By.CSS_SELECTOR, ".play")
    assert button.text == "Play"
    before = float(slider.get_property("value"))
    button.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert float(slider.get_property("value")) == pytest.approx(before + 2, abs=1)


def test_a_film_ends_by_itself_and_begins_again(shown):
    player = first_player(shown)
    player.find_element(By.CSS_SELECTOR, "input[type=range]").send_keys(Keys.END, *[Keys.ARROW_LEFT] * 8)
    button = player.find_element(By.CSS_SELECTOR, ".play")
    button.click()
    wait_until(lambda: button.text == "Play")
    assert cursor(shown, player) == pytest.approx(1, abs=0.02)
    button.click()
    wait_until(lambda: button.text == "Pause" and 0.05 < min(times(shown, player)) < 1)


def column(browser, place: int) -> list[str]:
    script = (
        "return [...document.querySelectorAll('#table tbody tr')].map((r) => r.children[arguments[0]].dataset.value)"
    )
    return browser.execute_script(script, place)


def test_headings_sort_by_click_and_by_keyboard(shown):
    headings = shown.find_elements(By.CSS_SELECTOR, "#table thead button")
    place = [button.text for button in headings].index("Return")
    scroll_to(shown, headings[place])
    headings[place].click()
    values = [float(value) for value in column(shown, place)]
    assert values == sorted(values, reverse=True)
    headings[place].send_keys(Keys.ENTER)
    assert [float(value) for value in column(shown, place)] == values[::-1]
    order = [th.get_attribute("aria-sort") for th in shown.find_elements(By.CSS_SELECTOR, "#table thead th")]
    assert [name for name in order if name] == ["ascending"]
    missing = [button.text for button in headings].index("Regret")
    for _ in range(2):
        headings[missing].send_keys(" ")
        values = column(shown, missing)
        assert all(values[: values.index("")])
        assert not any(values[values.index("") :])


def test_filters_hide_rows_and_say_how_many_are_left(shown):
    def visible() -> int:
        return shown.execute_script(
            "return [...document.querySelectorAll('#table tbody tr')].filter((r) => r.offsetHeight).length"
        )

    assert visible() == len(TASKS) * len(SHIFTS) * 2
    shown.find_element(By.CSS_SELECTOR, "#filter [name=shift]").send_keys("video_hard")
    assert visible() == len(TASKS) * 2
    shown.find_element(By.CSS_SELECTOR, "#filter [name=policy]").send_keys("default")
    shown.find_element(By.CSS_SELECTOR, "#filter [name=text]").send_keys("walker")
    assert visible() == 2
    assert shown.find_element(By.ID, "shown").text == "2 of 48 rows"


def test_the_theme_follows_the_system_until_the_reader_chooses(shown):
    def paper() -> str:
        return shown.execute_script("return getComputedStyle(document.body).backgroundColor")

    def prefer(scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        shown.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    prefer("light")
    light = paper()
    prefer("dark")
    dark = paper()
    assert light != dark
    button = shown.find_element(By.ID, "theme")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert paper() == light
    assert button.get_attribute("aria-pressed") == "false"
    ink = "return getComputedStyle(document.querySelector('.picture svg text')).fill"
    before = shown.execute_script(ink)
    button.click()
    assert shown.execute_script(ink) != before  # figures follow
    shown.execute_script("try { localStorage.clear() } catch {}")
    prefer("light")


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_page_never_scrolls_sideways(shown, page, width):
    resize(shown, width)
    shown.get(page.as_uri())
    first_player(shown)
    shown.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert shown.execute_script("return document.documentElement.scrollWidth") == width
    assert shown.execute_script("return innerWidth") == width


def test_a_number_leads_to_how_it_was_measured(shown):
    link = shown.find_element(By.CSS_SELECTOR, ".overview td a")
    name = link.get_attribute("href").split("#")[1]
    scroll_to(shown, link)
    link.click()
    details = shown.find_element(By.ID, name)
    wait_until(lambda: details.get_property("open"))
    assert "python scripts/benchmark.py" in details.text
    assert shown.switch_to.active_element.tag_name == "summary"


def test_the_first_tab_leads_past_the_sections(shown):
    shown.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert shown.switch_to.active_element.text == "Skip to the summary"


def test_the_report_of_the_whole_benchmark_is_small(page):
    assert page.stat().st_size < 30e6


def test_the_report_of_a_measured_benchmark_is_small_opens_and_plays(browser, tmp_path):
    """Every task, shift and policy of the benchmark that the documents show, one episode each."""
    settings = f"--config {ROOT / 'configs/benchmark/shifts.yaml'} --episodes 1 --output {tmp_path / 'results'}"
    measured = call(f"benchmark.py {settings}", tmp_path)
    assert measured.returncode == 0, measured.stderr
    written = call(f"report.py {tmp_path / 'results'} --wandb disabled", tmp_path)
    assert written.returncode == 0, written.stderr
    page = tmp_path / "results" / "report.html"
    assert page.stat().st_size < 30e6

    shown = load(browser, page)
    assert len(column(shown, 0)) == len(list((tmp_path / "results" / "cells").glob("*.json"))) == 54
    player = first_player(shown)
    player.find_element(By.CSS_SELECTOR, ".play").click()
    wait_until(lambda: min(times(shown, player)) > 0.4)
    together = times(shown, player)
    assert abs(together[0] - together[1]) < 0.1
    player.find_element(By.CSS_SELECTOR, ".play").click()
    assert_quiet(shown, page)
