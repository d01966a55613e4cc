"""The rules by which Label Studio gets each prediction exactly once.

A prediction is pending from the moment its task is requested until Label Studio is known to have it. The state that
follows from each event, by the state before it (a dot: the event changes nothing):

                 (none)    open      ready     sent      unclear   settled
    asked        open      open      ready     sent      unclear   open
    changed      .         open      open      open      open      open
    predicted    .         ready     .         .         .         .
    deferred     .         open      .         .         .         .
    failed       .         settled   .         .         .         .
    answered     .         .         sent      sent      sent      .
    unchecked    .         .         ready     sent      unclear   .
    found        .         settled   settled   settled   settled   .
    pushing      .         .         unclear   unclear   unclear   .
    stored       .         settled   settled   settled   settled   .
    refused      .         open      ready     sent      sent      .
    lost         .         open      unclear   unclear   unclear   .
    dropped      .         .         settled   settled   settled   .
    renewed      .         settled   settled   settled   settled   .

What a request gets when the prediction is there (the first line that applies):

    a push is on its way, or got no reply less than `UNCLEAR_SECONDS` ago    nothing
    the prediction was sent after the request had arrived                    nothing
    it was sent less than `STORING_SECONDS` before the request arrived       nothing, if Label Studio has it now or when
                                                                             that time is over
    otherwise                                                                the prediction

A push happens, after a check that Label Studio does not have the prediction,

    once no request waits for it any more: after the deadline of the last one;
    `CHECK_SECONDS` after an answer, in case Label Studio did not store it;
    `UNCLEAR_SECONDS` after a push without a reply, in case Label Studio did not store it.

Assumptions about Label Studio: it requests a prediction only if it has found none of this version. By the time of a
request that arrives more than `STORING_SECONDS` after an answer or a confirmed push, it has stored that one or never
will. It stores a push without a reply within `UNCLEAR_SECONDS` or never.

Knows states, events and times. Knows no rows, no threads and no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

STORING_SECONDS = 5.0  # s that Label Studio needs to store an answer
CHECK_SECONDS = 10.0  # s after an answer: has Label Studio stored it?
UNCLEAR_SECONDS = 30.0  # s after a push without a reply in which Label Studio may still store it
DEFERRAL_SECONDS = (5.0, 15.0, 60.0, 300.0, 600.0)  # s until a deferred task is tried again; the last from then on
REMEMBERED_SECONDS = 900.0  # s for which a settled prediction is remembered; longer than any request lasts


class Debt(StrEnum):
    """The states of a prediction that Label Studio is to get."""

    OPEN = "open"
    """There is no prediction yet: the task waits for its turn, is being predicted, or is deferred."""
    READY = "ready"
    """The prediction is made and was not sent to Label Studio."""
    SENT = "sent"
    """It was sent, in an answer or in a push that failed with an error; Label Studio may or may not have stored it."""
    UNCLEAR = "unclear"
    """A push is on its way or got no reply; Label Studio may be about to store it, so nothing is sent for now."""
    SETTLED = "settled"
    """Label Studio has it, or never will; remembered for a while because earlier requests may still be waiting."""


class Event(StrEnum):
    """What can happen to a prediction that Label Studio is to get."""

    ASKED = "asked"
    """A request asks for it."""
    CHANGED = "changed"
    """A request asks for it with other task data, or under another labeling config, than before."""
    PREDICTED = "predicted"
    """The model has made it."""
    DEFERRED = "deferred"
    """It cannot be made now; the task is tried again later."""
    FAILED = "failed"
    """It cannot be made."""
    ANSWERED = "answered"
    """A request gets it."""
    UNCHECKED = "unchecked"
    """It was due to be pushed, but Label Studio could not be checked."""
    FOUND = "found"
    """A check shows that Label Studio has it."""
    PUSHING = "pushing"
    """A check shows that Label Studio does not have it, and a push begins."""
    STORED = "stored"
    """Label Studio confirms the push."""
    REFUSED = "refused"
    """Label Studio answers the push with a temporary error; it may have stored it all the same."""
    LOST = "lost"
    """The push got no reply."""
    DROPPED = "dropped"
    """Label Studio refuses it for good, or no longer has the task."""
    RENEWED = "renewed"
    """The model version is no longer the current one; the task is pending under the current one instead."""


_OPEN, _READY, _SENT, _UNCLEAR, _SETTLED = Debt

# The table above. A pair that is missing changes nothing.
RULES: Mapping[Event, Mapping[Debt | None, Debt]] = {
    Event.ASKED: {
        None: _OPEN, _OPEN: _OPEN, _READY: _READY, _SENT: _SENT, _UNCLEAR: _UNCLEAR, _SETTLED: _OPEN,
    },
    Event.CHANGED: {_OPEN: _OPEN, _READY: _OPEN, _SENT: _OPEN, _UNCLEAR: _OPEN, _SETTLED: _OPEN},
    Event.PREDICTED: {_OPEN: _READY},
    Event.DEFERRED: {_OPEN: _OPEN},
    Event.FAILED: {_OPEN: _SETTLED},
    Event.ANSWERED: {_READY: _SENT, _SENT: _SENT, _UNCLEAR: _SENT},
    Event.UNCHECKED: {_READY: _READY, _SENT: _SENT, _UNCLEAR: _UNCLEAR},
    Event.FOUND: {_OPEN: _SETTLED, _READY: _SETTLED, _SENT: _SETTLED, _UNCLEAR: _SETTLED},
    Event.PUSHING: {_READY: _UNCLEAR, _SENT: _UNCLEAR, _UNCLEAR: _UNCLEAR},
    Event.STORED: {_OPEN: _SETTLED, _READY: _SETTLED, _SENT: _SETTLED, _UNCLEAR: _SETTLED},
    Event.REFUSED: {_OPEN: _OPEN, _READY: _READY, _SENT: _SENT, _UNCLEAR: _SENT},
    Event.LOST: {_OPEN: _OPEN, _READY: _UNCLEAR, _SENT: _UNCLEAR, _UNCLEAR: _UNCLEAR},
    Event.DROPPED: {_READY: _SETTLED, _SENT: _SETTLED, _UNCLEAR: _SETTLED},
    Event.RENEWED: {_OPEN: _SETTLED, _READY: _SETTLED, _SENT: _SETTLED, _UNCLEAR: _SETTLED},
}  # fmt: skip
