"""Keeps one replica of a job: starts its program, writes its log, and leaves nothing of it behind.

A program of its own (:data:`COMMAND`) that needs the standard library only, so that it starts in some
hundredths of a second. Where there are namespaces it is the first process of its own, and what it leaves
the kernel ends; elsewhere it is the subreaper of everything below it.

Its standard input holds one line of JSON (:class:`Settings`), then a letter for each order: ``T`` asks the
program to end, ``K`` makes it. When that pipe closes, the emulator is gone, and so is everything below here.
On its standard output it writes ``started PID`` (0 within a namespace), ``ended STATUS TIME_NS LOST_LINES``
or ``failed WHY``.
"""

# Importing pathlib would cost every replica more than all else that is imported here.
# ruff: noqa: PTH102, PTH103, PTH106, PTH115, PTH116, PTH120, PTH123, PTH208, PTH211

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING or __package__:
    from vertexkit.emulator.jobs.log_writer import LINE_LIMIT, Log, Stream
else:
    # As COMMAND has it, for importing the package would take too long.
    from log_writer import LINE_LIMIT, Log, Stream

if TYPE_CHECKING:
    from typing import TypedDict

    class Settings(TypedDict):
        """What the emulator asks of a keeper."""

        command: list[str]
        env: dict[str, str]
        at_the_end: list[str]
        """A command to run when the program has ended, or is to: what it does, killing processes does not."""
        folder: str
        """Working folder of the program."""
        log: str
        after: int
        """No line gets a time (ns) before this one."""
        log_limit: int
        """Bytes that the log may have."""
        first: bool
        """Whether the keeper is the first process of a namespace of its own."""
        gcs: str | None
        """The folder to show as /gcs in the mount namespace that the keeper is in; None: nothing."""
        mounts: list[list[str]]
        """Folders to show elsewhere too in that namespace, each with where."""
        lingers: bool
        """Whether what the program leaves behind may go on to its own end when the program has ended."""


COMMAND = (
    *(sys.executable, "-I", "-S", "-c"),
    # Behind the standard library, for there are modules here of the same name as some of its own.
    f"import sys; sys.path.append({os.path.dirname(__file__)!r}); import keeper; keeper.main()",
)
"""What runs a keeper. Imported rather than run as a script, it is compiled once only."""

_PIPE_BYTES = 1024 * 1024
# What comes meanwhile is read at once: a program that prints line by line costs us next to no time.
_NAP_SECONDS = 0.005
_END_SECONDS = 5.0
_EXEC_FAILED = 127

_F_SETPIPE_SZ = 1031
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC = 2, 4, 8, 4096, 16384
_CLONE_NEWNS, _CLONE_NEWPID = 0x00020000, 0x20000000
_MNT_DETACH = 2

_IS_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True)


class Keeper:
    """One program, and everything that it starts.

    Args:
        settings: What to start, and how.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._log = Log(settings["log"], settings["after"], settings["log_limit"])
        self._streams: list[Stream] = []
        self._program = 0
        self._wake = -1

    def run(self) -> None:
        """Start the program and wait for its end. Everything below has ended when this returns."""
        self._wake = wake_on_child()
        why = self._start()
        if why:
            _say(f"failed {why}")
            return
        _say(f"started {0 if self._settings['first'] else self._program}")
        status, ended = self._watch(), time.time_ns()
        self._end_the_rest()
        self._kill_all()
        for stream in self._streams:
            while stream.pump() > 0:
                pass
            stream.flush()
        self._log.close()
        _say(f"ended {status} {ended} {self._log.lost}")

    def _start(self) -> str:
        """Why it could not be started; empty if it was."""
        outputs = [_pipe(), _pipe()]
        failure, failing = os.pipe()
        self._program = os.fork()
        if self._program == 0:
            self._become_program(outputs[0][1], outputs[1][1], failing)
        for fd in (outputs[0][1], outputs[1][1], failing):
            os.close(fd)
        for (fd, _), name in zip(outputs, "OE", strict=True):
            os.set_blocking(fd, False)
            self._streams.append(Stream(fd, name, self._log))
        why = b""
        while data := os.read(failure, 4096):
            why += data
        os.close(failure)
        if why:
            os.waitpid(self._program, 0)
        return why.decode(errors="replace")

    def _become_program(self, out: int, err: int, failing: int) -> None:
        """Run the program in this process, which was forked for it; does not return."""
        try:
            os.setsid()
            die_with_parent()
            # The pipe of orders is not the program's: who held it would keep the keeper from seeing it close.
            nothing = os.open(os.devnull, os.O_RDONLY)
            for fd, target in ((nothing, 0), (out, 1), (err, 2)):
                os.dup2(fd, target)
            signal.set_wakeup_fd(-1)
            for number in (
                signal.SIGINT,
                signal.SIGTERM,
                signal.SIGHUP,
                signal.SIGCHLD,
                signal.SIGPIPE,
                signal.SIGXFSZ,
            ):
                signal.signal(number, signal.SIG_DFL)
            os.umask(0o022)
            os.chdir(self._settings["folder"])
            self._execute()
        except Exception as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            os.write(failing, f"{self._settings['command'][0]}: {why}".encode())
            os._exit(_EXEC_FAILED)

    def _execute(self) -> None:
        """Become the program, in the process that is to be it; does not return."""
        command = self._settings["command"]
        os.execvpe(command[0], command, self._settings["env"])  # noqa: S606 (that is the keeper's work)

    def _watch(self) -> int:
        """Pump and obey until the program has ended; its status as ``waitpid`` has it."""
        poll = select.poll()
        for fd in (0, self._wake, *(stream.fd for stream in self._streams)):
            poll.register(fd, select.POLLIN)
        streams = {stream.fd: stream for stream in self._streams}
        ended: int | None = None
        while True:
            most = 0
            for fd, _ in poll.poll():
                if fd == 0:
                    self._obey(poll)
                elif fd == self._wake:
                    _empty(fd)
                    status, childless = self._reap()
                    ended = status if ended is None else ended
                    if ended is not None and (childless or not self._settings["lingers"]):
                        return ended
                else:
                    count = streams[fd].pump()
                    if count < 0:
                        poll.unregister(fd)
                    most = max(most, count)
            if most < LINE_LIMIT // 8:
                time.sleep(_NAP_SECONDS)

    def _obey(self, poll: select.poll) -> None:
        orders = os.read(0, 4096)
        if not orders:
            # The emulator has gone, so nobody is left to be patient for.
            poll.unregister(0)
        if not orders or b"K" in orders:
            self._end_the_rest()
            self._signal_all(signal.SIGKILL)
        elif b"T" in orders:
            for number in (signal.SIGTERM, signal.SIGCONT):
                _kill(-self._program, number)

    def _reap(self) -> tuple[int | None, bool]:
        """Collect who has ended; the program's status if it is among them, and whether nobody is left."""
        found = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return found, True
            if pid == 0:
                return found, False
            if pid == self._program:
                found = status

    def _end_the_rest(self) -> None:
        """Run the command that ends what killing processes does not."""
        command, self._settings["at_the_end"] = self._settings["at_the_end"], []
        if not command:
            return
        pid = os.fork()
        if pid == 0:
            try:
                nothing = os.open(os.devnull, os.O_RDWR)
                for fd in (0, 1, 2):
                    os.dup2(nothing, fd)
                os.execvpe(command[0], command, self._settings["env"])  # noqa: S606 (as above)
            finally:
                os._exit(_EXEC_FAILED)
        deadline = time.monotonic() + _END_SECONDS
        while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
            time.sleep(_NAP_SECONDS)

    def _kill_all(self) -> None:
        """End everything that is left, and wait for it."""
        while True:
            self._signal_all(signal.SIGKILL)
            try:
                # Those that have been killed; whoever they left becomes our child.
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _signal_all(self, number: int) -> None:
        if self._settings["first"]:
            _kill(-1, number)
            return
        _kill(-self._program, number)
        for pid in descendants(os.getpid()):
            _kill(pid, number)


def show_gcs(folder: str) -> None:
    """Show a folder as /gcs, in the mount namespace of this process, without making /gcs for others.

    The new root is empty but for what the old one has, each folder bound as a whole, and /gcs.

    Raises:
        OSError: That is not possible here.
    """
    folder = os.path.realpath(folder)
    # Any folder will do to begin with; it is seen again as soon as the root has moved.
    base = "/tmp"  # noqa: S108 (nothing is written there)
    _mount("tmpfs", base, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    old = ".vertexkit-old-root"
    os.mkdir(f"{base}/{old}", 0o700)
    _check(_libc.pivot_root(base.encode(), f"{base}/{old}".encode()), "pivot_root")
    os.chdir("/")
    for entry in os.scandir(f"/{old}"):
        target = f"/{entry.name}"
        if entry.name == "gcs":
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.path), target)
            continue
        if entry.is_dir():
            os.mkdir(target)
        else:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
        _mount(entry.path, target, None, _MS_BIND | _MS_REC)
    os.mkdir("/gcs")
    _mount(f"/{old}{folder}", "/gcs", None, _MS_BIND | _MS_REC)
    _check(_libc.umount2(f"/{old}".encode(), _MNT_DETACH), "umount")
    os.rmdir(f"/{old}")


def number_processes_anew() -> None:
    """Let the next child of this process be the first of a namespace of its own.

    Raises:
        OSError: That is not possible here.
    """
    _check(_libc.unshare(_CLONE_NEWPID), "unshare")


def show_own_processes() -> None:
    """In the first process of such a namespace: have mounts of its own, with a /proc of what is in there.

    Raises:
        OSError: That is not possible here.
    """
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def show_folder(folder: str, target: str) -> None:
    """Show a folder elsewhere as well, in the mount namespace of this process.

    Where that is not possible, whoever needs the folder has to go by its own name.
    """
    try:
        os.makedirs(target, exist_ok=True)
        _mount(folder, target, None, _MS_BIND)
    except OSError as error:
        _say(f"{target}: {error}")


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    arguments = [None if part is None else os.fsencode(part) for part in (source, target, kind, options)]
    _check(
        _libc.mount(arguments[0], arguments[1], arguments[2], ctypes.c_ulong(flags), arguments[3]),
        f"mount on {target}",
    )


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def descendants(ancestor: int) -> list[int]:
    """Every process below one, from /proc; those that are direct children of ours at least elsewhere."""
    parents = {}
    try:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                parents[pid] = int(file.read().rpartition(b")")[2].split()[1])
        except OSError:
            continue
    found: list[int] = []
    new = {ancestor}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new}
        found += new
    return found


def _pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    if _IS_LINUX:
        try:
            fcntl.fcntl(writing, _F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            # The user has as much in pipes as is allowed: then it stays at what it is.
            return reading, writing
    return reading, writing


def adopt() -> None:
    """Become the parent of whatever below this process loses its own."""
    if _IS_LINUX:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Be killed when the parent of this process ends."""
    if _IS_LINUX:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wake_on_child() -> int:
    """A pipe that can be read whenever a child has ended."""
    reading, writing = os.pipe()
    for fd in (reading, writing):
        os.set_blocking(fd, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _empty(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except BlockingIOError:
        return


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError as error:
        if error.errno not in (errno.ESRCH, errno.EPERM):
            raise


def _say(line: str) -> None:
    try:
        os.write(1, line.replace("\n", " ").encode() + b"\n")
    except BrokenPipeError:
        # Nobody listens any more.
        return


def read_settings() -> Settings:
    """The first line of the standard input. Not one byte more: orders follow."""
    line = b""
    with open(0, "rb", buffering=0, closefd=False) as file:
        while not line.endswith(b"\n"):
            data = file.readline()
            if not data:
                sys.exit(1)
            line += data
    settings: Settings = json.loads(line)
    return settings


def main() -> None:
    """Do what the standard input says. With ``--probe``: find out whether it could be done here."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    settings = read_settings()
    if settings["gcs"] is not None:
        show_gcs(settings["gcs"])
        for folder, target in settings["mounts"]:
            show_folder(folder, target)
    if settings["first"] and os.getpid() != 1:
        raise RuntimeError("this is not the first process of its namespace")
    if "--probe" in sys.argv:
        status = os.stat("/gcs")
        _say(f"gcs {status.st_dev} {status.st_ino}")
        return
    if not settings["first"]:
        adopt()
    Keeper(settings).run()
    # Nothing is left to be tidied up, and the emulator waits.
    os._exit(0)
