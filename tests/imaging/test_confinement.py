"""What a sandbox child cannot do: reach the network, outgrow what it was allowed, leave anything running behind it."""

from __future__ import annotations

import asyncio
import io
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.core import open_core
from pipeline.errors import ImageCrashed, ImageFramesTooMany, ImageMemoryExceeded, ImageTimeout, ImageTooLarge
from pipeline.imaging import confine
from pipeline.imaging.header import facts_of
from pipeline.imaging.sandbox import Sandbox, allow
from pipeline.settings import Settings
from pipeline.sniff import media_type

from . import acts
from .test_sandbox import MEMORY, PHOTO, lives, until

MIB = 2**20
PROGRAM = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
PLACES = (acts.opened, acts.opened_in_a_thread, acts.opened_by_a_program)


@pytest.fixture
async def own() -> AsyncIterator[Sandbox]:
    """One warm child of the test's own."""
    made = Sandbox(1, MEMORY, acts.warm)
    await made.start()
    yield made
    await made.close()


# The network


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (socket.AF_INET, socket.SOCK_STREAM),
        (socket.AF_INET, socket.SOCK_DGRAM),
        (socket.AF_INET6, socket.SOCK_STREAM),
        (socket.AF_INET6, socket.SOCK_DGRAM),
        (socket.AF_NETLINK, socket.SOCK_RAW),
        (socket.AF_VSOCK, socket.SOCK_STREAM),
    ],
)
async def test_a_child_has_no_network(
    family: int, kind: int, place: Callable[[int, int], str], sandbox: Sandbox
) -> None:
    assert await sandbox.call(place, int(family), int(kind), timeout=20) == "EPERM"


async def test_a_child_still_talks_within_itself_and_with_its_parent(sandbox: Sandbox) -> None:
    heard: list[dict[str, Any]] = []
    assert await sandbox.call(acts.talked_within, timeout=20) == b"still there"
    assert await sandbox.call(acts.opened, int(socket.AF_UNIX), int(socket.SOCK_STREAM), timeout=20) == ""
    assert await sandbox.call(acts.count_aloud, 3, timeout=20, on_progress=heard.append) == 3
    assert heard == [{"number": number} for number in range(3)]


async def test_a_child_reaches_no_socket_file(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert acts.connected(str(path)) == ""
        assert await sandbox.call(acts.connected, str(path), timeout=20) == "EPERM"


CALLS = {
    "x86_64": {
        "io_uring_setup": (425, 1, 0),
        "pidfd_getfd": (438, 0, 0, 0),
        "ptrace": (101, 0, 0, 0, 0),
        "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
        "socket by its x32 number": (0x4000_0000 | 41, socket.AF_INET, socket.SOCK_STREAM, 0),
    },
    "aarch64": {
        "io_uring_setup": (425, 1, 0),
        "pidfd_getfd": (438, 0, 0, 0),
        "ptrace": (117, 0, 0, 0, 0),
        "process_vm_writev": (271, 1, 0, 0, 0, 0, 0),
    },
}[platform.machine()]
"""Ways around the filter of sockets, with arguments that harm nobody."""


@pytest.mark.parametrize("name", CALLS)
async def test_the_ways_around_are_closed(name: str, sandbox: Sandbox) -> None:
    assert await sandbox.call(acts.called, *map(int, CALLS[name]), timeout=20) == "EPERM"


async def test_a_program_of_another_word_size_ends_before_it_has_a_socket(sandbox: Sandbox) -> None:
    # SIGSEGV or SIGILL where the kernel, or the processor, knows no such programs.
    assert await sandbox.call(acts.opened_as_32_bits, timeout=20) in (-signal.SIGSYS, -signal.SIGSEGV, -signal.SIGILL)


def test_threads_that_run_already_are_cut_off_too() -> None:
    program = """
from concurrent.futures import ThreadPoolExecutor
from pipeline.imaging.confine import refuse_network
from tests.imaging.acts import opened
old = ThreadPoolExecutor(1)
print([old.submit(opened, 2, 1).result(), refuse_network(), old.submit(opened, 2, 1).result()])
"""
    ran = subprocess.run([sys.executable, "-c", program], env=PROGRAM, capture_output=True, text=True, timeout=60)
    assert ran.stdout.strip() == "['', None, 'EPERM']"


def test_it_can_be_asked_without_being_cut_off() -> None:
    assert confine.network_stays_open() is None
    assert acts.opened(socket.AF_INET, socket.SOCK_STREAM) == ""


WITHOUT_FILTERS = """
import asyncio, dataclasses, platform
from pipeline.imaging import confine
from pipeline.imaging.sandbox import Sandbox
from tests.imaging import acts

async def main():
    made = Sandbox(2, 2**28)
    print(await made.call(acts.add, 1, 2, timeout=20), repr(await made.call(acts.opened, 2, 1, timeout=20)))
    await made.close()

if __name__ == "__main__":
    known = confine.MACHINES[platform.machine()]
    confine.MACHINES[platform.machine()] = dataclasses.replace(known, sockets=(), refused=(known.seccomp,))
    assert confine.refuse_network() is None
    asyncio.run(main())
"""
"""A worker where the kernel refuses seccomp(2), as it does in some containers."""


def test_where_it_cannot_be_refused_that_is_told_once_and_the_rest_goes_on(tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(WITHOUT_FILTERS)
    ran = subprocess.run([sys.executable, str(program)], env=PROGRAM, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    told, answer = ran.stdout.splitlines()
    assert "sandbox children can reach the network" in told and "Operation not permitted" in told
    assert answer == "3 ''"


# What it spawns


@pytest.mark.parametrize("act", [acts.spawn_and_hang, acts.spawn_bound_and_hang])
async def test_a_call_that_is_late_ends_with_what_it_spawned(
    act: Callable[[str], None], own: Sandbox, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    running = asyncio.create_task(own.call(act, str(note), timeout=0.7))
    program = await noted(note)
    assert lives(program)
    with pytest.raises(ImageTimeout):
        await running
    await until(lambda: not lives(program))


async def test_a_call_that_is_cancelled_ends_with_what_it_spawned(own: Sandbox, tmp_path: Path) -> None:
    note = tmp_path / "note"
    running = asyncio.create_task(own.call(acts.spawn_and_hang, str(note), timeout=60))
    program = await noted(note)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not lives(program))


async def test_a_child_that_crashes_leaves_nothing_running(own: Sandbox, tmp_path: Path) -> None:
    note = tmp_path / "note"
    with pytest.raises(ImageCrashed):
        await own.call(acts.spawn_and_crash, str(note), timeout=20)
    program = int(note.read_text())
    await until(lambda: not lives(program))


async def test_a_sandbox_that_closes_leaves_nothing_running(tmp_path: Path) -> None:
    note = tmp_path / "note"
    made = Sandbox(1, MEMORY)
    await made.call(acts.spawn_and_return, str(note), timeout=20)
    program = int(note.read_text())
    assert lives(program)
    await made.close()
    assert not lives(program)


async def test_a_worker_that_is_killed_leaves_nothing_running(tmp_path: Path) -> None:
    note, program = tmp_path / "note", tmp_path / "worker.py"
    program.write_text(
        "import asyncio\n"
        f"from {acts.__name__} import spawn_bound_and_hang\n"
        "from pipeline.imaging.sandbox import Sandbox\n"
        "if __name__ == '__main__':\n"
        f"    asyncio.run(Sandbox(1, 2**28).call(spawn_bound_and_hang, {str(note)!r}, timeout=600))\n"
    )
    worker = subprocess.Popen([sys.executable, str(program)], env=PROGRAM, stderr=subprocess.DEVNULL)
    try:
        spawned = await noted(note, 30)
        assert lives(spawned)
    finally:
        worker.kill()
        worker.wait()
    await until(lambda: not lives(spawned))


async def test_nothing_spawned_leaves_the_group(sandbox: Sandbox) -> None:
    assert await sandbox.call(acts.spawn_apart, timeout=20) == "EPERM"


async def test_a_spawned_program_can_be_spoken_with(sandbox: Sandbox) -> None:
    assert await sandbox.call(acts.ask_a_program, "hello", timeout=20) == "hello"


async def noted(note: Path, seconds: float = 10) -> int:
    """The number of a program that an act has written down."""
    await until(lambda: note.exists() and note.read_text() != "", seconds)
    return int(note.read_text())


# Memory


async def test_a_call_may_be_allowed_less_and_the_next_one_has_it_all(own: Sandbox) -> None:
    assert await own.call(acts.allow_and_eat, 64 * MIB, 60 * MIB, timeout=20) == 60 * MIB
    with pytest.raises(ImageMemoryExceeded) as raised:
        await own.call(acts.allow_and_eat, 64 * MIB, 200 * MIB, timeout=20)
    assert raised.value.facts == {"limit": 64 * MIB}
    assert await own.call(acts.eat, 200 * MIB, timeout=20) == 200 * MIB


async def test_the_next_call_of_the_same_child_has_it_all(own: Sandbox) -> None:
    child = await own.call(acts.pid, timeout=20)
    assert await own.call(acts.allow_and_eat, 0, MIB, timeout=20) == MIB
    assert await own.call(acts.eat, 200 * MIB, timeout=20) == 200 * MIB
    assert await own.call(acts.pid, timeout=20) == child


async def test_a_call_that_fails_leaves_the_next_one_everything(own: Sandbox) -> None:
    with pytest.raises(ImageTooLarge):
        await own.call(acts.allow_and_refuse, MIB, timeout=20)
    assert await own.call(acts.eat, 200 * MIB, timeout=20) == 200 * MIB


async def test_nobody_is_allowed_more_than_the_limit(own: Sandbox) -> None:
    with pytest.raises(ImageMemoryExceeded) as raised:
        await own.call(acts.allow_and_eat, 2**40, 2 * MEMORY, timeout=20)
    assert raised.value.facts == {"limit": MEMORY}


async def test_a_picture_is_drawn_within_what_it_was_allowed(own: Sandbox) -> None:
    assert await own.call(acts.allow_and_thumbnail, 32 * MIB, str(PHOTO), timeout=20) == (300, 200)


def test_outside_a_child_nothing_is_narrowed() -> None:
    allow(0)
    assert acts.eat(200 * MIB) == 200 * MIB


# Renewal


async def test_a_child_that_keeps_too_much_is_renewed_without_losing_a_call() -> None:
    made = Sandbox(1, 2 * MEMORY, recycle_memory=100 * MIB)
    try:
        first = await made.call(acts.keep, 60 * MIB, timeout=20)
        assert [await made.call(acts.keep, 1000, timeout=20) for _ in range(20)] == [first] * 20
        assert await made.call(acts.keep, 60 * MIB, timeout=20) == first
        async with asyncio.timeout(20):
            while (second := await made.call(acts.pid, timeout=20)) == first:
                pass
        await until(lambda: not lives(first))
        assert lives(second)
        assert await made.call(acts.keep, 60 * MIB, timeout=20) == second
    finally:
        await made.close()


async def test_memory_that_a_call_gives_back_renews_nothing() -> None:
    made = Sandbox(1, 2 * MEMORY, recycle_memory=100 * MIB)
    try:
        first = await made.call(acts.pid, timeout=20)
        for _ in range(5):
            await made.call(acts.eat_for_good_measure, 200 * MIB, timeout=20)
        assert [await made.call(acts.pid, timeout=20) for _ in range(50)] == [first] * 50
    finally:
        await made.close()


@pytest.mark.parametrize("renewal", [{"sandbox_calls": 3}, {"sandbox_recycle_memory": 64 * MIB}])
async def test_the_settings_say_when_a_child_is_renewed(
    renewal: dict[str, Any], redis_url: str, tmp_path: Path
) -> None:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path, **renewal)
    async with open_core(settings, sandbox_children=1) as core, asyncio.timeout(20):
        assert core.sandbox is not None
        first = await core.sandbox.call(acts.keep, 80 * MIB, timeout=20)
        while await core.sandbox.call(acts.pid, timeout=20) == first:
            pass


# What it lets in


def animation(frames: int) -> bytes:
    out = io.BytesIO()
    pictures = [Image.new("RGB", (40, 30), (number * 9, 0, 0)) for number in range(frames)]
    pictures[0].save(out, "GIF", save_all=True, append_images=pictures[1:])
    return out.getvalue()


async def test_pixels_count_for_every_frame_and_frames_are_capped(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "moving.gif"
    path.write_bytes(animation(10))
    found = await facts_of(sandbox, str(path), "image/gif", ["gif"], 12_000, 10, 20)
    assert found is not None and (found.width, found.height, found.frames) == (40, 30, 10)
    with pytest.raises(ImageTooLarge) as refusal:
        await facts_of(sandbox, str(path), "image/gif", ["gif"], 11_999, 10, 20)
    assert refusal.value.facts == {"pixels": 12_000, "limit": 11_999}
    with pytest.raises(ImageFramesTooMany):
        await facts_of(sandbox, str(path), "image/gif", ["gif"], 12_000, 9, 20)


async def test_the_bytes_decide_which_format_it_is_and_the_list_whether_it_is_read(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(animation(2))
    mime = media_type(path.read_bytes(), path.name)
    assert mime == "image/gif"
    assert await facts_of(sandbox, str(path), mime, ["png"], 10**6, 10, 20) is None
    found = await facts_of(sandbox, str(path), mime, ["gif"], 10**6, 10, 20)
    assert found is not None and found.format == "gif"


async def test_loaders_that_libvips_does_not_trust_are_blocked(sandbox: Sandbox, tmp_path: Path) -> None:
    said = await sandbox.call(acts.untrusted, str(tmp_path), timeout=20)
    assert said == {name: f"unable to call {name}\n  {name}: operation is blocked\n" for name in acts.UNTRUSTED}
