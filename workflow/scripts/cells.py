"""Every published number of a study beside ours."""

from segtrail.joblog import job

with job(snakemake.log[0]):
    from segtrail.layout import Layout
    from segtrail.studies.cells import write_cells

    run = Layout.load(snakemake.config).run
    write_cells(run, snakemake.wildcards.study, **dict(snakemake.input.items()), out=snakemake.output[0])
