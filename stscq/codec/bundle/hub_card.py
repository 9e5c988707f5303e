"""README.md of a bundle on the Hugging Face hub: the card, under the metadata (YAML) that the hub reads."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from stscq.codec.bundle.card import as_markdown

TASK = "image-to-image"
TAGS = ("face-compression", "image-compression", "vector-quantization")
METRICS = {  # a number of evaluations -> the hub's word for it, and ours
    "mean_acc": ("accuracy", "face verification after decompression, 10-fold accuracy in %"),
    "ids": ("ids", "similarity of the judge's embeddings before and after"),
    "ids_centred": ("ids_centred", "the same, from the mean embedding of the training people"),
    "psnr": ("psnr", "PSNR in dB"),
    "ssim": ("ssim", "SSIM"),
    "lpips": ("lpips", "LPIPS"),
    "fid": ("fid", "FID"),
    "file_bytes": ("bytes", "mean bytes of a file"),
}
RESEARCH_ONLY = (
    "For research only: the weights were trained on pictures of people that their publishers give away for that alone."
)


def readme(card: Mapping[str, Any], family: str, repository: str) -> str:
    """The text of README.md. card: card.json; family: of the tokenizer."""
    licence = "" if licence_of(card) else f"\n## Licence\n\n{RESEARCH_ONLY}\n"
    return f"---\n{metadata(card, family, repository).to_yaml()}\n---\n\n{as_markdown(card)}{licence}{use(repository)}"


def metadata(card: Mapping[str, Any], family: str, repository: str) -> ModelCardData:
    """What the hub files the model under. Without measured numbers in the card there is no model-index."""
    licence = licence_of(card)
    results = results_of(card)
    return ModelCardData(
        license=licence or "other",
        license_name=None if licence else "research-only",
        library_name="stscq",
        pipeline_tag=TASK,
        tags=[*TAGS, family],
        model_name=repository.partition("/")[2] if results else None,
        eval_results=results or None,
    )


def licence_of(card: Mapping[str, Any]) -> str | None:
    """The hub's name of a licence (mit, cc-by-nc-4.0), where `licence` under `model` in the card says one."""
    licence = card["model"].get("licence")
    return None if licence is None else str(licence)


def results_of(card: Mapping[str, Any]) -> list[EvalResult]:
    """The numbers under `measured` in the card whose last words are those of METRICS, and no others.

    selections.router.psnr is called "PSNR in dB (selections.router)".
    """
    profile = card["training"]["profile"]
    results = []
    for key, value in card["measured"].items():
        where, _, name = key.rpartition(".")
        if name in METRICS and isinstance(value, int | float) and isfinite(value):
            metric, words = METRICS[name]
            results.append(
                EvalResult(
                    task_type=TASK,
                    task_name="Face compression",
                    dataset_type="faces",
                    dataset_name=f"faces that were compressed in the profile {profile}",
                    metric_type=metric,
                    metric_name=f"{words} ({where})" if where else words,
                    metric_value=value,
                )
            )
    return results


def use(repository: str) -> str:
    """The commands, as Markdown."""
    return f"""
## Use

    stscq compress photo.jpg -o photo.stscq --model {repository}
    stscq decompress photo.stscq -o photo.png --model {repository}

    from stscq.codec.api import Codec
    codec = Codec.from_pretrained("{repository}")
"""
