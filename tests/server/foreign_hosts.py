"""Host headers that a server on localhost, 127.0.0.1 and ::1 must refuse."""

FOREIGN_HOSTS = [
    "", " ", "a{b.evil.test", 'a"b.evil.test', "a`b.evil.test", "a}b.evil.test", "localhost@evil.test",
    "user:pw@localhost", "evil.test", "localhost.evil.test", "evil.test:8000", "localhost.", ".localhost", "localhost..",
    "localhost:", "localhost:x", "localhost:8000x", "localhost:99999", "localhost:-1", "localhost:8000:8000",
    "localhost, evil.test", "localhost evil.test", " localhost", "localhost ", "localhost/", "localhost/evil", "localhost?",
    "localhost#", "http://localhost", "//localhost", "localhost\\evil.test", "localhost%00", "localhost\x00",
    "localhost%2eevil.test", "[::1", "::1", "[::1]x", "[::1]:", "[::1%25lo]", "[127.0.0.1]", "[localhost]", "[:::1]", "127.1",
    "2130706433", "0x7f.0.0.1", "127.0.0.1.evil.test", "0", "*", "*.localhost", "\u017focalhost", "l\u00f6calhost",
    "\uff4cocalhost", "localhost\u3002", "xn--localhost", "a" * 300, "a." * 200 + "localhost",
]  # fmt: skip
