"""Draws one figure of a study."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]), making(snakemake):
    from segtrail.layout import Layout
    from segtrail.studies.figures import draw

    layout, wildcards = Layout.load(snakemake.config), snakemake.wildcards
    study = layout.run.studies[wildcards.study]
    chunks = {cohort: layout.measured_chunks(wildcards.study, cohort) for cohort in study.cohorts}
    draw(wildcards.figure, layout.study(wildcards.study), layout.run, wildcards.study, chunks)
