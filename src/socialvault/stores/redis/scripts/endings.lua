-- ARGV: expected generation, expected statuses between commas, whether to wipe, status, reason, time.
local function changed_row()
  local row = read(KEYS[1])
  if row == nil or row.generation ~= ARGV[4] then return nil end
  if not string.find(',' .. ARGV[5] .. ',', ',' .. row.status .. ',', 1, true) then return nil end
  return row
end

-- Whether another row has the account by now.
local function account_taken(row, status)
  if not live({status = status}) then return false end
  local holder = members(account_of(row))[1]
  return holder and holder ~= row.id
end

local function change_status(row)
  local changes = {status = ARGV[7], reason = ARGV[8], updated_at_seconds = ARGV[9]}
  if ARGV[6] == '1' then wiped(changes) end
  change(connections, row.id, row, changes)
end

function operations.write_status()
  local row = changed_row()
  if row == nil then return 0 end
  if account_taken(row, ARGV[7]) then return EXISTS end
  change_status(row)
  return 1
end

local function queue(revocation)
  if redis.call('EXISTS', revocations.key(revocation.id)) == 0 then add(revocations, revocation.id, revocation) end
end

-- ARGV: as for a status, how many fields of a row are read, their names, then names and values of the revocation.
-- Returns the live children as they were.
function operations.tombstone()
  local first = 11 + ARGV[10]
  local row, revocation = changed_row(), given(first)
  if retired('data', revocation.key_id) then return RETIRED end
  if row == nil then return false end
  if account_taken(row, ARGV[7]) then return EXISTS end
  change_status(row)
  local children = {}
  for _, each in ipairs(stored(connections, 'children:' .. row.id)) do
    if live(each.record) then
      children[#children + 1] = redis.call('HMGET', connections.key(each.id), unpack(ARGV, 11, first - 1))
      change(connections, each.id, each.record, wiped({
        status = 'revoked', reason = 'parent_disconnected', updated_at_seconds = ARGV[9],
      }))
    end
  end
  queue(revocation)
  return children
end

-- ARGV: names and values of the revocation.
function operations.queue_revocation()
  local revocation = given(4)
  if retired('data', revocation.key_id) then return RETIRED end
  queue(revocation)
  return 1
end

-- ARGV: expected attempt, when the next one is.
function operations.claim_revocation()
  local pending = read(KEYS[1])
  if pending == nil or pending.attempt ~= ARGV[4] then return 0 end
  change(revocations, pending.id, pending, {
    attempt = raised(pending.attempt), next_attempt_at_seconds = ARGV[5],
  })
  return 1
end

-- ARGV: outcome, time.
function operations.finish_revocation()
  local pending = read(KEYS[1])
  if pending == nil then return 0 end
  remove(revocations, pending.id, pending)
  return settle(pending.connection_id, ARGV[4], ARGV[5])
end

local function delete(row)
  forget_revocations('connection_revocations:' .. row.id)
  remove(connections, row.id, row)
end

function operations.delete()
  local row = read(KEYS[1])
  if row == nil or row.status ~= 'revoked' then return 0 end
  local gone = 1
  for _, each in ipairs(stored(connections, 'children:' .. row.id)) do
    if each.record.status == 'revoked' then
      delete(each.record)
      gone = gone + 1
    end
  end
  delete(row)
  return gone
end

-- ARGV: tenant, owner. KEYS[1]: the index of the owner's connections.
function operations.erase_owner()
  local whose, gone = joined(ARGV[4], ARGV[5]), 0
  for _, each in ipairs(stored(connections, 'owner:' .. whose)) do
    delete(each.record)
    gone = gone + 1
  end
  forget_revocations('owner_revocations:' .. whose)
  for _, each in ipairs(stored(states, 'owner_states:' .. whose)) do remove(states, each.id, each.record) end
  redis.call('DEL', prefix .. 'owner_states:' .. whose)
  for _, each in ipairs(stored(keys.data, 'owner_keys:' .. whose)) do remove(keys.data, each.id, each.record) end
  return gone
end
