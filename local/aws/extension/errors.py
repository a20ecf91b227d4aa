# SPDX-License-Identifier: Apache-2.0
import dataclasses


@dataclasses.dataclass
class ApiError(Exception):
    """A refusal in the shape of an AWS error.

    Attributes:
        code: Name of the error's shape in the service model, such as ``ConflictException``.
        message: The thing, what was expected and what came.
        status: The HTTP status.
        resource: Identifier and type of the resource that the error is about, for the errors whose shape has them.
    """

    code: str
    message: str
    status: int = 400
    resource: tuple[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def not_found(kind: str, identifier: str) -> ApiError:
    """The 404 of a service that knows no such resource."""
    return ApiError("ResourceNotFoundException", f"{kind} {identifier!r} does not exist", 404, (identifier, kind))


def conflict(kind: str, identifier: str, message: str) -> ApiError:
    """The 409 of a resource whose state forbids the request."""
    return ApiError("ConflictException", message, 409, (identifier, kind))


def invalid(message: str) -> ApiError:
    """The 400 of a request that breaks a rule of the service."""
    return ApiError("ValidationException", message)
