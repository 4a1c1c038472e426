"""A study's tables, published beside ours, as CSV, Markdown and LaTeX."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.layout import Layout
    from segtrail.studies.tables import write_tables

    run, study = Layout.load(snakemake.config).run, snakemake.params.study
    write_tables(
        run,
        study,
        cells=snakemake.input.cells,
        unprinted=snakemake.input.unprinted,
        outputs=snakemake.output,
    )
