"""Starts one algorithm behind the walls that this kernel grants: namespaces, a user of its own, limits.

Linux gives a root folder that holds the interpreter (read-only), a scratch /tmp and the job's folder at
/data, no network, no other process in sight and user 1000, as in a node's container. Where the kernel
refuses (or is no Linux), the algorithm runs as a plain child process with the limits only.
"""

import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

NEW_NAMESPACES = 0x00020000 | 0x08000000 | 0x04000000 | 0x20000000 | 0x40000000  # mount, ipc, uts, pid, net
NEW_USER = 0x10000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
CONTAINER_USER = 1000  # Source: recording 23, the container's own view
SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
)
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class Limits:
    """What one algorithm may use: bytes and seconds."""

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int


@dataclass(frozen=True)
class Child:
    """A started algorithm: the id to wait for, the id to signal, the reading ends of its outputs.

    without_walls says why there are none, if so.
    """

    pid: int
    algorithm_pid: int
    stdout: int
    stderr: int
    without_walls: str | None


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *values: object) -> None:
    if getattr(_libc(), name)(*values) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: Path, kind: str | None, flags: int, data: str | None = None) -> None:
    as_bytes = [None if text is None else text.encode() for text in (source, str(target), kind)]
    _call("mount", *as_bytes, ctypes.c_ulong(flags), None if data is None else data.encode())


def adopt_orphans() -> None:
    """Make this process the parent of orphans below it, so that none escapes the count."""
    with contextlib.suppress(OSError, AttributeError):
        _call("prctl", PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def interpreter() -> str:
    """Return the interpreter behind a virtual environment: the standard library only, like the image."""
    return os.path.realpath(sys.executable)


def start(*, folder: Path, hostname: str, envs: dict[str, str], limits: Limits) -> Child:
    """Start `python3 $ALGO` on the job folder's data, walled in if possible.

    Raises OSError when not even a plain process can be started.
    """
    try:
        return _fork(folder=folder, hostname=hostname, envs=envs, limits=limits, walled=True)
    except OSError as error:
        child = _fork(folder=folder, hostname=hostname, envs=envs, limits=limits, walled=False)
        return replace(child, without_walls=str(error))


def _fork(*, folder: Path, hostname: str, envs: dict[str, str], limits: Limits, walled: bool) -> Child:
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    news_read, news_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            _die_with_parent()
            null = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((null, 0), (out_write, 1), (err_write, 2)):
                os.dup2(source, target)
                os.close(source)  # else the process between would keep the outputs open
            if walled:
                _enter_namespaces(news=news_write)
            _become_algorithm(folder=folder, hostname=hostname, envs=envs, limits=limits, walled=walled)
        except BaseException as error:  # whatever it is, the parent must hear of it and this copy must end
            os.write(news_write, json.dumps({"error": str(error)}).encode() + b"\n")
        os._exit(127)
    for descriptor in (out_write, err_write, news_write):
        os.close(descriptor)
    with os.fdopen(news_read) as news_file:
        news = [json.loads(line) for line in news_file]  # ends when exec closes the other end
    if errors := [item["error"] for item in news if "error" in item]:
        os.waitpid(pid, 0)
        os.close(out_read)
        os.close(err_read)
        raise OSError(errors[0])
    algorithm_pid = next((item["pid"] for item in news if "pid" in item), pid)
    return Child(pid=pid, algorithm_pid=algorithm_pid, stdout=out_read, stderr=err_read, without_walls=None)


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        _call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def _enter_namespaces(*, news: int) -> None:
    """Leave the machine's namespaces and fork once more: the new process is number 1 of its own."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _call("unshare", NEW_NAMESPACES)
    else:
        _call("unshare", NEW_NAMESPACES | NEW_USER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{CONTAINER_USER} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{CONTAINER_USER} {group} 1")
    child = os.fork()
    if child == 0:
        _die_with_parent()
        return
    os.write(news, json.dumps({"pid": child}).encode() + b"\n")
    os.close(news)
    for descriptor in (1, 2):  # only the algorithm may hold the outputs open
        os.close(descriptor)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    status = os.waitpid(child, 0)[1]
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _become_algorithm(
    *, folder: Path, hostname: str, envs: dict[str, str], limits: Limits, walled: bool
) -> NoReturn:
    data = folder / "data"
    python = interpreter()  # also as argv[0]: by it Python finds its library
    if walled:
        _build_root(folder=folder, data=data)
        data = Path("/data")
        with contextlib.suppress(OSError):
            _call("sethostname", hostname.encode(), len(hostname))
    else:
        os.chdir(data)
    gigabyte = 1024**3
    _limit(
        resource.RLIMIT_AS, 4 * limits.memory_bytes + gigabyte
    )  # a backstop: the runner watches what is really used
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, 256)
    _limit(resource.RLIMIT_CORE, 0)
    if walled and os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(CONTAINER_USER, CONTAINER_USER, CONTAINER_USER)
        os.setresuid(CONTAINER_USER, CONTAINER_USER, CONTAINER_USER)
        _die_with_parent()  # the change of user cleared it
    with contextlib.suppress(OSError, AttributeError):
        _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # As number 1 of a container: SIGTERM does nothing unless the algorithm handles it. Source: recording 13.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    environment = {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME": hostname,
    }
    environment |= envs | {"HOME": "/", "DATA_ROOT": str(data)}
    os.execve(python, [python, str(data / "transformations" / "algorithm")], environment)  # noqa: S606 - the purpose


def _limit(kind: int, value: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # a lower hard limit of the machine stays
        resource.setrlimit(kind, (value, value))


def _build_root(*, folder: Path, data: Path) -> None:
    """Put together a root folder on a file system in memory, and make it ours."""
    _mount("none", Path("/"), None, MS_REC | MS_PRIVATE)
    root = folder / "root"
    root.mkdir(exist_ok=True)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64m")
    for name in [*SYSTEM, *DEVICES, *_interpreter_folders()]:
        _show(root=root, name=name)
    (root / "tmp").mkdir(mode=0o777)
    (root / "tmp").chmod(0o1777)
    (root / "proc").mkdir()
    with contextlib.suppress(OSError):  # refused inside some containers; algorithms can live without it
        _mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV)
    (root / "data").mkdir()
    _mount(str(data), root / "data", None, MS_BIND)
    if os.geteuid() == 0:
        for path in [data, *data.rglob("*")]:
            os.chown(path, CONTAINER_USER, CONTAINER_USER, follow_symlinks=False)
    os.chroot(root)
    os.chdir("/")


def _interpreter_folders() -> list[str]:
    """Return where the interpreter and its standard library live, outside of what is shown anyway."""
    places = {os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)}
    places.add(str(Path(interpreter()).parent))
    shown = [
        place for place in sorted(places) if not place.startswith("/usr/") and place not in ("/", "/usr")
    ]
    return [place for place in shown if not any(place.startswith(other + "/") for other in shown)]


def _show(*, root: Path, name: str) -> None:
    """Make one file, folder or link of the machine visible below the root, read-only."""
    source, target = Path(name), root / name.lstrip("/")
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    if source.is_dir():
        target.mkdir()
    else:
        target.touch()
    _mount(name, target, None, MS_BIND | MS_REC)
    if not name.startswith("/dev/"):
        kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | 8)
        with contextlib.suppress(
            OSError
        ):  # a user namespace may not change it; then the file's own rights hold
            _mount("none", target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def clean_up(*, folder: Path) -> None:
    """Remove the mount point that a walled run left behind."""
    shutil.rmtree(folder / "root", ignore_errors=True)
