import logging
import weakref

import numpy as np
import pytest
import torch
from drawn import (
    CLASSES,
    empty,
    errors_on_features,
    errors_on_segmentation,
    image,
    jungo,
    member,
    model,
    network,
    weights,
    write_arrays,
)
from torch import nn

from segtrail.config import Predictor
from segtrail.errors import ArtifactError, ConfigError
from segtrail.models.checkpoints import load_member, save_tensors
from segtrail.models.networks import probabilities
from segtrail.posterior import store
from segtrail.posterior.predict import SLICES, mc_mean, predicted, ready, sample, sample_chunk

CPU, LOG = torch.device("cpu"), logging.getLogger("t")
SUBJECT = {"over": "subject"}
SINGLE = Predictor(title="one", model="m", kind="single")
MC = Predictor(title="mc", model="m", kind="mc_dropout", samples=3)
ALEATORIC = Predictor(title="noise", model="m", kind="aleatoric", rescale=SUBJECT)
AUXILIARY = Predictor(title="aux", model="m", kind="auxiliary", rescale=SUBJECT)
# Of Mehrtash 2020, and of Jungo 2019 with both layouts.
DROPPING = {
    "unet": model(),
    "all": jungo(dropout={"rate": 0.3, "layout": "all"}),
    "center": jungo(dropout={"rate": 0.5, "layout": "center"}),
}


def sampled(one, predictor, picture, seed=1):
    out = empty(picture)
    sample(ready(one, CPU, predictor is MC), predictor, picture, seed, out)
    return out.probabilities


def slices_of(picture):
    """A picture (C, Z, Y, X) as the batches (N, C, Y, X) that are passed at once; dropout of elements depends
    on how they lie in memory."""
    x = torch.from_numpy(picture).transpose(0, 1)
    return x.contiguous(memory_format=torch.channels_last).split(SLICES)


@pytest.fixture
def arrays(tmp_path):
    return write_arrays(tmp_path / "arrays", "a", "b")


@pytest.mark.parametrize("one", [model(), model(dims=3), jungo(), DROPPING["center"]])
def test_a_single_member_s_probabilities(one):
    net, picture = network(one), image()
    x = torch.from_numpy(picture)
    p = probabilities(net(x.transpose(0, 1) if one.dims == 2 else x[None]), one)
    expected = p if one.dims == 2 else p[0].transpose(0, 1)
    found = sampled(member(one), SINGLE, picture)
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


@pytest.mark.parametrize("layout", DROPPING)
def test_mc_dropout_is_the_mean_of_plain_passes(layout):
    """Of the network as it was trained, with the same seed: a batch norm behind a dropout acts on what was
    dropped, and none is folded into the convolution before it."""
    one = DROPPING[layout]
    net, picture, expected = network(one), image(), []
    for module in net.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.train()
    torch.manual_seed(9)
    for x in slices_of(picture):
        expected.append(torch.stack([probabilities(net(x), one) for _ in range(MC.samples)]).mean(0))
    found = sampled(member(one), MC, picture, seed=9)
    np.testing.assert_allclose(found, torch.cat(expected).numpy(), atol=5e-4)
    assert np.abs(found - sampled(member(one), SINGLE, picture).astype(float)).max() > 0.01


@pytest.mark.parametrize("one", [jungo(dropout={"rate": 0.3, "layout": "all"}), model()])
def test_memory_does_not_grow_with_t(one):
    """Of the outputs of T passes no more than two are alive at any time."""
    net, alive, most = network(one), set(), []
    name = "rest" if one.dropout.levels else "forward"
    plain = getattr(net, name)

    def forward(x):
        out = plain(x)
        alive.add(id(out))
        weakref.finalize(out, alive.discard, id(out))
        most.append(len(alive))
        return out

    setattr(net, name, forward)
    with torch.inference_mode():
        mc_mean(net, one, torch.rand(2, 2, 16, 16), 40)
    assert len(most) == 40
    assert max(most) <= 2


@pytest.mark.parametrize("layout", DROPPING)
def test_mc_dropout_leaves_batch_norm_alone(layout):
    one = member(DROPPING[layout])
    before = {name: tensor.clone() for name, tensor in one.network.state_dict().items()}
    out = empty(image())
    sample(one, MC, image(), 1, out)
    assert all(torch.equal(before[name], tensor) for name, tensor in one.network.state_dict().items())
    assert np.abs(out.probabilities.astype(float) - sampled(one, SINGLE, image())).max() > 0.01


@pytest.mark.parametrize("layout", DROPPING)
def test_mc_dropout_depends_on_the_seed_only(layout):
    one, picture = member(DROPPING[layout]), image()
    first, second, other = (sampled(one, MC, picture, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("one", [model(dropout=None), jungo()])
def test_mc_dropout_without_dropout_is_refused(one):
    with pytest.raises(ConfigError, match="without dropout"):
        sampled(member(one), MC, image())


def test_the_predicted_class_is_that_of_what_is_kept():
    """Probabilities that differ by less than float16 holds are equal, and of equal ones the first counts."""
    p = torch.tensor([[0.49999, 0.50001], [0.499, 0.501], [0.5, 0.5], [0.6, 0.4]])
    assert predicted(p).tolist() == [0, 1, 0, 0]
    kept = p.half().numpy()
    assert predicted(p).tolist() == kept.argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("sigma", "form"),
    [("absolute", np.abs), ("exponential", np.exp), ("softplus", lambda s: np.logaddexp(0, s))],
)
def test_an_aleatoric_member_tells_the_noise_of_the_predicted_class(sigma, form):
    """Probabilities are those of the logits without noise; σ is float32 and may be as large as it is."""
    noisy = jungo(aleatoric={"sigma": sigma})
    one, picture = member(noisy, seed=3), image()
    scale = 3e5 if sigma == "absolute" else 3
    one.network.noise[-1].weight.mul_(scale)
    outputs = torch.cat([one.network(x) for x in slices_of(picture)]).numpy().astype(float)
    logits, s = outputs[:, :CLASSES], outputs[:, CLASSES:]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    out = empty(picture, uncertain=True)
    sample(ready(one, CPU), ALEATORIC, picture, 1, out)
    np.testing.assert_allclose(out.probabilities, p, atol=5e-4)
    chosen = out.probabilities.argmax(axis=1)
    expected = np.take_along_axis(form(s), chosen[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(out.uncertainty, expected, rtol=1e-3, atol=1e-5 * scale)
    assert len(np.unique(chosen)) > 1  # not of one class everywhere
    assert out.uncertainty.min() >= 0
    if sigma == "absolute":
        assert out.uncertainty.max() > np.finfo(np.float16).max


@pytest.mark.parametrize("layout", DROPPING)
def test_chunk(tmp_path, arrays, layout):
    one = DROPPING[layout]
    members = [weights(tmp_path / f"{index:03d}.safetensors", one, index) for index in range(2)]
    sample_chunk(members, arrays, MC, (7, "s"), tmp_path / "out", LOG, device="cpu")
    for name in ("a", "b"):
        posterior = store.load(tmp_path / "out", "acdc", name)
        assert posterior.probabilities.shape == (2, 20, CLASSES, 12, 14)
        assert (posterior.about["members"], posterior.about["samples"]) == (["000", "001"], 3)
        assert posterior.about["member_keys"] == ["k0", "k1"]
        assert posterior.uncertainty is None
        assert not np.array_equal(posterior.probabilities[0], posterior.probabilities[1])
    # The same image of another subject gets other dropout masks.
    first, second = (store.load(tmp_path / "out", "acdc", name).probabilities for name in ("a", "b"))
    assert not np.array_equal(first, second)


def test_a_chunk_of_pictures_with_noise(tmp_path):
    """One slice each; σ lies beside the probabilities, with its range."""
    arrays = write_arrays(tmp_path / "arrays", "a", "b", depth=1, alike=False)
    noisy = jungo(aleatoric={})
    members = [weights(tmp_path / f"{index:03d}.safetensors", noisy, index) for index in range(2)]
    sample_chunk(members, arrays, ALEATORIC, (7, "s"), tmp_path / "out", LOG, device="cpu")
    found = [store.load(tmp_path / "out", "acdc", name) for name in ("a", "b")]
    for posterior in found:
        assert posterior.probabilities.shape == (2, 1, CLASSES, 12, 14)
        assert posterior.uncertainty.shape == (2, 1, 12, 14)
        for index, sigma in enumerate(posterior.uncertainty):
            assert posterior.range(index) == (sigma.min(), sigma.max())
            assert 0 <= sigma.min() < sigma.max()
    assert not np.array_equal(found[0].uncertainty, found[1].uncertainty)


def test_a_constant_uncertainty(tmp_path, arrays):
    """A noise head that has learnt nothing: its range has no width, and the chunk is written all the same."""
    path = tmp_path / "000.safetensors"
    flat = load_member(weights(path, jungo(aleatoric={})))
    nn.init.zeros_(flat.network.noise[-1].weight)
    nn.init.constant_(flat.network.noise[-1].bias, 0.25)
    save_tensors(path, flat.network.state_dict(), flat.about)
    sample_chunk([path], arrays, ALEATORIC, (7,), tmp_path / "out", LOG, device="cpu")
    posterior = store.load(tmp_path / "out", "acdc", "a")
    assert posterior.range(0) == (0.25, 0.25)


def auxiliaries(folder, kind, bases=("k0", "k1")):
    """Weights of two members that tell the errors of the bases of the same name."""
    one, channels = (errors_on_features(), 4) if kind == "features" else (errors_on_segmentation(), 3)
    return [
        weights(folder / kind / f"{index:03d}.safetensors", one, 5 + index, channels, classes=2, base=base)
        for index, base in enumerate(bases)
    ]


@pytest.fixture
def bases(tmp_path):
    return [weights(tmp_path / "base" / f"{index:03d}.safetensors", jungo(), index) for index in range(2)]


@pytest.mark.parametrize("kind", ["features", "segmentation"])
def test_an_auxiliary_posterior_is_its_base_s_own_with_an_uncertainty(tmp_path, arrays, bases, kind):
    """The class probabilities are the same bytes, so that the segmentation is the same in every voxel."""
    sample_chunk(bases, arrays, SINGLE, (7,), tmp_path / "own", LOG, device="cpu")
    members = auxiliaries(tmp_path, kind)
    # Members are matched by name, in whatever order the base's come.
    sample_chunk(members, arrays, AUXILIARY, (7,), tmp_path / "out", LOG, device="cpu", base=bases[::-1])
    for name in ("acdc__a.npy", "acdc__b.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "own" / name).read_bytes()
    posterior = store.load(tmp_path / "out", "acdc", "a")
    assert posterior.about["base_keys"] == ["k0", "k1"]
    assert posterior.about["member_keys"] == ["k5", "k6"]
    x = torch.from_numpy(image()).transpose(0, 1)
    for index in range(2):
        base, tells = (load_member(paths[index]).network for paths in (bases, members))
        if kind == "features":
            seen = base.features(x)
        else:
            classes = torch.from_numpy(posterior.probabilities[index].argmax(axis=1))
            assert len(classes.unique()) > 1
            seen = torch.cat([x, classes[:, None].float()], 1)
        wrong = tells(seen).softmax(1)[:, 1].numpy()
        np.testing.assert_allclose(posterior.uncertainty[index], wrong, atol=1e-4)
        assert posterior.range(index) == (
            posterior.uncertainty[index].min(),
            posterior.uncertainty[index].max(),
        )
        assert np.ptp(wrong) > 0.01


def test_an_auxiliary_member_goes_with_the_base_it_was_trained_on(tmp_path, arrays, bases):
    def run(members, base, predictor=AUXILIARY):
        sample_chunk(members, arrays, predictor, (7,), tmp_path / "out", LOG, device="cpu", base=base)

    other = auxiliaries(tmp_path, "features", ("k0", "k8"))
    with pytest.raises(ArtifactError, match=r"001\.safetensors\n.*expected:.*k1(.|\n)*key k8"):
        run(other, bases)
    members = auxiliaries(tmp_path, "segmentation")
    with pytest.raises(ArtifactError, match=r"expected:.*001 among them"):
        run(members, bases[:1])
    with pytest.raises(ArtifactError, match="none"):
        run(members, [])
    with pytest.raises(ConfigError, match="a model that is none"):
        run(bases, bases)
    volumes = weights(tmp_path / "volumes" / "000.safetensors", model(dims=3))
    with pytest.raises(ConfigError, match="dims 2 of an auxiliary model, 3 of"):
        run(members[:1], [volumes])
    assert not (tmp_path / "out").exists()


def test_chunks_do_not_depend_on_what_else_is_in_them(tmp_path, arrays):
    """A member or a subject more changes nothing of the others."""
    one = model()
    members = [weights(tmp_path / f"{index:03d}.safetensors", one, index) for index in range(2)]
    sample_chunk(members, arrays, MC, (7, "s"), tmp_path / "both", LOG, device="cpu")
    fewer = write_arrays(tmp_path / "fewer", "b")
    sample_chunk(members[1:], fewer, MC, (7, "s"), tmp_path / "one", LOG, device="cpu")
    both, alone = (store.load(tmp_path / name, "acdc", "b").probabilities for name in ("both", "one"))
    assert np.array_equal(both[1], alone[0])


@pytest.mark.parametrize("kind", ["features", "segmentation"])
def test_the_same_posterior_has_the_same_bytes(tmp_path, arrays, bases, kind):
    members = auxiliaries(tmp_path, kind)
    for name in ("one", "two"):
        sample_chunk(members, arrays, AUXILIARY, (7,), tmp_path / name, LOG, device="cpu", base=bases)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == [f"acdc__{s}.{end}" for s in "ab" for end in ("json", "npy", "uncertainty.npy")]
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_failure_leaves_what_was_there(tmp_path, arrays):
    one = model(dropout=None)
    path = weights(tmp_path / "000.safetensors", one)
    sample_chunk([path], arrays, SINGLE, (7,), tmp_path / "out", LOG, device="cpu")
    before = (tmp_path / "out" / "acdc__a.npy").read_bytes()
    with pytest.raises(ConfigError):
        sample_chunk([path], arrays, MC, (7,), tmp_path / "out", LOG, device="cpu")
    assert (tmp_path / "out" / "acdc__a.npy").read_bytes() == before
    assert not list(tmp_path.glob(".out*"))


def test_a_chunk_removes_what_a_killed_job_left_of_it(tmp_path, arrays):
    one = model(dropout=None)
    path = weights(tmp_path / "000.safetensors", one)
    left = tmp_path / ".out.0123abcd.part"
    left.mkdir()
    (left / "acdc__a.npy").write_bytes(b"half")
    sample_chunk([path], arrays, SINGLE, (7,), tmp_path / "out", LOG, device="cpu")
    assert {path.name for path in tmp_path.iterdir()} == {"000.safetensors", "arrays", "out"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_cuda_without_a_gpu_stops_before_anything_starts(tmp_path, arrays):
    with pytest.raises(ConfigError, match="torch sees no GPU"):
        sample_chunk([], arrays, SINGLE, (7,), tmp_path / "out", LOG, device="cuda")


def test_member_on_disk_predicts_as_before(tmp_path):
    one = model()
    loaded = load_member(weights(tmp_path / "000.safetensors", one))
    x = torch.from_numpy(image()).transpose(0, 1)
    torch.testing.assert_close(loaded.network(x), network(one)(x), atol=1e-5, rtol=1e-5)
    assert loaded.classes == CLASSES
    assert loaded.model.trained_by() == one.trained_by()
