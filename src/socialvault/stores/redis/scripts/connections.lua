-- Cancel what would end the grant of `row`, which has just been inserted.
local function keep_grant(row)
  for _, each in ipairs(stored(revocations, 'grant_revocations:' .. grant_of(row))) do
    remove(revocations, each.id, each.record)
    settle(each.record.connection_id, 'kept_for_sibling', row.updated_at_seconds)
  end
end

-- ARGV: how many fields of a row are read, their names, then names and values of the row. Returns the live row that has
-- its account.
function operations.insert()
  local first = 5 + ARGV[4]
  local row = given(first)
  if retired('data', row.key_id) or retired('data', row.candidate_key_id) then return RETIRED end
  if live(row) then
    local holder = members(account_of(row))[1]
    if holder then return redis.call('HMGET', connections.key(holder), unpack(ARGV, 5, first - 1)) end
  end
  if redis.call('EXISTS', KEYS[1]) == 1 then return EXISTS end
  add(connections, row.id, row)
  if live(row) and row.parent_id == '' then keep_grant(row) end
  return false
end

-- ARGV: expected generation, then names and values of what changes. Returns the status before.
function operations.write_token()
  local row, changes = read(KEYS[1]), given(5)
  if retired('data', changes.key_id) then return RETIRED end
  if row == nil or not live(row) or row.generation ~= ARGV[4] then return false end
  change(connections, row.id, row, with(with(changes, CLOSED_INTENT), {
    generation = raised(row.generation), status = 'active', reason = '', candidate = '', candidate_key_id = '',
    failing_since_seconds = '', failing_with = '', failures = '0', refusals = '0',
  }))
  return row.status
end

-- ARGV: expected generation, the candidate, the id of the key that seals it.
function operations.put_candidate()
  local row = read(KEYS[1])
  if retired('data', ARGV[6]) then return RETIRED end
  if row == nil or not live(row) or row.generation ~= ARGV[4] then return 0 end
  change(connections, row.id, row, {candidate = ARGV[5], candidate_key_id = ARGV[6]})
  return 1
end
