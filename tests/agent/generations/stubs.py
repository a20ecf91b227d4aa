# SPDX-License-Identifier: Apache-2.0
"""Stubs of one generation, registered as generated ones are: in the process's default pool. So there is one a process.

Raises TypeError when other messages of these names are registered already.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.agent.generations.contract import ENUMS, ONEOF, Generation

_PACKAGE = "AWS.SageMaker.Edge"
_FieldProto = descriptor_pb2.FieldDescriptorProto


class Stubs:
    """Requests from fields, and answers as fields."""

    def __init__(self, generation: Generation) -> None:
        self._messages = generation.messages
        file = descriptor_pb2.FileDescriptorProto(name="agent.proto", package=_PACKAGE, syntax="proto3")
        for name, values in ENUMS.items():
            enum = file.enum_type.add(name=name)
            for number, value in enumerate(values):
                enum.value.add(name=value, number=number)
        for name in self._messages:
            self._declare(file, name)
        pool = descriptor_pool.Default()  # type: ignore[no-untyped-call] # published so
        pool.AddSerializedFile(file.SerializeToString())
        types = pool.FindFileByName(file.name).message_types_by_name
        self._classes = {name: message_factory.GetMessageClass(types[name]) for name in self._messages}

    def _declare(self, file: descriptor_pb2.FileDescriptorProto, name: str) -> None:
        message = file.message_type.add(name=name)
        fields = self._messages[name]
        if fields.keys() >= set(ONEOF):
            message.oneof_decl.add(name="data")
        for field, (number, kind) in fields.items():
            label = _FieldProto.LABEL_REPEATED if field.endswith("*") else _FieldProto.LABEL_OPTIONAL
            entry = message.field.add(name=field.rstrip("*"), number=number, label=label)
            if field in ONEOF:
                entry.oneof_index = 0
            if kind in ENUMS or kind in self._messages:
                entry.type = _FieldProto.TYPE_ENUM if kind in ENUMS else _FieldProto.TYPE_MESSAGE
                entry.type_name = f".{_PACKAGE}.{kind}"
            else:
                entry.type = _FieldProto.Type.Value(f"TYPE_{kind.upper()}")

    def request(self, rpc: str, fields: dict[str, Any]) -> bytes:
        message: bytes = self._classes[f"{rpc}Request"](**fields).SerializeToString()
        return message

    def response(self, rpc: str, content: bytes) -> dict[str, Any]:
        return self._plain(f"{rpc}Response", self._classes[f"{rpc}Response"].FromString(content))

    def _plain(self, name: str, message: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for field, (_, kind) in self._messages[name].items():
            value = getattr(message, field.rstrip("*"))
            if kind in self._messages and field.endswith("*"):
                values[field.rstrip("*")] = [self._plain(kind, one) for one in value]
            elif kind in self._messages:
                values[field] = self._plain(kind, value) if message.HasField(field) else None
            else:
                values[field.rstrip("*")] = list(value) if field.endswith("*") else value
        return values
