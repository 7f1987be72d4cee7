"""How many input tokens a request has, told in microseconds without a tokenizer, for all models alike.

Rules kept here:
- Text is counted by classes of UTF-8 bytes, each with its share of a token, at C speed; of long text only samples are.
- The estimate knows no provider: what a model makes of it (tool preambles, its tokenizer) is calibration.py's affair.
- Never 0: a request has at least one token.
"""

from __future__ import annotations

import math
from typing import Final

from atlas_sidecar.core.types import (
    Blob,
    GenerateRequest,
    Message,
    Opaque,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)

_LETTERS: Final = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SPACES: Final = b" \t\r\n\v\f"
_DIGITS: Final = b"0123456789"
_LEAD_2: Final = bytes(range(0xC2, 0xE0))  # first bytes of two-byte characters: Latin, Greek, Cyrillic, Arabic, ...
_LEAD_3: Final = bytes(range(0xE0, 0xF0))  # of three-byte ones: CJK, Hangul, Indic scripts
_LEAD_4: Final = bytes(range(0xF0, 0xF5))  # of four-byte ones: emoji
_FOLLOWING: Final = bytes(range(0x80, 0xC0))

# Tokens per byte or character of each class. The first four are fitted to what the tokenizer o200k_base makes of prose,
# Markdown, code, YAML and JSON (docs/0012), not to the recordings that judge them.
_PER_LETTER: Final = 0.225
_PER_SPACE: Final = 0.08
_PER_DIGIT: Final = 0.6
_PER_MARK: Final = 0.7
_PER_LEAD_2: Final = 0.45
_PER_LEAD_3: Final = 0.9
_PER_LEAD_4: Final = 2.5

_PER_REQUEST: Final = 3.0
_PER_MESSAGE: Final = 4.0
_PER_TOOL_CALL: Final = 8.0
_PER_TOOL: Final = 8.0
_TOOLS: Final = 12.0
_SCHEMA_SHARE: Final = 0.5  # providers rewrite JSON schemas into something terser
_PER_IMAGE: Final = 800.0  # about one megapixel; the bytes say little
_PER_AUDIO_BYTE: Final = 32.0 / 16_000  # 32 tokens a second (Gemini) at 128 kbit/s
_PER_PDF_BYTE: Final = 1.0 / 40
_MEDIA_WITHOUT_BYTES: Final = 1_500.0
_SAMPLED_FROM: Final = 32_768  # characters
_SAMPLES: Final = 8
_SAMPLE: Final = 2_048  # characters


def estimate_input_tokens(request: GenerateRequest) -> int:
    """Return about how many input tokens the request has: messages, tools and schemas."""
    total = _PER_REQUEST
    for message in request.messages:
        total += _message_tokens(message)
    if request.tools:
        total += _TOOLS
        for tool in request.tools:
            schema = text_tokens(tool.parameters_json_schema) * _SCHEMA_SHARE
            total += _PER_TOOL + text_tokens(tool.name) + text_tokens(tool.description) + schema
    if request.response_format.json_schema:
        total += _PER_TOOL + text_tokens(request.response_format.json_schema) * _SCHEMA_SHARE
    return max(1, math.ceil(total))


def text_tokens(text: str) -> float:
    """Return about how many tokens a text has; of more than 32,768 characters, samples decide."""
    if len(text) > _SAMPLED_FROM:
        step = (len(text) - _SAMPLE) // (_SAMPLES - 1)
        sample = "".join([text[start : start + _SAMPLE] for start in range(0, step * _SAMPLES, step)])
        return text_tokens(sample) * (len(text) / len(sample))
    encoded = text.encode("utf-8", "surrogatepass")
    left = len(encoded)
    tokens = 0.0
    for members, each in _CLASSES if not text.isascii() else _ASCII_CLASSES:
        encoded = encoded.translate(None, members)
        tokens += (left - len(encoded)) * each
        left = len(encoded)
        if not left:
            break
    return tokens + left * _PER_MARK


_ASCII_CLASSES: Final = ((_LETTERS, _PER_LETTER), (_SPACES, _PER_SPACE), (_DIGITS, _PER_DIGIT))
_CLASSES: Final = (
    *_ASCII_CLASSES,
    (_FOLLOWING, 0.0),
    (_LEAD_2, _PER_LEAD_2),
    (_LEAD_3, _PER_LEAD_3),
    (_LEAD_4, _PER_LEAD_4),
)


def _message_tokens(message: Message) -> float:
    return _PER_MESSAGE + sum([_part_tokens(part) for part in message.parts])


def _part_tokens(part: Part) -> float:
    content = part.content
    if isinstance(content, (Text, Reasoning)):
        return text_tokens(content.text)
    if isinstance(content, ToolCall):
        return _PER_TOOL_CALL + text_tokens(content.name) + text_tokens(content.arguments_json)
    if isinstance(content, ToolResult):
        return _PER_TOOL_CALL + sum([_part_tokens(inner) for inner in content.parts])
    if isinstance(content, Opaque):
        return text_tokens(content.json)
    return _blob_tokens(content)


def _blob_tokens(blob: Blob) -> float:
    kind = blob.mime_type.partition("/")[0].lower()
    if kind == "image":
        return _PER_IMAGE
    size = len(blob.data) if blob.data is not None else 0
    if not size:
        return _MEDIA_WITHOUT_BYTES
    if kind == "audio":
        return size * _PER_AUDIO_BYTE
    if kind == "text" and blob.data is not None:
        return text_tokens(blob.data[: 4 * _SAMPLED_FROM].decode("utf-8", "replace")) * max(
            1.0, size / (4 * _SAMPLED_FROM)
        )
    return size * _PER_PDF_BYTE
