"""Shared parts of benchmarks that draw a picture: their options, their result as JSON, and plotting."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Found = dict[str, Any]


def add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the options for the result and the picture."""
    parser.add_argument("--out", type=Path, default=Path(f"{name}.json"))
    parser.add_argument("--picture", type=Path, help="picture to write, .svg or .png (default: none)")
    parser.add_argument("--drawn-from", type=Path, help="earlier result to draw again")


def run(
    options: argparse.Namespace, measure: Callable[[], Found], draw: Callable[[Found, Path], None]
) -> None:
    """Measure and write the result, or read an earlier one; then draw the picture if requested."""
    if options.drawn_from:
        found = json.loads(options.drawn_from.read_text(encoding="utf-8"))
    else:
        found = measure()
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    if options.picture:
        draw(found, options.picture)


def plotting(salt: str) -> Any:
    """Return `pyplot` without a window, with the common style."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    spines = {"axes.spines.top": False, "axes.spines.right": False}
    pyplot.rcParams.update({"svg.hashsalt": salt, "font.size": 9, **spines})
    return pyplot


def save(figure: Any, picture: Path) -> None:
    """Write a picture without a date, so that equal results give equal files."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Date": None} if picture.suffix == ".svg" else None, dpi=110)
