from reprise.data.timestamps import format_iso


def test_a_moment_is_written_to_the_second_in_utc() -> None:
    assert format_iso(0) == "1970-01-01T00:00:00+00:00"
    assert format_iso(86_400_999) == "1970-01-02T00:00:00+00:00"
    assert format_iso(-1_000) == "1969-12-31T23:59:59+00:00"
