"""Pre-training tasks of lamm-mini's two encoders, with dense supervision.

Pictures and clouds are made on the fly.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from lamm_model.config import EpclConfig
from lamm_model.encoders.epcl import EpclEncoder
from lamm_model.processing import CLIP_MEAN, CLIP_STD
from lamm_model.tasks.rotated_boxes import box_3d_iou
from training.mini.parts.initialise import initialise
from training.mini.parts.pretrain import DenseTask
from training.mini.scenes import clouds, drawn_scenes, pictures
from training.mini.scenes.dense_targets import (
    IGNORE,
    MAX_LETTERS,
    NUM_CLASSES,
    patch_targets,
    token_owners,
    token_targets,
)
from training.mini.scenes.facts import SHAPE_FACTS, shape_facts
from training.mini.sources import FURNITURE


class ImageTask(DenseTask):
    """Every patch predicts the object that covers it: class, centre, size, colour and place."""

    encoder: CLIPVisionModel

    def __init__(
        self,
        config: CLIPVisionConfig,
        train: tuple[pictures.ProductPool, pictures.WordPool],
        test: tuple[pictures.ProductPool, pictures.WordPool],
    ) -> None:
        super().__init__()
        self.encoder = CLIPVisionModel(config)
        initialise(self.encoder)
        self._train, self._test = train, test
        self._grid = config.image_size // config.patch_size  # type: ignore[operator]
        width = config.hidden_size
        self.sizes = {
            "label": NUM_CLASSES,
            "centre": 1,
            "box": 4,
            "colour": len(pictures.COLOURS),
            "place": MAX_LETTERS,
        }
        self.dense = nn.Linear(width, sum(self.sizes.values()))
        self.slot_queries = nn.Parameter(torch.randn(MAX_LETTERS, width) * 0.05)
        self.slot_head = nn.Linear(width, 27)

    def loss(self, rng: np.random.Generator, batch_size: int) -> Tensor:
        draw = drawn_scenes.any_picture
        return self.loss_of([draw(*self._train, rng, 0.36, 0.68) for _ in range(batch_size)])

    def loss_of(self, scenes: list[pictures.PictureScene]) -> Tensor:
        """Weighted sum of the losses of all predictions for some pictures."""
        out, slots = self(pixels(scenes))
        targets = [patch_targets(scene, self._grid) for scene in scenes]
        want = {
            name: torch.from_numpy(np.stack([getattr(t, name) for t in targets]))
            for name in ("label", "centre", "box", "colour", "place", "slots")
        }
        covered = want["label"] > 0
        label = F.cross_entropy(
            out["label"].flatten(0, 1), want["label"].flatten(), reduction="none"
        )
        # Most of a picture is background; at full weight it dominates the loss early on.
        weight = torch.where(covered.flatten(), 1.0, 0.3)
        centre = F.binary_cross_entropy_with_logits(
            out["centre"].squeeze(-1), want["centre"], pos_weight=torch.tensor(4.0)
        )
        box = F.smooth_l1_loss(out["box"][covered], want["box"][covered], beta=0.02)
        colour = _mean_cross_entropy(out["colour"].flatten(0, 1), want["colour"].flatten())
        place = _mean_cross_entropy(out["place"].flatten(0, 1), want["place"].flatten())
        worded = want["slots"][:, 0] < 26
        slot = _mean_cross_entropy(slots[worded].flatten(0, 1), want["slots"][worded].flatten())
        return (
            (label * weight).sum() / weight.sum()
            + 0.5 * centre
            + 8.0 * box
            + 0.3 * colour
            + 0.3 * place
            + 0.7 * slot
        )

    def forward(self, pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Dense predictions by name, [B, P, *], and the word's slots [B, 6, 27]."""
        tokens = self.encoder(pixels).last_hidden_state[:, 1:]
        out = dict(
            zip(self.sizes, self.dense(tokens).split(list(self.sizes.values()), -1), strict=True)
        )
        attention = (tokens @ self.slot_queries.T).transpose(1, 2).softmax(-1)
        return out, self.slot_head(attention @ tokens)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        rng = np.random.default_rng(12345)
        products, words = self._test
        alone = [pictures.alone(products, rng) for _ in range(500)]
        many = [pictures.scene(products, rng) for _ in range(500)]
        texts = [pictures.word(words, rng) for _ in range(500)]
        out, _ = self._batched(alone)
        guess = out["label"][..., 1:11].log_softmax(-1).mean(1).argmax(-1)
        product = np.mean(
            [g == s.products[0].label for g, s in zip(guess.tolist(), alone, strict=True)]
        )
        out, _ = self._batched(many)
        seen = (out["centre"].squeeze(-1) > 0).sum(1).tolist()
        count = np.mean([n == len(s.products) for n, s in zip(seen, many, strict=True)])
        patch = self._right_patches(many, out)
        drawn = [drawn_scenes.draw(rng) for _ in range(300)]
        part = self._right_patches(drawn, self._batched(drawn)[0])
        _, slots = self._batched(texts)
        read = ["".join(chr(65 + k) for k in row if k < 26) for row in slots.argmax(-1).tolist()]
        word = np.mean([r == s.word for r, s in zip(read, texts, strict=True)])
        return {
            "product": float(product),
            "count": float(count),
            "patch": patch,
            "word": float(word),
            "part": part,
        }

    def _right_patches(self, scenes: list[pictures.PictureScene], out: dict[str, Tensor]) -> float:
        want = torch.from_numpy(np.stack([patch_targets(s, self._grid).label for s in scenes]))
        return (out["label"].argmax(-1) == want)[want > 0].float().mean().item()

    def _batched(self, scenes: list[pictures.PictureScene]) -> tuple[dict[str, Tensor], Tensor]:
        parts = [self(pixels(scenes[k : k + 100])) for k in range(0, len(scenes), 100)]
        return (
            {name: torch.cat([out[name] for out, _ in parts]) for name in self.sizes},
            torch.cat([slots for _, slots in parts]),
        )


class PointTask(DenseTask):
    """Every token predicts its object's class, the offset to its centre, and its size.

    It also predicts the facts that the language model reads in its place: a projector can only pass
    on what a linear layer finds in the features.
    """

    encoder: EpclEncoder

    def __init__(
        self, config: EpclConfig, train: clouds.SurfacePool, test: clouds.SurfacePool
    ) -> None:
        super().__init__()
        self.encoder = EpclEncoder(config)
        self._train, self._test = train, test
        self.dense = nn.Linear(config.hidden_size, len(FURNITURE) + 6)
        self.whole = nn.Linear(config.hidden_size, len(FURNITURE))
        self.told = nn.Linear(config.hidden_size, SHAPE_FACTS)

    def loss(self, rng: np.random.Generator, batch_size: int) -> Tensor:
        scenes = [_draw_cloud(self._train, rng) for _ in range(batch_size)]
        points = torch.from_numpy(np.stack([scene.points for scene in scenes]))
        tokens = self.encoder(points)
        positions = self.encoder.token_positions(points).numpy()
        targets = [token_targets(s, p) for s, p in zip(scenes, positions, strict=True)]
        label = torch.from_numpy(np.stack([t[0] for t in targets]))
        shape = torch.from_numpy(np.stack([t[1] for t in targets]))
        pairs = zip(positions, targets, strict=True)
        told = torch.from_numpy(np.stack([shape_facts(p, t[1]) for p, t in pairs]))
        out = self.dense(tokens)
        dense = F.cross_entropy(out[..., :-6].flatten(0, 1), label.flatten(), label_smoothing=0.05)
        box = F.smooth_l1_loss(out[..., -6:], shape, beta=0.1)
        alone = torch.tensor([len(scene.objects) == 1 for scene in scenes])
        whole = F.cross_entropy(
            self.whole(tokens.mean(1))[alone], label[alone, 0], label_smoothing=0.05
        )
        return dense + 2.0 * box + whole + 2.0 * F.mse_loss(self.told(tokens), told)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        rng = np.random.default_rng(12345)
        scenes = [clouds.single(self._test, rng) for _ in range(400)]
        tokens = self._encode(scenes)
        want = torch.tensor([scene.objects[0].label for scene in scenes])
        whole = (self.whole(tokens.mean(1)).argmax(-1) == want).float().mean().item()
        dense = self.dense(tokens)[..., :-6].log_softmax(-1).mean(1).argmax(-1)
        vote = (dense == want).float().mean().item()
        return {"whole": whole, "vote": vote, "box": self._boxes(rng)}

    def _boxes(self, rng: np.random.Generator) -> float:
        # Share of objects in rooms whose box, averaged over their tokens, has an IoU of 0.5.
        rooms = [clouds.room(self._test, rng) for _ in range(100)]
        shapes = self.dense(self._encode(rooms))[..., -6:].numpy()
        points = torch.from_numpy(np.stack([room.points for room in rooms]))
        found = []
        for room, shape, at in zip(
            rooms, shapes, self.encoder.token_positions(points).numpy(), strict=True
        ):
            said = np.concatenate([shape[:, :3] + at, shape[:, 3:]], axis=1)
            owner = token_owners(room, at)
            for number, placed in enumerate(room.objects):
                mine = said[owner == number]
                box = tuple(map(float, mine.mean(0))) if len(mine) else (0.0,) * 6
                found.append(box_3d_iou(box, (*placed.centre, *placed.size)) >= 0.5)
        return float(np.mean(found))

    def _encode(self, scenes: list[clouds.CloudScene]) -> Tensor:
        points = torch.from_numpy(np.stack([scene.points for scene in scenes]))
        return torch.cat([self.encoder(part) for part in points.split(50)])


def _mean_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    # A batch may have no word (or product); the plain mean would be nan.
    total = F.cross_entropy(logits, target, ignore_index=IGNORE, reduction="sum")
    return total / (target != IGNORE).sum().clamp(min=1)


def _draw_cloud(pool: clouds.SurfacePool, rng: np.random.Generator) -> clouds.CloudScene:
    return clouds.single(pool, rng) if rng.random() < 0.7 else clouds.room(pool, rng)


def pixels(scenes: list[pictures.PictureScene]) -> Tensor:
    """Pictures as the encoder's normalised input [B, 3, S, S]."""
    stacked = torch.from_numpy(np.stack([scene.picture for scene in scenes])).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    return (stacked.float() / 255 - mean) / std
