"""The run that follows an upload: judged before a byte is taken, and on record in the very step that makes the file.

So the run's id can be told from the beginning, there is exactly one run however often the upload is finished, and no
file without it, whoever is killed when.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.errors import FlowNotFound
from pipeline.flows import FlowRegistry
from pipeline.jobs import run_slip
from pipeline.model import File, Follow, Grant, Intake, NodeState, Run, Upload
from pipeline.records.queue import Slip
from pipeline.runs import Runs, check_inputs

ANY = ("*/*",)


class Following:
    """Answers for the flows that uploads name."""

    def __init__(self, runs: Runs, flows: FlowRegistry, prefix: str) -> None:
        self._runs = runs
        self._flows = flows
        self._prefix = prefix

    async def narrowed(self, grant: Grant, intake: Intake) -> Intake:
        """The intake with its flow pinned to the version that is active now, and held to what that accepts.

        Raises `FlowNotFound` (also for a flow that the grant may not name), `FlowPaused`, `InputUnknown`,
        `InputMissing` or `ParamsInvalid`.
        """
        follow = intake.follow
        if follow is None or follow.version is not None:
            return intake
        if not grant.may_name(follow.flow):
            raise FlowNotFound(id=follow.flow)
        flow = await self._runs.flow(follow.flow)
        fed = follow.input or next(iter(flow.inputs))
        check_inputs(flow, {fed: ["its file"]})
        pinned = {"version": flow.version, "input": fed, "params": flow.check_params(dict(follow.params))}
        accept = flow.accept
        bounds = {
            # Where a route has said its own, the file is held to those of the flow when it is there.
            "types": accept.types if tuple(intake.types) == ANY else intake.types,
            "max_size": _least((intake.max_size, accept.max_size)),
            "max_pixels": _least((intake.max_pixels, accept.max_pixels)),
        }
        return intake.model_copy(update={"follow": follow.model_copy(update=pinned), **bounds})

    async def prepared(self, grant: Grant, upload: Upload, file: File) -> tuple[Run, Slip] | None:
        """The run of a file that is about to be, and its job; None when none was asked for.

        Raises `TypeNotAllowed`, `FileTooLarge` or `ImageTooLarge` when the flow does not take it.
        """
        follow = upload.intake.follow
        if follow is None or upload.run is None:
            return None
        run = await self._run(grant, upload.run, follow, file)
        return run, run_slip(self._prefix, run)

    async def _run(self, grant: Grant, id: str, follow: Follow, file: File) -> Run:
        flow = await self._flows.get(follow.flow, follow.version)
        flow.accept.check(file)
        return Run(
            id=id,
            project=grant.project.id,
            flow=flow.id,
            version=flow.version,
            queue=flow.queue,
            inputs={follow.input or next(iter(flow.inputs)): (file.id,)},
            params=follow.params,
            metadata=follow.metadata,
            hook=follow.hook,
            heard=grant.project.names_steps(follow.hook),
            nodes={id: NodeState(type=node.type) for id, node in flow.nodes.items()},
        )


def _least(bounds: Iterable[int | None]) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)
