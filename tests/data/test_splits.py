"""Splits: sizes, proportions, and what must have no influence on them."""

import json
import re
from fractions import Fraction
from pathlib import Path

import fixtures
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from patients import Image, cohorts, images, patients_in, repeatable, rule

from segtrail.config import Split, load_run
from segtrail.data.splits import check_leaks, split
from segtrail.errors import ConfigError


@repeatable
@given(
    cohorts(), st.randoms(use_true_random=False), st.integers(0, 5), st.sampled_from([None, "group", "site"])
)
def test_counts_hold_patients_stay_whole_and_order_does_not_matter(found, random, seed, stratify):
    total = len({image.patient for image in found})
    sizes = {"train": max(1, total // 2), "val": max(1, total // 5)}
    asked = {name: {"size": size} for name, size in sizes.items()}
    if total > sum(sizes.values()):
        asked["test"] = {"size": "all"}
        sizes["test"] = total - sum(sizes.values())
    chosen = rule(seed=seed, stratify=stratify, parts=asked)
    parts = split({"d": found}, chosen)

    patients = patients_in(parts, {"d": found})
    assert {part: len(names) for part, names in patients.items()} == sizes
    assert sum(len(names) for names in patients.values()) == len(set().union(*patients.values()))
    assert sum(len(keys) for keys in parts.values()) == len(
        [image for image in found if ("d", image.patient) in set().union(*patients.values())]
    )
    shuffled = list(found)
    random.shuffle(shuffled)
    assert split({"d": shuffled}, chosen) == parts


@repeatable
@given(cohorts(), st.integers(0, 5), st.sampled_from(["group", "site"]), st.data())
def test_each_part_has_each_stratums_share_rounded_up_or_down(found, seed, stratify, data):
    strata = {image.patient: getattr(image, stratify) for image in found}
    total = len(strata)
    train = data.draw(st.integers(1, total - 1))
    val = data.draw(st.integers(1, total - train))
    parts = split(
        {"d": found},
        rule(seed=seed, stratify=stratify, parts={"train": {"size": train}, "val": {"size": val}}),
    )
    for part, size in (("train", train), ("val", val)):
        chosen = [patient for _, patient in patients_in(parts, {"d": found})[part]]
        for stratum in set(strata.values()):
            share = Fraction(size * sum(name == stratum for name in strata.values()), total)
            assert abs(sum(strata[patient] == stratum for patient in chosen) - share) < 1


@repeatable
@given(cohorts(), st.integers(2, 4), st.integers(0, 5), st.sampled_from([None, "group"]))
def test_folds_divide_all_patients_evenly(found, k, seed, stratify):
    total = len({image.patient for image in found})
    if total < k:
        with pytest.raises(ConfigError, match=f"at most the {total} patients"):
            split({"d": found}, rule(folds={"k": k, "test": 0}))
        return
    strata = {image.patient: image.group for image in found}
    tests = []
    for fold in range(k):
        val = (fold + 1) % k
        parts = split(
            {"d": found}, rule(seed=seed, stratify=stratify, folds={"k": k, "test": fold, "val": val})
        )
        patients = patients_in(parts, {"d": found})
        assert set(patients["val"]) == set(
            patients_in(
                split({"d": found}, rule(seed=seed, stratify=stratify, folds={"k": k, "test": val})),
                {"d": found},
            )["test"]
        )
        assert len(set().union(*patients.values())) == total
        tests.append(patients["test"])
    assert set().union(*tests) == {("d", name) for name in strata}
    assert sum(map(len, tests)) == total
    assert max(map(len, tests)) - min(map(len, tests)) <= 1
    if stratify:
        for group in set(strata.values()):
            count = sum(name == group for name in strata.values())
            for test in tests:
                share = Fraction(len(test) * count, total)
                assert abs(sum(strata[patient] == group for _, patient in test) - share) < 1


def test_another_seed_gives_another_split():
    found = {"d": images(40)}
    chosen = {seed: split(found, rule(seed=seed, parts={"train": {"size": 20}}))["train"] for seed in (0, 1)}
    assert chosen[0] != chosen[1]


@repeatable
@given(st.integers(0, 30), st.integers(0, 5))
def test_subjects_of_another_site_change_no_part(others, seed):
    chosen = rule(seed=seed, parts={"train": {"site": ["A"], "size": 6}, "val": {"site": ["A"], "size": 3}})
    ours = images(12, "A")
    alone = split({"d": ours}, chosen)
    assert split({"d": images(others, "B") + ours}, chosen) == alone
    assert (
        split(
            {"d": ours, "e": images(others, "A", prefix="q")},
            rule(
                seed=seed,
                parts={"train": {"dataset": "d", "size": 6}, "val": {"dataset": "d", "size": 3}},
            ),
        )
        == alone
    )


def test_sites_and_data_sets_are_kept_apart():
    subjects = {"x": images(9, "A") + images(5, "B"), "y": images(4, "C")}
    parts = split(
        subjects,
        rule(
            parts={
                "train": {"dataset": "x", "site": ["A"], "size": 6},
                "val": {"dataset": "x", "site": ["A"], "size": 3},
                "test": {"dataset": "x", "site": ["B"], "size": "all"},
                "shift": {"dataset": "y", "size": "all"},
            }
        ),
    )
    assert {part: len(keys) for part, keys in parts.items()} == {"train": 6, "val": 3, "test": 5, "shift": 4}
    assert all(name.startswith("pB") for _, name in parts["test"])
    assert {dataset for dataset, _ in parts["shift"]} == {"y"}
    assert all(keys == sorted(keys) for keys in parts.values())


def test_a_part_of_named_sites_is_served_before_a_part_of_any_site():
    found = {"d": images(20, "A") + images(3, "B")}
    for seed in range(20):
        parts = split(
            found, rule(seed=seed, parts={"train": {"size": 20}, "test": {"site": ["B"], "size": 3}})
        )
        assert all(name.startswith("pB") for _, name in parts["test"])


def test_a_patient_seen_at_two_sites_is_not_in_a_part_of_one_of_them():
    mover = [Image("m_0", "m", "A"), Image("m_1", "m", "B")]
    parts = split({"d": images(3, "A") + mover}, rule(parts={"train": {"site": ["A"], "size": "all"}}))
    assert not {"m_0", "m_1"} & {name for _, name in parts["train"]}


def test_too_few_patients_says_how_many_there_are():
    with pytest.raises(ConfigError) as caught:
        split(
            {"d": images(7, "A") + images(2, "B")},
            rule(parts={"train": {"site": ["A"], "size": 5}, "val": {"site": ["A"], "size": 4}}),
        )
    assert "train 5 + val 4 patients of d, site A" in caught.value.found
    assert "the 7 that are available" in caught.value.expected
    assert "7 of A, 2 of B" in caught.value.expected


@pytest.mark.parametrize("part", [{"site": ["Z"], "size": "all"}, {"site": ["Z"], "size": 1}])
def test_a_part_that_nobody_fits_is_an_error(part):
    with pytest.raises(ConfigError, match="the 0 that are available"):
        split({"d": images(3, "A")}, rule(parts={"test": part}))


def test_the_data_set_is_named_where_the_cohort_has_several():
    with pytest.raises(ConfigError, match=r"split\.parts\.train\.dataset = None"):
        split({"d": images(3), "e": images(3)}, rule(parts={"train": {"size": 1}}))


def test_list_of_patients_and_images(tmp_path: Path):
    subjects = {"d": images(4, frames=2), "e": images(2, prefix="q")}
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"train": ["p0", "p1_0"], "valid": ["d/p2"], "test": ["q1_0"]}))
    assert split(subjects, rule(list=path)) == {
        "train": [("d", "p0_0"), ("d", "p0_1"), ("d", "p1_0")],
        "val": [("d", "p2_0"), ("d", "p2_1")],
        "test": [("e", "q1_0")],
    }


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({"train": ["p0", "nobody"]}, "1 unknown ids, among them nobody"),
        ({"train": ["p0_0"], "test": ["p0_1"]}, "patient d/p0 is in train and in test"),
        ({"train": ["p0", "p0_1"]}, "d/p0_1 is listed twice"),
        ({"train": ["both"]}, "d/both or e/both"),
        ({"trian": ["p0"]}, "with the keys"),
        ({"train": [["p0"]]}, "list of ids"),
        ({"train": []}, "none empty"),
        ({"train": ["p0"], "val": ["p1"], "valid": ["p2"]}, "twice, as val and as valid"),
        (["p0"], "a JSON list"),
    ],
)
def test_bad_lists(tmp_path: Path, listed: object, message: str):
    path = tmp_path / "list.json"
    path.write_text(json.dumps(listed))
    subjects = {"d": [*images(4, frames=2), Image("both", "both")], "e": [Image("both", "both")]}
    with pytest.raises(ConfigError, match=message) as caught:
        split(subjects, rule(list=path))
    assert str(path) in str(caught.value)


def test_a_list_that_is_not_there_or_no_json(tmp_path: Path):
    path = tmp_path / "list.json"
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"split\.list cannot be read"):
            split({"d": images(1)}, rule(list=path))
        path.write_text("{")


def test_leaks_are_found():
    subjects = {"d": images(2, frames=2)}
    check_leaks({"train": [("d", "p0_0"), ("d", "p0_1")], "test": [("d", "p1_0")]}, subjects)
    for parts, message in [
        ({"train": [("d", "p0_0")], "test": [("d", "p0_1")]}, "in train and in test"),
        ({"train": [("d", "p0_0"), ("d", "p0_0")]}, "listed twice"),
        ({"train": [("d", "p9_0")]}, "not in the data set"),
    ]:
        with pytest.raises(ConfigError, match=message):
            check_leaks(parts, subjects)


def test_the_documented_splits_are_valid():
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    shown = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    rules = [Split.model_validate(values["split"]) for values in shown if "split" in values]
    for kind in ("parts", "shuffle", "folds", "list", "stratify"):
        assert any(getattr(rule, kind) for rule in rules), kind
    (lists,) = (values for values in shown if "overrides" in values)
    base = {"run": "r", "scale": "paper", "studies": list(lists["overrides"])}
    isic = load_run({**base, **lists}, fixtures.ROOT / "config").studies["jungo2019"]
    folds = [isic.model("isic", name).folds for name in ("ensemble", "cv", "aux_segm")]
    assert [(fold.k, fold.list.name.split("_")[1]) for fold in folds if fold and fold.list] == [
        (10, "isic-train"),
        (5, "isic"),
        (5, "isic"),
    ]
