"""The page `/docs`: every route and object of the OpenAPI document, escaped, with links that lead somewhere."""

import re

from starlette.testclient import TestClient

from reprise.server.http.openapi import openapi
from reprise.server.http.pages.reference_page import reference_page


def test_every_route_field_and_object_is_on_the_page() -> None:
    document = openapi("1.2.3", needs_keys=True)
    page = reference_page(document)
    for path, methods in document["paths"].items():
        assert f"<code>{path}</code>" in page
        for operation in methods.values():
            assert f'id="{operation["operationId"]}"' in page
    for name, schema in document["components"]["schemas"].items():
        assert f'id="{name}"' in page
        assert all(f"<code>{field}</code>" in page for field in schema.get("properties", {}))
    assert "X-API-Key: KEY" in page
    assert "Version 1.2.3" in page


def test_links_lead_to_parts_of_the_page() -> None:
    page = reference_page(openapi("1", needs_keys=False))
    targets = set(re.findall(r'id="([^"]+)"', page))
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links and links <= targets
    assert len(re.findall(r'id="([^"]+)"', page)) == len(targets), "an id is used twice"


def test_text_is_escaped() -> None:
    document = openapi("1", needs_keys=False)
    document["info"]["description"] = "<script>alert(1)</script> & `a < b`"
    page = reference_page(document)
    assert "<script" not in page
    assert "&lt;script&gt;" in page and "<code>a &lt; b</code>" in page


def test_the_page_is_served_with_a_strict_policy_and_its_style(client: TestClient) -> None:
    page = client.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "<style" not in page.text and " style=" not in page.text
    assert client.get("/reference.css").headers["content-type"].startswith("text/css")
