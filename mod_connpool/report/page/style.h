/* SPDX-License-Identifier: Apache-2.0
 * The page's style sheet, a resource of its own: ?asset=style.css. */

#ifndef CONNPOOL_STYLE_H
#define CONNPOOL_STYLE_H

extern const char connpool_status_style[];

#endif
