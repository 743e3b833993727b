"""The container files: linted, valid by the compose schema, and true to the service's settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
ENTRYPOINT = ROOT / "docker" / "entrypoint.sh"
COMPOSE_FILES = (ROOT / "docker-compose.yml", ROOT / "docker" / "compose.cuda.yml")


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _with_defaults(text: str) -> str:
    """Compose's `${NAME:-default}` replaced by its default, as it is when nothing is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run([_tool("hadolint"), str(DOCKERFILE)], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    scripts = [ROOT / ".ci" / "run", ENTRYPOINT, *sorted((ROOT / "scripts").glob("*.sh"))]
    done = subprocess.run([_tool("shellcheck"), *map(str, scripts)], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("path", [ROOT / ".ci" / "run", ENTRYPOINT, ROOT / "scripts/install.sh"])
def test_scripts_are_executable(path: Path) -> None:
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_compose_file_keeps_to_the_schema(path: Path) -> None:
    assert "lamm" in (PyCompose.from_yaml(_with_defaults(path.read_text())).services or {})


def test_compose_schema_refuses_a_misspelled_key() -> None:
    text = _with_defaults(COMPOSE_FILES[0].read_text()).replace("dockerfile:", "dockerfil:")
    with pytest.raises(ValueError, match="dockerfil"):
        PyCompose.from_yaml(text)


def test_containers_drop_what_they_do_not_need() -> None:
    services = yaml.safe_load(_with_defaults(COMPOSE_FILES[0].read_text()))["services"]
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name


def test_image_runs_as_an_ordinary_user_and_checks_readiness() -> None:
    last_stage = DOCKERFILE.read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", last_stage, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n.*/readyz", last_stage, re.MULTILINE)
    assert "pip install" not in last_stage


def test_no_secret_is_baked_in() -> None:
    for path in (DOCKERFILE, *COMPOSE_FILES):
        assert not re.search(r"(API_KEYS?|TOKEN|PASSWORD)\s*[=:]\s*\S", path.read_text()), path


def test_everything_copied_is_in_the_build_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    pattern = r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$"
    copies = re.findall(pattern, DOCKERFILE.read_text(), re.MULTILINE)
    assert copies
    for sources in copies:
        for source in sources.split():
            assert source in allowed, f"{source} is copied but kept out by .dockerignore"


def test_prometheus_scrapes_the_service_where_compose_puts_it() -> None:
    config = yaml.safe_load((ROOT / "docker" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    services = yaml.safe_load(_with_defaults(COMPOSE_FILES[0].read_text()))["services"]
    (target,) = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert services[host]["ports"][0].endswith(f":{port}")
    assert job["metrics_path"] == "/metrics"


def _run_entrypoint(tmp_path: Path, *arguments: str, checkpoint: Path | str) -> str:
    """Runs the entrypoint with a `lamm` that prints its arguments; returns what was printed."""
    stand_in = tmp_path / "lamm"
    stand_in.write_text('#!/bin/sh\necho "lamm $*"\n')
    stand_in.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", str(ENTRYPOINT), *arguments],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "LAMM_CHECKPOINT": str(checkpoint)},
        capture_output=True,
        text=True,
    )
    return (done.stdout or done.stderr).strip()


def test_entrypoint_serves_and_passes_arguments_on(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert _run_entrypoint(tmp_path, "serve", checkpoint=tmp_path) == "lamm serve"
    assert _run_entrypoint(tmp_path, "--port", "1", checkpoint=tmp_path) == "lamm serve --port 1"
    assert _run_entrypoint(tmp_path, "bench", "x", checkpoint=tmp_path) == "lamm bench x"


def test_entrypoint_says_which_checkpoint_it_cannot_read(tmp_path: Path) -> None:
    said = _run_entrypoint(tmp_path, "serve", checkpoint=tmp_path / "absent")
    assert f"LAMM_CHECKPOINT={tmp_path / 'absent'}" in said
    half = tmp_path / "half" / "adapter"
    half.mkdir(parents=True)
    (half / "adapter_config.json").write_text("{}")
    said = _run_entrypoint(tmp_path, "--port", "1", checkpoint=half.parent)
    assert "No readable checkpoint" in said
    assert "LAMM_CHECKPOINT=(not set)" in _run_entrypoint(tmp_path, checkpoint="")


def test_entrypoint_takes_all_that_a_checkpoint_may_be(tmp_path: Path) -> None:
    for name in ("merged/config.json", "pair/base/config.json", "pair/adapter/adapter_config.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("{}")
    merged, pair = tmp_path / "merged", tmp_path / "pair"
    for checkpoint in (
        str(pair), str(pair / "adapter"), f"mine={merged}", f"{pair}/adapter@{pair}/base",
        f"{merged},{pair}", f"mine={merged},theirs={pair}/adapter@{pair}/base",
    ):  # fmt: skip
        said = _run_entrypoint(tmp_path, "serve", "--port", "1", checkpoint=checkpoint)
        assert said == "lamm serve --port 1", checkpoint
    given = ("serve", "--checkpoint", str(merged))
    assert _run_entrypoint(tmp_path, *given, checkpoint="/absent") == f"lamm {' '.join(given)}"
