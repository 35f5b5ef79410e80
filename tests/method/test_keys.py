"""Keys: what the code of a method is, and that of a user's own pieces."""

import importlib

from forgetkit.store import code_of

BARE = "def f(x):\n    return x + 1\n"
WORDS = '"""A module."""\n\n\ndef f(x):  # adds\n    """One more."""\n    return (\n        x + 1\n    )\n'


def test_code_counts_and_words_do_not(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def module(name: str, text: str):
        (tmp_path / f"{name}.py").write_text(text)
        return importlib.import_module(name)

    bare, words, other = (module(f"told_{i}", text) for i, text in enumerate((BARE, WORDS, BARE.replace("1", "2"))))
    assert code_of(bare) == code_of(words) != code_of(other)
    assert code_of(bare.f) == code_of(words.f) != code_of(other.f)
    assert code_of(bare.f, bare) != code_of(bare, bare.f) and len(code_of(bare)) == 16
