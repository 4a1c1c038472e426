"""Segmentations of the subjects that each member of a cross-validated model has not seen."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]) as log, making(snakemake):
    from segtrail.layout import Layout
    from segtrail.posterior.segment import write_segmentations

    layout, wildcards = Layout.load(snakemake.config), snakemake.wildcards
    place = (wildcards.study, wildcards.cohort, wildcards.model)
    write_segmentations(
        snakemake.input.members,
        dict(zip(layout.members(*place), layout.held_out(*place), strict=True)),
        snakemake.input.arrays,
        snakemake.output[0],
        log,
        layout.run.device,
    )
