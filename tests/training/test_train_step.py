import platform

from reprise.training.train_step import keep_freed_memory


def test_glibc_accepts_the_options_that_keep_freed_memory() -> None:
    assert keep_freed_memory() == (platform.libc_ver()[0] == "glibc")
