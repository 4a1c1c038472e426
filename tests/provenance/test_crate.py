"""A finished run as an RO-Crate, held to an independent validator, to the receipts and to the tree."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import fixtures
import pytest
from crates import ENVIRONMENT, finished
from typer.testing import CliRunner

from segtrail.cli import app
from segtrail.config import load_run
from segtrail.errors import ArtifactError, ConfigError
from segtrail.files import read_json, sha256_of_file, write_json
from segtrail.layout import Layout
from segtrail.provenance.crate import export
from segtrail.provenance.crate.words import DRAWN

ROOT = Path(__file__).parents[2]
VALIDATOR = ROOT / ".venv-validator" / "bin" / "python"
AGENT = "Ada Example <https://orcid.org/0000-0002-1825-0097>"
RUN = {"run": "test", "scale": "smoke", "studies": ["mehrtash2020"], "cohorts": ["heart"]}
# What the profiles recommend and nobody has told: where the software is published, who publishes the run,
# where the paper's authors work. The last is asked of the classes themselves.
UNTOLD = {
    "The Application SHOULD have a url",
    "The `publisher` property of a `Root Data Entity` SHOULD be an `Organization`",
    "The author SHOULD have an organizational affiliation.",
    "The author SHOULD have a Contextual Entity which specifies the organizational `affiliation`.",
    "The SoftwareApplication id SHOULD be an absolute URI",
}


@pytest.fixture(autouse=True)
def in_the_clone(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """The folder of all runs, in which one is finished."""
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        finished(layout(results))
    return results


@pytest.fixture(scope="module")
def crate(tree, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("crates") / "crate"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        export(layout(tree), folder, agent=AGENT)
    return folder


@pytest.fixture
def own_tree(tree, tmp_path) -> Path:
    """A copy of the finished run that a test may damage."""
    return shutil.copytree(tree, tmp_path / "results")


def layout(results: Path, **values) -> Layout:
    return Layout(load_run({**RUN, **values}, ROOT / "config"), results)


def entities(crate: Path) -> dict[str, dict]:
    return {entity["@id"]: entity for entity in read_json(crate / "ro-crate-metadata.json")["@graph"]}


def ids(value) -> list[str]:
    """The entities that a property refers to."""
    return [one["@id"] for one in (value if isinstance(value, list) else [value])]


def issues(severity: str, *crates: Path) -> list[list[dict[str, str]]]:
    """What the validator finds in each crate, with no network to ask."""
    if not VALIDATOR.exists():
        pytest.skip("no environment of the validator: make .venv-validator/.installed")
    command = [
        str(VALIDATOR),
        str(ROOT / "tests" / "provenance" / "validator.py"),
        severity,
        *map(str, crates),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


# --- the independent validator ----------------------------------------------------------------------


def test_the_validator_accepts_it_and_misses_only_what_nobody_has_told(crate):
    (found,) = issues("RECOMMENDED", crate)
    assert [issue for issue in found if issue["severity"] == "REQUIRED"] == []
    assert {issue["message"] for issue in found} <= UNTOLD


@pytest.mark.slow
def test_the_validator_refuses_crates_that_lack_what_the_profile_demands(crate, tmp_path):
    def without_workflow_run(graph: list[dict]) -> list[dict]:
        return [entity for entity in graph if entity["@id"] != "#run"]

    def without_language(graph: list[dict]) -> list[dict]:
        return [{key: v for key, v in entity.items() if key != "programmingLanguage"} for entity in graph]

    def as_it_is(graph: list[dict]) -> list[dict]:
        return graph

    changes = {"run": without_workflow_run, "language": without_language, "file": as_it_is}
    for name, change in changes.items():
        shutil.copytree(crate, tmp_path / name)
        content = read_json(crate / "ro-crate-metadata.json")
        write_json(
            tmp_path / name / "ro-crate-metadata.json", content | {"@graph": change(content["@graph"])}
        )
    (tmp_path / "file" / "results/test/mehrtash2020/cells.csv").unlink()

    told = issues("REQUIRED", *(tmp_path / name for name in changes))
    for found, words in zip(
        told, ("mainEntity as its instrument", "programmingLanguage", "cells.csv"), strict=True
    ):
        assert any(words in issue["message"] for issue in found), found


# --- what is in it ----------------------------------------------------------------------------------


def test_every_file_is_named_with_its_hash_and_every_named_file_is_there(crate):
    named = {
        path: entity
        for path, entity in entities(crate).items()
        if "File" in entity["@type"] and not path.startswith("#")
    }
    there = {str(path.relative_to(crate)) for path in crate.rglob("*") if path.is_file()}
    assert named.keys() == there - {"ro-crate-metadata.json", "ro-crate-preview.html"}
    for path, entity in named.items():
        assert entity["sha256"] == sha256_of_file(crate / path), path
        assert int(entity["contentSize"]) == (crate / path).stat().st_size


def test_results_have_the_hashes_of_their_receipts_and_the_paths_of_the_tree(crate, tree):
    found = entities(crate)
    for name in ("cells", "claims", "tables", "figure_2"):
        receipt = read_json(tree / "test" / "receipts" / "mehrtash2020" / f"{name}.json")
        for file, entry in receipt["outputs"].items():
            assert found[f"results/test/{file}"]["sha256"] == entry["sha256"]
            assert (crate / "results/test" / file).read_bytes() == (tree / "test" / file).read_bytes()


def test_it_holds_the_workflow_its_code_and_its_configuration_as_they_are_in_the_clone(crate):
    wanted = (
        *(
            "Snakefile",
            "workflow/rules/train.smk",
            "workflow/scripts/train.py",
            "requirements.lock",
            "LICENSE",
        ),
        *("src/segtrail/models/training.py", "config/config.yaml", "config/studies/mehrtash2020.yaml"),
    )
    for path in wanted:
        assert (crate / path).read_bytes() == (ROOT / path).read_bytes()
    assert not list(crate.rglob("__pycache__"))
    assert read_json(crate / "configuration.json")["name"] == "test"
    workflow = entities(crate)["Snakefile"]
    assert ids(entities(crate)["./"]["mainEntity"]) == ["Snakefile"]
    language = entities(crate)[workflow["programmingLanguage"]["@id"]]
    assert (language["name"], language["version"]) == ("Snakemake", ENVIRONMENT["libraries"]["snakemake"])
    assert ENVIRONMENT["commit"] in workflow["version"]


def test_a_table_leads_down_to_the_hash_of_each_scan(crate, tree):
    found = entities(crate)
    maker = {
        made: entity
        for entity in found.values()
        if entity["@type"] == "CreateAction" and entity["@id"] != "#run"
        for made in ids(entity.get("result", []))
    }
    seen: set[str] = set()
    todo = ["results/test/mehrtash2020/tables/table_II.csv"]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            todo += ids(found[one].get("hasPart", []))
            todo += ids(maker[one].get("object", [])) if one in maker else []
    records = [read_json(path) for path in (tree / "test/data/acdc/records").glob("*.json")]
    scans = {sha256 for record in records for sha256 in record["files"].values()}
    assert scans
    assert scans <= {found[one].get("sha256") for one in seen}


def test_an_action_tells_when_its_job_ran_by_whom_and_with_which_seed(crate, tree):
    action = entities(crate)["#job/mehrtash2020/heart/train_ce_000"]
    receipt = read_json(tree / "test" / "receipts/mehrtash2020/heart/train_ce_000.json")
    # 90.4 seconds before half past nine, five hours behind UTC
    assert (action["startTime"], action["endTime"]) == (
        "2026-11-21T14:28:30+00:00",
        "2026-11-21T14:30:00+00:00",
    )
    assert "seed 1" in action["description"]
    assert action["identifier"] == receipt["key"]
    assert action["instrument"]["@id"] == "workflow/scripts/train.py"
    assert entities(crate)[action["agent"]["@id"]]["name"] == "Ada Example"


def test_the_paper_is_named_with_its_authors(crate):
    found = entities(crate)
    paper = found[found["./"]["citation"]["@id"]]
    assert paper["@id"] == "https://doi.org/10.1109/TMI.2020.3006437"
    assert "Tina Kapur" in {found[one]["name"] for one in ids(paper["author"])}


def test_weights_are_packed_only_when_asked_for_and_are_named_with_their_hash_otherwise(
    crate, tree, tmp_path
):
    path = "results/test/mehrtash2020/heart/members/ce/000.safetensors"
    export(layout(tree), tmp_path / "with", weights=True)
    assert not (crate / path).exists()
    assert (tmp_path / "with" / path).is_file()
    assert entities(crate)[f"#{path}"]["sha256"] == entities(tmp_path / "with")[path]["sha256"]


def test_it_says_when_jobs_ran_with_another_lock(crate, own_tree, tmp_path):
    assert "jobs ran with another" in entities(crate)["requirements.lock"]["description"]
    for path in (own_tree / "test" / "receipts").rglob("*.json"):
        receipt = read_json(path)
        receipt["environment"]["lock"] = sha256_of_file(ROOT / "requirements.lock")
        write_json(path, receipt)
    export(layout(own_tree), tmp_path / "crate")
    assert "another" not in entities(tmp_path / "crate")["requirements.lock"]["description"]


def test_a_zip_holds_the_same_files(crate, tree, tmp_path):
    size = export(layout(tree), tmp_path / "crate.zip", agent=AGENT)
    assert [path.name for path in tmp_path.iterdir()] == ["crate.zip"]
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    assert names == {str(path.relative_to(crate)) for path in crate.rglob("*") if path.is_file()}
    assert size == (tmp_path / "crate.zip").stat().st_size


# --- phantoms and real scans ------------------------------------------------------------------------


def test_everything_made_from_phantoms_says_so_in_name_and_description(crate):
    found = [
        entity
        for path, entity in entities(crate).items()
        if path.startswith(("results/", "#results/", "#job/")) or path in ("./", "#run", "#data/acdc")
    ]
    assert len(found) > 100
    for entity in found:
        assert entity["name"].startswith("PHANTOM: "), entity
        assert entity["description"].endswith(DRAWN), entity


def test_scans_of_a_real_data_set_are_named_with_hash_source_and_terms_and_never_copied(tmp_path):
    root, results = tmp_path / "acdc", tmp_path / "results"
    for number in range(1, 9):
        fixtures.acdc(root, number)
    real = layout(results, data={"acdc": root})
    real.refresh_records()
    finished(real)
    export(real, tmp_path / "crate")

    found = entities(tmp_path / "crate")
    scan = root / "patient001" / "patient001_frame01.nii.gz"
    assert found["#data/acdc/scans/patient001/patient001_frame01.nii.gz"]["sha256"] == sha256_of_file(scan)
    assert found["#data/acdc"]["conditionsOfAccess"] == "CC BY-NC-SA 4.0"
    assert found["#data/acdc"]["url"].startswith("https://")
    assert not list((tmp_path / "crate").rglob("*.nii.gz"))
    text = (tmp_path / "crate" / "ro-crate-metadata.json").read_text(encoding="utf-8")
    assert "PHANTOM" not in text
    assert str(tmp_path) not in text + (tmp_path / "crate" / "configuration.json").read_text(encoding="utf-8")


# --- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [
        "mehrtash2020/cells.csv",
        "mehrtash2020/figures/figure_2.svg",
        "mehrtash2020/heart/members/ce/000.csv",
        "report.html",
    ],
)
def test_an_edited_file_is_refused_and_nothing_is_written(own_tree, tmp_path, file):
    path = own_tree / "test" / file
    path.write_bytes(path.read_bytes().replace(b"made", b"fake"))
    with pytest.raises(ArtifactError, match="edited or damaged") as caught:
        export(layout(own_tree), tmp_path / "crates" / "crate")
    assert caught.value.file == str(path)
    assert not list((tmp_path / "crates").iterdir())


def test_a_file_that_is_gone_is_refused(own_tree, tmp_path):
    (own_tree / "test" / "mehrtash2020" / "claims.csv").unlink()
    with pytest.raises(ArtifactError, match="no such file"):
        export(layout(own_tree), tmp_path / "crate.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_an_unfinished_run_is_refused(own_tree, tmp_path):
    (own_tree / "test" / "receipts" / "report.json").unlink()
    with pytest.raises(ArtifactError, match=r"1 of \d+ jobs left no receipt: report"):
        export(layout(own_tree), tmp_path / "crate")


def test_a_run_made_from_another_configuration_is_refused(tree, tmp_path):
    with pytest.raises(ArtifactError, match="seed") as caught:
        export(layout(tree, seed=2), tmp_path / "crate")
    assert "was made from something else" in caught.value.found
    assert not (tmp_path / "crate").exists()


def test_what_is_there_is_not_overwritten(tree, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "old.zip").write_text("mine")
    for name in ("full", "old.zip", "full/notes.txt"):
        with pytest.raises(ConfigError, match="not empty"):
            export(layout(tree), tmp_path / name)
    assert (tmp_path / "full" / "notes.txt").read_text() == (tmp_path / "old.zip").read_text() == "mine"


def test_an_empty_folder_is_filled(tree, tmp_path):
    (tmp_path / "crate").mkdir()
    export(layout(tree), tmp_path / "crate")
    assert (tmp_path / "crate" / "ro-crate-metadata.json").is_file()


@pytest.mark.parametrize("agent", ["", "<https://orcid.org/0000-0002-1825-0097>", "Ada <ada@example.org>"])
def test_an_agent_is_a_name_and_maybe_an_orcid(tree, tmp_path, agent):
    with pytest.raises(ConfigError, match="--agent"):
        export(layout(tree), tmp_path / "crate", agent=agent)
    assert not (tmp_path / "crate").exists()


# --- the command ------------------------------------------------------------------------------------


def test_the_command_tells_what_is_wrong_without_a_traceback(tmp_path):
    told = CliRunner().invoke(app, ["export", "--ro-crate", str(tmp_path / "crate"), "--run", "nosuch"])
    assert told.exit_code == 1
    assert "nosuch" in told.output
    assert "Traceback" not in told.output


def test_a_start_of_segtrail_does_not_load_the_library():
    code = "import sys, segtrail.cli, segtrail.provenance.crate; sys.exit('rocrate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
