"""Annotations of shapes: imported for type checkers alone, resolved here, compared with what measures return."""

from __future__ import annotations

import ast
import doctest
import functools
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jaxtyping import Float, jaxtyped
from torch import Tensor, ones

import rnn_diag
from rnn_diag import diagnostics

MODULES = [
    module.name
    for module in pkgutil.walk_packages(rnn_diag.__path__, "rnn_diag.")
    if not module.name.startswith("rnn_diag.lab.")  # the names of its experiments are no interface
]
SHAPED = type(Float[Tensor, "axis"])


def names_of(module: types.ModuleType) -> dict[str, Any]:
    """Return a module's names, with those that it imports for type checkers alone."""
    names = dict(vars(module))
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), module.__name__, "exec"), names)
    return names


def annotated(module: types.ModuleType) -> Iterator[Any]:
    """Yield the functions and classes that a module defines, and the classes' methods."""
    for value in vars(module).values():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, (types.FunctionType, type)):
            yield value
        if isinstance(value, type):
            yield from (member for member in vars(value).values() if isinstance(member, types.FunctionType))


def fits(value: Any, annotation: Any) -> bool:
    """Return whether a value has the shape that an annotation says; what is no annotation of a shape always fits."""
    if isinstance(annotation, SHAPED):
        return isinstance(value, annotation)
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return any(fits(value, choice) for choice in typing.get_args(annotation))
    if typing.get_origin(annotation) is dict:
        return all(fits(entry, typing.get_args(annotation)[1]) for entry in value.values())
    if isinstance(annotation, type):
        return isinstance(value, annotation) if annotation is type(None) else not isinstance(value, Tensor)
    return True


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which now compares what it is given and returns with its annotations, axis by axis."""
    hints = typing.get_type_hints(function, names_of(importlib.import_module(function.__module__)))

    @functools.wraps(function)
    def check(*arguments: Any, **options: Any) -> Any:
        with jaxtyped("context"):
            bound = inspect.signature(function).bind(*arguments, **options).arguments
            result = function(*arguments, **options)
            for name, value in {**bound, "return": result}.items():
                if isinstance(value, (Tensor, dict)):
                    assert fits(value, hints[name]), f"{function.__name__}: {name} is no {hints[name]}"
        return result

    return check


def measures() -> dict[str, Callable[..., Any]]:
    public = {name: getattr(diagnostics, name) for name in diagnostics.__all__}
    return {name: f for name, f in public.items() if isinstance(f, types.FunctionType) and ">>>" in (f.__doc__ or "")}


@pytest.mark.parametrize("name", MODULES)
def test_annotations_resolve(name: str) -> None:
    module = importlib.import_module(name)
    names = names_of(module)
    for value in annotated(module):
        own = dict(vars(value)) if isinstance(value, type) else None
        for annotation in inspect.get_annotations(value).values():
            text = getattr(annotation, "__forward_arg__", annotation)  # a NamedTuple's are wrapped
            if isinstance(text, str):
                eval(text, names, own)


def double(row: Float[Tensor, "time batch"]) -> Float[Tensor, "time batch"]:
    return row.mT + row.mT


def test_a_wrong_shape_is_seen() -> None:
    check = checked(double)
    assert check(ones(3, 3)).sum() == 18
    with pytest.raises(AssertionError, match="double: return is no"):
        check(ones(2, 3))
    with pytest.raises(AssertionError, match="double: row is no"):
        check(ones(2, 3, 4))


@pytest.mark.parametrize("name", measures())
def test_a_measure_has_the_shapes_that_it_says_on_its_own_example(name: str) -> None:
    replaced = {known: checked(function) for known, function in measures().items()}
    function = measures()[name]
    globs = {**vars(importlib.import_module(function.__module__)), **replaced}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder(recurse=False).find(function, name, globs=globs):
        assert runner.run(test, out=print).failed == 0
