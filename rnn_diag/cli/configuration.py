"""Where the configuration files are."""

from __future__ import annotations

from pathlib import Path


def configuration_directory() -> Path:
    """Return the folder `conf`: inside the package in an installed wheel, beside it in a checkout.

    Raises:
        RuntimeError: If neither is there.
    """
    package = Path(__file__).resolve().parent.parent
    places = [package / "conf", package.parent / "conf"]
    for place in places:
        if (place / "train.yaml").is_file():
            return place
    raise RuntimeError(f"no train.yaml in {' or in '.join(map(str, places))}; expected the configuration there")
