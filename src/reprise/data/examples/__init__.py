"""The log that comes with Reprise: a year of a British gift shop. See README.md beside this file for its licence."""

from importlib.resources import files
from pathlib import Path


def online_retail() -> tuple[Path, Path]:
    """The files of the Online Retail log (Chen, 2015; CC BY 4.0): its events, and its items with their titles."""
    folder = Path(str(files(__package__)))
    return folder / "online_retail.parquet", folder / "online_retail_items.parquet"
