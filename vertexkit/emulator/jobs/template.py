"""A process that has TensorFlow imported, run no operation, and forks a process for each trial of a family.

Importing TensorFlow costs seconds of every trial; forking costs hundredths. Runs in the interpreter of a
trial's environment (:func:`command`), which has nothing of vertexkit: this needs the standard library only.

For each trial it is sent the ends of three pipes: of the orders to a keeper, of its answers, and a
connection that the keeper's life hangs on. It forks a *warden*, which ends whatever is left when that
connection closes or the keeper has gone; the warden forks the keeper (``keeper.py``, as of any replica),
where namespaces are used as the first process of one; and that forks the trial, which becomes what
``python -m MODULE`` would be (``template_trial.py``).
"""

# As in keeper.py.
# ruff: noqa: PTH120, PTH123, PTH208

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING or __package__:
    from vertexkit.emulator.jobs import keeper
    from vertexkit.emulator.jobs.template_trial import Imported, Trial, import_tensorflow, open_files
else:
    import keeper
    from template_trial import Imported, Trial, import_tensorflow, open_files

SOCKET = "../socket"
"""Where it is waited for, from its working folder."""
STATUS = struct.Struct("i")
"""What a warden sends at last: how the keeper ended, as ``waitpid`` has it."""
NAME = "vertexkit-ward"
"""What the kernel calls a warden, and a keeper."""
KEPT = b"k"
"""What a warden sends at first: there is a keeper."""

_MODULES = ("keeper", "log_writer", "template", "template_trial")


def command(python: str) -> list[str]:
    """What runs a template.

    Args:
        python: The interpreter of the trials' environment.
    """
    folder = os.path.dirname(__file__)
    # Behind the standard library, for there are modules here of the same name as some of its own.
    code = f"import sys; sys.path.append({folder!r}); import template; template.main()"
    return [python, "-c", code]


def main() -> None:
    """Import TensorFlow, and fork until nobody is there any more. Returns in trials that are over, only."""
    # As the documentation of gc.freeze() has it: nothing is moved or freed in what forks will share.
    gc.disable()
    namespaces = "--namespaces" in sys.argv
    own = os.path.dirname(__file__)
    sys.path.remove(own)
    sys.path_importer_cache.pop(own, None)
    for name in _MODULES:
        del sys.modules[name]
    imported = import_tensorflow()
    # OpenBLAS ends its threads before a fork, and starts them anew when they are needed.
    if not (pid := os.fork()):
        os._exit(0)
    os.waitpid(pid, 0)
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("importing TensorFlow has started threads, which a fork would lose")
    control = socket.socket(socket.AF_UNIX)
    control.connect(SOCKET)
    control.sendall(json.dumps(imported.packages).encode() + b"\n")
    gc.freeze()
    _serve(control, imported, namespaces).run()


def _serve(control: socket.socket, imported: Imported, namespaces: bool) -> Trial:
    """Fork for each that asks. Returns in trials only."""
    wake = keeper.wake_on_child()
    poll = select.poll()
    for one in (control.fileno(), wake):
        poll.register(one, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if wake in ready:
            os.read(wake, 4096)
            while _reaped():
                pass
        if control.fileno() not in ready:
            continue
        data, fds, _, _ = socket.recv_fds(control, 1, 3)
        if not data:
            os._exit(0)
        if not os.fork():
            os.close(control.detach())
            return _ward(fds, imported, namespaces)
        for fd in fds:
            os.close(fd)


def _reaped() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] > 0
    except ChildProcessError:
        return False


def _ward(fds: list[int], imported: Imported, namespaces: bool) -> Trial:
    """Be the warden of a keeper. Returns in the trial only."""
    orders, answers, connection = fds
    try:
        # What is shared with the template is costly to count, and these two have little else.
        with open("/proc/self/comm", "w") as file:
            file.write(NAME)
        os.setsid()
        keeper.adopt()
        wake = keeper.wake_on_child()
        if namespaces:
            keeper.number_processes_anew()
        pid = os.fork()
    except OSError:
        # Whoever asked sees the connection close, and does without.
        os._exit(1)
    if not pid:
        return _keep(orders, answers, imported, namespaces)
    for fd in (orders, answers):
        os.close(fd)
    try:
        os.write(connection, KEPT)
        _wait(pid, connection, wake)
    finally:
        os._exit(0)


def _wait(pid: int, connection: int, wake: int) -> None:
    """Until the keeper has ended, or nobody is there who would want it."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while True:
        if any(fd == connection for fd, _ in poll.poll()):
            poll.unregister(connection)
            os.kill(pid, signal.SIGKILL)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        os.read(wake, 4096)
    # Nothing, but where the keeper was killed: it leaves nothing behind itself.
    while True:
        for one in keeper.descendants(os.getpid()):
            os.kill(one, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    os.write(connection, STATUS.pack(status))


class _Became(BaseException):
    """Leads a process that is to be a trial out of what its keeper was about."""


class _Keeper(keeper.Keeper):
    """Keeps a trial that is this process, forked, and no other program."""

    def _execute(self) -> None:
        raise _Became


def _keep(orders: int, answers: int, imported: Imported, namespaces: bool) -> Trial:
    """Be the keeper of a trial. Returns in the trial only."""
    try:
        keeper.die_with_parent()
        signal.set_wakeup_fd(-1)
        for fd, target in ((orders, 0), (answers, 1), (answers, 2)):
            os.dup2(fd, target)
        for number in open_files():
            if number > 2 and number not in imported.files:
                os.close(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        settings = keeper.read_settings()
        if namespaces:
            keeper.show_own_processes()
            for folder, place in settings["mounts"]:
                keeper.show_folder(folder, place)
        else:
            keeper.adopt()
        _Keeper(settings).run()
    except _Became:
        return Trial(settings, imported)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
