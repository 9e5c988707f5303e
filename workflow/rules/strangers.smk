# Faces without identities: false matches by groups of people, and whom the codebook groups serve.


rule measure_strangers:
    input:
        evaluation=lambda wc: f"{DATA}/evaluation/{wc.backbone}/{wc.variant}/{STRANGERS[0]}/seed{wc.seed}/images.parquet",
        original=lambda wc: f"{DATA}/evaluation/original/{STRANGERS[0]}/seed{wc.seed}/embeddings.npy",
    output:
        files(f"{DATA}/strangers/{{backbone}}/{{variant}}/seed{{seed}}", ["strangers.npz", "strangers.run.json"]),
    params:
        code=code("evaluation.strangers"),
        evaluation=lambda wc, input: Path(input.evaluation).parent,
        original=lambda wc, input: Path(input.original).parent,
        out=subpath(output[0], parent=True),
    threads: threads_of("measure_strangers")
    resources:
        **resources_of("measure_strangers"),
    log:
        f"logs/{PROFILE}/measure_strangers/{{backbone}}/{{variant}}/seed{{seed}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.strangers --evaluation {params.evaluation} --original {params.original}"
        " --out {params.out} &> {log}"


def stranger_outputs():
    """Of the variants that are evaluated on such a set; none where there is no such set."""
    return [
        path
        for name, variant in EVALUATIONS
        if set(STRANGERS) & set(stscq_params.tested_on(config, name, variant))
        for path in expand(rules.measure_strangers.output, backbone=name, variant=variant, seed=SEEDS)
    ]
