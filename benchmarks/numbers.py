"""What experiments beside the workflow share: numbers of profile lfw, for those that train as it does, and tables."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from stscq.params import stage_settings, with_profile

ROOT = Path(__file__).parent.parent


def lfw_numbers(stage: str, backbone: str = "maskgit_vqgan") -> dict[str, Any]:
    """Of a stage: steps, batch, lr, ..."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return dict(stage_settings(with_profile(params, ROOT / "config", {"profile": "lfw"}), backbone, stage))


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table of rows that may lack some numbers: their cells stay empty."""
    frame = pd.DataFrame(rows)
    return str(frame.astype(object).where(frame.notna(), "").to_markdown(index=False, floatfmt=".4g"))
