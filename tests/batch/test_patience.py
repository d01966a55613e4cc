"""What passes is waited for, longer each time; what does not is an error at once."""

from __future__ import annotations

import pytest

from omni_timeline.batch.patience import Patience
from omni_timeline.errors import DeliveryError, DeliveryKind


def failing(*errors: DeliveryError) -> tuple[list[float], Patience, list[DeliveryError]]:
    pauses: list[float] = []
    return pauses, Patience(60.0, pauses.append, lambda: sum(pauses)), list(errors)


def test_it_asks_again_until_there_is_an_answer():
    pauses, patience, errors = failing(*[DeliveryError("busy", "500")] * 4, DeliveryError("busy", "429", 20.0))

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "answer"

    assert patience(call) == "answer"
    assert pauses == [1.0, 2.0, 4.0, 8.0, 20.0]


def test_it_ends():
    pauses, patience, _ = failing()

    def call() -> None:
        raise DeliveryError("unreachable", "no connection")

    with pytest.raises(DeliveryError, match="no connection"):
        patience(call)
    assert 60.0 <= sum(pauses) < 130.0


@pytest.mark.parametrize("kind", ["token", "refused", "gone", "unclear"])
def test_what_does_not_pass_is_an_error_at_once(kind: DeliveryKind):
    pauses, patience, _ = failing()

    def call() -> None:
        raise DeliveryError(kind, "no")

    with pytest.raises(DeliveryError):
        patience(call)
    assert pauses == []
