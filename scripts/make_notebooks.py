"""Write each script of examples/ as a notebook beside it: `python scripts/make_notebooks.py`.

A line `# %%` begins a cell of code, `# %% [markdown]` one of text, whose lines are comments.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
_CELL = re.compile(r"^# %%(?P<markdown> \[markdown\])?\n", re.MULTILINE)


def notebook_of(script: str) -> str:
    """The JSON of a notebook (nbformat 4.5) with the cells of a script; equal scripts give equal bytes."""
    cells: list[dict[str, Any]] = []
    parts = _CELL.split(script)
    for number, (markdown, text) in enumerate(zip(parts[1::2], parts[2::2], strict=True)):
        lines = text.strip().splitlines(keepends=True)
        if markdown:
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
            cells.append({"cell_type": "markdown", "id": f"cell-{number}", "metadata": {}, "source": lines})
        else:
            cells.append({"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "source": lines})
            cells[-1] |= {"execution_count": None, "outputs": []}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    book = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all notebooks."""
    for script in sorted(EXAMPLES.glob("*.py")):
        script.with_suffix(".ipynb").write_text(notebook_of(script.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
