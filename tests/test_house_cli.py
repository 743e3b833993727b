"""The umbrella command: its help imports no room, and what goes wrong ends in one clear line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import pytest

from lamm_model import cli

COMMANDS = ("serve", "chat", "task", "engine", "train", "data", "model", "bench")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[str]], int]], None]:
    """Registers one function as the sole sub-command, named `serve`."""

    def register(function: Callable[[list[str]], int]) -> None:
        class Registered(EntryPoint):
            def load(self) -> Callable[[list[str]], int]:
                return function

        entry = Registered(name="serve", value="somewhere:serve", group=cli.GROUP)
        monkeypatch.setattr(cli, "entry_points", lambda group: [entry])

    return register


def test_every_command_has_an_entry_point_and_a_line_of_help() -> None:
    registered = {entry.name for entry in entry_points(group=cli.GROUP)}
    assert set(COMMANDS) <= registered
    assert tuple(cli.COMMANDS) == COMMANDS


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]
    assert listed == list(COMMANDS)


def test_help_imports_no_room() -> None:
    program = (
        "import sys; from lamm_model.cli import main; main(['--help']); "
        "rooms = 'service', 'training', 'benchmark', 'lamm_model.checkpoint', 'torch', 'pydantic'; "
        "print([name for name in rooms if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_is_the_distribution_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lamm 0.")


def test_unknown_command_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sreve"]) == cli.EXIT_USAGE
    error = capsys.readouterr().err
    assert "'sreve'" in error
    assert "serve, chat, task, engine, train, data, model, bench" in error


def test_arguments_and_status_pass_through(
    command: Callable[[Callable[[list[str]], int]], None],
) -> None:
    seen: list[list[str]] = []

    def serve(argv: list[str]) -> int:
        seen.append(argv)
        return 7

    command(serve)
    assert cli.main(["serve", "--port", "0"]) == 7
    assert seen == [["--port", "0"]]


@pytest.mark.parametrize(
    ("package", "remedy"),
    [
        ("fastapi", "pip install 'lamm[serve]'"),
        ("torch._C", "pip install 'lamm[serve]'"),
    ],
)
def test_missing_extra_is_named(
    package: str,
    remedy: str,
    command: Callable[[Callable[[list[str]], int]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def serve(argv: list[str]) -> int:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    command(serve)
    assert cli.main(["serve"]) == 1
    assert remedy in capsys.readouterr().err


def test_a_missing_module_of_ours_is_a_defect_and_shows_itself(
    command: Callable[[Callable[[list[str]], int]], None],
) -> None:
    def serve(argv: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'service.gone'", name="service.gone")

    command(serve)
    with pytest.raises(ModuleNotFoundError, match=r"service\.gone"):
        cli.main(["serve"])


def test_interrupt_exits_as_shells_expect(
    command: Callable[[Callable[[list[str]], int]], None],
) -> None:
    def serve(argv: list[str]) -> int:
        raise KeyboardInterrupt

    command(serve)
    assert cli.main(["serve"]) == 130


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main([name, "--help"])
    assert exit_.value.code == 0
    assert f"lamm {name}" in capsys.readouterr().out
