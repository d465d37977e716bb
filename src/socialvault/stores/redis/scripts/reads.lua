-- Every operation: ARGV[4] is how many fields of a record are read, their names follow. The index names its members.
local last_field = 4 + ARGV[4]
local first = last_field + 1

local function fields(key)
  return redis.call('HMGET', key, unpack(ARGV, 5, last_field))
end

-- The first field is the record's own id, so a record that lacks it is not there.
local function collect(found, key)
  local values = fields(key)
  if values[1] then found[#found + 1] = values end
end

local function records(kind, ids)
  local found = {}
  for _, id in ipairs(ids) do collect(found, kind.key(id)) end
  return found
end

-- KEYS[1]: an index of connections.
function operations.live_connections()
  local found = {}
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if live({status = redis.call('HGET', connections.key(id), 'status')}) then
      collect(found, connections.key(id))
    end
  end
  return found
end

-- KEYS: the live rows of an account, its tombstones. Children are among the former.
function operations.account()
  local found = {}
  for _, index in ipairs(KEYS) do
    for _, id in ipairs(redis.call('ZRANGE', index, 0, -1)) do
      if redis.call('HEXISTS', connections.key(id), 'parent_id') == 0 then
        collect(found, connections.key(id))
      end
    end
  end
  return found
end

-- KEYS[1]: the live rows of a grant. ARGV: the id of the row that is not counted, and neither are its children.
function operations.count_siblings()
  local count = 0
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    if id ~= ARGV[first] and redis.call('HGET', connections.key(id), 'parent_id') ~= ARGV[first] then
      count = count + 1
    end
  end
  return count
end

-- KEYS[1]: an index by time. ARGV: until when, at most how many.
local function due(kind)
  return records(kind, redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[first], 'LIMIT', 0, ARGV[first + 1]))
end

function operations.due_connections() return due(connections) end
function operations.due_revocations() return due(revocations) end

-- KEYS[1]: an index of revocations.
function operations.revocations()
  return records(revocations, redis.call('ZRANGE', KEYS[1], 0, -1))
end

local KINDS = {
  connection = connections, revocation = revocations, kek = keys.kek, vault = keys.vault, data = keys.data,
}

-- KEYS[1]: an index of ids. ARGV: the kind, after which id, at most how many records, and at most how many are looked
-- at, for others wait meanwhile; then names and values to match. Returns the last id looked at, "" at the end, and the
-- records.
function operations.page()
  local kind, after, limit, most = KINDS[ARGV[first]], ARGV[first + 1], tonumber(ARGV[first + 2]), ARGV[first + 3]
  local ids, found = redis.call('ZRANGEBYLEX', KEYS[1], '(' .. after, '+', 'LIMIT', 0, most), {}
  for _, id in ipairs(ids) do
    local key, fits = kind.key(id), true
    for position = first + 4, #ARGV, 2 do
      fits = fits and (redis.call('HGET', key, ARGV[position]) or '') == ARGV[position + 1]
    end
    if fits then collect(found, key) end
    if #found == limit then return {id, found} end
  end
  return {#ids == tonumber(most) and ids[#ids] or '', found}
end

-- ARGV: names of indexes. Returns how many members each has.
function operations.sizes()
  local sizes = {}
  for position = first, #ARGV do sizes[#sizes + 1] = redis.call('ZCARD', prefix .. ARGV[position]) end
  return sizes
end

-- KEYS: a state, and the mark that it was claimed. Returns the time, whether there is that mark, and the row.
function operations.state()
  return {seconds(now()), redis.call('EXISTS', KEYS[2]), fields(KEYS[1])}
end

-- ARGV: level, id.
function operations.uses()
  return uses(ARGV[first], ARGV[first + 1])
end

-- KEYS[1]: the index of a scope's primary key. ARGV: level.
function operations.primary()
  local id = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  return id and fields(keys[ARGV[first]].key(id))
end
