"""Fingerprints of code: has anything that a function's result depends on been edited?

The fingerprint of a function covers the functions, classes and module constants that it names, those that these name,
and so on, wherever in its own package and in wsss_lab they stand; a class counts whole. Docstrings, comments and layout
are left out, and so is what errors of wsss_lab.errors are told to say. Files and modules have no part in it, so that a
definition can be moved to another file without losing a result.

Statements outside of definitions count for all that comes from their module or imports it; so do definitions under a
decorator of the package, for what reaches something that the decorator may note them in. What cannot be followed counts
whole: the module behind a module that is handed on as a value, and the package, with its data files, behind importlib,
eval and the like.
"""

import ast
import functools
import hashlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from wsss_lab.errors import ParameterError
from wsss_lab.lab import provenance

#: A definition: its module and its name. Besides names: what a module does when it is imported; all that is in it; all
#: that is in the package.
Key = tuple[str, str]
LOOSE, MODULE, PACKAGE = "", "*", "**"

_HERE = __name__.partition(".")[0]
_ERRORS = f"{_HERE}.errors"
# What reaches code or files by names that only a run knows.
_BLIND = {"__import__", "eval", "exec", "globals", "__file__", "__path__", "__spec__", "__loader__", "__subclasses__",
          "__globals__", "__init_subclass__", "importlib", "pkgutil", "runpy", "sys.modules"}
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class _Found(NamedTuple):
    """A definition as it counts. uses: keys of definitions, names of what comes from elsewhere; runs: modules."""

    text: str
    uses: tuple[Key | str, ...]
    runs: tuple[str, ...]


def code_of(*functions: Callable) -> tuple[str, dict[str, str]]:
    """What the results of functions (or classes) of importable modules depend on besides their arguments.

    Returns the fingerprint of their code, 32 hexadecimal digits, and major.minor of the packages in it that make
    numbers. Both are worked out once per process: code edited while a process runs is neither executed nor seen by it.
    """
    _, code, packages = _closure(*map(_key, functions))
    return code, {name: ".".join(provenance.version_of(name).split(".")[:2]) for name in packages}


def definitions_of(*functions: Callable) -> tuple[Key, ...]:
    """Modules and names of the definitions behind functions, in the order in which they are met."""
    return _closure(*map(_key, functions))[0]


def forget() -> None:
    """Take fingerprints anew, for instance after reloading modules."""
    for cached in (_closure, _definition, _that_do_more, _noted_in, _module, _source_file, _package_folder):
        cached.cache_clear()


def _key(function: Callable) -> Key:
    return function.__module__, function.__qualname__.partition(".")[0]


@functools.cache
def _closure(*roots: Key) -> tuple[tuple[Key, ...], str, tuple[str, ...]]:
    """The definitions behind some, a hash of their texts and of which uses which, and what makes numbers in them."""
    for name, _ in roots:
        if _source_file(name) is None:
            raise ParameterError(f"the code of {name!r} has no source file",
                                 "a step function in a module that can be imported",
                                 "move the function from the notebook into a module")
    order = [key if key[1] in _module(key[0]).defined else (key[0], MODULE) for key in roots]
    place = {key: number for number, key in enumerate(order)}
    digest = hashlib.blake2b(digest_size=16)
    outside: set[str] = set()
    ran: set[str] = set()
    done = 0

    def enter(key: Key | str) -> int | str:
        if isinstance(key, str):
            outside.add(key.partition(".")[0])
            return key
        if key not in place:
            place[key] = len(order)
            order.append(key)
        return place[key]

    while done < len(order):
        found = _definition(order[done])
        digest.update(f"{found.text} {[enter(use) for use in found.uses]}\n".encode())
        name = order[done][0]
        ran = ran.union(*(_that_do_more(each) for each in (name, *found.runs) if _followed(each, name)))
        done += 1
        if done == len(order):
            more = [(name, LOOSE) for name in ran if _module(name).loose or _module(name).stars]
            more += [(name, each) for name in ran for each, decorator in _module(name).decorated
                     if not place.keys().isdisjoint(_noted_in(name, decorator))]
            # In the order of their texts, so that modules can be renamed; by name where texts are equal.
            for key in sorted(more, key=lambda key: (_definition(key).text, key)):
                enter(key)
    return tuple(order), digest.hexdigest(), tuple(sorted(outside & provenance.NUMBER_MAKERS.keys()))


@functools.cache
def _definition(key: Key) -> _Found:
    name, what = key
    module = _module(name)
    if what == PACKAGE:
        files = sorted(path for path in (_package_folder(name) / name).rglob("*") if path.is_file())
        data = [path.read_bytes() for path in files if path.suffix not in (".py", ".pyc")]
        return _Found(_hash(*data), ((name, MODULE),), ())
    if what == MODULE:
        inside = [(name, each) for each in (*module.defined, LOOSE)] + [(each, MODULE) for each in _submodules(name)]
        named = [each for targets in module.imports.values() for target in targets
                 for each in _targets(*target, name)]
        return _Found("", (*inside, *named), ())
    reader = _Reader(module, module.loose if what == LOOSE else module.defined[what])
    stars = [(star, MODULE) for star in module.stars if _followed(star, name)] if what == LOOSE else []
    return _Found(_hash(reader.text.encode()), (*reader.uses, *stars), tuple(sorted(reader.runs)))


@functools.cache
def _that_do_more(name: str) -> frozenset[str]:
    """Modules that do more than define, among those that run when one is imported."""
    seen, waiting = set(), [name]
    while waiting:
        each = waiting.pop()
        if each and each not in seen and _followed(each, name) and _source_file(each):
            seen.add(each)
            waiting += [each.rpartition(".")[0], *_module(each).runs]
    return frozenset(each for each in seen if _module(each).loose or _module(each).stars or _module(each).decorated)


@functools.cache
def _noted_in(module: str, decorator: str) -> frozenset[Key]:
    """Where a decorator may note what it is put on: in itself and in the constants and classes that it reaches."""
    own = [key for key in _targets(module, decorator, module) if isinstance(key, tuple)]
    found = dict.fromkeys(own)
    waiting = list(own)
    while waiting:
        for use in _definition(waiting.pop()).uses:
            if isinstance(use, tuple) and use not in found:
                found[use] = None
                waiting.append(use)
    return frozenset(key for key in found if key in own or not all(
        isinstance(node, _FUNCTIONS) for node in _module(key[0]).defined.get(key[1], ())))


class _Module:
    """What the statements at the top of a source file define, import and do.

    defined: the statements that bind a name. imports: the modules and names in them ("" for the module) that an
    imported name may stand for. loose: statements that do more than bind names. decorated: names of definitions, and of
    the package's decorators that they are under. runs: modules that run before it.
    """

    def __init__(self, name: str):
        path = _source_file(name)
        self.name = name
        self.package = name if path and path.name == "__init__.py" else name.rpartition(".")[0]
        self.defined: dict[str, list[ast.stmt]] = {}
        self.imports: dict[str, list[Key]] = {}
        self.stars: dict[str, None] = {}
        self.runs: set[str] = set()
        text = path.read_text(encoding="utf-8") if path else ""
        self.lines = text.splitlines()
        statements = list(_that_run(ast.parse(text, filename=str(path)).body))
        for statement in statements:
            defines = isinstance(statement, _DEFINITIONS)
            for node in () if defines else ast.walk(statement):
                self.note(node, self.imports, self.runs)
            for bound in [statement.name] if defines else _bound(statement):
                self.defined.setdefault(bound, []).append(statement)
        self.loose = [statement for statement in statements if _does_more(statement)]
        self.decorated = [(statement.name, decorator) for statement in statements if isinstance(statement, _DEFINITIONS)
                          for decorator in map(_root, statement.decorator_list) if self._is_own(decorator)]

    def note(self, node: ast.AST, imports: dict[str, list[Key]], runs: set[str]) -> None:
        """Enter what a statement imports and what runs then."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                runs.add(alias.name)
                top = alias.name.partition(".")[0]
                imports.setdefault(alias.asname or top, []).append((alias.name if alias.asname else top, ""))
        elif isinstance(node, ast.ImportFrom):
            parents = self.package.split(".")
            base = [*parents[: len(parents) - node.level + 1]] if node.level else []
            base = ".".join([*base, node.module] if node.module else base)
            for alias in node.names:
                runs |= {base, f"{base}.{alias.name}"}
                if alias.name == "*":
                    self.stars.setdefault(base)
                imports.setdefault(alias.asname or alias.name, []).append((base, alias.name))

    def _is_own(self, name: str) -> bool:
        return name in self.defined or any(_followed(base, self.name) for base, _ in self.imports.get(name, ()))


class _Reader:
    """Statements of a module as text in which every name of a definition or an import is its place in `uses`. Names
    that a function or comprehension binds itself stay as they are."""

    def __init__(self, module: _Module, statements: list[ast.stmt]):
        self.module = module
        self.uses: dict[Key | str, int] = {}
        self.runs: set[str] = set()
        inner: dict[str, list[Key]] = {}
        self._not_local: set[str] = set()  # whatever a function does with them: taken from outside, or imported inside
        self._scopes: list[set[str]] = []  # names that the functions around bind themselves
        self._outside: set[ast.AST] = set()  # parts of functions that are worked out outside of them
        for statement in statements:
            text = "".join(module.lines[statement.lineno - 1 : statement.end_lineno])
            for node in ast.walk(statement) if "import" in text or "global" in text else ():
                module.note(node, inner, self.runs)
                self._not_local.update(node.names if isinstance(node, ast.Global) else ())
        self._imports = {name: module.imports.get(name, []) + inner.get(name, []) for name in module.imports | inner}
        self._not_local |= inner.keys()
        self.text = "\n".join(map(self._write, statements))

    def _write(self, node: object) -> str:
        if isinstance(node, list):
            return ",".join([self._write(each) for each in node if not _is_text(each)])
        if isinstance(node, ast.AST) and node in self._outside:
            self._outside.discard(node)
            scope = self._scopes.pop()
            text = self._write(node)
            self._scopes.append(scope)
            return text
        if isinstance(node, ast.Name):
            return node.id if isinstance(node.ctx, ast.Store) else self._named([node.id])
        if isinstance(node, ast.Attribute):
            names = _dotted(node)
            return self._named(names) if names else f"{self._write(node.value)}{self._named(['', node.attr])}"
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, ast.Call):
            ends = self._ends(_dotted(node.func) or [""])
            if ends and {target[0] for target, _ in ends} == {_ERRORS}:
                return "|".join(target[1] for target, _ in ends)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            return f"Import({','.join(self._imported(alias) for alias in node.names)})"
        if isinstance(node, ast.Global):
            return f"Global({','.join(self._named([name]) for name in node.names)})"
        if getattr(node, "name", "") in _BLIND:
            self._use(self._everything)
        enters = isinstance(node, (*_FUNCTIONS, *_COMPREHENSIONS))
        if enters:
            names, outside = _scope(node)
            self._scopes.append(names - self._not_local)
            self._outside |= outside
        fields = [(name, getattr(node, name, None)) for name in node._fields if name not in ("ctx", "type_comment")]
        inside = [f"{name}={self._write(value)}" for name, value in fields if value is not None and value != []]
        if enters:
            self._scopes.pop()
        return f"{type(node).__name__}({' '.join(inside)})"

    def _imported(self, alias: ast.alias) -> str:
        ends = self._ends([alias.asname or alias.name.partition(".")[0]])
        return "|".join(self._use(target) for target, _ in ends if isinstance(target, str) or target[1] != MODULE)

    def _named(self, names: list[str]) -> str:
        """Text of a.b.c: the places of what it may lead to, with the names that are left."""
        ends = self._ends(names)
        first, *rest = names
        outside = {".".join([target, *left[:1]]) for target, left in ends if isinstance(target, str)}
        if first in _BLIND or any(name in _BLIND and name[0] == "_" for name in rest) or any(
                name in _BLIND or name.partition(".")[0] in _BLIND for name in outside):
            ends.append((self._everything, rest))
        return "|".join(".".join([self._use(target), *left]) for target, left in ends) or ".".join(names)

    def _ends(self, names: list[str]) -> list[tuple[Key | str, list[str]]]:
        first, *rest = names
        if any(first in scope for scope in self._scopes):
            return []
        own = [((self.module.name, first), rest)] if first in self.module.defined else []
        return own + [end for target in self._imports.get(first, ()) for each in _targets(*target, self.module.name)
                      for end in _onward(each, rest)]

    def _use(self, target: Key | str) -> str:
        return f"${self.uses.setdefault(target, len(self.uses))}"

    @property
    def _everything(self) -> Key:
        return self.module.name.partition(".")[0], PACKAGE


def _followed(module: str, by: str) -> bool:
    """Whether a module that another one names belongs to the same package, or to this one."""
    return module.partition(".")[0] in (by.partition(".")[0], _HERE)


def _targets(module: str, name: str, by: str, seen: tuple[Key, ...] = ()) -> list[Key | str]:
    """What a name in a module ("" for the module), used by another one, may stand for: names from elsewhere;
    definitions, also through modules that only hand them on; the whole module where there is none."""
    if not _followed(module, by):
        return [f"{module}.{name}" if name else module]
    if not name:
        return [(module, MODULE)]
    known = _module(module)
    found: list[Key | str] = [(module, name)] if name in known.defined else []
    for onward in known.imports.get(name, ()) if (module, name) not in seen else ():
        found += _targets(*onward, module, (*seen, (module, name)))
    inner = f"{module}.{name}"
    return found or [(inner if _source_file(inner) else module, MODULE)]


def _onward(target: Key | str, rest: list[str]) -> list[tuple[Key | str, list[str]]]:
    """Where a target leads by further names as long as it is a module, and the names that are left."""
    whole = isinstance(target, tuple) and target[1] == MODULE
    onward = _targets(target[0], rest[0], target[0]) if rest and whole else [target]
    return [(target, rest)] if onward == [target] else [end for each in onward for end in _onward(each, rest[1:])]


@functools.cache
def _module(name: str) -> _Module:
    return _Module(name)


@functools.cache
def _package_folder(top: str) -> Path:
    """Folder that holds the package (or the module file) named top."""
    path = Path(getattr(importlib.import_module(top), "__file__", None) or "")
    return path.parent.parent if path.name == "__init__.py" else path.parent


@functools.cache
def _source_file(module: str) -> Path | None:
    """File of a module, found without importing it; None if there is none."""
    top, *parts = module.split(".")
    base = _package_folder(top).joinpath(top, *parts)
    candidates = (base.with_name(f"{base.name}.py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _submodules(package: str) -> list[str]:
    """Names of all modules below a package."""
    folder = _package_folder(package.partition(".")[0]).joinpath(*package.split("."))
    files = sorted(folder.rglob("*.py"))
    parts = [path.relative_to(folder).with_suffix("").parts for path in files]
    return [".".join([package, *(inner[:-1] if inner[-1] == "__init__" else inner)]) for inner in parts
            if inner != ("__init__",)]


def _that_run(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements without blocks for type checkers and for programs."""
    for statement in statements:
        test = ast.unparse(statement.test) if isinstance(statement, ast.If) else ""
        if test.rpartition(".")[2] == "TYPE_CHECKING" or test == "__name__ == '__main__'":
            yield from _that_run(statement.orelse)
        else:
            yield statement


def _does_more(statement: ast.stmt) -> bool:
    """Whether a statement does more than bind names."""
    if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return any(isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store)
                   for node in ast.walk(statement))
    return not isinstance(statement, (*_DEFINITIONS, ast.Import, ast.ImportFrom, ast.Pass)) and not _is_text(statement)


def _root(decorator: ast.expr) -> str:
    """The first name of a decorator such as a.b(c); "" where there is none."""
    while isinstance(decorator, (ast.Call, ast.Attribute)):
        decorator = decorator.func if isinstance(decorator, ast.Call) else decorator.value
    return getattr(decorator, "id", "")


def _bound(statement: ast.stmt) -> dict[str, None]:
    """Names that a statement may bind, those of definitions inside it too."""
    stored = (node for node in ast.walk(statement) if isinstance(getattr(node, "ctx", None), ast.Store))
    names = [node.id for node in stored if isinstance(node, ast.Name)]
    names += [node.name for node in ast.walk(statement) if isinstance(node, _DEFINITIONS)]
    return dict.fromkeys(names)


def _scope(node: ast.AST) -> tuple[set[str], set[ast.AST]]:
    """Names that a function or comprehension binds itself, and its parts that are worked out outside of it."""
    if isinstance(node, _COMPREHENSIONS):
        targets = [each for part in node.generators for each in ast.walk(part.target)]
        return {each.id for each in targets if isinstance(each, ast.Name)}, {node.generators[0].iter}
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    names = {each.arg for each in named}
    waiting = list(node.body) if isinstance(node.body, list) else []
    while waiting:
        each = waiting.pop()
        if isinstance(each, (*_DEFINITIONS, ast.ExceptHandler)) and each.name:
            names.add(each.name)
        if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
            names.add(each.id)
        if not isinstance(each, (*_DEFINITIONS, *_COMPREHENSIONS, ast.Lambda)):
            waiting += ast.iter_child_nodes(each)
    returned = [node.returns] if getattr(node, "returns", None) else []
    return names, {given, *getattr(node, "decorator_list", ()), *returned}


def _dotted(node: ast.expr) -> list[str]:
    """The names of a.b.c; none for another expression."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names, node = [node.attr, *names], node.value
    return [node.id, *names] if isinstance(node, ast.Name) else []


def _is_text(node: object) -> bool:
    """Whether a statement is a docstring or another constant that does nothing."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _hash(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
