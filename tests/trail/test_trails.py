"""Where a number comes from: the whole chain of every cell, what changes it, and where it breaks."""

import json
import shutil
from pathlib import Path
from typing import get_args

import pytest
import trees
from trees import JUNGO, NAME, ROOT

from segtrail.config import results
from segtrail.errors import ArtifactError, ConfigError
from segtrail.files import read_json, sha256_of, sha256_of_file, write_json
from segtrail.layout import Layout
from segtrail.provenance.receipts import contents, path
from segtrail.trail import Trail, Trails
from segtrail.trail.formulas import DEFINED, formula

HEART = ("Table II", "Heart (EN L_DSC)", "NLL")
BRAIN = ("Table II", "Brain (EN L_DSC)", "NLL")
# These look at brain, heart and prostate together.
POOLED = {("text", "-", "r min (logit Dice vs entropy)"), ("text", "-", "r max")}

COHORTS = ("Brain", "Heart", "Prostate", "Prostate3D")


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Layout:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        layout = trees.smoke(tmp_path_factory.mktemp("finished"))
        trees.finish(layout)
    return layout


@pytest.fixture
def tree(finished, tmp_path) -> Path:
    """A finished run, for a test to change."""
    return shutil.copytree(finished.tree, tmp_path / "smoke")


def every_trail(tree: Path) -> dict[tuple[str, str, str], Trail]:
    trails = Trails(tree)
    return {place: trails.cell(NAME, *place) for place in trails.places(NAME)}


def kinds(trail: Trail) -> list[str]:
    return [step.kind for step in trail.steps]


def files(trail: Trail) -> dict[str, str]:
    """file of a scan → its hash, of all that feed a cell."""
    scans = [step for step in trail.as_dict()["steps"] if step["kind"] == "scans"]
    rows = [row for step in scans for row in step["subjects"]]
    return {f"{row['dataset']}/{file}": sha for row in rows for file, sha in row["files"].items()}


# --- every cell -------------------------------------------------------------------------------------


def test_every_published_number_has_its_whole_chain(finished):
    printed = (ROOT / "config" / "published" / f"{NAME}.csv").read_text(encoding="utf-8").splitlines()
    found = every_trail(finished.tree)
    assert len(found) == len(printed) - 1
    for trail in found.values():
        about = json.loads(json.dumps(trail.as_dict()))
        assert about["digest"]
        assert about["missing"] == []
        assert about["value"] == 0.5
        assert all(one["text"] and one["source"] for one in about["formulas"])
        assert printed[about["published"]["line"] - 1].startswith(f"{trail.place[0]},")
        assert about["published"]["value"] in printed[about["published"]["line"] - 1]
        ids = {step["id"] for step in about["steps"]}
        below = {one for step in about["steps"] for one in step["after"]}
        assert below <= ids, "a step that is named is there"
        assert {job["environment"] for step in about["steps"] for job in step["jobs"]} == set(
            about["environments"]
        )


def test_a_mean_goes_down_through_members_and_split_to_the_scans(finished):
    trail = Trails(finished.tree).cell(NAME, *HEART)
    assert list(dict.fromkeys(kinds(trail))) == [
        *("cells", "collect", "measure", "posterior", "members", "arrays", "split", "scans", "data")
    ]
    (members,) = (step for step in trail.as_dict()["steps"] if step["kind"] == "members")
    assert [one["member"] for one in members["members"]] == ["000", "001"]
    for one in members["members"]:
        assert one["weights"] == sha256_of_file(finished.tree / one["file"])
        assert (one["seed"], one["epochs"]) == (1, 20)
    assert members["made"][0]["config"]["loss"] == "dice"
    split = finished.split(NAME, "heart")
    subjects = [subject for part in ("train", "val", "test") for _, subject in split[part]]
    assert sorted(files(trail)) == sorted(
        f"acdc/{s}/{file}.nii" for s in subjects for file in ("scan", "label")
    )


def test_a_count_of_patients_comes_from_its_own_part_and_no_member(finished):
    trail = Trails(finished.tree).cell(NAME, "Table I", "Heart/ACDC", "val")
    assert "members" not in kinds(trail)
    ((_, subject),) = finished.split(NAME, "heart")["val"]
    assert sorted(files(trail)) == [f"acdc/{subject}/label.nii", f"acdc/{subject}/scan.nii"]


def test_a_correlation_comes_from_all_the_cohorts_that_it_looks_at(finished):
    trail = Trails(finished.tree).cell(NAME, "text", "-", "r max")
    cohorts = {step.id.split("/")[1] for step in trail.steps if step.kind == "members"}
    assert cohorts == {"brain", "heart", "prostate"}
    assert f"{NAME}/prostate/scans/shift" in [step.id for step in trail.steps]


def test_arrays_made_by_statistics_of_the_training_part_come_from_its_scans_too(tmp_path):
    recipe = {"recipe": [{"step": "z_score", "over": "population"}]}
    layout = trees.smoke(tmp_path, cohorts=["heart"], overrides={NAME: {"cohorts": {"heart": recipe}}})
    trees.finish(layout)
    trail = Trails(layout.tree).cell(NAME, "Table I", "Heart/ACDC", "test")
    assert "population" in kinds(trail)
    assert f"{NAME}/heart/scans/train" in [step.id for step in trail.steps]
    assert trail.digest is not None


def test_a_subject_that_was_left_out_is_listed_with_the_reason(finished, tmp_path):
    dataset, subject = finished.split(NAME, "heart")["test"][0]
    layout = trees.smoke(tmp_path, cohorts=["heart"])
    trees.finish(layout, excluded=f"{dataset}/{subject}")
    step = Trails(layout.tree).cell(NAME, *HEART).as_dict()["steps"]
    (test,) = (one for one in step if one["id"] == f"{NAME}/heart/scans/test")
    reasons = {one["subject"]: one["excluded"] for one in test["subjects"]}
    assert reasons.pop(subject) == "t2.nii: no label"
    assert set(reasons.values()) == {""}


def test_steps_are_shared_by_the_cells_that_they_feed(finished):
    trails = Trails(finished.tree)
    one, other = trails.cell(NAME, *HEART), trails.cell(NAME, "Table II", "Heart (L_DSC)", "Dice I")
    members = f"{NAME}/heart/members/dice"
    assert trails.step(members) in one.steps
    assert trails.step(members) in other.steps
    assert one.about()["steps"] == [step["id"] for step in one.as_dict()["steps"]]


# --- what changes a digest ----------------------------------------------------------------------------


def is_of(*beginnings: str):
    """The cells of printed rows, but the counts of patients."""
    return lambda place: place[0] != "Table I" and place[1].startswith(beginnings)


@pytest.mark.parametrize(
    ("cohort", "part", "fed", "counts", "texts"),
    [
        ("heart", "test", is_of("Heart "), [("Heart/ACDC", "test")], ["heart"]),
        ("heart", "train", is_of("Heart "), [("Heart/ACDC", "train")], ["heart"]),
        ("brain", "val", is_of("Brain "), [("Brain/CBICA", "val")], ["brain"]),
        (
            *("prostate", "test", is_of("Prostate ", "Prostate3D ")),
            *([("Prostate/PROSTATEx", "test")], ["prostate"]),
        ),
        ("prostate", "shift", lambda place: False, [("Prostate/PROMISE12", "test")], []),
    ],
)
def test_another_voxel_changes_the_digests_of_exactly_the_cells_that_its_scan_feeds(
    finished, tmp_path, cohort, part, fed, counts, texts
):
    dataset, subject = finished.split(NAME, cohort)[part][0]
    layout = trees.smoke(tmp_path)
    trees.finish(layout, changed=f"{dataset}/{subject}")
    before, after = every_trail(finished.tree), every_trail(layout.tree)
    changed = {place for place in before if before[place].digest != after[place].digest}
    hashed = {place for place in before if files(before[place]) != files(after[place])}
    named = {("text", "-", f"NLL reduction M=5 {name} %") for name in texts}
    named |= {("Table I", *count) for count in counts} | POOLED
    assert changed == {place for place in before if fed(place)} | named
    assert hashed == changed
    for place in changed:
        other = files(before[place]).items() ^ files(after[place]).items()
        assert {name for name, _ in other} == {f"{dataset}/{subject}/scan.nii"}


def test_another_seed_is_another_digest_where_something_is_random(finished, tmp_path):
    layout = trees.smoke(tmp_path, seed=2, cohorts=["heart"])
    trees.finish(layout)
    before, after = Trails(finished.tree), Trails(layout.tree)
    assert before.cell(NAME, *HEART).digest != after.cell(NAME, *HEART).digest


def test_a_run_of_another_name_and_fewer_cohorts_has_the_same_digest(finished, tmp_path):
    layout = trees.smoke(tmp_path, run="other", cohorts=["heart"])
    trees.finish(layout)
    before, after = Trails(finished.tree), Trails(layout.tree)
    assert before.cell(NAME, *HEART).digest == after.cell(NAME, *HEART).digest


def test_another_setting_changes_the_digests_of_what_it_shapes(finished, tmp_path):
    training = {"training": {"learning_rate": 0.01}}
    layout = trees.smoke(tmp_path, overrides={NAME: {"models": {"dice": training}}})
    trees.finish(layout)
    before, after = every_trail(finished.tree), every_trail(layout.tree)
    changed = {place for place in before if before[place].digest != after[place].digest}
    single_or_ensemble = {f"{cohort} ({kind}L_DSC)" for cohort in COHORTS for kind in ("", "EN ")}
    assert changed == {place for place in before if place[1] in single_or_ensemble or place[0] == "text"}


# --- what is not there --------------------------------------------------------------------------------


def test_a_cell_that_was_not_computed_says_why_and_has_no_digest(tmp_path):
    layout = trees.smoke(tmp_path, cohorts=["heart"])
    trees.finish(layout)
    trails = Trails(layout.tree)
    trail = trails.cell(NAME, *BRAIN)
    assert trail.value is None
    assert "not part of this run" in trail.values["reason"]
    assert kinds(trail) == ["cells", "collect"]
    assert trail.digest is None
    assert trail.as_dict()["formulas"][0]["name"] == "mean"
    assert trails.cell(NAME, *HEART).digest is not None
    assert trails.cell(NAME, "text", "-", "r max").digest is None


def test_a_clone_without_scratch_has_the_same_digest_and_says_what_is_made_anew(tree):
    before = Trails(tree).cell(NAME, *HEART).digest
    shutil.rmtree(tree / "scratch")
    trail = Trails(tree).cell(NAME, *HEART)
    assert trail.digest == before
    assert {one["step"] for one in trail.missing} == {
        f"{NAME}/heart/arrays/{part}" for part in ("train", "val", "test")
    }
    assert all(one["known"] and "made anew" in one["remedy"] for one in trail.missing)


def test_weights_that_were_not_pulled_are_known_by_their_hash(tree):
    before = Trails(tree).cell(NAME, *HEART).as_dict()
    (tree / NAME / "heart/members/dice/001.safetensors").unlink()
    after = Trails(tree).cell(NAME, *HEART).as_dict()
    assert after["digest"] == before["digest"]
    (missing,) = after["missing"]
    assert "001.safetensors" in missing["what"]
    assert "dvc pull" in missing["remedy"]


def test_without_the_data_sets_the_files_of_the_scans_are_told_all_the_same(tree):
    before = Trails(tree).cell(NAME, *HEART)
    shutil.rmtree(tree / "data")
    path(tree, "phantom_acdc").unlink()
    trail = Trails(tree).cell(NAME, *HEART)
    assert trail.digest == before.digest
    assert files(trail) == files(before)
    (missing,) = trail.missing
    assert "phantom_acdc" in missing["what"]


@pytest.mark.parametrize(
    "job", ["train_dice_001", "sample_dice_test_000", "measure_dice_test_000", "preprocess_val"]
)
def test_a_receipt_that_is_not_there_is_named(tree, job):
    path(tree, f"{NAME}/heart/{job}").unlink()
    trail = Trails(tree).cell(NAME, *HEART)
    assert trail.digest is None
    assert any(job in one["what"] for one in trail.missing if not one["known"])
    assert Trails(tree).cell(NAME, *BRAIN).digest is not None


# --- what does not agree ------------------------------------------------------------------------------


def test_cells_that_were_edited_by_hand_have_no_trail(tree):
    cells = tree / NAME / "cells.csv"
    cells.write_text(cells.read_text(encoding="utf-8").replace("0.5", "0.6"), encoding="utf-8")
    with pytest.raises(ArtifactError, match="edited") as error:
        Trails(tree).cell(NAME, *HEART)
    assert "cells.csv" in error.value.file


def test_one_byte_of_a_members_weights_stops_the_trails_of_its_cells_alone(tree):
    weights = tree / NAME / "heart/members/dice/001.safetensors"
    content = bytearray(weights.read_bytes())
    content[3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ArtifactError, match="edited or damaged"):
        Trails(tree).cell(NAME, *HEART)
    assert Trails(tree).cell(NAME, *BRAIN).digest is not None
    assert Trails(tree).cell(NAME, "Table II", "Heart (EN L_CE)", "NLL").digest is not None


def test_cells_of_a_version_that_knew_other_settings_are_told(tree):
    job = f"{NAME}/cells"
    config = read_json(path(tree, job))["made_from"]["config"]
    do_again(tree, job, study=config["study"] | {"colour": "red"})
    with pytest.raises(ArtifactError, match="this version"):
        Trails(tree).cell(NAME, *HEART)


def do_again(tree: Path, job: str, **config: object) -> None:
    """Leaves the receipt that a job would leave with another configuration."""
    receipt = read_json(path(tree, job))
    receipt["made_from"]["config"] |= config
    write_json(path(tree, job), receipt | {"key": sha256_of(receipt["made_from"])})


def test_a_job_done_again_since_stops_the_trail(tree):
    do_again(tree, f"{NAME}/heart/measure_dice_test_000", measures={"ece_bins": 20})
    with pytest.raises(ArtifactError, match="done again"):
        Trails(tree).cell(NAME, *HEART)
    assert Trails(tree).cell(NAME, *BRAIN).digest is not None


def test_a_member_trained_again_with_other_bytes_stops_the_trail(tree):
    receipt = read_json(path(tree, f"{NAME}/heart/train_dice_000"))
    weights = next(file for file in receipt["outputs"] if file.endswith(".safetensors"))
    (tree / weights).write_bytes(b"other digits")
    receipt["outputs"] = contents(tree, receipt["outputs"])
    write_json(path(tree, f"{NAME}/heart/train_dice_000"), receipt)
    with pytest.raises(ArtifactError, match=r"done again since .*other content"):
        Trails(tree).cell(NAME, *HEART)


def test_a_split_made_again_since_stops_the_trail(tree):
    do_again(tree, f"{NAME}/heart/split", test=["acdc/patient001_ED"])
    with pytest.raises(ArtifactError, match="split again"):
        Trails(tree).cell(NAME, *HEART)


def test_a_printed_number_that_was_changed_since_stops_its_trail(tree, tmp_path):
    config = shutil.copytree(ROOT / "config", tmp_path / "config")
    file = config / "published" / f"{NAME}.csv"
    text = file.read_text(encoding="utf-8")
    assert "Heart (EN L_DSC),NLL,0.31" in text
    file.write_text(text.replace("Heart (EN L_DSC),NLL,0.31", "Heart (EN L_DSC),NLL,0.32"), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"0\.32"):
        Trails(tree, config).cell(NAME, *HEART)
    assert Trails(tree, config).cell(NAME, *BRAIN).digest is not None


# --- networks that learn from networks ------------------------------------------------------------------

SHARE = ("text", "-", "BraTS underconfident %")


def in_table_1(row: str, column: str = "BraTS U-E") -> tuple[str, str, str]:
    return ("Table 1", row, column)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> Layout:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        layout = trees.smoke(tmp_path_factory.mktemp("learnt"), studies=[JUNGO])
        trees.finish(layout)
    return layout


def of_kind(trail: Trail, kind: str) -> dict[str, dict]:
    """id below the cohort → step"""
    found = [step for step in trail.as_dict()["steps"] if step["kind"] == kind]
    return {step["id"].split("/", 2)[2]: step for step in found}


def names(trail: Trail, of: str) -> list[str]:
    return [one["name"] for one in trail.as_dict()["formulas"] if one["of"] == of]


def test_an_ensemble_of_folds_tells_thresholds_entropy_and_what_each_member_has_not_seen(learnt):
    trail = Trails(learnt.tree).cell(JUNGO, *in_table_1("ensemble"))
    about = trail.as_dict()
    assert about["missing"] == []
    assert about["digest"]
    assert [names(trail, of) for of in ("cell", "measure", "beside", "threshold", "uncertainty")] == [
        ["mean"],
        ["u_e"],
        [],  # the same formula
        ["threshold"],
        ["entropy"],
    ]
    # Its own threshold, and beside it that of the validation part.
    assert set(of_kind(trail, "measure")) == {"measure/ensemble/test", "measure/ensemble/val"}
    (members,) = of_kind(trail, "members").values()
    held_out = [one["held_out"] for one in members["members"]]
    folds = learnt.held_out(JUNGO, "brats", "ensemble")
    assert held_out == [[f"{dataset}/{subject}" for dataset, subject in fold] for fold in folds[:2]]
    assert all(held_out)
    (made,) = members["made"]
    assert "held_out_subjects" not in made["config"]


def test_an_error_network_tells_the_segmentation_that_it_learns_from(learnt):
    trail = Trails(learnt.tree).cell(JUNGO, *in_table_1("auxiliary segm."))
    assert names(trail, "uncertainty") == ["auxiliary", "rescale"]
    assert names(trail, "probability") == ["count_uncertainty"]
    order = [step.id.split("/", 2)[2] for step in trail.steps if step.kind in ("members", "predictions")]
    assert order == ["members/aux_segm", "members/baseline", "predictions/cv", "members/cv"]
    (predictions,) = of_kind(trail, "predictions").values()
    held = {tuple(subject.split("/")) for fold in predictions["folds"] for subject in fold}
    parts = learnt.split(JUNGO, "brats")
    assert held == {*parts["train"], *parts["val"]}
    steps = {step["id"]: step for step in trail.as_dict()["steps"]}
    aux = steps[f"{JUNGO}/brats/members/aux_segm"]
    assert predictions["id"] in aux["after"]
    assert f"{JUNGO}/brats/members/cv" in predictions["after"]
    assert f"{JUNGO}/brats/members/baseline" in steps[f"{JUNGO}/brats/posterior/aux_segm/test"]["after"]
    assert f"{JUNGO}/brats/members/baseline" not in aux["after"]


def test_an_error_network_on_features_comes_after_its_segmentation_network(learnt):
    trail = Trails(learnt.tree).cell(JUNGO, *in_table_1("auxiliary feat.", "BraTS ECE%"))
    aux = of_kind(trail, "members")["members/aux_feat"]
    assert f"{JUNGO}/brats/members/baseline" in aux["after"]
    assert "predictions" not in kinds(trail)
    assert names(trail, "region") == ["mask"]
    assert names(trail, "threshold") == []
    assert list(of_kind(trail, "measure")) == ["measure/aux_feat/test"]


def test_a_rescaled_deviation_tells_the_range_of_all_predictions(learnt):
    trail = Trails(learnt.tree).cell(JUNGO, *in_table_1("aleatoric"))
    assert names(trail, "uncertainty") == ["aleatoric", "rescale"]
    ranges = of_kind(trail, "range")
    assert set(ranges) == {"range/aleatoric/test", "range/aleatoric/val"}
    assert ranges["range/aleatoric/test"]["range"]["max"] == 2.5
    steps = {step["id"]: step for step in trail.as_dict()["steps"]}
    assert f"{JUNGO}/brats/range/aleatoric/test" in steps[f"{JUNGO}/brats/measure/aleatoric/test"]["after"]
    assert ranges["range/aleatoric/test"]["after"] == [f"{JUNGO}/brats/posterior/aleatoric/test"]


def test_a_share_over_methods_comes_from_all_of_them(learnt):
    trail = Trails(learnt.tree).cell(JUNGO, *SHARE)
    assert {one["name"] for one in trail.predictors} == set(learnt.run.studies[JUNGO].predictors)
    assert {one["cohort"] for one in trail.predictors} == {"brats"}
    assert names(trail, "limit τ") == ["limits"]
    assert names(trail, "interval") == ["share_interval"]
    assert trail.intervals[0]["lo"] == trees.SPREAD[2]
    assert len(of_kind(trail, "measure")) == 8
    assert trail.digest


def test_a_number_that_is_not_in_print_has_its_trail_too(learnt):
    place = ("Suppl table", "center+MC", "ISIC data set ECE%")
    trails = Trails(learnt.tree)
    assert place in trails.places(JUNGO)
    about = trails.cell(JUNGO, *place).as_dict()
    assert about["published"] is None
    assert about["digest"]
    assert [one["name"] for one in about["formulas"] if one["of"] == "cell"] == ["pooled"]
    assert len(trails.places(JUNGO)) == 68 + 32


@pytest.mark.parametrize(
    ("cohort", "part", "changed"),
    [("brats", "val", 4), ("brats", "train", 4), ("isic", "test", 0)],
)
def test_another_scan_changes_the_digests_of_its_own_cohort_alone(learnt, tmp_path, cohort, part, changed):
    dataset, subject = learnt.split(JUNGO, cohort)[part][0]
    layout = trees.smoke(tmp_path, studies=[JUNGO])
    trees.finish(layout, changed=f"{dataset}/{subject}")
    before, after = Trails(learnt.tree), Trails(layout.tree)
    places = [in_table_1("ensemble", f"BraTS {column}") for column in ("ECE%", "U-E", "BnF", "Dice")]
    differ = [
        place for place in places if before.cell(JUNGO, *place).digest != after.cell(JUNGO, *place).digest
    ]
    assert len(differ) == changed


def test_another_fold_is_another_digest(learnt, tmp_path):
    for model, differs in (("ensemble", True), ("baseline", False)):
        other = {"models": {"ensemble": {"folds": {"stratify": "group"}}}}
        layout = trees.smoke(
            tmp_path / model, studies=[JUNGO], overrides={JUNGO: {"cohorts": {"brats": other}}}
        )
        assert layout.held_out(JUNGO, "brats", "ensemble") != learnt.held_out(JUNGO, "brats", "ensemble")
        trees.finish(layout)
        place = in_table_1(model, "BraTS Dice")
        found = [Trails(one.tree).cell(JUNGO, *place).digest for one in (learnt, layout)]
        assert (found[0] != found[1]) == differs


def test_a_range_edited_by_hand_stops_the_trails_that_it_shapes_alone(learnt, tmp_path):
    tree = shutil.copytree(learnt.tree, tmp_path / "smoke")
    write_json(tree / JUNGO / "brats/ranges/aleatoric_test.json", {"min": 0, "max": 1, "subjects": 4})
    with pytest.raises(ArtifactError, match="edited or damaged"):
        Trails(tree).cell(JUNGO, *in_table_1("aleatoric"))
    assert Trails(tree).cell(JUNGO, *in_table_1("center")).digest is not None


# --- names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "nearest"),
    [
        (("Table 2", *HEART[1:]), "Table I"),
        ((HEART[0], "Heart (EN L_DISC)", HEART[2]), "Heart (EN L_DSC)"),
        ((*HEART[:2], "ECE"), "ECE%"),
        ((HEART[0], HEART[1], "nll"), "NLL"),
    ],
)
def test_an_unknown_place_is_refused_with_the_nearest_names(finished, place, nearest):
    with pytest.raises(ConfigError) as error:
        Trails(finished.tree).cell(NAME, *place)
    assert nearest in error.value.expected


def test_an_unknown_study_and_one_that_the_run_has_not_computed_are_told_apart(finished):
    with pytest.raises(ConfigError, match="mehrtash2020"):
        Trails(finished.tree).cell("mertash2020", *HEART)
    with pytest.raises(ConfigError, match="has not computed"):
        Trails(finished.tree).cell("jungo2019", *HEART)


def test_a_run_that_was_never_started_is_told(tmp_path):
    with pytest.raises(ArtifactError, match="run the workflow first"):
        Trails(tmp_path / "nothing").cell(NAME, *HEART)


# --- formulas ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEFINED)
def test_each_formula_stands_with_its_source_where_it_is_computed(name):
    found = formula("measure", name)
    file, _, line = found.defined.partition(":")
    code = (ROOT / file).read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert code.split()[0] in ("def", "class")
    assert DEFINED[name][1].rpartition(".")[2] in code
    assert "Source" not in found.text
    assert any(letter.isdigit() for letter in found.source)


def test_every_measure_and_statistic_of_a_cell_has_a_formula():
    for name in get_args(results.Measure):
        measure = name.removesuffix("_val")
        assert DEFINED[measure][1].rpartition(".")[2] == measure
    kinds = get_args(get_args(results.Cell)[0])
    statistics = {name for kind in kinds for name in get_args(kind.model_fields["statistic"].annotation)}
    assert {"mean", "patients", "pooled", "underconfident", "overconfident"} < statistics <= set(DEFINED)
