"""Draws one figure of a study."""

from segtrail.joblog import job

with job(snakemake.log[0]):
    from segtrail.layout import Layout
    from segtrail.studies.figures import draw

    layout, wildcards = Layout.load(snakemake.config), snakemake.wildcards
    draw(wildcards.figure, layout.study(wildcards.study), layout.run, wildcards.study)
