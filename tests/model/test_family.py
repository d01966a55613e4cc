"""What a family of models tells about itself before anything is loaded."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from omni_timeline.model.qwen2_5_omni.family import QWEN2_5_OMNI


@pytest.mark.parametrize(("asked", "got"), [(50, 50), (51, 52), (49, 48), (3, 4), (1, 2), (0, 2), (-5, 2)])
def test_frame_counts_are_whole_grids(asked, got):
    # Python rounds halves to the even number, as the model's own sampler does: 49/2 is 24 grids, 51/2 is 26.
    assert QWEN2_5_OMNI.whole_grids(asked) == got


def test_the_system_prompt_is_the_one_that_the_released_weights_were_trained_with():
    assert QWEN2_5_OMNI.system_prompt == (
        "You are Qwen, a virtual human developed by the Qwen Team, Alibaba Group, capable of perceiving auditory and "
        "visual inputs, as well as generating text and speech."
    )


@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    min_pixels=st.integers(1, 200_000),
    more=st.integers(784, 13_000_000),
)
def test_frames_get_the_size_that_transformers_gives_them(height: int, width: int, min_pixels: int, more: int):
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import smart_resize

    assume(max(height, width) <= 200 * min(height, width))
    bounds = min_pixels, min_pixels + more
    assert QWEN2_5_OMNI.frame_size(height, width, *bounds) == smart_resize(height, width, 28, *bounds)
