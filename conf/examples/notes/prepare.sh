#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The logins of the demo, alice and bob, each with the name as password. Yours
# are made by: htpasswd -B -c /var/lib/connpool/notes.htpasswd alice
set -eu
for user in alice bob; do
    perl -e 'printf "%s:%s\n", $ARGV[0], crypt($ARGV[0], q($6$demonstration$))' "$user"
done >notes.htpasswd
