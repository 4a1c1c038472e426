"""Trains one member, or goes on where a killed job left off."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]) as log, making(snakemake):
    from segtrail.data.prepared import load_folder
    from segtrail.layout import Layout
    from segtrail.models.training import train_member

    layout, wildcards = Layout.load(snakemake.config), snakemake.wildcards
    study = layout.run.studies[wildcards.study]
    train_member(
        study.model(wildcards.cohort, wildcards.model),
        load_folder(snakemake.input.train),
        load_folder(snakemake.input.val),
        classes=len(study.cohorts[wildcards.cohort].segments) + 1,
        seed_parts=(layout.run.seed, *wildcards),
        weights_path=snakemake.output.weights,
        history_path=snakemake.output.history,
        resume_dir=layout.resume(*wildcards),
        log=log,
        device=layout.run.device,
    )
