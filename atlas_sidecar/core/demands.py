"""What a request demands of a model, told by its content: capabilities, and the forms that not every API has room for.

Rules kept here:
- A capability is what configuration says of a model ("document_input"); a form is what its provider's API can carry (a
  PDF by its address): adapters/providers/wire/forms.py says which ones each API lacks, and so Model.lacks.
- Both are told before a hop, so that a model which would refuse is passed over and not asked.
- What every API takes that takes any of its kind has no form: text, and JPEG, PNG and WebP by their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from atlas_sidecar.core.request import (
    Blob,
    Capability,
    GenerateRequest,
    Part,
    ReasoningEffort,
    ToolMode,
    ToolResult,
)


class Form(Enum):
    """A form of content or of asking that some APIs do not take; its value completes "takes no ..."."""

    IMAGE_BY_ADDRESS = "image by its address"
    GIF = "GIF image"
    HEIC = "HEIC image"
    IMAGE_OF_OTHER_FORMAT = "image of this format"
    PDF = "PDF"
    PDF_BY_ADDRESS = "PDF by its address"
    TEXT_BY_ADDRESS = "text document by its address"
    FILE = "document that is neither PDF nor text"
    FILE_BY_ADDRESS = "such a document by its address"
    AUDIO = "audio"
    AUDIO_BY_ADDRESS = "audio by its address"
    AUDIO_OF_OTHER_FORMAT = "audio that is not WAV or MP3"
    VIDEO = "video"
    VIDEO_BY_ADDRESS = "video by its address"
    OPENAI_FILE = "file uploaded to OpenAI"
    GOOGLE_FILE = "file uploaded to Google"
    STORAGE_OBJECT = "object of Google Cloud Storage"
    OTHER_ADDRESS = "address that is not https"
    FORCED_TOOL_CALL = "forced tool call"
    CACHE_FOR_AN_HOUR = "cache entry that is kept for an hour"


class Demands(NamedTuple):
    """What a model has to be able to do, and what its API has to have room for."""

    capabilities: frozenset[Capability]
    forms: frozenset[Form] = frozenset()


def demands_of(request: GenerateRequest) -> Demands:
    """Return what a model must be able to do for this request, as its content says."""
    capabilities: set[Capability] = set()
    forms: set[Form] = set()
    if request.tools:
        capabilities.add(Capability.TOOLS)
        if request.tool_choice.mode in _FORCED:
            forms.add(Form.FORCED_TOOL_CALL)
    if request.response_format.json_schema:
        capabilities.add(Capability.JSON_SCHEMA)
    if request.sampling.reasoning_effort not in (None, ReasoningEffort.NONE):
        capabilities.add(Capability.REASONING)
    if request.provider_options and _keeps_an_hour(request.provider_options):
        forms.add(Form.CACHE_FOR_AN_HOUR)
    for message in request.messages:
        _add_media(message.parts, capabilities, forms)
    return Demands(frozenset(capabilities), frozenset(forms) if forms else _NO_FORMS)


def plain_mime_type(blob: Blob) -> str:
    """Return a blob's MIME type in lower case, without parameters; `image/jpg`, which is none, as `image/jpeg`."""
    mime_type = blob.mime_type.partition(";")[0].strip().lower()
    return "image/jpeg" if mime_type == "image/jpg" else mime_type


def is_text_document(mime_type: str) -> bool:
    """Return whether a document of this (plain) type is text, which any model can read as such."""
    return mime_type.startswith("text/") or mime_type in _TEXTS or mime_type.endswith(("+json", "+xml", "+yaml"))


def form_of(blob: Blob) -> Form | None:
    """Return the form that a blob comes in, None for one that every API takes which takes its kind at all."""
    mime_type = plain_mime_type(blob)
    if blob.data is None:
        return _form_of_address(blob.uri, mime_type)
    kind = mime_type.partition("/")[0]
    if kind == "image":
        return _IMAGES.get(mime_type, Form.IMAGE_OF_OTHER_FORMAT)
    if kind == "audio":
        return Form.AUDIO if mime_type in WAV or mime_type in MP3 else Form.AUDIO_OF_OTHER_FORMAT
    if kind == "video":
        return Form.VIDEO
    if mime_type == PDF:
        return Form.PDF
    return None if is_text_document(mime_type) else Form.FILE


PDF: Final = "application/pdf"
WAV: Final = frozenset({"audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"})
MP3: Final = frozenset({"audio/mpeg", "audio/mp3"})
_IMAGES: Final[dict[str, Form | None]] = {
    "image/jpeg": None,
    "image/png": None,
    "image/webp": None,
    "image/gif": Form.GIF,
    "image/heic": Form.HEIC,
    "image/heif": Form.HEIC,
}
_TEXTS: Final = frozenset(
    f"application/{name}" for name in "javascript json jsonl sql toml x-ndjson x-yaml xml yaml".split()
)
_FORCED: Final = frozenset({ToolMode.REQUIRED, ToolMode.NAMED})
_NO_FORMS: Final[frozenset[Form]] = frozenset()
_GOOGLE_FILES: Final = "https://generativelanguage.googleapis.com/"
_BY_ADDRESS: Final = {
    "image": Form.IMAGE_BY_ADDRESS,
    "audio": Form.AUDIO_BY_ADDRESS,
    "video": Form.VIDEO_BY_ADDRESS,
}


def _keeps_an_hour(options: Mapping[str, Any]) -> bool:
    """Return whether the caller's own fields ask for it (Anthropic's cache_control.ttl), however deep they go."""
    left: list[Any] = [options]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            if value.get("ttl") == "1h":
                return True
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return False


def _form_of_address(uri: str, mime_type: str) -> Form:
    if uri.startswith("file-"):
        return Form.OPENAI_FILE
    if uri.startswith("gs://"):
        return Form.STORAGE_OBJECT
    if uri.startswith(_GOOGLE_FILES):
        return Form.GOOGLE_FILE
    if not uri.lower().startswith(("https://", "http://")):
        return Form.OTHER_ADDRESS
    by_kind = _BY_ADDRESS.get(mime_type.partition("/")[0])
    if by_kind is not None:
        return by_kind
    if mime_type == PDF:
        return Form.PDF_BY_ADDRESS
    return Form.TEXT_BY_ADDRESS if is_text_document(mime_type) else Form.FILE_BY_ADDRESS


def _add_media(parts: tuple[Part, ...], capabilities: set[Capability], forms: set[Form]) -> None:
    for part in parts:
        content = part.content
        if isinstance(content, Blob):
            kind = content.mime_type.partition("/")[0].strip().lower()
            capabilities.add(_MEDIA.get(kind, Capability.DOCUMENT_INPUT))
            form = form_of(content)
            if form is not None:
                forms.add(form)
        elif isinstance(content, ToolResult):
            _add_media(content.parts, capabilities, forms)


_MEDIA: Final = {"image": Capability.IMAGE_INPUT, "audio": Capability.AUDIO_INPUT}
