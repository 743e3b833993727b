"""A conversion that is interrupted, or runs out of disk, goes on where it stopped."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lamm_model.checkpoint import atomic, shards
from lamm_model.checkpoint.convert import convert
from lamm_model.checkpoint.convert_inputs import ConvertOptions
from lamm_model.spec import CheckpointError, weights_digest


@pytest.fixture
def options(options: ConvertOptions) -> ConvertOptions:
    """About five shards."""
    return dataclasses.replace(options, max_shard_bytes=4_200_000)


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, BaseException | None], list[Path]]:
    """Lets the n-th shard fail when it is put on the disk; returns the shards that were written."""
    real = atomic.flush_file

    def arm(number: int, error: BaseException | None) -> list[Path]:
        written: list[Path] = []

        def flush(path: Path) -> None:
            written.append(path)
            if len(written) == number and error is not None:
                raise error
            real(path)

        monkeypatch.setattr(shards, "flush_file", flush)
        return written

    return arm


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt, None),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            CheckpointError,
            "the disk is full: .* GB are free, this shard requires .* GB",
        ),
    ],
)
def test_a_rerun_resumes(
    options: ConvertOptions,
    tmp_path: Path,
    fail_at: Callable[..., list[Path]],
    error: BaseException,
    raised: type[BaseException],
    message: str | None,
) -> None:
    whole = convert(dataclasses.replace(options, out=tmp_path / "whole"))
    names = sorted(p.name for p in (tmp_path / "whole").glob("*.safetensors"))
    assert len(names) >= 3
    fail_at(3, error)
    with pytest.raises(raised, match=message):
        convert(options)
    assert not options.out.exists()
    kept = tmp_path / ".out.converting" / "content"
    assert sorted(p.name for p in kept.glob("*.safetensors")) == names[:2]
    written = fail_at(0, None)
    assert convert(options)["digest"] == whole["digest"] == weights_digest(options.out)
    assert [p.stem for p in written] == [n.removesuffix(".safetensors") for n in names[2:]]
    assert not list(tmp_path.glob(".*"))
    manifest = json.loads((options.out / "manifest.json").read_text())
    assert sorted(manifest["files"]) == names


def test_a_shard_that_rotted_meanwhile_is_written_again(
    options: ConvertOptions, tmp_path: Path, fail_at: Callable[..., list[Path]]
) -> None:
    fail_at(3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        convert(options)
    first = min((tmp_path / ".out.converting" / "content").glob("*.safetensors"))
    data = bytearray(first.read_bytes())
    data[-1] ^= 1
    first.write_bytes(data)
    written = fail_at(0, None)
    digest = convert(options)["digest"]
    assert written[0].stem == first.stem
    assert digest == weights_digest(options.out)


def test_another_plan_begins_anew(
    options: ConvertOptions, tmp_path: Path, fail_at: Callable[..., list[Path]]
) -> None:
    fail_at(3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        convert(options)
    written = fail_at(0, None)
    convert(dataclasses.replace(options, dtype=torch.bfloat16))
    assert len(written) == len(list(options.out.glob("*.safetensors")))


def test_two_processes_do_not_write_the_same_target(
    options: ConvertOptions, tmp_path: Path
) -> None:
    root = tmp_path / ".out.converting"
    root.mkdir()
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another process is writing it"):
            convert(options)
    convert(options)
    assert not root.exists()
