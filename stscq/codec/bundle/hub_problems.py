"""What may go wrong with the Hugging Face hub, in one line that names the repository and says what to do."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from stscq.errors import BundleError

REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
NO_NAME = "no name of a repository on the hub; give OWNER/NAME"
LOG_IN = "log in (`hf auth login`, or HF_TOKEN)"


@contextmanager
def hub_problems(repository: str, revision: str | None = None) -> Iterator[None]:
    """Raises BundleError for a name that no repository can have, and for whatever huggingface_hub raises inside.

    Else the library is quiet here: it would log each of its attempts, and draw progress bars into logs.
    """
    import httpx2  # these are slow to import, and only needed where the hub is
    from huggingface_hub.errors import RevisionResolutionError
    from huggingface_hub.utils import logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not REPOSITORY.fullmatch(repository):
        raise BundleError(f"{repository}: {NO_NAME}")
    terminal = sys.stderr is not None and sys.stderr.isatty()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with nullcontext() if terminal else disable_progress_bars():
            yield
    except (httpx2.HTTPError, OSError, RuntimeError, ValueError, RevisionResolutionError) as problem:
        raise BundleError(f"{repository}: {said(problem, revision)}") from problem
    finally:
        logging.set_verbosity(verbosity)


def said(problem: Exception, revision: str | None) -> str:
    """A problem for people: what it is, and what to do."""
    from huggingface_hub import errors

    text = " ".join(str(problem).split())
    status = problem.response.status_code if isinstance(problem, errors.HfHubHTTPError) else None
    match problem:
        case errors.HFValidationError():
            return NO_NAME
        case errors.RevisionNotFoundError():
            return f"the repository has no revision {revision}; name a branch, a tag or a commit of it"
        case errors.GatedRepoError():
            return f"gated: ask for access on its page on the hub, then {LOG_IN}"
        case errors.RepositoryNotFoundError():
            return f"no such repository on the hub, or a private one; correct the name, or {LOG_IN}"
        case errors.OfflineModeIsEnabled():
            return "the hub is not asked, because HF_HUB_OFFLINE is set; unset it where there is a network"
        case errors.HfHubHTTPError() if status in (401, 403):
            return f"the hub refuses this to you ({status}); {LOG_IN} with a token that may do it"
    if type(problem).__name__.startswith("Connect"):  # the libraries have a ConnectError or ConnectTimeout each
        return f"no connection to the hub ({text}); try again where there is one"
    return f"{type(problem).__name__} ({text}); try again"
