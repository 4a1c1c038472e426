"""Rows of measures of one subject, against each set of members by itself."""

from types import SimpleNamespace

import numpy as np
import pytest

from segtrail.config import Box, Measures, Predictor
from segtrail.measures.calibration import foreground_box, tally
from segtrail.measures.surface import hd95
from segtrail.studies.measure import draws_of, measure_subject

MEMBERS, CLASSES = 5, 3
BOX = Box(in_plane_mm=4, slices=1)
SETTINGS = Measures(ece_bins=10)
SINGLE = Predictor(title="single", model="m", kind="single")
ENSEMBLE = Predictor(
    title="ensemble", model="m", kind="ensemble", sizes=[1, 2, 5], table_size=5, draws=3, maps=[2, 3]
)


@pytest.fixture(scope="module")
def prepared():
    label = np.zeros((4, 20, 18), np.uint8)
    label[1:3, 5:14, 4:13] = 1
    label[1:3, 7:12, 6:11] = 2
    return SimpleNamespace(label=label, spacing_zyx=(5.0, 2.0, 1.5))


@pytest.fixture(scope="module")
def probabilities(prepared):
    """(members, Z, K, Y, X) float16 that lean towards the truth."""
    rng = np.random.default_rng(0)
    depth, height, width = prepared.label.shape
    truth = np.moveaxis(np.eye(CLASSES)[prepared.label], 3, 1)
    p = rng.dirichlet(np.ones(CLASSES), (MEMBERS, depth, height, width))
    p = 0.5 * np.moveaxis(p, 4, 2) + 0.5 * truth
    return p.astype(np.float16)


@pytest.fixture(scope="module")
def measured(prepared, probabilities):
    slices = (probabilities[:, z] for z in range(probabilities.shape[1]))
    return measure_subject(
        slices, MEMBERS, prepared, {"single": SINGLE, "ensemble": ENSEMBLE}, BOX, SETTINGS, seed=7
    )


def expected(prepared, probabilities, members):
    mean = probabilities[list(members)].mean(axis=0, dtype=np.float32)
    inside = foreground_box(prepared.label, prepared.spacing_zyx, BOX.in_plane_mm, BOX.slices)
    flat = np.moveaxis(mean, 1, 0).reshape(CLASSES, -1)
    found, labels = tally(flat, prepared.label.ravel(), inside.ravel(), 10)
    return found, labels.reshape(prepared.label.shape)


def test_every_draw_has_the_measures_of_its_members(prepared, probabilities, measured):
    draws = [*draws_of("single", SINGLE, MEMBERS, 7), *draws_of("ensemble", ENSEMBLE, MEMBERS, 7)]
    values = {
        (row["predictor"], row["size"], row["draw"], row["segment"], row["region"], row["measure"]): row[
            "value"
        ]
        for row in measured.rows
    }
    for draw in (draw for draw in draws if draw.in_rows):
        place = (draw.predictor, draw.size, draw.draw)
        found, labels = expected(prepared, probabilities, draw.members)
        for region in ("volume", "box"):
            assert values[*place, 0, region, "nll"] == pytest.approx(found.nll(region), abs=1e-6)
            assert values[*place, 0, region, "ece_conf"] == pytest.approx(found.ece_conf(region), abs=1e-4)
            assert values[*place, 0, region, "brier_mean"] == pytest.approx(
                values[*place, 0, region, "brier_sum"] / CLASSES
            )
        for segment in range(1, CLASSES):
            assert values[*place, segment, "volume", "dice"] == found.dice(segment)
            key = (*place, segment, "volume", "hd95")
            assert (key in values) == (draw.predictor == "single" or draw.size == ENSEMBLE.table_size)
            if key in values:
                wanted = hd95(labels == segment, prepared.label == segment, prepared.spacing_zyx)
                assert values[key] == pytest.approx(wanted, nan_ok=True)


def test_sizes_of_maps_alone_make_maps_and_no_rows(probabilities, measured):
    assert set(measured.maps) == {"single__M1", "ensemble__M2", "ensemble__M3", "ensemble__M5"}
    assert {row["size"] for row in measured.rows if row["predictor"] == "ensemble"} == {1, 2, 5}
    everyone = np.moveaxis(probabilities.mean(axis=0, dtype=np.float32), 1, 0)
    assert np.allclose(measured.maps["ensemble__M5"], everyone, atol=1e-3)


def test_counts_add_up(prepared, measured):
    voxels = prepared.label.size
    assert {row["n"] for row in measured.rows if row["measure"] == "nll" and row["region"] == "volume"} == {
        voxels
    }
    bins = [row for row in measured.reliability if row["predictor"] == "single" and row["draw"] == 0]
    assert sum(row["count"] for row in bins if row["region"] == "volume") == voxels
    assert all(0 <= row["correct"] <= row["count"] for row in bins)


def test_draws_are_the_same_for_every_subject_and_differ_by_seed():
    first, second = (draws_of("ensemble", ENSEMBLE, 20, seed) for seed in (1, 1))
    assert first == second
    assert first != draws_of("ensemble", ENSEMBLE, 20, 2)
    assert all(len(draw.members) == draw.size for draw in first)
