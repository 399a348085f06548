-- What wrk sends for one file, by the way named as its argument. One connection a thread: a request may say what the
-- answer before it told, an address or an id.

local file = string.rep('x', 50000)
local KEY, PRIVATE = 'Bearer benchmark-key', 'Basic YmVuY2htYXJrLXNlY3JldDo='
local BYTES, JSON, FORM = 'application/octet-stream', 'application/json', 'multipart/form-data; boundary=frontier'
local START = '--frontier\r\nContent-Disposition: form-data; name='
local told = {}

local function form(name)
  local field = name and START .. '"fileName"\r\n\r\n' .. name .. '\r\n' or ''
  return field .. START .. '"file"; filename="a.bin"\r\n\r\n' .. file .. '\r\n--frontier--\r\n'
end

local function ask(method, path, type, body, key)
  return wrk.format(method, path, {['Content-Type'] = type, ['Authorization'] = key}, body)
end

local function word(text, name) return (text:match('"' .. name .. '": ?"([^"]*)"')) end
local function path(text, name) return (word(text, name):match('^https?://[^/]+(.*)$')) end

local function send_form() return ask('POST', told.url, FORM, form()) end
local function put() return ask('PUT', told.url, BYTES, file) end

local WAYS = {
  native = {{function() return ask('POST', '/v1/files?name=a.bin', BYTES, file, KEY) end}},
  native_ticket = {
    {function() return ask('POST', '/v1/tickets', JSON, '{}', KEY) end, function(text) told.url = path(text, 'url') end},
    {send_form},
  },
  native_put = {
    {
      function()
        local body = '{"name": "a.bin", "size": 50000, "type": "' .. BYTES .. '", "way": "put"}'
        return ask('POST', '/v1/uploads', JSON, body, KEY)
      end,
      function(text) told.url, told.id = path(text, 'url'), word(text, 'id') end,
    },
    {put},
    {function() return ask('POST', '/v1/uploads/' .. told.id .. '/finish', JSON, '{}', KEY) end},
  },
  imagekit = {{function() return ask('POST', '/imagekit/api/v1/files/upload', FORM, form('a.bin'), PRIVATE) end}},
  ittybit = {
    {function() return ask('POST', '/ittybit/uploads', JSON, '{}', KEY) end, function(text) told.url = path(text, 'url') end},
    {send_form},
  },
  uploadkit = {
    {
      function()
        local body = '{"fileName": "a.bin", "fileSize": 50000, "contentType": "' .. BYTES .. '", "routeSlug": "default"}'
        return ask('POST', '/uploadkit/api/v1/upload/request', JSON, body, KEY)
      end,
      function(text) told.url, told.id = path(text, 'uploadUrl'), word(text, 'fileId') end,
    },
    {put},
    {function() return ask('POST', '/uploadkit/api/v1/upload/complete', JSON, '{"fileId": "' .. told.id .. '"}', KEY) end},
  },
}

local steps, at

function init(args) steps, at = WAYS[args[1]], 1 end

function request() return steps[at][1]() end

function response(status, headers, text)
  if steps[at][2] then steps[at][2](text) end
  at = at % #steps + 1
end
