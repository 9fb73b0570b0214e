"""What has to happen in Redis as one step. Each script does what the method of the same name does in `memory`, where
the reasons stand. All take Redis' own clock, so that the workers' clocks need not agree.
"""

_NOW = "local t = redis.call('TIME') local now = t[1] + t[2] / 1000000 "

# KEYS log, seen, about · ARGV kept events, kept identities, kept seconds, an epoch, a channel, then for each event
# its identity, its text, and whether it is activity
PUBLISH = (
    _NOW
    + """
redis.call('HSETNX', KEYS[3], 'epoch', ARGV[4])
local added = 0
for i = 6, #ARGV, 3 do
  if ARGV[i] == '' or redis.call('ZADD', KEYS[2], 'NX', now, ARGV[i]) == 1 then
    redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[1], '*',
      'n', redis.call('HINCRBY', KEYS[3], 'n', 1), 'e', ARGV[i + 1])
    if ARGV[i + 2] == '1' then redis.call('HSET', KEYS[3], 'active', tostring(now)) end
    added = added + 1
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[2]))
for i = 1, 3 do redis.call('EXPIRE', KEYS[i], ARGV[3]) end
if added > 0 then redis.call('PUBLISH', ARGV[5], redis.call('HGET', KEYS[3], 'epoch')) end
return added
"""
)

# KEYS about, log, seen · ARGV worker, interval, share left to the one who polled last, kept seconds,
# 1 to ask only
CLAIM_MESSAGE_POLL = (
    _NOW
    + """
redis.call('HSETNX', KEYS[1], 'active', tostring(now))
local told = redis.call('HMGET', KEYS[1], 'polled', 'by', 'active')
local quiet = now - tonumber(told[3])
for i = 1, 3 do redis.call('EXPIRE', KEYS[i], ARGV[4]) end
if told[1] then
  local due = tonumber(told[1]) + tonumber(ARGV[2])
  if told[2] and told[2] ~= '' and told[2] ~= ARGV[1] then due = due + tonumber(ARGV[2]) * tonumber(ARGV[3]) end
  if now < due then return {tostring(due - now), tostring(quiet)} end
end
if ARGV[5] == '0' then redis.call('HSET', KEYS[1], 'polled', tostring(now), 'by', ARGV[1]) end
return {'0', tostring(quiet)}
"""
)

# KEYS due, owners, handles, about · ARGV ref, handle, worker, seconds, kept seconds
ATTEND_ANSWER = (
    _NOW
    + """
local due = redis.call('ZSCORE', KEYS[1], ARGV[1])
local owner = redis.call('HGET', KEYS[2], ARGV[1])
if due and owner and owner ~= '' and owner ~= ARGV[3] and tonumber(due) > now then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[4]), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[4], 'active', tostring(now))
redis.call('EXPIRE', KEYS[4], ARGV[5])
return 1
"""
)

# KEYS due, owners · ARGV ref, worker, seconds
KEEP_ANSWER = (
    _NOW
    + """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
return 1
"""
)

# KEYS due, owners · ARGV ref, worker
LEAVE_ANSWER = (
    _NOW
    + """
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return end
redis.call('HSET', KEYS[2], ARGV[1], '')
redis.call('ZADD', KEYS[1], now, ARGV[1])
"""
)

# KEYS due, handles · ARGV how many; returns refs and handles in turn
UNATTENDED_ANSWERS = (
    _NOW
    + """
local refs = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
local found = {}
for _, ref in ipairs(refs) do
  found[#found + 1] = ref
  found[#found + 1] = redis.call('HGET', KEYS[2], ref) or ''
end
return found
"""
)

# KEYS send, about · ARGV fingerprint, seconds, kept milliseconds, kept seconds of the log
CLAIM_SEND = (
    _NOW
    + """
local told = redis.call('HMGET', KEYS[1], 'fingerprint', 'until', 'result')
if told[1] then
  if told[1] ~= ARGV[1] then return {'mismatch', ''} end
  if told[3] then return {'done', told[3]} end
  if now < tonumber(told[2]) then return {'wait', tostring(tonumber(told[2]) - now)} end
  return {'lost', ''}
end
redis.call('HSET', KEYS[1], 'fingerprint', ARGV[1], 'until', tostring(now + tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('HSET', KEYS[2], 'active', tostring(now))
redis.call('EXPIRE', KEYS[2], ARGV[4])
return {'new', ''}
"""
)

# KEYS send · ARGV result
SETTLE_SEND = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'result', ARGV[1]) end
"""

# KEYS bucket · ARGV capacity, rate, reserve, kept seconds; `pacing.Bucket` in Lua
SPEND = (
    _NOW
    + """
local told = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'paused')
local capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local tokens = tonumber(told[1] or capacity)
local paused = tonumber(told[3] or 0)
if now < paused then return {tostring(paused - now), tostring(tokens / capacity)} end
tokens = math.min(capacity, tokens + math.max(0, now - tonumber(told[2] or now)) * rate)
local needed, wait = 1 + tonumber(ARGV[3]) * (capacity - 1), 0
if tokens < needed - 1e-9 then
  wait = (needed - tokens) / rate
else
  tokens = tokens - 1
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {tostring(wait), tostring(tokens / capacity)}
"""
)

# KEYS bucket · ARGV capacity
GIVE_BACK = """
local tokens = redis.call('HGET', KEYS[1], 'tokens')
if tokens then redis.call('HSET', KEYS[1], 'tokens', tostring(math.min(tonumber(ARGV[1]), tonumber(tokens) + 1))) end
"""

# KEYS bucket · ARGV seconds, kept seconds
PAUSE = (
    _NOW
    + """
local paused = math.max(now + tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[1], 'paused') or 0))
redis.call('HSET', KEYS[1], 'tokens', '0', 'at', tostring(paused), 'paused', tostring(paused))
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""
)
