"""`split.shuffle` draws as scikit-learn does, and the splits and folds that Jungo 2019 publishes come out."""

import json
import os
import re
from pathlib import Path

import fixtures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patients import Image, images, patients_in, repeatable, rule
from sklearn.model_selection import train_test_split

from segtrail.config.model import MemberFolds
from segtrail.data.splits import drawn, member_folds, split
from segtrail.errors import ConfigError


@repeatable
@given(
    st.integers(4, 15),
    st.integers(4, 15),
    st.integers(0, 500),
    st.sampled_from([None, "group"]),
    st.randoms(use_true_random=False),
    st.data(),
)
def test_shuffle_draws_as_scikit_learn_does(high, low, seed, stratify, random, data):
    """The independent implementation: its train_test_split, again on what is left."""
    found = images(high, group="HGG") + images(low, group="LGG")
    total = len(found)
    sizes = {"val": data.draw(st.integers(2, total - 5))}
    sizes["test"] = data.draw(st.integers(2, total - sizes["val"] - 3))
    left, expected = [i.id for i in sorted(found, key=lambda image: image.patient)], {}
    group = {image.id: image.group for image in found}
    for part, size in sizes.items():
        strata = [group[name] for name in left] if stratify else None
        try:
            left, expected[part] = train_test_split(left, test_size=size, random_state=seed, stratify=strata)
        except ValueError:  # it refuses a stratum of one; ours does not
            return
    random.shuffle(found)
    parts = drawn({"d": found}, rule(seed=seed, stratify=stratify, shuffle={"sizes": sizes}))
    assert {part: [name for _, name in keys] for part, keys in parts.items()} == {"train": left, **expected}


def test_shuffle_takes_whole_patients_and_a_stratum_of_one():
    found = images(9, group="HGG", frames=2) + images(1, group="LGG", frames=2)
    chosen = rule(seed=3, stratify="group", shuffle={"sizes": {"test": 3, "val": 2}})
    parts = split({"d": found}, chosen)
    assert {part: len(keys) for part, keys in parts.items()} == {"train": 10, "val": 4, "test": 6}
    assert len(set().union(*patients_in(parts, {"d": found}).values())) == 10


def test_shuffle_leaves_somebody_to_train():
    with pytest.raises(ConfigError, match="val 2 \\+ test 3 patients") as caught:
        split({"d": images(5)}, rule(shuffle={"sizes": {"val": 2, "test": 3}}))
    assert "fewer than the 5" in caught.value.expected


# Of BraTS 2018's names these are the low-grade gliomas; the data set itself tells it by its folders.
LOW_GRADE = re.compile(r"Brats18_(TCIA(09|10|12|13)_.*|2013_(0|1|6|8|9|15|16|24|28|29)_1)")
BRATS = {"seed": 100, "stratify": "group", "shuffle": {"sizes": {"val": 25, "test": 160}}}


SITES = {"train": "Training", "val": "Validation"}


def list_file(name: str) -> Path:
    """A list that Jungo 2019 publishes; skips the test where it is absent."""
    path = Path(os.environ.get("SEGTRAIL_SPLITS", fixtures.ROOT.parent / "shared" / "splits")) / name
    if not path.is_file():
        pytest.skip(f"no published list {name} (SEGTRAIL_SPLITS or ../shared/splits)")
    return path


def published(name: str) -> dict:
    return json.loads(list_file(name).read_text())


def brats18() -> dict[str, list[Image]]:
    lists = published("split_brats18_100-25-160.json")
    names = [name for part in ("test", "train", "valid") for name in lists[part]]
    return {"brats18": [Image(n, n, group="LGG" if LOW_GRADE.fullmatch(n) else "HGG") for n in names]}


def test_the_published_split_of_brats_comes_out():
    expected = published("split_brats18_100-25-160.json")
    parts = drawn(brats18(), rule(**BRATS))
    assert {part: [name for _, name in keys] for part, keys in parts.items()} == {
        "train": expected["train"],
        "val": expected["valid"],
        "test": expected["test"],
    }


@pytest.mark.parametrize(
    ("name", "folds"),
    [
        ("split_brats18_k10_90-25-160.json", {"k": 10, "held_out": "unused"}),
        (
            "split_brats18_cv_k5_100-25-25.json",
            {"k": 5, "of": ["train", "val"], "stratify": "group", "held_out": "validation"},
        ),
    ],
)
def test_the_published_folds_of_brats_come_out(name, folds):
    """By the rule, and from the published file; what is left trains in the published order."""
    lists, subjects, chosen = published(name), brats18(), rule(**BRATS)
    order = [key for part in folds.get("of", ["train"]) for key in drawn(subjects, chosen)[part]]
    for values in (folds, {**folds, "list": list_file(name)}):
        held_out = member_folds(subjects, chosen, MemberFolds.model_validate(values))
        left = [[name for key in order if key not in fold for name in key[1:]] for fold in held_out]
        assert left == lists["train"]
        assert all(fold == sorted(fold) for fold in held_out)


def test_the_published_folds_of_isic_are_read_from_their_lists():
    """Their order is that of the authors' disk, which no rule gives; the folds fit the 2000 pictures."""
    names = ("split_isic-train_k10_1800-0-0.json", "split_isic_cv_k5_1600-400-400.json")
    ten, five = (published(name)["train"] for name in names)
    subjects = {"isic17": [Image(n, n, "Training") for n in sorted({n for names in ten for n in names})]}
    subjects["isic17"] += [Image(f"v{i}", f"v{i}", "Validation") for i in range(3)]
    chosen = rule(parts={part: {"site": [site], "size": "all"} for part, site in SITES.items()})
    tenths, fifths = (
        member_folds(subjects, chosen, MemberFolds(k=k, held_out="unused", list=list_file(name)))
        for k, name in zip((10, 5), names, strict=True)
    )
    assert [len(fold) for fold in tenths] == [200] * 10
    assert all({n for _, n in fold}.isdisjoint(names) for fold, names in zip(fifths, five, strict=True))
    for index, fold in enumerate(fifths):
        assert fold == sorted(tenths[2 * index] + tenths[2 * index + 1])
