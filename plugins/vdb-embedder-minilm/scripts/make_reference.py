"""Makes ``tests/reference.json`` and ``tests/reference.npy``: what sentence-transformers makes of texts of many kinds.

    python scripts/make_reference.py MODEL_DIRECTORY     # needs sentence-transformers, and with it PyTorch

Run once, in an environment of its own; the tests compare with what is committed.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

TESTS = Path(__file__).resolve().parent.parent / "tests"

WORDS = [
    "the",
    "of",
    "a",
    "vector",
    "library",
    "holds",
    "documents",
    "and",
    "each",
    "of",
    "them",
    "holds",
    "chunks",
    "that",
    "a",
    "search",
    "finds",
    "by",
    "meaning",
]
TEXTS = [
    "a cat",
    "A Cat!",
    "The quick brown fox jumps over the lazy dog.",
    "How do I reset my password?",
    "antidisestablishmentarianism",
    "Straße, café, naïve, Ångström, İstanbul",
    "cafe\u0301 with a combining accent",
    "数据库 向量 搜索",
    "벡터 데이터베이스는 빠르다",
    "العربية من اليمين",
    "🦊",
    "two foxes 🦊🦊 and a flag 🇩🇪",
    "",
    "   ",
    "\t\n\r",
    "a\x00b",
    "zero\u200bwidth and a \ufeff mark",
    "[CLS] [SEP] [PAD] [MASK] [UNK]",
    "1234567890 3.14159 -42 1e-5",
    "x" * 5_000,
    "x" * 100,
    "x" * 101,
    "e\u0301" * 300,
    "한" * 300,
    "?!" * 400,
    "http://example.org/a/path?with=query&and=more#fragment",
    "def f(x):\n    return x ** 2  # code\n",
    *(
        " ".join(WORDS[n % len(WORDS)] for n in range(count))
        for count in (2, 5, 17, 50, 120, 253, 254, 255, 256, 700, 5_000)
    ),
    " " * 10_000 + "far behind blanks",
    ("y" * 6_000 + " ") * 3 + "behind long words",
    "word " * 400,
]


if __name__ == "__main__":
    model = SentenceTransformer(sys.argv[1], device="cpu")
    # One at a time: padding moves the last digits.
    rows = np.stack([model.encode([text], show_progress_bar=False)[0] for text in TEXTS])
    np.save(TESTS / "reference.npy", rows.astype(np.float32))
    packages = ("sentence-transformers", "transformers", "tokenizers", "torch")
    made = {"made_by": {name: version(name) for name in packages}, "texts": TEXTS}
    (TESTS / "reference.json").write_text(json.dumps(made, indent=0) + "\n", encoding="utf-8")
