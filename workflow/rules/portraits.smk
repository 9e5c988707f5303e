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


rule code_portraits:
    input:
        store=files(f"{DATA}/portraits", STORE),
        bundle=lambda wc: bundle(f"{MODELS}/{wc.backbone}/bundle/{wc.variant}/seed{SEEDS[0]}"),
    output:
        npz=f"{DATA}/coded_portraits/{{backbone}}/{{variant}}.npz",
        record=f"{DATA}/coded_portraits/{{backbone}}/{{variant}}.run.json",
    params:
        code=code("evaluation.portraits"),
        store=folder_of("store"),
        bundle=folder_of("bundle"),
    threads: threads_of("code_portraits")
    resources:
        **resources_of("code_portraits"),
    log:
        f"logs/{PROFILE}/code_portraits/{{backbone}}/{{variant}}.log",
    shell:
        "{PYTHON} -m stscq.evaluation.portraits --store {params.store} --bundle {params.bundle} --file {output.npz}"
        " &> {log}"
