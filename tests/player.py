"""What Chromium shows of a video file, and when one hears what: the truth that the player's clock is tested against."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPEN = """
async () => {
  const video = document.createElement('video');
  video.muted = true;
  video.preload = 'auto';
  document.body.append(video);
  video.src = URL.createObjectURL(document.querySelector('input').files[0]);
  await new Promise((done, fail) => {
    video.onloadeddata = done;
    video.onerror = () => fail(new Error(video.error.message));
  });
  return [String(video.duration), video.videoWidth, video.videoHeight];
}
"""
# A seek shows a frame of its own; the next callback is that of the frame that is there to be drawn.
SHOW = """
async (second) => {
  const video = document.querySelector('video');
  await new Promise((done) => {
    let frame = null;
    video.onseeked = () => setTimeout(done, 60);
    video.currentTime = second;
  });
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
  let text = '';
  for (let at = 0; at < pixels.length; at += 32768)
    text += String.fromCharCode(...pixels.subarray(at, at + 32768));
  return [canvas.width, canvas.height, btoa(text), video.currentTime];
}
"""
END = """
async (from) => {
  const video = document.querySelector('video');
  video.currentTime = from;
  video.playbackRate = 4;
  const ended = new Promise((done) => { video.onended = done; });
  await video.play();
  await ended;
  return video.duration;
}
"""
PLAY = """
async () => {
  const video = document.querySelector('video');
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const frames = [];
  const take = (_, frame) => {
    context.drawImage(video, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    frames.push([frame.mediaTime, btoa(String.fromCharCode(...pixels))]);
    video.requestVideoFrameCallback(take);
  };
  video.requestVideoFrameCallback(take);
  const ended = new Promise((done) => { video.onended = done; });
  await video.play();
  await ended;
  return frames;
}
"""
QUIET = 0.05  # amplitude of what counts as silence
LISTEN = """
async ([from, until, quiet]) => {
  const video = document.querySelector('video');
  const context = new AudioContext();
  await context.resume();
  const analyser = context.createAnalyser();
  analyser.fftSize = 512;
  context.createMediaElementSource(video).connect(analyser);
  analyser.connect(context.destination);
  video.muted = false;
  const samples = new Float32Array(analyser.fftSize);
  let best = [0, null];
  // On a busy machine a page looks too seldom to hear a chirp: it listens again.
  for (let listened = 0; listened < 5 && best[0] <= quiet; listened++) {
    video.currentTime = from;
    await new Promise((done) => { video.onseeked = done; });
    await video.play();
    while (video.currentTime < until && !video.ended) {
      analyser.getFloatTimeDomainData(samples);
      const loudest = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
      if (loudest > best[0]) best = [loudest, video.currentTime];
      await new Promise((done) => setTimeout(done, 5));
    }
    video.pause();
  }
  await context.close();
  return best;
}
"""


@dataclass
class Player:
    """A video file that is open in Chromium.

    Attributes:
        duration: seconds, as the page has it when the file is opened.
        size: width and height.
    """

    page: Any
    duration: float
    size: tuple[int, int]

    @classmethod
    def open(cls, browser: Any, path: Path) -> Player:
        page = browser.new_page()
        page.set_content("<input type=file>")
        page.set_input_files("input", str(path))
        page.mouse.click(200, 200)  # a page that nobody touched may not sound
        duration, width, height = page.evaluate(OPEN)
        return cls(page, float(duration.replace("Infinity", "inf")), (width, height))

    def show(self, second: float) -> NDArray[np.uint8]:
        """The picture that is on the screen at `second`, (3, H, W)."""
        width, height, pixels, _ = self.page.evaluate(SHOW, second)
        return _picture(pixels, width, height)

    def play(self) -> list[tuple[float, NDArray[np.uint8]]]:
        """(second, picture) of the frames it shows when it plays a small film from its beginning to its end."""
        return [(second, _picture(pixels, *self.size)) for second, pixels in self.page.evaluate(PLAY)]

    def duration_at_end(self, begin: float) -> float:
        """What the page says of the duration when it has played from `begin` to the end."""
        return self.page.evaluate(END, begin)

    def loudest(self, between: Sequence[float]) -> float | None:
        """At which of its seconds the sound is loudest; None where there is silence."""
        strength, second = self.page.evaluate(LISTEN, [*between, QUIET])
        return second if strength > QUIET else None

    def close(self) -> None:
        self.page.close()


def _picture(pixels: str, width: int, height: int) -> NDArray[np.uint8]:
    rgba = np.frombuffer(base64.b64decode(pixels), dtype=np.uint8).reshape(height, width, 4)
    return rgba[..., :3].transpose(2, 0, 1)
