"""Label Studio's page as an annotator has it before them, in a real Chromium.

Looks at the page's own state (`window.Htx`) where the screen does not say it exactly, and acts with the mouse and the
keyboard only, but for going to a frame: the page has no other way there than playing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .label_studio import EMAIL, PASSWORD, LabelStudio

if TYPE_CHECKING:
    from playwright.sync_api import Page

WINDOW = {"width": 1440, "height": 900}
LOADING_MS = 60_000  # 2 s on a machine with nothing else to do
FRAME_PIXELS = 16  # each frame's width on the timeline; a constant of the editor (1.23.2)

LOADED = """(regions) => {
    const annotation = window.Htx?.annotationStore?.selected, video = annotation?.names?.get("video");
    return annotation?.regions?.length >= regions && video?.length > 1
        && document.querySelector("video")?.readyState >= 2;
}"""
# Resolves when a second has passed without the page making its editor anew, as it does once or twice while it loads.
SETTLED = """async () => {
    let before = null;
    for (let same = 0; same < 20;) {
        await new Promise(resolve => setTimeout(resolve, 50));
        const now = document.querySelector("video");
        same = now && now === before ? same + 1 : 0;
        before = now;
    }
}"""
REGIONS = """() => window.Htx.annotationStore.selected.regions.map(region => ({
    id: region.cleanId,
    frames: (region.ranges ?? []).map(range => [range.start, range.end]),
    labels: [...region.labels],
    score: region.score,
}))"""
# Resolves to the sixteen blocks of the picture on the screen, once it has come to rest on the frame: it is read from
# the canvas that the annotator sees, with the picture in its middle. The editor draws there what the video element
# shows, some time later on a busy machine, so both have to show the same. An editor that is still loading goes back to
# where it was, or is made anew, so it is told until it stays.
SHOW = """async (frame) => {
    const blocks = (source, left, top, width, height) => [...Array(16).keys()].map(bit => source.getImageData(
        left + width * (bit % 4 + 0.5) / 4, top + height * (Math.floor(bit / 4) + 0.5) / 4, 1, 1).data[0] > 127);
    const shown = (canvas, element, zoom) => {
        const width = element.videoWidth * zoom, height = element.videoHeight * zoom;
        return blocks(canvas.getContext("2d"), (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
    };
    const copy = new OffscreenCanvas(64, 64).getContext("2d", {willReadFrequently: true});
    const look = (video) => {
        const element = document.querySelector("video"), canvas = document.querySelector("canvas");
        if (!element || !canvas || !video?.ref?.current || element.seeking || video.frame !== frame) return null;
        copy.drawImage(element, 0, 0, 64, 64);
        const seen = shown(canvas, element, video.ref.current.zoom);
        return String(seen) === String(blocks(copy, 0, 0, 64, 64)) ? seen : null;
    };
    let before = "", same = 0, sought = null;
    for (let turn = 0; turn < 1600; turn++) {
        const video = window.Htx.annotationStore.selected?.names.get("video");
        const time = () => document.querySelector("video")?.currentTime;
        const isElsewhere = sought !== null && time() !== sought;
        if (isElsewhere || turn % 100 === 99) video?.setFrame(frame > 1 ? frame - 1 : 2);  // so that it goes there anew
        if (sought === null || video?.frame !== frame) {
            video?.setFrame(frame);
            sought = time() ?? null;
        }
        await new Promise(resolve => setTimeout(resolve, 25));
        const seen = time() === sought ? look(video) : null, key = String(seen);
        same = seen && key === before ? same + 1 : 0;
        before = key;
        if (same === 6) return seen;
    }
    const video = window.Htx.annotationStore.selected?.names.get("video"), element = document.querySelector("video");
    const state = [video?.frame, element?.currentTime, element?.seeking, element?.readyState, element?.networkState];
    throw new Error(`the editor does not stay on frame ${frame} at ${sought} s: ${state}`);
}"""


class Editor:
    """The labeling page of one task after another, signed in.

    Attributes:
        page: Playwright's own, for all that is done in one test only.
        text: the text of the selected region; the page has it only when there is one.
    """

    def __init__(self, page: Page, studio: LabelStudio) -> None:
        self.page = page
        self.text = page.get_by_test_id("htx-textbox-content")
        self._url = studio.url
        page.goto(f"{studio.url}/user/login/")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_load_state()

    def open(self, project: int, task: int, *, regions: int) -> None:
        """Go to the task and wait until its video and as many regions are there."""
        self.page.goto(f"{self._url}/projects/{project}/data?task={task}")
        self.page.wait_for_function(LOADED, arg=regions, timeout=LOADING_MS)
        self.page.evaluate(SETTLED)

    def regions(self) -> list[dict[str, Any]]:
        """Id, frames, labels and score of every region, as the page has them."""
        return list(self.page.evaluate(REGIONS))

    def result(self) -> list[dict[str, Any]]:
        """What Submit would store."""
        return list(self.page.evaluate("window.Htx.annotationStore.selected.serializeAnnotation()"))

    def timeline_length(self) -> int:
        """How many frames the timeline has."""
        return int(self.page.evaluate("window.Htx.annotationStore.selected.names.get('video').length"))

    def show(self, frame: int) -> int:
        """Go to a frame of the timeline; the number that the picture on the screen shows, if it is a ruler's."""
        blocks = self.page.evaluate(SHOW, frame)
        return sum(white << bit for bit, white in enumerate(blocks))

    def select(self, number: int) -> None:
        """Click on a region in the list of regions; 0 is the first."""
        self.page.locator(".lsf-tree__node").nth(number).click()
        self.page.locator(".lsf-tree-treenode-selected").wait_for()

    def annotate_automatically(self) -> None:
        """Switch Auto-Annotation on, which is there when the project's model is interactive."""
        self.page.get_by_test_id("bottombar-auto-annotation-toggle").check(force=True)  # what is drawn lies over it

    def type_text(self, text: str) -> None:
        """Type a text for the selected region, which has none."""
        self.page.locator("textarea[name=description]").click()
        self.page.keyboard.type(text)

    def enter_text(self) -> dict[str, Any]:
        """Enter what was typed, with Auto-Annotation on; what Label Studio has from the model."""
        with self.page.expect_response("**/interactive-annotating", timeout=LOADING_MS) as answer:
            self.page.keyboard.press("Shift+Enter")
        return dict(answer.value.json())

    def drag_end(self, frames: int) -> None:
        """Pull the end of the selected region to the right (left where negative), by the mouse."""
        bar = self.page.locator(".lsf-keypoints_selected .lsf-keypoints__lifespan").bounding_box()
        assert bar is not None
        x, y = bar["x"] + bar["width"] - 2, bar["y"] + bar["height"] / 2
        mouse = self.page.mouse
        mouse.move(x, y)
        mouse.down()
        for step in range(1, 9):
            mouse.move(x + step / 8 * frames * FRAME_PIXELS, y)
        mouse.up()

    def submit(self) -> dict[str, Any]:
        """Press Submit; the annotation that Label Studio has stored."""
        with self.page.expect_response(lambda r: r.request.method == "POST" and "/annotations" in r.url) as answer:
            self.page.get_by_role("button", name="Submit").click()
        return dict(answer.value.json())
