# Tables and figures: they only read what the evaluations and the training logs wrote.

OWN_SETS = {name: b["evaluate_on"] for name, b in BACKBONES.items() if "evaluate_on" in b}
TABLES = [
    *("headline", "main", "variants", "seeds", "selection_at_inference", "selection_in_training", "image_quality", "cost"),
    *(("per_dataset_accuracy", "per_dataset_ids") if len(config["evaluate_on"]) > 1 else ()),
    *(("fairness",) if config["fairness_on"] else ()),
    *(("imagenet",) if OWN_SETS else ()),
]
FIGURES = [
    *("rate_accuracy", "rate_ids", "training_curves"),
    *(f"reconstructions_{name}" for name in BACKBONES if name not in OWN_SETS),
]
REPORT_FLAGS = {
    "seeds": SEEDS,
    "sets": {"faces": config["evaluate_on"], "fairness": config["fairness_on"], **OWN_SETS},
    "variants": {name: b["variants"] for name, b in BACKBONES.items()},
}


def evaluated():
    """Every evaluation of every seed."""
    folders = [
        f"{DATA}/evaluation/{name}/{variant}/{image_set}/seed{seed}"
        for name, variant in EVALUATIONS
        for image_set in stscq_params.tested_on(config, name)
        for seed in SEEDS
    ]
    return [path for folder in folders for path in files(folder, EVALUATION)]


def originals():
    """Every evaluation of uncompressed images."""
    folders = [f"{DATA}/evaluation/original/{image_set}/seed{seed}" for image_set in FACE_SETS for seed in SEEDS]
    return [path for folder in folders for path in files(folder, ORIGINAL)]


def training_logs():
    folders = [f"{name}/{'stage1' if v == 'stage1' else f'{stage}/{v}'}"
               for name, v in EVALUATIONS
               for stage in ("stage2", "stage3")]
    return sorted({f"{MODELS}/{folder}/seed{seed}/log.jsonl" for folder in folders for seed in SEEDS})


rule tables:
    input:
        original=originals(),
        evaluations=evaluated(),
        cost=files(f"{DATA}/cost", ["cost.csv"]),
    output:
        [f"{RESULTS}/tables/{name}.{kind}" for name in TABLES for kind in ("csv", "md")],
        files(f"{RESULTS}/tables", ["metrics.json", "tables.run.json"]),
    params:
        code=code("report.tables"),
        evaluation=f"{DATA}/evaluation",
        cost=folder_of("cost"),
        out=subpath(output[0], parent=True),
        flags=flags({"profile": PROFILE, **REPORT_FLAGS}),
    log:
        f"logs/{PROFILE}/tables.log",
    shell:
        "{PYTHON} -m stscq.report.tables --evaluation {params.evaluation} --cost {params.cost} {params.flags}"
        " --out {params.out} &> {log}"


rule figures:
    input:
        store=store_of(config["evaluate_on"][0]),
        original=originals(),
        evaluations=evaluated(),
        logs=training_logs(),
    output:
        [f"{RESULTS}/figures/{name}.png" for name in FIGURES],
        f"{RESULTS}/figures/figures.run.json",
    params:
        code=code("report.figures"),
        evaluation=f"{DATA}/evaluation",
        models=MODELS,
        store=folder_of("store"),
        out=subpath(output[0], parent=True),
        flags=flags(REPORT_FLAGS),
    log:
        f"logs/{PROFILE}/figures.log",
    shell:
        "{PYTHON} -m stscq.report.figures --evaluation {params.evaluation} --models {params.models}"
        " --store {params.store} {params.flags} --out {params.out} &> {log}"


def every_output():
    """What `all` makes: data, models and results, so that a missing model is noticed as well as a missing table."""
    recogniser = verified(PUBLISHED_RECOGNISER) or rules.train_recogniser.output
    runs = {name: dict(backbone=name, set=stscq_params.tested_on(config, name), seed=SEEDS) for name in BACKBONES}
    return [
        *rules.prepare_faces.output,
        *expand(rules.prepare_set.output, set=SETS),
        *expand([*rules.prepare_split.output, *recogniser], seed=SEEDS),
        *expand(rules.stage1.output, backbone=list(BACKBONES), seed=SEEDS),
        *(
            path
            for name, b in BACKBONES.items()
            for path in expand([*rules.stage2.output, *rules.stage3.output], variant=b["variants"], **runs[name])
        ),
        *expand(rules.evaluate_original.output, set=FACE_SETS, seed=SEEDS),
        *(path for name, v in EVALUATIONS for path in expand(rules.evaluate.output, variant=v, **runs[name])),
        *rules.tables.output,
        *rules.count_cost.output,
        *rules.measure_cost.output,
        *rules.figures.output,
    ]
