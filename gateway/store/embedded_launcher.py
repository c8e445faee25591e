"""
Becomes the embedded server, once it is certain that the server will end with its owner.

Run as a file of its own between fork and exec. That work can't be done in the owner's `preexec_fn`:
after a fork, a process that had threads may deadlock in the first lock that one of them held.

    embedded_launcher.py MODE OWNER_PID LEASH_FD COMMAND...

LEASH_FD is the read end of a pipe. The owner holds the write end and never writes, so the end of
the file is the end of the owner, however that came.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1  # <sys/prctl.h>

#: The kernel sends the signal. Linux only, and tied to the *thread* that forked, not to its process.
PARENT_DEATH_SIGNAL = "parent-death-signal"
#: A second process waits at the leash. Works everywhere and from any thread; costs that process.
WATCHER = "watcher"


def main(mode: str, owner_pid: str, leash: str, *command: str) -> None:
    """
    Become *command*, which then ends with its owner, however that ends.

    Args:
        mode: One of the two above.
        leash: The number of a file descriptor that the owner holds the other end of.
    """
    if mode == PARENT_DEATH_SIGNAL:
        os.close(int(leash))
        end_with_parent(int(owner_pid))
    else:
        leave_a_watcher(int(leash))
    os.execv(command[0], command)  # noqa: S606 - it was found and tried by the owner


def end_with_parent(owner_pid: int) -> None:
    """Have the kernel send us SIGTERM when the owner ends. It stays in force across exec."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != owner_pid:  # it ended before we asked, so no signal will come
        sys.exit("the owner ended before its server began")


def leave_a_watcher(leash: int) -> None:
    """Fork a process that ends the server (which this one becomes) when the owner ends."""
    server_pid = os.getpid()
    server_ended, held_by_server = os.pipe()
    if os.fork() == 0:
        os.close(held_by_server)
        watch(leash, server_ended, server_pid)
        os._exit(0)
    os.close(leash)
    os.close(server_ended)
    os.set_inheritable(held_by_server, True)


def watch(leash: int, server_ended: int, server_pid: int) -> None:
    """Wait until the owner or the server ends. In the first case end the server too."""
    select.select([leash, server_ended], [], [])
    if os.getppid() == server_pid:  # still our parent, so the pid can't be somebody else's by now
        os.kill(server_pid, signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
