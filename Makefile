# SPDX-License-Identifier: Apache-2.0
# `make help` lists what can be made. Everything is written below build/.

SHELL   := /bin/sh
APXS    ?= apxs
CC      ?= gcc
BUILD   ?= build
PORT    ?= 8080
PROVE   ?= prove

SOURCES      := $(wildcard mod_connpool/*.c)
CORE         := $(wildcard mod_connpool/cp_*.c)
HEADERS      := $(wildcard mod_connpool/*.h)
TEST_SOURCES := $(wildcard tests/*.c)

# Asked only when something is compiled: `make help` works on a bare machine.
apxs_flags  = $(shell $(APXS) -q EXTRA_CPPFLAGS) -I$(shell $(APXS) -q INCLUDEDIR) -I$(shell $(APXS) -q APR_INCLUDEDIR) -I$(shell $(APXS) -q APU_INCLUDEDIR)
WARNINGS    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
               -Wpointer-arith -Wwrite-strings -Wformat=2 -Wundef -Wvla \
               -Wimplicit-fallthrough -Wno-unused-parameter
WERROR      ?=
OPTIMIZE    ?= -O2 -g
SANITIZE    ?=
HARDENING   ?= -fstack-protector-strong -D_FORTIFY_SOURCE=2
CPPFLAGS_ALL = -D_GNU_SOURCE $(HARDENING) $(CPPFLAGS) -Imod_connpool $(apxs_flags)
CFLAGS_ALL   = -std=gnu11 $(OPTIMIZE) -fPIC -pthread -fvisibility=hidden $(WARNINGS) $(WERROR) $(SANITIZE) $(CFLAGS)
LDFLAGS_ALL  = -Wl,-z,relro,-z,now -Wl,--as-needed $(SANITIZE) $(LDFLAGS)
LIBS        := -lsqlite3 -lcurl -ljansson
TEST_LIBS    = $(shell pkg-config --libs check) -lapr-1 -laprutil-1 $(LIBS) -lm

MODULE := $(BUILD)/mod_connpool.so

all: $(MODULE) ## build/mod_connpool.so (the default)

$(BUILD)/%.o: %.c $(HEADERS) Makefile | toolchain
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -c -o $@ $<

$(MODULE): $(SOURCES:%.c=$(BUILD)/%.o)
	$(CC) -shared $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(BUILD)/unit: $(CORE:%.c=$(BUILD)/%.o) $(TEST_SOURCES:%.c=$(BUILD)/%.o)
	$(CC) $(LDFLAGS_ALL) -pthread -o $@ $^ $(TEST_LIBS)
