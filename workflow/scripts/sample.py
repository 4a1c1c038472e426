"""Probabilities, and uncertainty of its own, of every member for the subjects of one chunk."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]) as log, making(snakemake):
    from segtrail.layout import Layout
    from segtrail.posterior.predict import sample_chunk

    layout, wildcards = Layout.load(snakemake.config), snakemake.wildcards
    study = layout.run.studies[wildcards.study]
    predictor = study.predictor(wildcards.cohort, layout.posteriors(wildcards.study)[wildcards.posterior][0])
    sample_chunk(
        snakemake.input.members,
        snakemake.input.arrays,
        predictor,
        (layout.run.seed, wildcards.study, wildcards.cohort, wildcards.posterior),
        snakemake.output[0],
        log,
        layout.run.device,
        snakemake.input.base,
    )
