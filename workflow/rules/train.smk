# One job per member. A killed job goes on from its last saved epoch when it is started again.


rule train:
    input:
        train=f"{SCRATCH}/{{study}}/{{cohort}}/arrays/train",
        val=f"{SCRATCH}/{{study}}/{{cohort}}/arrays/val",
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
