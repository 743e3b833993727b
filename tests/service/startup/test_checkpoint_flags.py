"""What `--checkpoint` may name, and what is said when it names the wrong thing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lamm_model.conversation import Modality
from lamm_model.spec import CheckpointError
from service.cli import serve
from service.engine.loading.model_source import ModelSource
from service.startup.checkpoint_flags import read_checkpoint_flags
from service.startup.model_groups import group_models, same_language_model
from tests.service.adapter_files import write_adapter

DIGEST = "0123456789abcdef"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "adapter", DIGEST)


def other_base(checkpoint: Path, directory: Path, digest: str) -> Path:
    shutil.copytree(checkpoint, directory)
    (directory / "provenance.json").write_text(json.dumps({"digest": digest}))
    return directory


def test_a_directory_is_named_after_itself_or_as_told(checkpoint: Path) -> None:
    [model] = read_checkpoint_flags([str(checkpoint)])
    assert (model.name, model.base, model.adapter) == ("tiny-lamm", checkpoint, None)
    assert model.spec.digest == DIGEST
    [model] = read_checkpoint_flags([f"mine/1={checkpoint}"])
    assert model.name == "mine/1"
    [model] = read_checkpoint_flags([f"mine={checkpoint}"], served_model_name="theirs")
    assert model.name == "theirs"


def test_a_directory_with_signs_in_its_name_is_taken_as_it_stands(
    checkpoint: Path, tmp_path: Path
) -> None:
    odd = other_base(checkpoint, tmp_path / "a=b@c", "x")
    assert read_checkpoint_flags([str(odd)])[0].base == odd
    [model] = read_checkpoint_flags([f"odd={odd}"])
    assert (model.name, model.base) == ("odd", odd)


def test_an_adapter_over_its_base(checkpoint: Path, adapter: Path) -> None:
    [model] = read_checkpoint_flags([f"red={adapter}@{checkpoint}"])
    assert (model.name, model.base, model.adapter) == ("red", checkpoint, adapter)
    assert model.spec.modalities == (Modality.IMAGE, Modality.POINT_CLOUD)
    assert model.spec.vocab_size == ModelSource.from_pretrained(checkpoint).spec.vocab_size
    # Its weights are the base's and its own.
    assert len(model.spec.digest) == 64
    assert model.spec.digest != DIGEST


def test_an_adapter_finds_its_base_among_the_others(
    checkpoint: Path, adapter: Path, tmp_path: Path
) -> None:
    blue = write_adapter(tmp_path / "blue", DIGEST, ["image"])
    models = read_checkpoint_flags([str(adapter), f"{blue}@{checkpoint}"])
    assert [(m.name, m.base) for m in models] == [("adapter", checkpoint), ("blue", checkpoint)]
    assert models[0].spec.digest != models[1].spec.digest
    assert models[1].spec.modalities == (Modality.IMAGE,)
    twin = other_base(checkpoint, tmp_path / "twin", DIGEST)
    models = read_checkpoint_flags([str(checkpoint), f"{blue}@{twin}"])
    assert [m.base for m in models] == [checkpoint, checkpoint]


def test_a_converted_directory_has_both(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "lamm-7b" / "base")
    write_adapter(tmp_path / "lamm-7b" / "adapter", DIGEST)
    pair = tmp_path / "lamm-7b"
    for flag, name in ((str(pair), "lamm-7b"), (f"seven={pair}", "seven")):
        [model] = read_checkpoint_flags([flag])
        assert (model.name, model.base, model.adapter) == (name, pair / "base", pair / "adapter")


@pytest.mark.parametrize(
    ("flags", "error", "message"),
    [
        (["{tmp}/nowhere"], CheckpointError, r"nowhere: directory not found"),
        (["{base}", "{base}"], ValueError, "two checkpoints have the name 'tiny-lamm'"),
        (["a b={base}"], ValueError, "'a b' is not a valid model name"),
        (["={base}"], ValueError, "'' is not a valid model name"),
        (["{adapter}"], CheckpointError, f"base with digest {DIGEST}, which is not among"),
        (["{adapter}@{other}"], CheckpointError, f"digest {DIGEST}, but .*other has digest fedc"),
        (["{adapter}@{tmp}/nowhere"], CheckpointError, r"nowhere: directory not found"),
        (["{base}@{base}"], CheckpointError, r"adapter_config\.json not found; only an adapter"),
    ],
)
def test_wrong_choices_are_told(
    checkpoint: Path, adapter: Path, tmp_path: Path, flags: list[str], error: type, message: str
) -> None:
    places = {
        "base": checkpoint,
        "adapter": adapter,
        "tmp": tmp_path,
        "other": other_base(checkpoint, tmp_path / "other", "fedc"),
    }
    with pytest.raises(error, match=message):
        read_checkpoint_flags([flag.format(**places) for flag in flags])


@pytest.mark.parametrize("name", ["projectors.safetensors", "provenance.json"])
def test_a_broken_adapter_is_told(checkpoint: Path, adapter: Path, name: str) -> None:
    (adapter / name).write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match=f"adapter: .*{name}"):
        read_checkpoint_flags([f"{adapter}@{checkpoint}"])


def test_one_name_for_many_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="served_model_name is 'x', but there are 2 checkpoints"):
        read_checkpoint_flags([str(checkpoint), f"b={checkpoint}"], "x")


def with_weights(directory: Path, **tensors: float) -> Path:
    arrays = {
        key.replace("__", "."): np.full((3, 2), value, np.float32) for key, value in tensors.items()
    }
    save_file(arrays, directory / "model.safetensors")
    return directory


def test_language_models_are_compared_byte_by_byte(checkpoint: Path, tmp_path: Path) -> None:
    one, same, other, fewer = (
        other_base(checkpoint, tmp_path / name, name) for name in ("one", "same", "other", "fewer")
    )
    with_weights(one, language_model__a=1, language_model__b=2, vision_tower__c=3)
    with_weights(same, language_model__a=1, language_model__b=2, point_tower__c=4)
    with_weights(other, language_model__a=1, language_model__b=5)
    with_weights(fewer, language_model__a=1)
    assert same_language_model(one, same)
    assert not same_language_model(one, other)
    assert not same_language_model(one, fewer)
    config = json.loads((same / "config.json").read_text())
    config["text_config"] |= {"dtype": "float16"}
    (same / "config.json").write_text(json.dumps(config))
    assert same_language_model(one, same)
    config["text_config"] |= {"rope_theta": 5}
    (same / "config.json").write_text(json.dumps(config))
    assert not same_language_model(one, same)
    (other / "model.safetensors").write_bytes(b"\xff" * 20)
    assert not same_language_model(one, other)


def test_models_over_one_language_model_share_an_engine(checkpoint: Path, tmp_path: Path) -> None:
    bases = {
        name: other_base(checkpoint, tmp_path / name, name) for name in ("pics", "clouds", "else")
    }
    with_weights(bases["pics"], language_model__a=1, vision_tower__c=3)
    with_weights(bases["clouds"], language_model__a=1, point_tower__c=4)
    with_weights(bases["else"], language_model__a=2)
    flags = []
    for name, base in bases.items():
        adapter = write_adapter(tmp_path / f"{name}-adapter", name)
        flags.append(f"{name}={adapter}@{base}")
    merged = with_weights(other_base(checkpoint, tmp_path / "merged", "m"), language_model__a=1)
    flags += [f"bare={bases['clouds']}", str(merged), f"again={merged}"]
    groups = group_models(read_checkpoint_flags(flags))
    assert [[model.name for model in group] for group in groups] == [
        ["pics", "clouds", "bare"],
        ["else"],
        ["merged", "again"],
    ]


def test_wrong_choices_stop_the_start(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve(["--checkpoint", str(checkpoint), "--checkpoint", str(checkpoint)]) == 2
    assert "two checkpoints have the name 'tiny-lamm'" in capsys.readouterr().err
    assert serve(["--checkpoint", f"{checkpoint}@{checkpoint}"]) == 2
    assert "only an adapter takes a base" in capsys.readouterr().err
