"""What the embedded model was taught to say: `vocabulary.toml` has the synonyms and kinds, `words.txt` every word.

A caption drawn for an image says its class name, now and then a synonym ("lorry") or a kind ("vehicle").
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

import open_clip

HERE = Path(__file__).parent
open_clip.add_model_config(HERE)  # `mini-clip` and `mini-vit`
_taught = tomllib.loads((HERE / "vocabulary.toml").read_text(encoding="utf-8"))
SYNONYMS: list[list[str]] = _taught["synonyms"]  # groups of names of the same thing
KINDS: dict[str, list[str]] = _taught["kinds"]  # a word, and the class names of which it is true


@cache
def words() -> tuple[str, ...]:
    """All words that mini-CLIP was taught, in alphabetical order: class names of four sets, synonyms and kinds."""
    return tuple((HERE / "words.txt").read_text(encoding="utf-8").splitlines())


@cache
def synonyms(name: str) -> tuple[str, ...]:
    """Other names of a class: ("kitten", "kitty", "pussycat") of "cat"."""
    return tuple(dict.fromkeys(w for group in SYNONYMS if name in group for w in group if w != name))


@cache
def kinds(name: str) -> tuple[str, ...]:
    """The kinds that a class belongs to: "animal", "mammal" and "pet" of "cat"."""
    same = {name, *synonyms(name)}
    return tuple(kind for kind, members in KINDS.items() if kind not in same and not same.isdisjoint(members))


@cache
def truths(name: str) -> frozenset[str]:
    """Every word that is true of a class: its name, synonyms, kinds, and theirs in turn."""
    found, new = set(), {name}
    while new:
        found |= new
        new = {word for known in new for word in (*synonyms(known), *kinds(known))} - found
    return frozenset(found)
