# From raw faces to every table and figure of the paper. Start here, then workflow/rules/.
#
#   snakemake --cores all all                       the demo
#   snakemake --cores all all --config profile=smoke

from pathlib import Path

from snakemake.utils import min_version

from stscq import params as stscq_params
from stscq.errors import ParamsError
from stscq.params_check import check, check_schema
from stscq.provenance.code import code_fingerprint
from stscq.provenance.commit import tell_if_commit_is_unknown
from stscq.provenance.notes import keep_notes
from stscq.report.contents import entry
from stscq.scheduling import wake_once
from stscq.weights.manifest import manifest, needed

min_version("9.27")  # stscq.provenance.notes and stscq.scheduling go by its inner workings
wake_once()


configfile: "params.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/recogniser.smk"
include: "workflow/rules/stage1_tokenizer.smk"
include: "workflow/rules/latents.smk"
include: "workflow/rules/stage1_codebooks.smk"
include: "workflow/rules/sensitivity.smk"
include: "workflow/rules/stage2.smk"
include: "workflow/rules/stage3.smk"
include: "workflow/rules/codec.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/second_judge.smk"
include: "workflow/rules/strangers.smk"
include: "workflow/rules/peers.smk"
include: "workflow/rules/int8.smk"
include: "workflow/rules/symbols.smk"
include: "workflow/rules/redundancy.smk"
include: "workflow/rules/trials.smk"
include: "workflow/rules/portraits.smk"
include: "workflow/rules/report.smk"


if "pretrain" in config:  # its profile alone makes what all others take as published

    include: "workflow/rules/pretrain.smk"
    include: "workflow/rules/distil.smk"


refuse_unknown_rules()


rule all:
    default_target: True
    input:
        every_output(),
