"""Folders as the records know them: there are those that files are in, and those that are noted.

One that comes to be, or is no more, is told of in the very step that makes it so, whatever that is: a file that comes,
goes or is moved, or a note.
"""

from __future__ import annotations

FOLDER = "folder"
"""The kind of the sheets that note folders; their names are their paths."""

FOLDERS_LUA = """
local had, turned = {}, {}

local function holds_files(project, folder)
  return redis.call('ZSCORE', P .. 'folders:' .. project, folder) ~= false
end

local function is_noted(project, folder)
  return redis.call('HEXISTS', P .. 'sheets:' .. project .. ':folder:names', folder) == 1
end

local function turn_folder(folder, before)
  if had[folder] == nil then had[folder], turned[#turned + 1] = before, folder end
end

-- Files are in this folder now.
local function fill_folder(project, folder)
  if redis.call('ZADD', P .. 'folders:' .. project, 0, folder) == 1 then turn_folder(folder, false) end
end

-- None are any more.
local function empty_folder(project, folder)
  if redis.call('ZREM', P .. 'folders:' .. project, folder) == 1 then turn_folder(folder, true) end
end

local function tell_folder(project, folder, at, is_there, unheard)
  emit(is_there and 'folder.created' or 'folder.deleted', project, folder, at, cjson.encode({folder = folder}), nil,
    unheard)
end

-- Of those that came to be in this step, or are no more.
local function tell_folders(project, at, unheard)
  for _, folder in ipairs(turned) do
    local is_there = holds_files(project, folder)
    if is_there ~= had[folder] and not is_noted(project, folder) then
      tell_folder(project, folder, at, is_there, unheard)
    end
  end
  had, turned = {}, {}
end
"""
