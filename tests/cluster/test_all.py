"""`snakemake --profile slurm all`, every rule of every study, beside the same run without a cluster."""

import pytest

from .conftest import Lab, new_clone, run_locally

pytestmark = pytest.mark.xdist_group("all")

SMOKE = ("run=smoke", "scale=smoke")


def test_the_whole_run_gives_the_cells_of_a_local_one(cluster, tmp_path):
    lab = Lab(cluster, tmp_path / "cluster", config=SMOKE)
    new_clone(lab.folder)
    try:
        # The nodes have more CPUs on paper than the machine has.
        lab.start("--jobs", "6", targets=["all"]).finishes(1800)
        dry = lab.start("--dry-run", targets=["all"])
        dry.finishes(60)
        assert "Nothing to be done" in dry.text
    finally:
        lab.tidy()
    local = tmp_path / "local"
    new_clone(local)
    run_locally(local, "all", config=SMOKE)
    made = sorted(path.relative_to(local) for path in local.glob("results/smoke/*/cells.csv"))
    assert made
    for path in (*made, *(path.with_name("claims.csv") for path in made)):
        assert (lab.folder / path).read_bytes() == (local / path).read_bytes(), path
