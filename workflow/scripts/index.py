"""The records of one data set as two tables: its usable subjects, and what was refused and why."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.data.records import write_index
    from segtrail.layout import Layout

    layout, name = Layout.load(snakemake.config), snakemake.wildcards.dataset
    write_index(layout.data(name) / "records", layout.listing(name), *snakemake.output)
