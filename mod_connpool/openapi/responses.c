/* SPDX-License-Identifier: Apache-2.0
 * What can go wrong, once for all operations. */
#include "openapi/parts.h"

#include "glue.h"

#include <apr_strings.h>

static const struct {
    int status;
    const char *name;
    const char *text;
    int has_retry; /* Retry-After comes with it */
} problems[] = {
    {400, "Invalid", "A parameter is not valid: see errors.", 0},
    {403, "Refused", "It is not allowed to this client.", 0},
    {404, "NotFound", "There is nothing at this address, or no such row.", 0},
    {405, "Method", "This method is not answered here: see Allow.", 0},
    {408, "Slow", "The request's body comes too slowly.", 0},
    {409, "Conflict", "A constraint of the database does not hold.", 0},
    {412, "Precondition", "A condition of the request does not hold.", 0},
    {413, "TooLarge", "The request, or its answer, is too large.", 0},
    {415, "MediaType", "The body's type is not understood.", 0},
    {416, "Range", "The answer has no such bytes: see Content-Range.", 0},
    {429, "TooMany", "This client comes too often.", 1},
    {500, "Internal", "The server is not configured right.", 0},
    {502, "Upstream", "The upstream's answer was no answer.", 0},
    {503, "Unavailable", "No connection is free, or the storage is away.", 1},
    {504, "Late", "It took too long.", 0},
};

#define PROBLEMS (sizeof(problems) / sizeof(problems[0]))

json_t *connpool_openapi_ref(const char *kind, const char *name)
{
    return json_pack("{s:s+++}", "$ref", "#/components/", kind, "/", name);
}

static void add_problem(json_t *responses, int status)
{
    char key[8];

    for (size_t i = 0; i < PROBLEMS; i++) {
        if (problems[i].status == status) {
            apr_snprintf(key, sizeof(key), "%d", status);
            json_object_set_new(
                responses, key,
                connpool_openapi_ref("responses", problems[i].name));
        }
    }
}

void connpool_openapi_problems(json_t *responses, const int *statuses)
{
    for (; *statuses; statuses++) {
        add_problem(responses, *statuses);
    }
}

json_t *connpool_openapi_responses(void)
{
    json_t *all = json_object();

    for (size_t i = 0; i < PROBLEMS; i++) {
        json_t *response = json_pack(
            "{s:s,s:{s:{s:o}}}", "description", problems[i].text, "content",
            "application/problem+json", "schema",
            connpool_openapi_ref("schemas", "Problem"));

        if (problems[i].has_retry) {
            json_object_set_new(
                response, "headers",
                json_pack("{s:o}", "Retry-After",
                          connpool_openapi_ref("headers", "Retry-After")));
        }
        json_object_set_new(all, problems[i].name, response);
    }
    return all;
}

static json_t *header(const char *text, const char *type)
{
    return json_pack("{s:s,s:{s:s}}", "description", text, "schema", "type",
                     type);
}

json_t *connpool_openapi_headers(void)
{
    return json_pack(
        "{s:o,s:o,s:o,s:o,s:o}", "ETag",
        header("The answer's tag, for If-None-Match.", "string"),
        "ConnPool-Truncated",
        header("rows or bytes: there is more than the query may answer.",
               "string"),
        "Link",
        header("The next page, with rel=\"next\"; none on the last one.",
               "string"),
        "Retry-After", header("Seconds until it may be otherwise.", "integer"),
        "Location", header("Where it is, as a path on this server.", "string"));
}
