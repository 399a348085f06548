"""Where a file is found: its card, the indexes it stands in, and the sums it counts in.

A card is what the server must know of a file to find it, sort it, and take it out again: name, path, size, content,
storage, lineage and facets. A facet is something files can be asked for by (`tag:sale`, `in:shop/shoes`,
`type:image/*`, `private`); each is an index in the order of creation. `CARDS_LUA` alone writes them, in the same step
as the record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import orjson

from pipeline.labels import above, folded
from pipeline.model import File
from pipeline.records.base import BELOW_LUA, score
from pipeline.records.changes import HEED_LUA
from pipeline.records.folders import FOLDERS_LUA

CARDS_LUA = (
    BELOW_LUA
    + HEED_LUA
    + FOLDERS_LUA
    + """
local function card_of(project, id)
  local text = redis.call('HGET', P .. 'cards:' .. project, id)
  return text and cjson.decode(text)
end

local function facet_key(project, facet) return P .. 'files:' .. project .. ':' .. facet end

local function bump(key, deltas)
  for name, by in pairs(deltas) do
    if by ~= 0 and redis.call('HINCRBY', key, name, by) == 0 then redis.call('HDEL', key, name) end
  end
end

local function sums(card, sign)
  local size, here = sign * card.size, card.storage
  return {files = sign, bytes = size, ['files:' .. here] = sign, ['bytes:' .. here] = size}
end

-- A count that is under way has seen everything up to its place; what changes behind it is told to it.
local function weigh(project, id, created, card, sign)
  local deltas = sums(card, sign)
  bump(P .. 'usage:' .. project, deltas)
  local count = P .. 'count:' .. project
  local place = redis.call('HMGET', count, 'score', 'member', 'sha256')
  local top, at = tonumber(place[1]), tonumber(created)
  local seen = place[3] or (top and (at < top or (at == top and not below(place[2], id))))
  if seen then bump(count, deltas) end
end

-- A file counts as double when another of the same bytes is there.
local function weigh_double(project, card, sign)
  local same = '[' .. card.sha256 .. ':'
  if redis.call('ZLEXCOUNT', P .. 'hashes:' .. project, same, same .. '\\255') > 0 then
    local deltas, count = {doubles = sign, double_bytes = sign * card.size}, P .. 'count:' .. project
    bump(P .. 'usage:' .. project, deltas)
    local reached = redis.call('HGET', count, 'sha256')
    if reached and not below(reached, card.sha256) then bump(count, deltas) end
  end
end

local function add_facets(project, id, created, facets)
  for _, facet in ipairs(facets) do
    redis.call('ZADD', facet_key(project, facet), created, id)
    if facet:sub(1, 6) == 'below:' then fill_folder(project, facet:sub(7)) end
  end
end

local function remove_facets(project, id, facets)
  for _, facet in ipairs(facets) do
    local key = facet_key(project, facet)
    redis.call('ZREM', key, id)
    if facet:sub(1, 6) == 'below:' and redis.call('EXISTS', key) == 0 then empty_folder(project, facet:sub(7)) end
  end
end

local function without(facets, others)
  local known, rest = {}, {}
  for _, facet in ipairs(others) do known[facet] = true end
  for _, facet in ipairs(facets) do if not known[facet] then rest[#rest + 1] = facet end end
  return rest
end

-- Of those at one path the newest stands last.
local function seat(card, id) return card.path .. '\\0' .. card.headed .. '\\0' .. id end

local function seat_in(project, id, card)
  redis.call('ZADD', P .. 'paths:' .. project, 0, seat(card, id))
  call_heeded(project, 'path:' .. card.path)
  if card.lineage then redis.call('ZADD', P .. 'lineage:' .. project .. ':' .. card.lineage, card.headed, id) end
end

local function unseat(project, id, card)
  if not card.path then return end
  redis.call('ZREM', P .. 'paths:' .. project, seat(card, id))
  call_heeded(project, 'path:' .. card.path)
  if card.lineage then redis.call('ZREM', P .. 'lineage:' .. project .. ':' .. card.lineage, id) end
end

local function shelve(project, id, created, text)
  local card = cjson.decode(text)
  redis.call('ZADD', P .. 'ids:' .. project, 0, id)
  seat_in(project, id, card)
  redis.call('HSET', P .. 'cards:' .. project, id, text)
  add_facets(project, id, created, card.facets)
  redis.call('ZADD', P .. 'names:' .. project, 0, card.name .. '\\0' .. id)
  redis.call('ZADD', P .. 'sizes:' .. project, card.size, id)
  weigh_double(project, card, 1)
  redis.call('ZADD', P .. 'hashes:' .. project, 0, card.sha256 .. ':' .. id)
  weigh(project, id, created, card, 1)
end

local function unshelve(project, id, created, card)
  redis.call('ZREM', P .. 'ids:' .. project, id)
  unseat(project, id, card)
  redis.call('HDEL', P .. 'cards:' .. project, id)
  remove_facets(project, id, card.facets)
  redis.call('ZREM', P .. 'names:' .. project, card.name .. '\\0' .. id)
  redis.call('ZREM', P .. 'sizes:' .. project, id)
  redis.call('ZREM', P .. 'hashes:' .. project, card.sha256 .. ':' .. id)
  weigh_double(project, card, -1)
  weigh(project, id, created, card, -1)
end

-- What differs is moved; one that was on no shelf, or whose bytes are others, is taken out and put in.
local function reshelve(project, id, created, text)
  local old, new = card_of(project, id), cjson.decode(text)
  if not old then return shelve(project, id, created, text) end
  if old.sha256 ~= new.sha256 or old.size ~= new.size or old.storage ~= new.storage then
    unshelve(project, id, created, old)
    return shelve(project, id, created, text)
  end
  redis.call('HSET', P .. 'cards:' .. project, id, text)
  redis.call('ZADD', P .. 'ids:' .. project, 0, id)
  unseat(project, id, old)
  seat_in(project, id, new)
  add_facets(project, id, created, without(new.facets, old.facets))
  remove_facets(project, id, without(old.facets, new.facets))
  if old.name ~= new.name then
    redis.call('ZREM', P .. 'names:' .. project, old.name .. '\\0' .. id)
    redis.call('ZADD', P .. 'names:' .. project, 0, new.name .. '\\0' .. id)
  end
end
"""
)


def card_text(file: File) -> bytes:
    """The card of a file as it lies on record; equal files have equal ones."""
    card = {"name": folded(file.name), "size": file.size, "mime": file.mime, "sha256": file.sha256}
    card |= {"path": path_of(file), "headed": f"{score(file.headed_at or file.created_at):016d}"}
    card |= {"lineage": file.lineage} if file.lineage else {}
    return orjson.dumps(card | {"storage": file.storage, "facets": facets_of(file)})


def path_of(file: File) -> str:
    """Its folder and name."""
    return f"{file.folder}/{file.name}" if file.folder else file.name


def facets_of(file: File) -> Sequence[str]:
    """Everything the file can be asked for by."""
    folders = [in_folder(file.folder), *(below_folder(folder) for folder in above(file.folder))]
    kinds = [of_type(file.mime), of_type(f"{file.mime.partition('/')[0]}/*")]
    words = [found_word(word) for word in found_words(file)]
    told = [*map(tagged, file.tags), *words, *(described(key, value) for key, value in file.metadata.items())]
    states = {"unstored": file.stored_at is None, "private": file.private, "made": file.run is not None}
    rooted = [of_root(file.root), "rooted"] if file.root else []
    return [*folders, *kinds, *told, *rooted, *(state for state, holds in states.items() if holds)]


def tagged(tag: str) -> str:
    return f"tag:{tag}"


def found_words(file: File) -> Sequence[str]:
    """What flows found a picture to show, as it lies in its facts."""
    found = file.facts.get("ai_tags")
    return [str(tag.get("name", "")) for tag in found or () if isinstance(tag, Mapping)]


def found_word(word: str) -> str:
    return f"found:{word}"


def in_folder(folder: str) -> str:
    return f"in:{folder}"


def below_folder(folder: str) -> str:
    return f"below:{folder}"


def of_root(id: str) -> str:
    return f"root:{id}"


def of_type(mime: str) -> str:
    return f"type:{mime}"


def described(key: str, value: str) -> str:
    """The facet of a metadata key with this value; values are long, so a digest stands for them."""
    return f"meta:{hashlib.blake2b(f'{key}={value}'.encode(), digest_size=16).hexdigest()}"
