"""`lamm task`: asks one task of a running service about one file, or lists the tasks.

The options of a task are the fields of its inputs, so that a new task needs nothing here.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

import httpx
from rich.console import Console
from rich.text import Text

from lamm_model.conversation import Modality
from lamm_model.tasks import TASKS, AnyTask
from service.terminal.attachments import ChatError
from service.terminal.connection import (
    add_cloud_options,
    add_connection,
    cloud_options,
    connect,
    error_text,
    reason_of,
)

_HELP = """\
Ask a running LAMM service for a typed answer about a picture or a point cloud.

  lamm task                                            the tasks that the service can do
  lamm task detection street.jpg --labels person,dog   the answer, places in pixels
  lamm task point shelf.png --label bag --overlay marked.png
  lamm task grounding_3d room.ply --units cm --description "the red chair" --json

`lamm task NAME --help` lists the inputs of a task.
"""
# The same places once more, in another unit.
_REPEATED = ("_normalized", "_in_units")


def task(argv: list[str]) -> int:
    """0 after an answer, even one that could not be read; 1 when the service gave none."""
    options = _parser().parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    try:
        with connect(options) as client:
            if options.task is None:
                _list_tasks(client, console)
                return 0
            answer = _ask(client, TASKS[options.task], options)
        whole = json.dumps(answer, ensure_ascii=False) if options.json else None
        console.print(Text(whole or "\n".join(_lines(answer))))
        _keep_overlay(answer, options.overlay)
    except (ChatError, httpx.HTTPError) as error:
        words = Text(f"lamm task: {reason_of(error, options.url)}", style="red")
        Console(stderr=True, highlight=False, soft_wrap=True).print(words)
        return 1
    return 0


def _list_tasks(client: httpx.Client, console: Console) -> None:
    for card in _checked(client.get("/v1/tasks"))["data"]:
        console.print(Text(f"{card['name']:<28} {card['description']}"))


def _ask(client: httpx.Client, asked: AnyTask, options: argparse.Namespace) -> dict[str, Any]:
    """The response to one request.

    Raises:
        ChatError: the file cannot be read, or the service refuses or fails.
    """
    path = Path(options.file).expanduser()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ChatError(f"{path}: {error.strerror}") from error
    names = ["model", "mode", "constrain", "max_tokens", *_input_names(asked)]
    given = {name: getattr(options, name) for name in names}
    if asked.modality is Modality.POINT_CLOUD:
        clouds = cloud_options(options)
        format = clouds.format_of(path)
        given |= {"format": format if format == "depth" else None, **clouds.fields(format)}
        if clouds.camera is not None and "camera" in given:
            given["camera"] = json.dumps(given["camera"])
    fields = {name: value for name, value in given.items() if value not in (None, False)}
    if options.overlay:
        fields["overlay"] = "png" if asked.modality is Modality.IMAGE else "ply"
    files = {"file": (path.name, content)}
    return _checked(client.post(f"/v1/tasks/{asked.name}", data=fields, files=files))


def _checked(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise ChatError(error_text(response.status_code, response.text))
    body: dict[str, Any] = response.json()
    return body


def _keep_overlay(answer: Mapping[str, Any], path: str | None) -> None:
    if path is None:
        return
    if answer["overlay"] is None:
        raise ChatError(f"{path} is not written: no answer could be read from {answer['text']!r}")
    try:
        Path(path).write_bytes(base64.b64decode(answer["overlay"].partition(",")[2]))
    except OSError as error:
        raise ChatError(f"{path}: {error.strerror}") from error


def _lines(response: Mapping[str, Any]) -> Iterator[str]:
    """A response in words."""
    if response["answer"] is None:
        yield f"No answer could be read. The model wrote: {response['text']}"
    places = {one["path"]: one for one in response["scores"] or ()}
    for name, value in (response["answer"] or {}).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield from (
                _one_line(item) + _percent(_score_in(places, f"{name}[{index}]."))
                for index, item in enumerate(value)
            )
        elif not name.endswith(_REPEATED):
            yield f"{name}: {_shown(value)}" + _percent(places.get(name))
    if response["score"] is not None:
        yield f"score:{_percent(response['score'])[1:]}"
    for option in response["options"] or ():
        yield f"{option['probability']:8.1%}  {option['option']}"
    if response["parse_status"] == "partial":
        yield "Read in part: something was ambiguous, repaired or left out."
    yield from (f"Moved into range: {one['written']}" for one in response["clipped"])
    yield from (f"Not used: {words}" for words in response["dropped"])


def _one_line(item: Mapping[str, Any]) -> str:
    """One object: its label, then the other fields."""
    rest = {name: value for name, value in item.items() if name != "label"}
    words = [f"{name} {_shown(v)}" for name, v in rest.items() if not name.endswith(_REPEATED)]
    return f"{item.get('label') or 'object'}: {', '.join(words)}"


def _score_in(places: Mapping[str, Any], prefix: str) -> Mapping[str, Any] | None:
    """The score of the place in one object; None without one."""
    return next((score for path, score in places.items() if path.startswith(prefix)), None)


def _percent(score: Mapping[str, Any] | None) -> str:
    """A score, and whether it is only the model's own probability; empty without one."""
    if score is None:
        return ""
    return f"  {score['value']:.0%}{'' if score['calibrated'] else ' uncalibrated'}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        nested = any(isinstance(one, list) for one in value)
        return ("; " if nested else " ").join(map(_shown, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamm task",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_connection(parser)
    commands = parser.add_subparsers(dest="task", metavar="NAME")
    for name, known in TASKS.items():
        about = known.description
        _add_task(commands.add_parser(name, help=about, description=about), known)
    return parser


def _add_task(parser: argparse.ArgumentParser, known: AnyTask) -> None:
    add = parser.add_argument
    add("file", help=f"the {known.noun}")
    for name in _input_names(known):
        field = known.inputs_model.model_fields[name]
        example = known.example.get(name)
        is_list = _is_list(field.annotation)
        shown = ",".join(example) if is_list and example else example
        add(
            f"--{name.replace('_', '-')}",
            required=field.is_required(),
            type=_entries if is_list else str,
            metavar="A,B,..." if is_list else name.upper(),
            help=f"for example: {shown}" if shown else None,
        )
    if known.has_options:
        add("--mode", choices=("text", "likelihood"), help="likelihood ranks the closed set")
    if known.has_form:
        add("--constrain", action="store_true", help="hold the answer to the task's form")
    add("--max-tokens", type=int, help="longest answer (default: the task's)")
    add("--overlay", metavar="FILE", help="write the medium with the answer drawn on it")
    add("--json", action="store_true", help="print the whole response")
    parser.set_defaults(mode=None, constrain=False)
    add_connection(parser, again=True)
    if known.modality is Modality.POINT_CLOUD:
        add_cloud_options(parser)


def _input_names(known: AnyTask) -> list[str]:
    # The service reads the size from the picture itself.
    return [name for name in known.inputs_model.model_fields if name != "size"]


def _is_list(annotation: Any) -> bool:
    return any(get_origin(kind) is tuple for kind in (annotation, *get_args(annotation)))


def _entries(text: str) -> list[str]:
    """The entries between commas; a JSON list, whose entries may have commas, as it is."""
    if text.startswith("["):
        entries: list[str] = json.loads(text)
        return entries
    return [entry.strip() for entry in text.split(",")]


if __name__ == "__main__":
    sys.exit(task(sys.argv[1:]))
