# Where pictures of the test people may not be passed on (show: portraits), the page shows what the codecs of the first seed
# make of people whose pictures may.

SHOWN_PORTRAITS = config["show"] == "portraits"


rule prepare_portraits:
    output:
        files(f"{DATA}/portraits", [*STORE, "portraits.run.json"]),
    params:
        code=code("data.portraits"),
        out=subpath(output[0], parent=True),
        flags=flags({"size": config["data"]["size"]}),
    threads: threads_of("prepare_portraits")
    resources:
        **resources_of("prepare_portraits"),
    log:
        f"logs/{PROFILE}/prepare_portraits.log",
    shell:
        "{PYTHON} -m stscq.data.portraits {params.flags} --out {params.out} &> {log}"


def bundles_to_show(wc):
    """Variant -> the folder of its bundle, of the first seed, in the order of the tables."""
    return {
        variant: f"{MODELS}/{wc.backbone}/bundle/{variant}/seed{SEEDS[0]}"
        for name, variant in EVALUATIONS
        if name == wc.backbone and "effort" not in BACKBONES[name]["variants"].get(variant, {})
    }


rule code_portraits:
    input:
        store=files(f"{DATA}/portraits", STORE),
        bundles=lambda wc: [path for folder in bundles_to_show(wc).values() for path in bundle(folder)],
    output:
        npz=f"{DATA}/coded_portraits/{{backbone}}/portraits.npz",
        record=f"{DATA}/coded_portraits/{{backbone}}/portraits.run.json",
    params:
        code=code("evaluation.portraits"),
        store=folder_of("store"),
        flags=lambda wc: flags({"bundles": bundles_to_show(wc)}),
    threads: threads_of("code_portraits")
    resources:
        **resources_of("code_portraits"),
    log:
        f"logs/{PROFILE}/code_portraits/{{backbone}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.portraits --store {params.store} {params.flags} --file {output.npz} &> {log}"
