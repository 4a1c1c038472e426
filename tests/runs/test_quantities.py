"""What jobs handle, counted from the configuration, against what is really made."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from segtrail.config import Dataset, Predictor, load_run, merged, read_yaml
from segtrail.data import phantoms, records
from segtrail.data.geometry import Geometry
from segtrail.data.readers import list_subjects
from segtrail.data.steps import State, run_step
from segtrail.errors import ConfigError
from segtrail.files import write_json
from segtrail.layout import Layout
from segtrail.models.networks import build
from segtrail.runs.jobs import job_of
from segtrail.runs.quantities import (
    SMALL_PHANTOMS,
    Counted,
    flops_per_voxel,
    parameters,
    sets_of,
    shape_after,
    usual_size,
)
from segtrail.studies.measure import draws_of

ROOT = Path(__file__).parents[2]
STUDY = "mehrtash2020"
SHAPE, SPACING = (30, 41, 9), (1.3, 1.1, 3.0)


def layout(results: Path = Path("results"), **values: Any) -> Layout:
    base = {"run": "test", "scale": "paper", "studies": [STUDY]}
    return Layout(load_run(merged(base, values), ROOT / "config"), results)


STUDY_AT = {scale: layout(scale=scale).run.studies[STUDY] for scale in ("paper", "demo", "smoke")}


@pytest.mark.parametrize("scale", STUDY_AT)
@pytest.mark.parametrize("cohort", ["brain", "heart", "prostate", "prostate3d"])
def test_the_shape_after_a_recipe_is_that_of_the_array_it_makes(scale, cohort):
    recipe = STUDY_AT[scale].cohorts[cohort].recipe
    image = np.random.default_rng(0).random((1, *SHAPE[::-1]), dtype=np.float32)
    geometry = Geometry.of_scan(SHAPE, np.diag([*SPACING, 1.0]), SPACING)
    state = State("s", ("t2",), image, np.zeros(SHAPE[::-1], np.uint8), geometry, None)
    for step in recipe:
        run_step(state, step, None)
    assert shape_after(recipe, SHAPE, SPACING) == state.image.shape[:0:-1]


def test_a_resampling_to_a_shape_changes_the_spacing_too():
    recipe = [
        {"step": "resample_to_shape", "shape": [60, 41, None]},
        {"step": "resample_to_spacing", "spacing": [1.3, 1.1, None]},
    ]
    heart = STUDY_AT["paper"].cohorts["heart"]
    steps = type(heart).model_validate(heart.model_dump() | {"recipe": recipe}).recipe
    assert shape_after(steps, SHAPE, SPACING) == SHAPE


@pytest.mark.parametrize(("cohort", "size"), [("brain", (64, 32)), ("prostate3d", (16, 32, 16))])
@pytest.mark.parametrize("name", ["ce", "dice_dropout"])
def test_flops_and_parameters_are_those_that_torch_counts(cohort, size, name):
    model = STUDY_AT["paper"].model(cohort, name)
    network = build(model, 3, 4).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, 3, *size))
    assert flops_per_voxel(model, 3, 4) * np.prod(size) == pytest.approx(counter.get_total_flops(), rel=0.02)
    counted = sum(parameter.numel() for parameter in network.parameters())
    assert parameters(model, 3, 4) == pytest.approx(counted, rel=0.02)


JUNGO = layout(studies=["jungo2019"]).run.studies["jungo2019"]


@pytest.mark.parametrize(
    ("name", "channels"), [("baseline", 4), ("aleatoric", 4), ("aux_segm", 5), ("aux_feat", 32)]
)
def test_flops_and_parameters_of_other_networks_are_those_that_torch_counts(name, channels):
    model = JUNGO.model("brats", name)
    network = build(model, channels, 2).eval()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.zeros(1, channels, 64, 32))
    flops = flops_per_voxel(model, channels, 2) * 64 * 32
    assert flops == pytest.approx(counter.get_total_flops(), rel=0.02)
    counted = sum(parameter.numel() for parameter in network.parameters())
    # Of 32 filters, batch norms and biases are more than a hundredth.
    assert parameters(model, channels, 2) == pytest.approx(counted, rel=0.02 if name != "aux_feat" else 0.15)


@pytest.mark.parametrize("members", [10, 100])
@pytest.mark.parametrize("name", list(STUDY_AT["paper"].predictors))
def test_sets_of_members_are_those_that_are_measured(members, name):
    predictor = STUDY_AT["paper"].predictors[name]
    if predictor.kind == "ensemble":
        sizes = [1, 2, 5, members]
        predictor = Predictor.model_validate(
            predictor.model_dump() | {"sizes": sizes, "table_size": 5, "maps": [2, 9]}
        )
    draws = draws_of(name, predictor, members, seed=1)
    told = sets_of(predictor, members)
    assert told.measured == len(draws)
    assert told.in_rows == sum(draw.in_rows for draw in draws)
    assert told.with_surface == sum(draw.with_surface for draw in draws)
    assert told.maps == sum(draw.keep_map for draw in draws)


@pytest.mark.parametrize("dataset", ["acdc", "brats17", "isic17", "promise12", "prostatex"])
def test_small_phantoms_are_as_large_as_is_said(tmp_path, dataset):
    described = Dataset.model_validate(read_yaml(ROOT / "config" / "datasets" / f"{dataset}.yaml"))
    phantom = described.phantoms["smoke"]
    phantoms.write(tmp_path / "root", dataset, described, phantom, seed=1)
    listing = list_subjects(tmp_path / "root", described)
    records.refresh(tmp_path / "records", listing, described, tmp_path / "root")
    records.write_index(tmp_path / "records", listing, tmp_path / "subjects.csv", tmp_path / "rejected.csv")
    with (tmp_path / "subjects.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    shape, spacing = SMALL_PHANTOMS[phantom.anatomy]
    for row in rows:
        np.testing.assert_allclose(json.loads(row["shape"]), shape, rtol=0.25)
        np.testing.assert_allclose(json.loads(row["spacing"]), spacing, rtol=0.25)


def test_once_scans_are_read_their_median_counts(tmp_path):
    (tmp_path / "acdc").mkdir()
    real = layout(tmp_path, cohorts=["heart"], data={"acdc": str(tmp_path / "acdc")})
    assert usual_size(real, "acdc")[0] == (216, 256, 10)
    for number, depth in enumerate((6, 8, 30)):
        found = {"shape": [100 + number, 90, depth], "spacing": [1.0, 1.5, 8.0]}
        write_json(real.data("acdc") / "records" / f"s{number}.json", {"files": {}, "found": found})
    write_json(real.data("acdc") / "records" / "bad.json", {"files": {}, "problem": {}})
    assert usual_size(real, "acdc") == ((101, 90, 8), (1.0, 1.5, 8.0))


def test_a_data_set_of_unknown_size_is_told_with_the_remedy():
    with pytest.raises(ConfigError, match=r"how large the scans of acdc are") as told:
        usual_size(layout(cohorts=["heart"], datasets={"acdc": {"typical": None}}), "acdc")
    assert "config/datasets/acdc.yaml" in str(told.value)
    assert "snakemake -n" in str(told.value)


def test_a_brain_posterior_has_two_bytes_for_each_member_class_and_voxel():
    of = {"study": STUDY, "cohort": "brain", "posterior": "ce"}
    counted = Counted(layout())
    handled = counted.of(job_of("sample", **of, chunk="test_000"))
    chunk = layout().run.studies[STUDY].cohorts["brain"].chunk
    assert handled["largest posterior MB"] == pytest.approx(100 * 4 * 224 * 224 * 78 * 2 / 1e6)
    assert handled["posterior MB"] == pytest.approx(chunk * handled["largest posterior MB"])


def jungo(step: str, **of: str) -> dict[str, float]:
    run = layout(studies=["jungo2019"])
    return Counted(run).of(job_of(step, study="jungo2019", cohort="isic", **of))


def test_an_uncertainty_of_its_own_is_four_bytes_for_each_member_and_voxel():
    plain, own = (jungo("sample", posterior=name, chunk="val") for name in ("baseline", "aleatoric"))
    voxels = 150 * 256 * 192
    assert plain["posterior MB"] == pytest.approx(voxels * 2 * 2 / 1e6)
    assert own["posterior MB"] == pytest.approx(voxels * (2 * 2 + 4) / 1e6)


def test_an_error_network_takes_the_passes_of_the_segmentation_network_too():
    base, aux = (jungo("sample", posterior=name, chunk="val") for name in ("baseline", "aux_segm"))
    assert 2 * base["GFLOP 2D"] < aux["GFLOP 2D"] < 2.01 * base["GFLOP 2D"]
    base, feat = (jungo("train", model=name, member="000") for name in ("baseline", "aux_feat"))
    # One pass on each picture to read, none to learn; what it adds itself is small.
    passes = base["GFLOP 2D"] * 2150 / (3 * 2000 + 150)
    assert passes < feat["GFLOP 2D"] < 1.05 * passes


def test_a_member_is_trained_on_what_its_fold_leaves():
    whole, ninth = (jungo("train", model=name, member="000")["GFLOP 2D"] for name in ("baseline", "ensemble"))
    assert ninth / whole == pytest.approx((3 * 1800 + 150) / (3 * 2000 + 150))


def test_predictions_pass_once_over_what_members_have_not_seen():
    handled = jungo("predictions", model="cv")
    assert handled["segmentation MB"] == pytest.approx(2000 * 256 * 192 / 1e6)
    one = jungo("sample", posterior="baseline", chunk="val")["GFLOP 2D"] / 150
    assert handled["GFLOP 2D"] == pytest.approx(2000 * one)


def test_maps_and_surfaces_cost_where_they_are_kept_and_measured():
    handled = jungo("measure", posterior="baseline", chunk="val")
    assert handled["map MB"] == handled["surface Mvoxel"] == handled["kept MB"] == 0
    assert handled["draw Mvoxel"] > 0
