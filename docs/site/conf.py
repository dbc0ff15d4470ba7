"""Settings of Sphinx for the documentation site. `scripts/build_site.py` runs it with the repository root as source."""

import os
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
REPOSITORY = os.environ.get("REPRISE_REPOSITORY", "")
"""Address of the source repository, for a link in the header. Empty: no link."""

project = "Reprise"
author = "The Reprise developers"
copyright = f"2026, {author}"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_nb", "sphinx_external_toc", "sphinx_copybutton"]
external_toc_path = str(Path(__file__).with_name("toc.yml"))
include_patterns = [
    "docs/**",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CODE_OF_CONDUCT.md",
    "benchmarks/README.md",
]
# folders that hold no pages: Sphinx would search them
exclude_patterns = [
    ".*", "build", "dist", "deploy", "recipes", "scripts", "src", "tests", "runs", "data", "reprise-demo", "docs/site",
]  # fmt: skip

myst_enable_extensions = ["linkify"]
myst_heading_anchors = 4
myst_linkify_fuzzy_links = False  # only addresses with a scheme become links, not names of files
nb_execution_mode = os.environ.get("REPRISE_NOTEBOOKS", "cache")
nb_execution_cache_path = str(ROOT / "build" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_execution_show_tb = True
nb_merge_streams = True
suppress_warnings = ["misc.highlighting_failure"]  # blocks without a language are commands and output

nitpicky = True
html_theme = "pydata_sphinx_theme"
html_title = f"Reprise {version}"
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "Reprise"},
    "use_edit_page_button": False,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "external_links": [{"name": "Source", "url": REPOSITORY}] if REPOSITORY else [],
}
if switcher := os.environ.get("REPRISE_VERSIONS"):
    html_theme_options["switcher"] = {"json_url": switcher, "version_match": version}
    html_theme_options["check_switcher"] = False  # the file is written after the build
    html_theme_options["navbar_start"] = ["navbar-logo", "version-switcher"]
