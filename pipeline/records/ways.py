"""The two ways to a page of files, as scripts; `finding` tells what they are and asks for them."""

from __future__ import annotations

from pipeline.records.cards import CARDS_LUA

SMALL = 1500
"""A set of so many files is sorted by the server itself."""

ASKED_LUA = """
local function take_list()
  local found = {}
  for i = 1, tonumber(take()) do found[i] = take() end
  return found
end

local function take_query()
  local query = {groups = {}}
  for i = 1, tonumber(take()) do query.groups[i] = take_list() end
  query.absent = take_list()
  query.least, query.most = tonumber(take()), tonumber(take())
  query.since, query.before = tonumber(take()), tonumber(take())
  query.name, query.prefix, query.part, query.sha256 = take(), take(), take(), take()
  -- A whole name is a beginning that its end goes on from.
  query.start = query.name ~= '' and query.name .. '\\0' or query.prefix
  query.of_card = query.least or query.most or query.part ~= '' or query.start ~= '' or query.sha256 ~= ''
  return query
end
"""

ORDER_LUA = """
local function earlier(a, b)
  local first, second = a, b
  if down then first, second = b, a end
  if first.key == second.key then return below(first.id, second.id) end
  if by == 'name' then return below(first.key, second.key) end
  return first.key < second.key
end

-- How many members stand before the place, from whichever end the list begins at.
local function passed(index, key, id)
  local score = string.format('%.0f', key)
  local range = down and 'ZREVRANGE' or 'ZRANGE'
  local low, high = '-inf', '(' .. score
  if down then low, high = '(' .. score, '+inf' end
  local first = redis.call('ZCOUNT', index, low, high)
  local last = first + redis.call('ZCOUNT', index, score, score)
  while first < last do
    local middle = math.floor((first + last) / 2)
    local there = {key = key, id = redis.call(range, index, middle, middle)[1]}
    if earlier({key = key, id = id}, there) then last = middle else first = middle + 1 end
  end
  return first
end

-- Up to `count` members of a range behind a place, and whether that was the last of them.
local function along(index, low, high, place, count)
  local from, border = 0, high
  if not down then border = low end
  if place then from = passed(index, place.key, place.id)
  elseif border then
    local open = '(' .. string.format('%.0f', border)
    from = down and redis.call('ZCOUNT', index, open, '+inf') or redis.call('ZCOUNT', index, '-inf', open)
  end
  local found = redis.call(down and 'ZREVRANGE' or 'ZRANGE', index, from, from + count - 1, 'WITHSCORES')
  local rows = {}
  for i = 1, #found, 2 do
    local key = tonumber(found[i + 1])
    if (down and low and key < low) or (not down and high and key > high) then return rows, true end
    rows[#rows + 1] = {id = found[i], key = key}
  end
  return rows, #rows < count
end

-- The same of several indexes at once. Behind the nearest end of one that goes on, others may hold what it would too.
local function along_all(indexes, low, high, place, count)
  local rows, seen, horizon, whole = {}, {}, nil, true
  local each = #indexes == 1 and count or math.max(20, math.floor(count / #indexes))
  for _, index in ipairs(indexes) do
    local found, done = along(index, low, high, place, each)
    if not done then
      whole = false
      if not horizon or earlier(found[#found], horizon) then horizon = found[#found] end
    end
    for _, row in ipairs(found) do
      if not seen[row.id] then rows[#rows + 1] = row end
      seen[row.id] = true
    end
  end
  if #indexes > 1 then table.sort(rows, earlier) end
  while horizon and #rows > 0 and earlier(horizon, rows[#rows]) do rows[#rows] = nil end
  return rows, whole
end

local function row_of(member)
  local border = string.find(member, '\\0', 1, true)
  return {key = string.sub(member, 1, border - 1), id = string.sub(member, border + 1)}
end

local function along_names(start, place, count)
  local low, high = '-', '+'
  if start ~= '' then low, high = '[' .. start, '[' .. start .. '\\255' end
  if place and down then high = '(' .. place.key .. '\\0' .. place.id end
  if place and not down then low = '(' .. place.key .. '\\0' .. place.id end
  local names, found = P .. 'names:' .. project, nil
  if down then found = redis.call('ZREVRANGEBYLEX', names, high, low, 'LIMIT', 0, count)
  else found = redis.call('ZRANGEBYLEX', names, low, high, 'LIMIT', 0, count) end
  local rows = {}
  for i, member in ipairs(found) do rows[i] = row_of(member) end
  return rows, #rows < count
end
"""

WAYS_LUA = """
local all, sizes = P .. 'files:' .. project, P .. 'sizes:' .. project
local names, hashes = P .. 'names:' .. project, P .. 'hashes:' .. project

local function bound(value, other)
  if not value then return other end
  return string.format('%.0f', value)
end

local function keys_of(group)
  local keys = {}
  for i, facet in ipairs(group) do keys[i] = facet_key(project, facet) end
  return keys
end

-- Each way: what it goes along, how many lie on it, and the order in which they do.
local function ways(query)
  local since, last = query.since, query.before and query.before - 1
  local found = {{order = 'created', keys = {all}, count = redis.call('ZCOUNT', all, bound(since, '-inf'),
    bound(last, '+inf'))}}
  for place, group in ipairs(query.groups) do
    local way = {order = 'created', keys = keys_of(group), count = 0, group = place}
    for _, key in ipairs(way.keys) do way.count = way.count + redis.call('ZCARD', key) end
    found[#found + 1] = way
  end
  found[#found + 1] = {order = 'size', count = redis.call('ZCOUNT', sizes, bound(query.least, '-inf'),
    bound(query.most, '+inf'))}
  local low, high = '-', '+'
  if query.start ~= '' then low, high = '[' .. query.start, '[' .. query.start .. '\\255' end
  found[#found + 1] = {order = 'name', count = redis.call('ZLEXCOUNT', names, low, high)}
  if query.sha256 ~= '' then
    local same = '[' .. query.sha256 .. ':'
    found[#found + 1] = {order = 'none', count = redis.call('ZLEXCOUNT', hashes, same, same .. '\\255')}
  end
  return found
end

local function chosen(query)
  local best, along_order
  for _, way in ipairs(ways(query)) do
    if not best or way.count < best.count then best = way end
    if way.order == by and (not along_order or way.count < along_order.count) then along_order = way end
  end
  if best.order ~= by and best.count <= SMALL then return best end
  return along_order
end

local function go_along(way, query, place, count)
  if by == 'created' then
    return along_all(way.keys, query.since, query.before and query.before - 1, place, count)
  end
  if by == 'size' then return along(sizes, query.least, query.most, place, count) end
  return along_names(query.start, place, count)
end

local function ids_on(way, query)
  if way.order == 'size' then
    return redis.call('ZRANGEBYSCORE', sizes, bound(query.least, '-inf'), bound(query.most, '+inf'))
  end
  local ids, seen = {}, {}
  local function add(id)
    if not seen[id] then ids[#ids + 1] = id end
    seen[id] = true
  end
  if way.order == 'created' then
    local low, high = bound(query.since, '-inf'), bound(query.before and query.before - 1, '+inf')
    for _, key in ipairs(way.keys) do
      for _, id in ipairs(redis.call('ZRANGEBYSCORE', key, low, high)) do add(id) end
    end
  elseif way.order == 'name' then
    local rows = redis.call('ZRANGEBYLEX', names, '[' .. query.start, '[' .. query.start .. '\\255')
    for _, member in ipairs(rows) do add(row_of(member).id) end
  else
    local same = '[' .. query.sha256 .. ':'
    for _, member in ipairs(redis.call('ZRANGEBYLEX', hashes, same, same .. '\\255')) do add(member:sub(66)) end
  end
  return ids
end
"""

FIT_LUA = """
local function cards_of(rows)
  local cards, ids = {}, {}
  if #rows == 0 then return cards end
  for i, row in ipairs(rows) do ids[i] = row.id end
  local texts = redis.call('HMGET', P .. 'cards:' .. project, unpack(ids))
  for i, row in ipairs(rows) do cards[row.id] = texts[i] and cjson.decode(texts[i]) end
  return cards
end

local function has_one(group, id)
  for _, facet in ipairs(group) do
    if redis.call('ZSCORE', facet_key(project, facet), id) then return true end
  end
  return false
end

local function card_fits(query, card)
  if not card then return false end
  if query.least and card.size < query.least then return false end
  if query.most and card.size > query.most then return false end
  if query.sha256 ~= '' and card.sha256 ~= query.sha256 then return false end
  if query.name ~= '' and card.name ~= query.name then return false end
  if query.prefix ~= '' and card.name:sub(1, #query.prefix) ~= query.prefix then return false end
  return query.part == '' or string.find(card.name, query.part, 1, true) ~= nil
end

local function created_fits(query, id)
  if not query.since and not query.before then return true end
  local created = tonumber(redis.call('ZSCORE', all, id))
  return created ~= nil and (not query.since or created >= query.since)
    and (not query.before or created < query.before)
end

local function fits(query, way, row, card)
  for place, group in ipairs(query.groups) do
    if place ~= way.group and not has_one(group, row.id) then return false end
  end
  for _, facet in ipairs(query.absent) do
    if redis.call('ZSCORE', facet_key(project, facet), row.id) then return false end
  end
  if query.of_card and not card_fits(query, card) then return false end
  return way.order == 'created' or created_fits(query, row.id)
end

local function key_of(row, card)
  if by == 'created' then return tonumber(redis.call('ZSCORE', all, row.id)) end
  return card and card[by]
end

-- All of a small set, in order and behind the place.
local function sorted(way, query, place)
  local rows, kept = {}, {}
  for i, id in ipairs(ids_on(way, query)) do rows[i] = {id = id} end
  local cards = cards_of(rows)
  for _, row in ipairs(rows) do
    row.key = key_of(row, cards[row.id])
    if row.key and (not place or earlier(place, row)) and fits(query, way, row, cards[row.id]) then
      kept[#kept + 1] = row
    end
  end
  table.sort(kept, earlier)
  return kept
end

-- Those of a stretch that fit, the place up to which it was looked at, and whether that was the end.
local function sifted(way, query, place, count, limit)
  local rows, whole = go_along(way, query, place, count)
  local cards, kept, last = {}, {}, place
  if query.of_card then cards = cards_of(rows) end
  for _, row in ipairs(rows) do
    if limit and #kept == limit then return kept, last, false end
    last = row
    if fits(query, way, row, cards[row.id]) then kept[#kept + 1] = row end
  end
  return kept, last, whole
end

local function spelt(key)
  if type(key) == 'number' then return string.format('%.0f', key) end
  return key
end

local function taken_place()
  local key, id = take(), take()
  if id == '' then return nil end
  if by ~= 'name' then key = tonumber(key) end
  return {key = key, id = id}
end
"""

HEAD_LUA = (
    CARDS_LUA
    + ASKED_LUA
    + f"local SMALL = {SMALL}\n"
    + "local project, by, down = take(), take(), take() == '1'\n"
    + ORDER_LUA
    + WAYS_LUA
    + FIT_LUA
)

FIND_LUA = (
    HEAD_LUA
    + """
local place, limit, count, query = taken_place(), tonumber(take()), tonumber(take()), take_query()
local way = chosen(query)
local kept, last, whole
if way.order == by then
  kept, last, whole = sifted(way, query, place, count, limit)
else
  kept, whole = sorted(way, query, place), true
end
local rows = {}
for i = 1, math.min(#kept, limit) do
  rows[i] = {kept[i].id, spelt(kept[i].key), redis.call('GET', P .. 'file:' .. kept[i].id)}
end
if whole and #kept <= limit then return {rows} end
if not last then last = kept[limit] end
return {rows, spelt(last.key), last.id}
"""
)

COUNT_LUA = (
    HEAD_LUA
    + """
-- What need not be counted because an index is as long as the answer.
local function known_count(query)
  if query.of_card or (#query.groups > 0 and (#query.groups[1] > 1 or query.since or query.before)) then return nil end
  if #query.groups + #query.absent > 1 then return nil end
  if #query.groups == 1 then return redis.call('ZCARD', facet_key(project, query.groups[1][1])) end
  if #query.absent == 1 and (query.since or query.before) then return nil end
  local whole = ways(query)[1].count
  return #query.absent == 0 and whole or whole - redis.call('ZCARD', facet_key(project, query.absent[1]))
end

local place, count, query = taken_place(), tonumber(take()), take_query()
local simple = known_count(query)
if simple then return {simple} end
local way = chosen(query)
if way.order ~= by then return {#sorted(way, query, place)} end
local kept, last, whole = sifted(way, query, place, count)
if whole then return {#kept} end
return {#kept, spelt(last.key), last.id}
"""
)
