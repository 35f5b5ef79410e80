"""What a result depends on, as one hash: models, sets, recipes, code.

Two calls have the same key only where all that they compute with is the same. Code counts as it runs: comments,
docstrings and layout do not. A function of the user's own counts with its defaults, with what it closes over, and with
all that it refers to, wherever that stands; a package that is installed counts by its version.
"""

from __future__ import annotations

import ast
import dis
import functools
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from copyreg import dispatch_table
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType

import numpy as np
import torch
from safetensors.torch import save

from forgetkit.data.images import DataError
from forgetkit.data.reading import ImageFiles
from forgetkit.models.clip import Clip, describe
from forgetkit.subgroups import ModelSets

HERE = Path(__file__).parent
METHOD = ("[!_]*.py", "models/*.py", "data/*.py")  # of this package: what results depend on
VERSIONS = ("torch", "open_clip_torch", "torchvision", "numpy", "pillow")
PROBES = ["a photo of a cat.", "SHIP, 2024!", "一只猫"]  # by what it makes of these, a tokenizer is known
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))


class NoKey(TypeError):
    """Something that no hash tells from another: what depends on it cannot be found again."""


def key(*parts) -> str:
    """Hash of models, with their device, sets, recipes, functions and values; and of the method's code, and versions.

    Raises NoKey for what has no hash, such as a lock or an open file.
    """
    code = [_as_it_runs(file.read_text(encoding="utf-8")) for pattern in METHOD for file in sorted(HERE.glob(pattern))]
    about = repr(([version(name) for name in VERSIONS], sys.version_info[:2], code)).encode()
    seen: dict = {}
    return _digest([about, *(_bytes(part, seen) for part in parts)]).hex()[:24]


@functools.lru_cache(maxsize=None)
def _as_it_runs(source: str) -> str:
    """Source without comments, docstrings and layout."""
    return ast.unparse(without_docstrings(ast.parse(source)))


def without_docstrings(tree: ast.Module) -> ast.Module:
    """The syntax tree, from which the docstrings of modules, classes and functions are taken out in place."""
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def file_hash(file: str | Path) -> str:
    """SHA-256 of a file's content; raises DataError for one that is missing or empty."""
    try:
        with open(file, "rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
            if stream.tell():
                return found
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): put it back, or run again.") from error
    raise DataError(f"{file} is empty: fetch it again, or remove it and run again.")


def packed(named: Mapping[str, torch.Tensor]) -> bytes:
    """The tensors, with shapes and types, by safetensors, which takes contiguous ones, and none under two names."""
    return save({name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in named.items()})


def _bytes(part, seen: dict) -> bytes:
    """What stands for a value in a hash. seen: {identity: (what stands for it, value)}. Raises NoKey."""
    if isinstance(part, PLAIN):
        return f"{type(part).__name__} {part!r}\n".encode(errors="surrogatepass")
    if id(part) not in seen:
        seen[id(part)] = b"what this is part of", part  # the value is held, or its identity would be another's
        try:
            seen[id(part)] = _parts(part, lambda *parts: _digest(_bytes(one, seen) for one in parts)), part
        except NoKey:
            del seen[id(part)]
            raise
    return seen[id(part)][0]


def _digest(parts: Iterable[bytes]) -> bytes:
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in parts)).digest()


def _parts(part, of: Callable[..., bytes]) -> bytes:
    """The same for a value that has parts; of: what stands for several values."""
    kind = type(part)
    if kind in (list, tuple):
        return of(kind.__name__, len(part), *part)
    if kind is dict:
        return of("dict", *(one for pair in part.items() for one in pair))
    if kind in (set, frozenset):
        return _digest([b"set", *sorted(of(one) for one in part)])
    if isinstance(part, torch.Tensor):
        return of(str(part.device), hashlib.sha256(packed({"x": part})).digest())
    if isinstance(part, np.ndarray) and part.dtype != object:
        return of(part.shape, str(part.dtype), hashlib.sha256(np.ascontiguousarray(part)).digest())
    if isinstance(part, Clip):
        record = {name: value for name, value in part.record.items() if name not in ("source", "seconds")}
        return of(describe(part.device), part.model, part.tokenizer(PROBES), record, dict(part.heads))
    if isinstance(part, torch.nn.Module):
        state = {name: value for name, value in part.state_dict().items() if isinstance(value, torch.Tensor)}
        modules = [(name, *_settings(module)) for name, module in part.named_modules()]
        return of(hashlib.sha256(packed(state)).digest(), modules)
    if isinstance(part, ImageFiles):
        return of(part.how, [file_hash(file) for file in part.files])
    if is_dataclass(kind):
        unread = ("validation", "test") if kind is ModelSets else ()  # by no stage
        return of(kind, {one.name: getattr(part, one.name) for one in fields(part) if one.name not in unread})
    if isinstance(part, ModuleType | type):
        return _members(part, of)
    if kind is FunctionType:
        return _function(part, of)
    if isinstance(part, CodeType):
        modules = []
        for line in dis.get_instructions(part):
            with suppress(Exception):  # whatever the module raises, it does when the code runs, too
                modules += [importlib.import_module(line.argval)] if line.opname == "IMPORT_NAME" else []
        return of(part.co_code, part.co_consts, part.co_names, part.co_varnames, part.co_freevars, modules)
    if isinstance(part, property | staticmethod | classmethod):
        return of(kind, *(getattr(part, name, None) for name in ("__func__", "fget", "fset", "fdel")))
    try:  # as it would be pickled, only that functions and classes of the user's own count as above
        reduced = dispatch_table.get(kind, lambda part: part.__reduce_ex__(4))(part)
    except Exception as error:  # of whatever class it is
        raise NoKey(f"a {kind.__qualname__} of {kind.__module__}") from error
    if isinstance(reduced, str):
        return of(kind, reduced, getattr(part, "__module__", None), getattr(part, "__wrapped__", None))
    return of(kind, *([*one] if isinstance(one, Iterator) else one for one in reduced))


def _installed(name: str) -> bool:
    """Is this a module that is in the key by its name: of the method, of Python, or installed in some version?"""
    top = name.partition(".")[0]
    file = Path(getattr(sys.modules.get(name, sys.modules.get(top)), "__file__", None) or "")
    if top == HERE.name:
        return any(file.match(f"{top}/{pattern}") for pattern in METHOD)
    installed = top != "__main__" and bool({*file.parts} & {"site-packages", "dist-packages"})
    return installed or top in sys.stdlib_module_names


def _members(part: ModuleType | type, of: Callable[..., bytes]) -> bytes:
    """The file of a module or the bases of a class, and what is in it; in a module, where that has a hash."""
    is_class = isinstance(part, type)
    home, name = (part.__module__, part.__qualname__) if is_class else (part.__name__, "")
    file = getattr(sys.modules.get(home), "__file__", None)
    if _installed(home) or (is_class and not file and home != "__main__"):  # the latter: of an extension in C
        return of(home, name)
    found = [of(name, part.__bases__ if is_class else (home, file and Path(file).read_bytes()))]
    for member, value in vars(part).items():
        if callable(value) or not member.startswith(("__", "_abc_")):  # what Python itself keeps there
            with nullcontext() if is_class else suppress(NoKey):
                found.append(of(member, value))
    return _digest(found)


def _function(part: FunctionType, of: Callable[..., bytes]) -> bytes:
    """Code, defaults, closure, attributes, and what its code names of the globals."""
    if (same := getattr(part, "same_as", None)) is not None:
        return of(same)
    closed = [cell.cell_contents for cell in part.__closure__ or () if cell != CellType()]
    if _installed(home := part.__globals__.get("__name__") or "__main__"):
        return of(home, part.__code__.co_qualname, closed)
    used = {name: part.__globals__[name] for name in sorted(_names(part.__code__)) if name in part.__globals__}
    return of(part.__code__, part.__defaults__, part.__kwdefaults__, closed, vars(part), used)


def _names(code: CodeType) -> set[str]:
    """All that code names, and what is defined in it."""
    return {*code.co_names}.union(*(_names(one) for one in code.co_consts if isinstance(one, CodeType)))


def _settings(module: torch.nn.Module) -> tuple:
    """What a module computes with beside its tensors: its class, settings such as the number of heads, hooks."""
    kinds = (*PLAIN, tuple, list, FunctionType)
    said = {name: value for name, value in sorted(vars(module).items()) if isinstance(value, kinds)}
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    return type(module), said, getattr(module, "preprocess_cfg", None), hooks
