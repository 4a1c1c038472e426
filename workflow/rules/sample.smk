# Members to posteriors. A posterior holds every member's probabilities and is deleted once measured.


rule sample:
    input:
        members=lambda wildcards: sampled_from(wildcards, own=True),
        base=lambda wildcards: sampled_from(wildcards, own=False),
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


# Of all posteriors of a part: they stay until it is known.
rule range:
    input:
        posteriors=lambda wildcards: [
            f"{SCRATCH}/{wildcards.study}/{wildcards.cohort}/posteriors/{wildcards.posterior}/{chunk}"
            for chunk in LAYOUT.measured_chunks(wildcards.study, wildcards.cohort)
            if part_of(chunk) == wildcards.part
        ],
        key=key_of("range"),
    output:
        f"{TREE}/{{study}}/{{cohort}}/ranges/{{posterior}}_{{part}}.json",
    log:
        f"{TREE}/logs/{{study}}/{{cohort}}/range_{{posterior}}_{{part}}.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/{{cohort}}/range_{{posterior}}_{{part}}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    script:
        "../scripts/range.py"
