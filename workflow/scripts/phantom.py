"""Draws one phantom data set in its distributed layout."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.data import phantoms, records
    from segtrail.layout import Layout

    layout, name = Layout.load(snakemake.config), snakemake.params.dataset
    dataset, root = layout.run.datasets[name], layout.root(name)
    phantoms.write(root, name, dataset, dataset.phantoms[layout.run.scale], layout.run.seed)
    records.refresh(layout.data(name) / "records", layout.listing(name), dataset, root)
    layout.stop_if_bad(name)
