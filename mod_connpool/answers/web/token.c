/* SPDX-License-Identifier: Apache-2.0 */
#include "answers/web/token.h"

#include <string.h>

apr_size_t cp_token_size(const char *text)
{
    return strspn(text, "!#$%&'*+-.^_`|~0123456789"
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "abcdefghijklmnopqrstuvwxyz");
}

apr_size_t cp_blank_size(const char *text)
{
    return strspn(text, " \t");
}
