"""Where the bundle lies that comes with the package; docs/codec.md says which one and why."""

from pathlib import Path

import stscq

SHIPPED = Path(stscq.__file__).parent / "model"
