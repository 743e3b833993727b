"""The Kubernetes manifests: valid by the API's schema, complete, and in step with the service."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.config.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
KUBERNETES = ROOT / "docker" / "kubernetes"
KUBECTL = shutil.which("kubectl")
# Newest and oldest of the API's versions that the manifests are meant for.
VERSIONS = ("1.30", "1.35")
# Kinds that the cluster's own API does not know; values of a chart are no manifest at all.
FOREIGN = {"Kustomization", "ServiceMonitor"}
NO_MANIFESTS = {"prometheus-adapter.yaml"}


def _manifests(folder: str) -> dict[str, dict[str, Any]]:
    """The folder's manifests by kind."""
    files = sorted((KUBERNETES / folder).glob("*.yaml"))
    loaded = [yaml.safe_load(path.read_text()) for path in files if path.name not in NO_MANIFESTS]
    return {manifest["kind"]: manifest for manifest in loaded}


def _pod() -> dict[str, Any]:
    pod: dict[str, Any] = _manifests("base")["Deployment"]["spec"]["template"]["spec"]
    return pod


def _container() -> dict[str, Any]:
    (container,) = _pod()["containers"]
    assert isinstance(container, dict)
    return container


def _environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "kind", sorted(set(_manifests("base") | _manifests("checkpoints")) - FOREIGN)
)
def test_manifests_keep_to_the_schema(kind: str, version: str) -> None:
    manifests = _manifests("base") | _manifests("checkpoints")
    kubernetes_validate.validate(manifests[kind], version, strict=True)


def test_the_schema_refuses_a_misspelled_key() -> None:
    manifest = _manifests("base")["Deployment"]
    manifest["spec"]["template"]["spec"]["terminationGracePeriod"] = 90
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("folder", ["base", "checkpoints", "gpu", "monitoring", "vllm"])
def test_kustomizations_name_every_manifest(folder: str) -> None:
    kustomization = _manifests(folder)["Kustomization"]
    named = {name for name in kustomization["resources"] if name.endswith(".yaml")}
    named |= {patch["path"] for patch in kustomization.get("patches", ())}
    there = {path.name for path in (KUBERNETES / folder).glob("*.yaml")}
    assert named == there - NO_MANIFESTS - {"kustomization.yaml"}


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is missing")
@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_what_kustomize_makes_keeps_to_the_schema(folder: str) -> None:
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(KUBERNETES / folder)], capture_output=True, text=True
    )
    if "unknown command" in done.stderr:
        pytest.skip("this kubectl has no kustomize")
    assert done.returncode == 0, done.stderr
    made = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(done.stdout)}
    for manifest in made.values():
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)
    (container,) = made["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == {"base": "lamm:cpu", "gpu": "lamm:cuda"}[folder]
    assert _environment(container)["LAMM_API_KEYS_FILE"] == "/etc/lamm/keys"
    if folder == "gpu":
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert _environment(container)["LAMM_DEVICE"] == "cuda"
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/tmp", "/etc/lamm", "/srv/checkpoints"} <= mounts  # noqa: S108 - a mount's name


def test_the_pod_is_killed_only_after_the_last_endpoint_and_the_drain() -> None:
    command = _container()["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    pre_stop = float(command[1])
    drain = float(_environment(_container())["LAMM_SHUTDOWN_TIMEOUT_S"])
    assert pre_stop >= 5, "endpoints take seconds to leave every proxy"
    # After the drain: aborting what is left, closing connections, giving memory back.
    assert _pod()["terminationGracePeriodSeconds"] >= pre_stop + drain + 10


def test_probes_ask_the_routes_that_mean_what_kubernetes_means() -> None:
    container = _container()
    paths = {
        probe: container[probe]["httpGet"]["path"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {
        "startupProbe": "/readyz",
        "livenessProbe": "/health",
        "readinessProbe": "/readyz",
    }
    startup, liveness = container["startupProbe"], container["livenessProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300
    # A single slow answer restarts nothing.
    assert liveness["failureThreshold"] >= 3


@pytest.mark.parametrize("folder", ["base", "gpu", "vllm"])
def test_pods_are_given_settings_that_exist(folder: str) -> None:
    settings = {f"LAMM_{name.upper()}" for name in Settings.model_fields}
    (container,) = _manifests(folder)["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert set(_environment(container)) <= settings


def test_nothing_that_kubernetes_invents_is_read_as_a_setting() -> None:
    # A Service of this name would set LAMM_PORT to a URL.
    assert _manifests("base")["Service"]["metadata"]["name"] == "lamm"
    assert _pod()["enableServiceLinks"] is False


def test_the_pod_can_do_no_more_than_it_must() -> None:
    pod, container = _pod(), _container()
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert (
        f"USER {pod['securityContext']['runAsUser']}\n" in (ROOT / "docker/Dockerfile").read_text()
    )
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_scratch_space_holds_what_clients_may_upload() -> None:
    (scratch,) = (v["emptyDir"] for v in _pod()["volumes"] if "emptyDir" in v)
    gibibytes = int(scratch["sizeLimit"].removesuffix("Gi"))
    assert gibibytes << 30 > Settings.model_fields["max_stored_bytes"].default


def test_everything_selects_the_same_pods() -> None:
    base = _manifests("base")
    labels = base["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert base["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert base["Service"]["spec"]["selector"] == labels
    assert base["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert base["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    monitor = _manifests("monitoring")["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"] == base["Service"]["metadata"]["labels"]
    assert monitor["endpoints"][0]["port"] == base["Service"]["spec"]["ports"][0]["name"]


def test_the_network_policy_closes_both_directions() -> None:
    spec = _manifests("base")["NetworkPolicy"]["spec"]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    assert spec["egress"] == []
    assert all(rule["from"] for rule in spec["ingress"])


def test_the_autoscaler_follows_the_queue_by_the_adapter_s_name() -> None:
    spec = _manifests("base")["HorizontalPodAutoscaler"]["spec"]
    deployment = _manifests("base")["Deployment"]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
    assert spec["scaleTargetRef"] == target
    assert "replicas" not in deployment["spec"], "each apply would undo the autoscaler"
    (metric,) = spec["metrics"]
    adapter = yaml.safe_load((KUBERNETES / "monitoring" / "prometheus-adapter.yaml").read_text())
    names = [rule["name"]["as"] for rule in adapter["rules"]["custom"]]
    assert metric["pods"]["metric"]["name"] in names
