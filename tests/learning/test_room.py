"""Training waits for memory on a GPU, says so, and gives up with a reason; no GPU is needed to know that."""

from __future__ import annotations

import pytest

from omni_timeline.errors import ModelError
from omni_timeline.learning.room import PAUSE, wait_for_room
from omni_timeline.pipeline.prediction import Progress

GB = 10**9


class Card:
    """A GPU whose free memory is another one at each look, and a clock that only sleeping moves."""

    def __init__(self, *free: int, total: int = 24 * GB) -> None:
        self.free, self.total, self.now = list(free), total, 0.0
        self.said: list[str] = []

    def memory(self) -> tuple[int, int]:
        return (self.free.pop(0) if len(self.free) > 1 else self.free[0]), self.total

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def say(self, progress: Progress) -> None:
        self.said.append(str(progress))

    def wait(self, needed: int, seconds: float = 600.0) -> None:
        wait_for_room("cuda:0", needed, self.memory, seconds, self.say, clock=lambda: self.now, sleep=self.sleep)


def test_where_there_is_room_nobody_waits():
    card = Card(13 * GB)
    card.wait(13 * GB)
    assert (card.now, card.said) == (0.0, [])


def test_it_waits_until_there_is_room_and_says_for_what():
    card = Card(8 * GB, 9 * GB, 13 * GB)
    card.wait(13 * GB)
    assert card.now == 2 * PAUSE
    assert card.said == [
        "waiting for memory on cuda:0 (13.0 GB needed, 8.0 GB free)",
        "waiting for memory on cuda:0 (13.0 GB needed, 9.0 GB free)",
    ]


def test_after_its_time_it_gives_up_with_a_reason_and_what_to_change():
    card = Card(8 * GB)
    with pytest.raises(ModelError) as refused:
        card.wait(13 * GB, seconds=100.0)
    assert card.now == 100.0
    assert str(refused.value) == (
        "Training needs about 13.0 GB of memory on cuda:0, and 8.0 GB were free there after 2 minutes of waiting. Set "
        "LEARNING_DEVICE to another device, or QUANTIZATION=nf4, or start it again when there is room."
    )


def test_nobody_waits_for_a_card_that_is_too_small():
    card = Card(8 * GB, total=12 * GB)
    with pytest.raises(ModelError, match=r"13\.0 GB of memory, and cuda:0 has 12\.0 GB in all.*LEARNING_DEVICE"):
        card.wait(13 * GB)
    assert card.now == 0.0
