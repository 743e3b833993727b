"""The command lines of `lamm bench`: frozen flags, the environment, and errors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmark.cli import COMMANDS, bench
from benchmark.commands.options import Command, ServerOptions, add_arguments

FLAGS = Path(__file__).parent / "bench_flags.txt"


def _shown(default: Any) -> str:
    return "-" if default is None or default is False or default in ((), {}) else str(default)


def _lines(command: Command[Any]) -> Iterator[str]:
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser, command.options)
    for action in parser._actions:
        field = command.options.model_fields[action.dest]
        default = "required" if field.is_required() else _shown(field.get_default())
        names = " ".join(sorted(action.option_strings)) or action.dest
        kind = type(action).__name__.strip("_").removesuffix("Action")
        nargs = "-" if action.nargs is None else action.nargs
        yield f"{command.name} {names} | {kind} | {nargs} | {default}"


def test_the_flags_stay() -> None:
    """A flag that changes its name, form or default breaks scripts: change the file on purpose."""
    found = {line for command in COMMANDS for line in _lines(command)}
    assert found == set(FLAGS.read_text().splitlines())


def test_the_help_of_each_command_shows_its_flags_and_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit, match="0"):
            bench([command.name, "--help"])
        shown = capsys.readouterr().out
        assert f"lamm bench {command.name}" in shown
        assert "results/" in shown


def test_the_key_alone_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAMM_API_KEY", "LAMM_MODEL", "LAMM_TIMEOUT", "MODEL", "URL", "LAMM_URL"):
        monkeypatch.setenv(name, "7")
    options = ServerOptions()
    assert (options.api_key, options.model, options.timeout) == ("7", None, 600.0)
    assert options.url == "http://127.0.0.1:8000"
    assert ServerOptions(api_key="given").api_key == "given"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("load --num-prompts 0", "argument --num-prompts: input should be greater than 0, got '0'"),
        ("load --max-concurrency 1,-1", "greater than or equal to 0, got '-1'"),
        ("load --output-lens 8,x", "argument --output-lens: input should be a valid integer"),
        ("load --cancel-rate nan", "input should be a finite number, got 'nan'"),
        ("load --backend vllm", "input should be 'lamm' or 'openai-chat', got 'vllm'"),
        ("load --nope", "unrecognized arguments: --nope"),
        ("quality --control none", "'blank-media', 'shuffled-options' or 'text-only', got 'none'"),
        ("faults --only fire", "'fire' is not one of encode, "),
        ("soak --reference-url here", "'here' is not a valid URL; expected an address such as"),
        ("judge", "the following arguments are required: --answers"),
    ],
)
def test_an_error_names_flag_value_and_limit_in_one_line(
    argv: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench(argv.split())
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
