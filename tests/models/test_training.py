import csv
import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from disks import filled, small_disk
from trainings import Labelled, long_training, model, subjects, train

from segtrail.config import Training
from segtrail.errors import ArtifactError, ConfigError, SegtrailError
from segtrail.models import kept, training
from segtrail.models.arrays import Stack
from segtrail.models.checkpoints import load_about, load_member, load_tensors, save_tensors
from segtrail.models.devices import pick
from segtrail.models.history import best_epoch, dead_classes, finished, learning_rate


def history(weights):
    with weights.with_suffix(".csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rows(*dice):
    return [{"restart": 0, "val_dice_1": d, "val_dice": d} for d in dice]


@pytest.mark.parametrize(
    "changes",
    [{}, {"activation": "sigmoid"}, {"activation": "sigmoid", "background": "untrained"}, {"dims": 3}],
)
def test_dice_rises(tmp_path, changes):
    size = {"size": 8, "depth": 8} if changes.get("dims") == 3 else {}
    weights = train(
        tmp_path,
        model(**changes, training={"epochs": 30}),
        train=subjects(8, **size),
        val=subjects(2, seed=1, **size),
        seed_parts=(2, "member"),
    )
    dice = [float(row["val_dice"]) for row in history(weights)]
    assert max(dice) > 0.7 > 0.5 > dice[0]


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    first, second, other = (
        train(tmp_path / name, model(), seed_parts=seed)
        for name, seed in [("a", (1, "000")), ("b", (1, "000")), ("c", (1, "001"))]
    )
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()
    assert first.with_suffix(".csv").read_bytes() == second.with_suffix(".csv").read_bytes()


def test_number_of_members_and_title_do_not_matter(tmp_path):
    first = train(tmp_path / "a", model())
    second = train(tmp_path / "b", model(title="another", members=9))
    assert first.read_bytes() == second.read_bytes()


def started(folder: Path) -> subprocess.Popen[bytes]:
    """A process that does `long_training` into `folder`, as a job does."""
    return subprocess.Popen([sys.executable, Path(__file__).with_name("trainings.py"), str(folder)])


def until(true: Callable[[], bool], *running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert all(process.poll() is None for process in running)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def states(folder: Path) -> list[Path]:
    return list((folder / "resume").glob("[!.]*.safetensors"))


def epochs_saved(folder: Path) -> int:
    return max([0, *(len(load_about(state)["history"]) for state in states(folder))])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, number, caplog):
    one, changes = long_training()
    undisturbed = train(tmp_path / "undisturbed", one, **changes)
    killed = tmp_path / "killed"
    process = started(killed)
    until(lambda: epochs_saved(killed) > 2, process)
    process.send_signal(number)
    sent = time.monotonic()
    assert process.wait(timeout=10) == (143 if number == signal.SIGTERM else -9)
    assert time.monotonic() - sent < 5
    assert not (killed / "000.safetensors").exists()
    caplog.set_level(logging.INFO)
    resumed = train(killed, one, **changes)
    assert "goes on after epoch" in caplog.text
    assert resumed.read_bytes() == undisturbed.read_bytes()
    assert resumed.with_suffix(".csv").read_bytes() == undisturbed.with_suffix(".csv").read_bytes()
    assert not states(killed)


class Killed(BaseException):
    """What a kill looks like from inside."""


def killed_at(monkeypatch, folder: Path, step: str, count: int = 1, **changes: object) -> None:
    """Trains until the function `step` of the training is called the `count`th time, and ends there."""
    module = kept if step == "link" else training
    whole, calls = getattr(module, step), []

    def last(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == count:
            raise Killed
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, step, last)
        with pytest.raises(Killed):
            train(folder, model(), **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("000.safetensors", "000.csv")}


@pytest.mark.parametrize("outputs_deleted", [False, True])  # Snakemake deletes them before a job runs again
@pytest.mark.parametrize(
    ("step", "count"),
    [
        ("_train_epoch", 3),
        ("_save", 3),
        ("write_history", 1),
        ("save_tensors", 4),  # 3 epochs' states, then the weights
        ("_keep_finished", 1),
        ("link", 1),
        ("link", 2),
    ],
)
def test_killed_at_any_step_a_rerun_ends_with_the_same_bytes(
    tmp_path, monkeypatch, step, count, outputs_deleted
):
    train(tmp_path / "undisturbed", model())
    folder = tmp_path / "killed"
    killed_at(monkeypatch, folder, step, count)
    for name in (
        ".000.0123abcd.part.safetensors",
        f"resume/.{states(folder)[0].stem}.0123abcd.part.safetensors",
    ):
        (folder / name).write_bytes(b"what SIGKILL leaves")
    if outputs_deleted:
        for output in folder.glob("000.*"):
            output.unlink()
    if step not in ("_train_epoch", "_save"):
        monkeypatch.setattr(training, "_train_epoch", None)  # it must not train again
    train(folder, model())
    assert contents(folder) == contents(tmp_path / "undisturbed")
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        *("000.safetensors", "000.csv", "resume/done/000.safetensors", "resume/done/000.csv"),
        "resume/sha256.json",
    }


def test_a_finished_member_is_not_trained_again(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    before = train(tmp_path, model()).stat()
    found = contents(tmp_path)
    monkeypatch.setattr(training, "_train_epoch", None)
    after = train(tmp_path, model()).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert f"already trained: {tmp_path / '000.safetensors'}" in caplog.text
    (tmp_path / "input").touch()
    for name in found:
        (tmp_path / name).unlink()
    train(tmp_path, model())
    assert contents(tmp_path) == found
    for name in found:
        assert (tmp_path / name).stat().st_mtime_ns >= (tmp_path / "input").stat().st_mtime_ns
    assert f"already trained: kept in {tmp_path / 'resume' / 'done'}" in caplog.text


@pytest.mark.parametrize(("step", "count"), [("save_tensors", 4), ("link", 1), ("link", 2)])
def test_one_training_s_history_never_stands_beside_another_s_weights(tmp_path, monkeypatch, step, count):
    """Killed while it replaces the files of another configuration, which is then asked for again."""
    train(tmp_path, model())
    found = contents(tmp_path)
    killed_at(monkeypatch, tmp_path, step, count, seed_parts=(1, "001"))
    train(tmp_path, model())
    assert contents(tmp_path) == found


@pytest.mark.parametrize("damage", [b"half a file", None])
def test_weights_of_another_key_or_damaged_are_replaced(tmp_path, damage):
    other = train(tmp_path / "other", model(), seed_parts=(1, "001"))
    wanted = train(tmp_path / "wanted", model())
    (tmp_path / "new").mkdir()
    for name, content in contents(other.parent).items():
        (tmp_path / "new" / name).write_bytes(damage or content)
    train(tmp_path / "new", model())
    assert contents(tmp_path / "new") == contents(wanted.parent)


def test_a_file_system_without_links_trains_too(tmp_path, monkeypatch, caplog):
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(os, "link", refuse)
    train(tmp_path, model())
    assert "without links" in caplog.text
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["sha256.json"]


@pytest.mark.parametrize("deleted", [False, True])
def test_a_byte_that_flipped_in_finished_weights_is_not_kept(tmp_path, deleted):
    """The links in the resume folder have the bytes of the weights, the damaged ones too."""
    weights = train(tmp_path, model())
    found = contents(tmp_path)
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    if deleted:
        weights.unlink()
    train(tmp_path, model())
    assert contents(tmp_path) == found


def test_a_full_disk_leaves_the_last_saved_epoch_whole(tmp_path, monkeypatch):
    train(tmp_path / "undisturbed", model())
    with small_disk(tmp_path / "disk", 2**20) as disk:
        killed_at(monkeypatch, disk, "_save", 2)
        (state,) = states(disk)
        before = state.read_bytes()
        with (
            filled(disk),
            pytest.raises(ArtifactError, match=f"(?s){state.name}.*No space left on device: 0.1 MiB"),
        ):
            train(disk, model())
        assert state.read_bytes() == before
        assert not list((disk / "resume").glob(".*"))
        train(disk, model())
        assert contents(disk) == contents(tmp_path / "undisturbed")


def test_another_configuration_begins_anew_beside_a_state_that_was_left(tmp_path, monkeypatch):
    killed_at(monkeypatch, tmp_path, "write_history")
    (left,) = states(tmp_path)
    changed = train(tmp_path, model(training={"learning_rate": 0.02})).read_bytes()
    assert changed == train(tmp_path / "fresh", model(training={"learning_rate": 0.02})).read_bytes()
    assert not left.exists()


def test_state_of_another_training_is_refused(tmp_path, monkeypatch):
    killed_at(monkeypatch, tmp_path, "write_history")
    (first,) = states(tmp_path)
    killed_at(monkeypatch, tmp_path, "write_history", train=subjects(6, seed=9))
    (second,) = set(states(tmp_path)) - {first}
    second.replace(first)
    with pytest.raises(ArtifactError, match="another training"):
        train(tmp_path, model())


def test_damaged_state_is_refused(tmp_path, monkeypatch):
    killed_at(monkeypatch, tmp_path, "write_history")
    (state,) = states(tmp_path)
    state.write_bytes(b"half a file")
    with pytest.raises(ArtifactError, match=state.name):
        train(tmp_path, model())


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["finishes", "is killed"])
def test_a_second_process_waits_and_nothing_is_trained_twice(tmp_path, ends):
    """As a requeued job does while the first process still trains on a node that is believed dead."""
    one, changes = long_training()
    undisturbed = train(tmp_path / "undisturbed", one, **changes)
    shared = tmp_path / "shared"
    log = shared / "train.log"
    first = started(shared)
    until(lambda: epochs_saved(shared) > 2, first)
    first.send_signal(signal.SIGSTOP)  # until the second one waits for it
    second = started(shared)
    until(lambda: f"waits for process {first.pid} on " in log.read_text(encoding="utf-8"), second)
    first.send_signal(signal.SIGCONT if ends == "finishes" else signal.SIGKILL)
    first.wait(timeout=120)
    assert second.wait(timeout=120) == 0
    assert contents(shared) == contents(undisturbed.parent)
    text = log.read_text(encoding="utf-8")
    assert ("already trained" in text) == (ends == "finishes")
    assert ("goes on after epoch" in text) == (ends == "is killed")
    epochs = [line.split()[2] for line in text.splitlines() if line.split()[1:2] == ["epoch"]]
    # One that was killed between saving an epoch and logging it leaves that line out.
    assert sorted(set(epochs), key=epochs.index) == epochs
    assert len(epochs) == 40 - (ends == "is killed" and len(epochs) < 40)


@pytest.mark.parametrize("given", ["0", "GPU-1a2b"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_was_given_but_is_not_seen_is_told(monkeypatch, caplog, given):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert pick("auto", logging.getLogger("test")).type == "cpu"
    assert f"given GPU {given}: " in caplog.text


@pytest.mark.parametrize("given", ["", "-1", "NoDevFiles", None])
@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_job_without_a_gpu_computes_on_the_cpu(monkeypatch, caplog, given):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert pick("auto", logging.getLogger("test")).type == "cpu"
    assert caplog.text == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_cuda_without_a_gpu_stops_before_anything_starts(tmp_path):
    with pytest.raises(ConfigError, match="torch sees no GPU"):
        train(tmp_path, model(), device="cuda")
    assert list(tmp_path.iterdir()) == []


def test_weights_can_be_read_by_the_group_as_any_file(tmp_path):
    (tmp_path / "plain").touch()
    assert train(tmp_path, model()).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_nan_stops_with_step_subjects_and_rate(tmp_path):
    bad = subjects(6)
    bad[4].image[0, 1, 3, 3] = np.nan
    with pytest.raises(SegtrailError, match="loss nan in epoch 1, step") as error:
        train(tmp_path, model(training={"batch_size": 1}), train=bad)
    assert error.value.subject == "s4"
    assert "learning rate 0.01" in str(error.value)
    assert not (tmp_path / "000.safetensors").exists()


def test_dead_class_is_kept_counted_and_logged(tmp_path, caplog):
    one = model(training={"epochs": 1, "learning_rate": 1e-9, "dead_class": {"dice": 0.999}})
    about = load_member(train(tmp_path, one)).about
    assert about["training"]["dead_classes"] == "1,2"
    assert about["training"]["restarts"] == 0
    assert "dead classes [1, 2]" in caplog.text


def test_dead_class_restarts_from_another_initialisation(tmp_path):
    rule = {"dice": 0.999, "action": "restart", "restarts": 2}
    weights = train(tmp_path, model(training={"epochs": 2, "learning_rate": 1e-9, "dead_class": rule}))
    lines = history(weights)
    assert [(row["restart"], row["epoch"]) for row in lines] == [
        (restart, epoch) for restart in "012" for epoch in "12"
    ]
    assert len({row["train_loss"] for row in lines if row["epoch"] == "1"}) == 3
    assert load_member(weights).about["training"]["restarts"] == 2


def test_best_checkpoint_is_kept(tmp_path):
    """The weights file is the network of the epoch with the highest validation Dice, not the last one."""
    one = model(training={"epochs": 30, "learning_rate": 0.05})
    member = load_member(train(tmp_path, one))
    lines = history(tmp_path / "000.safetensors")
    dice = [float(row["val_dice"]) for row in lines]
    about = member.about["training"]
    assert about["best_epoch"] == int(np.argmax(dice)) + 1 < about["epochs"] == len(lines)
    assert about["val_dice"] == max(dice)
    assert validation_dice(member, subjects(2, seed=1)) == pytest.approx(max(dice))


def validation_dice(member, val):
    result = []
    for one in val:
        with torch.no_grad():
            found = member.network(torch.from_numpy(one.image).transpose(0, 1)).argmax(1).numpy()
        for k in (1, 2):
            a, b = found == k, one.label == k
            result.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    return np.mean(result)


def test_batches_of_bfloat16_train(tmp_path):
    weights = train(tmp_path, model(training={"epochs": 20, "precision": "bfloat16"}))
    assert max(float(row["val_dice"]) for row in history(weights)) > 0.7


def test_step_is_torch_s_adam():
    """The functional Adam on channels-last weights does what torch.optim.Adam does."""
    torch.manual_seed(0)
    images, labels = torch.randn(4, 1, 16, 16), torch.randint(0, 3, (4, 16, 16))
    ours = training.channels_last(training.build(model(), 1, 3))
    theirs = training.build(model(), 1, 3)
    theirs.load_state_dict(ours.state_dict())
    reference = torch.optim.Adam(theirs.parameters(), lr=0.01)
    means, squares = ([torch.zeros_like(p) for p in ours.parameters()] for _ in range(2))
    steps = [torch.tensor(0.0) for _ in means]
    for _ in range(3):
        for network in (ours, theirs):
            network.zero_grad()
            torch.nn.functional.cross_entropy(network(images), labels).backward()
        training._adam(training.State(ours, means, squares), steps, 0.01)
        reference.step()
        theirs_now = dict(theirs.named_parameters())
        # Weights before a batch norm have tiny gradients at times, whose sign Adam magnifies: compare closely
        # in the mean, not at each weight.
        for name, parameter in ours.named_parameters():
            assert (parameter - theirs_now[name]).abs().mean() < 2e-4, name


def test_validation_dice_of_a_class_in_neither_mask_is_one(tmp_path):
    one = subjects(1)[0]
    empty = Labelled("empty", np.zeros_like(one.image), np.zeros_like(one.label))
    weights = train(tmp_path, model(training={"epochs": 1, "learning_rate": 1e-9}), val=[empty])
    network = load_member(weights).network
    found = set(network(torch.zeros(2, 1, 16, 16)).argmax(1).unique().tolist())
    expected = [0.0 if k in found else 1.0 for k in (1, 2)]
    assert [float(history(weights)[0][f"val_dice_{k}"]) for k in (1, 2)] == expected


def test_subjects_of_different_shapes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="centre_crop_or_pad"):
        train(tmp_path, model(), train=[*subjects(2), *subjects(1, size=32)])


def test_a_batch_that_batch_norm_cannot_use_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="batch_size"):
        train(tmp_path, model(training={"batch_size": 1}), train=subjects(2, size=4), val=subjects(1, size=4))


def test_learning_rate_falls_as_torch_s_plateau_does():
    values = [0.1, 0.2, 0.2005, 0.2, 0.2009, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.5]
    settings = Training(epochs=99, batch_size=1, learning_rate=1, plateau={"patience": 3, "factor": 0.5})
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    # torch counts epochs beyond its patience: its 2 is "no rise in 3 epochs".
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, mode="max", factor=0.5, patience=2, threshold=0.001, threshold_mode="abs"
    )
    for count in range(1, len(values) + 1):
        theirs.step(values[count - 1])
        assert learning_rate(rows(*values[:count]), settings) == optimiser.param_groups[0]["lr"]


def test_early_stopping_and_best_epoch():
    settings = Training(epochs=9, batch_size=1, learning_rate=1, early_stopping=2)
    assert best_epoch(rows(0.1, 0.3, 0.3, 0.2)) == 1
    assert best_epoch(rows(0.0, 0.0, 0.0)) == 2  # nothing was ever found: the most trained one
    assert best_epoch(rows(0.0, 0.1, 0.0)) == 1
    assert finished(rows(0.0, 0.0, 0.0), settings)
    assert not finished([], settings)
    assert not finished(rows(0.1, 0.3, 0.3), settings)
    assert finished(rows(0.1, 0.3, 0.3, 0.2), settings)
    assert finished(rows(*[0.1 * i for i in range(9)]), settings)


def test_dead_classes_are_judged_at_the_best_epoch():
    settings = Training(epochs=9, batch_size=1, learning_rate=1)
    lines = [
        {"val_dice_1": 0.5, "val_dice_2": 0.4, "val_dice": 0.45},
        {"val_dice_1": 0.96, "val_dice_2": 0.04, "val_dice": 0.5},
    ]
    assert dead_classes(lines, settings) == [2]


def test_tensors_of_equal_content_have_equal_bytes(tmp_path):
    about = {letter: letter for letter in "hgfedcba"}
    for name in ("a", "b"):
        save_tensors(tmp_path / name, {"x": torch.arange(3), "w": torch.ones(2, 2).T}, about)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    tensors, read = load_tensors(tmp_path / "a")
    assert (tensors["x"].tolist(), read) == ([0, 1, 2], about)


def test_foreign_file_is_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(ArtifactError, match=r"x\.safetensors"):
        load_member(tmp_path / "x.safetensors")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_learns_too(tmp_path):
    weights = train(tmp_path, model(training={"epochs": 20, "precision": "bfloat16"}), device="cuda")
    assert max(float(row["val_dice"]) for row in history(weights)) > 0.7


def test_importing_training_needs_neither_monai_nor_pandas():
    """Start-up is paid by every job: MONAI alone costs seconds."""
    code = (
        "import sys, segtrail.models.training, segtrail.posterior.predict; "
        "print([m for m in ('monai', 'pandas', 'scipy', 'matplotlib', 'torch._dynamo') if m in sys.modules])"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "[]", done.stderr


def test_without_a_plateau_rule_the_rate_stays():
    settings = Training(epochs=99, batch_size=1, learning_rate=0.5, plateau=None)
    assert learning_rate(rows(*[0.3] * 50), settings) == 0.5


def test_without_early_stopping_all_epochs_are_trained(tmp_path):
    settings = Training(epochs=99, batch_size=1, learning_rate=1, early_stopping=None)
    worse = rows(*[1 / (1 + epoch) for epoch in range(98)])
    assert not finished([], settings)
    assert not finished(worse, settings)
    assert finished(worse + rows(0), settings)
    unlearning = {"epochs": 6, "learning_rate": 1e-9, "early_stopping": None, "plateau": None}
    assert len(history(train(tmp_path, model(training=unlearning)))) == 6


def predicting(outputs: torch.Tensor) -> torch.nn.Module:
    """A network that puts out these logits, whatever it sees."""

    class Given(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return outputs

    return Given()


@pytest.mark.parametrize(
    ("selection", "expected"),
    # Of class 1: 1 of 3 + 2 voxels, then none in either mask. Of class 2: no overlap of 1 + 1; 2 of 2 + 4.
    [
        ("dice", [(2 / 5 + 1) / 2, (0 + 4 / 6) / 2]),
        ("dice_smooth", [(3 / 6 + 1) / 2, (1 / 3 + 5 / 7) / 2]),
    ],
)
def test_validation_dice_by_hand(selection, expected):
    reference = torch.tensor([[[1, 1, 1, 2]], [[2, 2, 0, 0]]], dtype=torch.uint8)
    predicted = torch.tensor([[[1, 2, 0, 1]], [[2, 2, 2, 2]]])
    logits = torch.nn.functional.one_hot(predicted, 3).movedim(-1, 1).float()
    val = Stack(torch.zeros(2, 1, 1, 4), reference, torch.tensor([0, 1]), ("a", "b"))
    one = model(training={"selection": selection})
    setting = training.Setting(
        one, 3, (1,), val, val, lambda logits, labels: logits.sum(), torch.device("cpu")
    )
    assert training.validate(setting, predicting(logits)) == pytest.approx(expected)


ARCHITECTURES = {
    "dropout everywhere": {"dropout": {"rate": 0.1, "layout": "all"}},
    "dropout at the centre": {"dropout": {"rate": 0.1, "layout": "center"}},
    "noise": {"dropout": {"rate": 0.1, "layout": "all"}, "aleatoric": {"draws": 3}},
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_upsampling_networks_learn(tmp_path, name):
    one = model(architecture="upsampling_unet", **ARCHITECTURES[name], training={"epochs": 30})
    member = load_member(train(tmp_path, one, train=subjects(8), seed_parts=(2, "member")))
    dice = [float(row["val_dice"]) for row in history(tmp_path / "000.safetensors")]
    assert max(dice) > 0.6 > 0.5 > dice[0]
    # What the file gives is the network of the best epoch, its noise head included.
    found = []
    for subject in subjects(2, seed=1):
        with torch.no_grad():
            outputs = member.network(torch.from_numpy(subject.image).transpose(0, 1))
        assert outputs.shape[1] == (6 if "aleatoric" in ARCHITECTURES[name] else 3)
        found.append([dice_of(outputs[:, :3].argmax(1).numpy(), subject.label, k) for k in (1, 2)])
    assert np.mean(found) == pytest.approx(max(dice))


def dice_of(predicted: np.ndarray, label: np.ndarray, k: int) -> float:
    return 2 * ((predicted == k) & (label == k)).sum() / ((predicted == k).sum() + (label == k).sum())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_noise_and_dropout_come_from_the_seed_and_the_epoch(tmp_path, monkeypatch, name):
    """Trained twice, and once killed in between, a member has the same bytes."""
    one = model(architecture="upsampling_unet", **ARCHITECTURES[name])
    train(tmp_path / "a", one)
    monkeypatch.setattr("test_training.model", lambda: one)
    killed_at(monkeypatch, tmp_path / "b", "_save", 3)
    torch.manual_seed(12345)
    train(tmp_path / "b", one)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
