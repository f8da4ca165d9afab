/* SPDX-License-Identifier: Apache-2.0
 * Whatever an administrator can define. */
#ifndef CONNPOOL_DEFINITIONS_H
#define CONNPOOL_DEFINITIONS_H

#include "config/database.h"
#include "config/query.h"
#include "config/setting.h"
#include "config/upstream.h"

#endif
