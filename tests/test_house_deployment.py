"""The container files: valid by the compose schema, and true to the service's settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from service.config.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "docker" / "Dockerfile"
ENTRYPOINT = ROOT / "docker" / "entrypoint.sh"
COMPOSE_FILE = ROOT / "docker-compose.yml"


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _compose() -> dict[str, Any]:
    """The compose file with its anchors resolved, as it is when no variable is set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE_FILE.read_text())
    composed: dict[str, Any] = yaml.safe_load(text)
    return composed


@pytest.mark.parametrize(
    "path",
    [
        ROOT / ".ci" / "run",
        ENTRYPOINT,
        ROOT / "scripts" / "install.sh",
        ROOT / "scripts" / "lock.sh",
        ROOT / "scripts" / "audit.sh",
        ROOT / "scripts" / "sbom.sh",
        ROOT / "scripts" / "secrets.sh",
        ROOT / "scripts" / "docker_steps_in_chroot.sh",
    ],
)
def test_scripts_are_executable(path: Path) -> None:
    assert os.access(path, os.X_OK)


def test_compose_file_keeps_to_the_schema() -> None:
    services = PyCompose.from_yaml(yaml.safe_dump(_compose())).services or {}
    assert set(services) == {
        "lamm", "lamm-gpu", "lamm-vllm", "vllm", "vllm-model", "bench", "prometheus", "grafana",
    }  # fmt: skip


def test_compose_schema_refuses_a_misspelled_key() -> None:
    text = yaml.safe_dump(_compose()).replace("dockerfile:", "dockerfil:")
    with pytest.raises(ValueError, match="dockerfil"):
        PyCompose.from_yaml(text)


def test_containers_drop_what_they_do_not_need() -> None:
    for name, service in _compose()["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name


def test_only_what_is_asked_for_starts_beside_the_cpu_service() -> None:
    services = _compose()["services"]
    profiles = {name: service.get("profiles") for name, service in services.items()}
    assert {name for name, profile in profiles.items() if not profile} == {
        "lamm", "prometheus", "grafana",
    }  # fmt: skip
    assert (profiles["lamm-gpu"], profiles["bench"]) == (["gpu"], ["bench"])


def test_the_gpu_service_stands_in_for_the_cpu_one() -> None:
    cpu, gpu = (_compose()["services"][name] for name in ("lamm", "lamm-gpu"))
    assert gpu["networks"]["default"]["aliases"] == ["lamm"]
    assert gpu["ports"] == cpu["ports"]
    assert (cpu["build"]["args"], gpu["build"]["args"]) == ({"DEVICE": "cpu"}, {"DEVICE": "cuda"})
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_containers_are_killed_only_after_the_drain() -> None:
    drain = Settings.model_fields["shutdown_timeout_s"].default
    for name in ("lamm", "lamm-gpu", "lamm-vllm"):
        grace = float(_compose()["services"][name]["stop_grace_period"].removesuffix("s"))
        assert grace >= drain + 10, name


def test_containers_are_given_settings_that_exist() -> None:
    environment = {
        name
        for service in _compose()["services"].values()
        for name in service.get("environment", {})
        if name.startswith("LAMM_")  # a mapping's keys, or names alone
    }
    # The client's own variable is no setting of the service.
    settings = {f"LAMM_{name.upper()}" for name in Settings.model_fields} | {"LAMM_API_KEY"}
    assert environment <= settings


def test_the_benchmark_asks_what_the_command_takes() -> None:
    command = _compose()["services"]["bench"]["command"]
    assert command[0] == "bench"
    done = subprocess.run(
        [_tool("lamm"), *command, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    for flag in (word for word in command if word.startswith("--")):
        assert flag in done.stdout


def test_grafana_and_prometheus_mount_what_ships() -> None:
    services = _compose()["services"]
    for name in ("prometheus", "grafana"):
        binds = [volume.split(":") for volume in services[name]["volumes"] if volume[0] == "."]
        assert binds
        for source, _, mode in binds:
            assert (ROOT / source).is_dir(), source
            assert mode == "ro"
    provider = yaml.safe_load(
        (ROOT / "docker/grafana/provisioning/dashboards/lamm.yml").read_text()
    )["providers"][0]
    mounted = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
    source = yaml.safe_load(
        (ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text()
    )["datasources"][0]
    assert source["url"] == "http://prometheus:9090"


def test_image_runs_as_an_ordinary_user_and_checks_readiness() -> None:
    last_stage = DOCKERFILE.read_text().rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", last_stage, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n.*/readyz", last_stage, re.MULTILINE)
    assert "pip install" not in last_stage


def test_no_secret_is_baked_in() -> None:
    for path in (DOCKERFILE, COMPOSE_FILE):
        # What the shell gives is not baked in; a default would be.
        text = re.sub(r"\$\{\w+:-\}", "", path.read_text())
        assert not re.search(r"(API_KEYS?|TOKEN|PASSWORD)[ \t]*[=:][ \t]*\S", text), path


def test_everything_copied_is_in_the_build_context() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    pattern = r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$"
    copies = re.findall(pattern, DOCKERFILE.read_text(), re.MULTILINE)
    assert copies
    for sources in copies:
        for source in sources.split():
            assert source in allowed, f"{source} is copied but kept out by .dockerignore"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_compiler_is_there_only_for_triton(device: str, tmp_path: Path) -> None:
    """Triton makes kernels with a C compiler when they are first used."""
    last_stage = DOCKERFILE.read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    install = re.search(r"^RUN (.*apt-get install.*?) && rm ", last_stage, re.MULTILINE)
    assert install is not None
    apt_get = tmp_path / "apt-get"
    apt_get.write_text('#!/bin/sh\necho "$*"\n')
    apt_get.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", install[1]],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "DEVICE": device},
        capture_output=True,
        text=True,
    )
    packages = done.stdout.splitlines()[-1].split()[3:]
    assert packages == (["tini", "gcc", "libc6-dev"] if device == "cuda" else ["tini"])


def test_models_are_mounted() -> None:
    last_stage = DOCKERFILE.read_text().rpartition("\nFROM ")[2]
    assert 'VOLUME ["/srv/checkpoints"]' in last_stage
    assert _compose()["services"]["lamm"]["volumes"] == ["./checkpoints:/srv/checkpoints:ro"]


def test_extras_of_the_image_exist() -> None:
    text = DOCKERFILE.read_text()
    extras = re.search(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    # What the service and the compose file's profiles need; never what only developers do.
    assert {"serve", "bench", "vllm"} <= set(extras[1].split(",")) <= {
        "serve", "las", "e57", "otel", "grammar", "postgres", "bench", "vllm",
    }  # fmt: skip


def test_prometheus_scrapes_the_service_where_compose_puts_it() -> None:
    config = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    services = _compose()["services"]
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
