"""Threads fit the machine's offer and the model's size, and sleep while they wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.engine.threads import ONE_THREAD_BYTES, available_cpus, choose_num_threads

_MISSING = Path("/nonexistent")


@pytest.mark.parametrize(
    ("written", "cpus"),
    [
        ("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8),
        ("", 8), ("nonsense", 8),
    ],
)  # fmt: skip
def test_a_quota_of_control_groups_limits_the_cpus(written: str, cpus: int, tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(written)
    assert available_cpus(quota_v2=quota, quota_v1=_MISSING, affinity=8) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("-1", 4), ("300000", 3), ("20000", 1)])
def test_the_first_version_of_control_groups_counts_too(
    quota: str, cpus: int, tmp_path: Path
) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu.cfs_period_us").write_text("100000")
    assert available_cpus(quota_v2=_MISSING, quota_v1=tmp_path, affinity=4) == cpus


def test_without_control_groups_the_affinity_decides() -> None:
    found = available_cpus(quota_v2=_MISSING, quota_v1=_MISSING)
    assert found == len(os.sched_getaffinity(0))


def test_small_weights_get_one_thread_and_large_ones_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert choose_num_threads(None, ONE_THREAD_BYTES - 1, 64) == 1
    assert choose_num_threads(None, ONE_THREAD_BYTES, 64) == available_cpus()
    assert choose_num_threads(None, ONE_THREAD_BYTES, 1) == 1
    assert choose_num_threads(3, 1, 64) == 3


def test_a_number_in_the_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert choose_num_threads(None, 1, 5) == 5


_PRINT_POLICY = """
import os, sys
from service.startup.interpreter import set_thread_wait
for name in sys.argv[3:]:
    __import__(name)
set_thread_wait(sys.argv[1], float(sys.argv[2]))
print(os.environ.get("OMP_WAIT_POLICY"))
"""


@pytest.mark.parametrize(
    ("policy", "before", "after"),
    [
        ("passive", {}, "PASSIVE"), ("active", {}, "ACTIVE"),
        ("auto", {}, "ACTIVE"), ("auto 0.5", {}, "PASSIVE"), ("active 2", {}, "ACTIVE"),
        ("passive", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ("passive", {"GOMP_SPINCOUNT": "1000"}, "None"),
    ],
)  # fmt: skip
def test_the_wait_policy_is_set_unless_the_operator_chose_one(
    policy: str, before: dict[str, str], after: str
) -> None:
    assert _policy(policy, before) == (after, "")


def test_a_wait_policy_that_comes_too_late_is_reported() -> None:
    said, warning = _policy("passive", {}, "torch")
    assert said == "None"
    assert "--thread-wait passive" in warning


def test_serving_imports_no_torch_before_the_policy_is_set() -> None:
    program = "import sys, service.cli; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def _policy(policy: str, before: dict[str, str], *imported: str) -> tuple[str, str]:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    name, _, load = policy.partition(" ")
    command = [sys.executable, "-c", _PRINT_POLICY, name, load or "0.1", *imported]
    done = subprocess.run(command, env=kept | before, capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr.strip()
