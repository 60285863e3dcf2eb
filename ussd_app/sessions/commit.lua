-- A hop is answered, if no later one began meanwhile. KEYS[1] as in begin.lua; answers 1 or 0.

local fence, now, ttl = ARGV[1], ARGV[2], ARGV[3]
local mark, words, close, dialogue = ARGV[4], ARGV[5], ARGV[6], ARGV[7]

if redis.call('HGET', KEYS[1], 'fence') ~= fence then
  return 0
end
redis.call('HSET', KEYS[1], 'base', mark, 'answer', close .. ':' .. now .. ':' .. words, 'dialogue', dialogue)
redis.call('HDEL', KEYS[1], 'run', 'until')
redis.call('PEXPIRE', KEYS[1], ttl)
return 1
