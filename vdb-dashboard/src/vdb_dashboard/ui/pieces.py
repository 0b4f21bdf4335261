"""Small pieces in one look: page heads, empty states, errors where they happened, questions before deleting."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Self, TypeVar

import pandas as pd
import streamlit as st

from vdb_dashboard.logic.inputs import InputFault
from vdb_dashboard.logic.problems import Problem, problem_of
from vdb_dashboard.logic.words import plain
from vdb_dashboard.ui import session
from vdb_sdk import VdbSdkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

__all__ = [
    "Attempt",
    "changed_since",
    "confirm",
    "empty",
    "fault_table",
    "head",
    "show_problem",
    "style",
    "tried",
]

T = TypeVar("T")

_STYLE = """
<style>
.block-container {padding: 3rem 3rem 4rem; max-width: 1440px;}
.block-container h1 {font-size: 1.75rem; padding: 0;}
.block-container h3 {font-size: 1.2rem;}
[data-testid="stMetric"] {padding: .7rem 1rem;}
[data-testid="stMetricValue"] {font-size: 1.3rem; line-height: 1.35;}
[data-testid="stMetricLabel"] p {font-size: .82rem; color: #5b6779;}
.vdb-empty {border: 1px dashed #c9d1de; border-radius: 10px; padding: 2.4rem 1.5rem; text-align: center; background: #fafbfd;}
.vdb-empty b {display: block; font-size: 1.1rem; margin-bottom: .35rem;}
.vdb-empty span {color: #5b6779; overflow-wrap: anywhere;}
.vdb-lanes {display: grid; grid-template-columns: repeat(var(--lanes), minmax(0, 1fr)); gap: .5rem .9rem; font-size: .88rem;}
.vdb-lanes header {padding-bottom: .4rem; border-bottom: 2px solid #2f5fd0;}
.vdb-lanes header b {display: block; font-size: 1.02rem; overflow-wrap: anywhere;}
.vdb-lanes header span {color: #5b6779; font-size: .8rem;}
.vdb-hit {border: 1px solid #dfe4ec; border-radius: 8px; padding: .45rem .65rem; overflow-wrap: anywhere;}
.vdb-hit.marked {border-color: #e07b39; background: #fef8f3;}
.vdb-hit .line {display: flex; gap: .5rem; align-items: baseline;}
.vdb-hit .rank {color: #5b6779; min-width: 1.1rem;}
.vdb-hit .id {font-weight: 600; flex: 1;}
.vdb-hit .score {font-variant-numeric: tabular-nums; color: #2f5fd0;}
.vdb-hit .bar {height: 3px; background: #e8ecf3; border-radius: 2px; margin: .25rem 0;}
.vdb-hit .bar i {display: block; height: 3px; background: #2f5fd0; border-radius: 2px;}
.vdb-hit p {margin: .15rem 0 0; line-height: 1.4;}
.vdb-hit .meta {color: #5b6779; font-size: .8rem;}
</style>
"""


def style() -> None:
    """The few rules that Streamlit's theme has no option for."""
    st.html(_STYLE)


def head(title: str, text: str = "") -> None:
    """The head of a page. The text is ours, not a user's."""
    st.title(title, anchor=False)
    if text:
        st.caption(text)


def empty(title: str, text: str) -> None:
    """What stands where there is nothing: what is missing, and what to do."""
    st.html(f'<div class="vdb-empty"><b>{escape(title)}</b><span>{escape(text)}</span></div>')


def show_problem(problem: Problem) -> None:
    """An error where it happened: code and text, every fault, never a traceback."""
    lines = [f"**{plain(problem.title)}**  \n{plain(problem.text)}"]
    if problem.hint:
        lines.append(plain(problem.hint))
    if problem.request_id:
        lines.append(f"Request {plain(problem.request_id)} in the server's log.")
    st.error("\n\n".join(lines), icon=":material/error:")
    if problem.faults:
        fault_table(problem.faults, ("where", "what"))


def fault_table(rows: Iterable[tuple[object, ...]], columns: tuple[str, ...]) -> None:
    """Faults, a row each."""
    frame = pd.DataFrame([tuple(map(str, row)) for row in rows], columns=list(columns))
    settings = {columns[-1]: st.column_config.TextColumn(width="large")}
    st.dataframe(frame, hide_index=True, column_config=settings, height=min(38 + 35 * len(frame), 320))


class Attempt:
    """Does something that may fail, and shows the failure where the block stands.

    ``with Attempt() as attempt: ...`` and then ``attempt.succeeded``. Only what the SDK says and what was typed wrong is
    taken in; a mistake in the dashboard's own code stays one.
    """

    def __init__(self) -> None:
        self.succeeded: bool = False
        self.error: VdbSdkError | InputFault | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            self.succeeded = True
            return True
        if isinstance(error, VdbSdkError):
            self.error = error
            show_problem(problem_of(error))
            return True
        if isinstance(error, InputFault):
            self.error = error
            show_problem(Problem(title="Not sent", text=str(error)))
            return True
        return False


def changed_since(key: str, seen: int | None, now: int | None) -> None:
    """Say that somebody else has changed what is being changed here, and offer to read it again."""
    if seen == now:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning("Somebody has changed this since it was read.", icon=":material/sync_problem:")
        if st.button("Read it again", key=f"{key}-again"):
            session.let_go(key)
            st.rerun()


def tried(function: Callable[[], T]) -> T | None:
    """What a function returns, or ``None`` where it failed, which is shown."""
    with Attempt():
        return function()
    return None


def confirm(title: str, text: str, verb: str, action: Callable[[], None]) -> None:
    """Ask before something is deleted, in the dialog that is open; ``action`` runs on yes, its error is shown there."""

    @st.dialog(title, icon=":material/delete:", on_dismiss=session.close_dialog)
    def ask() -> None:
        st.write(plain(text))
        with st.container(horizontal=True, horizontal_alignment="right"):
            kept = st.button("Keep", key="confirm-no")
            agreed = st.button(verb, type="primary", key="confirm-yes", icon=":material/delete:")
        if kept:
            session.close_dialog()
            st.rerun()
        if agreed:
            with Attempt() as attempt:
                action()
            if attempt.succeeded:
                session.close_dialog()
                st.rerun()

    ask()
