"""The classes that take asyncio's names: isinstance and issubclass of them hold for asyncio's own objects and classes, and users can derive from them."""
import abc
import asyncio
import copy
import functools
import gc
import inspect
import pickle
import sys
import typing
import weakref
from unittest import mock

import pytest

from kits import subject
from sidebyside import child

T = typing.TypeVar("T")


def twins():
    """Our class and asyncio's of the same name, for each class we have."""
    return {name: (ours, native) for name in subject.__all__
            if isinstance(ours := getattr(subject, name), subject._asyncloop.Twin) and isinstance(native := getattr(asyncio, name), type)}


NAMES = sorted(twins())


@pytest.fixture(params=NAMES)
def pair(request):
    return twins()[request.param]


def test_future_and_task_are_twins():
    assert {"Future", "Task"} <= set(NAMES)


def bare(cls):
    """An object of the class, perhaps without its __init__."""
    obj = cls.__new__(cls)
    if hasattr(cls, "wait_closed"):
        obj._transport = mock.Mock()  # __del__ asks whether it is closing
    return obj


def test_instances_both_ways(pair):
    ours, native = pair
    for obj in (bare(ours), bare(native)):
        assert isinstance(obj, ours)
        assert isinstance(obj, (int, ours))
        assert isinstance(obj, ours | None)
    assert isinstance(bare(ours), native)
    for stranger in (1, "x", None, object(), ours, native, type):
        assert not isinstance(stranger, ours)


def test_subclasses(pair):
    ours, native = pair
    native_child = type("NativeChild", (native,), {})
    our_child = type(ours)("OurChild", (ours,), {})
    for cls in (ours, native, native_child, our_child):
        assert issubclass(cls, ours)
        assert isinstance(bare(cls), ours)
    for cls in (int, object, type, type(ours)):
        assert not issubclass(cls, ours)
    with pytest.raises(TypeError, match="arg 1 must be a class"):
        issubclass(5, ours)


def test_a_users_subclass_is_an_ordinary_class(pair):
    ours, native = pair

    class Child(ours):
        pass

    class Grandchild(Child):
        pass

    assert type(Child) is type(ours)
    assert isinstance(bare(Child), Child)
    assert isinstance(bare(Grandchild), Child)
    assert issubclass(Grandchild, Child) and not issubclass(Child, Grandchild)
    for stranger in (bare(native), bare(ours), 1):
        assert not isinstance(stranger, Child)
    for cls in (native, ours, int):
        assert not issubclass(cls, Child)
    assert issubclass(Child, ours)
    with pytest.raises(TypeError, match="arg 1 must be a class"):
        issubclass(5, Child)


def test_a_class_registered_with_a_users_subclass(pair):
    class Child(pair[0]):
        pass

    class Stranger:
        pass

    assert not isinstance(Stranger(), Child)
    Child.register(Stranger)
    assert isinstance(Stranger(), Child) and issubclass(Stranger, Child)


def test_task_is_a_future_across():
    assert issubclass(subject.Task, subject.Future)
    assert issubclass(asyncio.Task, subject.Future)
    assert not issubclass(asyncio.Future, subject.Task)
    assert not issubclass(subject.Future, subject.Task)
    assert not isinstance(bare(asyncio.Future), subject.Task)
    assert not isinstance(bare(subject.Future), subject.Task)
    assert isinstance(bare(subject.Task), subject.Future)


def test_combined_with_an_abstract_base_class(pair):
    class Shape(abc.ABC):
        @abc.abstractmethod
        def area(self):
            pass

    class Both(pair[0], Shape):
        def area(self):
            return 1

    assert bare(Both).area() == 1
    assert isinstance(bare(Both), Shape) and issubclass(Both, Shape)
    assert not isinstance(object(), Shape)
    assert Shape.__subclasses__() == [Both]


def test_combined_with_generic(pair):
    class Of(pair[0], typing.Generic[T]):
        pass

    assert isinstance(bare(Of), Of)
    assert typing.get_origin(Of[int]) is Of
    assert Of.__parameters__ == (T,)


def test_combined_with_a_protocol(pair):
    @typing.runtime_checkable
    class Sized(typing.Protocol):
        def size(self) -> int: ...

    class Both(pair[0], Sized):
        def size(self):
            return 3

    assert isinstance(bare(Both), Sized) and isinstance(bare(Both), Both)
    assert not isinstance(object(), Both)
    assert not isinstance(object(), Sized)


def test_a_metaclass_of_the_users(pair):
    class Meta(type(pair[0])):
        def __new__(mcls, name, bases, namespace, **kwargs):
            cls = super().__new__(mcls, name, bases, namespace, **kwargs)
            cls.made_by = mcls
            return cls

    class Child(pair[0], metaclass=Meta):
        pass

    assert Child.made_by is Meta and isinstance(bare(Child), Child) and not isinstance(bare(pair[1]), Child)


def test_what_asks_for_the_type(pair):
    ours, native = pair
    assert inspect.isclass(ours) and isinstance(ours, type)
    assert ours.__name__ == native.__name__ and ours.__module__ == "asyncloop"
    assert pickle.loads(pickle.dumps(ours)) is ours
    assert copy.copy(ours) is ours and copy.deepcopy(ours) is ours
    assert type(bare(ours)) is ours
    assert not inspect.isabstract(ours)
    assert typing.get_args(typing.Optional[ours]) == (ours, type(None))
    assert hash(ours) == hash(ours) and ours == ours and ours != native
    assert not hasattr(ours, "_is_protocol")


def test_single_dispatch(pair):
    ours, native = pair

    @functools.singledispatch
    def kind(x):
        return "other"

    @kind.register(ours)
    def of_ours(x):
        return "ours"

    assert [kind(bare(cls)) for cls in (ours, native, type("C", (native,), {}), type(ours)("D", (ours,), {}))] == ["ours"] * 4
    assert kind(1) == "other"


def test_pattern_matching(pair):
    ours, native = pair
    found = []
    for obj in (bare(ours), bare(native), 1):
        match obj:
            case ours():
                found.append(True)
            case _:
                found.append(False)
    assert found == [True, True, False]


def test_what_only_says_so(pair):
    """A mock says by __class__ what it stands for."""
    ours, native = pair
    for cls in (ours, native):
        assert isinstance(mock.Mock(spec=cls), ours)

    class Failing:
        @property
        def __class__(self):
            raise ZeroDivisionError

    class Odd:
        __class__ = 5

    with pytest.raises(ZeroDivisionError):
        isinstance(Failing(), ours)
    assert not isinstance(Odd(), ours)


@pytest.mark.parametrize("name", ["Future", "Task"])
def test_a_class_in_c_is_as_closed_as_asyncios(name):
    for cls in twins()[name]:
        with pytest.raises(TypeError, match="immutable"):
            cls.something = 1


def test_checks_called_by_hand(pair):
    for method in "__instancecheck__", "__subclasscheck__":
        with pytest.raises(TypeError):
            getattr(type(pair[0]), method)(5, 5)
    assert type(pair[0]).__instancecheck__(pair[0], bare(pair[1])) is True
    assert type(pair[0]).__subclasscheck__(pair[0], pair[1]) is True


def test_in_a_subinterpreter_and_at_its_end():
    code = """
import sys
names = ("_interpreters", "_xxsubinterpreters")
for name in names:
    try:
        interpreters = __import__(name)
        break
    except ImportError:
        pass
inside = '''
import asyncio, asyncloop
class Q(asyncloop.Task): pass
class Kept(asyncloop.Future):
    def __del__(self):
        isinstance(self, asyncloop.Future), isinstance(1, asyncloop.Future), issubclass(int, Kept)
assert isinstance(asyncio.Future.__new__(asyncio.Future), asyncloop.Future)
assert not isinstance(asyncio.Future.__new__(asyncio.Future), Q)
kept = Kept.__new__(Kept)
kept.me = kept
'''
for _ in range(3):
    interp = interpreters.create()
    failed = interpreters.run_string(interp, inside) if hasattr(interpreters, "run_string") else interpreters.exec(interp, inside)
    assert failed is None, failed
    interpreters.destroy(interp)
print("ended well")
"""
    done = child(code)
    assert "ended well" in done.stdout, done.stderr
    assert done.returncode == 0, done.stderr


def test_classes_come_and_go(pair):
    Passing = type(pair[0])("Passing", (pair[0],), {})
    ref = weakref.ref(Passing)
    assert isinstance(bare(Passing), pair[0]) and not isinstance(1, Passing)
    del Passing
    gc.collect()
    assert ref() is None


if sys.version_info >= (3, 12):
    def test_generic_syntax():
        namespace = {"base": subject.Future}
        exec("class Of[T](base):\n    pass\n", namespace)
        assert typing.get_origin(namespace["Of"][int]) is namespace["Of"]
