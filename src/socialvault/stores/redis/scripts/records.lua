-- The kinds of records, and the indexes that each is in. An index whose members all have the score 0 is in the order of
-- their bytes, which for ids is the order of Python's texts.
local function grant_of(record)
  return joined(record.provider, record.client_id, record.issuer, record.subject)
end

local function live(row)
  return row.status == 'active' or row.status == 'reauthorization_required'
end

local function account_of(row)
  return 'account:' .. joined(
    row.tenant, row.provider, row.client_id, row.issuer, row.subject, row.parent_id, row.shared_with)
end

local connections = {
  key = function(id) return prefix .. 'connection:' .. id end,
  indexes = function(row)
    local indexes = {
      connections = '0',
      ['status:' .. row.status] = '0',
      ['owner:' .. joined(row.tenant, row.owner)] = '0',
    }
    if live(row) then
      indexes[account_of(row)] = '0'
      indexes['live:' .. grant_of(row)] = '0'
    elseif row.parent_id == '' then
      indexes['dead:' .. grant_of(row)] = '0'
    end
    if row.parent_id ~= '' then indexes['children:' .. row.parent_id] = '0' end
    if row.key_id ~= '' then indexes['token:' .. row.key_id] = '0' end
    if row.candidate_key_id ~= '' then indexes['candidate:' .. row.candidate_key_id] = '0' end
    if row.status == 'active' then
      if row.due_at_seconds ~= '' then
        indexes['due:' .. joined(row.provider, row.client_id)] = row.due_at_seconds
      end
      if row.warn_at_seconds ~= '' then indexes.warnings = row.warn_at_seconds end
    end
    return indexes
  end,
}

local revocations = {
  key = function(id) return prefix .. 'revocation:' .. id end,
  indexes = function(row)
    local indexes = {
      revocations = row.next_attempt_at_seconds,
      ['connection_revocations:' .. row.connection_id] = '0',
      ['owner_revocations:' .. joined(row.tenant, row.owner)] = '0',
    }
    if row.reach == 'grant' then indexes['grant_revocations:' .. grant_of(row)] = '0' end
    if row.key_id ~= '' then indexes['sealed_revocations:' .. row.key_id] = '0' end
    return indexes
  end,
}

-- States run out by themselves, so their indexes are scored by when.
local states = {
  key = function(hash) return prefix .. 'state:' .. hash end,
  indexes = function(row)
    local indexes = {
      states = row.expires_at_seconds,
      ['owner_states:' .. joined(row.tenant, row.owner)] = row.expires_at_seconds,
    }
    if row.key_id ~= '' then indexes['sealed_states:' .. row.key_id] = row.expires_at_seconds end
    return indexes
  end,
}

local function primary_of(level, key)
  return 'primary:' .. level .. ':' .. joined(key.tenant, key.owner)
end

local function key_kind(level)
  return {
    key = function(id) return prefix .. 'key:' .. level .. ':' .. id end,
    indexes = function(key)
      local indexes = {
        ['keys:' .. level] = '0',
        ['keys:' .. level .. ':' .. key.state] = '0',
      }
      if key.state == 'primary' then indexes[primary_of(level, key)] = '0' end
      if key.wrapped_by ~= '' then indexes['wrapped:' .. level .. ':' .. key.wrapped_by] = '0' end
      if level == 'data' then indexes['owner_keys:' .. joined(key.tenant, key.owner)] = '0' end
      return indexes
    end,
  }
end

local keys = {kek = key_kind('kek'), vault = key_kind('vault'), data = key_kind('data')}
local WRAPPED_BY = {vault = 'kek', data = 'vault'}

-- The fence: whoever writes under a key asks here, in the very script that writes.
local function retired(level, id)
  return id ~= '' and redis.call('HGET', keys[level].key(id), 'state') == 'retired'
end

-- `level`: of the key that is wrapped; nothing wraps a KEK.
local function wrapping_retired(level, id)
  local above = WRAPPED_BY[level]
  return above ~= nil and retired(above, id)
end
