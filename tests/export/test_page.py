"""The page in a real browser, opened from disk, without network."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from omni_timeline.cli.main import main
from omni_timeline.export.page import embedded_size, page
from omni_timeline.pipeline.prediction import Prediction
from omni_timeline.segments import Segment

HARM = "</script><script>document.title='harmed'</script><img src=x onerror=\"document.title='harmed'\"><!--<script>"
FRAME_RATE = 10.0  # of the clips that are drawn here

Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Writes a page and opens it from disk. At the end, only files may have been asked for, and no script failed."""
    asked, errors, pages = [], [], []

    def opened(*predictions: Prediction, playing: bool = True, **options: object) -> Page:
        file = tmp_path / "page.html"
        rates = {prediction.path: FRAME_RATE for prediction in predictions}
        file.write_text(page(predictions, folder=tmp_path, **{"frame_rates": rates, **options}), encoding="utf-8")
        tab = browser.new_page(viewport={"width": 1400, "height": 860})
        pages.append(tab)
        tab.route("**/*", lambda route: route.continue_() if is_local(route.request.url) else route.abort())
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(file.as_uri())
        if playing:
            wait(tab, "video.readyState >= 2")
        return tab

    yield opened
    for tab in pages:
        tab.close()
    assert [url for url in asked if not is_local(url)] == []
    assert errors == []


def is_local(url: str) -> bool:
    return urlsplit(url).scheme in ("file", "data")


def predicted(path: Path, *segments: Segment, duration: float = 8.0, answer: str = "") -> Prediction:
    return Prediction(path, duration, segments, "demo-1a2b3c4d-9f8e7d", answer)


def wait(tab: Page, condition: str) -> None:
    """Until something is so of the video. The page's policy forbids Playwright's own waiting, which evaluates text."""
    for _ in range(600):
        if tab.evaluate(f"(() => {{ const video = document.querySelector('video'); return {condition} }})()"):
            return
        tab.wait_for_timeout(50)
    raise TimeoutError(condition)


def time(tab: Page) -> float:
    """Where the player is, once it is there."""
    wait(tab, "!video.seeking")
    return float(tab.evaluate("document.querySelector('video').currentTime"))


SEGMENTS = (
    Segment(1.0, 2.0, "red square", "comes from the left", 0.9),
    Segment(3.0, 6.5, "low tone", "", 0.4),
    Segment(5.0, 7.0, "low tone", "again", 0.6),
)


def test_every_segment_is_shown_with_its_times_label_text_and_score(open_page: Open, sounding_video: Path):
    tab = open_page(predicted(sounding_video, *SEGMENTS, answer="From 1.0 to 2.0, red square."))
    assert [entry.split("\n") for entry in tab.locator("#list button").all_inner_texts()] == [
        ["1.00 – 2.00", "red square", "0.90", "comes from the left"],
        ["3.00 – 6.50", "low tone", "0.40"],
        ["5.00 – 7.00", "low tone", "0.60", "again"],
    ]
    assert tab.locator(".row .label").all_inner_texts() == ["", "low tone", "red square"]
    assert tab.locator("#name").inner_text() == sounding_video.name
    assert tab.locator("#answer pre").text_content() == "From 1.0 to 2.0, red square."
    first, second = (box(tab, index) for index in (0, 1))
    assert first["y"] + first["height"] <= second["y"]  # overlapping segments of a label do not cover each other


def box(tab: Page, index: int) -> dict[str, float]:
    found = tab.locator(".segment").nth(index).bounding_box()
    assert found is not None
    return dict(found)


def test_bars_lie_where_the_time_is(open_page: Open, silent_video: Path):
    tab = open_page(predicted(silent_video, Segment(2.0, 4.0, "red square")))
    track, bar = tab.locator(".axis .track").bounding_box(), box(tab, 0)
    assert track is not None
    assert (bar["x"] - track["x"]) / track["width"] == pytest.approx(2.0 / 8.0, abs=0.002)
    assert bar["width"] / track["width"] == pytest.approx(2.0 / 8.0, abs=0.002)


def test_a_click_goes_there(open_page: Open, sounding_video: Path):
    tab = open_page(predicted(sounding_video, *SEGMENTS))
    tab.locator("#list button").nth(1).click()
    assert time(tab) == pytest.approx(3.0, abs=0.002)
    tab.locator(".segment", has_text="comes from the left").click()
    assert time(tab) == pytest.approx(1.0, abs=0.002)
    track = tab.locator(".axis .track").bounding_box()
    assert track is not None
    tab.mouse.click(track["x"] + track["width"] / 2, track["y"] + 5)
    assert time(tab) == pytest.approx(4.0, abs=0.02)


def test_keys_step_through_frames_seconds_segments_and_videos(
    open_page: Open, sounding_video: Path, silent_video: Path
):
    tab = open_page(predicted(sounding_video, *SEGMENTS), predicted(silent_video))
    for keys, expected in [
        (["n"], 1.0), (["n"], 3.0), (["n"], 5.0), (["n"], 5.0), (["p"], 3.0), (["ArrowRight"], 3.1),
        (["ArrowRight"] * 3, 3.4), (["ArrowLeft"], 3.3), (["Shift+ArrowRight"], 4.3), (["p"], 3.0), (["Home"], 0.0),
        (["Shift+ArrowLeft"], 0.0),
    ]:  # fmt: skip
        for key in keys:
            tab.keyboard.press(key)
        assert time(tab) == pytest.approx(expected, abs=0.002), keys
    tab.keyboard.press("]")
    assert tab.locator("#name").inner_text() == silent_video.name
    assert tab.locator("#list").inner_text() == "No events."
    tab.keyboard.press("[")
    assert tab.locator("#name").inner_text() == sounding_video.name


def test_space_plays_and_pauses_whatever_was_clicked_before(open_page: Open, sounding_video: Path):
    tab = open_page(predicted(sounding_video, *SEGMENTS))
    tab.locator("#list button").nth(1).click()
    tab.keyboard.press(" ")
    wait(tab, "video.currentTime > 3.3")
    assert tab.locator("#list .now").count() == 1
    tab.keyboard.press(" ")
    assert tab.evaluate("document.querySelector('video').paused")


def test_help_opens_and_closes(open_page: Open, silent_video: Path):
    tab = open_page(predicted(silent_video))
    tab.keyboard.press("?")
    assert "previous segment" in tab.locator("#help").inner_text()
    tab.keyboard.press("Escape")
    assert not tab.locator("#help").is_visible()


def test_the_score_filters_and_segments_without_one_stay(open_page: Open, silent_video: Path):
    tab = open_page(predicted(silent_video, *SEGMENTS, Segment(7.5, 8.0, "unscored")))
    tab.locator("#score").fill("0.5")
    assert tab.locator(".segment").count() == tab.locator("#list button").count() == 3
    assert tab.locator("#score-value").inner_text() == "0.50 · 3 of 4"
    tab.locator("body").press("n")
    tab.locator("body").press("n")
    assert time(tab) == pytest.approx(5.0, abs=0.002)  # 3.0 is hidden


def test_without_scores_there_is_no_filter(open_page: Open, silent_video: Path):
    tab = open_page(predicted(silent_video, Segment(1.0, 2.0, "red square")))
    assert not tab.locator("#filter").is_visible()


def test_the_truth_is_above_what_was_predicted(open_page: Open, silent_video: Path):
    truth = (Segment(1.1, 2.1, "red square"), Segment(4.0, 5.0, "blue circle"))
    tab = open_page(predicted(silent_video, *SEGMENTS[:1]), truths={silent_video: truth})
    assert tab.locator(".row .label").all_inner_texts() == ["", "blue circle", "red square"]
    true = tab.locator(".true").nth(1).bounding_box()
    assert true is not None
    assert true["y"] + true["height"] <= box(tab, 0)["y"]


def test_words_of_strangers_do_nothing(open_page: Open, silent_video: Path, tmp_path: Path):
    name = HARM.replace("/", "_") + "#?%41.mp4"
    strange = tmp_path / name
    shutil.copy(silent_video, strange)
    segment = Segment(1.0, 2.0, HARM, HARM, 0.5)
    found = Prediction(strange, 8.0, (segment,), HARM, HARM, (HARM,))
    tab = open_page(found, found, truths={strange: (segment,)})
    assert tab.title() == tab.locator("#name").inner_text() == name
    assert tab.locator("#list .label").inner_text() == HARM
    assert tab.locator("#warnings li").inner_text() == HARM
    assert tab.locator("img").count() == 0
    tab.locator("#list button").click()
    assert time(tab) == pytest.approx(1.0, abs=0.002)


def test_the_policy_stops_a_script_even_if_one_got_in(open_page: Open, silent_video: Path):
    tab = open_page(predicted(silent_video))
    tab.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'harmed'";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='document.title = \\"harmed\\"'>");
        }"""
    )
    tab.wait_for_timeout(200)
    assert tab.title() == silent_video.name


def test_an_embedded_video_needs_no_file(open_page: Open, silent_video: Path, tmp_path: Path):
    lent = tmp_path / "gone.mp4"
    shutil.copy(silent_video, lent)
    found = predicted(lent, *SEGMENTS)
    html = page([found], folder=tmp_path, embed=True)
    assert embedded_size([found]) < len(html) < embedded_size([found]) + 60_000
    tab = open_page(found, embed=True)
    lent.unlink()
    tab.reload()
    wait(tab, "video.readyState >= 2")
    tab.locator("#list button").first.click()
    assert time(tab) == pytest.approx(1.0, abs=0.002)


def test_a_video_that_cannot_be_played_leaves_the_timeline(open_page: Open, tmp_path: Path):
    tab = open_page(predicted(tmp_path / "gone.mp4", *SEGMENTS), playing=False)
    tab.wait_for_selector("#notice")
    assert not tab.locator("video").is_visible()
    tab.keyboard.press("n")
    tab.keyboard.press("n")
    tab.keyboard.press(" ")
    assert tab.locator("#clock").inner_text() == "3.00 / 8.00"
    assert tab.locator(".segment.chosen").count() == 1


def test_times_count_from_the_first_frame_where_the_sound_begins_before_it(open_page: Open, tmp_path: Path):
    """The browser counts from the sound: half a second earlier."""
    late = tmp_path / "late.mp4"
    command = (
        "ffmpeg -v error -f lavfi -i sine=d=6 -itsoffset 0.5 -f lavfi -i testsrc=d=5:r=10:s=160x120 "
        "-map 1:v -map 0:a -fps_mode passthrough -c:v libx264 -pix_fmt yuv420p -c:a aac"
    )
    subprocess.run([*command.split(), str(late)], check=True)
    tab = open_page(predicted(late, Segment(2.0, 3.0, "red square"), duration=5.0))
    tab.wait_for_timeout(500)
    tab.keyboard.press("n")
    assert time(tab) == pytest.approx(2.5, abs=0.002)
    assert tab.locator("#clock").inner_text() == "2.00 / 5.00"


def test_an_hour_of_segments_can_be_zoomed_into(open_page: Open, silent_video: Path):
    many = [Segment(start, start + 4.0, "speech", "words", 0.8) for start in range(0, 3600, 9)]
    tab = open_page(predicted(silent_video, *many, duration=3600.0))
    assert tab.evaluate("document.querySelectorAll('.segment.narrow').length") == len(many)
    for _ in range(6):
        tab.keyboard.press("+")
    assert tab.evaluate("document.querySelectorAll('.segment.narrow').length") == 0
    tab.locator("#list button").nth(300).click()
    assert tab.locator(".segment.chosen").is_visible()
    pane, chosen = tab.locator("#timeline").bounding_box(), tab.locator(".segment.chosen").bounding_box()
    assert pane is not None
    assert chosen is not None
    assert pane["x"] < chosen["x"] < pane["x"] + pane["width"]


@pytest.fixture(scope="module")
def demo_page(samples: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command line writes of the bundled clips."""
    file = tmp_path_factory.mktemp("demo") / "page.html"
    assert main(["predict", *map(str, sorted(samples, reverse=True)), "--truth", "--view", str(file)]) == 0
    return file


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(22, 24, 28)")])
def test_the_command_line_writes_it_and_it_follows_the_colour_scheme(
    browser: Browser, demo_page: Path, request: pytest.FixtureRequest, scheme: Literal["light", "dark"], paper: str
):
    """OMNI_TIMELINE_SCREENSHOT=1 keeps the light one for the README."""
    tab = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    tab.goto(demo_page.as_uri())
    wait(tab, "video.readyState >= 2")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == paper
    assert tab.locator("#videos button").count() == 4
    assert tab.locator(".true").count() >= 3
    tab.keyboard.press("n")
    tab.keyboard.press("n")
    tab.keyboard.press("Shift+ArrowRight")
    tab.keyboard.press("ArrowRight")
    before = time(tab)
    tab.keyboard.press("ArrowRight")
    assert time(tab) - before == pytest.approx(1001 / 24000, abs=0.001)  # a frame of this clip
    if os.environ.get("OMNI_TIMELINE_SCREENSHOT") and scheme == "light":
        tab.wait_for_timeout(1_000)  # until it is drawn
        tab.screenshot(path=request.config.rootpath / "docs" / "images" / "view.png")
    tab.close()
