"""Decoded frames of any colour space become RGB as a browser shows it on an ordinary screen: sRGB, 8 bits.

    standard    the matrix and the range that the stream names, else what Chromium guesses: BT.601, but BT.709 from 720
                lines on, unless it is VP9 or AV1
    wide        BT.2020 primaries become those of sRGB, what lies outside is clipped
    HDR         HLG and PQ are brought into the range of an ordinary screen, as Chromium does it (measured on 156)

In HDR, light up to 203 cd/m² (video's white) is shown at half the screen's light, brighter light along a curve that
ends at 1000 cd/m². The curve is that of SMPTE ST 2094-50, annex C, for an ordinary screen, and hues are kept by
applying it to the brightest of the three channels. Greys come out within 3 of Chromium's 255 levels, saturated colours
within 20 in the middle; Chromium itself clips a coefficient of blue where it converts without a GPU.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

_UNSPECIFIED = (0, 2)  # of AVColorSpace: RGB, or nothing said
_HD_LINES = 720
_ALWAYS_601 = ("vp9", "libvpx-vp9", "av1", "libdav1d", "libaom-av1")
_NEVER_SAYS = ("vp8", "libvpx")  # though libav names BT.601 for it
_WHITE = 65280  # what swscale makes white in 16 bits: 255 << 8
_REFERENCE_NITS, _PEAK_NITS = 203.0, 1000.0  # ITU-R BT.2408; the nominal peak of HLG
_HLG_GAMMA = 1.2  # of the system, at that peak (ITU-R BT.2100)
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)  # of BT.2020's primaries
_FROM_BT2020 = np.array(  # to the primaries of BT.709 and sRGB (ITU-R BT.2407, 2.2)
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)


def rgb(reformatter: VideoReformatter, frame: Any, codec: str, width: int, height: int) -> NDArray[np.uint8]:
    """The frame of a stream in `codec`, scaled to `width` x `height`: uint8 (height, width, 3)."""
    scaled = (frame.width, frame.height) != (width, height)
    light = _light_of(frame)
    picture: Any = reformatter.reformat(
        frame,
        width,
        height,
        "rgb24" if light is None else "rgb48le",
        src_colorspace=_matrix(frame, codec),
        interpolation=Interpolation.BICUBIC if scaled else None,
        threads=1,
    )
    pixels: NDArray[Any] = picture.to_ndarray()
    return pixels if light is None else _on_screen(pixels, light)


def _matrix(frame: Any, codec: str) -> Colorspace | None:
    """The matrix for the stream's YUV; None where the stream names its own."""
    if frame.colorspace not in _UNSPECIFIED and codec not in _NEVER_SAYS:
        return None
    is_hd = frame.height >= _HD_LINES and codec not in _ALWAYS_601
    return Colorspace.ITU709 if is_hd else Colorspace.ITU601


def _light_of(frame: Any) -> str | None:
    """The kind of light that the values stand for: "hlg", "pq" or "wide"; None for that of sRGB."""
    if frame.color_trc == ColorTrc.ARIB_STD_B67:
        return "hlg"
    if frame.color_trc == ColorTrc.SMPTE2084:
        return "pq"
    return "wide" if frame.color_primaries == ColorPrimaries.BT2020 else None


def _on_screen(pixels: NDArray[np.uint16], light: str) -> NDArray[np.uint8]:
    """16 bits of BT.2020 as 8 bits of sRGB."""
    linear = _linear(light)[pixels]
    if light == "hlg":  # a scene's light becomes a screen's
        linear *= np.maximum(linear @ _LUMINANCE, 1e-9)[..., None] ** (_HLG_GAMMA - 1) * (_PEAK_NITS / _REFERENCE_NITS)
    if light != "wide":
        brightest = np.maximum(linear.max(axis=-1, keepdims=True), 1e-9)
        linear *= _dimmed(brightest) / brightest
    linear = linear @ _FROM_BT2020.T
    return _gamma()[(np.clip(linear, 0, 1) * _WHITE + 0.5).astype(np.uint16)]


@cache
def _linear(light: str) -> NDArray[np.float32]:
    """For every 16-bit value its light: of the scene for "hlg", else 1.0 is reference white."""
    value = np.minimum(np.arange(65536) / _WHITE, 1.0)
    if light == "hlg":  # ITU-R BT.2100, table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        found = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    elif light == "pq":  # table 4
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = value ** (1 / m2)
        found = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1) * 10_000 / _REFERENCE_NITS
    else:  # browsers take everything but HDR for sRGB
        found = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return found.astype(np.float32)


@cache
def _gamma() -> NDArray[np.uint8]:
    """For every 16-bit value of linear light sRGB's 8 bits."""
    light = np.minimum(np.arange(65536) / _WHITE, 1.0)
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return (coded * 255 + 0.5).astype(np.uint8)


def _dimmed(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Light, of which 1.0 is reference white, as a screen that ends at 1.0 shows it: half, then a Bézier curve to 1."""
    peak, (knee_x, knee_y), (middle_x, middle_y) = _PEAK_NITS / _REFERENCE_NITS, (1.0, 0.5), (1.65, 0.825)
    a, b, c = knee_x - 2 * middle_x + peak, 2 * (middle_x - knee_x), knee_x - np.clip(light, knee_x, peak)
    t = (-b + np.sqrt(b * b - 4 * a * c)) / (2 * a)
    curve = (knee_y - 2 * middle_y + 1) * t**2 + 2 * (middle_y - knee_y) * t + knee_y
    return np.where(light <= knee_x, knee_y * light, curve)
