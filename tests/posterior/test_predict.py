import logging

import numpy as np
import pytest
import torch
from torch import nn

from segtrail.config import Model, Predictor
from segtrail.data import prepared
from segtrail.data.geometry import Geometry
from segtrail.errors import ConfigError
from segtrail.files import write_json
from segtrail.models.checkpoints import load_member, save_tensors
from segtrail.models.unet import build, folded, probabilities
from segtrail.posterior import store
from segtrail.posterior.predict import mc_mean, sample, sample_chunk

CLASSES = 3
DROPOUT = {"rate": 0.5, "levels": 2}
SINGLE = Predictor(title="one", model="m", kind="single")
MC = Predictor(title="mc", model="m", kind="mc_dropout", samples=3)


def model(**changes):
    values = {"title": "", "filters": [4, 8, 16], "members": 1, "loss": "dice", "activation": "sigmoid"}
    training = {"epochs": 1, "batch_size": 1, "learning_rate": 0.01}
    return Model.model_validate({**values, "dropout": DROPOUT, "training": training, **changes})


def network(one, channels=2, seed=0):
    """An untrained network whose batch norms have statistics of their own."""
    torch.manual_seed(seed)
    made = build(one, channels, CLASSES)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return made.eval().requires_grad_(False)


def weights(path, one, seed=0):
    about = {"key": f"k{seed}", "model": one.trained_by(), "in_channels": 2, "classes": CLASSES}
    save_tensors(path, network(one, seed=seed).state_dict(), about)
    return path


def image(depth=20, size=12):
    return np.random.default_rng(0).random((2, depth, size, size + 2), np.float32)


def sampled(net, one, predictor, picture, seed=1):
    out = np.empty((picture.shape[1], CLASSES, *picture.shape[2:]), np.float16)
    sample(net, one, predictor, picture, seed, out)
    return out


def write_arrays(folder, *names):
    for name in names:
        picture = image()
        geometry = Geometry.of_scan(picture.shape[:0:-1], np.eye(4), (1, 1, 1))
        one = prepared.Prepared(name, name, "acdc", "", "", "", "test", picture, picture[0] > 0.5, geometry)
        prepared.save(folder / prepared.file_name("acdc", name), one)
    entries = [{"file": prepared.file_name("acdc", name), "excluded": ""} for name in names]
    write_json(folder / "manifest.json", {"subjects": entries})
    return folder


@pytest.fixture
def arrays(tmp_path):
    return write_arrays(tmp_path / "arrays", "a", "b")


@pytest.mark.parametrize("dims", [2, 3])
def test_a_single_member_s_probabilities(dims):
    one = model(dims=dims)
    net, picture = network(one), image()
    x = torch.from_numpy(picture)
    p = probabilities(net(x.transpose(0, 1) if dims == 2 else x[None]), one)
    expected = p if dims == 2 else p[0].transpose(0, 1)
    found = sampled(folded(net), one, SINGLE, picture)
    np.testing.assert_allclose(found, expected.numpy(), atol=5e-4)
    np.testing.assert_allclose(found.sum(axis=1, dtype=np.float32), 1, atol=2e-3)


def test_mc_mean_is_the_mean_of_full_passes():
    """The divided network with the same random numbers equals T passes of the whole network."""
    one = model()
    net = network(one)
    net.dropout.train()
    x = torch.from_numpy(image()).transpose(0, 1)
    torch.manual_seed(5)
    passes = [probabilities(net(x), one) for _ in range(4)]
    torch.manual_seed(5)
    torch.testing.assert_close(mc_mean(net, one, x, 4), torch.stack(passes).mean(0), atol=1e-5, rtol=1e-5)
    assert (passes[0] - passes[1]).abs().max() > 0.01


def test_mc_dropout_leaves_batch_norm_alone():
    one = model()
    net, picture = network(one), image()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    dropped = sampled(net, one, MC, picture)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert np.abs(dropped.astype(float) - sampled(net, one, SINGLE, picture)).max() > 0.01


def test_mc_dropout_depends_on_the_seed_only():
    one = model()
    net, picture = network(one), image()
    first, second, other = (sampled(net, one, MC, picture, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_mc_dropout_without_dropout_is_refused():
    one = model(dropout=None)
    with pytest.raises(ConfigError, match="without dropout"):
        sampled(network(one), one, MC, image())


def test_chunk(tmp_path, arrays):
    one = model()
    members = [weights(tmp_path / f"{index:03d}.safetensors", one, index) for index in range(2)]
    sample_chunk(members, arrays, MC, (7, "s"), tmp_path / "out", logging.getLogger("t"), device="cpu")
    for name in ("a", "b"):
        posterior = store.load(tmp_path / "out", "acdc", name)
        assert posterior.probabilities.shape == (2, 20, CLASSES, 12, 14)
        assert (posterior.about["members"], posterior.about["samples"]) == (["000", "001"], 3)
        assert posterior.about["member_keys"] == ["k0", "k1"]
        assert not np.array_equal(posterior.probabilities[0], posterior.probabilities[1])
    # The same image of another subject gets other dropout masks.
    first, second = (store.load(tmp_path / "out", "acdc", name).probabilities for name in ("a", "b"))
    assert not np.array_equal(first, second)


def test_chunks_do_not_depend_on_what_else_is_in_them(tmp_path, arrays):
    """A member or a subject more changes nothing of the others."""
    one, log = model(), logging.getLogger("t")
    members = [weights(tmp_path / f"{index:03d}.safetensors", one, index) for index in range(2)]
    sample_chunk(members, arrays, MC, (7, "s"), tmp_path / "both", log, device="cpu")
    fewer = write_arrays(tmp_path / "fewer", "b")
    sample_chunk(members[1:], fewer, MC, (7, "s"), tmp_path / "one", log, device="cpu")
    both, alone = (store.load(tmp_path / name, "acdc", "b").probabilities for name in ("both", "one"))
    assert np.array_equal(both[1], alone[0])


def test_a_failure_leaves_what_was_there(tmp_path, arrays):
    one = model(dropout=None)
    member = weights(tmp_path / "000.safetensors", one)
    sample_chunk([member], arrays, SINGLE, (7,), tmp_path / "out", logging.getLogger("t"), device="cpu")
    before = (tmp_path / "out" / "acdc__a.npy").read_bytes()
    with pytest.raises(ConfigError):
        sample_chunk([member], arrays, MC, (7,), tmp_path / "out", logging.getLogger("t"), device="cpu")
    assert (tmp_path / "out" / "acdc__a.npy").read_bytes() == before
    assert not list(tmp_path.glob(".out*"))


def test_a_chunk_removes_what_a_killed_job_left_of_it(tmp_path, arrays):
    one = model(dropout=None)
    member = weights(tmp_path / "000.safetensors", one)
    left = tmp_path / ".out.0123abcd.part"
    left.mkdir()
    (left / "acdc__a.npy").write_bytes(b"half")
    sample_chunk([member], arrays, SINGLE, (7,), tmp_path / "out", logging.getLogger("t"), device="cpu")
    assert {path.name for path in tmp_path.iterdir()} == {"000.safetensors", "arrays", "out"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_cuda_without_a_gpu_stops_before_anything_starts(tmp_path, arrays):
    with pytest.raises(ConfigError, match="torch sees no GPU"):
        sample_chunk([], arrays, SINGLE, (7,), tmp_path / "out", logging.getLogger("t"), device="cuda")


def test_member_on_disk_predicts_as_before(tmp_path):
    one = model()
    loaded = load_member(weights(tmp_path / "000.safetensors", one))
    x = torch.from_numpy(image()).transpose(0, 1)
    torch.testing.assert_close(loaded.network(x), network(one)(x), atol=1e-5, rtol=1e-5)
    assert loaded.classes == CLASSES
    assert loaded.model.trained_by() == one.trained_by()
