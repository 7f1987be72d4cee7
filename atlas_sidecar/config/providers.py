"""The `providers` section: keys, endpoints, and the simulated provider's scripts."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr

from atlas_sidecar.config.values import EnvName, File, Many, Name, Section, Tokens, Url, Wait, Weight

KINDS: Final = (
    "anthropic", "openai", "google", "groq", "simulated", "anthropic-bedrock", "anthropic-vertex", "azure-openai",
    "vertex",
)  # fmt: skip
# Kinds that are looked for when no provider is configured, with the variables that may hold their key.
KEY_VARIABLES: Final = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
}
# Kinds that find credentials where their platform keeps them, when no key is given.
PLATFORM_KINDS: Final = frozenset({"anthropic-bedrock", "anthropic-vertex", "vertex"})
# Keys that only some kinds understand.
KEYS_OF_KINDS: Final = {
    "organization": ("openai",),
    "wire": ("openai", "azure-openai"),
    "max_tokens_field": ("openai",),
    "done_marker": ("openai",),
    "api_version": ("azure-openai", "google", "vertex"),
    "aws_region": ("anthropic-bedrock",),
    "aws_profile": ("anthropic-bedrock",),
    "project_id": ("anthropic-vertex",),
    "region": ("anthropic-vertex",),
    "project": ("vertex",),
    "location": ("vertex",),
    **dict.fromkeys(
        ("seed", "text", "output_tokens", "time_to_first_token_s", "tokens_per_s", "models", "faults"), ("simulated",)
    ),
}


class SimulatedToolCall(Section):
    """A call of a tool."""

    name: Annotated[str, Field(min_length=1)] = Field(description="the tool's name")
    arguments: dict[str, Any] = Field(default={}, description="what it is called with")


class SimulatedStep(Section):
    """One step of a script; exactly one of status, cut_after, stall_after, silent, tool_call."""

    status: Annotated[int, Field(ge=400, le=599)] | None = Field(
        default=None, description="answer with this HTTP status"
    )
    retry_after_s: Wait | None = Field(default=None, description="with status: the wait that it asks for, seconds")
    cut_after: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="cut the connection after so many chunks"
    )
    stall_after: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="say no more after so many chunks"
    )
    silent: Literal[True] | None = Field(default=None, description="true: never answer")
    tool_call: SimulatedToolCall | None = Field(
        default=None, description="answer with a tool call: {name: f, arguments: {}}"
    )
    times: Annotated[int, Field(ge=1, le=1_000_000)] = Field(default=1, description="for so many requests")


class SimulatedFault(Section):
    """A failure that comes by chance, in the place of an answer."""

    status: Annotated[int, Field(ge=400, le=599)] = Field(description="the HTTP status")
    retry_after_s: Wait | None = Field(default=None, description="the wait that it asks for, seconds")
    probability: Weight = Field(description="0..1, of each request")


class SimulatedPace(Section):
    """What a simulated model answers, and how fast."""

    text: str | None = Field(default=None, max_length=1_000_000, description="simulated only: what it answers")
    output_tokens: Tokens | None = Field(default=None, description="simulated only: the answer's length, tokens")
    time_to_first_token_s: Wait | None = Field(
        default=None, description="simulated only: the wait before the first token"
    )
    tokens_per_s: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        default=None, description="simulated only: how fast it answers"
    )


class SimulatedModel(SimulatedPace):
    """What a simulated model does with its requests, one after the other; then every answer is ok."""

    script: Many[Literal["ok"] | SimulatedStep] = Field(
        default=(),
        description="steps such as {status: 503, times: 2}, {status: 429, retry_after_s: 2}, {stall_after: 3}, ok",
    )


class ProviderEntry(SimulatedPace):
    """A key and an endpoint of some kind; a second key or region is a second provider."""

    kind: str = Field(
        default="",
        description="anthropic, openai (and all that speak its protocol), google, groq, simulated, azure-openai, "
        "anthropic-bedrock, anthropic-vertex or vertex (Gemini on Google Cloud); default: the provider's name",
    )
    api_key_env: EnvName | None = Field(
        default=None,
        description="the environment variable that holds the key; default: the kind's own, such as OPENAI_API_KEY",
    )
    api_key_file: File | None = Field(default=None, description="a file that holds the key, read again when it changes")
    api_key: SecretStr | None = Field(
        default=None, description="the key itself; better use api_key_env or api_key_file"
    )
    base_url: Url | None = Field(
        default=None, description="where the API is, such as http://127.0.0.1:8000/v1; default: the provider's own"
    )
    headers: dict[str, str] = Field(default={}, description="HTTP headers to send with every request")
    organization: str | None = Field(default=None, description="OpenAI's organization id")
    ca_file: File | None = Field(
        default=None, description="PEM file with the certificate authorities to trust at base_url"
    )
    propagate_traceparent: bool = Field(
        default=False, description="send the W3C traceparent header; only to servers of your own"
    )
    wire: Literal["chat", "responses"] | None = Field(
        default=None,
        description="openai and azure-openai only: which of its APIs to speak; default: chat, but responses for tools "
        "of gpt-5.4 and later at OpenAI itself (docs/0022)",
    )
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = Field(
        default=None, description="openai only: what the server calls the output limit"
    )
    done_marker: bool | None = Field(
        default=None, description="openai only: false for a server that ends its streams without [DONE]"
    )
    api_version: Name | None = Field(
        default=None, description="azure-openai, google and vertex only: such as 2024-10-21"
    )
    aws_region: Name | None = Field(default=None, description="anthropic-bedrock only: such as us-east-1")
    aws_profile: Name | None = Field(default=None, description="anthropic-bedrock only: profile of the credentials")
    project_id: Name | None = Field(default=None, description="anthropic-vertex only: the Google Cloud project")
    region: Name | None = Field(default=None, description="anthropic-vertex only: such as global")
    project: Name | None = Field(default=None, description="vertex only: the Google Cloud project")
    location: Name | None = Field(default=None, description="vertex only: such as global")
    seed: int | None = Field(default=None, description="simulated only: makes its chance repeat")
    models: dict[str, SimulatedModel] = Field(
        default={}, description="simulated only: scripts, by the model's own name"
    )
    faults: Many[SimulatedFault] = Field(default=(), description="simulated only: faults that happen by chance")

    def kind_of(self, name: str) -> str:
        """Return the kind; it defaults to the provider's name."""
        return self.kind or name
