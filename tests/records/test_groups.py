from __future__ import annotations

import pytest

from pipeline.errors import GroupNotFound
from pipeline.model import Group, new_id
from pipeline.records import Records
from tests.records.nouns import moment, whole_list


async def test_a_group_keeps_its_order(records: Records) -> None:
    group = Group(id=new_id() + "~2", project="demo", files=(new_id(), new_id()), created_at=moment(0))
    await records.groups.create(group)
    assert await records.groups.get(group.id) == group
    with pytest.raises(GroupNotFound):
        await records.groups.get(new_id())


async def test_groups_are_listed_newest_first(records: Records) -> None:
    groups = [Group(id=new_id(), project="demo", files=(), created_at=moment(number)) for number in range(9)]
    for group in groups:
        await records.groups.create(group)
    assert await whole_list(lambda cursor: records.groups.list("demo", cursor, 4)) == groups[::-1]
    assert (await records.groups.list("other")).items == ()
