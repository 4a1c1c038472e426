# Scans to arrays ready to train on.

# The scans themselves are inputs of no rule. Their records are: one small file per subject (what its files
# hash to, what was found in them), rewritten only when a scan's content has changed. They are kept up to date
# at each start (common.smk), so that touching a scan reruns nothing and changing a voxel reruns exactly what
# descends from it. No input is ancient(): Snakemake 9.27 does not look for further reasons to run a job whose
# ancient input is made by a job that runs.

if RUN.drawn:

    for dataset, planned in LAYOUT.planned.items():

        rule:
            name:
                f"phantom_{dataset}"
            input:
                key=key_of("phantom", dataset=dataset),
            output:
                [f"{TREE}/data/{dataset}/phantom/{file}" for subject in planned for file in subject.files],
                records=LAYOUT.records(dataset),
            log:
                f"{TREE}/logs/phantom_{dataset}.log",
            benchmark:
                f"{TREE}/benchmarks/phantom_{dataset}.tsv"
            conda:
                "../../environment.yml"
            resources:
                mem_mb=asked("phantom", "mem_mb", dataset=dataset),
                runtime=asked("phantom", "runtime", dataset=dataset),
                disk_mb=asked("phantom", "disk_mb", dataset=dataset),
            params:
                dataset=dataset,
            script:
                "../scripts/phantom.py"


rule index:
    input:
        lambda wildcards: LAYOUT.records(wildcards.dataset),
        key=key_of("index"),
    output:
        subjects=f"{TREE}/data/{{dataset}}/subjects.csv",
        rejected=f"{TREE}/data/{{dataset}}/rejected.csv",
    log:
        f"{TREE}/logs/index_{{dataset}}.log",
    benchmark:
        f"{TREE}/benchmarks/index_{{dataset}}.tsv"
    # Of seconds: beside the controller.
    localrule: True
    conda:
        "../../environment.yml"
    script:
        "../scripts/index.py"


rule split:
    input:
        key=key_of("split"),
    output:
        f"{TREE}/{{study}}/{{cohort}}/split.json",
    log:
        f"{TREE}/logs/{{study}}/{{cohort}}/split.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/{{cohort}}/split.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    script:
        "../scripts/split.py"


rule population:
    input:
        lambda wildcards: records_of_chunk(wildcards, "train"),
        key=key_of("population"),
    output:
        f"{TREE}/{{study}}/{{cohort}}/population.json",
    log:
        f"{TREE}/logs/{{study}}/{{cohort}}/population.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/{{cohort}}/population.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=asked("population", "mem_mb"),
        runtime=asked("population", "runtime"),
    script:
        "../scripts/population.py"


rule preprocess:
    input:
        records_of_chunk,
        population=population_of,
        key=key_of("preprocess"),
    output:
        arrays=directory(f"{SCRATCH}/{{study}}/{{cohort}}/arrays/{{chunk}}"),
        # Kept: in a clone without scratch nothing is prepared, and so trained, only to know who was there.
        subjects=f"{TREE}/{{study}}/{{cohort}}/subjects/{{chunk}}.json",
    log:
        f"{TREE}/logs/{{study}}/{{cohort}}/preprocess_{{chunk}}.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/{{cohort}}/preprocess_{{chunk}}.tsv"
    conda:
        "../../environment.yml"
    threads: lambda wildcards: preprocess_threads(len(LAYOUT.chunks(wildcards.study, wildcards.cohort)[wildcards.chunk]))
    resources:
        mem_mb=asked("preprocess", "mem_mb"),
        runtime=asked("preprocess", "runtime"),
        disk_mb=asked("preprocess", "disk_mb"),
    script:
        "../scripts/preprocess.py"
