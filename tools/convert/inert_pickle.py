"""Reads pickles as inert values.

A pickle is a program that may call any function of any module. Here its calls are recorded and never made: classes and
functions stay names, and an object is what it would have been made by. Nothing is imported.
"""

from __future__ import annotations

import codecs
import pickletools
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

from database.errors import in_one_line
from tools.convert.inert_values import Items, Made, Name, Persistent, Pickled, shown
from tools.errors import PickleError, UserError

# A training checkpoint of a large network takes about 50,000 operations; a million are read in a few seconds.
MOST_OPERATIONS = 1_000_000
CheckName = Callable[[str, str], None]


def load_pickle(file: BinaryIO, most_bytes: int, check_name: CheckName | None = None) -> Pickled:
    """Reads one pickle, and leaves the file after it.

    Args:
        file: at the first byte of the pickle.
        most_bytes: limit of its length.
        check_name: called with module and name of each class and function; may raise.

    Returns:
        Dictionaries as `Items`, lists, tuples, text, bytes, numbers, booleans and None as they are, all others as
        `Name`, `Made` and `Persistent`. Values may contain each other, and themselves.

    Raises:
        PickleError: the pickle is damaged, or longer than the limits.
        UserError: raised by `check_name`.
    """
    machine = _Machine(_LimitedFile(file, most_bytes), check_name)
    try:
        return machine.run()
    except UserError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise PickleError(f"the pickle is damaged ({shown(in_one_line(error))})") from error


class _LimitedFile:
    """Reads at most a number of bytes: a length in a damaged pickle would be allocated before it is read."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        self._file = file
        self._most_bytes = most_bytes
        self._left = most_bytes

    def read(self, count: int) -> bytes:
        self._take(count)
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(self._left + 1)
        self._take(len(line))
        return line

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise PickleError(f"the pickle is truncated, damaged, or longer than {self._most_bytes} bytes")


class _Machine:
    """Runs the operations of a pickle on a stack, as `pickletools` describes them."""

    def __init__(self, file: _LimitedFile, check_name: CheckName | None) -> None:
        self._persistent: list[Persistent] = []
        self._file: Any = file
        self._check_name = check_name
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._count = 0

    def run(self) -> Pickled:
        for self._count in range(MOST_OPERATIONS):
            code = self._file.read(1)
            if code == b".":
                return Pickled(self._stack.pop(), self._persistent, self._count)
            if code not in _OPERATIONS:
                raise PickleError(f"the pickle is damaged or truncated (operation {code!r})")
            read, operate = _OPERATIONS[code]
            operate(self, None if read is None else read(self._file))
        raise PickleError(f"the pickle has more than {MOST_OPERATIONS} operations")

    def skip(self, argument: Any) -> None:
        """Ignores the version and the length of a part."""

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def mark(self, argument: Any) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def _above_mark(self) -> list[Any]:
        values, self._stack = self._stack, self._marked.pop()
        return values

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise PickleError("the pickle is damaged (it takes more values than it has)")
        values = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return values

    def pop(self, argument: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._above_mark()

    def duplicate(self, argument: Any) -> None:
        self._stack.append(self._stack[-1])

    def get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def put(self, index: int) -> None:
        # Pickles number their values in turn.
        if not 0 <= index <= self._count:
            raise PickleError(f"the pickle is damaged, as its part {self._count} has the number {index}")
        self._memo[index] = self._stack[-1]

    def memoize(self, argument: Any) -> None:
        self.put(len(self._memo))

    def push_list(self, argument: Any) -> None:
        self._stack.append([])

    def list_above_mark(self, argument: Any) -> None:
        self.push(self._above_mark())

    def append(self, argument: Any) -> None:
        self._extend(self._pop(1))

    def appends(self, argument: Any) -> None:
        self._extend(self._above_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Made):  # whose elements are dropped
            raise PickleError("the pickle is damaged (it appends to what is no list)")

    def tuple_of(self, count: int) -> None:
        self.push(tuple(self._pop(count)))

    def tuple_above_mark(self, argument: Any) -> None:
        self.push(tuple(self._above_mark()))

    def push_items(self, argument: Any) -> None:
        self._stack.append(Items())

    def items_above_mark(self, argument: Any) -> None:
        values = self._above_mark()
        self.push(Items())
        self._set(values)

    def set_item(self, argument: Any) -> None:
        self._set(self._pop(2))

    def set_items(self, argument: Any) -> None:
        self._set(self._above_mark())

    def _set(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, Made):
            target.items = Items() if target.items is None else target.items
            target = target.items
        if not isinstance(target, Items) or len(values) % 2:
            raise PickleError("the pickle is damaged (it sets entries of what is no dictionary)")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target.add(key, value)

    def push_set(self, argument: Any) -> None:
        self.push(Made(Name("builtins", "set"), (), None, None))

    def drop_elements(self, argument: Any) -> None:
        self._above_mark()

    def frozenset_above_mark(self, argument: Any) -> None:
        self._above_mark()
        self.push(Made(Name("builtins", "frozenset"), (), None, None))

    def push_name(self, name: Name) -> None:
        if self._check_name is not None:
            self._check_name(name.module, name.name)
        self.push(name)

    def name_of_stack(self, argument: Any) -> None:
        module, name = self._pop(2)
        if type(module) is not str or type(name) is not str:
            raise PickleError("the pickle is damaged (a name is not text)")
        self.push_name(Name(module, name))

    def reduce(self, argument: Any) -> None:
        self._make(*self._pop(2))

    def new_object_with_keywords(self, argument: Any) -> None:
        self._make(*self._pop(3)[:2])

    def instance(self, name: Name) -> None:
        arguments = self._above_mark()
        self.push_name(name)
        self._make(self._stack.pop(), tuple(arguments))

    def object_above_mark(self, argument: Any) -> None:
        made_by, *arguments = self._above_mark()
        self._make(made_by, tuple(arguments))

    def _make(self, made_by: Any, arguments: Any) -> None:
        if not isinstance(arguments, tuple):
            raise PickleError("the pickle is damaged (arguments of a call are not a tuple)")
        if not isinstance(made_by, Name) or made_by not in _DICTIONARIES:
            self.push(Made(made_by, arguments, None, None))
            return
        self.push(Items())
        # Python 2 gives an OrderedDict its entries as an argument.
        if arguments and isinstance(arguments[0], list):
            self._set([part for pair in arguments[0] for part in _pair(pair)])

    def build(self, argument: Any) -> None:
        (state,) = self._pop(1)
        target = self._stack[-1]
        if isinstance(target, Made):
            target.state = state
        elif not isinstance(target, Items):  # such as the _metadata of a state_dict
            raise PickleError("gives a function a state" if isinstance(target, Name) else "gives a value a state")

    def refer(self, identifier: Any) -> None:
        self._persistent.append(Persistent(identifier))
        self.push(self._persistent[-1])

    def refer_of_stack(self, argument: Any) -> None:
        self.refer(self._stack.pop())


_DICTIONARIES = frozenset({Name("collections", "OrderedDict"), Name("collections", "defaultdict")})


def _pair(value: Any) -> Iterable[Any]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise PickleError("the pickle is damaged (an entry of a dictionary is no pair)")
    return value


def _read_text(file: Any) -> str:
    """Reads a string of Python 2, which may hold any bytes."""
    return codecs.escape_decode(pickletools.read_stringnl(file, decode=False))[0].decode("latin-1")


def _read_name(file: Any) -> Name:
    lines = [file.readline() for _ in range(2)]
    if not all(line.endswith(b"\n") for line in lines):
        raise PickleError("the pickle is truncated")
    return Name(*(line[:-1].decode("utf-8") for line in lines))


_Operate = Callable[[_Machine, Any], None]


def _push_constant(value: Any) -> _Operate:
    return lambda machine, argument: machine.push(value)


def _push_tuple(count: int) -> _Operate:
    return lambda machine, argument: machine.tuple_of(count)


_OWN_READERS = {"STRING": _read_text, "GLOBAL": _read_name, "INST": _read_name}
# By pickletools' names. Missing are buffers outside of the file and the registry of extensions, which files do not use.
_OPERATES: dict[str, _Operate] = {
    **dict.fromkeys(("PROTO", "FRAME"), _Machine.skip),
    **dict.fromkeys(
        (
            "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
            "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE",
            "BINUNICODE", "BINUNICODE8",
        ),
        _Machine.push,
    ),
    "NONE": _push_constant(None), "NEWTRUE": _push_constant(True), "NEWFALSE": _push_constant(False),
    "MARK": _Machine.mark, "POP": _Machine.pop, "POP_MARK": _Machine.drop_elements, "DUP": _Machine.duplicate,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put), "MEMOIZE": _Machine.memoize,
    "EMPTY_LIST": _Machine.push_list, "LIST": _Machine.list_above_mark,
    "APPEND": _Machine.append, "APPENDS": _Machine.appends,
    "EMPTY_TUPLE": _push_constant(()), "TUPLE": _Machine.tuple_above_mark,
    "TUPLE1": _push_tuple(1), "TUPLE2": _push_tuple(2), "TUPLE3": _push_tuple(3),
    "EMPTY_DICT": _Machine.push_items, "DICT": _Machine.items_above_mark,
    "SETITEM": _Machine.set_item, "SETITEMS": _Machine.set_items,
    "EMPTY_SET": _Machine.push_set, "ADDITEMS": _Machine.drop_elements, "FROZENSET": _Machine.frozenset_above_mark,
    "GLOBAL": _Machine.push_name, "STACK_GLOBAL": _Machine.name_of_stack,
    "REDUCE": _Machine.reduce, "NEWOBJ": _Machine.reduce, "NEWOBJ_EX": _Machine.new_object_with_keywords,
    "INST": _Machine.instance, "OBJ": _Machine.object_above_mark, "BUILD": _Machine.build,
    "PERSID": _Machine.refer, "BINPERSID": _Machine.refer_of_stack,
}  # fmt: skip
# How to read the argument and what to do, by the byte of the operation.
_OPERATIONS = {
    opcode.code.encode("latin-1"): (
        _OWN_READERS.get(opcode.name, opcode.arg.reader if opcode.arg else None),
        _OPERATES[opcode.name],
    )
    for opcode in pickletools.opcodes
    if opcode.name in _OPERATES
}
