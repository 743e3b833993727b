"""`python -m training.mini STAGE`: makes lamm-mini's frozen parts one by one, then the base."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from training.mini import corpus, sources
from training.mini.mixture import MIXTURE, Mixture
from training.mini.parts import assemble, encoder_pretraining, geometry, language_model
from training.mini.parts.pretrain import PretrainSettings, pretrain
from training.mini.scenes import clouds, pictures
from training.mini.writers.examples import write_examples

_SPLITS: tuple[sources.Split, sources.Split] = ("train", "test")


def main() -> None:
    """Runs one stage; an interrupted stage resumes where it stopped."""
    args = _arguments()
    sources.fetch(args.sources)
    torch.manual_seed(0)
    if args.stage != "fetch":
        _STAGES[args.stage](args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.mini", description=__doc__)
    add = parser.add_argument
    add("stage", choices=["fetch", *_STAGES])
    sources_help = "folder of the source packages (default: %(default)s)"
    add("--sources", type=Path, default=Path("data/sources"), help=sources_help)
    out_help = "output folder of the parts (default: %(default)s)"
    add("--out", type=Path, default=Path("data/mini"), help=out_help)
    add("--steps", type=int, help="optimizer steps (default: per stage)")
    add("--learning-rate", type=float, help="peak learning rate (default: per stage)")
    add(
        "--restart",
        action="store_true",
        help="continue from the trained weights with a new schedule; raising --steps of a finished "
        "run instead returns to a high learning rate and can diverge. Omit it to resume an "
        "interrupted run",
    )
    add(
        "--look-up-share",
        type=float,
        default=MIXTURE.look_ups,
        help="share of the language model's conversations that only look up facts by name "
        "(default: %(default)s)",
    )
    add("--seed", type=int, default=0, help="random seed of the scenes (default: %(default)s)")
    add("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    return parser.parse_args()


def _image_encoder(args: argparse.Namespace) -> None:
    train, test = (
        (
            pictures.ProductPool(*sources.products(args.sources, split)),
            pictures.WordPool(
                sources.words(args.sources, split), sources.fonts(args.sources, split)
            ),
        )
        for split in _SPLITS
    )
    settings = PretrainSettings(steps=8400, batch_size=32, learning_rate=1.2e-3, save_every=400)
    task = encoder_pretraining.ImageTask(geometry.vision_config(), train, test)
    pretrain(task, _asked(args, settings), args.out / args.stage)


def _point_encoder(args: argparse.Namespace) -> None:
    train, test = (
        clouds.SurfacePool(sources.furniture(args.sources, split), seed)
        for seed, split in enumerate(_SPLITS)
    )
    settings = PretrainSettings(
        steps=600, batch_size=32, learning_rate=1.5e-3, warmup_steps=100, save_every=200
    )
    task = encoder_pretraining.PointTask(geometry.point_config(), train, test)
    pretrain(task, _asked(args, settings), args.out / args.stage)


def _language_model(args: argparse.Namespace) -> None:
    train, test = (corpus.Pools.load(args.sources, split) for split in _SPLITS)
    tokenizer = language_model.make_tokenizer(train, args.out / args.stage)
    settings = PretrainSettings(
        steps=3000, batch_size=16, learning_rate=2e-3, warmup_steps=100, bfloat16=True
    )
    mixture = Mixture(look_ups=args.look_up_share)
    task = language_model.TextTask(train, test, tokenizer, mixture)
    pretrain(task, _asked(args, settings), args.out / args.stage)


def _asked(args: argparse.Namespace, recipe: PretrainSettings) -> PretrainSettings:
    """The stage's settings, overridden by the command line."""
    return replace(
        recipe,
        steps=args.steps or recipe.steps,
        learning_rate=args.learning_rate or recipe.learning_rate,
        threads=args.threads,
        restart=args.restart,
        seed=args.seed,
    )


def _base(args: argparse.Namespace) -> None:
    assemble.assemble(args.out, corpus.Pools.load(args.sources, "train"), args.out / "base")


def _examples(args: argparse.Namespace) -> None:
    meshes = sources.furniture(args.sources, "test")
    # "Chair" by Niuskir, from the CC0 part of the catalogue.
    chair = next(m for m in meshes if (m.name, m.creator) == ("Chair", "Niuskir"))
    write_examples(corpus.Pools.load(args.sources, "test"), chair, Path("examples"))


_STAGES = {
    "image-encoder": _image_encoder,
    "point-encoder": _point_encoder,
    "language-model": _language_model,
    "base": _base,
    "examples": _examples,
}

if __name__ == "__main__":
    main()
