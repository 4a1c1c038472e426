"""Every published number of a study beside ours."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.layout import Layout
    from segtrail.studies.cells import write_cells
    from segtrail.studies.metrics import write_metrics

    write_cells(
        Layout.load(snakemake.config).run,
        snakemake.wildcards.study,
        measures=snakemake.input.measures,
        reliability=snakemake.input.reliability,
        errors=snakemake.input.errors,
        members=snakemake.input.members,
        subjects=snakemake.input.subjects,
        published=snakemake.input.published,
        out=snakemake.output.cells,
        unprinted=snakemake.output.unprinted,
    )
    write_metrics(snakemake.output.cells, snakemake.output.metrics)
