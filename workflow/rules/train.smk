# One job per member. A killed job goes on from its last saved epoch when it is started again.


rule train:
    input:
        train=f"{TREE}/{{study}}/{{cohort}}/arrays/train",
        val=f"{TREE}/{{study}}/{{cohort}}/arrays/val",
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
    params:
        config=lambda wildcards: config_hash(
            RUN.studies[wildcards.study].model(wildcards.cohort, wildcards.model).trained_by()
        ),
        seed=RUN.seed,
        code=code_hash("models.training"),
    script:
        "../scripts/train.py"
