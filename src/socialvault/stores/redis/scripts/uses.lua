-- Count what needs a key.
local function uses(level, id)
  if level == 'data' then
    local count = redis.call('ZCOUNT', prefix .. 'sealed_states:' .. id, '(' .. seconds(now()), '+inf')
    for _, index in ipairs({'token:', 'candidate:', 'sealed_revocations:'}) do
      count = count + redis.call('ZCARD', prefix .. index .. id)
    end
    return count
  end
  if level == 'kek' then return redis.call('ZCARD', prefix .. 'wrapped:vault:' .. id) end
  local seals_canary = id ~= '' and redis.call('HGET', prefix .. 'vault', 'canary_key_id') == id
  return redis.call('ZCARD', prefix .. 'wrapped:data:' .. id) + (seals_canary and 1 or 0)
end
