"""The folds that the members of a model are trained without: by rule, and from a list."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from patients import cohorts, images, repeatable, rule
from sklearn.model_selection import KFold

from segtrail.config.model import MemberFolds
from segtrail.data.splits import drawn, member_folds
from segtrail.errors import ConfigError


@repeatable
@given(cohorts(), st.integers(2, 5), st.integers(0, 5), st.sampled_from([None, "group", "site"]), st.data())
def test_member_folds_are_neighbours_in_drawn_order(found, k, seed, stratify, data):
    """Independent: scikit-learn's KFold on each stratum by itself, which does not shuffle."""
    total = len({image.patient for image in found})
    of = data.draw(st.sampled_from([["train"], ["train", "val"]]))
    sizes = {"val": max(1, total // 4), "test": max(1, total // 4)}
    if total - sum(sizes.values()) < k:
        return
    chosen = rule(seed=seed, shuffle={"sizes": sizes})
    folds = MemberFolds(k=k, of=of, stratify=stratify, held_out="validation")
    order = [key for part in of for key in drawn({"d": found}, chosen)[part]]
    of_patient = {image.id: image.patient for image in found}
    strata = {image.patient: getattr(image, stratify) if stratify else "" for image in found}
    patients = list(dict.fromkeys(of_patient[name] for _, name in order))
    expected: list[set[str]] = [set() for _ in range(k)]
    for stratum in set(strata.values()):
        members = [patient for patient in patients if strata[patient] == stratum]
        if len(members) >= k:
            for fold, (_, out) in zip(expected, KFold(k).split(members), strict=True):
                fold |= {members[i] for i in out}
        else:  # which KFold refuses
            for fold, member in zip(expected, members, strict=False):
                fold.add(member)
    if not all(expected):
        with pytest.raises(ConfigError, match="would be empty"):
            member_folds({"d": found}, chosen, folds)
        return
    held_out = member_folds({"d": found}, chosen, folds)
    assert [{of_patient[name] for _, name in fold} for fold in held_out] == expected
    assert sorted(key for fold in held_out for key in fold) == sorted(order)


def test_folds_of_a_stratified_split_mix_the_strata():
    """The patients of a part are ranked anew, so that neighbours are not of one stratum."""
    found = {"d": images(20, group="HGG") + images(20, group="LGG")}
    chosen = rule(stratify="group", parts={"train": {"size": 30}, "val": {"size": 5}, "test": {"size": 5}})
    for fold in member_folds(found, chosen, MemberFolds(k=2, held_out="unused")):
        assert 3 < sum("HGG" in name for _, name in fold) < 12


def test_more_folds_than_patients():
    chosen = rule(parts={"train": {"size": 3}, "val": {"size": 1}})
    with pytest.raises(ConfigError, match=r"folds\.k = 4: some folds of train would be empty") as caught:
        member_folds({"d": images(4)}, chosen, MemberFolds(k=4, held_out="unused"))
    assert "3 of all" in caught.value.expected


def test_folds_of_a_part_that_is_not_there():
    with pytest.raises(ConfigError, match=r"folds\.of: val") as caught:
        member_folds(
            {"d": images(4)},
            rule(parts={"train": {"size": 3}}),
            MemberFolds(k=2, of=["train", "val"], held_out="validation"),
        )
    assert "train" in caught.value.expected


def folds_from(tmp_path: Path, lists: object, frames: int = 2) -> list[list[tuple[str, str]]]:
    path = tmp_path / "folds.json"
    path.write_text(json.dumps(lists))
    parts = tmp_path / "parts.json"
    parts.write_text(json.dumps({"train": ["p2", "p0", "p1"], "valid": ["p3"], "test": ["p4"]}))
    found = {"d": images(5, frames=frames)}
    return member_folds(found, rule(list=parts), MemberFolds(k=2, held_out="unused", list=path))


def test_folds_are_what_their_lists_leave_out(tmp_path):
    held_out = folds_from(tmp_path, {"train": [["d/p0", "p1_0", "p1_1"], ["p2"]], "valid": [["p3"], ["p3"]]})
    assert held_out == [[("d", "p2_0"), ("d", "p2_1")], [("d", f"p{i}_{f}") for i in (0, 1) for f in (0, 1)]]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": [["p0", "nobody"], ["p1", "p2"]]}, "1 unknown ids, among them nobody"),
        ({"train": [["p0", "p3"], ["p1", "p2"]]}, "1 unknown ids, among them p3"),  # a patient of val
        ({"train": [["p0", "p0"], ["p1", "p2"]]}, "list 0: d/p0_0 is listed twice"),
        ({"train": [["p0", "p0_1"], ["p1", "p2"]]}, "list 0: d/p0_1 is listed twice"),
        ({"train": [["p0", "p1"], ["p0", "p2"]]}, "d/p0 is left out of 0 of the 2 lists"),
        ({"train": [["p0"], ["p1"]]}, "d/p2 is left out of 2 of the 2 lists"),
        ({"train": [["p0_0", "p1"], ["p0_1", "p2"]]}, "d/p0 is left out of 2 of the 2 lists"),
        ({"train": [["p0", "p1", "p2"]]}, "1 lists under train"),
        ({"train": ["p0", "p1", "p2"]}, "one list of ids for each member"),
        ({"train": [["p0", "p1"], []]}, "one list of ids for each member"),
        ({"trian": [["p0"]]}, "one list of ids for each member"),
        (["p0"], "a JSON list"),
    ],
)
def test_bad_lists_of_folds(tmp_path, lists, message):
    with pytest.raises(ConfigError, match=message) as caught:
        folds_from(tmp_path, lists)
    assert str(tmp_path / "folds.json") in str(caught.value)
