#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A directive is finished when it is documented, has a range, starts unset, is
# inherited by virtual hosts and ends with a default. So are the keys of
# key=value lists, as far as it applies to them.
set -eu

config=mod_connpool/mod_connpool_config.c
readme=README.md
reference=conf/connpool.conf
status=0
complain() {
    echo "directives: $1" >&2
    status=1
}

for file in "$config" "$readme" "$reference"; do
    [ -s "$file" ] || {
        echo "directives: no $file" >&2
        exit 1
    }
done

directives=$(tr -d '\n' <"$config" |
    grep -oE '((PLACE_)?SETTING|AP_INIT_[A-Z0-9_]+)\([[:space:]]*"ConnPool[A-Za-z0-9]+"' |
    sed 's/.*"\(.*\)"/\1/' | sort -u)
[ "$(echo "$directives" | wc -l)" -ge 10 ] || {
    echo "directives: the command table was not found" >&2
    exit 1
}

# Code and documents name the same directives.
for name in $directives; do
    grep -qE "(^|[^A-Za-z])$name([^A-Za-z0-9]|$)" "$readme" ||
        complain "$name is not in $readme"
    grep -qE "^[#[:space:]]*${name}[[:space:]]" "$reference" ||
        complain "$name has no line in $reference"
done
for file in "$readme" conf/*.conf conf/demo/*.conf; do
    [ -e "$file" ] || continue
    named=$(grep -oE 'ConnPool[A-Z][A-Za-z0-9]*' "$file" | sort -u)
    for name in $named; do
        echo "$directives" | grep -qx "$name" ||
            complain "$file: there is no directive $name"
    done
done

# rows TABLE: the rows of one table of options, a line each.
rows() {
    sed -n "/^static const option_t $1\[\] = {/,/^};/p" "$config" | sed '1d;$d' |
        tr -s ' \n' '  ' | sed 's/}, */}\n/g' | grep '"' || true
}

check_range() {
    case $2 in
    *OPTION_INT,* | *OPTION_DURATION,* | *OPTION_SIZE,*)
        case $2 in
        *' 0, 0, NULL}') complain "$1 has no range" ;;
        esac
        ;;
    *OPTION_CHOICE,*)
        case $2 in
        *' NULL}') complain "$1 has no list of choices" ;;
        esac
        ;;
    esac
}

# Directives of one value: unset at first, inherited, completed.
# check_settings TABLE OFFSET-MACRO STRUCT INHERIT-MACRO COMPLETED-FIELD-PREFIX
check_settings() {
    settings=$(rows "$1")
    [ -n "$settings" ] || complain "the table '$1' was not found"
    while read -r row; do
        name=$(echo "$row" | sed 's/.*{"\([^"]*\)".*/\1/')
        field=$(echo "$row" | sed "s/.*$2(\([a-z_.]*\)).*/\1/")
        check_range "$name" "$row"
        echo "$directives" | grep -qx "$name" ||
            complain "$name is in no command table"
        grep -q "$3->$field = CONNPOOL_UNSET;" "$config" ||
            complain "$name: $field does not start unset"
        grep -q "$4($field);" "$config" ||
            complain "$name: $field is not inherited"
        grep -qE "set_default[a-z_]*\(&$5${field##*.}," "$config" ||
            complain "$name: $field has no default"
    done <<LIST
$settings
LIST
}
check_settings settings SERVER sc INHERIT 'sc->'
check_settings place_settings PLACE dir INHERIT_PLACE 'limits\.'

# Keys: documented in both places, and within a range.
tables=$(sed -n 's/^static const option_t \([a-z_]*_options\)\[\] = {/\1/p' "$config")
[ -n "$tables" ] || complain "no table of options was found"
for table in $tables; do
    keys=0
    while read -r row; do
        key=$(echo "$row" | sed 's/.*{"\([^"]*\)".*/\1/')
        keys=$((keys + 1))
        check_range "$table: $key" "$row"
        for file in "$readme" "$reference"; do
            grep -qE "(^|[^a-z-])$key=" "$file" ||
                complain "$table: $key= is not in $file"
        done
    done <<LIST
$(rows "$table")
LIST
    [ $keys -gt 1 ] || complain "$table: no keys were found"
done
exit $status
