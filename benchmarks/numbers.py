"""The numbers of profile lfw, for experiments beside the workflow that train as it does."""

from pathlib import Path
from typing import Any

import yaml

from stscq.params import stage_settings, with_profile

ROOT = Path(__file__).parent.parent


def lfw_numbers(stage: str, backbone: str = "maskgit_vqgan") -> dict[str, Any]:
    """Of a stage: steps, batch, lr, ..."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return dict(stage_settings(with_profile(params, ROOT / "config", {"profile": "lfw"}), backbone, stage))
