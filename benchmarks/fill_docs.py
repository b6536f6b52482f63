"""Put the tables of ``benchmarks/results`` between their markers in README.md and the pages of ``docs``."""

from __future__ import annotations

import re
from pathlib import Path

from metad2a_plugin.utils.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]


def filled(page: str, results: Path) -> str:
    """`page` with each ``<!-- results: NAME --> ... <!-- end -->`` holding ``NAME.md``."""

    def table(match: re.Match[str]) -> str:
        text = (results / f"{match[1]}.md").read_text(encoding="utf-8").strip()
        return f"<!-- results: {match[1]} -->\n{text}\n<!-- end -->"

    return re.sub(r"<!-- results: (\w+) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


if __name__ == "__main__":
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        write_atomically(path, filled(path.read_text(encoding="utf-8"), ROOT / "benchmarks" / "results").encode())
