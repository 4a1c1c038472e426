# Posteriors and references to rows of measures, and the mean probabilities that figures show.


rule measure:
    input:
        posterior=f"{TREE}/{{study}}/{{cohort}}/posteriors/{{posterior}}/{{chunk}}",
        arrays=f"{TREE}/{{study}}/{{cohort}}/arrays/{{chunk}}",
    output:
        measures=f"{TREE}/{{study}}/{{cohort}}/measures/{{posterior}}/{{chunk}}.parquet",
        reliability=f"{TREE}/{{study}}/{{cohort}}/reliability/{{posterior}}/{{chunk}}.parquet",
        maps=directory(f"{TREE}/{{study}}/{{cohort}}/maps/{{posterior}}/{{chunk}}"),
    log:
        f"{TREE}/logs/{{study}}/{{cohort}}/measure_{{posterior}}_{{chunk}}.log",
    benchmark:
        f"{TREE}/benchmarks/{{study}}/{{cohort}}/measure_{{posterior}}_{{chunk}}.tsv"
    # Before the next posterior is made: they are large.
    priority: 10
    conda:
        "../../environment.yml"
    resources:
        mem_mb=asked("measure", "mem_mb"),
        runtime=asked("measure", "runtime"),
        disk_mb=asked("measure", "disk_mb"),
    params:
        config=lambda wildcards: config_hash(
            {name: p.model_dump(exclude={"title"}) for name, p in measured_by(wildcards).items()},
            cohort_of(wildcards).box,
            RUN.studies[wildcards.study].measures.measured_by(),
        ),
        seed=RUN.seed,
        code=code_hash("studies.measure"),
    script:
        "../scripts/measure.py"
