#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The secret of the ticket service. The server reads it when it starts, as root
# if it is started by root, so nobody else need be able to.
set -eu
if ! [ -e tickets.token ]; then
    (umask 077 && echo demonstration >tickets.token)
fi
