"""The index of a library: what it is, and another one, built while the old one serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import streamlit as st

from vdb_dashboard.logic.parameters import fields_of
from vdb_dashboard.logic.words import duration, plain, size
from vdb_dashboard.ui import session
from vdb_dashboard.ui.params_form import params_form
from vdb_dashboard.ui.pieces import Attempt, head, tried
from vdb_sdk import NotFoundError

if TYPE_CHECKING:
    from vdb_sdk import IndexStatus, IndexTypeInfo, JobStatus, Library, LibraryHandle

__all__ = ["draw"]

_EVERY_S = 0.5
_COSTS = (("build", "build"), ("query", "query"), ("space", "memory"))


def draw(libraries: list[Library]) -> None:
    """Draw the page."""
    head("Index", "One index answers at a time. Another is built in the background while it serves.")
    library, info = session.library_or_stop(libraries)
    status = tried(library.index_status)
    types = tried(session.client().index_types)
    if status is None or types is None:
        return
    _status(status)
    _last_build(library)
    if status.job_id is not None:
        st.session_state[f"job-{library.id}"] = status.job_id
        _watch(status.job_id)
    _choose(library, info, status, types, busy=status.job_id is not None)


def _status(status: IndexStatus) -> None:
    one, two, three, four, five = st.columns([1.3, 1, 1, 1, 1])
    one.metric("Active index", status.type, border=True)
    two.metric("Rows under it", f"{status.rows:,}", border=True)
    three.metric(
        "Written since", f"{status.delta_rows:,}", border=True, help="Searched exactly beside the index."
    )
    four.metric(
        "Dead rows", f"{status.dead_rows:,}", border=True, help="Deleted or replaced; gone with a build."
    )
    five.metric("Memory", size(status.bytes), border=True)
    if status.params:
        st.caption("Built with " + ", ".join(f"{plain(k)} = {plain(v)}" for k, v in status.params.items()))
    for warning in status.warnings:
        st.warning(plain(warning), icon=":material/warning:")


@st.fragment(run_every=_EVERY_S)
def _watch(job_id: str) -> None:
    """How far the build is, asked for again and again; at its end the page is drawn anew."""
    job = tried(lambda: session.client().job(job_id))
    if job is None:
        return
    status = job.status
    if status.finished:
        st.rerun()
    left = f", about {duration(status.eta_s)} left" if status.eta_s is not None else ""
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.progress(
            status.progress, text=f"{plain(status.phase or status.state)} · {status.progress:.0%}{left}"
        )
        if st.button("Cancel", key="build-cancel", icon=":material/cancel:"):
            with Attempt() as cancelled:
                job.cancel()
            if cancelled.succeeded:
                session.say("The build is being cancelled")


def _last_build(library: LibraryHandle) -> None:
    """How the build that was begun here ended."""
    job_id = cast("str | None", st.session_state.get(f"job-{library.id}"))
    if job_id is None:
        return
    with Attempt():
        try:
            status = session.client().job(job_id).status
        except NotFoundError:
            return
        _show_end(status)


def _show_end(status: JobStatus) -> None:
    if status.state == "succeeded":
        st.success("The last build is done, on disk, and answers.", icon=":material/check_circle:")
    elif status.state == "cancelled":
        st.info("The last build was cancelled; the index before it goes on.", icon=":material/cancel:")
    elif status.state == "failed":
        st.error(
            f"**build_failed**  \n{plain(status.error or 'no reason was given')}", icon=":material/error:"
        )


def _choose(
    library: LibraryHandle, info: Library, status: IndexStatus, types: list[IndexTypeInfo], *, busy: bool
) -> None:
    st.subheader("Build another", anchor=False)
    usable = [each for each in types if info.metric in each.metrics]
    names = [each.name for each in usable]
    index = names.index(status.type) if status.type in names else 0
    name = st.segmented_control(
        "Index type",
        names,
        default=names[index] if names else None,
        required=True,
        key=f"index-type-{library.id}",
    )
    kind = next((each for each in usable if each.name == name), None)
    if kind is None:
        st.caption(f"No index type that is installed serves the metric {info.metric}.")
        return
    exact = "exact" if kind.capabilities.get("exact") else "approximate"
    st.markdown(f"{plain(kind.summary)} :gray-badge[{exact}]")
    start = status.params if kind.name == status.type else None
    params: dict[str, object] = {}
    with st.container(border=True), Attempt() as formed:
        params = params_form(fields_of(kind.params), f"build-{library.id}-{kind.name}", start=start)
    if kind.complexity:
        told = kind.complexity
        st.caption("  \n".join(f"{word}: {plain(told[name])}" for name, word in _COSTS if told.get(name)))
    go = st.button(
        f"Build {plain(kind.name)}",
        type="primary",
        key="build-go",
        icon=":material/build:",
        disabled=busy or not formed.succeeded,
    )
    if go:
        job = tried(lambda: library.build_index(kind.name, params, wait=False))
        if job is not None:
            st.session_state[f"job-{library.id}"] = job.id
            st.rerun()


if __name__ == "__main__":
    draw(session.libraries())
