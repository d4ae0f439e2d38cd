"""Pictures whose pixels name their picture and place, whole or cut, and experiments that train on them."""

from dataclasses import replace
from itertools import product

import numpy as np

from scn.config.params import DataConfig, EvaluateConfig, Experiment
from scn.config.run import RunConfig
from scn.config.train import TrainConfig
from scn.networks.scn.config import ScnConfig
from scn.shards.samples import About, Sample


def experiment(task: str = "sr", level: int = 2, **settings: object) -> Experiment:
    """A small experiment; `settings` are keys of the sections train and run."""
    run = {key: value for key, value in settings.items() if key in RunConfig.model_fields}
    train = {key: value for key, value in settings.items() if key not in run}
    small = {"batch_size": 8, "patch_size": 8, "patches_per_image": 6, "epochs": 2, "hold_epochs": 1}
    return Experiment(
        name=f"{task}-{level}",
        task_name=task,
        level=level,
        data=DataConfig(train=["a"], evaluation=["b"]),
        model=ScnConfig(),
        train=TrainConfig.model_validate({**small, **train}),
        run=RunConfig.model_validate(run),
        evaluate=EvaluateConfig(),
    )


def pictures(count: int = 4, task: str = "sr", size: int = 20) -> list[Sample]:
    """Samples whose hr is lr with every pixel repeated; a denoising sample has one channel and no lr."""
    result, scale = [], 2 if task == "sr" else 1
    for i in range(count):
        y, x = np.mgrid[0:size, 0:size]
        lr = np.stack([np.full_like(x, i), y, x], axis=-1).astype(np.uint8)
        about = About(name=f"{i}", index=i, height=size * scale, width=size * scale)
        hr = lr.repeat(scale, 0).repeat(scale, 1)
        result.append(Sample(about=about, hr=hr, lr=lr) if task == "sr" else Sample(about=about, hr=hr[..., 0]))
    return result


def cut(picture: Sample, side: int, stride: int) -> list[Sample]:
    """Cuts a picture into overlapping sub-images of `side` pixels of the target; the last ones end at the edge."""
    height, width = picture.hr.shape[:2]
    corners = [[*range(0, length - side, stride), length - side] for length in (height, width)]
    places = list(product(*corners))
    scale = 1 if picture.lr is None else height // picture.lr.shape[0]
    return [
        replace(
            picture,
            about=picture.about.model_copy(update={"part": n, "parts": len(places), "top": y, "left": x}),
            hr=picture.hr[y : y + side, x : x + side],
            lr=None
            if picture.lr is None
            else picture.lr[y // scale : (y + side) // scale, x // scale : (x + side) // scale],
        )
        for n, (y, x) in enumerate(places)
    ]
