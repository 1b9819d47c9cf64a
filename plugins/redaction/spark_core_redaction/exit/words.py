"""The words of OpenAI's API itself: what they say is nobody's, so they leave as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "CALL_IDS",
    "NUMBERS",
    "PROPERTY_LISTS",
    "PROTOCOL",
    "TELLING",
    "UNTOLD",
    "WORDS",
    "words",
]


def words(text: str) -> frozenset[str]:
    """The words of *text*, which says more on a line than a list of them."""
    return frozenset(text.split())


#: Names of fields, of requests and of JSON schemas; every other name is looked at like a text.
PROTOCOL: Final = words(
    """
    messages role content name type text refusal tool_calls tool_call_id function function_call
    functions arguments id index tools tool_choice parameters description strict custom format
    input output instructions call_id status summary annotations metadata model stream
    stream_options include_usage include_obfuscation temperature top_p top_k min_p n stop seed
    max_tokens max_completion_tokens max_output_tokens max_tool_calls presence_penalty
    frequency_penalty repetition_penalty logprobs top_logprobs logit_bias response_format
    json_schema schema parallel_tool_calls reasoning reasoning_effort reasoning_content effort
    verbosity modalities prediction service_tier store truncation include background mode detail
    file filename file_data prompt variables developer definition syntax grammar
    properties required items enum const default examples title additionalProperties anyOf oneOf
    allOf not if then else $ref $defs $schema definitions minimum maximum exclusiveMinimum
    exclusiveMaximum multipleOf minLength maxLength pattern minItems maxItems uniqueItems
    prefixItems contains minProperties maxProperties patternProperties propertyNames nullable
    readOnly writeOnly deprecated propertyOrdering
    """
)

#: Digits from which on any other number may say who somebody is.
TELLING: Final = 4

#: Of these, what is a number that says nothing of anybody.
NUMBERS: Final = words(
    """
    n seed index top_k top_p min_p temperature top_logprobs max_tokens max_completion_tokens
    max_output_tokens max_tool_calls presence_penalty frequency_penalty repetition_penalty
    minLength maxLength minItems maxItems minProperties maxProperties
    """
)

_STATES = frozenset({"completed", "in_progress", "incomplete"})
_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high", "xhigh", "auto"})

#: Values that mean something to the API itself, by the field that they stand in.
WORDS: Final[Mapping[str, frozenset[str]]] = {
    "role": frozenset({"system", "developer", "user", "assistant", "tool", "function"}),
    "type": words(
        """
        text input_text output_text refusal summary_text reasoning_text file input_file message
        function function_call function_call_output custom custom_tool_call
        custom_tool_call_output json_schema json_object content grammar allowed_tools
        object array string number integer boolean null
        """
    ),
    "tool_choice": frozenset({"auto", "none", "required"}),
    "function_call": frozenset({"auto", "none"}),
    "mode": frozenset({"auto", "required"}),
    "format": words("date date-time time duration email uri uuid hostname ipv4 ipv6"),
    "effort": _EFFORTS,
    "reasoning_effort": _EFFORTS,
    "verbosity": _EFFORTS,
    "detail": _EFFORTS,
    "summary": frozenset({"auto", "concise", "detailed"}),
    "service_tier": frozenset({"auto", "default", "flex", "priority", "scale"}),
    "truncation": frozenset({"auto", "disabled"}),
    "status": _STATES,
    "modalities": frozenset({"text"}),
    "include": frozenset({"message.output_text.logprobs"}),
    "syntax": frozenset({"lark", "regex"}),
}

#: Fields whose lists name properties: these must stay the names that the properties have.
PROPERTY_LISTS: Final = frozenset({"required", "propertyOrdering"})

#: Fields that say which call of a tool is meant. Only that two are the same means something.
CALL_IDS: Final = frozenset({"tool_call_id", "call_id"})

#: Fields that tell who asks, which is told to nobody.
UNTOLD: Final = frozenset({"user", "safety_identifier", "prompt_cache_key"})
