"""The paper's numbers, as printed: a block of published.yaml is a table of the paper."""

from importlib.resources import files

import pandas as pd
import yaml


def published_rows(block: str) -> pd.DataFrame:
    """A block of the paper's numbers, as printed."""
    text = (files("stscq.report") / "published.yaml").read_text(encoding="utf-8")
    found = yaml.safe_load(text)[block]
    return pd.DataFrame(found["rows"], columns=found["columns"])
