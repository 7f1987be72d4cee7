"""Which forms of content each provider's API has no room for (Model.lacks), in one table. Pure.

Rules kept here:
- A model that lacks what a request brings is passed over before a hop, in words ("takes no PDF by its address"); the
  converters refuse what they have no words for only as a last line.
- Of a server that is only compatible nothing is known beyond its wire: what chat completions can say, it may take.
- Sources: the vision and file guides of each provider, and the types of their SDKs.
"""

from __future__ import annotations

from typing import Final

from atlas_sidecar.core.demands import Form

_ALL: Final = frozenset(Form) - {Form.FORCED_TOOL_CALL, Form.CACHE_FOR_AN_HOUR}  # these two are no content

# What each wire takes of the forms that not all of them take; the rest it lacks.
_CHAT: Final = frozenset({Form.GIF, Form.IMAGE_BY_ADDRESS, Form.PDF, Form.AUDIO, Form.OPENAI_FILE})
_RESPONSES: Final = _CHAT - {Form.AUDIO} | {Form.PDF_BY_ADDRESS, Form.TEXT_BY_ADDRESS, Form.FILE, Form.FILE_BY_ADDRESS}
_CLAUDE: Final = frozenset({Form.GIF, Form.PDF})
_GEMINI: Final = frozenset(
    {
        Form.HEIC,
        Form.PDF,
        Form.AUDIO,
        Form.AUDIO_OF_OTHER_FORMAT,
        Form.VIDEO,
        Form.IMAGE_BY_ADDRESS,
        Form.PDF_BY_ADDRESS,
        Form.TEXT_BY_ADDRESS,
        Form.AUDIO_BY_ADDRESS,
        Form.VIDEO_BY_ADDRESS,
    }
)
_TAKEN: Final = {
    "anthropic": _CLAUDE | {Form.IMAGE_BY_ADDRESS, Form.PDF_BY_ADDRESS},
    "anthropic-bedrock": _CLAUDE,  # these two want bytes
    "anthropic-vertex": _CLAUDE,
    "openai": _CHAT,
    "azure-openai": _CHAT,
    "groq": frozenset({Form.GIF, Form.IMAGE_BY_ADDRESS}),
    "google": _GEMINI | {Form.GOOGLE_FILE},
    "vertex": _GEMINI | {Form.STORAGE_OBJECT},
}


def lacks(kind: str, wire: str = "") -> frozenset[Form]:
    """Return the forms that a provider's API has no room for; of an unknown kind (the simulated one) none.

    `kind` and `wire` are the provider's, as configured.
    """
    taken = _RESPONSES if wire == "responses" else _TAKEN.get(kind)
    return frozenset() if taken is None else _ALL - taken
