"""Trains one member, or goes on where a killed job left off."""

from segtrail.joblog import job
from segtrail.provenance.making import making

with job(snakemake.log[0]) as log, making(snakemake):
    from segtrail.data.prepared import load_folder
    from segtrail.layout import Layout
    from segtrail.models.training import train_member

    layout, wildcards = Layout.load(snakemake.config), snakemake.wildcards
    study, inputs = layout.run.studies[wildcards.study], snakemake.input
    prepared = {
        (one.dataset, one.subject): one
        for part in ("train", "val")
        for one in load_folder(getattr(inputs, part))
    }
    wanted = layout.trained_on(*wildcards)
    # Those that are not there were refused, and are left out.
    train, val = ([prepared[key] for key in wanted[part] if key in prepared] for part in ("train", "val"))
    train_member(
        study.model(wildcards.cohort, wildcards.model),
        train,
        val,
        classes=len(study.cohorts[wildcards.cohort].segments) + 1,
        seed_parts=(layout.run.seed, *wildcards),
        weights_path=snakemake.output.weights,
        history_path=snakemake.output.history,
        resume_dir=layout.resume(*wildcards),
        log=log,
        device=layout.run.device,
        base=inputs.base[0] if inputs.base else None,
        segmentations=inputs.segmentations[0] if inputs.segmentations else None,
    )
