-- SPDX-License-Identifier: Apache-2.0
-- Events by key and by range, through mod_dbd.
local escapes = { ['"'] = '\\"', ['\\'] = '\\\\' }

local function quote(text)
    return '"' .. text:gsub('[%c"\\]', function(c)
        return escapes[c] or string.format('\\u%04x', c:byte())
    end) .. '"'
end

local function answer(r, tag, ...)
    local database = r:dbacquire('mod_dbd')
    local statement = database:prepared(r, tag)
    local rows = statement:select(...)
    local parts = {}
    for _, row in ipairs(rows(0)) do
        parts[#parts + 1] = '{"id":' .. row[1] .. ',"title":' .. quote(row[2]) ..
            ',"day":' .. quote(row[3]) .. '}'
    end
    database:close()
    r.content_type = 'application/json'
    r:write('[' .. table.concat(parts, ',') .. ']')
    return apache2.OK
end

function one(r)
    return answer(r, 'one', r:parseargs().first)
end

function fifty(r)
    local args = r:parseargs()
    return answer(r, 'fifty', args.first, args.last)
end
