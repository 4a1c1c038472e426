"""What a job's key depends on, and what not."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import HEART, ROOT, STUDY, edit, forget

from segtrail.config import load_run
from segtrail.files import read_json, write_json
from segtrail.layout import Layout
from segtrail.provenance import receipts
from segtrail.provenance.keys import Keys, config_of, differences
from segtrail.runs.jobs import jobs


@pytest.mark.parametrize(
    ("values", "shaped"),
    [
        ({"measures": {"ece_bins": 20}}, ["measure"]),
        ({"cohorts": {"heart": {"box": {"slices": 1}}}}, ["measure"]),
        ({"measures": {"alpha": 0.2}}, ["cells"]),
        ({"cohorts": {"heart": {"model": {"training": {"epochs": 3}}}}}, ["train"]),
        (
            {"models": {"ce": {"training": {"learning_rate": 0.1}}}},
            [f"{HEART}/train_ce_000", f"{HEART}/train_ce_001"],
        ),
        ({"cohorts": {"heart": {"recipe": [{"step": "min_max"}]}}}, ["preprocess"]),
        ({"figures": {"figure_2": {"title": "Another title"}}}, [f"{STUDY}/figure_2"]),
        ({"title": "Another title"}, ["cells"]),
    ],
    ids=str,
)
def test_a_parameter_changes_the_keys_of_what_it_shapes_and_of_what_comes_after(finished, values, shaped):
    before, after = finished.keys(), finished.again(overrides={STUDY: values}).keys()
    first = [job for one in shaped for job in (finished.of(one) or [one])]
    if shaped == ["cells"]:  # whatever reads rows of measures reads the study
        first += finished.of("claims", "figure")
    assert {job for job in before if before[job] != after[job]} == finished.after(*first)


def test_the_seed_is_in_all_that_is_drawn_and_in_nothing_else(finished):
    before, after = finished.keys(), finished.again(seed=2).keys()
    assert {job for job in before if before[job] == after[job]} == set(finished.of("split"))


def test_a_record_changes_its_chunk_and_what_comes_after(finished):
    before = finished.keys()
    (dataset, subject), *_ = finished.layout.split(STUDY, "heart")["test"]
    record = Path(finished.layout.records(dataset, [subject])[0])
    write_json(record, read_json(record) | {"found": {"spacing": [1, 1, 1]}})
    after = finished.keys()
    changed = {job for job in before if before[job] != after[job]}
    assert changed == finished.after(f"index_{dataset}", f"{HEART}/preprocess_test_000")
    assert not changed & set(finished.of("train"))


def test_a_published_number_changes_what_is_compared_with_it(finished):
    before = finished.keys()
    edit(Path(f"config/published/{STUDY}.csv"), "0.12", "0.13")
    after = finished.keys()
    changed = {job for job in before if before[job] != after[job]}
    assert changed == finished.after(f"{STUDY}/cells", f"{STUDY}/claims")


def test_a_comment_in_code_changes_no_key_and_code_those_of_its_jobs_and_after(finished):
    before, script = finished.keys(), Path("workflow/scripts/measure.py")
    script.write_text(f"# a comment\n{script.read_text(encoding='utf-8')}", encoding="utf-8")
    forget()
    assert finished.keys() == before
    script.write_text(f"{script.read_text(encoding='utf-8')}\nMORE = 1\n", encoding="utf-8")
    forget()
    after = finished.keys()
    assert {job for job in before if before[job] != after[job]} == finished.after(*finished.of("measure"))


def test_how_jobs_are_named_planned_and_checked_is_in_no_key(finished, monkeypatch, tmp_path):
    """A job more in the list of jobs must not train everything again."""
    from segtrail import source

    before = finished.keys()
    package = shutil.copytree(source.PACKAGE, tmp_path / "segtrail")
    monkeypatch.setattr(source, "PACKAGE", package)
    for module in ("runs/jobs", "provenance/keys", "provenance/making", "provenance/settle"):
        path = package / f"{module}.py"
        path.write_text(f"{path.read_text(encoding='utf-8')}\nMORE = 1\n", encoding="utf-8")
    forget()
    assert finished.keys() == before


def test_where_a_phantom_is_not_drawn_the_key_is_not_known_unless_a_receipt_tells(finished):
    before = finished.keys()
    shutil.rmtree(finished.tree / "data/acdc/phantom")
    shutil.rmtree(finished.tree / "data/acdc/records")
    assert finished.keys() == before  # a clone that holds results and receipts
    shutil.rmtree(finished.tree / "receipts")
    keys = Keys(finished.again().layout)
    assert keys.made_from(f"{HEART}/preprocess_train")["data"] is None
    known = {name for name in keys.jobs if keys.key(name) is not None}
    assert known == set(finished.of("phantom", "split"))


def test_a_receipt_tells_nothing_of_a_phantom_of_other_subjects(finished):
    more = finished.again(datasets={"acdc": {"phantoms": {"smoke": {"sites": {"": 9}}}}})
    keys = Keys(more.layout)
    assert keys.made_from("index_acdc")["data"] is None
    assert keys.key("index_acdc") is None
    assert keys.key("phantom_acdc") is not None


def test_a_key_file_is_what_the_key_is_the_hash_of(finished):
    receipt = receipts.read(finished.tree, f"{STUDY}/cells")
    assert read_json(receipts.key_path(finished.tree, f"{STUDY}/cells")) == receipt["made_from"]
    assert finished.keys()[f"{STUDY}/cells"] == receipt["key"]


# --- what members are trained on ------------------------------------------------------------------


def of_jungo(**overrides) -> dict[str, dict]:
    """job → its configuration."""
    values = {"run": "test", "scale": "smoke", "studies": ["jungo2019"]}
    layout = Layout(load_run(values | {"overrides": {"jungo2019": overrides}}, ROOT / "config"))
    return {job.name: config_of(layout, job) for job in jobs(layout)}


def test_the_key_of_a_member_names_whom_it_is_trained_without():
    found = of_jungo()
    first, second = (found[f"jungo2019/brats/train_ensemble_{member}"] for member in ("000", "001"))
    held_out = [one.pop("held_out_subjects") for one in (first, second)]
    assert first == second
    assert held_out[0]
    assert not set(held_out[0]) & set(held_out[1])
    assert "held_out_subjects" not in found["jungo2019/brats/train_baseline_000"]
    of_cv = [found[f"jungo2019/brats/train_cv_{member}"]["held_out_subjects"] for member in ("000", "001")]
    assert found["jungo2019/brats/predictions_cv"] == {"held_out_subjects": of_cv}


def test_members_of_other_folds_are_others_and_members_without_folds_the_same():
    before = of_jungo()
    after = of_jungo(
        cohorts={
            "brats": {
                "models": {
                    "cv": {"folds": {"of": ["train"]}},
                    "aux_segm": {"folds": {"k": 2, "held_out": "validation"}},
                }
            }
        }
    )
    changed = {job for job in after if job.count("/") == 2 and before.get(job) != after[job]}
    trained = ("train_cv_000", "train_cv_001", "predictions_cv", "train_aux_segm_000")
    assert changed == {f"jungo2019/brats/{job}" for job in trained}


def test_maps_that_a_figure_begins_to_show_are_measured_for():
    figure = {
        "kind": "method_maps",
        "title": "Figure 9",
        "caption": "-",
        "cohort": "isic",
        "predictors": ["center"],
        "pick": {"predictors": ["center"]},
    }
    before, after = of_jungo(), of_jungo(figures={"figure_9": figure})
    changed = {job for job in before if job.count("/") == 2 and before[job] != after[job]}
    assert changed == {"jungo2019/isic/measure_center_test_000"}


# --- differences in words -------------------------------------------------------------------------

WAS = {
    "step": "measure",
    "of": {"chunk": "test_000"},
    "config": {"measures": {"bins": 10}, "levels": [1, 2], "box": {"slices": 2}},
    "seed": 1,
    "code": "a" * 16,
    "data": {"acdc/p1": "b" * 64},
    "files": {"config/published/x.csv": "c" * 64},
    "after": {"x/heart/sample": "d" * 64},
}


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"config": WAS["config"] | {"measures": {"bins": 15}}}, ["config measures.bins: 10, now 15"]),
        ({"config": WAS["config"] | {"levels": [1, 3]}}, ["config levels.1: 2, now 3"]),
        ({"config": WAS["config"] | {"levels": [1]}}, ["config levels: [1, 2], now [1]"]),
        ({"config": {**WAS["config"], "more": "yes"}}, ["config more: None, now 'yes'"]),
        ({"seed": 2}, ["seed: 1, now 2"]),
        ({"code": "e" * 16}, ["its code"]),
        ({"data": {"acdc/p1": "f" * 64}}, ["the scans of acdc/p1"]),
        ({"data": {"acdc/p2": "b" * 64}}, ["the scans of acdc/p1", "the scans of acdc/p2"]),
        ({"data": None}, []),
        ({"files": {"config/published/x.csv": "0" * 64}}, ["config/published/x.csv"]),
        ({"after": {"x/heart/sample": "0" * 64}}, ["what the job x/heart/sample made"]),
        ({"after": {"x/heart/sample": None}}, []),
    ],
    ids=str,
)
def test_differences_are_told_in_words(now, told):
    assert differences(WAS | now, WAS) == told


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
HASHES = st.dictionaries(st.text(max_size=3), st.sampled_from("abc"), max_size=3)
MADE_FROM = st.fixed_dictionaries(
    {
        "config": st.dictionaries(st.text(max_size=3), VALUES, max_size=3),
        "seed": st.integers(0, 2),
        "code": st.sampled_from("ab"),
        "data": HASHES,
        "files": HASHES,
        "after": HASHES,
    }
)


@given(MADE_FROM)
def test_nothing_differs_from_itself(made_from):
    assert differences(made_from, json.loads(json.dumps(made_from))) == []


@given(MADE_FROM, MADE_FROM)
def test_something_is_told_exactly_where_two_differ(one, other):
    """None and no value are the same to a reader of the configuration."""
    without = [{**each, "config": _without_none(each["config"])} for each in (one, other)]
    assert bool(differences(one, other)) == (without[0] != without[1])


def _without_none(value):
    if isinstance(value, dict):
        return {name: _without_none(one) for name, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list) else value
