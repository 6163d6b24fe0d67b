"""The supervisor process: it starts every other process and ends them all, however connleak itself ends.

It runs by file path (`python -I -S supervisor_main.py FD RECORD PATH`) with the standard library only, so it is one
file: it can import no other. It reads requests as JSON lines from the socket FD (start, stop, remove a folder at the
end, run a command at the end) and answers with pids and exit codes. When the socket closes, because connleak ended or
was killed by SIGKILL, it ends all processes that it started and all their descendants, runs the commands, and removes
the folders.

A process of its own, because PR_SET_PDEATHSIG is cleared by setuid, is not inherited by a server's workers, and fires
when the *thread* that forked ends. With PR_SET_CHILD_SUBREAPER orphans become children of this process.

RECORD is a descriptor of the run's record (processes/records.py): while it is open here, no other start of connleak
treats the run's things as left over. The record, at PATH, is removed last.
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
COMMAND_TIME = 30.0
"""Seconds for each command at the end."""
GRACE = 2.0
"""Seconds between a child's stop signal and SIGKILL at the end."""
PATIENCE = 8.0
"""Seconds after that in which the children must be gone: one of another account cannot be killed."""
ORPHANS_TIME = 5.0
"""Seconds in which the adopted processes are killed."""
LIBC = ctypes.CDLL(None, use_errno=True)


def start(request):
    """Fork and execute; return (pid, "") or (0, the error)."""
    reading, writing = os.pipe()  # close-on-exec: text in it is an error, its end is success
    pid = os.fork()
    if pid == 0:
        try:
            become(request)
        except BaseException as error:
            os.write(writing, str(error).encode("utf-8", "replace")[:500])
        os._exit(127)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        failure = pipe.read().decode("utf-8", "replace")
    if failure:
        os.waitpid(pid, 0)
        return 0, failure
    return pid, ""


def become(request):
    """Turn the forked child into the program: session, signals, log, account, folder, environment."""
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
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after setuid, which clears it; this process has one thread
    os.chdir(request["cwd"])
    os.execvpe(request["argv"][0], request["argv"], request["env"])


def processes():
    """Return {pid: (parent, session, start)} of all living processes that are visible."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            facts = facts_of(int(name))
            if facts:
                table[int(name)] = facts
    return table


def facts_of(pid):
    """Return (parent, session, start) of a process, None when it has ended; pid and start identify a process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[1]), int(fields[3]), int(fields[19]))


def family(leader):
    """Return {pid: start} of a child, its descendants and the members of its session.

    The child must not have been waited for: until then its pid, and so its session, belong to no other process.
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
    """Remove System V shared memory segments that children created and no process is attached to; return their number.

    A killed PostgreSQL leaves one. `started` is {pid: time of its start}: an older segment is of an earlier process
    with the same pid.
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
    """Kill the processes of a snapshot {pid: start}, but no process that got such a pid later."""
    for pid, start in found.items():
        try:
            kill_one(pid, start)
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.EPERM):
                raise


def kill_one(pid, start):
    """Kill the process with this pid and start; a pidfd refers to the same process in the check and in the signal."""
    try:
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError) as error:
        if getattr(error, "errno", errno.ENOSYS) not in (errno.ENOSYS, errno.EPERM):
            raise
        handle = None  # Linux before 5.3, or a sandbox that forbids pidfds
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


def until(condition, timeout):
    """Return whether the condition holds within `timeout` seconds: processes/poll.py cannot be imported here."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True


def remove(folder):
    """Remove a folder, and as git does its folder `worktrees` with the last work tree."""
    shutil.rmtree(folder, ignore_errors=True)
    parent = os.path.dirname(folder)
    if os.path.basename(parent) == "worktrees":
        try:
            os.rmdir(parent)
        except OSError:
            pass  # it is not empty


class SupervisorProcess:
    """The children of this process, the requests for the end, and the channel to connleak."""

    def __init__(self, channel, record=""):
        self.channel = channel
        self.record = record
        self.children = {}  # pid -> the request that started it
        self.stopping = {}  # pid -> (deadline, {pid: start} of its family at the stop signal)
        self.started = {}  # pid of each child so far -> time of its start
        self.folders = []
        self.commands = []  # requests to run at the end: they remove what is not a child, such as a container

    def send(self, **message):
        try:
            self.channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # connleak has ended; `run` reads the end of the channel next

    def handle(self, request):
        """Do what a request asks for; all but `stop` are answered."""
        if request["op"] == "stop":
            self.stop(request["pid"], request["signal"], request["grace"])
            return
        pid, error = 0, ""
        if request["op"] == "start":
            pid, error = self.start(request)
        elif request["op"] == "remove":
            self.folders.append(request["path"])
        elif request["op"] == "at end":
            self.commands.append(request)
        self.send(key=request["key"], pid=pid, error=error)

    def start(self, request):
        pid, error = start(request)
        if pid:
            self.children[pid] = request
            self.started[pid] = time.time()
        return pid, error

    def stop(self, pid, number, grace):
        if pid in self.children and pid not in self.stopping:
            self.stopping[pid] = (time.monotonic() + grace, family(pid))
            try:
                os.kill(pid, number)  # a child that was not waited for: its pid is not reused
            except OSError as error:
                if error.errno not in (errno.ESRCH, errno.EPERM):
                    raise

    def reap(self):
        """Wait for ended children, adopted ones too; kill the family of an ended or overdue child."""
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
                self.send(exit=pid, status=os.waitstatus_to_exitcode(status))
        for pid, (deadline, relatives) in list(self.stopping.items()):
            if time.monotonic() > deadline:
                kill({**relatives, **family(pid)})

    def finish(self):
        """End all processes, run the commands, remove the folders, and remove the record if nothing is left."""
        done = False
        try:
            self.end_all()
            done = all([self.run_command(request) for request in self.commands])
        finally:
            for folder in self.folders:
                remove(folder)
        if self.record and done and not any(os.path.lexists(folder) for folder in self.folders):
            try:
                os.unlink(self.record)
            except OSError:
                pass  # the state folder has been removed

    def end_all(self):
        """Stop the children, kill those that do not end in time, and kill all descendants that are left."""
        for pid, request in reversed(list(self.children.items())):
            self.stop(pid, request["signal"], GRACE)
        until(self.no_children, GRACE + PATIENCE)
        until(self.no_descendants, ORPHANS_TIME)
        remove_segments(self.started)

    def no_children(self):
        self.reap()
        return not self.children

    def no_descendants(self):
        left = family(os.getpid())
        del left[os.getpid()]
        kill(left)
        self.reap()
        return not left

    def run_command(self, request):
        """Run a command to its end, for at most COMMAND_TIME; return whether it succeeded."""
        pid, _ = start(request)
        statuses = []

        def ended():
            found, status = os.waitpid(pid, os.WNOHANG)
            statuses.extend([status] if found else [])
            return found

        if pid and not until(ended, COMMAND_TIME):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return statuses == [0]

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
                except OSError:  # connleak ended with messages unread
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
        signal.signal(number, signal.SIG_IGN)  # only the end of the channel ends this process
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1)
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)  # a child with it would keep the channel open
    os.set_inheritable(int(sys.argv[2]), False)
    supervisor = SupervisorProcess(channel, sys.argv[3])
    try:
        supervisor.run()
    finally:
        supervisor.finish()


if __name__ == "__main__":
    main()
