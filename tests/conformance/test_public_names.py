"""Every public name that install() rebinds, compared with asyncio's by a program: what is left of differences is LISTED here, each with its reason.

A difference that is not in the list fails, and so does an entry of the list for which there is no difference any more.
"""
import asyncio
import copy
import functools
import gc
import inspect
import pickle
import re
import types
import weakref
from unittest import mock

import pytest

from kits import SUBJECT, subject

pytestmark = pytest.mark.skipif(SUBJECT == "asyncio", reason="compares asyncloop with asyncio")

LISTED = {
    r"\w+: the class is of another class: Twin": "isinstance of a twin accepts asyncio's own objects, which takes a metaclass",
    r"\w+: other bases.*": "the mixins of asyncio's are part of the class in C",
    r"\w+: (lacks|has) __(module|weakref|dictoffset|weaklistoffset|vectorcalloffset|slotnames|static_attributes|firstlineno|abstractmethods|annotations|annotations_cache|annotate"
    r"|annotate_func|setstate|text_signature|orig_bases|parameters|type_params)__": "names of how a class is made, in C or in Python",
    r"\w+: (lacks|has) _abc_impl": "the metaclass is an abstract base class's",
    r"(StreamReader|\w*Queue|Condition|TaskGroup|Timeout|Barrier|\w*Semaphore|Event|Lock|StreamWriter|StreamReaderProtocol): has _\w+": "an attribute of the object, by a descriptor of the class",
    r"Condition: has (acquire|release|locked)": "asyncio sets them on each object; here they are read from its lock",
    r"Barrier: lacks _(block|wait|exit|release)": "steps of wait(), which is one function in C",
    r"\w+\.\w+ is (\w+), not function": "a special method of a class in C is a slot",
    r"Task: has (_context|_num_cancels_requested)": "asyncio's newer versions have them on each Task, without a name in its class",
    r"(Future|Task): has __dict__": "the objects take attributes, as programs set some on tasks",
    r"Timeout: lacks (__final__|_insert_timeout_error)": "a mark for type checkers; a step of __aexit__, which is one function in C",
}
# Those that only some Python versions have.
OF_SOME_VERSIONS = {
    r"(Future|Task): has send": "a Future is its own await-iterator",
    r"TaskGroup: lacks _aexit": "a step of __aexit__, which is one function in C",
    r"(current_task|all_tasks): __module__: .*": "a builtin function here as there, of another module",
    r"Timeout: signature: .*": "the parameter's annotation",
}


def signature(f):
    try:
        return str(inspect.signature(f))
    except (ValueError, TypeError) as exc:
        return type(exc).__name__


def attempt(call, *args):
    try:
        return call(*args)
    except Exception as exc:
        return type(exc).__name__


def faces(obj):
    """What inspect and its like say of a function or class, by name."""
    yield "isfunction", inspect.isfunction(obj)
    yield "isclass", inspect.isclass(obj)
    yield "isbuiltin", inspect.isbuiltin(obj)
    yield "isroutine", inspect.isroutine(obj)
    yield "iscoroutinefunction", inspect.iscoroutinefunction(obj)
    yield "signature", signature(obj)
    yield "autospec", type(attempt(mock.create_autospec, obj)).__name__
    yield "__name__", obj.__name__
    yield "__qualname__", obj.__qualname__
    yield "__module__", "asyncio" if obj.__module__ == "_asyncio" else obj.__module__
    yield "weak reference", attempt(lambda: weakref.ref(obj)() is obj)
    yield "hash", attempt(lambda: isinstance(hash(obj), int))
    yield "copy", attempt(lambda: copy.copy(obj) is obj)
    yield "deepcopy", attempt(lambda: copy.deepcopy(obj) is obj)
    yield "partial", inspect.iscoroutinefunction(functools.partial(obj, 1))
    yield "wraps", attempt(lambda: functools.wraps(obj)(lambda: 1).__name__)
    yield "attribute set", attempt(setattr, obj, "set_by_a_test", 1)
    yield "attribute got", attempt(lambda: obj.set_by_a_test)
    yield "attribute deleted", attempt(delattr, obj, "set_by_a_test")
    for name in ("__defaults__", "__kwdefaults__", "__closure__"):
        yield name, attempt(getattr, obj, name, None)
    yield "code", getattr(getattr(obj, "__code__", None), "co_name", None)
    yield "has code flags", getattr(getattr(obj, "__code__", None), "co_flags", None)
    yield "repr", re.sub("0x[0-9a-f]+", "0x", repr(obj)).replace("_asyncio.", "asyncio.")


def kind(cls, name):
    """What stands in the class, a function or something else."""
    found = inspect.getattr_static(cls, name)
    return "function" if isinstance(found, types.FunctionType) else type(found).__name__


def class_differences(name, native, twin):
    if type(twin) is not type(native):
        yield f"{name}: the class is of another class: {type(twin).__name__}"
    ours, theirs = [c.__name__ for c in twin.__mro__], [c.__name__ for c in native.__mro__]
    if ours != theirs:
        yield f"{name}: other bases: {ours}, {theirs}"
    for missing in sorted(set(dir(native)) - set(dir(twin))):
        yield f"{name}: lacks {missing}"
    for more in sorted(set(dir(twin)) - set(dir(native))):
        yield f"{name}: has {more}"
    for shared in sorted(set(dir(native)) & set(dir(twin))):
        one, other = kind(native, shared), kind(twin, shared)
        if one == "function" and other != "function":
            yield f"{name}.{shared} is {other}, not function"
        elif one == "function" and shared in vars(native):
            theirs, ours = dict(faces(getattr(native, shared))), dict(faces(getattr(twin, shared)))
            yield from (f"{name}.{shared}: {what}: {ours[what]}, not {theirs[what]}" for what in theirs if ours[what] != theirs[what])
    for cls in (native, twin):
        made = type(cls)("Child", (cls,), {})
        assert made.__mro__[1] is cls
        del made
    gc.collect()


def differences():
    subject.install()
    try:
        for module, name, native, twin in subject._install._rebound:
            if module is not asyncio or name.startswith("_") or "Loop" in name:
                continue
            theirs, ours = dict(faces(native)), dict(faces(twin))
            yield from (f"{name}: {what}: {ours[what]}, not {theirs[what]}" for what in theirs if ours[what] != theirs[what])
            if attempt(lambda: pickle.loads(pickle.dumps(twin))) is not twin:
                yield f"{name}: pickle"
            if isinstance(native, type):
                yield from class_differences(name, native, twin)
            else:
                yield from (f"{name}: lacks {missing}" for missing in sorted(set(dir(native)) - set(dir(twin))))
                yield from (f"{name}: has {more}" for more in sorted(set(dir(twin)) - set(dir(native))))
    finally:
        subject.uninstall()


def test_the_list_of_differences_is_complete_and_true():
    found = sorted(set(differences()))
    unlisted = [what for what in found if not any(re.fullmatch(pattern, what, re.S) for pattern in {**LISTED, **OF_SOME_VERSIONS})]
    gone = [pattern for pattern in LISTED if not any(re.fullmatch(pattern, what, re.S) for what in found)]
    assert unlisted == [] and gone == []
