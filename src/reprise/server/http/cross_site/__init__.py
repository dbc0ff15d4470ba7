"""Protection against requests that web pages of other sites send: host names, origins, and the guard in front of all routes."""
