"""Reading reports back."""

import re
from pathlib import Path


def everything(readme: Path) -> str:
    """The text of all pages of a report, the first one first, with runs of spaces as one."""
    pages = [readme, *sorted(path for path in readme.parent.glob("*.md") if path != readme)]
    return re.sub(" +", " ", "\n".join(page.read_text() for page in pages))


def page(readme: Path, name: str) -> str:
    """The text of one page behind the first, with runs of spaces as one."""
    return re.sub(" +", " ", readme.with_name(f"{name}.md").read_text())


def unfolded(markdown: str) -> str:
    """What a reader sees of Markdown before unfolding anything."""
    return re.sub(r"<details>.*?</details>", "", markdown, flags=re.DOTALL)
