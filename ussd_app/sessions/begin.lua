-- One hop arrives. KEYS[1] is the handset's one dialogue, a hash:
--   fence       of the newest hop; a commit must bring it
--   who         digest of the live session's id and aggregator; old: those it superseded, newest last
--   aggregator  that carries it
--   base        mark of the last answered hop; run: of the one being answered, until: when its lock expires (ms)
--   seen        marks of answered hops before that, where hops are numbered
--   answer      the last one, as "<1 where it was an END, else 0>:<when, in ms>:<words>"
--   dialogue    the conversation's JSON
--   ended       1 after an end notice
-- A mark is what tells hops apart: "<bytes>:<digest>" of the raw input.
-- Answers {"hop", fence, base, diverged, dialogue}, {"copy", words, close}, {"wait", fence or 0} or {"late"}.

local now, lock, ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local who, aggregator, event = ARGV[4], ARGV[5], ARGV[6] -- begin | reply | doubtful (a reply that may be an end) | end
local reading, mark, window = ARGV[7], ARGV[8], tonumber(ARGV[9]) -- reading: cumulative | numbered | newest
local prefixes = ARGV[10] -- cumulative: the marks of all that the previous input may have been, each between blanks
local waited = tonumber(ARGV[11]) -- fence of the hop this one is a copy of and has waited for, or 0
local REMEMBERED = 8 * 12 -- bytes of the last eight ids and marks, each a digest behind a blank

local stored = redis.call('HMGET', KEYS[1], 'fence', 'who', 'aggregator', 'base', 'run', 'until', 'seen', 'answer',
  'dialogue', 'ended', 'old')
local fence, base, run, expires, seen = tonumber(stored[1]), stored[4], stored[5], tonumber(stored[6]), stored[7] or ''
local dialogue, ended, old = stored[9] or '', stored[10], stored[11] or ''
local close, at, words = string.match(stored[8] or '', '^(%d):(%d+):(.*)$')
local live = stored[2] == who

local function has(list, item)
  return string.find(' ' .. list .. ' ', ' ' .. item .. ' ', 1, true) ~= nil
end

local function remember(list, item)
  return string.sub(list .. ' ' .. item, -REMEMBERED)
end

local function copy()
  return {'copy', words, close}
end

local function begin(base, diverged, dialogue)
  -- The first number is the time, so that one counted before the store was emptied is never met again.
  fence = fence and fence + 1 or now
  redis.call('HSET', KEYS[1], 'fence', string.format('%.0f', fence), 'who', who, 'aggregator', aggregator,
    'run', mark, 'until', string.format('%.0f', now + lock))
  redis.call('PEXPIRE', KEYS[1], ttl)
  return {'hop', fence, base, diverged, dialogue}
end

if event == 'end' then
  if live then
    redis.call('HSET', KEYS[1], 'ended', '1')
  end
  return {'late'}
end

if not live then
  if has(old, who) or event == 'doubtful' or waited > 0 then
    return {'late'}
  end
  if stored[2] then
    -- A redial: the lock is its own at once, and the old session may say nothing more.
    redis.call('HDEL', KEYS[1], 'base', 'seen', 'answer', 'ended')
    redis.call('HSET', KEYS[1], 'old', remember(old, stored[2]))
  end
  if stored[3] ~= aggregator then
    redis.call('HDEL', KEYS[1], 'dialogue')
    dialogue = ''
  end
  return begin('', 0, dialogue)
end

local exact = reading ~= 'newest' or event == 'begin'
local repeated = mark == base and (exact or math.abs(now - tonumber(at)) <= window)
if close == '1' or repeated then
  return copy()
end
if waited > 0 and waited ~= fence then
  return {'late'}
end
-- A lock that ends later than any of ours can was set before the clock was put back.
if expires and expires > now and expires <= now + lock then
  return {'wait', run == mark and fence or 0}
end
if waited > 0 and not expires then
  return copy()
end

if ended or reading == 'numbered' and has(seen, mark) then
  return {'late'}
end
if not base then
  return begin('', 0, dialogue)
end
if reading == 'numbered' then
  redis.call('HSET', KEYS[1], 'seen', remember(seen, base))
end
local diverged = event == 'begin' or reading == 'cumulative' and not has(prefixes, base)
return begin(base, diverged and 1 or 0, dialogue)
