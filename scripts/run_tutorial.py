"""Run the blocks of a tutorial in order, as a reader would type them: `python scripts/run_tutorial.py docs/tutorials/shop.md`.

Blocks marked `bash` or `python` run in one folder, each in a process of its own. The first block that fails ends the run.
Port 8000 is replaced by a free one, and processes that are left in the background are stopped at the end.
"""

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the language and the text of each block of a page that is to be run."""
    return [(found[1], found[2]) for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def run(page: Path, folder: Path) -> None:
    """Run all blocks of a page in a folder.

    Raises:
        subprocess.CalledProcessError: a block failed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    # `reprise` and `python` are those that run this script
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path}
    children: list[int] = []
    try:
        for language, text in blocks(page):
            command = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
            print(f"\n{text}", flush=True)
            process = subprocess.Popen(
                [*command, text.replace("8000", port)], cwd=folder, env=environment, start_new_session=True
            )
            children.append(process.pid)
            if process.wait():
                raise subprocess.CalledProcessError(process.returncode, text)
    finally:
        for child in children:
            try:
                os.killpg(child, signal.SIGTERM)
            except ProcessLookupError:
                continue


def main() -> None:
    """Read the options and run the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("page", type=Path, help="the tutorial")
    parser.add_argument(
        "--folder", type=Path, help="folder to run in, which stays; by default a temporary one"
    )
    given = parser.parse_args()
    try:
        if given.folder is None:
            with tempfile.TemporaryDirectory() as folder:
                run(given.page, Path(folder))
        else:
            given.folder.mkdir(parents=True, exist_ok=True)
            run(given.page, given.folder)
    except subprocess.CalledProcessError as error:
        sys.exit(f"a block of {given.page} failed with exit status {error.returncode}")


if __name__ == "__main__":
    main()
