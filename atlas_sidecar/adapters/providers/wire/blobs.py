"""Images, documents and audio as the wires want them: data URIs, names, text of text documents. Pure."""

from __future__ import annotations

import base64
from email.message import Message
from typing import Final

from atlas_sidecar.core.demands import PDF, form_of, is_text_document, plain_mime_type
from atlas_sidecar.core.errors import ErrorClass, ProviderError
from atlas_sidecar.core.types import Blob

_ENDINGS: Final = {
    PDF: ".pdf",
    "application/msword": ".doc",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}


def unsendable(blob: Blob) -> ProviderError:
    """Return the error for content that a wire has no form for: no blame on the model, and nothing was sent."""
    form = form_of(blob)
    what = form.value if form is not None else f"{plain_mime_type(blob)} content"
    error = ProviderError(
        ErrorClass.MODEL_UNAVAILABLE, f"this API takes no {what}", code="unsupported_content", breaks_model=False
    )
    error.sent = False
    return error


def base64_of(blob: Blob) -> str:
    """Return a blob's bytes in base64."""
    return base64.b64encode(blob.data or b"").decode("ascii")


def data_uri(blob: Blob) -> str:
    """Return a blob's bytes as a data URI."""
    return f"data:{plain_mime_type(blob)};base64,{base64_of(blob)}"


def file_name(blob: Blob) -> str:
    """Return a document's name, one by its type when it has none: APIs demand one, and tell the type by its ending."""
    return blob.name or f"document{_ENDINGS.get(plain_mime_type(blob), '')}"


def is_readable(blob: Blob) -> bool:
    """Return whether it is a text document whose text is here."""
    return blob.data is not None and is_text_document(plain_mime_type(blob))


def document_text(blob: Blob) -> str | None:
    """Return the text of a text document, by the charset of its type (UTF-8 unless it names one); None for others."""
    if blob.data is None or not is_readable(blob):
        return None
    header = Message()
    header["content-type"] = blob.mime_type
    try:
        return blob.data.decode(header.get_content_charset("utf-8"), "replace")
    except LookupError:  # no charset of this name
        return blob.data.decode("utf-8", "replace")


def named_text(blob: Blob) -> str | None:
    """Return a text document's text with its name in front, for wires that know no documents of text."""
    text = document_text(blob)
    return text if text is None or not blob.name else f"{blob.name}:\n{text}"
