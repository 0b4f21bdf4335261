"""Explores every interleaving of threads over a read-write lock, with the lock's own source and no copy of it.

The source of ``RWLock`` is rewritten so that a thread becomes a generator: it hands control back where it waits for the
mutex of the condition and where it waits for a notification, and nowhere else, for whatever stands between runs under that
mutex alone. So the states of some threads that come and go for ever are finite, and all of them are looked at::

    outside ─▶ enter ─▶ (waiting ⇄ woken) ─▶ inside ─▶ leave ─▶ outside

Looked for are two threads inside that exclude each other; a state in which threads wait and nobody can wake them (a lost
wake-up); and a thread that can be kept waiting for ever although everybody who can act does act now and then (starvation).
A waiting thread may also be interrupted, as Ctrl-C does.
"""

from __future__ import annotations

import ast
import inspect
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vdb_core import locks

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

__all__ = ["Exploration", "Flaw", "explore", "source_of_the_lock"]

Step = tuple[int, str]
"""Which thread acts, and how: it goes ``on``, or is ``interrupted``; ``wake n`` chooses who a single notify wakes."""


class Flaw(AssertionError):
    """A state that must not be reached, with the steps that lead there."""


class Interrupted(BaseException):
    """What a waiting thread is interrupted with."""


def source_of_the_lock() -> str:
    """The source of the module under test."""
    return inspect.getsource(locks)


class _Rewrite(ast.NodeTransformer):
    """``with condition: body`` hands control back and runs the body; ``condition.wait()`` hands it back as well."""

    def visit_With(self, node: ast.With) -> Any:
        self.generic_visit(node)
        if "condition" not in ast.unparse(node.items[0].context_expr):
            return node
        # The mutex is free whenever a thread hands control back, so that nothing is left of taking it.
        return [ast.Expr(ast.Yield(ast.Constant("mutex"))), *node.body]

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "wait":
            return ast.Yield(ast.Constant("wait"))
        return node


class _Condition:
    """Notes who was notified; who waits is what the threads say."""

    def __init__(self) -> None:
        self.everybody = False
        self.one = False

    def notify_all(self) -> None:
        self.everybody = True

    def notify(self) -> None:
        self.one = True


def _lock_class(source: str) -> type:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = ("acquire_read", "release_read", "acquire_write", "release_write")
            node.decorator_list = []
            guarded = [
                ast.unparse(statement)
                for one in node.body
                if isinstance(one, ast.FunctionDef) and one.name in methods
                for statement in one.body
            ]
            assert all(
                text.startswith(('"', "'", "condition = ", "with condition", "with self._condition"))
                for text in guarded
            ), f"something of the lock is touched outside its condition: {guarded}"
    tree = ast.fix_missing_locations(_Rewrite().visit(tree))
    names: dict[str, Any] = {}
    exec(compile(tree, "<locks>", "exec"), names)
    return names["RWLock"]


class _World:
    """One run: the lock, its threads, and the choices that were made."""

    def __init__(self, lock_class: type, kinds: Sequence[str]) -> None:
        self.kinds = kinds
        self.lock = lock_class()
        self.condition = self.lock._condition = _Condition()
        self.threads = [self._thread(kind) for kind in kinds]
        self.places = [next(thread) for thread in self.threads]
        self.choosing = False

    def _thread(self, kind: str) -> Generator[str, None, None]:
        """Come and go for ever: where it is, is what it yields."""
        lock, writes = self.lock, kind == "writer"
        while True:
            yield "outside"
            try:
                if writes:
                    yield from _renamed(lock.acquire_write(), "enter")
                else:
                    entered = yield from _renamed(lock.acquire_read(blocking=kind == "reader"), "enter")
                    if not entered:
                        continue
            except Interrupted:
                continue
            yield "inside"
            yield from _renamed(lock.release_write() if writes else lock.release_read(), "leave")

    def key(self) -> tuple[object, ...]:
        """Everything the future depends on: the lock's fields, where each thread is, and what it remembers.

        Objects that only stand for a thread (a writer's token) are told apart by whose they are.
        """
        memories = [self._memory(thread) for thread in self.threads]
        owners = {
            id(value): at
            for at, memory in enumerate(memories)
            for value in memory.values()
            if type(value) is object
        }

        def plain(value: object) -> object:
            if isinstance(value, deque):
                return tuple(map(plain, value))
            return ("of", owners[id(value)]) if type(value) is object else value

        fields = [
            plain(getattr(self.lock, name))
            for name in self.lock.__slots__
            if not name.startswith("_condition")
        ]
        remembered = [
            tuple(
                (name, plain(value))
                for name, value in sorted(memory.items())
                if name not in {"self", "condition"}
            )
            for memory in memories
        ]
        return (*fields, *remembered, *self.places, self.choosing)

    @staticmethod
    def _memory(thread: Any) -> dict[str, object]:
        """The local variables of the lock's method that a thread is in."""
        while thread.gi_yieldfrom is not None:
            thread = thread.gi_yieldfrom
        steps = thread.gi_frame.f_locals.get("steps")
        return {} if steps is None else dict(steps.gi_frame.f_locals)

    def steps(self, *, interrupts: bool) -> Iterator[Step]:
        """What can happen next."""
        if self.choosing:
            waiting = [at for at, place in enumerate(self.places) if place == "waiting"]
            yield from ((at, "wake") for at in waiting)
            return
        for at, place in enumerate(self.places):
            if place != "waiting":
                yield (at, "on")
            if interrupts and place in {"waiting", "woken"}:
                yield (at, "interrupted")

    def take(self, step: Step) -> None:
        """Let a thread go on until it hands control back."""
        at, how = step
        if how == "wake":
            self.places[at], self.choosing = "woken", False
            return
        thread = self.threads[at]
        place = thread.throw(Interrupted()) if how == "interrupted" else next(thread)
        self.places[at] = "waiting" if place == "wait" else place
        if self.condition.everybody:
            # Whoever waits was waiting before: this thread was running.
            self.places = [
                "woken" if one == "waiting" and other != at else one for other, one in enumerate(self.places)
            ]
        elif self.condition.one:
            self.choosing = any(one == "waiting" and other != at for other, one in enumerate(self.places))
        self.condition.everybody = self.condition.one = False

    def inside(self) -> list[str]:
        """The kinds of those who hold the lock: until their release has run."""
        return [
            kind for kind, place in zip(self.kinds, self.places, strict=True) if place in {"inside", "leave"}
        ]


def _renamed(steps: Generator[str, None, Any], name: str) -> Generator[str, None, Any]:
    """Tell what the mutex is waited for for."""
    try:
        place = next(steps)
        while True:
            try:
                yield name if place == "mutex" else place
            except Interrupted as error:
                place = steps.throw(error)
            else:
                place = next(steps)
    except StopIteration as end:
        return end.value


@dataclass(slots=True)
class Exploration:
    """Every state that can be reached, and what leads from one to another."""

    kinds: Sequence[str]
    places: list[tuple[str, ...]] = field(default_factory=list)
    edges: list[list[tuple[Step, int]]] = field(default_factory=list)
    paths: list[tuple[Step, ...]] = field(default_factory=list)

    def told(self, state: int) -> str:
        """How a state is reached."""
        steps = ", ".join(f"{self.kinds[at]} {at} {how}" for at, how in self.paths[state])
        return f"{dict(enumerate(zip(self.kinds, self.places[state], strict=True)))} after: {steps}"


def explore(kinds: Sequence[str], *, source: str | None = None, interrupts: bool = False) -> Exploration:
    """Look at every state of threads of these kinds (``reader``, ``writer``, ``trier``); raises ``Flaw``.

    Args:
        kinds: the threads.
        source: of the lock, for one that is broken on purpose.
        interrupts: whether waiting threads may be interrupted; starvation is not looked for then.
    """
    lock_class = _lock_class(source_of_the_lock() if source is None else source)
    found = Exploration(kinds)
    known: dict[tuple[object, ...], int] = {}

    def note(world: _World, path: tuple[Step, ...]) -> int:
        key = world.key()
        if key not in known:
            known[key] = len(found.paths)
            found.places.append(tuple(world.places))
            found.paths.append(path)
            found.edges.append([])
            queue.append(known[key])
            _check(found, known[key], world)
        return known[key]

    queue: deque[int] = deque()
    note(_World(lock_class, kinds), ())
    while queue:
        state = queue.popleft()
        for step in list(_replay(lock_class, kinds, found.paths[state]).steps(interrupts=interrupts)):
            world = _replay(lock_class, kinds, found.paths[state])
            world.take(step)
            found.edges[state].append((step, note(world, (*found.paths[state], step))))
    if not interrupts:
        for thread, kind in enumerate(kinds):
            if kind != "trier":
                _check_starvation(found, thread)
    return found


def _replay(lock_class: type, kinds: Sequence[str], path: Sequence[Step]) -> _World:
    """Generators cannot be copied, so a state is reached again by the same steps."""
    world = _World(lock_class, kinds)
    for step in path:
        world.take(step)
    return world


def _check(found: Exploration, state: int, world: _World) -> None:
    inside = world.inside()
    if inside.count("writer") > 1 or ("writer" in inside and len(inside) > 1):
        raise Flaw(f"{inside} are inside at once: {found.told(state)}")
    places = world.places
    if (
        "waiting" in places
        and all(place in {"waiting", "outside"} for place in places)
        and not world.choosing
    ):
        # Somebody new may come and wake them, but nobody has to.
        raise Flaw(f"a wake-up was lost: {found.told(state)}")


def _check_starvation(found: Exploration, thread: int) -> None:
    """Look for a cycle in which a thread asks for the lock all the time and never gets it, and everybody is treated fairly.

    Fair: whoever can act in every state of the cycle acts in it. To come again is nobody's duty.
    """
    asking = [places[thread] in {"enter", "waiting", "woken"} for places in found.places]
    for component in _components(found, asking):
        inner = [
            (state, step)
            for state in component
            for step, to in found.edges[state]
            if to in component and asking[to]
        ]
        if not inner:
            continue
        acting = {step[0] for _, step in inner}
        idle = set(range(len(found.kinds))) - acting
        if all(
            any(found.places[state][one] in {"waiting", "outside"} for state in component) for one in idle
        ):
            state = min(component)
            raise Flaw(f"{found.kinds[thread]} {thread} can wait for ever: {found.told(state)}")


def _components(found: Exploration, allowed: Sequence[bool]) -> Iterator[set[int]]:
    """Strongly connected components of the states that are allowed (Tarjan 1972, without recursion)."""
    number: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    held: set[int] = set()
    for root in range(len(found.edges)):
        if not allowed[root] or root in number:
            continue
        work = [(root, iter(found.edges[root]))]
        number[root] = low[root] = len(number)
        stack.append(root)
        held.add(root)
        while work:
            state, rest = work[-1]
            following = next((to for _, to in rest if allowed[to] and (to not in number or to in held)), None)
            if following is not None and following not in number:
                number[following] = low[following] = len(number)
                stack.append(following)
                held.add(following)
                work.append((following, iter(found.edges[following])))
                continue
            if following is not None:
                low[state] = min(low[state], number[following])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[state])
            if low[state] == number[state]:
                component: set[int] = set()
                while state not in component:
                    one = stack.pop()
                    held.discard(one)
                    component.add(one)
                yield component
