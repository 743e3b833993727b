"""What somebody meets first: a taken port, a wrong path, a service that is not there, the help."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from service.cli import _SECRETS, serve
from service.config.settings import Settings
from service.terminal.client import run_chat


def test_a_taken_port_is_said_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve(["--engine", "echo", "--port", str(port)]) == 2
    captured = capsys.readouterr()
    assert f"127.0.0.1:{port}: Address already in use" in captured.err
    assert "--port" in captured.err
    assert captured.out == ""


def test_an_address_that_is_not_here_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(["--engine", "echo", "--host", "192.0.2.1", "--port", "0"]) == 2
    assert "cannot listen on 192.0.2.1:0" in capsys.readouterr().err


def test_a_missing_directory_is_told_from_one_that_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert serve(["--checkpoint", "absent", "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert "absent: directory not found" in error
    assert str(tmp_path) in error
    (tmp_path / "empty").mkdir()
    assert serve(["--checkpoint", "empty", "--port", "0"]) == 2
    assert "config.json is missing; is this a LAMM checkpoint?" in capsys.readouterr().err


def test_chat_says_where_nothing_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert run_chat(["--url", url, "hello"]) == 1
    error = capsys.readouterr().err.replace("\n", " ")
    assert url in error
    assert "lamm serve" in error


def test_every_setting_stands_in_the_help_under_a_heading(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        serve(["--help"])
    text = capsys.readouterr().out
    plain, *groups = text.split("options:")[1].split("\n\n")
    assert "--host" not in plain
    headed = "\n".join(groups)
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in headed
    assert "(default: 50331648, 48 MiB)" in text
    assert "(default: 2592000, 30 days)" in text
    assert "(default: yes)" in text


def test_a_wrong_setting_is_shown_with_its_value_but_no_secret_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAMM_PORT", "eight")
    assert serve([]) == 2
    error = capsys.readouterr().err
    assert "--port (LAMM_PORT)" in error
    assert "it is 'eight'" in error
    secret = [name for name, field in Settings.model_fields.items() if "Secret" in repr(field)]
    assert sorted(secret) == sorted(_SECRETS)
