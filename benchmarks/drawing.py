"""What the benchmarks that measure once and draw have in common: the options, the result as JSON, and the picture."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Found = dict[str, Any]


def add_options(parser: argparse.ArgumentParser, name: str) -> None:
    """Where the result and the picture go."""
    parser.add_argument("--out", type=Path, default=Path(f"{name}.json"))
    parser.add_argument("--picture", type=Path, help="an .svg or .png; without it none is drawn")
    parser.add_argument("--drawn-from", type=Path, help="an earlier result, to draw again")


def run(
    options: argparse.Namespace, measure: Callable[[], Found], draw: Callable[[Found, Path], None]
) -> None:
    """Measure and write, or read what was measured; then draw, if a picture is wanted."""
    if options.drawn_from:
        found = json.loads(options.drawn_from.read_text(encoding="utf-8"))
    else:
        found = measure()
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found) + "\n", encoding="utf-8")
    if options.picture:
        draw(found, options.picture)


def plotting(salt: str) -> Any:
    """`pyplot` without a window, in the style of all pictures."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    spines = {"axes.spines.top": False, "axes.spines.right": False}
    pyplot.rcParams.update({"svg.hashsalt": salt, "font.size": 9, **spines})
    return pyplot


def save(figure: Any, picture: Path) -> None:
    """Write a picture; without a date the same result is the same file."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, metadata={"Date": None} if picture.suffix == ".svg" else None, dpi=110)
