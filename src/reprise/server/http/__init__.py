"""The HTTP interface: routes, schemas, authentication, errors and the OpenAPI document."""
