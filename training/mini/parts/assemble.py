"""Assembles the frozen parts into the base checkpoint of the LAMM stage.

The projectors start from a ridge regression of the encoders' features onto the embeddings of facts
that the base language model was trained with (`language_model.FactReader`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel, LlamaForCausalLM

from lamm_model.config import LammConfig
from lamm_model.encoders.epcl import EpclEncoder
from lamm_model.modeling import LammForConditionalGeneration
from lamm_model.processing import write_processor_config
from training.mini import corpus
from training.mini.parts import encoder_pretraining
from training.mini.parts.language_model import FactReader
from training.mini.scenes import clouds, drawn_scenes, facts

_RIDGE = 1e-2
_SCENES = 2800


def assemble(parts: Path, pools: corpus.Pools, out: Path) -> LammForConditionalGeneration:
    """Writes the base checkpoint from the image-encoder, point-encoder and language-model parts."""
    # Folders of `parts`: nothing is downloaded.
    vision = CLIPVisionModel.from_pretrained(parts / "image-encoder").eval()  # nosec B615
    point = EpclEncoder.from_pretrained(parts / "point-encoder")
    point.eval()  # type: ignore[no-untyped-call]
    language = LlamaForCausalLM.from_pretrained(parts / "language-model").eval()  # nosec B615
    config = LammConfig(  # type: ignore[call-arg] # token ids go to the base class
        text_config=language.config.to_dict(),
        vision_config=vision.config.to_dict(),
        point_config=point.config.to_dict(),
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    model = LammForConditionalGeneration(config)
    model.eval()  # type: ignore[no-untyped-call]
    assert model.vision_tower is not None
    assert model.point_tower is not None
    model.vision_tower.load_state_dict(vision.state_dict())
    model.point_tower.load_state_dict(point.state_dict())
    model.language_model.load_state_dict(language.state_dict())
    reader = FactReader.load(parts / "language-model", language.config.hidden_size)
    _fit_projectors(model, pools, reader)
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(parts / "language-model" / name, out / name)
    write_processor_config(
        out,
        config,
        num_points=clouds.NUM_POINTS,
        system_prompts={"normal": corpus.SYSTEM},
        max_offset=clouds.MAX_OFFSET,
    )
    return model


@torch.no_grad()
def _fit_projectors(
    model: LammForConditionalGeneration, pools: corpus.Pools, reader: FactReader
) -> None:
    rng = np.random.default_rng(99)
    scenes = [
        drawn_scenes.any_picture(pools.products, pools.words, rng, 0.3, 0.65)
        for _ in range(_SCENES)
    ]
    features = torch.cat(
        [
            model.encode_image_features(encoder_pretraining.pixels(scenes[k : k + 100]))
            for k in range(0, _SCENES, 100)
        ]
    )
    told = np.concatenate([facts.picture_facts(scene) for scene in scenes])
    assert model.image_projector is not None
    fit_ridge(model.image_projector, features.flatten(0, 1), reader.picture(torch.from_numpy(told)))
    rooms = [
        clouds.single(pools.surfaces, rng) if k % 2 else clouds.room(pools.surfaces, rng)
        for k in range(_SCENES // 2)
    ]
    points = torch.from_numpy(np.stack([room.points for room in rooms]))
    assert model.point_tower is not None
    assert model.point_projector is not None
    tokens = torch.cat([model.encode_point_features(part) for part in points.split(50)])
    positions = model.point_tower.token_positions(points).numpy()
    told = np.concatenate(
        [facts.cloud_facts(room, where) for room, where in zip(rooms, positions, strict=True)]
    )
    fit_ridge(model.point_projector, tokens.flatten(0, 1), reader.cloud(torch.from_numpy(told)))


def fit_ridge(projector: nn.Linear, features_ND: Tensor, targets_NH: Tensor) -> None:
    mean_D, mean_H = features_ND.mean(0), targets_NH.mean(0)
    centred, wanted = (features_ND - mean_D).double(), (targets_NH - mean_H).double()
    gram = centred.T @ centred
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight_DH = torch.linalg.solve(gram, centred.T @ wanted).float()
    projector.weight.copy_(weight_DH.T)
    projector.bias.copy_(mean_H - mean_D @ weight_DH)
