"""Segmentations by members of the subjects that they have not seen, for error networks to learn from."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.prepared import iter_folder
from ..errors import ArtifactError, ConfigError
from ..files import atomic, atomic_folder, read_json, write_json
from ..models.checkpoints import Member, load_member
from ..models.devices import pick
from .predict import batches, passed, predicted, ready, slices_first
from .store import array_path

Key = tuple[str, str]  # data set, subject id


def write_segmentations(
    members: Sequence[str | Path],
    held_out: Mapping[str, Sequence[Key]],
    arrays: Sequence[str | Path],
    out: str | Path,
    log: logging.Logger,
    device: str = "auto",
) -> None:
    """Segments each subject in the folders `arrays` by the member that was trained without it.

    `members` are weights files, `held_out` says for each one's name (000, 001, …) which subjects it has not
    seen. The folder `out` gets `<dataset>__<subject>.npy`, uint8 class indices (Z, Y, X), for each subject
    that is not excluded, and `manifest.json`: `subjects` (dataset, subject, member, file) in order, and
    `member_keys`. It appears complete or not at all. `device` as in `train_member`.

    Raises ConfigError for a subject that two members have not seen, ArtifactError where not every subject is
    there exactly once, or weights are missing.

    Source: Jungo 2019, §2.3 (auxiliary segm.), and its public code.
    """
    place = pick(device, log)
    owners = _owners(held_out)
    _stop_unless_once(owners, arrays)
    files = {Path(path).stem: path for path in members}
    if missing := sorted(set(owners.values()) - set(files)):
        raise ArtifactError(
            f"weights of the members {', '.join(sorted(files)) or '(none)'}",
            expected=f"{', '.join(missing)} too, which hold out subjects",
        )
    loaded = {name: ready(load_member(files[name]), place) for name in sorted(set(owners.values()))}
    entries = []
    with atomic_folder(out) as temporary:
        for folder in arrays:
            for prepared in iter_folder(folder):
                name = owners[prepared.dataset, prepared.subject]
                file = array_path(temporary, prepared.dataset, prepared.subject)
                with atomic(file) as unfinished:
                    np.save(unfinished, segmentation(loaded[name], prepared.image))
                about = {"dataset": prepared.dataset, "subject": prepared.subject}
                entries.append({**about, "member": name, "file": file.name})
                log.info("%s: member %s", prepared.subject, name)
        entries.sort(key=lambda entry: (entry["dataset"], entry["subject"]))
        keys = {name: member.about["key"] for name, member in loaded.items()}
        write_json(temporary / "manifest.json", {"subjects": entries, "member_keys": keys})


@torch.inference_mode()
def segmentation(member: Member, image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Class indices (Z, Y, X) of an image (C, Z, Y, X): the arg-max of one pass."""
    out = np.empty(image.shape[1:], np.uint8)
    device = next(member.network.parameters()).device
    for slices, images in batches(image, member.model.dims, device):
        classes = predicted(passed(member, images)).byte()
        out[slices] = slices_first(classes[:, None], member.model.dims)[:, 0].cpu().numpy()
    return out


def _owners(held_out: Mapping[str, Sequence[Key]]) -> dict[Key, str]:
    """The member that has not seen each subject."""
    owners: dict[Key, str] = {}
    for name, keys in held_out.items():
        for key in keys:
            if key in owners:
                raise ConfigError(
                    f"members {owners[key]} and {name} both hold it out",
                    subject=key[1],
                    expected="each subject in one fold",
                    remedy="correct the list of folds",
                )
            owners[key] = name
    return owners


def _stop_unless_once(owners: Mapping[Key, str], arrays: Sequence[str | Path]) -> None:
    """Raises ArtifactError unless the folders hold each held-out subject once, prepared or excluded."""
    seen: dict[Key, Path] = {}
    for folder in arrays:
        for entry in read_json(Path(folder) / "manifest.json")["subjects"]:
            key = (entry["dataset"], entry["subject"])
            if key in seen or key not in owners:
                raise ArtifactError(
                    f"it is in {seen[key]} too" if key in seen else "no member holds it out",
                    subject=key[1],
                    file=Path(folder) / "manifest.json",
                    expected="each subject once, held out by one member",
                )
            seen[key] = Path(folder)
    if missing := [key for key in owners if key not in seen]:
        raise ArtifactError(
            f"not in {', '.join(map(str, arrays)) or 'any folder'}",
            subject=missing[0][1],
            expected="every subject that a member holds out",
        )
