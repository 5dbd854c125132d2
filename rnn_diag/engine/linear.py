"""What an adjoint multiplies gradients by, read off its statements: no gradient is needed to compute it.

An adjoint is linear in the gradients that it is given. With `e` that of the emitted state and `c` the total one of the
new cell, everything that it returns is `a ⊙ e + b ⊙ c`; the factors `a` and `b` depend on the run forwards alone, so
those of all steps are taken at once, before the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rnn_diag.engine.elementwise import Elementwise, ElementwiseStep, NotElementwiseError, Statement

ONE = "(1.0)"
ZERO = "(0.0)"
ONES = "ones"
"""A variable that holds ones, where an operation takes no number."""
_EMITTED, _CARRIED, _CELL = "e", "k", "c"

Form = dict[str, str]
"""The factor of each gradient in a value, by the gradient: a variable or `ONE`."""


@dataclass(frozen=True)
class Factor:
    """What one value is made of: the variables that `e` and `c` are multiplied by, or None where they have no part."""

    emitted: str | None
    cell: str | None


@dataclass(frozen=True)
class LinearAdjoint:
    """An adjoint as factors.

    Attributes:
        statements: What computes the factors.
        recurrent: One factor for each block of the gradient of the recurrent product.
        projected: The same of the input product.
        cell_by_emitted: What of `e` reaches the new cell, or None.
        previous_cell, previous_hidden: Factors of what goes to the states before, past the product; or None.
    """

    statements: tuple[Statement, ...]
    recurrent: tuple[Factor, ...]
    projected: tuple[Factor, ...]
    cell_by_emitted: str | None
    previous_cell: Factor | None
    previous_hidden: Factor | None


def linear_adjoint(step: ElementwiseStep) -> LinearAdjoint:
    """Return the factors of a recurrence's adjoint.

    Raises:
        NotElementwiseError: If it does something to a gradient that is not known to be linear.
    """
    return _Forms(step.backward).factors()


class _Forms:
    """Goes through an adjoint's statements; those of a gradient become those of its factors."""

    def __init__(self, backward: Elementwise) -> None:
        self._backward = backward
        self._statements: list[Statement] = []
        self._forms: dict[str, Form] = {"emitted_grad": {_EMITTED: ONE}, "cell_grad": {_CARRIED: ONE}}
        self._total = backward.outputs.get("total_cell_grad", (None,))[0]
        self._total_form: Form = {_CARRIED: ONE}
        self._count = 0
        self._is_total("cell_grad")
        for statement in backward.statements:
            self._follow(statement)
            self._is_total(statement.target)

    def _is_total(self, variable: str) -> None:
        """Let the cell's total gradient stand for itself from here on."""
        if variable == self._total:
            self._total_form = self._forms.get(variable, {})
            self._forms[variable] = {_CELL: ONE}

    def _follow(self, statement: Statement) -> None:
        forms = [self._forms.get(variable) for variable in statement.reads]
        if all(form is None for form in forms):
            self._statements.append(statement)
            return
        operation = _LINEAR.get(statement.operation)
        if operation is None:
            raise NotElementwiseError(f"{statement.operation} of a gradient")
        self._forms[statement.target] = operation(self, statement, forms)

    def new(self, operation: str, *reads: str, scale: float = 1.0) -> str:
        """State a value and return its variable."""
        self._count += 1
        target = f"f{self._count}"
        self._statements.append(Statement(target, "", reads, operation, scale))
        return target

    def added(self, one: Form, other: Form) -> Form:
        """Return the sum of two values."""
        found = dict(one)
        for gradient, factor in other.items():
            found[gradient] = self.new("add", found[gradient], factor) if gradient in found else factor
        return found

    def times(self, form: Form, variable: str) -> Form:
        """Return a value times something that is no gradient."""
        return {gradient: self.product(factor, variable) for gradient, factor in form.items()}

    def product(self, factor: str, variable: str) -> str:
        """Return the product of two factors."""
        if ONE in (factor, variable) or ZERO in (factor, variable):
            return variable if factor == ONE or variable == ZERO else factor
        return self.new("mul", factor, variable)

    def factors(self) -> LinearAdjoint:
        """Return what was found, with unread statements left out."""
        outputs = self._backward.outputs
        total = dict(self._total_form)
        if total.pop(_CARRIED, ONE) != ONE or _CELL in total:
            raise NotElementwiseError("a cell whose total gradient is not what reached it plus what it showed")
        shown = total.get(_EMITTED)

        def all_of(name: str) -> tuple[Factor, ...]:
            return tuple(self._factor(self._forms.get(variable, {}), shown) for variable in outputs.get(name, ()))

        recurrent, projected = all_of("recurrent_grad"), all_of("projected_grad")
        previous = [next(iter(all_of(f"previous_{state}_grad")), None) for state in ("cell", "hidden")]
        factors = [*recurrent, *projected, *(factor for factor in previous if factor)]
        wanted = {variable for factor in factors for variable in (factor.emitted, factor.cell) if variable}
        statements = self._needed(wanted | ({shown} if shown else set()))
        return LinearAdjoint(statements, recurrent, projected, shown, previous[0], previous[1])

    def _factor(self, form: Form, shown: str | None) -> Factor:
        """Return a value's factors; what was carried to the cell is its total gradient less what it showed."""
        carried = form.get(_CARRIED)
        if carried is None:
            return _made_of(form)
        found = self.added({g: f for g, f in form.items() if g != _CARRIED}, {_CELL: carried})
        if shown is not None:
            less = self.new("neg", self.product(shown, carried))
            found = self.added(found, {_EMITTED: less})
        return _made_of(found)

    def _needed(self, wanted: set[str]) -> tuple[Statement, ...]:
        kept = []
        for statement in reversed(self._statements):
            if statement.target in wanted:
                kept.append(statement)
                wanted.update(statement.reads)
        return tuple(reversed(kept))


def _made_of(form: Form) -> Factor:
    parts = {gradient: factor for gradient, factor in form.items() if factor != ZERO}
    return Factor(parts.get(_EMITTED), parts.get(_CELL))


def _add(forms: _Forms, statement: Statement, found: list[Form | None]) -> Form:
    one, other = found
    sign = statement.scale if statement.operation == "add" else -statement.scale
    for variable, form in zip(statement.reads, found, strict=True):
        if form is None and variable != ZERO:
            raise NotElementwiseError("something is added to a gradient")
    if other and sign != 1.0:
        other = {g: forms.new("mul", factor, f"({sign!r})") for g, factor in other.items()}
    return forms.added(one or {}, other or {})


def _mul(forms: _Forms, statement: Statement, found: list[Form | None]) -> Form:
    (one, other), (a, b) = found, statement.reads
    if one is not None and other is not None:
        raise NotElementwiseError("a product of gradients")
    return forms.times(one, b) if one is not None else forms.times(other or {}, a)


def _first_alone(forms: _Forms, statement: Statement, found: list[Form | None]) -> Form:
    """An operation that is linear in its first argument."""
    first, *others = found
    if first is None or any(others):
        raise NotElementwiseError(f"{statement.operation} by a gradient")
    factors = {g: ONES if factor == ONE else factor for g, factor in first.items()}
    return {g: forms.new(statement.operation, factor, *statement.reads[1:]) for g, factor in factors.items()}


def _through(slope: Callable[[_Forms, str], str]) -> Callable[[_Forms, Statement, list[Form | None]], Form]:
    """A gradient through a nonlinearity; the factor of a gradient that nothing has scaled yet is the slope itself."""

    def followed(forms: _Forms, statement: Statement, found: list[Form | None]) -> Form:
        if found[0] is not None and ONE in found[0].values():
            return forms.times(found[0], slope(forms, statement.reads[1]))
        return _first_alone(forms, statement, found)

    return followed


def _sigmoid_slope(forms: _Forms, a: str) -> str:
    return forms.new("mul", a, forms.new("rsub", a, ONE))


def _tanh_slope(forms: _Forms, a: str) -> str:
    return forms.new("rsub", forms.new("mul", a, a), ONE)


def _same(_: _Forms, __: Statement, found: list[Form | None]) -> Form:
    return found[0] or {}


def _addcmul(forms: _Forms, statement: Statement, found: list[Form | None]) -> Form:
    a, b, c = statement.reads
    if any(found[1:]):
        product = _mul(forms, Statement("", "", (b, c), "mul"), found[1:])
        return _add(forms, Statement("", "", (a, b), "add"), [found[0], product])
    raise NotElementwiseError("something is added to a gradient")


_LINEAR: dict[str, Callable[[_Forms, Statement, list[Form | None]], Form]] = {
    "add": _add,
    "sub": _add,
    "mul": _mul,
    "neg": _first_alone,
    "div": _first_alone,
    "sigmoid_backward": _through(_sigmoid_slope),
    "tanh_backward": _through(_tanh_slope),
    "addcmul": _addcmul,
    "threshold_backward": _first_alone,
    "_to_copy": _same,
}
