-- What wrk sends: the bodies of a file, one after another, and what it says at the end as one line of JSON.
--
-- Arguments behind `--`: FILE CONTENT_TYPE KEY (KEY `-`: none). FILE: `LENGTH\n` and as many bytes, again and again.

local requests = {}
local at = 0

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   local headers = { ["Content-Type"] = arguments[2] }
   if arguments[3] ~= "-" then
      headers["Authorization"] = "Bearer " .. arguments[3]
   end
   while true do
      local length = file:read("*n")
      if length == nil then break end
      file:read(1)
      requests[#requests + 1] = wrk.format("POST", nil, headers, file:read(length))
   end
   file:close()
end

function request()
   at = at % #requests + 1
   return requests[at]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "duration_us": %d, "bytes": %d, "refused": %d, "broken": %d, "timeouts": %d, ' ..
      '"p50_us": %d, "p90_us": %d, "p99_us": %d, "max_us": %d}\n',
      summary.requests, summary.duration, summary.bytes, errors.status,
      errors.connect + errors.read + errors.write, errors.timeout,
      latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
