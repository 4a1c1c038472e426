# One job per member. A killed job goes on from its last saved epoch when it is started again. Members of an
# auxiliary model learn where members of another are wrong, and wait for those.


rule train:
    input:
        train=f"{SCRATCH}/{{study}}/{{cohort}}/arrays/train",
        val=f"{SCRATCH}/{{study}}/{{cohort}}/arrays/val",
        base=base_of,
        segmentations=segmentations_of,
        key=key_of("train"),
    output:
        weights=f"{TREE}/{{study}}/{{cohort}}/members/{{model}}/{{member}}.safetensors",
        history=f"{TREE}/{{study}}/{{cohort}}/members/{{model}}/{{member}}.csv",
    log:
        f"{TREE}/logs/{{study}}/{{cohort}}/train_{{model}}_{{member}}.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/{{cohort}}/train_{{model}}_{{member}}.tsv"
    conda:
        "../../environment.yml"
    # Members of one pack may share a SLURM job, one after the other: the time is that of all of them.
    resources:
        gpu=1,
        mem_mb=asked("train", "mem_mb"),
        runtime=asked("train", "runtime"),
        members_per_job=RUN.members_per_job,
        pack=lambda wildcards: f"{wildcards.study}/{wildcards.cohort}/{wildcards.model}",
    script:
        "../scripts/train.py"


rule predictions:
    input:
        members=lambda wildcards: [
            f"{members_folder(wildcards)}/{wildcards.model}/{member}.safetensors"
            for member in LAYOUT.members(wildcards.study, wildcards.cohort, wildcards.model)
        ],
        arrays=lambda wildcards: [
            f"{SCRATCH}/{wildcards.study}/{wildcards.cohort}/arrays/{part}"
            for part in LAYOUT.predicted(wildcards.study, wildcards.cohort, wildcards.model)
        ],
        key=key_of("predictions"),
    output:
        directory(f"{SCRATCH}/{{study}}/{{cohort}}/predictions/{{model}}"),
    log:
        f"{TREE}/logs/{{study}}/{{cohort}}/predictions_{{model}}.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/{{cohort}}/predictions_{{model}}.tsv"
    conda:
        "../../environment.yml"
    resources:
        gpu=1,
        mem_mb=asked("predictions", "mem_mb"),
        runtime=asked("predictions", "runtime"),
        disk_mb=asked("predictions", "disk_mb"),
    script:
        "../scripts/predictions.py"
