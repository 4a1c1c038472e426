"""Splits: sizes, proportions, and what must have no influence on them."""

import json
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import fixtures
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold, train_test_split

from segtrail.config import Split, load_run
from segtrail.config.model import MemberFolds
from segtrail.data.splits import check_leaks, drawn, member_folds, split
from segtrail.errors import ConfigError

# The first stratified split of a process imports scipy.optimize, so there is no deadline.
repeatable = settings(deadline=None, derandomize=True)


@dataclass(frozen=True)
class Image:
    id: str
    patient: str
    site: str = ""
    group: str = ""


def images(count: int, site: str = "", group: str = "", prefix: str = "p", frames: int = 1) -> list[Image]:
    return [
        Image(f"{prefix}{site}{group}{i}_{frame}", f"{prefix}{site}{group}{i}", site, group)
        for i in range(count)
        for frame in range(frames)
    ]


def rule(**values: object) -> Split:
    return Split.model_validate(values)


def patients_in(parts: dict, subjects: dict[str, list[Image]]) -> dict[str, set[tuple[str, str]]]:
    patient = {(d, s.id): (d, s.patient) for d, found in subjects.items() for s in found}
    return {part: {patient[key] for key in keys} for part, keys in parts.items()}


@st.composite
def cohorts(draw: st.DrawFn) -> list[Image]:
    """Patients of up to three sites and two groups, with one or two images each."""
    found = []
    for site in draw(st.lists(st.sampled_from("ABC"), min_size=1, max_size=3, unique=True)):
        for group in draw(st.lists(st.sampled_from(["HGG", "LGG"]), min_size=1, max_size=2, unique=True)):
            count = draw(st.integers(2, 12))
            found += images(count, site, group, frames=draw(st.integers(1, 2)))
    return found


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


# --- drawn as a published split was ---------------------------------------------------------------


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


# --- folds of members ------------------------------------------------------------------------------


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
