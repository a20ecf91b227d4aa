# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: SLF001 - private names of ministack are what this module is for
"""AWS's own runtime for Python functions, where ministack would run them on its own interpreter."""

import io
import sys
import zipfile
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc


class _PythonWorker(lambda_runtime.ProvidedWorker):  # type: ignore[misc] # ministack has no types
    """A Python function under awslambdaric, which AWS runs it under: its errors carry their own types."""

    def __init__(self, function: str, config: dict[str, Any], code: bytes) -> None:
        super().__init__(function, config, _with_bootstrap(code))


def _with_bootstrap(code: bytes) -> bytes:
    """The code with the entry point that a runtime-API worker starts."""
    archive = io.BytesIO(code)
    with zipfile.ZipFile(archive, "a") as package:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        package.writestr(entry, f'#!/bin/sh\nexec "{sys.executable}" -m awslambdaric "$_HANDLER"\n')
    return archive.getvalue()


def install() -> None:
    """Runs every Python function under awslambdaric."""
    worker_class_for = lambda_runtime._worker_class_for
    execute_warm = lambda_svc._execute_function_warm

    def choose(config: dict[str, Any]) -> Any:
        return _PythonWorker if _is_python(config) else worker_class_for(config)

    def execute(function: dict[str, Any], event: Any, request_id: str) -> Any:
        if _is_python(function.get("config") or function):
            return lambda_svc._execute_function_provided_warm(function, event, request_id)
        return execute_warm(function, event, request_id)

    lambda_runtime._worker_class_for = choose
    lambda_svc._execute_function_warm = execute


def _is_python(config: dict[str, Any]) -> bool:
    return str(config.get("Runtime", "")).startswith("python")
