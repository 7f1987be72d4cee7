"""Makes a recorded decision again, offline, from nothing but its record."""

from __future__ import annotations

from typing import NamedTuple

from atlas_api.v1 import router_pb2 as pb
from atlas_sidecar.core.decision_record import RecordError, from_json, replay
from atlas_sidecar.server.replies import decision_to

__all__ = ["RecordError", "Replayed", "replay_text"]


class Replayed(NamedTuple):
    """A decision as it was recorded and as it is made now; `same`: they are equal in every number and word."""

    recorded: pb.Decision
    again: pb.Decision
    same: bool


def replay_text(text: str) -> Replayed:
    """Make the decision of a record again; raises RecordError where the text is none."""
    record = from_json(text)
    again = replay(record)
    return Replayed(decision_to(record.decision), decision_to(again), again == record.decision)
