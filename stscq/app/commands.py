"""`stscq app`."""

import os
from collections.abc import Sequence
from tempfile import TemporaryDirectory

import torch

from stscq.app.models import models_at_hand, without_repeats
from stscq.cli_tools import threads
from stscq.errors import StscqError
from stscq.recognition.load import load_recogniser


def serve(models: Sequence[str], host: str, port: int | None) -> None:
    """Until ctrl-C. MODELS: folders, or OWNER/NAME of the hub; all at hand where there are none.

    Raises StscqError without the extra `app`, or when the port is taken, BundleError without a model.
    """
    try:
        from stscq.app.page import build, launch
    except ModuleNotFoundError as problem:
        if problem.name != "gradio":
            raise
        raise StscqError('the page needs Gradio: pip install "stscq[app]"') from problem
    torch.set_num_threads(threads(otherwise=os.cpu_count() or 1))
    bundles = models_at_hand(models)
    to_choose_from = bundles if models else without_repeats(bundles)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with TemporaryDirectory(prefix="stscq-app-") as uploads:  # else Gradio's are for all users in one place, and stay
        os.environ["GRADIO_TEMP_DIR"] = uploads
        launch(build(to_choose_from, bundles, load_recogniser("dlib", device), device), host, port)
