"""The network floor: scans, cells, blocks. Knows torch, and neither items nor files."""
