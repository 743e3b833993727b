"""The terminal client behind `lamm chat`; works with any OpenAI-compatible server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.text import Text

from service.terminal.attachments import (
    ChatError,
    CloudOptions,
    Conversation,
    cloud_part,
    image_part,
)
from service.terminal.connection import (
    add_cloud_options,
    add_connection,
    cloud_options,
    connect,
    error_text,
    reason_of,
)

_CHAT_HELP = """\
Talk to a running LAMM service, with pictures and point clouds.

  lamm chat                                         a conversation
  lamm chat --image cat.png "What is this?"         one question, one answer
  lamm chat --cloud chair.ply --units cm --up-axis y "What is this?"

In a conversation, /image PATH and /cloud PATH attach a file to the next question, /reset starts
over, and /quit exits.
"""
_COMMANDS = "/image PATH  /cloud PATH  /reset  /quit"


def run_chat(argv: list[str]) -> int:
    """Exit status: 0 at the end of the conversation, 1 if a request failed."""
    options = _parser().parse_args(argv)
    console = Console(highlight=False)
    conversation = Conversation(options.system)
    try:
        clouds = cloud_options(options)
        with connect(options) as client:
            conversation.pending += [image_part(Path(path)) for path in options.image]
            conversation.pending += [cloud_part(Path(path), clouds) for path in options.cloud]
            card = model_card(client, options.model)
            request = {
                "model": card["id"],
                "temperature": options.temperature,
                **({} if options.max_tokens is None else {"max_tokens": options.max_tokens}),
            }
            if options.question:
                _exchange(client, conversation, request, options.question, console)
                return 0
            _converse(client, conversation, request, clouds, card, console)
    except (ChatError, httpx.HTTPError) as error:
        reason = reason_of(error, options.url)
        Console(stderr=True, highlight=False).print(Text(f"lamm chat: {reason}", style="red"))
        return 1
    return 0


def model_card(client: httpx.Client, name: str | None) -> Mapping[str, Any]:
    """The card of the named model, or of the first one.

    Raises:
        ChatError: the server does not serve that model, or answers unexpectedly.
    """
    response = client.get("/v1/models")
    if response.is_error:
        raise ChatError(error_text(response.status_code, response.text))
    cards: list[dict[str, Any]] = response.json().get("data", [])
    for card in cards:
        if name in (None, card["id"]):
            return card
    known = ", ".join(card["id"] for card in cards) or "none"
    raise ChatError(f"model {name!r} is not served; the models are: {known}")


def stream_answer(
    client: httpx.Client,
    request: Mapping[str, Any],
    messages: list[dict[str, Any]],
    media: list[Mapping[str, Any]],
) -> Iterator[str]:
    """The answer, piece by piece; `media` receives what was done to the media, if anything.

    Raises:
        ChatError: the server refused the request or failed.
    """
    body = {**request, "messages": messages, "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.is_error:
            raise ChatError(error_text(response.status_code, response.read().decode()))
        for line in response.iter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise ChatError(event["error"]["message"])
            media += event.get("media") or ()
            for choice in event["choices"]:
                if text := choice["delta"].get("content"):
                    yield text


def _converse(
    client: httpx.Client,
    conversation: Conversation,
    request: Mapping[str, Any],
    clouds: CloudOptions,
    card: Mapping[str, Any],
    console: Console,
) -> None:
    takes = ", ".join(card.get("architecture", {}).get("input_modalities", ["text"]))
    console.print(Text(f"{card['id']} ({takes})    {_COMMANDS}", style="dim"))
    while True:
        try:
            line = console.input(Text("> ", style="bold cyan")).strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if line in ("/quit", "/exit"):
            return
        if not line:
            continue
        try:
            if not line.startswith("/"):
                _exchange(client, conversation, request, line, console)
                continue
            console.print(Text(_command(line, conversation, clouds), style="dim"))
        except (ChatError, httpx.HTTPError) as error:
            console.print(Text(reason_of(error, client.base_url), style="red"))


def _command(line: str, conversation: Conversation, clouds: CloudOptions) -> str:
    name, _, argument = line.partition(" ")
    path = Path(argument.strip().strip("'\"")).expanduser()
    if name == "/reset":
        conversation.reset()
        return "started over"
    if name == "/image" and argument:
        conversation.pending.append(image_part(path))
    elif name == "/cloud" and argument:
        conversation.pending.append(cloud_part(path, clouds))
    else:
        return _COMMANDS
    return f"attached {path.name} to the next question"


def _exchange(
    client: httpx.Client,
    conversation: Conversation,
    request: Mapping[str, Any],
    question: str,
    console: Console,
) -> None:
    conversation.ask(question)
    pieces: list[str] = []
    media: list[Mapping[str, Any]] = []
    try:
        for piece in stream_answer(client, request, conversation.messages, media):
            pieces.append(piece)
            console.print(Text(piece), end="", soft_wrap=True)
    except (ChatError, httpx.HTTPError):
        conversation.take_back()
        raise
    finally:
        if pieces:
            console.print()
    for number, fact in enumerate(media, 1):
        if fact.get("note"):
            name = str(fact.get("modality", "")).replace("_", " ")
            console.print(Text(f"{name} {number}: {fact['note']}", style="dim"))
    conversation.answer("".join(pieces))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamm chat",
        description=_CHAT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("question", nargs="?", help="ask this question, print the answer, and exit")
    add_connection(parser)
    add("--image", action="append", default=[], metavar="PATH", help="attach a picture; repeatable")
    add(
        "--cloud",
        action="append",
        default=[],
        metavar="PATH",
        help="attach a point cloud; repeatable",
    )
    add_cloud_options(parser)
    add("--system", help="system prompt (default: the checkpoint's)")
    add("--max-tokens", type=int, help="maximum answer tokens (default: the service's)")
    add(
        "--temperature",
        type=float,
        default=0.0,
        help="sampling temperature; 0 is greedy (default: 0)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(run_chat(sys.argv[1:]))
