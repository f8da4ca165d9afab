/* SPDX-License-Identifier: Apache-2.0
 * Once a second one of the children looks at all. */
#ifndef CONNPOOL_SAMPLE_H
#define CONNPOOL_SAMPLE_H

/** Once a second from every child's maintenance; one of them does the work. */
void connpool_status_sample(void);

#endif
