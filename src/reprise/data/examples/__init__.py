"""The example log: one year of purchases in a British gift shop. README.md in this directory states its licence."""

from importlib.resources import files
from pathlib import Path


def online_retail() -> tuple[Path, Path]:
    """Return the paths of the Online Retail log (Chen, 2015; CC BY 4.0): the events, and the items with titles."""
    directory = Path(str(files(__package__)))
    return directory / "online_retail.parquet", directory / "online_retail_items.parquet"
