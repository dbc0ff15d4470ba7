"""Take a screenshot of a report of `reprise evaluate --html`.

pip install playwright
python scripts/page_picture.py report.html docs/pictures/report.png --browser "$(which chromium)"
python scripts/page_picture.py report.html phone.png --browser "$(which chromium)" --width 390 --scheme dark --height 0
"""

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright


def photograph(page: Path, picture: Path, options: argparse.Namespace) -> None:
    """Take a screenshot of the top of the page, or of all of it if the height is 0."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.browser,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        tab = browser.new_page(
            viewport={"width": options.width, "height": options.height or 900}, color_scheme=options.scheme
        )
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=picture, full_page=not options.height)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--browser", help="browser executable (default: the one that playwright installed)")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1200)
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    found = parser.parse_args()
    photograph(found.page, found.picture, found)
