#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A directive is finished when it is documented and has a row in a table, which
# says its range and default and lets virtual hosts inherit it. So are the keys
# of key=value lists.
set -eu

commands=mod_connpool/commands.c
server=mod_connpool/config/setting.c
place=mod_connpool/config/place.c
manual=docs/directives.md
reference=conf/connpool.conf
status=0
complain() {
    echo "directives: $1" >&2
    status=1
}

for file in "$commands" "$server" "$place" "$manual" "$reference"; do
    [ -s "$file" ] || {
        echo "directives: no $file" >&2
        exit 1
    }
done

# rows FILE TABLE: the rows of one table of options, a line each.
rows() {
    sed -n "/cp_option_t $2\[\] = {/,/^};/p" "$1" | sed '1d;$d' |
        tr -s ' \n' '  ' | sed 's/}, *{/}\n{/g' | grep '"' || true
}

# name ROW: its key.
name() {
    echo "$1" | sed 's/[^"]*"\([^"]*\)".*/\1/'
}

# handled HANDLERS: the directives in the command table that have such a handler.
handled() {
    tr -d '\n' <"$commands" | tr -s ' ' |
        grep -oE "((PLACE_)?SETTING\(\"ConnPool[A-Za-z0-9]+\"|AP_INIT_[A-Z0-9_]+\( ?\"ConnPool[A-Za-z0-9]+\", ?[a-z_]+)" |
        grep -E "$1" | sed 's/[^"]*"\([^"]*\)".*/\1/' | sort -u
}

directives=$(handled .)
[ "$(echo "$directives" | wc -l)" -ge 10 ] || {
    echo "directives: the command table was not found" >&2
    exit 1
}

# Code and documents name the same directives.
for name in $directives; do
    grep -qE "(^|[^A-Za-z])$name([^A-Za-z0-9]|$)" "$manual" ||
        complain "$name is not in $manual"
    grep -qE "^[#[:space:]]*${name}[[:space:]]" "$reference" ||
        complain "$name has no line in $reference"
done
for file in README.md docs/*.md conf/*.conf conf/examples/*/*.conf; do
    [ -e "$file" ] || continue
    named=$(grep -oE 'ConnPool[A-Z][A-Za-z0-9]*' "$file" | sort -u)
    for name in $named; do
        echo "$directives" | grep -qx "$name" ||
            complain "$file: there is no directive $name"
    done
done

# A row's macro asks for a range, a list of choices and a default. A field that
# has no default in its row gets one in the code.
check_row() {
    echo "$3" | grep -qE '\{CP_(INT|DURATION|SIZE|FLAG|CHOICE|NAME|WORD|FILE)\("' ||
        complain "$2 is not made by a macro of base/option.h"
    case $3 in
    *CP_UNSET*)
        field=$(echo "$3" | sed 's/[^(]*([^(]*(\([a-z_.]*\)).*/\1/')
        grep -qE "set_default[a-z_]*\(&[a-z]+->$field,|->$field == CP_UNSET" "$1" \
            mod_connpool/config/check.c ||
            complain "$2: $field has no default"
        ;;
    esac
}

# Directives of one value: the command table and the table of rows agree, and
# the table is what clears, inherits and completes.
check_settings() {
    settings=$(rows "$1" "$2")
    [ -n "$settings" ] || complain "the table '$2' was not found"
    for what in clear inherit complete; do
        grep -q "cp_options_$what($2," "$1" ||
            complain "nothing calls cp_options_$what for '$2'"
    done
    while read -r row; do
        check_row "$1" "$(name "$row")" "$row"
        handled "$3" | grep -qx "$(name "$row")" ||
            complain "$(name "$row") is in no command table"
    done <<LIST
$settings
LIST
    for directive in $(handled "$3"); do
        echo "$settings" | grep -q "\"$directive\"" ||
            complain "$directive has no row in '$2'"
    done
}
check_settings "$server" settings '^SETTING|connpool_cmd_(global_)?setting$'
check_settings "$place" place_settings '^PLACE_SETTING|connpool_cmd_place_setting$'

# Keys, those of drivers too: the same page is their reference.
tables=$(grep -rnoE 'cp_option_t [a-z_]+\[\] = \{' mod_connpool | grep -v 'settings\[' |
    sed 's/\([^:]*\):.*cp_option_t \([a-z_]*\).*/\1:\2/')
[ "$(echo "$tables" | wc -l)" -ge 4 ] || complain "tables of options are missing"
for table in $tables; do
    file=${table%%:*}
    found=$(rows "$file" "${table#*:}")
    [ -n "$found" ] || complain "$table: no keys were found"
    while read -r row; do
        key=$(name "$row")
        check_row "$file" "$table: $key" "$row"
        grep -qE "(^|[^a-z-])$key=" "$manual" ||
            complain "$table: $key= is not in $manual"
    done <<LIST
$found
LIST
done
exit $status
