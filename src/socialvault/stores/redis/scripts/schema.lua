-- Before anything is written: a release that does not know this layout must not touch it.
local SCHEMA = '1'
local schema = redis.call('GET', prefix .. 'schema')
if not schema then
  redis.call('SET', prefix .. 'schema', SCHEMA)
elseif schema ~= SCHEMA then
  return redis.error_reply('SVSCHEMA ' .. schema)
end
