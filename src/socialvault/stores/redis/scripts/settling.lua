-- How connections end; `insert` ends some too.
local CLOSED_INTENT = {
  intent_digest = '', intent_sent_at_seconds = '', intent_deadline_seconds = '', intent_attempt = '0',
}

local function with(changes, more)
  for field, value in pairs(more) do changes[field] = value end
  return changes
end

local function wiped(changes)
  return with(with(changes, CLOSED_INTENT), {envelope = '', key_id = '', candidate = '', candidate_key_id = ''})
end

-- Revoke a tombstone for which no revocation is pending; return whether it was one.
local function settle(connection_id, reason, at_seconds)
  local row = read(connections.key(connection_id))
  if row == nil or row.status ~= 'revocation_pending' then return 0 end
  if redis.call('ZCARD', prefix .. 'connection_revocations:' .. connection_id) > 0 then return 0 end
  -- What a new connection brings may be older than the tombstone; the time of that does not go back.
  if tonumber(row.updated_at_seconds) > tonumber(at_seconds) then at_seconds = row.updated_at_seconds end
  change(connections, connection_id, row, wiped({status = 'revoked', reason = reason, updated_at_seconds = at_seconds}))
  return 1
end

local function forget_revocations(index)
  for _, each in ipairs(stored(revocations, index)) do remove(revocations, each.id, each.record) end
end
