"""Fingerprints of code: has anything that a function's result depends on been edited?

The fingerprint of a function covers the module it lives in and every module of the same package that this
module imports, directly or through others, wherever the import statement stands. It is taken from the syntax
tree without docstrings, so that comments, docstrings and layout can be improved without losing a result.
"""

import ast
import functools
import hashlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

from wsss_lab.errors import ParameterError

# The lab moves results around and the errors describe problems: neither can change a number, and following
# them would make every cached training depend on the wording of a message.
MACHINERY = ("lab", "errors")


def code_fingerprint(function: Callable) -> str:
    """Hash of the code behind a function.

    function: a function of an importable module.

    Returns 32 hexadecimal digits. They are worked out once per process: code edited while a process runs is
    neither executed nor seen by it.
    """
    return _module_fingerprint(function.__module__)


def code_modules(name: str) -> tuple[str, ...]:
    """Names of the modules that a module's behaviour depends on: itself and what it imports from its package.

    name: dotted name of an importable module.
    """
    top = name.partition(".")[0]
    root = _package_folder(top)
    found: dict[str, None] = {}
    waiting = [name]
    while waiting:
        module = waiting.pop()
        if module not in found:
            found[module] = None
            waiting += [other for other in _imports(root, module) if not _is_machinery(other)]
    return tuple(sorted(found))


def forget() -> None:
    """Take fingerprints anew, for instance after reloading modules."""
    for cached in (_module_fingerprint, _package_folder, _tree, _source_digest):
        cached.cache_clear()


@functools.cache
def _module_fingerprint(name: str) -> str:
    root = _package_folder(name.partition(".")[0])
    digest = hashlib.blake2b(digest_size=16)
    for module in code_modules(name):
        digest.update(f"{module}\n{_source_digest(_source_file(root, module))}\n".encode())
    return digest.hexdigest()


@functools.cache
def _package_folder(top: str) -> Path:
    """Folder that holds the package (or the module file) named top."""
    file = getattr(importlib.import_module(top), "__file__", None)
    if file is None:
        raise ParameterError(
            f"the code of {top!r} has no source file",
            expected="a step function in a module that can be imported",
            fix="move the function from the notebook into a module",
        )
    path = Path(file)
    return path.parent.parent if path.name == "__init__.py" else path.parent


def _source_file(root: Path, module: str) -> Path | None:
    """File of a module below root, found without importing it; None if there is none."""
    base = root.joinpath(*module.split("."))
    candidates = (base.with_name(f"{base.name}.py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _is_machinery(module: str) -> bool:
    return module.split(".")[1:2] in ([name] for name in MACHINERY)


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


@functools.cache
def _source_digest(path: Path) -> str:
    tree = _without_docstrings(ast.parse(path.read_bytes(), filename=str(path)))
    return hashlib.blake2b(ast.dump(tree).encode(), digest_size=16).hexdigest()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


def _imports(root: Path, module: str) -> Iterator[str]:
    """Modules of the same package named by the import statements of a module."""
    path = _source_file(root, module)
    top = module.partition(".")[0]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            named = _imported_from(root, package, node)
        else:
            continue
        for name in named:
            if name.partition(".")[0] == top and _source_file(root, name):
                yield name


def _imported_from(root: Path, package: str, node: ast.ImportFrom) -> Iterator[str]:
    """Modules behind `from base import a, b`: base.a where that is a module, base itself otherwise."""
    base = node.module or ""
    if node.level:
        parents = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*parents, base] if base else parents)
    for alias in node.names:
        submodule = f"{base}.{alias.name}"
        yield submodule if _source_file(root, submodule) else base
