/* SPDX-License-Identifier: Apache-2.0
 * What the page loads, each a resource of its own: ?asset=style.css and
 * ?asset=page.js. */
#ifndef CONNPOOL_ASSET_H
#define CONNPOOL_ASSET_H

extern const char connpool_status_style[];
extern const char connpool_status_script[];

#endif
