"""The fourth choice of a strategy: how many clusters share the vector work of a stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from cimsim.blocks import PmcaClusters
from cimsim.errors import MappingError
from cimsim.schedule.pipelines.protocol import Pipeline
from cimsim.values.arguments import AtLeast, checked
from cimsim.values.display import shown


@checked(MappingError)
@dataclass(frozen=True, slots=True)
class Sharing:
    """`share_clusters` neighbours share attention and vector work, `pmca.pool_clusters` if None."""

    share_clusters: Annotated[int, AtLeast(1)] | None = None
    name: ClassVar[str] = "shared"


GROUP = Sharing()
"""The clusters of one group."""


@checked(MappingError)
def clusters_shared(pipeline: Pipeline, pmca: PmcaClusters) -> int:
    """Clusters that share vector work under `pipeline`.

    Raises MappingError for what is neither whole groups nor all clusters, or more than there are.
    """
    asked, group, every = pipeline.share_clusters, pmca.pool_clusters, pmca.cluster_count
    if asked is None:
        return group
    if isinstance(asked, bool) or not isinstance(asked, int) or asked > every:
        raise MappingError(
            f"pipeline {pipeline.name!r} has share_clusters={shown(asked)}, but the machine has "
            f"{every} clusters (pmca.cluster_count): share at most as many"
        )
    if asked < 1 or (asked % group and asked != every):
        raise MappingError(
            f"pipeline {pipeline.name!r} has share_clusters={asked}, which is no multiple of the "
            f"{group} clusters of a group (pmca.pool_clusters): share "
            f"{max(1, asked // group) * group}, or all {every}"
        )
    return asked
