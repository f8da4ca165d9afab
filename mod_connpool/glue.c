/* SPDX-License-Identifier: Apache-2.0
 * Who we are, for logs and configurations. */
#include "glue.h"

const module *connpool_self;
