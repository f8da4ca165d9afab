/* SPDX-License-Identifier: Apache-2.0
 * Libraries that say to be older than they are, preloaded: the versions are
 * those of the environment, as the library's own numbers. */
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <sqlite3.h>

static int version(const char *variable, int otherwise)
{
    const char *text = getenv(variable);

    return text ? (int)strtol(text, NULL, 0) : otherwise;
}

int sqlite3_libversion_number(void)
{
    return version("LAB_SQLITE", SQLITE_VERSION_NUMBER);
}

/* libpq may not be here. */
int PQlibVersion(void);

int PQlibVersion(void)
{
    return version("LAB_LIBPQ", 150000);
}

curl_version_info_data *curl_version_info(CURLversion age)
{
    static curl_version_info_data info;

    memset(&info, 0, sizeof(info));
    info.age = age;
    info.version = "of the lab";
    info.version_num = (unsigned)version("LAB_CURL", LIBCURL_VERSION_NUM);
    info.features = CURL_VERSION_ASYNCHDNS;
    info.ares = getenv("LAB_ARES");
    return &info;
}
