-- What every script begins with. ARGV[1] names the operation, ARGV[2] is the vault's prefix with its hash tag, ARGV[3]
-- the time, "" for the server's own. KEYS[1] is the record or index that the operation starts from. Which other keys it
-- touches depends on what is stored there: each is made from the same prefix, so it lies in the slot of KEYS[1].
local prefix, clock = ARGV[2], ARGV[3]
local operations = {}

local RETIRED = redis.error_reply('SVRETIRED the key is retired')
local EXISTS = redis.error_reply('SVEXISTS there is one of this id')

local function now()
  if clock ~= '' then return tonumber(clock) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Seventeen digits keep a double exactly.
local function seconds(number)
  return string.format('%.17g', number)
end

local function raised(number)
  return string.format('%.0f', number + 1)
end

-- Join texts so that no other texts join to the same.
local function joined(...)
  local parts = {}
  for number, part in ipairs({...}) do parts[number] = #part .. ':' .. part end
  return table.concat(parts)
end

-- A field that is not stored is empty.
local EMPTY = {__index = function() return '' end}

local function read(key)
  local flat = redis.call('HGETALL', key)
  if #flat == 0 then return nil end
  local record = {}
  for position = 1, #flat, 2 do record[flat[position]] = flat[position + 1] end
  return setmetatable(record, EMPTY)
end

-- Return a record of the names and values that follow each other in ARGV from `first` on.
local function given(first, last)
  local record = {}
  for position = first, last or #ARGV, 2 do record[ARGV[position]] = ARGV[position + 1] end
  return setmetatable(record, EMPTY)
end

local function write(key, changes)
  local set, unset = {}, {}
  for field, value in pairs(changes) do
    if value == '' then
      unset[#unset + 1] = field
    else
      set[#set + 1] = field
      set[#set + 1] = value
    end
  end
  -- In this order: a hash whose last field goes is gone, and so is its time to live.
  if #set > 0 then redis.call('HSET', key, unpack(set)) end
  if #unset > 0 then redis.call('HDEL', key, unpack(unset)) end
end

-- Move a member from the indexes it had to those it is to have; each maps an index to the member's score in it.
local function reindex(member, before, after)
  for index in pairs(before) do
    if after[index] == nil then redis.call('ZREM', prefix .. index, member) end
  end
  for index, score in pairs(after) do
    if before[index] ~= score then redis.call('ZADD', prefix .. index, score, member) end
  end
end

-- A kind of record: the key of one, and the indexes that one is in.
local function add(kind, id, record)
  write(kind.key(id), record)
  reindex(id, {}, kind.indexes(record))
end

local function change(kind, id, record, changes)
  local after = {}
  for field, value in pairs(record) do after[field] = value end
  for field, value in pairs(changes) do after[field] = value end
  write(kind.key(id), changes)
  reindex(id, kind.indexes(record), kind.indexes(setmetatable(after, EMPTY)))
end

local function remove(kind, id, record)
  redis.call('DEL', kind.key(id))
  reindex(id, kind.indexes(record), {})
end

local function members(index)
  return redis.call('ZRANGE', prefix .. index, 0, -1)
end

-- The members of an index with their records; one whose record the server has dropped, against its orders, is left out.
local function stored(kind, index)
  local found = {}
  for _, id in ipairs(members(index)) do
    local record = read(kind.key(id))
    if record then found[#found + 1] = {id = id, record = record} end
  end
  return found
end
