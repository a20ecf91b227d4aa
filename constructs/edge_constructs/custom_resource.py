# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
import aws_cdk.aws_iam as iam
import aws_cdk.aws_lambda as lambda_
import aws_cdk.aws_logs as logs
from aws_cdk import custom_resources
from constructs import Construct

from edge_constructs.acknowledge import acknowledge
from edge_constructs.handler_function import RUNTIME, handler_code

_KERNEL = "handler_kernel"
# How often the waiter asks.
_POLL = cdk.Duration.seconds(5)


class CustomResourceProvider(Construct):
    """A Lambda handler behind the CDK's provider framework, with a role of its own and bounded time.

    Args:
        scope: the construct it stands in.
        id_: its id there.
        handler: a module of this package; it has `on_event` and, where `total_timeout` is given, `is_complete`.
        statements: all that the handler may do beside writing its log.
        modules: other modules of this package that the handler imports, beside the kernel.
        common: packages of component_src/common that the handler imports.
        total_timeout: how long the framework polls `is_complete`; None: the work is done when `on_event` returns.
        memory_size: of the handler, in MiB; its share of a processor goes with it.
        log_retention: how long logs are kept.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        handler: str,
        statements: Sequence[iam.PolicyStatement],
        modules: Sequence[str] = (),
        common: Sequence[str] = (),
        total_timeout: cdk.Duration | None = None,
        memory_size: int = 512,
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, id_)
        self._log_retention = log_retention
        self._memory_size = memory_size
        asynchronous = total_timeout is not None
        self._role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        for statement in statements:
            self._role.add_to_policy(statement)
        entries = ("on_event", "is_complete") if asynchronous else ("on_event",)
        with handler_code((_KERNEL, *modules, handler), common) as code:
            functions = [self._function(code, f"edge_constructs.{handler}", entry) for entry in entries]
        self._provider = custom_resources.Provider(
            self,
            "Provider",
            on_event_handler=functions[0],
            is_complete_handler=functions[1] if asynchronous else None,
            query_interval=_POLL if asynchronous else None,
            total_timeout=total_timeout,
            log_group=self._log_group("ProviderLogs"),
        )
        self._acknowledge_framework(functions)
        if asynchronous:
            self._acknowledge_waiter()

    @property
    def service_token(self) -> str:
        """What a `CustomResource` is given as its `service_token`."""
        return self._provider.service_token

    def _log_group(self, id_: str) -> logs.LogGroup:
        return logs.LogGroup(self, id_, retention=self._log_retention, removal_policy=cdk.RemovalPolicy.DESTROY)

    def _function(self, code: lambda_.Code, module: str, entry: str) -> lambda_.Function:
        id_ = "".join(part.title() for part in entry.split("_"))
        log_group = self._log_group(f"{id_}Logs")
        log_group.grant_write(self._role)
        return lambda_.Function(
            self,
            id_,
            code=code,
            handler=f"{module}.{entry}",
            runtime=RUNTIME,
            role=self._role,
            timeout=cdk.Duration.minutes(14),
            memory_size=self._memory_size,
            ephemeral_storage_size=cdk.Size.gibibytes(4),
            log_group=log_group,
        )

    def _acknowledge_framework(self, functions: Sequence[lambda_.Function]) -> None:
        acknowledge(
            self._provider,
            rule="AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole]",
            reason="The CDK's provider framework attaches this policy to its own functions: log writing only.",
        )
        # The framework invokes the handler's functions, and its waiter all of the framework's own but the first.
        framework = [child for child in self._provider.node.find_all() if isinstance(child, lambda_.Function)]
        waited_for = [function for function in framework if function.node.id != "framework-onEvent"]
        for function in (*functions, *waited_for):
            element = function.node.default_child
            assert isinstance(element, cdk.CfnElement)  # noqa: S101 -- for mypy: a function's default child is one
            logical_id = cdk.Stack.of(self).resolve(element.logical_id)
            acknowledge(
                self._provider,
                rule=f"AwsSolutions-IAM5[Resource::<{logical_id}.Arn>:*]",
                reason="The CDK's provider framework lets itself invoke every version of this one function.",
            )

    def _acknowledge_waiter(self) -> None:
        for rule, what in (("AwsSolutions-SF1", "logs errors only"), ("AwsSolutions-SF2", "is not traced")):
            acknowledge(
                self._provider,
                rule=rule,
                reason=f"The CDK's waiter state machine {what}: its events hold the signed response address, and the "
                "handler logs every step itself.",
            )
