"""What does not fit, lies, is torn or carries code is refused with a list; nothing is written."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import pickle  # noqa: TID251 - to write what must be refused
import shutil
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lamm_model.checkpoint.convert import convert
from lamm_model.checkpoint.convert_inputs import ConvertOptions
from lamm_model.checkpoint.epcl_keys import open_epcl
from lamm_model.checkpoint.tensor_sources import open_weights
from lamm_model.checkpoint.torch_files import load_torch_file
from lamm_model.spec import CheckpointError


def refusal(options: ConvertOptions, **changes: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        convert(dataclasses.replace(options, **changes))
    assert not [p for p in options.out.parent.iterdir() if "out" in p.name]
    return str(caught.value)


def test_keys_that_are_missing_and_unexpected_are_all_listed(
    options: ConvertOptions, rename_delta: Callable[..., Path]
) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        del tensors["llama_proj.bias"]
        stem = "llama_model.base_model.model.model.layers."
        tensors[f"{stem}0.mlp.up_proj.lora_A.default.weight"] = torch.zeros(4, 64)
        del tensors[f"{stem}1.self_attn.v_proj.lora_B.default.weight"]

    text = refusal(options, delta=rename_delta(change))
    assert "2 missing:\n" in text
    assert "  base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight" in text
    assert "  llama_proj.bias" in text
    assert "1 unexpected:\n  llama_model.base_model.model.model.layers.0.mlp.up_proj" in text


def test_a_matrix_of_another_rank_is_named(
    options: ConvertOptions, rename_delta: Callable[..., Path]
) -> None:
    name = "llama_model.base_model.model.model.layers.1.self_attn.q_proj.lora_A.default.weight"
    path = rename_delta(lambda t: t.update({name: torch.zeros(3, 64)}))
    text = refusal(options, delta=path)
    assert "1 of another shape:\n" in text
    assert "layers.1.self_attn.q_proj.lora_A.weight: [3, 64], expected [4, 64]" in text


def test_numbers_that_are_not_finite(
    options: ConvertOptions, rename_delta: Callable[..., Path]
) -> None:
    path = rename_delta(lambda t: t.update({"llama_proj.bias": torch.full((64,), float("nan"))}))
    assert "not finite floating-point numbers:\n  bias" in refusal(options, delta=path)


def test_a_weight_that_leaves_float16(
    options: ConvertOptions, rename_delta: Callable[..., Path]
) -> None:
    path = rename_delta(lambda t: t.update({"llama_proj.bias": torch.full((64,), 1e6)}))
    text = refusal(options, delta=path)
    assert "image_projector.bias is not finite in torch.float16 (largest value: 65504)" in text


def edited_llm(upstream: Any, folder: Path, **config: Any) -> Path:
    shutil.copytree(upstream.llm, folder)
    value = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps(value))
    return folder


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"_name_or_path": "lmsys/vicuna-7b-v1.3"}, "contains 'v1.3'"),
        ({"max_position_embeddings": 4096}, "max_position_embeddings is 4096; Vicuna v0 has 2048"),
        ({"rms_norm_eps": 1e-5}, r"rms_norm_eps is 1e-05; Vicuna v0 has 1e-06"),
        ({"rope_scaling": {"type": "linear", "factor": 8.0}}, "rope is"),
        ({"vocab_size": 32000}, "vocab_size is 32000; Vicuna v0 has 32001 (v1.1, v1.3, v1.5"),
    ],
)
def test_another_vicuna_is_refused(
    options: ConvertOptions, upstream: Any, tmp_path: Path, config: dict[str, Any], reason: str
) -> None:
    llm = edited_llm(upstream, tmp_path / "vicuna", **config)
    text = refusal(options, llm=llm)
    assert reason in text
    assert "--force-base" in text


def test_force_takes_it_and_records_why(
    options: ConvertOptions, upstream: Any, tmp_path: Path
) -> None:
    llm = edited_llm(upstream, tmp_path / "vicuna", _name_or_path="vicuna-7b-v1.3")
    forced = dataclasses.replace(options, llm=llm, force_base=True)
    provenance = convert(forced)
    assert "v1.3" in provenance["base"]["forced_against"][0]
    digest = provenance["base"]["language_model"]["digest"]
    again = dataclasses.replace(forced, replace=True, expect_base_digest=digest)
    assert convert(again)["digest"] == provenance["digest"]
    with pytest.raises(CheckpointError, match=f"the digest is {digest}; expected 1234"):
        convert(dataclasses.replace(again, expect_base_digest="1234"))
    with pytest.raises(FileExistsError, match="out already exists"):
        convert(forced)


@pytest.mark.parametrize("depth", [0, 1])
def test_force_does_not_delete_what_is_converted(
    options: ConvertOptions, rename_delta: Callable[..., Path], depth: int
) -> None:
    delta = rename_delta(lambda t: None)
    out = delta.parents[depth]
    with pytest.raises(CheckpointError, match=f"{out} contains the input {delta}; replacing it"):
        convert(dataclasses.replace(options, delta=delta, out=out, replace=True))
    assert delta.is_file()


def test_the_config_saved_beside_the_delta_is_believed_first(
    options: ConvertOptions, rename_delta: Callable[..., Path]
) -> None:
    path = rename_delta(lambda t: None)
    sibling = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 64}
    (path.parent / "config.json").write_text(json.dumps(sibling))
    text = refusal(options, delta=path)
    assert "vocab_size is 32001; the config.json of the delta has 32000" in text


def test_a_base_of_other_sizes(
    options: ConvertOptions, upstream: Any, tmp_path: Path, rename_delta: Callable[..., Path]
) -> None:
    path = rename_delta(lambda t: {k: v for k, v in t.items() if ".layers.1." not in k})
    text = refusal(options, delta=path, force_base=True)
    assert "num_hidden_layers: 2 in the base, 1 in the delta" in text
    wide = rename_delta(lambda t: t.update({"llama_proj.weight": torch.zeros(64, 32)}))
    assert "input width 32, but the encoder has output width 64" in refusal(options, delta=wide)


def test_one_encoder_and_only_one(options: ConvertOptions, upstream: Any) -> None:
    assert "--vision or --points" in refusal(options, points=upstream.epcl)
    assert "--vision or --points" in refusal(options, vision=None)


def test_keys_that_no_one_knows_or_wants(
    options: ConvertOptions, upstream: Any, tmp_path: Path
) -> None:
    tensors = dict(upstream.clip_tensors)
    del tensors["visual.ln_post.bias"]
    tensors["visual.stranger"] = torch.zeros(1)
    tensors["visual.ln_pre.bias"] = torch.zeros(3)
    torch.save(tensors, tmp_path / "clip.pt")
    text = refusal(options, vision=tmp_path / "clip.pt")
    assert "1 missing:\n  vision_tower.post_layernorm.bias" in text
    assert "1 unexpected:\n  visual.stranger in " in text
    assert (
        "vision_tower.pre_layrnorm.bias: [3] in clip.pt (visual.ln_pre.bias), expected [64]" in text
    )


@pytest.mark.parametrize("which", ["delta", "vision", "points", "llm"])
def test_truncated_files(
    options: ConvertOptions, upstream: Any, tmp_path: Path, which: str
) -> None:
    changes: dict[str, Any] = {}
    if which == "llm":
        folder = tmp_path / "vicuna"
        shutil.copytree(upstream.llm, folder)
        path = folder / "model-00002-of-00002.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        changes["llm"] = folder
    else:
        source = {"delta": upstream.image_delta, "vision": upstream.clip, "points": upstream.epcl}
        data = source[which].read_bytes()
        path = tmp_path / "torn.pt"
        path.write_bytes(data[: len(data) // 2])
        changes[which] = path
        if which == "points":
            changes["vision"] = None
    text = refusal(options, **changes)
    assert f"{path}: " in text
    assert "cannot be read" in text


class Malicious:
    """Creates a file when a plain unpickler reads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("where", ["delta", "args", "archive"])
def test_a_pickle_with_code_is_refused_and_not_run(
    options: ConvertOptions, tmp_path: Path, upstream: Any, where: str
) -> None:
    mark, path = tmp_path / "ran", tmp_path / "bad.pt"
    if where == "delta":
        torch.save({**upstream.delta_tensors, "x": Malicious(mark)}, path)
        text = refusal(options, delta=path)
    elif where == "args":
        args = argparse.Namespace(pointnet_downsample=Malicious(mark))
        torch.save({"model": upstream.epcl_tensors, "args": args}, path)
        text = refusal(options, vision=None, points=path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bad/data.pkl", pickle.dumps(Malicious(mark), protocol=2))
            archive.writestr("bad/constants.pkl", pickle.dumps((), protocol=2))
        text = refusal(options, vision=path)
    assert "refused" in text
    assert "system" in text
    assert not mark.exists()


def test_numpy_scores_beside_epcl_weights_are_harmless(upstream: Any, tmp_path: Path) -> None:
    value = {
        "model": upstream.epcl_tensors,
        "args": argparse.Namespace(**vars(load_torch_file(upstream.epcl)["args"])),
        "best_val_metrics": {0.25: {"mAP": np.float64(0.5)}},
    }
    torch.save(value, tmp_path / "epcl.pth")
    assert open_epcl(tmp_path / "epcl.pth").unexpected == ()


@pytest.mark.parametrize("lie", ["shape", "offsets", "length"])
def test_a_safetensors_header_that_lies(
    options: ConvertOptions, upstream: Any, tmp_path: Path, lie: str
) -> None:
    folder = tmp_path / "vicuna"
    shutil.copytree(upstream.llm, folder)
    path = folder / "model-00001-of-00002.safetensors"
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    name = next(k for k in header if k != "__metadata__")
    if lie == "shape":
        header[name]["shape"][0] += 1
    elif lie == "offsets":
        header[name]["data_offsets"][1] += 1 << 40
    text = json.dumps(header).encode()
    told = 1 << 62 if lie == "length" else len(text)
    path.write_bytes(told.to_bytes(8, "little") + text + data[8 + size :])
    assert f"{path}: the weights cannot be read" in refusal(options, llm=folder)


def test_an_index_may_not_leave_its_directory(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="is outside the directory"):
        open_weights(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "b"}}))
    with pytest.raises(CheckpointError, match=r"b is missing"):
        open_weights(tmp_path)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_an_archive_whose_view_leaves_its_storage(tmp_path: Path) -> None:
    class Small(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("b", torch.arange(6.0))

        def forward(self, x: Tensor) -> Tensor:
            return x

    torch.jit.script(Small()).save(str(tmp_path / "good.pt"))
    out = io.BytesIO()
    with zipfile.ZipFile(tmp_path / "good.pt") as good, zipfile.ZipFile(out, "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            bad.writestr(name, data[:8] if name.endswith("/data/0") else data)
    (tmp_path / "bad.pt").write_bytes(out.getvalue())
    with pytest.raises(CheckpointError, match="storage 0 has 8 bytes; its tensor requires 24"):
        open_weights(tmp_path / "bad.pt").read("b")
    with (
        zipfile.ZipFile(tmp_path / "good.pt") as good,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in good.namelist():
            data = good.read(name)
            bomb.writestr(name, bytes(1 << 24) if name.endswith("/data/0") else data)
    assert (tmp_path / "bomb.pt").stat().st_size < 1 << 16
    with pytest.raises(CheckpointError, match="storage 0 is compressed"):
        open_weights(tmp_path / "bomb.pt").read("b")


def test_an_archive_whose_modules_hold_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = types.ModuleType("__torch__")
    kind = type("M", (), {"__module__": "__torch__"})
    script.M = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__torch__", script)
    module = kind()
    module.itself = module
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        archive.writestr("bad/data.pkl", pickle.dumps(module, protocol=2))
        archive.writestr("bad/constants.pkl", pickle.dumps((), protocol=2))
    with pytest.raises(CheckpointError, match="archive cannot be read: maximum recursion"):
        open_weights(tmp_path / "bad.pt")
