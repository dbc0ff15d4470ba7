"""The Spark session: checks of Python, Java and the master, and the settings on which equal results depend."""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from reprise.errors import ConfigError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MAJOR_VERSION = 4
"""Major version of PySpark that is supported."""
OLDEST_JAVA = 17
INSTALL = 'pip install "reprise[spark]"'
CONNECT_WITHIN_S = 10.0
"""Time limit for a connection to a master, in seconds."""
SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
"""Settings of SQL that every session has: times in UTC, errors for values that do not fit, batches in Arrow's format."""
PARTITIONS_PER_CORE = 8
"""Number of partitions of a shuffle per core of this machine, if tasks run on it."""
MASTERS = (
    r"local(\[(\d+|\*)(\s*,\s*\d+)?\])?",
    r"local-cluster\[\s*\d+\s*,\s*\d+\s*,\s*\d+\s*\]",
    r"spark://[^\s,/:]+:\d+(,[^\s,/:]+:\d+)*",
    r"yarn",
    r"k8s://\S+",
)
CONFIGURED_BY = ("PYSPARK_GATEWAY_PORT", "PYSPARK_SUBMIT_ARGS", "SPARK_CONF_DIR", "SPARK_HOME")
"""Environment variables by which Spark is configured outside this process, possibly with a master."""


def open_session(master: str | None = None) -> "SparkSession":
    """Start Spark and return its session; if Spark runs in this process already, return a further session of it.

    A further session has the settings of the active one, except for `SETTINGS`, and the active one is not changed.
    Spark runs until the process ends, or until the `stop` method of a session is called.

    Args:
        master: Where tasks run: `local[2]` (two threads of this machine), `spark://host:7077`, `yarn` or `k8s://...`.
            None: the master of the running Spark, otherwise of Spark's own configuration, otherwise `local[*]`.

    Raises:
        ConfigError: PySpark is missing or has another major version than 4, Java is missing or older than 17, the master is
            invalid, cannot be reached or differs from that of the running Spark, or Spark does not start.
    """
    _check_pyspark()
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    if master is not None:
        _check_master(master)
    with without_pandas_warning():
        # private, but the public `getActiveSession` knows only the sessions of this thread
        if SparkContext._active_spark_context is None:
            _check_java()
            _check_reachable(master)
            _start(master or _default_master())
            return SparkSession.builder.config(map=dict(SETTINGS)).getOrCreate()
        if master not in (None, SparkContext._active_spark_context.master):
            raise ConfigError(
                f"Spark already runs in this process on the master {SparkContext._active_spark_context.master!r}, not on "
                f"{master!r}; stop that session, or leave out the master"
            )
        active = SparkSession.builder.getOrCreate()
        session = active.newSession()
        for name, value in {**active.conf.getAll, **SETTINGS}.items():
            if session.conf.isModifiable(name):
                session.conf.set(name, value)
    return session


@contextmanager
def without_pandas_warning() -> Iterator[None]:
    """Silence the warning of PySpark about new versions of pandas, which Reprise does not use with Spark."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)
        yield


def _check_pyspark() -> None:
    if find_spec("pyspark") is None:
        raise ConfigError(
            f"the engine spark needs PySpark, which is not installed; install it with: {INSTALL}"
        )
    from pyspark import __version__ as version

    if version.partition(".")[0] != str(MAJOR_VERSION):
        raise ConfigError(
            f"PySpark {version} is not supported, only versions {MAJOR_VERSION}.x; install one with: {INSTALL}"
        )
    if "SPARK_REMOTE" in os.environ or "SPARK_CONNECT_MODE_ENABLED" in os.environ:
        raise ConfigError(
            "Spark Connect is not supported (SPARK_REMOTE or SPARK_CONNECT_MODE_ENABLED is set); unset the variable and "
            "run on a master"
        )


def _check_java() -> None:
    """Raise a ConfigError if Spark would find no Java, or one that is too old."""
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # spark-submit has started Java already
        return
    remedy = (
        f"install Java {OLDEST_JAVA} or newer (on Debian: apt-get install openjdk-17-jre-headless) "
        "and set JAVA_HOME to its directory if it is not on the PATH"
    )
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    if java is None:
        raise ConfigError(f"Spark needs Java, and no program `java` was found; {remedy}")
    if shutil.which(java) is None:
        raise ConfigError(
            f"Spark needs Java, but JAVA_HOME is {home}, where no program bin/java was found; {remedy}"
        )
    try:
        shown = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
        output = shown.stderr + shown.stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"Spark needs Java, but {java} does not run ({error}); {remedy}") from error
    found = re.search(r'version "(?:1\.)?(\d+)', output)
    if found is None:
        first = (output.strip().splitlines() or ["no output"])[0]
        raise ConfigError(f"Spark needs Java, but {java} does not say its version ({first}); {remedy}")
    if int(found[1]) < OLDEST_JAVA:
        raise ConfigError(
            f"Spark needs Java {OLDEST_JAVA} or newer, but {java} is version {found[1]}; {remedy}"
        )


def _check_master(master: str) -> None:
    if master.startswith("sc://"):
        raise ConfigError(
            f"the master {master!r} is a server of Spark Connect, which is not supported; name a master"
        )
    if not any(re.fullmatch(pattern, master) for pattern in MASTERS):
        raise ConfigError(
            f"the master {master!r} is not one of Spark's; write local[2], local[*], spark://host:7077, yarn or k8s://..."
        )
    if master == "yarn" and not {"HADOOP_CONF_DIR", "YARN_CONF_DIR"} & set(os.environ):
        raise ConfigError(
            "the master 'yarn' needs the configuration of the cluster; set HADOOP_CONF_DIR or YARN_CONF_DIR to its directory"
        )


def _check_reachable(master: str | None) -> None:
    """Raise a ConfigError if none of the addresses of a standalone master accepts a connection."""
    if master is None or not master.startswith("spark://"):
        return
    failures = []
    for address in master.removeprefix("spark://").split(","):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_WITHIN_S).close()
            return
        except (OSError, OverflowError) as error:
            failures.append(f"{address}: {error}")
    raise ConfigError(
        f"the master {master!r} cannot be reached ({'; '.join(failures)}); start it, or correct its address"
    )


def _default_master() -> str | None:
    """Return `local[*]`, or None if Spark is configured elsewhere and may have a master there."""
    return None if set(CONFIGURED_BY) & set(os.environ) else "local[*]"


def _cores(master: str) -> int:
    """Return the number of threads of a local master."""
    if master == "local":
        return 1
    threads = re.match(r"local\[(\d+)", master)
    return int(threads[1]) if threads else os.cpu_count() or 1


def _start(master: str | None) -> None:
    """Start a Spark application.

    Java writes to a pipe: a failure is explained by what it wrote, and the messages of a successful start are dropped.
    """
    from py4j.protocol import Py4JError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkException
    from pyspark.java_gateway import launch_gateway

    local = master if master is not None and re.match(r"local(\[|$)", master) else None
    conf = SparkConf().setAppName("reprise").set("spark.ui.showConsoleProgress", "false")
    if master is not None:
        conf.setMaster(master)
    if local:
        conf.set("spark.ui.enabled", "false")
        if not set(CONFIGURED_BY) & set(os.environ):
            # Spark's own number, 200, is for a cluster: on one machine most tasks of a shuffle would be empty
            conf.set("spark.sql.shuffle.partitions", str(PARTITIONS_PER_CORE * _cores(local)))
        os.environ.setdefault(
            "PYSPARK_PYTHON", sys.executable
        )  # else `python3`, maybe of another environment
    for name, value in SETTINGS.items():
        conf.set(name, value)
    messages = _JavaMessages()
    try:
        if SparkContext._gateway is None:
            with messages.written_by_java() as stderr:
                gateway = launch_gateway(conf, {"stderr": stderr})  # type: ignore[no-untyped-call]
            context = SparkContext(conf=conf, gateway=gateway)
        else:  # Java still runs after an earlier session was stopped
            context = SparkContext(conf=conf)
    except (PySparkException, Py4JError, OSError, ValueError) as error:
        raise ConfigError(
            f"Spark does not start on the master {master or 'of its configuration'!r}: {messages.reason(error)}; "
            "correct the master or Spark's configuration"
        ) from error
    # a task that fails here is reported by the exception that reaches the caller
    context.setLogLevel("FATAL" if local else "WARN")
    messages.forward()


class _JavaMessages:
    """What Java writes to its standard error: kept until Spark has started, and forwarded from then on."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._started = threading.Event()

    @contextmanager
    def written_by_java(self) -> Iterator[int]:
        """Provide the file descriptor to which Java writes."""
        read, write = os.pipe()
        threading.Thread(target=self._read, args=(read,), name="reprise-spark-stderr", daemon=True).start()
        try:
            yield write
        finally:
            os.close(write)

    def _read(self, descriptor: int) -> None:
        with open(descriptor, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not self._started.is_set():
                    self._kept.append(line)
                elif sys.stderr is not None:
                    with suppress(OSError, ValueError):
                        sys.stderr.write(line)

    def forward(self) -> None:
        """Drop what was kept, and write further lines to the standard error of this process."""
        self._started.set()
        self._kept.clear()

    def reason(self, error: Exception) -> str:
        """Return the line of a Java exception that best explains a failed start."""
        lines = [*str(error).splitlines(), *self._kept]
        thrown = [line for line in lines if re.search(r"\b[\w.]+(Exception|Error): ", line)]
        line = (thrown or lines or [type(error).__name__])[0]
        return re.sub(r"^.*?\b(?:[\w$]+\.)+\w*(?:Exception|Error): ", "", line).strip().rstrip(".")
