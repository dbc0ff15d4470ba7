"""Spark starts with the settings that equal results need, and faults of Java, PySpark and the master are named."""

import gc
import socket
from pathlib import Path
from typing import Any

import pytest

from reprise.data.io import spark_session as module
from reprise.data.io.spark_session import SETTINGS, open_session
from reprise.errors import ConfigError


def java(folder: Path, output: str, status: int = 0) -> Path:
    """A program `java` that prints a version."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{output}' >&2\nexit {status}\n", encoding="utf-8")
    program.chmod(0o755)
    return folder


@pytest.fixture
def without_spark(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process in which Spark does not run, and does not start."""
    from pyspark import SparkContext

    def start(master: str | None) -> None:
        raise AssertionError(f"Spark starts on {master}")

    monkeypatch.setattr(SparkContext, "_active_spark_context", None)
    monkeypatch.setattr(module, "_start", start)
    for name in ("PYSPARK_GATEWAY_PORT", "SPARK_REMOTE", "HADOOP_CONF_DIR", "YARN_CONF_DIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_missing_pyspark_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r'PySpark, which is not installed; .* pip install "reprise\[spark\]"'
    ):
        open_session()


@pytest.mark.parametrize("version", ["3.5.6", "5.0.0", "40.1"])
def test_another_major_version_of_pyspark_is_refused(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyspark

    monkeypatch.setattr(pyspark, "__version__", version)
    with pytest.raises(
        ConfigError, match=f"PySpark {version} is not supported, only versions 4.x; install one with"
    ):
        open_session()


@pytest.mark.parametrize("name", ["SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED"])
def test_spark_connect_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=r"Spark Connect is not supported .* unset the variable"):
        open_session()


def test_a_missing_java_is_named_with_the_package_that_has_it(
    without_spark: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_spark.setenv("PATH", str(tmp_path))
    without_spark.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ConfigError, match="no program `java` was found; install Java 17 or newer"):
        open_session("local[1]")


def test_a_java_home_without_java_is_named(without_spark: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_spark.setenv("JAVA_HOME", str(tmp_path / "gone"))
    with pytest.raises(
        ConfigError, match=r"JAVA_HOME is .*gone, where no program bin/java was found; install"
    ):
        open_session("local[1]")


@pytest.mark.parametrize(
    ("output", "fault"),
    [
        ('openjdk version "11.0.2" 2019-01-15', "needs Java 17 or newer, but .* is version 11; install"),
        ('java version "1.8.0_402"', "needs Java 17 or newer, but .* is version 8; install"),
        ("broken library", r"does not say its version \(broken library\); install"),
        ("", r"does not say its version \(no output\); install"),
    ],
)
def test_an_old_or_broken_java_is_named(
    output: str, fault: str, without_spark: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_spark.setenv("JAVA_HOME", str(java(tmp_path / "jdk", output)))
    with pytest.raises(ConfigError, match=fault):
        open_session("local[1]")


def test_a_java_that_does_not_run_is_named(without_spark: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = java(tmp_path / "jdk", "")
    (home / "bin" / "java").write_bytes(b"\x7fELF of another machine")
    without_spark.setenv("JAVA_HOME", str(home))
    with pytest.raises(ConfigError, match=r"does not run \(.*\); install Java 17"):
        open_session("local[1]")


@pytest.mark.parametrize("version", ["17", "17.0.9", "21.0.1", "25"])
def test_newer_versions_of_java_are_accepted(
    version: str, without_spark: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_spark.setenv("JAVA_HOME", str(java(tmp_path / "jdk", f'openjdk version "{version}"')))
    with pytest.raises(AssertionError, match="Spark starts on local"):
        open_session("local[1]")


@pytest.mark.parametrize(
    "master",
    [
        "",
        "local[x]",
        "local[2",
        "locale",
        "spark://host",
        "spark://host:a",
        "spark:host:7077",
        "mesos://a:1",
        "Yarn",
    ],
)
def test_an_invalid_master_is_named(master: str) -> None:
    with pytest.raises(ConfigError, match="is not one of Spark's; write local") as caught:
        open_session(master)
    assert repr(master) in str(caught.value)


@pytest.mark.parametrize(
    "master",
    [
        "local",
        "local[3]",
        "local[*]",
        "local[2,4]",
        "local[*, 4]",
        "local-cluster[2,1,1024]",
        "k8s://https://a:6443",
    ],
)
def test_masters_of_all_forms_are_accepted(master: str, without_spark: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="Spark starts on") as caught:
        open_session(master)
    assert str(caught.value).endswith(master)


def test_a_server_of_spark_connect_is_refused() -> None:
    with pytest.raises(ConfigError, match="'sc://host' is a server of Spark Connect, which is not supported"):
        open_session("sc://host")


def test_yarn_without_the_configuration_of_the_cluster_is_refused(without_spark: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="set HADOOP_CONF_DIR or YARN_CONF_DIR"):
        open_session("yarn")


def test_a_master_that_refuses_connections_is_named(without_spark: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:  # bound, but it does not listen
        bound.bind(("localhost", 0))
        port = bound.getsockname()[1]
        with pytest.raises(ConfigError, match=f"'spark://localhost:{port}' cannot be reached .*start it"):
            open_session(f"spark://localhost:{port}")


def test_a_master_that_does_not_answer_is_given_up(without_spark: pytest.MonkeyPatch) -> None:
    waits = []

    def connect(address: Any, timeout: float) -> None:
        waits.append(timeout)
        raise TimeoutError("timed out")

    without_spark.setattr(socket, "create_connection", connect)
    with pytest.raises(ConfigError, match=r"cannot be reached \(a:1: timed out; b:2: timed out\)"):
        open_session("spark://a:1,b:2")
    assert waits == [module.CONNECT_WITHIN_S] * 2


def test_one_of_several_masters_is_enough(without_spark: pytest.MonkeyPatch) -> None:
    with socket.create_server(("localhost", 0)) as master:
        address = f"spark://localhost:1,localhost:{master.getsockname()[1]}"
        with pytest.raises(AssertionError, match="Spark starts on"):
            open_session(address)


@pytest.mark.xdist_group("spark")
class TestRunningSpark:
    def test_settings_do_not_depend_on_the_session_that_was_there(self, spark: Any) -> None:
        spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
        try:
            session = open_session()
            assert {name: session.conf.get(name) for name in SETTINGS} == SETTINGS
            assert spark.conf.get("spark.sql.session.timeZone") == "Asia/Tokyo"
            # other settings are those of the session that was there
            assert session.conf.get("spark.sql.shuffle.partitions") == "3"
        finally:
            spark.conf.set("spark.sql.session.timeZone", "UTC")

    def test_a_local_master_has_a_few_shuffle_partitions_per_core(self, spark: Any) -> None:
        assert spark.sparkContext.getConf().get("spark.sql.shuffle.partitions") == "16"

    def test_sessions_share_one_application(self, spark: Any) -> None:
        assert open_session("local[2]").sparkContext is spark.sparkContext

    def test_another_master_than_that_of_the_running_spark_is_refused(self, spark: Any) -> None:
        with pytest.raises(
            ConfigError, match=r"runs in this process on the master 'local\[2\]', not on 'local\[1\]'"
        ):
            open_session("local[1]")

    def test_spark_shows_no_progress_and_no_user_interface(self, spark: Any) -> None:
        settings = dict(spark.sparkContext.getConf().getAll())
        assert settings["spark.ui.enabled"] == settings["spark.ui.showConsoleProgress"] == "false"
        assert spark.sparkContext.uiWebUrl is None


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of pyspark, after a failed start
@pytest.mark.xdist_group("spark")
def test_the_reason_of_a_failed_start_is_shown_without_a_stack_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pyspark import SparkContext

    program = tmp_path / "bin" / "spark-submit"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\necho 'WARN Utils: loopback' >&2\necho 'Exception in thread \"main\" "
        "org.apache.spark.SparkException: The queue is closed.' >&2\necho '\tat a.b.C' >&2\nexit 1\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    monkeypatch.setenv("SPARK_HOME", str(tmp_path))
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setattr(SparkContext, "_active_spark_context", None)
    monkeypatch.setattr(SparkContext, "_gateway", None)
    with pytest.raises(ConfigError) as caught:
        open_session("local[1]")
    assert str(caught.value) == (
        "Spark does not start on the master 'local[1]': The queue is closed; correct the master or Spark's configuration"
    )
    del caught
    gc.collect()
