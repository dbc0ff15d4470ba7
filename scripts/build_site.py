"""Build the documentation site: every page of `docs/`, with executed notebooks, search and a list of versions.

    python scripts/build_site.py [--out build/site] [--no-notebooks]

The site is a folder of files that any web server, or a browser on a local disk, can show. Each version has a folder of its
own; a build replaces only the folder of its version, so that older ones stay. A warning, such as a link to a missing page
or heading, fails the build.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
START = "docs/index.html"
REDIRECT = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Reprise</title>
<meta http-equiv="refresh" content="0; url={address}"><a href="{address}">Reprise {version}</a></html>
"""


def version_key(version: str) -> tuple[list[int], str]:
    """Return a key that sorts versions by their numbers."""
    return [int(part) for part in version.split(".") if part.isdigit()], version


def build(out: Path, address: str, notebooks: bool, options: list[str]) -> Path:
    """Build the site of the present version and the list of versions; return the folder of the version."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    folder, doctrees = out / version, out.parent / "doctrees"
    settings = {"REPRISE_NOTEBOOKS": "cache" if notebooks else "off"}
    if address:
        settings["REPRISE_VERSIONS"] = f"{address.rstrip('/')}/versions.json"
    shutil.rmtree(folder, ignore_errors=True)
    command = [
        sys.executable, "-m", "sphinx", "-b", "html", "-q", "--fail-on-warning", "--keep-going",
        "-c", str(ROOT / "docs" / "site"), "-d", str(doctrees), *options, str(ROOT), str(folder),
    ]  # fmt: skip
    subprocess.run(command, check=True, env={**os.environ, **settings})
    built = sorted(
        (path.parent.parent.name for path in out.glob(f"*/{START}")), key=version_key, reverse=True
    )
    entries = [
        {
            "name": name,
            "version": name,
            "url": f"{address.rstrip('/') or '..'}/{name}/{START}",
            "preferred": name == built[0],
        }
        for name in built
    ]
    (out / "versions.json").write_text(json.dumps(entries, indent=2) + "\n")
    (out / "index.html").write_text(REDIRECT.format(address=f"{built[0]}/{START}", version=built[0]))
    return folder


def main() -> None:
    """Read the options and build the site."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="folder of the site")
    parser.add_argument(
        "--address",
        default="",
        help="address at which the site is published; it enables the menu of versions",
    )
    parser.add_argument("--no-notebooks", action="store_true", help="show the notebooks without running them")
    parser.add_argument("-D", action="append", default=[], metavar="NAME=VALUE", help="setting of Sphinx")
    given = parser.parse_args()
    options = [word for setting in given.D for word in ("-D", setting)]
    try:
        folder = build(given.out, given.address, not given.no_notebooks, options)
    except subprocess.CalledProcessError as error:
        sys.exit(f"the site has warnings or errors, see above (exit status {error.returncode})")
    print(folder / START)


if __name__ == "__main__":
    main()
