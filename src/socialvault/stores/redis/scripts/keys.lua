-- ARGV: how many arguments the vault's row and the vault key are, then names and values of both and of the KEK.
function operations.create_vault()
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
  local vault_key_at = 6 + ARGV[4]
  local kek_at = vault_key_at + ARGV[5]
  local vault_key, kek = given(vault_key_at, kek_at - 1), given(kek_at)
  write(KEYS[1], given(6, vault_key_at - 1))
  add(keys.vault, vault_key.key_id, vault_key)
  if kek.key_id ~= '' and redis.call('EXISTS', keys.kek.key(kek.key_id)) == 0 then add(keys.kek, kek.key_id, kek) end
  return 1
end

-- ARGV: how many.
function operations.count_seals()
  if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
  return redis.call('HINCRBY', KEYS[1], 'seals', ARGV[4])
end

-- ARGV: level, names and values of the key.
function operations.add_key()
  local level, key = ARGV[4], given(5)
  if wrapping_retired(level, key.wrapped_by) then return RETIRED end
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
  if key.state == 'primary' and #members(primary_of(level, key)) > 0 then return 0 end
  add(keys[level], key.key_id, key)
  return 1
end

local function demote(level, id)
  change(keys[level], id, read(keys[level].key(id)), {state = 'decrypt_only'})
end

-- ARGV: level, the id of the key that it replaces, names and values of the key.
function operations.replace_key()
  local level, old, key = ARGV[4], ARGV[5], given(6)
  if wrapping_retired(level, key.wrapped_by) then return RETIRED end
  if members(primary_of(level, key))[1] ~= old then return 0 end
  if redis.call('EXISTS', KEYS[1]) == 1 then return EXISTS end
  key.state = 'primary'
  demote(level, old)
  add(keys[level], key.key_id, key)
  return 1
end

-- ARGV: level.
function operations.promote_key()
  local level, key = ARGV[4], read(KEYS[1])
  if key == nil or key.state == 'retired' then return 0 end
  local former = members(primary_of(level, key))[1]
  if former == key.key_id then return 1 end
  if former then demote(level, former) end
  change(keys[level], key.key_id, key, {state = 'primary'})
  return 1
end

-- ARGV: level.
function operations.retire_key()
  local level, key = ARGV[4], read(KEYS[1])
  if key == nil or key.state == 'primary' then return 0 end
  if key.state == 'retired' then return 1 end
  if uses(level, key.key_id) > 0 then return 0 end
  change(keys[level], key.key_id, key, {state = 'retired'})
  return 1
end

-- ARGV: level.
function operations.reinstate_key()
  local key = read(KEYS[1])
  if key == nil or key.state ~= 'retired' then return 0 end
  change(keys[ARGV[4]], key.key_id, key, {state = 'decrypt_only'})
  return 1
end

-- ARGV: level, then per key its id, the expected bytes, the new ones, the id of the key that wraps them.
function operations.rewrap()
  local level, done = ARGV[4], 0
  for position = 5, #ARGV, 4 do
    if wrapping_retired(level, ARGV[position + 3]) then return RETIRED end
  end
  for position = 5, #ARGV, 4 do
    local id = ARGV[position]
    local key = read(keys[level].key(id))
    if key and key.wrapped == ARGV[position + 1] then
      change(keys[level], id, key, {wrapped = ARGV[position + 2], wrapped_by = ARGV[position + 3]})
      done = done + 1
    end
  end
  return done
end

-- ARGV: the expected canary, the new one, the id of the vault key that seals it.
function operations.reseal_canary()
  if retired('vault', ARGV[6]) then return RETIRED end
  if redis.call('HGET', KEYS[1], 'canary') ~= ARGV[4] then return 0 end
  write(KEYS[1], {canary = ARGV[5], canary_key_id = ARGV[6]})
  return 1
end

-- ARGV: which field is sealed and which names its key, then per record its id, the expected bytes, the new ones, and
-- the ids of the key for the fence and for the index.
local function reseal(kind)
  local field, key_field, done = ARGV[4], ARGV[5], 0
  for position = 6, #ARGV, 5 do
    if retired('data', ARGV[position + 3]) then return RETIRED end
  end
  for position = 6, #ARGV, 5 do
    local id = ARGV[position]
    local row = read(kind.key(id))
    if row and row[field] == ARGV[position + 1] then
      change(kind, id, row, {[field] = ARGV[position + 2], [key_field] = ARGV[position + 4]})
      done = done + 1
    end
  end
  return done
end

function operations.reseal_connections() return reseal(connections) end
function operations.reseal_revocations() return reseal(revocations) end
