# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_lambda as lambda_
import aws_cdk.aws_logs as logs
from constructs import Construct

from edge_package.archive import FileContent, read_tree, write_zip

RUNTIME = lambda_.Runtime.PYTHON_3_14
_HERE = Path(__file__).parent
_COMMON = _HERE.parents[1] / "component_src" / "common"


@contextlib.contextmanager
def handler_code(modules: Sequence[str], common: Sequence[str] = ()) -> Iterator[lambda_.Code]:
    """A handler's code: modules of this package, the handler's last, and packages of component_src/common.

    The CDK copies it when a function is declared with it, inside of the context; the file goes afterwards.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{modules[-1]}.zip")
        write_zip(_files(("__init__", *modules), common), path)
        yield lambda_.Code.from_asset(str(path))


def _files(modules: Sequence[str], common: Sequence[str]) -> dict[str, FileContent]:
    files = {f"edge_constructs/{name}.py": FileContent((_HERE / f"{name}.py").read_bytes()) for name in modules}
    for package in common:
        tree = read_tree(_COMMON / package, exclude=("__pycache__",))
        files.update({f"{package}/{path}": content for path, content in tree.items()})
    return files


class HandlerFunction(Construct):
    """A Lambda function for events, with a role of its own that may do what it is told, and write its log.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        handler: `<module of this package>.<entry point>`.
        modules: other modules of this package that it imports.
        variables: its environment variables.
        statements: all that it may do beside writing its log.
        timeout: of an invocation.
        log_retention: how long logs are kept.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        handler: str,
        modules: Sequence[str],
        variables: Mapping[str, str],
        statements: Sequence[iam.PolicyStatement],
        timeout: cdk.Duration,
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, id_)
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        for statement in statements:
            self.role.add_to_policy(statement)
        log_group = logs.LogGroup(self, "Logs", retention=log_retention, removal_policy=cdk.RemovalPolicy.DESTROY)
        log_group.grant_write(self.role)
        with handler_code((*modules, handler.partition(".")[0])) as code:
            self.function = lambda_.Function(
                self,
                "Function",
                code=code,
                handler=f"edge_constructs.{handler}",
                runtime=RUNTIME,
                role=self.role,
                environment=dict(variables),
                timeout=timeout,
                memory_size=256,
                log_group=log_group,
            )
