"""Compose's profile `vllm` and the Kubernetes overlay: in step with each other and the engine."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from lamm_model.checkpoint.cli import model
from service.config.settings import Settings
from service.engine.vllm.checks import TESTED_VERSIONS
from service.engine.vllm.flags import SERVER_FLAGS, VARIABLES
from service.engine.vllm.install import VERSION
from service.startup.configs import vllm_options
from tests import vllm_containers as containers
from tests.vllm_containers import ROOT

PLACES = ("compose", "kubernetes")


@pytest.mark.parametrize("place", PLACES)
def test_vllm_is_given_the_flags_that_the_engine_demands(place: str) -> None:
    wanted, given = (
        containers.options(SERVER_FLAGS),
        containers.options(containers.arguments(place, "vllm")),
    )
    assert {name: given.get(name) for name in wanted} == wanted
    own = {"--served-model-name", "--host", "--port", "--dtype", "--max-num-seqs"}
    assert set(given) == set(wanted) | own | {"--gpu-memory-utilization"}
    # vLLM's ports beside the one above stay inside, and nothing is sent to anybody.
    environment = containers.environment(place, "vllm")
    assert {name: environment.get(name) for name in VARIABLES} == VARIABLES


def test_the_documentation_has_the_same_flags() -> None:
    text = (ROOT / "docs" / "engines.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^vllm serve .+$", text, re.MULTILINE)
    given = containers.options(shlex.split(line))
    assert {
        name: given.get(name) for name in containers.options(SERVER_FLAGS)
    } == containers.options(SERVER_FLAGS)


@pytest.mark.parametrize("place", PLACES)
def test_the_image_has_the_tested_version(place: str) -> None:
    compose = place == "compose"
    vllm = containers.compose()["vllm"] if compose else containers.container("vllm")
    # Images of other versions start their server in another way.
    assert vllm["entrypoint" if compose else "command"] == ["vllm", "serve"]
    image = vllm["image"]
    assert image == f"vllm/vllm-openai:v{VERSION}"
    assert VERSION in TESTED_VERSIONS


@pytest.mark.parametrize("place", PLACES)
def test_both_sides_agree_on_model_address_and_sizes(place: str) -> None:
    arguments, environment = containers.arguments(place, "vllm"), containers.service(place)
    options = containers.options(arguments)
    checkpoint = environment["LAMM_CHECKPOINT"]
    assert options["--served-model-name"] == Path(checkpoint).name
    job = containers.arguments(place, "vllm-model")
    assert (job[2], f"--out={arguments[0]}" in job) == (checkpoint, True)
    host = "vllm" if place == "compose" else options["--host"]
    assert environment["LAMM_VLLM_URL"] == f"http://{host}:{options['--port']}"
    assert environment["LAMM_MAX_NUM_SEQS"] == options["--max-num-seqs"]
    assert environment["LAMM_ENGINE"] == "vllm"
    settings = Settings.model_validate(
        {name.removeprefix("LAMM_").lower(): value for name, value in environment.items()}
    )
    # An empty variable is no key.
    assert vllm_options(settings).api_key is None
    assert vllm_options(settings).url == environment["LAMM_VLLM_URL"]
    assert set(environment) <= {f"LAMM_{name.upper()}" for name in Settings.model_fields}


def test_the_key_is_the_same_on_both_sides_and_from_outside() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    keys = {
        services["vllm"]["environment"]["VLLM_API_KEY"],
        services["lamm-vllm"]["environment"]["LAMM_VLLM_API_KEY"],
    }
    assert keys == {"${LAMM_VLLM_API_KEY:-}"}
    assert vllm_options(Settings.model_validate({"vllm_api_key": "secret"})).api_key == "secret"


@pytest.mark.parametrize("place", PLACES)
def test_the_job_s_command_writes_the_export_and_keeps_it(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = containers.arguments(place, "vllm-model")
    out = tmp_path / "exports" / "lamm-mini"
    (asked,) = (one for one in command if one.startswith("--out="))
    swapped = {command[2]: str(ROOT / "checkpoints" / "lamm-mini"), asked: f"--out={out}"}
    assert command[0] == "model"
    for _ in range(2):
        assert model([swapped.get(word, word) for word in command[1:]]) == 0
    told = capsys.readouterr().out
    assert f"{out}: llava-hf for vllm, " in told
    assert told.rstrip().endswith("kept")


def test_compose_starts_in_order_and_lets_only_the_job_write() -> None:
    services = containers.compose()
    names = ("vllm-model", "vllm", "lamm-vllm")
    job, vllm, service = (services[name] for name in names)
    assert [services[name]["profiles"] for name in names] == [["vllm"]] * 3
    assert vllm["depends_on"] == {"vllm-model": {"condition": "service_completed_successfully"}}
    assert service["depends_on"] == {"vllm": {"condition": "service_healthy"}}
    assert job["restart"] == "no"
    port = containers.options(vllm["command"])["--port"]
    assert f"http://127.0.0.1:{port}/health" in vllm["healthcheck"]["test"][-1]
    assert "vllm-model:/srv/exports" in job["volumes"]
    for one in (vllm, service):
        assert "vllm-model:/srv/exports:ro" in one["volumes"]
    # A new volume gets the owner that the image's directory has.
    owner = vllm["user"].split(":")
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert f"install -d -o {owner[0]} -g {owner[1]} /srv/exports" in dockerfile


def test_compose_lets_nobody_but_the_service_reach_vllm() -> None:
    services = containers.compose()
    assert "ports" not in services["vllm"]
    assert services["vllm"]["networks"] == ["vllm"]
    assert services["lamm-vllm"]["networks"] == {"vllm": None, "default": {"aliases": ["lamm"]}}
    others = set(services) - {"vllm", "lamm-vllm"}
    assert not [name for name in others if "vllm" in services[name].get("networks", ())]
    networks = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["networks"]
    assert networks["vllm"]["internal"] is True
    # One GPU for both, and kernels can be compiled and loaded on a read-only file system.
    assert services["vllm"]["deploy"] == services["lamm-vllm"]["deploy"]
    (device,) = services["vllm"]["deploy"]["resources"]["reservations"]["devices"]
    assert len(device["device_ids"]) == 1
    assert services["vllm"]["tmpfs"] == ["/tmp:exec"]  # noqa: S108 - a mount's name
    assert services["vllm"]["shm_size"] == "2gb"
