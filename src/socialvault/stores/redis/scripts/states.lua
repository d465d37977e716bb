-- What an outage of the purge may leave behind vanishes by itself this long after a flow's time.
local GRACE_SECONDS = 3600

-- Let a key live for as long as its longest-lived member, which is `ttl` from now.
local function keep_for(key, milliseconds)
  local left = redis.call('PTTL', key)
  if left < milliseconds then redis.call('PEXPIRE', key, milliseconds) end
end

-- ARGV: hash, time to live, names and values of the row. KEYS[2] says that the state was claimed before: it outlives
-- the row, so that a row that comes back, from a backup of its key or from a merge, is not claimed a second time.
function operations.put_state()
  local hash, row, at = ARGV[4], given(6), now()
  if retired('data', row.key_id) then return RETIRED end
  if redis.call('EXISTS', KEYS[1], KEYS[2]) > 0 then return EXISTS end
  row.phase, row.expires_at_seconds = 'pending', seconds(at + ARGV[5])
  add(states, hash, row)
  local milliseconds = math.ceil((ARGV[5] + GRACE_SECONDS) * 1000)
  redis.call('PEXPIRE', KEYS[1], milliseconds)
  for index in pairs(states.indexes(row)) do
    if index ~= 'states' then redis.call('ZREMRANGEBYSCORE', prefix .. index, '-inf', seconds(at)) end
    keep_for(prefix .. index, milliseconds)
  end
  return 1
end

-- ARGV: hash; tenant, owner and provider joined; binding; the names of the fields that are read. Returns the row.
function operations.claim_state()
  local hash, row = ARGV[4], read(KEYS[1])
  if row == nil or row.phase ~= 'pending' or tonumber(row.expires_at_seconds) <= now() then return false end
  if joined(row.tenant, row.owner, row.provider) ~= ARGV[5] then return false end
  -- Digests on both sides: what the time of this comparison tells is of no use to whoever lacks the cookie.
  if row.binding ~= ARGV[6] or redis.call('EXISTS', KEYS[2]) == 1 then return false end
  local claimed = redis.call('HMGET', KEYS[1], unpack(ARGV, 7))
  change(states, hash, row, {phase = 'claimed', sealed = '', key_id = ''})
  local left = redis.call('PTTL', KEYS[1])  -- none where the row was put back by hand
  redis.call('SET', KEYS[2], '', 'PX', left > 0 and left or GRACE_SECONDS * 1000)
  return claimed
end

-- ARGV: hash, names and values of the outcome.
function operations.finish_state()
  local row = read(KEYS[1])
  if row == nil or row.phase ~= 'claimed' then return 0 end
  local outcome = given(5)
  outcome.phase = 'done'
  change(states, ARGV[4], row, outcome)
  return 1
end

-- ARGV: at most how many. KEYS[1]: the index of all states.
function operations.purge_states()
  local over = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', seconds(now()), 'LIMIT', 0, ARGV[4])
  for _, hash in ipairs(over) do
    local row = read(states.key(hash))
    if row then remove(states, hash, row) else redis.call('ZREM', KEYS[1], hash) end
  end
  return #over
end
