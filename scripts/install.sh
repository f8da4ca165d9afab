#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# install.sh install|uninstall: the module, what a2enmod and a2enconf need, the header
# for other modules, the schemas of the reports, and the page of man 5. Called by the
# Makefile.
#
#   BUILD    where mod_connpool.so, mod_connpool.pc and connpool.conf.5 are
#   APXS     tells where things belong
#   PREFIX   of pkg-config's files, manuals and schemas (/usr)
#   DESTDIR  in front of all of them
set -eu

libexecdir=$("$APXS" -q LIBEXECDIR)
etc=$DESTDIR$("$APXS" -q SYSCONFDIR)
include=$DESTDIR$("$APXS" -q INCLUDEDIR)
pkgconfig=$DESTDIR$PREFIX/share/pkgconfig
schema=$DESTDIR$PREFIX/share/mod_connpool/schema
man5=$DESTDIR$PREFIX/share/man/man5

# A configuration that is there may have been edited: it is never replaced.
install_conf() {
    if [ -e "$2" ] && ! cmp -s "$1" "$2"; then
        echo "kept, for it differs from the one that comes with the module: $2"
    else
        install -m 644 "$1" "$2"
    fi
}

remove_conf() {
    if cmp -s "$1" "$2"; then
        rm -f "$2"
    elif [ -e "$2" ]; then
        echo "kept, for it was edited: $2"
    fi
}

put() {
    install -d "$DESTDIR$libexecdir" "$etc/mods-available" "$etc/conf-available" \
        "$include" "$pkgconfig" "$schema" "$man5"
    install -m 644 "$BUILD/mod_connpool.so" "$DESTDIR$libexecdir/mod_connpool.so"
    sed "s|/usr/lib/apache2/modules|$libexecdir|" conf/connpool.load \
        >"$etc/mods-available/connpool.load"
    chmod 644 "$etc/mods-available/connpool.load"
    if [ -e "$BUILD/mod_connpool_pgsql.so" ]; then
        install -m 644 "$BUILD/mod_connpool_pgsql.so" \
            "$DESTDIR$libexecdir/mod_connpool_pgsql.so"
        sed "s|/usr/lib/apache2/modules|$libexecdir|" conf/connpool_pgsql.load \
            >"$etc/mods-available/connpool_pgsql.load"
        chmod 644 "$etc/mods-available/connpool_pgsql.load"
    fi
    install_conf conf/connpool.conf "$etc/mods-available/connpool.conf"
    install_conf conf/connpool-small.conf "$etc/conf-available/connpool-small.conf"
    install -m 644 mod_connpool/mod_connpool.h "$include/mod_connpool.h"
    install -m 644 "$BUILD/mod_connpool.pc" "$pkgconfig/mod_connpool.pc"
    install -m 644 share/schema/*.schema.json "$schema"
    install -m 644 "$BUILD/connpool.conf.5" "$man5/connpool.conf.5"
    echo 'Now: a2enmod connpool, and restart Apache'
}

# Directives that would stop Apache from starting without the module.
warn_of_directives() {
    found=$(grep -lE '^[[:space:]]*ConnPool' -r "$etc" --include='*.conf' 2>/dev/null |
        grep -vE '/(mods|conf)-available/connpool(-small)?\.conf$' || true)
    if [ -n "$found" ]; then
        echo 'These name directives of the module: without it Apache does not start,'
        echo 'unless they stand in <IfModule connpool_module>:'
        echo "$found"
    fi
}

# Links first: what is enabled and gone would keep Apache from starting.
remove() {
    rm -f "$etc/mods-enabled/connpool.load" "$etc/mods-enabled/connpool.conf"
    rm -f "$etc/mods-available/connpool.load" "$DESTDIR$libexecdir/mod_connpool.so"
    rm -f "$etc/mods-enabled/connpool_pgsql.load" \
        "$etc/mods-available/connpool_pgsql.load" \
        "$DESTDIR$libexecdir/mod_connpool_pgsql.so"
    rm -f "$include/mod_connpool.h" "$pkgconfig/mod_connpool.pc" \
        "$man5/connpool.conf.5" "$schema"/*.schema.json
    rmdir "$schema" "${schema%/*}" 2>/dev/null || true
    remove_conf conf/connpool.conf "$etc/mods-available/connpool.conf"
    remove_conf conf/connpool-small.conf "$etc/conf-available/connpool-small.conf"
    # What was edited may say more than stands in <IfModule>.
    rm -f "$etc/conf-enabled/connpool-small.conf"
    warn_of_directives
    echo 'Now: restart Apache'
}

case ${1:-} in
install) put ;;
uninstall) remove ;;
*)
    echo "usage: $0 install|uninstall" >&2
    exit 2
    ;;
esac
