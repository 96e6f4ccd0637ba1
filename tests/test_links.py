"""Every relative link in the Markdown files leads somewhere, and so does every path in a table of files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in ROOT.rglob("*.md") if not {".venv", "runs", ".git"} & set(p.relative_to(ROOT).parts))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"", text)
    broken = [
        target
        for target in (a or b for a, b in targets)
        if not target.startswith(("http:", "https:", "mailto:")) and not (page.parent / target).exists()
    ]
    assert not broken


def test_the_readme_lists_every_source_file_of_the_tree() -> None:
    tree = re.search(r"<!-- tree -->(.*?)<!-- /tree -->", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert tree is not None
    listed = set(re.findall(r"[\w.]+\.(?:py|yaml)|\w+/", tree[1]))
    sources = [p for folder in ("pipeline", "data_shards") for p in (ROOT / folder).rglob("*.py")]
    missing = sorted(str(p.relative_to(ROOT)) for p in sources if p.name not in listed and p.name != "__init__.py")
    assert not missing, f"not in the README's tree: {missing}"
