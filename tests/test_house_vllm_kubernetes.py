"""The Kubernetes overlay `vllm`: valid by the API's schema, in order, on one GPU, restricted."""

from __future__ import annotations

import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from service.config.settings import Settings
from tests import vllm_containers as containers
from tests.vllm_containers import KUBERNETES

KUBECTL = shutil.which("kubectl")


@pytest.mark.parametrize("version", ["1.30", "1.35"])
@pytest.mark.parametrize(("folder", "patch"), [("gpu", "gpu.yaml"), ("vllm", "vllm.yaml")])
def test_patched_deployments_keep_to_the_schema(folder: str, patch: str, version: str) -> None:
    kubernetes_validate.validate(containers.deployment(folder, patch), version, strict=True)


def test_the_schema_refuses_a_misspelled_key_of_the_sidecar() -> None:
    deployment = containers.deployment("vllm", "vllm.yaml")
    deployment["spec"]["template"]["spec"]["initContainers"][1]["restartPolicies"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError, match="restartPolicies"):
        kubernetes_validate.validate(deployment, "1.35", strict=True)


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is missing")
def test_kustomize_makes_the_same() -> None:
    done = subprocess.run(
        [str(KUBECTL), "kustomize", str(KUBERNETES / "vllm")], capture_output=True, text=True
    )
    if "unknown command" in done.stderr:
        pytest.skip("this kubectl has no kustomize")
    assert done.returncode == 0, done.stderr
    made = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(done.stdout)}
    for manifest in made.values():
        kubernetes_validate.validate(manifest, "1.35", strict=True)
    pod, own = made["Deployment"]["spec"]["template"]["spec"], containers.pod()
    for kind in ("initContainers", "containers"):
        for container, expected in zip(pod[kind], own[kind], strict=True):
            image = "lamm:cpu" if expected["image"] == "lamm" else expected["image"]
            assert container.pop("image") == image
            for lists, key in (("env", "name"), ("volumeMounts", "mountPath")):
                found = {one[key]: one for one in container.pop(lists, [])}
                assert found == {one[key]: one for one in expected.pop(lists, [])}
            assert container == {key: value for key, value in expected.items() if key != "image"}
    spec = made["HorizontalPodAutoscaler"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 8)
    assert made["PersistentVolumeClaim"]["metadata"]["name"] == "lamm-checkpoints"


def test_a_rollout_needs_no_second_gpu() -> None:
    update = containers.deployment("vllm", "vllm.yaml")["spec"]["strategy"]["rollingUpdate"]
    assert update == {"maxSurge": 0, "maxUnavailable": 1}
    gpus = [
        container["resources"].get("limits", {}).get("nvidia.com/gpu")
        for container in (*containers.pod()["initContainers"], *containers.pod()["containers"])
    ]
    assert gpus == [None, "1", None]


def test_the_sidecar_is_up_before_the_service_and_ends_after_it() -> None:
    export, vllm = containers.pod()["initContainers"]
    assert "restartPolicy" not in export, "it must end before vLLM starts"
    assert vllm["restartPolicy"] == "Always"
    probes = [vllm[name] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    port = containers.options(vllm["args"])["--port"]
    for probe in probes:
        assert f"http://127.0.0.1:{port}/health" in probe["exec"]["command"][-1]
    load_s = probes[0]["periodSeconds"] * probes[0]["failureThreshold"]
    assert load_s >= Settings.model_fields["vllm_start_timeout_s"].default
    # /health fails while vLLM restarts, which a restart of the service only lengthens.
    assert containers.container("lamm")["livenessProbe"]["httpGet"]["path"] == "/livez"
    pre_stop = float(containers.container("lamm")["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = float(containers.environment("kubernetes", "lamm")["LAMM_SHUTDOWN_TIMEOUT_S"])
    assert containers.pod()["terminationGracePeriodSeconds"] >= pre_stop + drain + 40


def test_every_container_of_the_pod_can_do_no_more_than_it_must() -> None:
    pod, restricted = containers.pod(), containers.container("lamm")["securityContext"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    writers = []
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == restricted, container["name"]
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} <= set(volumes)
        writers += [container["name"]] if "readOnly" not in mounts["/srv/exports"] else []
        assert all("readOnly" in mounts[path] for path in mounts if path == "/srv/checkpoints")
    assert writers == ["vllm-model"]
    assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
    mounts = {
        mount["name"]: mount["mountPath"] for mount in containers.container("vllm")["volumeMounts"]
    }
    assert mounts["shm"] == "/dev/shm"  # noqa: S108 - a mount's name
    assert containers.options(containers.container("vllm")["args"])["--host"] == "127.0.0.1"
