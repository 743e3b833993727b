"""Calls that the service does not answer yet, by what they need.

Strict: a call that begins to work fails the run until it is taken off the list.
"""

from __future__ import annotations

CONVERSATIONS = "conversations of other shapes"
TOOLS = "tools and tool_choice"
JSON = "JSON of open schemas that ends before max_tokens"
RESPONSES = "POST /v1/responses"

# What begins with one of these is pending: the module's name, then the test's.
PENDING: dict[str, str] = {
    "test_chat::test_bare_image_url": CONVERSATIONS,
    "test_conversations::test_system_alone": CONVERSATIONS,
    "test_conversations::test_assistant_first": CONVERSATIONS,
    "test_conversations::test_refusal_in_history": CONVERSATIONS,
    "test_conversations::test_tool_history": CONVERSATIONS,
    "test_conversations::test_continue_final_message": CONVERSATIONS,
    "test_langchain::test_picture[`image_url`, a bare string]": CONVERSATIONS,
    "test_langchain::test_system_alone": CONVERSATIONS,
    "test_langchain::test_assistant_first": CONVERSATIONS,
    "test_langchain::test_tool_history": CONVERSATIONS,
    "test_litellm::test_tool_history": CONVERSATIONS,
    "test_llama_index::test_system_alone": CONVERSATIONS,
    "test_llama_index::test_tool_history": CONVERSATIONS,
    "test_node_ai::test_case[system message, and an assistant's first]": CONVERSATIONS,
    "test_node_ai::test_case[a tool's call and its result in the history]": CONVERSATIONS,
    "test_node_openai::test_case[a picture whose `image_url` is a bare string]": CONVERSATIONS,
    "test_structured::test_forced_tool": TOOLS,
    "test_structured::test_streamed_tool": TOOLS,
    "test_structured::test_parsed_tool": TOOLS,
    "test_structured::test_tool_round_trip": TOOLS,
    "test_langchain::test_forced_tool": TOOLS,
    "test_langchain::test_agent_round_trip": TOOLS,
    "test_langchain::test_structured[function_calling]": TOOLS,
    "test_litellm::test_forced_tool": TOOLS,
    'test_node_ai::test_case[`generateText` with `toolChoice: "required"`]': TOOLS,
    "test_node_ai::test_case[`generateText` in several steps]": TOOLS,
    "test_node_ai::test_case[`streamText` of a tool's call]": TOOLS,
    "test_node_openai::test_case[`tools` with `tool_choice` required]": TOOLS,
    "test_openai_agents::test_forced_tool": TOOLS,
    "test_openai_agents::test_tool_round_trip": TOOLS,
    "test_pydantic_ai::test_output[ToolOutput]": TOOLS,
    "test_instructor::test_mode[Mode.TOOLS]": TOOLS,
    "test_instructor::test_parallel_tools": TOOLS,
    "test_instructor::test_retry[Mode.TOOLS]": TOOLS,
    "test_llama_index::test_structured_tool": TOOLS,
    "test_llama_index::test_forced_tool": TOOLS,
    "test_structured::test_parse_free_strings": JSON,
    "test_structured::test_json_schema[open": JSON,
    "test_structured::test_json_object": JSON,
    "test_langchain::test_structured[json_mode]": JSON,
    "test_langchain::test_structured_free_strings": JSON,
    "test_langchain::test_agent_schema": JSON,
    "test_node_ai::test_case[`generateObject` with a free string]": JSON,
    'test_node_ai::test_case[`generateObject` `output: "no-schema"`]': JSON,
    "test_instructor::test_mode[Mode.JSON_SCHEMA]": JSON,
    "test_instructor::test_free_strings": JSON,
    "test_instructor::test_retry[Mode.JSON_SCHEMA]": JSON,
    "test_instructor::test_with_completion": JSON,
    "test_instructor::test_async": JSON,
    "test_instructor::test_picture_of_its_own": JSON,
    "test_structured::test_responses": RESPONSES,
    "test_langchain::test_responses": RESPONSES,
    "test_litellm::test_responses": RESPONSES,
    "test_node_ai::test_case[`@ai-sdk/openai` responses: an image part]": RESPONSES,
    "test_node_openai::test_case[`responses.create`]": RESPONSES,
    "test_openai_agents::test_responses": RESPONSES,
    "test_pydantic_ai::test_responses": RESPONSES,
}
