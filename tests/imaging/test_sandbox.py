from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pipeline.errors import (
    FileTooLarge,
    ImageCrashed,
    ImageMemoryExceeded,
    ImageTimeout,
    ImageTooLarge,
    ImageUnreadable,
    Internal,
    SandboxClosed,
)
from pipeline.imaging.sandbox import ChildTraceback, Sandbox, report

from . import acts

MEMORY = 256 * 2**20
PHOTO = Path(__file__).parents[1] / "photos" / "sunset.jpg"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Two warm children."""
    made = Sandbox(2, MEMORY, acts.warm)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def single() -> AsyncIterator[Sandbox]:
    """One warm child."""
    made = Sandbox(1, MEMORY, acts.warm)
    await made.start()
    yield made
    await made.close()


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.005)


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stopped(pid: int) -> bool:
    """Whether a process is held up."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def works(sandbox: Sandbox) -> bool:
    return await sandbox.call(acts.add, 2, 3, timeout=20) == 5


# What comes back


async def test_a_call_returns_what_the_function_returns(sandbox: Sandbox) -> None:
    assert await sandbox.call(acts.add, 2, 3, timeout=5) == 5
    assert await sandbox.call(acts.pid, timeout=5) != os.getpid()


async def test_an_error_of_ours_arrives_as_itself_with_its_facts_and_cause(sandbox: Sandbox) -> None:
    with pytest.raises(FileTooLarge) as raised:
        await sandbox.call(acts.refuse, 5, timeout=5)
    assert raised.value.facts == {"limit": 5}
    assert raised.value.node == "thumb"
    assert raised.value.message == "The file is larger than the 5 bytes allowed here."
    assert isinstance(raised.value.__cause__, ChildTraceback)
    assert "the disk says no" in str(raised.value.__cause__)


@pytest.mark.parametrize("act", [acts.fail, acts.give_back_what_cannot_be_sent, acts.say_too_much])
async def test_any_other_exception_is_internal_and_costs_no_child(act: Callable[[], Any], single: Sandbox) -> None:
    before = await single.call(acts.pid, timeout=5)
    with pytest.raises(Internal) as raised:
        await single.call(act, timeout=5)
    assert "Traceback" in str(raised.value.__cause__)
    assert await single.call(acts.pid, timeout=5) == before


async def test_what_is_large_passes_in_both_directions(single: Sandbox) -> None:
    assert await single.call(acts.length, acts.blob(20_000_000), timeout=20) == 20_000_000 // 256 * 256
    assert await single.call(acts.blob, 20_000_000, timeout=20) == acts.blob(20_000_000)


async def test_an_answer_beyond_all_measure_is_internal_and_costs_no_child(single: Sandbox) -> None:
    before = await single.call(acts.pid, timeout=5)
    with pytest.raises(Internal) as raised:
        await single.call(acts.blob, 40 * 2**20, timeout=20)
    assert "too long" in str(raised.value.__cause__)
    assert await single.call(acts.pid, timeout=5) == before


# Death


@pytest.mark.parametrize(
    ("act", "arguments", "exit_code"),
    [
        (acts.segfault, (), -signal.SIGSEGV),
        (acts.abort, (), -signal.SIGABRT),
        (acts.killed_by_the_kernel, (), -signal.SIGKILL),
        (acts.leave, (7,), 7),
        (acts.leave, (0,), 0),
        (acts.leave_politely, (3,), 3),
    ],
)
async def test_a_child_that_dies_costs_its_call(
    act: Callable[..., Any], arguments: tuple[Any, ...], exit_code: int, single: Sandbox
) -> None:
    with pytest.raises(ImageCrashed) as raised:
        await single.call(act, *arguments, timeout=20)
    assert raised.value.facts == {"exit_code": exit_code}
    assert await works(single)


async def test_each_crash_costs_exactly_its_own_call(sandbox: Sandbox) -> None:
    deadly = {7, 8, 23, 41}

    async def one(number: int) -> int | str:
        try:
            if number in deadly:
                return await sandbox.call(acts.segfault, timeout=20)  # type: ignore[func-returns-value]
            return await sandbox.call(acts.add, number, 1, timeout=20)
        except ImageCrashed:
            return "crashed"

    ended = await asyncio.gather(*(one(number) for number in range(50)))
    assert ended == ["crashed" if number in deadly else number + 1 for number in range(50)]


async def test_a_child_killed_while_idle_costs_nothing(single: Sandbox) -> None:
    for _ in range(5):
        os.kill(await single.call(acts.pid, timeout=5), signal.SIGKILL)
        assert await works(single)


async def test_a_child_killed_before_it_has_heard_a_call_out_costs_nothing(single: Sandbox) -> None:
    for _ in range(3):
        child = await single.call(acts.pid, timeout=5)
        os.kill(child, signal.SIGSTOP)
        waiting = asyncio.create_task(single.call(acts.length, bytes(10_000_000), timeout=20))
        await until(lambda child=child: stopped(child))  # type: ignore[misc]
        os.kill(child, signal.SIGKILL)
        assert await waiting == 10_000_000


async def test_a_child_that_never_hears_a_call_out_is_late(single: Sandbox) -> None:
    child = await single.call(acts.pid, timeout=5)
    os.kill(child, signal.SIGSTOP)
    with pytest.raises(ImageTimeout):
        await single.call(acts.length, bytes(10_000_000), timeout=0.3)
    await until(lambda: not lives(child))
    assert await works(single)


async def test_a_child_that_speaks_nonsense_has_crashed(single: Sandbox) -> None:
    with pytest.raises(ImageCrashed):
        await single.call(acts.speak_nonsense, timeout=20)
    assert await works(single)


async def test_a_hang_ends_at_its_timeout_and_its_process_with_it(single: Sandbox, tmp_path: Path) -> None:
    for number, act in enumerate((acts.hang, acts.spin, acts.chatter)):
        started = tmp_path / str(number)
        begin = time.monotonic()
        with pytest.raises(ImageTimeout) as raised:
            await single.call(act, str(started), timeout=0.4)
        assert 0.4 <= time.monotonic() - begin < 10
        assert raised.value.facts == {"seconds": 0.4}
        pid = int(started.read_text())
        await until(lambda pid=pid: not lives(pid))  # type: ignore[misc]
        assert await works(single)


async def test_the_timeout_does_not_count_waiting_for_a_child(single: Sandbox) -> None:
    busy = [asyncio.create_task(single.call(acts.hang, timeout=0.5)) for _ in range(3)]
    assert await asyncio.create_task(single.call(acts.add, 1, 1, timeout=0.3)) == 2
    ended = await asyncio.gather(*busy, return_exceptions=True)
    assert [type(end) for end in ended] == [ImageTimeout] * 3


async def test_cancelling_ends_the_child_and_frees_its_place(single: Sandbox, tmp_path: Path) -> None:
    for act in (acts.hang, acts.spin):
        started = tmp_path / act.__name__
        running = asyncio.create_task(single.call(act, str(started), timeout=60))
        await until(lambda started=started: started.exists() and started.read_text() != "")  # type: ignore[misc]
        pid = int(started.read_text())
        begin = time.monotonic()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert time.monotonic() - begin < 5
        await until(lambda pid=pid: not lives(pid), 1)  # type: ignore[misc]
        assert await works(single)


async def test_cancelling_a_waiting_call_ends_no_child(single: Sandbox, tmp_path: Path) -> None:
    started = tmp_path / "started"
    running = asyncio.create_task(single.call(acts.hang, str(started), timeout=1))
    await until(lambda: started.exists())
    waiting = asyncio.create_task(single.call(acts.add, 1, 1, timeout=5))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(ImageTimeout):
        await running
    assert await works(single)


async def test_the_end_of_the_parent_is_the_end_of_its_children(tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = tmp_path / "parent.py"
    program.write_text(
        "import asyncio, sys\n"
        f"from {acts.__name__} import spin\n"
        "from pipeline.imaging.sandbox import Sandbox\n"
        f"if __name__ == '__main__':\n    asyncio.run(Sandbox(1, 2**28).call(spin, {str(started)!r}, timeout=600))\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, str(program)], env=environ, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: started.exists() and started.read_text() != "", 30)
        child = int(started.read_text())
        assert lives(child)
    finally:
        parent.kill()
        parent.wait()
    await until(lambda: not lives(child))


# Limits


async def test_memory_beyond_the_limit_is_refused_and_the_next_call_has_it_all(single: Sandbox) -> None:
    for act in (acts.eat, acts.eat_and_blame_the_image):
        with pytest.raises(ImageMemoryExceeded) as raised:
            await single.call(act, 2 * MEMORY, timeout=20)
        assert raised.value.facts == {"limit": MEMORY}
        assert isinstance(raised.value, ImageTooLarge)
    assert await single.call(acts.eat, MEMORY // 2, timeout=20) == MEMORY // 2


async def test_memory_libvips_cannot_have_is_refused(single: Sandbox) -> None:
    with pytest.raises(ImageMemoryExceeded):
        await single.call(acts.eat_with_libvips, 20_000, timeout=20)
    assert await single.call(acts.thumbnail_with_threads, str(PHOTO), 300, timeout=20) == (300, 200)


async def test_a_child_is_confined(single: Sandbox) -> None:
    found = await single.call(acts.condition, timeout=5)
    assert found["session"] == found["pid"]
    assert found["interrupt"] and found["terminate"]
    assert found["core"] == (0, 0)
    assert found["files"] == (512, 512)
    assert found["concurrency"] == 1
    assert found["cache"] == 0
    assert found["warmed"] == [found["pid"]]


async def test_the_polite_signal_changes_nothing(single: Sandbox) -> None:
    pid = await single.call(acts.pid, timeout=5)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    assert await single.call(acts.pid, timeout=5) == pid


async def test_a_file_cannot_outgrow_its_limit(tmp_path: Path) -> None:
    made = Sandbox(1, MEMORY, file_size=10_000)
    try:
        await made.call(acts.spare_bytes, str(tmp_path / "small"), 10_000, timeout=20)
        with pytest.raises(Internal) as raised:
            await made.call(acts.spare_bytes, str(tmp_path / "large"), 10_001, timeout=20)
        assert "File too large" in str(raised.value.__cause__)
    finally:
        await made.close()


async def test_the_formats_we_promise_work_and_untrusted_loaders_do_not(single: Sandbox, tmp_path: Path) -> None:
    means = await single.call(acts.write_and_read_with_libvips, str(tmp_path), timeout=30)
    assert set(means) == {"jpg", "png", "webp", "gif", "tif", "avif"}
    assert all(abs(mean - 128) < 2 for mean in means.values())
    with pytest.raises(Internal) as raised:
        await single.call(acts.open_svg, timeout=5)
    assert "blocked" in str(raised.value.__cause__)


# Progress


async def test_reports_arrive_in_order_and_before_the_result(sandbox: Sandbox) -> None:
    heard: list[dict[str, Any]] = []
    assert await sandbox.call(acts.count_aloud, 500, timeout=20, on_progress=heard.append) == 500
    assert heard == [{"number": number} for number in range(500)]


async def test_reports_of_calls_side_by_side_do_not_mix(sandbox: Sandbox) -> None:
    async def one(to: int) -> list[int]:
        heard: list[int] = []
        await sandbox.call(acts.count_aloud, to, timeout=20, on_progress=lambda said: heard.append(said["number"]))
        return heard

    assert await asyncio.gather(*(one(to) for to in range(30))) == [list(range(to)) for to in range(30)]


async def test_what_a_dying_child_reported_is_heard(single: Sandbox) -> None:
    heard: list[dict[str, Any]] = []
    with pytest.raises(ImageCrashed):
        await single.call(acts.count_then_die, 5, timeout=20, on_progress=heard.append)
    assert heard == [{"number": number} for number in range(5)]


async def test_a_listener_that_fails_does_not_fail_the_call(single: Sandbox) -> None:
    def listen(_: dict[str, Any]) -> None:
        raise LookupError("not interested")

    assert await single.call(acts.count_aloud, 3, timeout=20, on_progress=listen) == 3


def test_reports_outside_a_child_go_nowhere() -> None:
    report({"number": 1})


# The crew


async def test_calls_run_side_by_side(sandbox: Sandbox, tmp_path: Path) -> None:
    marks = [tmp_path / "one", tmp_path / "two"]
    running = [asyncio.create_task(sandbox.call(acts.hang, str(mark), timeout=30)) for mark in marks]
    await until(lambda: all(mark.exists() for mark in marks))
    for call in running:
        call.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_a_worn_child_is_renewed_without_losing_a_call() -> None:
    made = Sandbox(1, MEMORY, acts.warm, calls_per_child=5)
    try:
        seen = [await made.call(acts.pid, timeout=20) for _ in range(5)]
        assert len(set(seen)) == 1
        async with asyncio.timeout(20):
            while (pid := await made.call(acts.pid, timeout=20)) == seen[0]:
                pass
        await until(lambda: not lives(seen[0]))
        assert lives(pid)
    finally:
        await made.close()


async def test_closing_ends_running_and_waiting_calls(tmp_path: Path) -> None:
    made = Sandbox(1, MEMORY)
    started = tmp_path / "started"
    calls = [asyncio.create_task(made.call(acts.hang, str(started), timeout=60)) for _ in range(3)]
    await until(lambda: started.exists() and started.read_text() != "")
    await made.close()
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ended] == [SandboxClosed] * 3
    assert not lives(int(started.read_text()))
    with pytest.raises(SandboxClosed):
        await made.call(acts.add, 1, 1, timeout=1)


async def test_closing_while_starting_leaves_nothing(tmp_path: Path) -> None:
    made = Sandbox(2, MEMORY)
    call = asyncio.create_task(made.call(acts.add, 1, 1, timeout=5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await made.close()
    with pytest.raises(SandboxClosed):
        await call


async def test_a_sandbox_that_was_never_used_can_be_closed() -> None:
    await Sandbox(2, MEMORY).close()


async def test_a_warm_up_that_fails_is_told_at_the_start() -> None:
    made = Sandbox(2, MEMORY, acts.warm_and_fail)
    with pytest.raises(Internal) as raised:
        await made.start()
    assert "nothing to warm with" in str(raised.value.__cause__)
    await made.close()


async def test_an_unreadable_image_is_itself_not_a_lack_of_memory(single: Sandbox) -> None:
    with pytest.raises(ImageUnreadable):
        await single.call(acts.eat_and_blame_the_image, -1, timeout=5)


def test_it_runs_under_uvloop_too(tmp_path: Path) -> None:
    async def main() -> list[Any]:
        made = Sandbox(2, MEMORY, acts.warm)
        heard: list[dict[str, Any]] = []
        ended = await asyncio.gather(
            made.call(acts.count_aloud, 50, timeout=20, on_progress=heard.append),
            made.call(acts.segfault, timeout=20),
            made.call(acts.hang, timeout=0.3),
            made.call(acts.add, 1, 1, timeout=20),
            return_exceptions=True,
        )
        await made.close()
        return [type(end) for end in ended] + [len(heard)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [int, ImageCrashed, ImageTimeout, int, 50]
