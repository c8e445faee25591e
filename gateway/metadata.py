"""
What metadata operations do to a document (Trigger.dev realtime protocol, section 5.2).

`apply_operations` is the meaning in full. Most operations concern one literal top-level key as a whole; `native` hands
those to the script in Redis, which applies them to the newest document whatever it is by then. The others take a value
apart; `computed` works them out here, from a version of the document that the writer then names.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

from gateway.changes import UNSAFE_KEY, Operation, Operator
from gateway.codec import decode_json, encode_json
from gateway.errors import BadChange

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.store.writing import Triple

PATH: Final = "$."
_UNSAFE_SEGMENTS: Final = frozenset({"__proto__", "constructor", "prototype", ""})
#: A path may lengthen an array. More elements than this can't be within the limit of a document, whatever they are.
MAX_ARRAY_INDEX: Final = 131_072

#: Larger whole numbers have no place in our JSON.
_MOST: Final = 2**63

_NATIVE: Final = frozenset({Operator.SET, Operator.DELETE, Operator.APPEND, Operator.INCREMENT, Operator.UPDATE})
_OVERWRITING: Final = frozenset({Operator.SET, Operator.DELETE})


def checked(operation: Operation) -> Operation:
    """
    Return *operation* with a value of its own, which later changes to the caller's lists and dicts don't reach.

    Raises:
        BadChange: When the value has no JSON form, is no number where one is needed, or no object.
    """
    key, value = operation.key, operation.value
    if not isinstance(key, str) or not _is_text(key):
        raise BadChange(f"a metadata key is text, not {key!r}")
    match operation.operator:
        case Operator.DELETE:
            return operation
        case Operator.INCREMENT:
            if not is_number(value) or (isinstance(value, float) and not math.isfinite(value)):
                raise BadChange(f"metadata {key[:80]!r} can be incremented by a finite number, not {value!r}")
        case Operator.UPDATE if not isinstance(value, dict):
            raise BadChange(f"metadata is an object, not {type(value).__name__}")
    if value is None or isinstance(value, bool):
        return operation
    text = encode_json(value, what=f"metadata {key[:80]!r}")
    if isinstance(value, (str, int)):
        return operation
    return Operation(operation.operator, key, decode_json(text))


def is_number(value: Any) -> bool:
    """Whether JSON would call it a number; Python's booleans are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def progress_value(current: float, total: float | None, text: str | None) -> dict[str, Any]:
    """The metadata that shows progress; percent has two decimals and stays between 0 and 100."""
    if not is_number(current) or not -_MOST < current < _MOST:  # which NaN isn't
        raise BadChange(f"progress is a finite number, not {current!r}")
    value: dict[str, Any] = {"current": current}
    if total is not None:
        if not is_number(total) or not 0 <= total < _MOST:
            raise BadChange(f"the total of a progress is a number and not below 0, not {total!r}")
        value["total"] = total
        value["percent"] = round(min(max(100 * current / total, 0), 100), 2) if total else 100
    if text is not None:
        if not isinstance(text, str):
            raise BadChange(f"the text of a progress is text, not {text!r}")
        value["text"] = text if text.isascii() else text.encode(errors="replace").decode()
    return value


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


class Merging:
    """
    Operations in order, kept short: what a later one overwrites is left out, and increments are summed (section 5.3).

    Applying `operations` gives what applying all that were added, one after the other, would have given.
    """

    __slots__ = ("_last", "operations")

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self.operations: list[Operation] = []
        # Where the last operation on a literal key stands. Those on different keys don't disturb each other; a path
        # or an update may reach any of them, so nothing is moved across one.
        self._last: dict[str, int] = {}
        for operation in operations:
            self.add(operation)

    def add(self, operation: Operation) -> bool:
        """Put it in, and return whether another one made room for it."""
        operator, key = operation.operator, operation.key
        if operator is Operator.UPDATE:
            merges = bool(self.operations)
            self.operations = [operation]
            self._last.clear()
            return merges
        if key.startswith(PATH):
            self._last.clear()
            self.operations.append(operation)
            return False
        place = self._last.get(key)
        if place is not None:
            before = self.operations[place]
            if operator in _OVERWRITING:
                self.operations[place] = operation
                return True
            if operator is Operator.INCREMENT and before.operator is Operator.INCREMENT:
                total = _sum(before.value, operation.value)
                if total is not None:
                    self.operations[place] = Operation(operator, key, total)
                    return True
        self._last[key] = len(self.operations)
        self.operations.append(operation)
        return False


def merged(operations: Iterable[Operation]) -> tuple[Operation, ...]:
    """The same in fewer operations: the last set or delete of a key wins, increments are summed."""
    return tuple(Merging(operations).operations)


def native(operations: Sequence[Operation]) -> list[Triple] | None:
    """What the script is to do, or None when one of the operations takes a value apart."""
    triples: list[Triple] = []
    for operation in operations:
        if operation.operator is Operator.UPDATE:
            triples.append(("clear", "", b""))
            triples.extend(_set(key, value) for key, value in operation.value.items() if key != UNSAFE_KEY)
        elif operation.key == UNSAFE_KEY:
            continue
        elif operation.operator is Operator.DELETE:
            triples.append(("delete", operation.key, b""))
        elif operation.operator not in _NATIVE or operation.key.startswith(PATH):
            return None
        else:
            triples.append((operation.operator.value, operation.key, _encode(operation.key, operation.value)))
    return _joined(triples)


def _joined(triples: Sequence[Triple]) -> list[Triple]:
    """
    The same with fewer appends: those to one key with nothing else of that key in between are one, of several values by
    commas. Each would otherwise copy the whole array.
    """
    joined: list[tuple[str, str, list[bytes]]] = []
    last: dict[str, int] = {}
    for kind, key, text in triples:
        place = last.get(key)
        if kind == "append" and place is not None and joined[place][0] == kind:
            joined[place][2].append(text)
            continue
        if kind == "clear":
            last.clear()
        last[key] = len(joined)
        joined.append((kind, key, [text]))
    return [(kind, key, b",".join(texts)) for kind, key, texts in joined]


def computed(before: Mapping[str, Any], operations: Sequence[Operation], *, most: float = math.inf) -> list[Triple]:
    """
    What turns the document *before* into the one after *operations*: one set or delete per changed key.

    Raises:
        BadChange: As `apply_operations`.
    """
    after = apply_operations(before, operations, most=most)
    gone: list[Triple] = [("delete", key, b"") for key in before if key not in after]
    changed = (key for key in after if key not in before or not equal(before[key], after[key]))
    return gone + [_set(key, after[key]) for key in changed]


def _set(key: str, value: Any) -> Triple:
    return ("set", key, _encode(key, value))


def _encode(key: str, value: Any) -> bytes:
    return encode_json(value, what=f"metadata {key[:80]!r}")


#: Bytes that are written, entries that are compared, and entries that are copied, for an effort of one.
_WRITTEN, _COMPARED, _COPIED = 64, 8, 1000


class _Effort:
    """
    What may still be spent on operations: a few bytes with wildcards may otherwise mean minutes, and gigabytes.

    One is what it takes to change one place, some microseconds.
    """

    __slots__ = ("_left", "_value")

    def __init__(self, most: float) -> None:
        self._left = most
        #: What the value of an operation takes wherever it is put.
        self._value = 0.0

    def begin(self, operation: Operation) -> None:
        if self._left < math.inf and isinstance(operation.value, (str, list, dict)):
            self._value = len(_encode(operation.key, operation.value)) / _WRITTEN
        else:
            self._value = 0.0

    def change(self, before: Any, operation: Operation) -> None:
        """*before* is to be changed by the operation."""
        if not isinstance(before, list):
            self.spend(1 + self._value)
        elif operation.operator is Operator.REMOVE:
            self.spend(1 + len(before) * (1 / _COMPARED + self._value))
        else:
            self.spend(1 + len(before) / _COPIED + self._value)

    def spend(self, effort: float) -> None:
        """
        Raises:
            BadChange: When there is not so much left.
        """
        self._left -= effort
        if self._left < 0:
            raise BadChange("these metadata operations reach too many places at once; send them in several parts")


def apply_operations(
    document: Mapping[str, Any], operations: Iterable[Operation], *, most: float = math.inf
) -> dict[str, Any]:
    """
    The document after *operations*, in order; *document* stays as it is.

    An operation that does not fit what it finds (a path whose parent is missing, say) does nothing. So does one on an
    unsafe key.

    Args:
        most: Places that may be changed, about, for somebody who is not trusted to ask for few.

    Raises:
        BadChange: When it would be more.
    """
    effort = _Effort(most)
    after = deepcopy(dict(document))
    for operation in operations:
        effort.begin(operation)
        if operation.operator is Operator.UPDATE:
            after = {key: deepcopy(value) for key, value in operation.value.items() if key != UNSAFE_KEY}
        elif operation.operator is Operator.DELETE:
            after.pop(operation.key, None)  # a literal key only: no path is ever one
        elif operation.key.startswith(PATH):
            _apply_to_path(after, operation, effort)
        elif operation.key != UNSAFE_KEY:
            _apply_to_child(after, operation.key, operation, effort, is_path=False)
    return after


def _apply_to_path(document: dict[str, Any], operation: Operation, effort: _Effort) -> None:
    *parents, last = operation.key[len(PATH) :].split(".")
    if not _UNSAFE_SEGMENTS.isdisjoint((*parents, last)):
        return
    containers: list[Any] = [document]
    for segment in parents:
        containers = [child for container in containers for child in _children(container, segment)]
        effort.spend(len(containers) / _COMPARED)
    for container in containers:
        for key in list(_keys(container)) if last == "*" else [last]:
            _apply_to_child(container, key, operation, effort, is_path=True)


_MISSING: Final = object()


def _apply_to_child(container: Any, key: str | int, operation: Operation, effort: _Effort, *, is_path: bool) -> None:
    place = _place(container, key)
    if place is None:
        return
    before = _get(container, place)
    effort.change(before, operation)
    after = _changed(before, operation, is_path=is_path)
    if after is _MISSING:
        return
    if isinstance(container, list):
        longer = max(0, int(place) + 1 - len(container))
        effort.spend(longer / _WRITTEN)
        container.extend([None] * longer)
    container[place] = after


def _changed(before: Any, operation: Operation, *, is_path: bool) -> Any:
    """The value after the operation, or `_MISSING` when it does nothing."""
    value = deepcopy(operation.value)
    match operation.operator:
        case Operator.SET:
            return value
        case Operator.APPEND:
            return _appended(before, value, is_path=is_path)
        case Operator.REMOVE if isinstance(before, list):
            kept = [item for item in before if not equal(item, value)]
            return _MISSING if len(kept) == len(before) else kept
        case Operator.INCREMENT:
            total = _sum(before if is_number(before) else 0, value)
            return _MISSING if total is None else total
    return _MISSING


def _appended(before: Any, value: Any, *, is_path: bool) -> Any:
    if before is _MISSING:
        return [value]
    if isinstance(before, list):
        return [*before, value]
    return _MISSING if before is None and is_path else [before, value]


def _sum(first: float, second: float) -> int | float | None:
    """
    Two numbers added as JavaScript and Lua add them, in double precision. None when there is no such number in JSON.

    A whole number comes as an int, as far as doubles tell whole numbers apart.
    """
    try:
        total = float(first) + float(second)
    except OverflowError:
        return None
    if not math.isfinite(total):
        return None
    return int(total) if total.is_integer() and abs(total) < 2**53 else total


def _keys(container: Any) -> Iterable[str | int]:
    if isinstance(container, dict):
        return container.keys()
    return range(len(container)) if isinstance(container, list) else ()


def _place(container: Any, key: str | int) -> str | int | None:
    """Where a segment points to in a container, or None when it can't point anywhere in it."""
    if isinstance(container, dict):
        return str(key)
    if not isinstance(container, list) or not str(key).isdecimal() or not str(key).isascii():
        return None
    index = int(str(key)[:10])
    return index if index <= MAX_ARRAY_INDEX else None


def _get(container: Any, place: str | int) -> Any:
    if isinstance(container, dict):
        return container.get(place, _MISSING)
    return container[place] if int(place) < len(container) else _MISSING


def _children(container: Any, segment: str) -> list[Any]:
    """What a segment in the middle of a path leads to; nothing is created on the way."""
    if segment == "*":
        return [container[key] for key in _keys(container)]
    place = _place(container, segment)
    child = _MISSING if place is None else _get(container, place)
    return [] if child is _MISSING else [child]


def equal(first: Any, second: Any) -> bool:
    """Whether two values are the same JSON: 1 is 1.0 but not true, and the order of keys means nothing."""
    if is_number(first) and is_number(second):
        return bool(first == second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(equal, first, second))
    return type(first) is type(second) and bool(first == second)
