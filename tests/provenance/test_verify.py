"""What `segtrail verify` says of a tree after each thing that can happen to it."""

import json
import shutil
from pathlib import Path

import pytest
from made import HEART, STUDY, edit, flip, forget
from typer.testing import CliRunner

from segtrail.cli import app
from segtrail.errors import ConfigError
from segtrail.files import read_json, write_json
from segtrail.provenance import receipts
from segtrail.provenance.verify import verify
from segtrail.runs.jobs import outputs

MEMBER = f"{HEART}/members/ce/000.safetensors"
CELLS = f"{STUDY}/cells.csv"
ARRAYS = f"scratch/{HEART}/arrays/train"


def wrong() -> dict[str, str]:
    """artifact → its state, of those that are not right."""
    return {one.path: one.state for one in verify("smoke", None).artifacts if one.state != "right"}


def the(path: str):
    (found,) = [one for one in verify("smoke", None).artifacts if one.path == path]
    return found


def made_by(run, jobs) -> set[str]:
    """The artifacts of jobs, without posteriors."""
    made = (path for job in jobs for path in outputs(run.layout, run.jobs[job]))
    return {path for path in made if "/posteriors/" not in path and "/phantom/" not in path}


def screen(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", *arguments])
    return done.exit_code, done.output


def test_of_a_finished_run_all_is_right_and_nothing_is_written(finished):
    before = {path: path.lstat().st_mtime_ns for path in Path("results").rglob("*")}
    found = verify("smoke", None)
    assert found.right
    every = made_by(finished, set(finished.jobs) - set(finished.of("phantom")))
    assert {one.path for one in found.artifacts} == every
    assert (found.missing, found.unknown) == ([], [])
    assert found.measured == len(finished.of("sample"))
    code, text = screen("--run", "smoke")
    assert code == 0
    assert f"{len(every)} artifacts, all right" in text
    assert {path: path.lstat().st_mtime_ns for path in Path("results").rglob("*")} == before


def test_one_byte_of_a_weight_file_is_seen_whatever_the_cache_says(finished):
    finished.start()
    flip(finished.tree / MEMBER)
    assert wrong() == {MEMBER: "edited"}
    recorded = receipts.read(finished.tree, f"{HEART}/train_ce_000")["outputs"][MEMBER]["sha256"]
    assert f"its receipt says {recorded}" in the(MEMBER).why
    assert f"rm -f {finished.tree / MEMBER}" in the(MEMBER).remedy
    code, text = screen("--run", "smoke")
    assert code == 1
    assert text.count(MEMBER) == 3  # where it is, and twice in the remedy
    assert "1 of " in text


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: flip(folder / "one.npz"), "one.npz: sha256"),
        (lambda folder: (folder / "one.npz").write_text("more bytes"), "one.npz: 10 bytes, and its receipt"),
        (lambda folder: (folder / "one.npz").unlink(), "one.npz: no such file"),
        (lambda folder: (folder / "three.npz").write_text(""), "three.npz: its receipt does not have it"),
    ],
)
def test_a_folder_is_one_artifact_whichever_of_its_files_was_changed(finished, harm, told):
    harm(finished.tree / ARRAYS)
    assert wrong() == {ARRAYS: "edited"}
    assert told in the(ARRAYS).why
    assert f"rm -r {finished.tree / ARRAYS}" in the(ARRAYS).remedy


def test_a_changed_parameter_makes_stale_what_it_shapes_and_says_what_came_of_it(finished):
    edit(Path("config/studies/mehrtash2020.yaml"), "ece_bins: 10", "ece_bins: 20")
    stale = finished.after(*finished.of("measure"))
    assert wrong() == dict.fromkeys(made_by(finished, stale), "stale")
    first = the(f"{HEART}/measures/ce/test_000.parquet")
    assert first.why == "config measures.ece_bins: 10, now 20"
    assert first.causes == (f"{HEART}/measure_ce_test_000",)
    after = the(f"{STUDY}/measures.parquet")
    assert set(after.causes) == set(finished.of("measure"))
    assert "snakemake -n" in after.remedy
    text = screen("--run", "smoke")[1]
    assert "stale: config measures.ece_bins: 10, now 20" in text
    assert f"stale: the job {after.causes[0]} and 3 more are (config measures.ece_bins: 10, now 20)" in text


def test_a_changed_parameter_of_config_yaml_counts_too(finished):
    """What was given on the command line is laid over it, as the same command would."""
    edit(Path("config/config.yaml"), "seed: 1", "seed: 2")
    assert set(wrong()) == made_by(finished, set(finished.jobs) - set(finished.of("phantom", "split")))


def test_changed_code_makes_stale_what_it_shapes(finished):
    script = Path("workflow/scripts/cells.py")
    script.write_text(f"{script.read_text(encoding='utf-8')}\nMORE = 1\n", encoding="utf-8")
    forget()
    assert set(wrong()) == made_by(finished, finished.after(f"{STUDY}/cells"))
    assert the(CELLS).why == "its code"
    assert the(f"{STUDY}/audit.csv").why == f"earlier jobs are stale: {STUDY}/cells"


def test_a_scan_that_changed_since_makes_stale_what_was_made_of_it(finished):
    (dataset, subject), *_ = finished.layout.split(STUDY, "heart")["test"]
    record = read_json(finished.layout.records(dataset, [subject])[0])
    flip(finished.layout.root(dataset) / next(iter(record["files"])))
    first = {f"index_{dataset}", f"{HEART}/preprocess_test_000"}
    assert set(wrong()) == made_by(finished, finished.after(*first))
    assert (
        the(f"{HEART}/subjects/test_000.json").why
        == f"the scans of {dataset}/{subject}, since they were read"
    )


def test_what_was_made_of_an_earlier_making_is_stale_by_itself(finished):
    """One job was done again by hand, with another configuration, and what comes after it was not."""
    other = finished.again(overrides={STUDY: {"measures": {"ece_bins": 20}}})
    other.start()
    other.do(f"{HEART}/measure_ce_test_000")
    finished.start()
    found = the(f"{HEART}/measures/ce/test_000.parquet")
    assert (found.state, found.why) == ("stale", "config measures.ece_bins: 20, now 10")
    # All after it were made of what the configuration asks for: they stay.
    assert set(wrong()) == made_by(finished, [f"{HEART}/measure_ce_test_000"])


def test_what_nobody_makes_and_what_another_run_made_is_foreign(finished):
    other = finished.again(overrides={STUDY: {"models": {"ce": {"members": 3}}}})
    other.start()
    third = f"{HEART}/train_ce_002"
    other.do(third)
    finished.start()
    (finished.tree / STUDY / "notes.txt").write_text("by hand")
    (finished.tree / "old").mkdir()
    (finished.tree / "old/cells.csv").write_text("by hand")
    left = finished.tree / STUDY / ".cells.0a1b2c3d.part.csv"
    left.write_text("")
    foreign = {
        f"{STUDY}/notes.txt",
        "old/cells.csv",
        f"{STUDY}/.cells.0a1b2c3d.part.csv",
        f"receipts/{third}.json",
        *made_by(other, [third]),
    }
    assert wrong() == dict.fromkeys(foreign, "foreign")
    assert the(f"{HEART}/members/ce/002.csv").why == f"made by the job {third}, which this run does not have"
    assert "a process that was killed" in the(f"{STUDY}/.cells.0a1b2c3d.part.csv").why


def test_the_trees_own_bookkeeping_is_not_foreign(finished):
    for name in (
        "controller.lock",
        "logs/a/b.log",
        "logs/a/b.lock",
        "resume/x/state.pt",
        "slurm/jobs/a.json",
        "data/acdc/records/fingerprints/.stat.json",
        "data/acdc/phantom/phantom.json",
        f"{STUDY}/.gitignore",
    ):
        path = finished.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    assert wrong() == {}


def test_what_has_no_receipt_is_foreign_and_what_is_not_there_missing(finished):
    receipts.path(finished.tree, f"{STUDY}/cells").unlink()
    assert wrong() == dict.fromkeys((CELLS, f"{STUDY}/unprinted.csv", f"{STUDY}/metrics.json"), "foreign")
    assert "is not there" in the(CELLS).why
    shutil.rmtree(finished.tree / "scratch")
    found = verify("smoke", None)
    missing = {one.path for one in found.missing}
    assert missing == {path for path in made_by(finished, finished.jobs) if path.startswith("scratch/")}
    assert found.count()["missing"] == len(missing)


def test_a_receipt_that_cannot_be_read_is_named(finished):
    file = receipts.path(finished.tree, f"{STUDY}/cells")
    file.write_text(file.read_text()[:100])
    name = f"receipts/{STUDY}/cells.json"
    made = dict.fromkeys((CELLS, f"{STUDY}/unprinted.csv", f"{STUDY}/metrics.json"), "foreign")
    assert wrong() == {name: "edited", **made}
    assert "not a receipt" in the(name).why
    assert "delete it" in the(name).remedy


def test_in_a_clone_with_results_alone_it_says_what_it_cannot_know(finished):
    for part in ("data/acdc/phantom", "data/acdc/records", "scratch", "keys", "benchmarks"):
        shutil.rmtree(finished.tree / part)
    for part in ("run.json", "controller.json"):
        (finished.tree / part).unlink()
    Path("run.yaml").write_text("run: smoke\nscale: smoke\nstudies: [mehrtash2020]\ncohorts: [heart]\n")
    found = verify(None, Path("run.yaml"))
    assert found.right
    assert found.unknown == ["whether the scans of acdc are as they were drawn: they are not here"]
    assert "not known: whether the scans of acdc" in screen("--config", "run.yaml")[1]


def test_where_data_roots_are_not_there_receipts_are_held_to_each_other(finished):
    """A clone that has pulled the results of a run on real scans."""
    arguments = (None, Path("run.yaml"))
    Path("run.yaml").write_text(
        "run: smoke\nscale: smoke\nstudies: [mehrtash2020]\ncohorts: [heart]\ndata: {acdc: /nowhere/acdc}\n"
    )

    def wrong() -> dict[str, str]:
        return {one.path: one.state for one in verify(*arguments).artifacts if one.state != "right"}

    found = verify(*arguments)
    assert found.right
    assert len(found.unknown) == 1
    assert "data.acdc: /nowhere/acdc" in found.unknown[0]
    flip(finished.tree / MEMBER)
    assert wrong() == {MEMBER: "edited"}
    flip(finished.tree / MEMBER)
    script = Path("workflow/scripts/cells.py")
    script.write_text(f"{script.read_text(encoding='utf-8')}\nMORE = 1\n", encoding="utf-8")
    forget()
    assert set(wrong()) == made_by(finished, finished.after(f"{STUDY}/cells"))


def test_a_tree_of_another_version_or_kind_and_no_tree_are_refused(finished):
    marker = finished.tree / "run.json"
    ours = read_json(marker)
    write_json(marker, ours | {"scale": "paper"})
    with pytest.raises(ConfigError, match="another kind of run"):
        verify("smoke", None)
    write_json(marker, {name: value for name, value in ours.items() if name != "format"})
    code, text = screen("--run", "smoke")
    assert code == 1
    assert "made by another version of segtrail" in text
    assert "remedy:" in text
    code, text = screen("--run", "demo")
    assert code == 1
    assert "no such run" in text
    assert not Path("results/demo").exists()


def test_json_has_every_artifact(finished):
    flip(finished.tree / MEMBER)
    edit(Path("config/studies/mehrtash2020.yaml"), "ece_bins: 10", "ece_bins: 20")
    code, text = screen("--run", "smoke", "--json")
    assert code == 1
    found = json.loads(text)
    states = {one["path"]: one["state"] for one in found["artifacts"]}
    assert states[MEMBER] == "edited"
    assert states[CELLS] == "stale"
    assert states[f"{HEART}/split.json"] == "right"
    assert sum(found["counts"][state] for state in ("right", "stale", "edited", "foreign")) == len(states)
    assert found["studies"][STUDY]["edited"] == 1
    (member,) = [one for one in found["artifacts"] if one["path"] == MEMBER]
    assert set(member) == {"path", "place", "state", "job", "why", "remedy"}
