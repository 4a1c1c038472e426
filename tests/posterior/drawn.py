"""Untrained members and random subjects that the tests of posteriors use."""

import numpy as np
import torch
from torch import nn

from segtrail.config import Model
from segtrail.data import prepared
from segtrail.data.geometry import Geometry
from segtrail.files import write_json
from segtrail.models.checkpoints import Member, save_tensors
from segtrail.models.networks import UpsamplingUNet, build
from segtrail.posterior.store import Arrays

CLASSES = 3
DROPOUT = {"rate": 0.5, "levels": 2}


def model(**changes):
    values = {"title": "", "filters": [4, 8, 16], "members": 1, "loss": "dice", "activation": "sigmoid"}
    training = {"epochs": 1, "batch_size": 1, "learning_rate": 0.01}
    return Model.model_validate({**values, "dropout": DROPOUT, "training": training, **changes})


def jungo(**changes):
    """The network of Jungo 2019, small."""
    values = {"architecture": "upsampling_unet", "loss": "cross_entropy", "activation": "softmax"}
    return model(**{**values, "dropout": None, **changes})


def errors_on_features():
    auxiliary = {"model": "base", "input": "features"}
    return jungo(architecture="pointwise", filters=[4, 4], auxiliary=auxiliary)


def errors_on_segmentation(**changes):
    auxiliary = {"model": "base", "input": "segmentation", "folds": "cv"}
    return jungo(auxiliary=auxiliary, **changes)


def network(one, channels=2, seed=0, classes=CLASSES):
    """An untrained network that puts out all kinds of things, batch norms with statistics of their own."""
    torch.manual_seed(seed)
    made = build(one, channels, classes)
    for module in made.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    made = made.eval().requires_grad_(False)
    if isinstance(made, UpsamplingUNet):
        last = made.head[-1]  # no class is predicted everywhere
        last.bias -= made(torch.rand(4, channels, 16, 16))[:, : len(last.bias)].mean((0, 2, 3))
    return made


def member(one, channels=2, seed=0, classes=CLASSES):
    return Member(network(one, channels, seed, classes), one, classes, {"key": f"k{seed}"})


def weights(path, one, seed=0, channels=2, classes=CLASSES, **about):
    about |= {"key": f"k{seed}", "model": one.trained_by(), "in_channels": channels, "classes": classes}
    save_tensors(path, network(one, channels, seed, classes).state_dict(), about)
    return path


def image(depth=20, size=12, seed=0):
    return np.random.default_rng(seed).random((2, depth, size, size + 2), np.float32)


def empty(picture, uncertain=False, classes=CLASSES):
    """Arrays of one member to be filled."""
    depth, *plane = picture.shape[1:]
    uncertainty = np.empty((depth, *plane), np.float32) if uncertain else None
    return Arrays(np.empty((depth, classes, *plane), np.float16), uncertainty)


def write_arrays(folder, *names, excluded=(), depth=20, alike=True):
    """A folder as `prepare_many` leaves it; every subject has the same image if `alike`."""
    for index, name in enumerate(names):
        picture = image(depth, seed=0 if alike else index)
        geometry = Geometry.of_scan(picture.shape[:0:-1], np.eye(4), (1, 1, 1))
        about = dict(zip(prepared.NAMES, (name, name, "acdc", "", "", "", "test"), strict=True))
        one = prepared.Prepared(**about, image=picture, label=picture[0] > 0.5, geometry=geometry)
        prepared.save(folder / prepared.file_name("acdc", name), one)
    there = [
        {"dataset": "acdc", "subject": name, "file": prepared.file_name("acdc", name), "excluded": ""}
        for name in names
    ]
    gone = [{"dataset": "acdc", "subject": name, "file": "", "excluded": "no label"} for name in excluded]
    write_json(folder / "manifest.json", {"subjects": there + gone})
    return folder
