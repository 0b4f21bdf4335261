from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
PRINTED = ["sea 1.0 salt water\nlake 0.96 still water\n", "['sea']\n['salt water']\n"]


def test_the_examples_of_the_readme_run_as_printed() -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    command = [sys.executable, "-W", "error", "-c"]
    printed = [
        subprocess.run([*command, block], capture_output=True, text=True, check=True).stdout
        for block in blocks
    ]
    assert printed == PRINTED
