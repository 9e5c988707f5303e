# Tables, figures and the page. One rule reads the evaluations; all others read its summary.

OWN_SETS = {name: b["evaluate_on"] for name, b in BACKBONES.items() if "evaluate_on" in b}
TABLES = [
    *("headline", "main", "per_dataset_accuracy", "per_dataset_ids", "seeds", "selection_at_inference"),
    *("stages", "ablation", "rate_gain"),
    *("selection_in_training", "groups_sweep", "token_utilisation", "dataset_utilisation", "redundancy", "group_use", "fairness"),
    *("strangers", "served", "served_counts"),
    *("quantisers", "router_losses", "router_training", "entries"),
    *("ibq", "image_quality", "imagenet", "rates", "symbols", "int8", "peers", "peers_ratio", "other_face_codecs"),
    *("cost", "training_cost", "variants", "identity_teacher", "allocation", "effort", "claims"),
]
FIGURES = [
    *("rate_accuracy", "rate_ids", "rate_peers", "utilisation_tokens", "utilisation_groups", "router_choices"),
    *("router_people", "served", "allocation"),
    *("selection_agreement", "groups_sweep", "seed_spread", "training_curves"),
    *(f"{'portraits' if SHOWN_PORTRAITS else 'reconstructions'}_{name}" for name in BACKBONES if name not in OWN_SETS),
]
# What the summary reads of an evaluation, of a codec and of the uncompressed images: no files, no pictures, no embeddings.
READ = [name for name in EVALUATION if name not in ("files.parquet", "sheet.npy")]
READ_ORIGINAL = [name for name in ORIGINAL if not name.endswith(".npy")]
# Sheets of test people that stay here: neither on the page nor in git.
PRIVATE = [f"reconstructions_{name}" for name in BACKBONES if name not in OWN_SETS and SHOWN_PORTRAITS]
SUMMARY = [
    *("about.json", "runs.csv", "values.parquet", "comparisons.csv", "people.parquet", "fairness.csv", "curves.parquet"),
    *("strangers.csv", "served.csv"),
    *("utilisation_tokens.parquet", "utilisation_groups.parquet", "peers.csv", "int8.csv", "symbols.csv"),
    *("redundancy.csv", "trials.csv", "trial_comparisons.csv", "trial_curves.csv"),
    *("symbols_saved.csv", "cost.csv", "measured.csv", "training_cost.csv"),
    *("second_values.parquet", "second_comparisons.csv", "allocation.csv"),
    *(f"portraits/{name}.npz" for name in BACKBONES if name not in OWN_SETS and SHOWN_PORTRAITS),
]


def evaluated():
    """Of every evaluation of every seed what the summary reads; of strangers the rest is in `stranger_outputs`."""
    return [
        path
        for name, variant in EVALUATIONS
        for image_set in stscq_params.tested_on(config, name, variant)
        for seed in SEEDS
        for path in files(
            f"{DATA}/evaluation/{name}/{variant}/{image_set}/seed{seed}",
            READ if image_set not in STRANGERS else ["metrics.json"],
        )
    ]


def originals():
    """Every evaluation of uncompressed images."""
    folders = [f"{DATA}/evaluation/original/{image_set}/seed{seed}" for image_set in FACE_SETS for seed in SEEDS]
    return [path for folder in folders for path in files(folder, READ_ORIGINAL)]


def training_logs():
    return sorted(path for path in trained_files() if path.endswith("/log.jsonl"))


def trained_files():
    """What the three stages write, for every backbone, variant and seed."""
    found = []
    for name, b in BACKBONES.items():
        runs = dict(backbone=name, seed=SEEDS)
        found += expand(rules.stage1_tokenizer.output, tokenizer=stscq_params.tokenizers(config, name), **runs)
        trained = {variant: v for variant, v in b["variants"].items() if "effort" not in v}
        own = [variant for variant, v in trained.items() if not stscq_params.taught_by_judge(v)]
        found += expand(rules.stage2.output, variant=own, **runs)
        found += expand(rules.stage3.output, variant=trained, **runs)
        for M, K, selection in sorted({(v["M"], v["K"], v["training"]) for v in b["variants"].values()}):
            found += expand(rules.stage1_codebooks.output, M=M, K=K, selection=selection, **runs)
    return found


def training_records():
    """Of all stages: what they took."""
    return sorted(path for path in trained_files() if path.endswith(".run.json"))


def further_folders():
    """Options for evaluations that a profile may be without."""
    there = {"peers": peer_outputs(), "int8": int8_outputs(), "symbols": symbol_outputs()}
    there |= {"redundancy": redundancy_outputs(), "trials": trial_outputs()}
    there |= {"full_size": full_size_outputs(), "coded_portraits": coded_portraits()}
    return " ".join(f"--{name.replace('_', '-')} {DATA}/{name}" for name, made in there.items() if made)


def further_outputs():
    return [
        *(*peer_outputs(), *int8_outputs(), *symbol_outputs(), *full_size_outputs()),
        *(*redundancy_outputs(), *trial_outputs()),
    ]


def coded_portraits():
    """What the codecs make of the portraits: of those with effort, that of their twin is there already."""
    shown = [
        (name, variant)
        for name, variant in EVALUATIONS
        if name not in OWN_SETS and "effort" not in BACKBONES[name]["variants"].get(variant, {})
    ]
    found = [expand(rules.code_portraits.output.npz, backbone=name, variant=variant) for name, variant in shown]
    return [path for paths in found for path in paths] if SHOWN_PORTRAITS else []


rule summarise:
    input:
        original=originals(),
        evaluations=evaluated(),
        logs=training_logs(),
        records=training_records(),
        sensitivities=[path for path in sensitivities() if path.endswith("sensitivity.json")],
        cost=files(f"{DATA}/cost", ["cost.csv"]),
        measured=files(f"{DATA}/measured_cost", ["measured.csv"]),
        further=[path for path in further_outputs() if not path.endswith(".run.json")],
        second=[path for path in second_judge_outputs() if not path.endswith((".run.json", ".npy"))],
        strangers=[path for path in stranger_outputs() if not path.endswith(".run.json")],
        portraits=coded_portraits(),
    output:
        files(f"{DATA}/summary", [*SUMMARY, "summarise.run.json"]),
    params:
        code=code("report.summarise"),
        evaluation=f"{DATA}/evaluation",
        second=f"{DATA}/second_judge",
        strangers=f"{DATA}/strangers",
        models=MODELS,
        cost=folder_of("cost"),
        measured=folder_of("measured"),
        further=further_folders(),
        out=subpath(output[0], parent=True),
        flags=flags(
            {
                "profile": PROFILE,
                "size": config["data"]["size"],
                "seeds": SEEDS,
                "sets": {
                    "faces": config["evaluate_on"],
                    "fairness": [name for name in config["fairness_on"] if name not in STRANGERS],
                    "strangers": STRANGERS,
                    **OWN_SETS,
                },
                "absent": ABSENT,
                "variants": {name: b["variants"] for name, b in BACKBONES.items()},
                "tokenizers": {
                    name: dict.fromkeys(stscq_params.tokenizers(config, name), b["model"]["K"])
                    for name, b in BACKBONES.items()
                },
                "compared": {"peers": PEERS, "int8": INT8, "symbols": SYMBOLS if symbol_outputs() else [],
                             "redundancy": SWITCHABLE, "trials": TRIALS},
            }
        ),
    threads: threads_of("summarise")
    resources:
        **resources_of("summarise"),
    log:
        f"logs/{PROFILE}/summarise.log",
    shell:
        "{PYTHON} -m stscq.report.summarise --evaluation {params.evaluation} --second-judge {params.second}"
        " --measured-strangers {params.strangers} --models {params.models}"
        " --cost {params.cost} --measured {params.measured} {params.further} {params.flags}"
        " --out {params.out} &> {log}"


def sheet_of(figure):
    """The pictures of a figure that shows test people; none of the others."""
    backbone = figure.removeprefix("reconstructions_")
    return [] if backbone == figure else [f"{DATA}/sheets/{backbone}.npz"]


def variants_of(backbone):
    return [variant for name, variant in EVALUATIONS if name == backbone]


rule sheet:
    input:
        store=store_of(config["evaluate_on"][0]),
        evaluations=lambda wc: expand(
            f"{DATA}/evaluation/{wc.backbone}/{{variant}}/{config['evaluate_on'][0]}/seed{SEEDS[0]}/{{name}}",
            variant=variants_of(wc.backbone),
            name=["sheet.npy", "images.parquet"],
        ),
    output:
        multiext(f"{DATA}/sheets/{{backbone}}", ".npz", ".run.json"),
    params:
        code=code("report.sheets"),
        evaluation=f"{DATA}/evaluation",
        store=folder_of("store"),
        flags=lambda wc: flags(
            {"variants": variants_of(wc.backbone), "image_set": config["evaluate_on"][0], "seed": SEEDS[0]}
        ),
        stem=subpath(output[0], strip_suffix=".npz"),
    threads: threads_of("sheet")
    resources:
        **resources_of("sheet"),
    log:
        f"logs/{PROFILE}/sheet/{{backbone}}.log",
    shell:
        "{PYTHON} -m stscq.report.sheets --evaluation {params.evaluation} --store {params.store}"
        " --backbone {wildcards.backbone} {params.flags} --stem {params.stem} &> {log}"


def category(kind):
    """The heading in Snakemake's own report under which a table or a figure stands."""
    return lambda wc: entry(kind, wc[0]).category


def labels(kind):
    """What its list says of each."""
    return lambda wc: {"kind": kind.removesuffix("s"), "name": wc[0], "about": entry(kind, wc[0]).about}


rule table:
    input:
        rules.summarise.output,
    output:
        report(
            f"{RESULTS}/tables/{{table}}.csv",
            caption="../report/table.rst",
            category=category("tables"),
            labels=labels("tables"),
        ),
        multiext(f"{RESULTS}/tables/{{table}}", ".md", ".tex", ".run.json"),
    params:
        code=code("report.table"),
        summary=f"{DATA}/summary",
        stem=subpath(output[0], strip_suffix=".csv"),
    threads: threads_of("table")
    resources:
        **resources_of("table"),
    log:
        f"logs/{PROFILE}/table/{{table}}.log",
    shell:
        "{PYTHON} -m stscq.report.table --summary {params.summary} --name {wildcards.table} --stem {params.stem} &> {log}"


rule figure:
    input:
        rules.summarise.output,
        sheet=lambda wc: sheet_of(wc.figure),
    output:
        report(
            f"{RESULTS}/figures/{{figure}}.png",
            caption="../report/figure.rst",
            category=category("figures"),
            labels=labels("figures"),
        ),
        multiext(f"{RESULTS}/figures/{{figure}}", ".svg", ".run.json"),
    params:
        code=code("report.figure"),
        summary=f"{DATA}/summary",
        sheet=lambda wc, input: f"--sheet {input.sheet[0]}" if input.sheet else "",
        stem=subpath(output[0], strip_suffix=".png"),
    threads: threads_of("figure")
    resources:
        **resources_of("figure"),
    log:
        f"logs/{PROFILE}/figure/{{figure}}.log",
    shell:
        "{PYTHON} -m stscq.report.figure --summary {params.summary} --name {wildcards.figure} {params.sheet}"
        " --stem {params.stem} &> {log}"


use rule figure as private_figure with:
    output:
        f"{RESULTS}/test_people/{{figure}}.png",
        multiext(f"{RESULTS}/test_people/{{figure}}", ".svg", ".run.json"),
    log:
        f"logs/{PROFILE}/private_figure/{{figure}}.log",


rule metrics:
    input:
        rules.summarise.output,
    output:
        files(f"{RESULTS}/tables", ["metrics.json", "metrics.run.json"]),
    params:
        code=code("report.metrics"),
        summary=f"{DATA}/summary",
    threads: threads_of("metrics")
    resources:
        **resources_of("metrics"),
    log:
        f"logs/{PROFILE}/metrics.log",
    shell:
        "{PYTHON} -m stscq.report.metrics --summary {params.summary} --file {output[0]} &> {log}"


rule page:
    input:
        rules.metrics.output,
        expand(rules.table.output, table=TABLES),
        expand(rules.figure.output, figure=FIGURES),
    output:
        report(f"{RESULTS}/report.html", caption="../report/page.rst", category="The page", labels={"name": "report"}),
        f"{RESULTS}/report.run.json",
    params:
        code=code("report.page"),
        tables=f"{RESULTS}/tables",
        figures=f"{RESULTS}/figures",
        flags=flags({"records": [DATA, MODELS], "profile": PROFILE, "seeds": SEEDS}),
    threads: threads_of("page")
    resources:
        **resources_of("page"),
    log:
        f"logs/{PROFILE}/page.log",
    shell:
        "{PYTHON} -m stscq.report.page --tables {params.tables} --figures {params.figures} {params.flags}"
        " --file {output[0]} &> {log}"


def every_output():
    """What `all` makes: data, models and results, so that a missing model is noticed as well as a missing table."""
    recogniser = verified(PUBLISHED_RECOGNISER) or rules.train_recogniser.output
    portraits = [*rules.prepare_portraits.output, *coded_portraits()] if SHOWN_PORTRAITS else []

    def coded(name, variant):
        """A codec, where it is not another variant's, and its evaluations."""
        runs = dict(backbone=name, variant=variant, set=stscq_params.tested_on(config, name, variant), seed=SEEDS)
        own = stscq_params.bundled(BACKBONES[name]["variants"], variant) == variant
        return expand([*(rules.export_bundle.output if own else []), *rules.evaluate.output], **runs)

    return [
        *rules.prepare_faces.output,
        *expand(rules.prepare_set.output, set=SETS),
        *expand([*rules.prepare_split.output, *recogniser], seed=SEEDS),
        *trained_files(),
        *sensitivities(),
        *expand(rules.evaluate_original.output, set=FACE_SETS, seed=SEEDS),
        *(path for name, variant in EVALUATIONS for path in coded(name, variant)),
        *further_outputs(),
        *second_judge_outputs(),
        *stranger_outputs(),
        *portraits,
        *(path for figure in [*FIGURES, *PRIVATE] for path in sheet_of(figure)),
        *rules.count_cost.output,
        *rules.measure_cost.output,
        *rules.summarise.output,
        *rules.metrics.output,
        *expand(rules.table.output, table=TABLES),
        *expand(rules.figure.output, figure=FIGURES),
        *expand(rules.private_figure.output, figure=PRIVATE),
        *rules.page.output,
    ]
