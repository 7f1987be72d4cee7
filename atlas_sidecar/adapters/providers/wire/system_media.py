"""Images and the like in a system message, for APIs whose system text is text only. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from atlas_sidecar.adapters.providers.wire.blobs import is_readable
from atlas_sidecar.core.types import Blob, Message, Part, Role


def with_media_in_user_turn(messages: Sequence[Message]) -> Sequence[Message]:
    """Return the messages with what their system messages show, but do not say, in the first user turn."""
    media = tuple(part for message in messages if message.role is Role.SYSTEM for part in message.parts if _shows(part))
    if not media:
        return messages
    moved: list[Message] = []
    for message in messages:
        if message.role is Role.SYSTEM:
            moved.append(message._replace(parts=tuple(part for part in message.parts if not _shows(part))))
        elif message.role is Role.USER and media:
            moved.append(message._replace(parts=(*media, *message.parts)))
            media = ()
        else:
            moved.append(message)
    if media:
        place = next((at for at, message in enumerate(moved) if message.role is not Role.SYSTEM), len(moved))
        moved.insert(place, Message(Role.USER, media))
    return moved


def _shows(part: Part) -> bool:
    return isinstance(part.content, Blob) and not is_readable(part.content)
