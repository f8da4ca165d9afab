/* SPDX-License-Identifier: Apache-2.0
 * What administrators write: numbers with units are in range or refused with a
 * sentence, and words come out of a line as they went in; and URLs of
 * upstreams. */
#include "fuzz.h"

#include <string.h>

#include <curl/curl.h>

#include "base/number.h"
#include "http/upstream/upstream.h"

static void check_numbers(apr_pool_t *p, const char *word)
{
    apr_int64_t number;
    apr_interval_time_t duration;
    int count;
    const char *reason = cp_params_int(p, word, -5, 1000, &number);

    MUST(reason ? *reason : number >= -5 && number <= 1000);
    reason = cp_params_size(p, word, 10, APR_INT64_MAX, &number);
    MUST(reason ? *reason : number >= 10);
    reason = cp_params_duration(p, word, 0, apr_time_from_sec(86400),
                                &duration);
    MUST(reason ? *reason != '\0'
                : duration >= 0 && duration <= apr_time_from_sec(86400));
    reason = cp_params_rate(p, word, &count, &duration);
    MUST(reason ? *reason != '\0'
                : count >= 0 && count <= 1000000 && duration > 0);
}

static void check_url(apr_pool_t *p, const char *url)
{
    const char *origin = NULL;
    char *host = NULL;
    CURLU *parsed = curl_url();

    MUST(parsed);
    if (!cp_upstream_check_url(p, url, &origin)) {
        MUST(origin && !strpbrk(url, "\r\n"));
        MUST(curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK);
        MUST(curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK);
        MUST(strcasestr(origin, host));
        curl_free(host);
        MUST(curl_url_get(parsed, CURLUPART_USER, &host, 0) != CURLUE_OK);
    }
    curl_url_cleanup(parsed);
}

static void check_words(apr_pool_t *p, const char *line)
{
    const char **words;
    int count;

    if (!cp_params_split(p, line, &words, &count)) {
        MUST(!words[count]);
        for (int i = 0; i < count; i++) {
            const char *key, *value;
            const char *reason = cp_params_option(p, words[i], &key, &value);

            MUST(strlen(words[i]) <= strlen(line));
            MUST(reason || (*key && value));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *p = fuzz_pool();
    const char *text = fuzz_text(p, data, size);
    int flag;

    check_numbers(p, text);
    check_url(p, text);
    check_words(p, text);
    MUST(cp_params_flag(p, text, 1, &flag) || flag == 0 || flag == 1);
    MUST(cp_params_name(p, text) || strlen(text) <= 64);
    return 0;
}
