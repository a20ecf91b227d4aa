# SPDX-License-Identifier: Apache-2.0
"""A REST service from botocore's own model of it: which operation a request is, its members and their checks."""

import base64
import binascii
import http
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import botocore.session
from botocore.validate import ParamValidator

from local.aws.extension.errors import ApiError, invalid

Parameters = Mapping[str, Any]
Operation = Callable[[Parameters], Mapping[str, Any]]
Response = tuple[int, dict[str, str], bytes]

_LABEL = re.compile(r"\{(\w+)(\+?)\}")


class RestService:
    """Operations of one AWS service that speaks rest-json.

    Args:
        model: botocore's model of the service.
        operations: Operation name to its implementation: a function of the request's members that returns the
            response's members as JSON has them (timestamps in seconds since the epoch, blobs in base64).
    """

    def __init__(self, model: Any, operations: Mapping[str, Operation]) -> None:
        self._model = model
        self._operations = operations
        routes = [(model.operation_model(name).http, name) for name in model.operation_names]
        # A literal path wins over a label, and a label within a segment over one that spans several.
        routes.sort(key=lambda route: (route[0]["requestUri"].count("+}"), route[0]["requestUri"].count("{")))
        self._routes: Sequence[tuple[str, re.Pattern[str], str]] = [
            (http["method"], _pattern(http["requestUri"]), name) for http, name in routes
        ]

    def handle(self, method: str, path: str, query: Mapping[str, Any], body: bytes) -> Response:
        """Answers one request; every refusal is a response too."""
        try:
            name, labels = self._match(method, path)
            operation = self._model.operation_model(name)
            parameters = _parameters(operation.input_shape, labels=labels, query=query, body=body)
            check(parameters, operation.input_shape)
            answer = self._operations[name](parameters)
        except ApiError as error:
            return refusal(error)
        status = int(operation.http.get("responseCode", 200))
        content = b"" if status == http.HTTPStatus.NO_CONTENT else json.dumps(answer).encode()
        return status, {"Content-Type": "application/json"}, content

    def _match(self, method: str, path: str) -> tuple[str, Mapping[str, str]]:
        for verb, pattern, name in self._routes:
            found = pattern.fullmatch(path) if verb == method else None
            if found and name not in self._operations:
                service = self._model.service_name
                raise ApiError("UnsupportedOperationException", f"the embedded AWS does not have {service}:{name}", 501)
            if found:
                return name, {label: unquote(value) for label, value in found.groupdict().items()}
        raise ApiError("UnknownOperationException", f"{self._model.service_name} has no operation {method} {path}", 404)


def service_models(*services: str) -> Mapping[str, Any]:
    """Models of AWS services by name; loading them takes a while, so do it once."""
    session = botocore.session.Session()
    return {service: session.get_service_model(service) for service in services}


def refusal(error: ApiError) -> Response:
    """An error as rest-json writes it."""
    document: dict[str, str] = {"message": error.message}
    if error.resource:
        document["resourceId"], document["resourceType"] = error.resource
    headers = {"Content-Type": "application/json", "x-amzn-errortype": error.code}
    return error.status, headers, json.dumps(document).encode()


def _pattern(request_uri: str) -> re.Pattern[str]:
    path = request_uri.partition("?")[0]
    source, end = "", 0
    for label in _LABEL.finditer(path):
        source += re.escape(path[end : label.start()]) + f"(?P<{label[1]}>{'.+' if label[2] else '[^/]+'})"
        end = label.end()
    return re.compile(source + re.escape(path[end:]))


def _parameters(shape: Any, *, labels: Mapping[str, str], query: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body) if body else {}
    except ValueError as error:
        raise invalid(f"the request's body is not JSON: {error}") from error
    parameters: dict[str, Any] = {}
    for name, member in shape.members.items():
        wire = member.serialization.get("name", name)
        source = {"uri": labels, "querystring": query}.get(member.serialization.get("location", ""), document)
        if wire in source:
            parameters[name] = _value(name, source[wire], member, textual=source is not document)
    return parameters


def _value(name: str, value: Any, shape: Any, *, textual: bool) -> Any:
    """One member: query strings and labels are texts, in lists of one as servers parse them; blobs are base64."""
    if textual and isinstance(value, list) and shape.type_name != "list":
        value = value[0]
    try:
        if shape.type_name == "blob":
            return base64.b64decode(value, validate=True)
        if textual and shape.type_name == "integer":
            return int(value)
    except (ValueError, TypeError, binascii.Error) as error:
        raise invalid(f"{name} is {value!r}, expected a {shape.type_name}") from error
    if textual and shape.type_name == "boolean":
        return str(value).lower() == "true"
    return value


def check(parameters: Parameters, shape: Any) -> None:
    """Raises ``ValidationException`` when ``parameters`` do not have the botocore ``shape`` of an operation's input."""
    report = ParamValidator().validate(parameters, shape)
    if report.has_errors():
        raise invalid(f"{shape.name}: {report.generate_report()}")
