/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes/utf8.h"

#include <stdint.h>
#include <string.h>

int cp_utf8_next(const char *data, apr_size_t size)
{
    const unsigned char *c = (const unsigned char *)data;
    unsigned char low = 0x80, high = 0xbf; /* of the byte that follows */
    int length;
    if (c[0] < 0x80) {
        return 1;
    }
    if (c[0] >= 0xc2 && c[0] <= 0xdf) {
        length = 2;
    }
    else if (c[0] >= 0xe0 && c[0] <= 0xef) {
        length = 3;
        low = c[0] == 0xe0 ? 0xa0 : low;   /* overlong */
        high = c[0] == 0xed ? 0x9f : high; /* surrogates */
    }
    else if (c[0] >= 0xf0 && c[0] <= 0xf4) {
        length = 4;
        low = c[0] == 0xf0 ? 0x90 : low;   /* overlong */
        high = c[0] == 0xf4 ? 0x8f : high; /* beyond U+10FFFF */
    }
    else {
        return -1;
    }
    for (int i = 1; i < length; i++) {
        if ((apr_size_t)i >= size || c[i] < low || c[i] > high) {
            return -i;
        }
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

int cp_utf8_is_valid(const char *data, apr_size_t size)
{
    apr_size_t i = 0;
    while (i < size) {
        uint64_t word;
        if (size - i >= sizeof(word)) {
            memcpy(&word, data + i, sizeof(word));
            if (!(word & UINT64_C(0x8080808080808080))) {
                i += sizeof(word);
                continue;
            }
        }
        int length = cp_utf8_next(data + i, size - i);
        if (length < 0) {
            return 0;
        }
        i += (apr_size_t)length;
    }
    return 1;
}
