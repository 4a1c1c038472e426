"""Rows of measures of one subject, against each set of members by itself."""

import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from segtrail.config import Box, Measures, Predictor
from segtrail.config.model import Rescale
from segtrail.config.study import ErrorDetection
from segtrail.data.geometry import Geometry
from segtrail.data.prepared import Prepared, file_name, save
from segtrail.files import write_json
from segtrail.measures import errors
from segtrail.measures.calibration import foreground_box, tally
from segtrail.measures.surface import hd95
from segtrail.posterior import store
from segtrail.studies import schema
from segtrail.studies.collect import concatenate
from segtrail.studies.measure import OwnUncertainty, draws_of, measure_chunk, measure_subject

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
    return SimpleNamespace(label=label, mask=None, spacing_zyx=(5.0, 2.0, 1.5))


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


TWO = Predictor(title="two", model="m", kind="ensemble", sizes=[2], table_size=2, draws=1)
AUXILIARY = Predictor(title="aux", model="m", kind="auxiliary", rescale=Rescale(over="subject"))
SIGMA = Predictor(title="σ", model="m", kind="aleatoric", rescale=Rescale(over="part", squeeze=0.01))
CLIPPED = Predictor(title="σ", model="m", kind="aleatoric", rescale=Rescale(over="validation"))
DETECTION = Measures(ece_bins=10, surface=False, errors=ErrorDetection())


@pytest.fixture(scope="module")
def lesion(prepared):
    """One segment, and a mask that leaves some of it out."""
    mask = np.zeros(prepared.label.shape, bool)
    mask[:, 3:17, 6:16] = True
    geometry = Geometry.of_scan((18, 20, 4), np.eye(4), (1.5, 2.0, 5.0))
    names = {"patient": "p", "dataset": "d", "site": "s", "group": "", "frame": "", "part": "test"}
    label = (prepared.label > 0).astype(np.uint8)
    image = np.zeros((1, *label.shape), np.float32)
    return Prepared(subject="s1", **names, image=image, label=label, geometry=geometry, mask=mask)


@pytest.fixture(scope="module")
def two_classes(lesion):
    """(members, Z, K, Y, X) float16, some voxels torn between the classes."""
    rng = np.random.default_rng(1)
    p = 0.5 * rng.beta(0.4, 0.4, (MEMBERS, *lesion.label.shape)) + 0.5 * lesion.label
    p[rng.random(p.shape) < 0.1] = 0.5
    return np.stack([1 - p, p], axis=2).astype(np.float16)


@pytest.fixture(scope="module")
def raw(lesion):
    """(members, Z, Y, X) float32, of no known unit."""
    values = np.random.default_rng(2).lognormal(0, 2, (MEMBERS, *lesion.label.shape))
    return values.astype(np.float32)


def detected(lesion, two_classes, predictors, own=None, settings=DETECTION, box=None):
    slices = (two_classes[:, z] for z in range(two_classes.shape[1]))
    return measure_subject(slices, MEMBERS, lesion, predictors, box, settings, seed=7, own=own)


def own_of(raw, of_part=None):
    ranges = [(float(one.min()), float(one.max())) for one in raw]
    return OwnUncertainty((raw[:, z] for z in range(raw.shape[1])), ranges, of_part)


def agree(found, name, draw, counts):
    """Every row of one draw says what the counts say."""

    def own(rows):
        return [row for row in rows if row["predictor"] == name and row["draw"] == draw]

    values = {(row["measure"], row["region"]): row["value"] for row in own(found.rows)}
    for region in ("volume", "mask"):
        for measure in ("ece_fg", "signed_ce", "mean_uncertainty"):
            wanted = getattr(counts, measure)(region)
            assert values[measure, region] == pytest.approx(wanted, rel=1e-6)
        bins = [row for row in own(found.reliability) if (row["of"], row["region"]) == ("foreground", region)]
        assert sum(row["count"] for row in bins) == counts.n(region)
        pooled = np.array([(row["count"], row["confidence"], row["correct"]) for row in bins]).T
        assert errors.ece_fg(*pooled) == pytest.approx(values["ece_fg", region])
    for measure in ("precision", "recall", "dice"):
        assert values[measure, "volume"] == getattr(counts, measure)()
    table = own(found.errors)
    assert [row["threshold"] for row in table] == ErrorDetection().thresholds
    for t, row in enumerate(table):
        assert tuple(row[name] for name in ("tp", "fp", "tn", "fn")) == counts.voxels
        assert tuple(row[name] for name in ("tpu", "fpu", "tnu", "fnu")) == counts.uncertain(t)


def test_errors_are_counted_by_the_entropy_of_each_draw(lesion, two_classes):
    found = detected(lesion, two_classes, {"single": SINGLE, "two": TWO})
    draws = [*draws_of("single", SINGLE, MEMBERS, 7), *draws_of("two", TWO, MEMBERS, 7)]
    for draw in draws:
        p = two_classes[list(draw.members)].mean(axis=0, dtype=np.float32)
        flat = [a.ravel() for a in (p[:, 1], p[:, 1] > p[:, 0], lesion.label, lesion.mask)]
        counts = errors.count_probabilities(*flat, ErrorDetection().thresholds, 10)
        agree(found, draw.predictor, draw.draw, counts)
    assert len(found.errors) == len(draws) * 11


@pytest.mark.parametrize(
    ("predictor", "lo", "hi", "squeeze"),
    [(AUXILIARY, None, None, 1e-5), (SIGMA, 0.0, 1e6, 0.01), (CLIPPED, 0.5, 2.0, 1e-5)],
)
def test_errors_are_counted_by_an_uncertainty_of_its_own(
    lesion, two_classes, raw, predictor, lo, hi, squeeze
):
    found = detected(lesion, two_classes, {"own": predictor}, own_of(raw, None if lo is None else (lo, hi)))
    for member in range(MEMBERS):
        u = raw[member].astype(float)
        low, high = (u.min(), u.max()) if lo is None else (lo, hi)
        u = squeeze + (np.clip(u, low, high) - low) / (high - low) * (1 - 2 * squeeze)
        p = two_classes[member]
        flat = [a.ravel() for a in (u, p[:, 1] > p[:, 0], lesion.label, lesion.mask)]
        agree(found, "own", member, errors.count_uncertainty(*flat, ErrorDetection().thresholds, 10))


def test_an_uncertainty_beyond_the_range_of_its_part_is_refused(lesion, two_classes, raw):
    with pytest.raises(ValueError, match=r"expected in 0\.5…2\.0"):
        detected(lesion, two_classes, {"own": SIGMA}, own_of(raw, (0.5, 2.0)))


def test_only_what_is_asked_for_is_measured(prepared, probabilities, lesion, two_classes):
    found = detected(lesion, two_classes, {"single": SINGLE})
    assert {row["region"] for row in found.rows} == {"volume", "mask"}
    assert "hd95" not in {row["measure"] for row in found.rows}
    without = dataclasses.replace(lesion, mask=None)
    found = detected(without, two_classes, {"single": SINGLE}, box=BOX)
    assert {row["region"] for row in [*found.rows, *found.reliability]} == {"volume", "box"}
    slices = (probabilities[:, z] for z in range(probabilities.shape[1]))
    plain = measure_subject(
        slices, MEMBERS, prepared, {"single": SINGLE}, BOX, SETTINGS, seed=7, keep_maps=False
    )
    assert {row["of"] for row in plain.reliability} == {"confidence"}
    assert (plain.errors, plain.maps) == ([], {})
    assert not {"ece_fg", "precision"} & {row["measure"] for row in plain.rows}


@pytest.fixture
def chunk(tmp_path, lesion, two_classes, raw):
    """A folder of arrays and one of posteriors, as jobs leave them."""
    (tmp_path / "arrays").mkdir()
    save(tmp_path / "arrays" / file_name("d", "s1"), lesion)
    entry = {"file": file_name("d", "s1"), "excluded": ""}
    write_json(tmp_path / "arrays" / "manifest.json", {"subjects": [entry]})
    about = {"samples": 1, "members": []}
    with store.writing(tmp_path / "posteriors", "d", "s1", two_classes.shape, about, True) as into:
        into.probabilities[:] = two_classes
        into.uncertainty[:] = raw
    return tmp_path


def measure(chunk, predictor, settings=DETECTION, **more):
    names = ("measures", "reliability", "errors")
    out = SimpleNamespace(**{name: chunk / f"{name}.parquet" for name in names}, maps=chunk / "maps")
    place = {"study": "study", "cohort": "cohort"}
    measure_chunk(
        chunk / "posteriors", chunk / "arrays", {"own": predictor}, None, settings, 7, place, out, **more
    )
    schemas = (schema.MEASURES, schema.RELIABILITY, schema.ERRORS)
    return [schema.read(getattr(out, name), expected) for name, expected in zip(names, schemas, strict=True)]


def test_a_chunk_becomes_tables_as_their_schemas_say(chunk, raw):
    write_json(chunk / "range.json", {"min": 0.0, "max": float(raw.max()) * 2, "subjects": 3})
    measures, reliability, table = measure(chunk, SIGMA, ranges=chunk / "range.json", keep_maps=False)
    assert set(measures["region"]) == set(reliability["region"]) == {"volume", "mask"}
    assert set(reliability["of"]) == {"confidence", "foreground"}
    assert len(table) == MEMBERS * 11
    assert list((chunk / "maps").iterdir()) == []
    mean = measures.query("measure == 'mean_uncertainty' and region == 'volume' and draw == 0")[
        "value"
    ].item()
    expected = 0.01 + raw[0].mean(dtype=float) / (2 * float(raw.max())) * 0.98
    assert mean == pytest.approx(expected, rel=1e-5)


def test_a_study_without_errors_has_an_empty_table_of_them(chunk):
    _, reliability, table = measure(chunk, SINGLE, Measures(ece_bins=10, surface=False))
    assert table.empty
    assert set(reliability["of"]) == {"confidence"}
    assert [file.name for file in (chunk / "maps").iterdir()] == ["d__s1.npz"]
    concatenate([chunk / "errors.parquet"] * 2, chunk / "all.parquet")
    assert schema.read(chunk / "all.parquet", schema.ERRORS).empty


def test_measuring_leaves_pandas_alone():
    script = "import sys, segtrail.studies.measure; print(sorted({'pandas', 'torch'} & {*sys.modules}))"
    assert subprocess.check_output([sys.executable, "-c", script], text=True).strip() == "[]"
