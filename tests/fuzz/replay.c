/* SPDX-License-Identifier: Apache-2.0
 * Runs a fuzz target over files, without libFuzzer: replay FILE... . That
 * nothing was run is a failure. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

static int run_file(const char *path)
{
    FILE *in = fopen(path, "rb");
    char *data = NULL;
    size_t size;
    FILE *copy = in ? open_memstream(&data, &size) : NULL;
    int c;

    if (!copy) {
        perror(path);
        return 0;
    }
    while ((c = getc(in)) != EOF) {
        putc(c, copy);
    }
    fclose(in);
    fclose(copy);
    LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    free(data);
    return 1;
}

int main(int argc, char *const *argv)
{
    int ran = 0;

    for (int i = 1; i < argc; i++) {
        ran += run_file(argv[i]);
    }
    printf("%s: %d inputs\n", argv[0], ran);
    return ran > 0 && ran == argc - 1 ? 0 : 1;
}
