# Parameters, folders, and small helpers of all rules.

import json
import os
import re
import shlex
import sys

# Rules run on one thread each, so that --cores 8 is eight jobs at once; so do the libraries inside them.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

try:
    PUBLISHED = stscq_params.with_profile(config, Path("config"), {"profile": "paper"})  # sizes, for the cost table
    config = stscq_params.with_profile(config, Path("config"), workflow.config_settings.overwrite_config)
    check_schema(config, Path(workflow.source_path("../schemas/params.schema.yaml")))
    check(config)
except ParamsError as problem:
    raise WorkflowError(f"params.yaml, {problem}")

PROFILE = config["profile"]
DATA, MODELS, RESULTS = f"data/{PROFILE}", f"models/{PROFILE}", f"results/{PROFILE}"
ABSENT = stscq_params.absent(config, Path(DATA))
config["fairness_on"] = [name for name in config["fairness_on"] if name not in ABSENT]
BACKBONES = config["backbones"]
FACES = f"{DATA}/faces"
SEEDS = config["seeds"]
PYTHON = shlex.quote(sys.executable)  # the folder of the project may have a blank in its name
CHECKPOINT = ["weights.safetensors", "recipe.json"]

keep_notes(PROFILE)


wildcard_constraints:
    seed=r"\d+",
    M=r"\d+",
    K=r"\d+",
    selection="nn|router",
    tokenizer="pretrained|fine_tuned",
    backbone="|".join(BACKBONES),
    variant=r"[A-Za-z0-9_]+",
    name="|".join(re.escape(weight.name) for weight in manifest().values()),
    set="|".join(["test", *config["sets"]]),
    table=r"[a-z0-9_]+",
    figure=r"[a-z0-9_]+",


def flags(numbers):
    """{"lr": 0.1, "shared": True} -> --lr 0.1 --shared, quoted for the shell."""
    words = []
    for name, value in numbers.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", json.dumps(value) if isinstance(value, (dict, list)) else str(value)]
    return shlex.join(words)


def files(folder, names):
    return [f"{folder}/{name}" for name in names]


def checkpoint(folder):
    """What a finished training stage hands on."""
    return files(folder, CHECKPOINT)


def stage_output(folder, stage):
    """What a training stage writes: besides that, its training curve and the record of its run."""
    return files(folder, [*CHECKPOINT, "log.jsonl", f"{stage}.run.json"])


def code(module):
    """Of a rule that runs this module: its fingerprint, so that an edit of any code that it runs is noticed."""
    return code_fingerprint(f"stscq.{module}")


def asked(rule):
    return stscq_params.asked(config, rule)


def threads_of(rule):
    return asked(rule)["threads"]


def start_of(rule):
    """How a rule that may take several GPUs starts its module: a process for each of them (docs/many-gpus.md)."""
    gpus = asked(rule)["gpu"]
    return f"{PYTHON} -m stscq.training.launch {gpus}" if gpus > 1 else f"{PYTHON} -m"


# For {START[rule]} in a rule's command: what is written there must not depend on the number, or changing it would seem
# to Snakemake a change of the rule.
START = {rule: start_of(rule) for rule in stscq_params.TOGETHER}


def resources_of(rule):
    """What a scheduler is asked for: twice the memory and time when a job is tried again, and as often again."""
    asks = asked(rule)
    return {
        "mem_mb": lambda wc, attempt: asks["mem_mb"] * 2 ** (attempt - 1),
        "runtime": lambda wc, attempt: asks["runtime"] * 2 ** (attempt - 1),
        "gpu": asks["gpu"],
    }


def refuse_unknown_rules():
    """A rule's name that is mistyped in params.yaml would silently ask for the default. Called when all rules are known."""
    known = {"default", *(rule.name for rule in workflow.rules)}
    for name in config["resources"]:
        if name not in known:
            raise WorkflowError(f"params.yaml, resources.{name}: no rule of the workflow, and not `default`")


def folder_of(name):
    """The folder of a rule's input, which its program takes whole."""
    return lambda wc, input: str(Path(input[name][0]).parent)


if workflow.is_main_process:
    tell_if_commit_is_unknown()
