"""Events: values that can be sent anywhere."""

import pickle

from pfndispatchcopy import events
from pfndispatchcopy.events import (
    AmendedEvent,
    DestinationProgress,
    ErrorEvent,
    FileEvent,
    LeftOutEvent,
    PartialEvent,
    PlanEvent,
    ProgressEvent,
    Volume,
    WarningEvent,
    ignore_events,
)
from pfndispatchcopy.model import DestinationResult, Notice, Phase, State, Strategy

_ALL: list[events.Event] = [
    PlanEvent(
        1,
        None,
        Strategy.PARALLEL,
        4096,
        7,
        1,
        1 << 20,
        "asked for",
        (("/a", None),),
        volumes=(Volume("/a", 1, "", ""),),
    ),
    ProgressEvent(Phase.COPY, 1, 2, 3.0, None, (DestinationProgress("/a", 1, 2.0, "copying"),)),
    FileEvent("clip.mov", 3, {"md5": "aa"}, (DestinationResult("/a/clip.mov", "/a", State.VERIFIED),)),
    AmendedEvent("clip.mov", 3, {}, (DestinationResult("/a/clip.mov", "/a", State.MISMATCH),)),
    PartialEvent("/a/.pfn.x.partial", exists=True),
    LeftOutEvent("CARD/.DS_Store", "excluded"),
    WarningEvent(Notice("hm", "/a", "preserve")),
    ErrorEvent(Notice("no", "/a", "write", "EIO", "/a")),
]


def test_every_event_can_be_sent_to_another_process() -> None:
    assert {type(event).__name__ for event in _ALL} == {name for name in events.__all__ if name.endswith("Event")} - {
        "Event"
    }
    for event in _ALL:
        again = pickle.loads(pickle.dumps(event))
        assert again == event
        assert type(again) is type(event)


def test_observer_that_ignores_takes_every_event() -> None:
    for event in _ALL:
        ignore_events(event)
