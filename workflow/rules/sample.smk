# Members to posteriors. A posterior holds every member's probabilities and is deleted once measured.


rule sample:
    input:
        members=lambda wildcards: [
            f"{TREE}/{wildcards.study}/{wildcards.cohort}/members/{model}/{member}.safetensors"
            for model in [LAYOUT.model_of(wildcards.study, wildcards.posterior)]
            for member in LAYOUT.members(wildcards.study, wildcards.cohort, model)
        ],
        arrays=f"{TREE}/{{study}}/{{cohort}}/arrays/{{chunk}}",
    output:
        temp(directory(f"{TREE}/{{study}}/{{cohort}}/posteriors/{{posterior}}/{{chunk}}")),
    log:
        f"{TREE}/logs/{{study}}/{{cohort}}/sample_{{posterior}}_{{chunk}}.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/{{cohort}}/sample_{{posterior}}_{{chunk}}.tsv"
    conda:
        "../../environment.yml"
    resources:
        gpu=1,
        mem_mb=asked("sample", "mem_mb"),
        runtime=asked("sample", "runtime"),
        disk_mb=asked("sample", "disk_mb"),
    params:
        config=lambda wildcards: sampled_by(wildcards),
        seed=RUN.seed,
        code=code_hash("posterior.predict"),
    script:
        "../scripts/sample.py"
