-- ARGV: holder, for how long.
function operations.acquire_lease()
  local held = redis.call('HMGET', KEYS[1], 'id', 'lease_holder', 'lease_until_seconds')
  if not held[1] then return 0 end
  local at = now()
  if held[3] and tonumber(held[3]) > at and held[2] ~= ARGV[4] then return 0 end
  redis.call('HSET', KEYS[1], 'lease_holder', ARGV[4], 'lease_until_seconds', seconds(at + ARGV[5]))
  return 1
end

-- ARGV: holder.
function operations.release_lease()
  local held = redis.call('HMGET', KEYS[1], 'lease_holder', 'lease_until_seconds')
  if not held[2] or held[1] ~= ARGV[4] then return 0 end
  redis.call('HDEL', KEYS[1], 'lease_holder', 'lease_until_seconds')
  return 1
end

-- Return the live row that an attempt is about; ARGV: expected generation, expected attempt.
local function attempted()
  local row = read(KEYS[1])
  if row == nil or not live(row) then return nil end
  if row.generation ~= ARGV[4] or row.intent_attempt ~= ARGV[5] then return nil end
  return row
end

-- ARGV: expected generation, expected attempt, digest, for how long, whether it is a replay.
function operations.open_intent()
  local row, at = attempted(), now()
  if row == nil then return 0 end
  local deadline = row.intent_deadline_seconds
  if deadline ~= '' and tonumber(deadline) > at and ARGV[8] ~= '1' then return 0 end
  change(connections, row.id, row, {
    intent_digest = ARGV[6], intent_sent_at_seconds = seconds(at), intent_deadline_seconds = seconds(at + ARGV[7]),
    intent_attempt = raised(row.intent_attempt),
  })
  return 1
end

-- ARGV: expected generation, expected attempt, whether it is uncertain, whether it is open, its time, then names and
-- values of what changes.
function operations.write_failure()
  local row, changes = attempted(), given(9)
  if row == nil then return 0 end
  changes.failures = raised(row.failures)
  if row.failing_since_seconds == '' then changes.failing_since_seconds = ARGV[8] end
  if ARGV[6] ~= '1' then with(changes, {intent_digest = '', intent_sent_at_seconds = ''}) end
  if ARGV[7] ~= '1' then changes.intent_deadline_seconds = '' end
  change(connections, row.id, row, changes)
  return 1
end

-- ARGV: when it was to be warned, when it is next.
function operations.write_warning()
  local row = read(KEYS[1])
  if row == nil or row.status ~= 'active' or row.warn_at_seconds ~= ARGV[4] then return 0 end
  change(connections, row.id, row, {warn_at_seconds = ARGV[5]})
  return 1
end
