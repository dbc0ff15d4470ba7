"""Protection against requests from web pages of other sites: host names, origins, and a guard in front of all routes."""
