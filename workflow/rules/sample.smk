# Members to posteriors. A posterior holds every member's probabilities and is deleted once measured.


rule sample:
    input:
        members=lambda wildcards: [
            f"{TREE}/{wildcards.study}/{wildcards.cohort}/members/{model}/{member}.safetensors"
            for model in [LAYOUT.model_of(wildcards.study, wildcards.posterior)]
            for member in LAYOUT.members(wildcards.study, wildcards.cohort, model)
        ],
        arrays=f"{SCRATCH}/{{study}}/{{cohort}}/arrays/{{chunk}}",
        key=key_of("sample"),
    output:
        temp(directory(f"{SCRATCH}/{{study}}/{{cohort}}/posteriors/{{posterior}}/{{chunk}}")),
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
    script:
        "../scripts/sample.py"
