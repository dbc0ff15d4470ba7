from .mcp_tools import mcp_server as mcp_server
