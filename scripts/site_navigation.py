"""The documentation's site lists every decision, so that a new one is a file and no line of mkdocs.yml."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Add the decisions to the navigation, under the titles of their pages."""
    pages = sorted((Path(config["docs_dir"]) / "decisions").glob("*.md"))
    (explanation,) = (part["Explanation"] for part in config["nav"] if "Explanation" in part)
    explanation.append({"Decisions": [f"decisions/{page.name}" for page in pages]})
    return config
