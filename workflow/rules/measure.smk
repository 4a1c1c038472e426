# Posteriors and references to rows of measures, and the mean probabilities that figures show.


rule measure:
    input:
        posterior=f"{SCRATCH}/{{study}}/{{cohort}}/posteriors/{{posterior}}/{{chunk}}",
        arrays=f"{SCRATCH}/{{study}}/{{cohort}}/arrays/{{chunk}}",
        ranges=range_of,
        key=key_of("measure"),
    output:
        measures=f"{TREE}/{{study}}/{{cohort}}/measures/{{posterior}}/{{chunk}}.parquet",
        reliability=f"{TREE}/{{study}}/{{cohort}}/reliability/{{posterior}}/{{chunk}}.parquet",
        errors=f"{TREE}/{{study}}/{{cohort}}/errors/{{posterior}}/{{chunk}}.parquet",
        # Empty where no figure shows any.
        maps=directory(f"{SCRATCH}/{{study}}/{{cohort}}/maps/{{posterior}}/{{chunk}}"),
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
    script:
        "../scripts/measure.py"
