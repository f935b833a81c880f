"""The errors which in trio are trio's own: caught by either name, the same in all they carry."""

from __future__ import annotations

import pickle
import re

import pytest
import trio

from namedipc import _errors
from namedipc._errors import IPCError
from namedipc._shells import trio_errors
from namedipc._shells.trio_errors import translate, translating

VARIANTS: list[tuple[type[IPCError], type[IPCError], type[Exception]]] = [
    (_errors.ConnectionLost, trio_errors.ConnectionLost, trio.BrokenResourceError),
    (_errors.EndOfChannel, trio_errors.EndOfChannel, trio.EndOfChannel),
    (_errors.Closed, trio_errors.Closed, trio.ClosedResourceError),
    (_errors.Busy, trio_errors.Busy, trio.BusyResourceError),
    (_errors.WouldBlock, trio_errors.WouldBlock, trio.WouldBlock),
]
EACH = pytest.mark.parametrize(("plain", "variant", "trios"), VARIANTS, ids=[plain.__name__ for plain, *_ in VARIANTS])
OTHERS = [
    cls
    for cls in vars(_errors).values()
    if isinstance(cls, type) and issubclass(cls, IPCError) and cls not in [plain for plain, *_ in VARIANTS]
]


@EACH
def test_each_is_caught_by_either_name(plain: type[IPCError], variant: type[IPCError], trios: type[Exception]) -> None:
    """As the library's, as trio's, and as an IPCError."""
    assert variant.__bases__ == (plain, trios)
    for caught in (plain, trios, IPCError):
        with pytest.raises(caught, match="why"):
            raise variant("why")


@EACH
def test_each_is_named_as_the_plain_one(plain: type[IPCError], variant: type[IPCError], trios: type[Exception]) -> None:
    """A traceback shows the same word, and pyright and readers the same sentence."""
    assert variant.__name__ == plain.__name__
    assert variant.__doc__ is not None


@EACH
def test_each_pickles(plain: type[IPCError], variant: type[IPCError], trios: type[Exception]) -> None:
    """With its text and what it carries."""
    error = variant("why")
    error.__dict__["calls"] = ("Kitchen.cook",)
    error.add_note("look there")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is variant
        assert (str(again), again.__dict__) == ("why", error.__dict__)


def test_these_are_what_the_errors_module_says() -> None:
    """Its docstring lists which are trio's as well."""
    (sentence,) = re.findall(r"In trio, (.*?) are raised as", _errors.__doc__ or "", re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) == {plain.__name__ for plain, *_ in VARIANTS}


@EACH
def test_translating_keeps_everything(plain: type[IPCError], variant: type[IPCError], trios: type[Exception]) -> None:
    """A new exception with the text, the attributes, the notes and the cause of the old one."""
    error = plain("why")
    error.__dict__["calls"] = ("Kitchen.cook",)
    error.add_note("look there")
    error.__cause__ = OSError("the kernel's")
    fresh = translate(error)
    assert type(fresh) is variant
    assert fresh is not error
    assert str(fresh) == "why"
    assert fresh.__dict__ == error.__dict__
    assert fresh.__cause__ is error.__cause__
    assert fresh.__traceback__ is None


@pytest.mark.parametrize("plain", OTHERS, ids=[cls.__name__ for cls in OTHERS])
def test_the_others_stay_what_they_are(plain: type[IPCError]) -> None:
    """They have no counterpart in trio; translated, they are a new exception of the same class."""
    error = plain("why")
    fresh = translate(error)
    assert type(fresh) is plain
    assert fresh is not error


def test_a_variant_is_translated_to_itself() -> None:
    """Whoever asks gets a fresh one, of the same class."""
    error = trio_errors.Closed("why")
    fresh = translate(error)
    assert type(fresh) is trio_errors.Closed
    assert fresh is not error


def test_notes_added_later_are_ones_own() -> None:
    """Two tasks which get the same failure may each add a note."""
    error = _errors.ConnectionLost("why")
    error.add_note("from the start")
    one, other = translate(error), translate(error)
    one.add_note("mine")
    assert other.__notes__ == error.__notes__ == ["from the start"]


@EACH
def test_the_body_may_raise_plain_ones(plain: type[IPCError], variant: type[IPCError], trios: type[Exception]) -> None:
    """`with translating()` makes them trio's; the plain one is not shown as a second error, its cause is."""
    cause = OSError("the kernel's")
    with pytest.raises(trios, match="why") as caught, translating():
        raise plain("why") from cause
    assert type(caught.value) is variant
    assert caught.value.__cause__ is cause
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "error", [_errors.TooLarge("big"), trio_errors.Closed("here"), ValueError("no"), KeyboardInterrupt()]
)
def test_whatever_else_the_body_raises_passes(error: BaseException) -> None:
    """As it is: the very same object."""
    with pytest.raises(type(error)) as caught, translating():
        raise error
    assert caught.value is error


def test_a_body_that_raises_nothing_raises_nothing() -> None:
    """And nothing is swallowed."""
    with translating():
        pass


async def test_cancellation_passes() -> None:
    """A scope ends the body as it would without `translating`."""
    with trio.CancelScope() as scope:
        scope.cancel()
        with translating():
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
