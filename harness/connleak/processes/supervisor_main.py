"""The one small process that starts every other and ends them all, whatever becomes of connleak.

Run by file path (`python -I -S supervisor_main.py FD RECORD PATH`), standard library only. It reads JSON lines from a
socket:
start, stop, remove, and what to run at the end; it answers with pids and exit codes. When the socket closes,
because connleak ended or was killed with -9, it ends every process that it started and everything that those left
behind, runs what it was given for the end, and removes the folders that it was told of.

Why a process of its own: PR_SET_PDEATHSIG is cleared by setuid, is not inherited by the workers of a server, and
fires when the *thread* that forked ends. PR_SET_CHILD_SUBREAPER makes orphans ours, so that they are found.

RECORD is a descriptor of the run's record (processes/records.py): while the keeper has it, nobody takes what the run
made for left over. It removes the record, at PATH, when all else is removed.
"""

import ctypes
import errno
import json
import os
import select
import shutil
import signal
import socket
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
IPC_RMID = 0
LAST = 30.0
GRACE = 2.0
PATIENCE = 8.0
LIBC = ctypes.CDLL(None, use_errno=True)


def start(request):
    """Forks and executes; returns (pid, "") or (0, what went wrong)."""
    told, tell = os.pipe()  # close-on-exec: a word on it is an error, its end is success
    pid = os.fork()
    if pid == 0:
        try:
            become(request)
        except BaseException as error:
            os.write(tell, str(error).encode("utf-8", "replace")[:500])
        os._exit(127)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        words = pipe.read().decode("utf-8", "replace")
    if words:
        os.waitpid(pid, 0)
        return 0, words
    return pid, ""


def become(request):
    """Turns the forked child into the program: session, account, folder, log, environment."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if request.get("uid") is not None:
        os.setgroups([])
        os.setgid(request["gid"])
        os.setuid(request["uid"])
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after setuid, which clears it; the keeper has one thread
    os.chdir(request["cwd"])
    os.execvpe(request["argv"][0], request["argv"], request["env"])


def processes():
    """Returns {pid: (parent, session, start)} of every living process that can be seen."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            facts = facts_of(int(name))
            if facts:
                table[int(name)] = facts
    return table


def facts_of(pid):
    """Returns (parent, session, start) of a process, None when it has ended; its pid and start are no other's."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[1]), int(fields[3]), int(fields[19]))


def family(leader):
    """Returns {pid: start} of a child's descendants and of its session, itself included while it lives.

    The leader must not have been waited for: until then no other process gets its pid, and no other session.
    """
    table = processes()
    found = {pid for pid, (_, session, _) in table.items() if session == leader or pid == leader}
    grown = True
    while grown:
        more = {pid for pid, (parent, _, _) in table.items() if parent in found} - found
        grown = bool(more)
        found |= more
    return {pid: table[pid][2] for pid in found}


def remove_segments(started):
    """Removes System V shared memory that children made and no process has any more: a killed PostgreSQL leaves some.

    `started` is {pid: the moment of its start}: a segment that is older was made by another of that number.
    Returns how many there were.
    """
    try:
        with open("/proc/sysvipc/shm") as file:
            rows = [line.split() for line in file][1:]
    except OSError:
        return 0
    removed = 0
    for _, shmid, _, _, maker, _, attached, *_, changed, _, _ in rows:
        if float(changed) + 1 >= started.get(int(maker), float("inf")) and attached == "0":
            removed += LIBC.shmctl(int(shmid), IPC_RMID, None) == 0
    return removed


def kill(found):
    """Kills processes of a snapshot {pid: start}, and none that got such a pid since."""
    for pid, start in found.items():
        try:
            kill_one(pid, start)
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.EPERM):
                raise


def kill_one(pid, start):
    """Kills the process that started then. What a pidfd refers to cannot change between the look and the signal."""
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in (errno.ENOSYS, errno.EPERM):
            raise
        handle = None  # Linux before 5.3, or a sandbox that forbids it
    try:
        facts = facts_of(pid)
        if facts is None or facts[2] != start:
            return
        if handle is None:
            os.kill(pid, signal.SIGKILL)
        else:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    finally:
        if handle is not None:
            os.close(handle)


def remove(folder):
    """Removes a folder; of git's folder of registered work trees the last one, as git does."""
    shutil.rmtree(folder, ignore_errors=True)
    parent = os.path.dirname(folder)
    if os.path.basename(parent) == "worktrees":
        try:
            os.rmdir(parent)
        except OSError:
            pass  # it has others


class Keeper:
    def __init__(self, channel, record=""):
        self.channel = channel
        self.record = record
        self.children = {}  # pid -> the request that started it
        self.stopping = {}  # pid -> (deadline, {pid: start} of its family when it was asked to stop)
        self.started = {}  # every pid there ever was -> when
        self.folders = []
        self.last = []  # commands for the end: what they remove is no child of ours, such as a container

    def say(self, **message):
        try:
            self.channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # connleak is gone; the end of the channel is read next

    def handle(self, request):
        if request["op"] == "start":
            pid, error = start(request)
            if pid:
                self.children[pid] = request
                self.started[pid] = time.time()
            self.say(key=request["key"], pid=pid, error=error)
        elif request["op"] == "stop":
            self.stop(request["pid"], request["signal"], request["grace"])
        elif request["op"] == "remove":
            self.folders.append(request["path"])
            self.say(key=request["key"], pid=0, error="")
        elif request["op"] == "at end":
            self.last.append(request)
            self.say(key=request["key"], pid=0, error="")

    def stop(self, pid, number, grace):
        if pid in self.children and pid not in self.stopping:
            self.stopping[pid] = (time.monotonic() + grace, family(pid))
            try:
                os.kill(pid, number)  # our own child, not waited for yet: nobody else has its pid
            except OSError as error:
                if error.errno not in (errno.ESRCH, errno.EPERM):
                    raise

    def reap(self):
        """Collects ended children, adopted ones too; kills what an ended or overdue one left."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            pid = ended.si_pid
            if pid in self.children:
                _, relatives = self.stopping.pop(pid, (0, {}))
                kill({**relatives, **family(pid)})
            _, status = os.waitpid(pid, 0)
            if self.children.pop(pid, None):
                self.say(exit=pid, status=os.waitstatus_to_exitcode(status))
        for pid, (deadline, relatives) in list(self.stopping.items()):
            if time.monotonic() > deadline:
                kill({**relatives, **family(pid)})

    def finish(self):
        """Ends everything: ask, wait two seconds, kill, until no descendant is left; then the folders, the record."""
        done = False
        try:
            self.end_all()
            done = all([self.run_last(request) for request in self.last])
        finally:
            for folder in self.folders:
                remove(folder)
        if self.record and done and not any(os.path.lexists(folder) for folder in self.folders):
            try:
                os.unlink(self.record)
            except OSError:
                pass  # somebody removed the state folder

    def end_all(self):
        for pid, request in reversed(list(self.children.items())):
            self.stop(pid, request["signal"], GRACE)
        deadline = time.monotonic() + GRACE + PATIENCE
        while self.children and time.monotonic() < deadline:  # one of another account may not be killed
            self.reap()
            time.sleep(0.01)
        me = os.getpid()
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            left = family(me)
            del left[me]
            if not left:
                break
            kill(left)
            self.reap()
            time.sleep(0.01)
        remove_segments(self.started)

    def run_last(self, request):
        """Runs a command to its end, for at most half a minute; tells whether it went well."""
        pid, _ = start(request)
        deadline = time.monotonic() + LAST
        while pid:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return status == 0
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        return False

    def run(self):
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        buffer = b""
        while True:
            ready, _, _ = select.select([self.channel, wake], [], [], 0.05 if self.stopping else 1.0)
            if wake in ready:
                os.read(wake, 4096)
            if self.channel in ready:
                try:
                    data = self.channel.recv(1 << 16)
                except OSError:  # connleak went with messages unread
                    return
                if not data:
                    return
                buffer += data
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    self.handle(json.loads(line))
            self.reap()


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # only the channel's end ends it
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)  # no child has it: its end is ours
    os.set_inheritable(int(sys.argv[2]), False)
    keeper = Keeper(channel, sys.argv[3])
    try:
        keeper.run()
    finally:
        keeper.finish()


if __name__ == "__main__":
    main()
