# SPDX-License-Identifier: Apache-2.0
# `make help` lists what can be made. Everything is written below build/.

SHELL   := /bin/sh
APXS    ?= apxs
ifeq ($(origin CC),default)
CC      := gcc
endif
BUILD   ?= build
PORT    ?= 8080
EXAMPLE ?= calendar
DESTDIR ?=
PROVE   ?= prove
JOBS    ?= 2
FUZZ_CC ?= clang
FUZZ_SECONDS ?= 60

# The core links without httpd: the unit tests are made of it.
CORE_FOLDERS := base base/bytes base/origin stats stats/state stats/parent stats/recent \
                pool pool/group pool/rate pool/wait database database/sqlite database/sqlite/text \
                database/sqlite/guard database/sqlite/inspect http http/upstream \
                http/upload http/job http/kept answers answers/shared answers/web
# PostgreSQL's driver, a module of its own: made where libpq is, of its folders
# and what it uses of base/. The unit tests have it, too.
PGSQL_FOLDERS := database/pgsql database/pgsql/text database/pgsql/session database/pgsql/statement
PGSQL_SOURCES := $(sort $(wildcard $(PGSQL_FOLDERS:%=mod_connpool/%/*.c))) mod_connpool/mod_connpool_pgsql.c
PGSQL_BASE    := $(addprefix mod_connpool/base/,clock.c error.c log.c thread.c bytes/buffer.c bytes/hash.c bytes/utf8.c)
SOURCES      := $(filter-out $(PGSQL_SOURCES),$(sort $(shell find mod_connpool -name '*.c')))
CORE         := $(sort $(wildcard $(CORE_FOLDERS:%=mod_connpool/%/*.c)))
PGSQL_CORE   := $(filter-out mod_connpool/mod_connpool_pgsql.c,$(PGSQL_SOURCES))
TEST_SOURCES := $(wildcard tests/*.c) $(sort $(wildcard $(CORE_FOLDERS:%=tests/%/*.c))) \
                $(sort $(wildcard $(PGSQL_FOLDERS:%=tests/%/*.c))) \
                $(wildcard tests/drivers/script*.c)
HEADERS      := $(sort $(shell find mod_connpool tests -name '*.h'))
CONSUMERS    := $(wildcard t/handler/*.c)
# A driver of databases in a module of its own, with what it uses of base/.
DRIVER       := $(wildcard tests/drivers/*.c) \
                $(addprefix mod_connpool/base/,clock.c error.c log.c)
FORMATTED    := $(sort $(SOURCES) $(PGSQL_SOURCES) $(HEADERS) $(TEST_SOURCES) $(CONSUMERS) $(DRIVER) \
                $(wildcard tests/bench/*.[ch] tests/bench/load/*.[ch] tests/bench/marks/*.c tests/fuzz/*.[ch] tests/lab/*.[ch]))

# Asked once, and only when something is compiled: `make help` works on a bare
# machine. Headers of others are not searched for warnings.
apxs_flags = $(eval apxs_flags := $(shell $(APXS) -q EXTRA_CPPFLAGS) \
               -isystem $(shell $(APXS) -q INCLUDEDIR) \
               -isystem $(shell $(APXS) -q APR_INCLUDEDIR) \
               -isystem $(shell $(APXS) -q APU_INCLUDEDIR))$(apxs_flags)
# Nothing where there is no libpq; pg_config knows where its headers are.
pgsql_include := $(shell pg_config --includedir 2>/dev/null || echo /usr/include/postgresql)
has_pgsql     := $(wildcard $(pgsql_include)/libpq-fe.h)
pgsql_flags   := -isystem $(pgsql_include)
PGSQL_LIBS    := -lpq
check_libs = $(eval check_libs := $(shell pkg-config --libs check))$(check_libs)

WARNINGS    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
               -Wpointer-arith -Wwrite-strings -Wformat=2 -Wundef -Wvla \
               -Wimplicit-fallthrough -Wno-unused-parameter
ifeq ($(CI),true)
WERROR      ?= -Werror
endif
OPTIMIZE    ?= -O2 -g
SANITIZE    ?=
HARDENING   ?= -fstack-protector-strong -D_FORTIFY_SOURCE=2
CPPFLAGS_ALL = -D_GNU_SOURCE $(HARDENING) $(CPPFLAGS) $(apxs_flags)
CFLAGS_ALL   = -std=gnu11 $(OPTIMIZE) -fPIC -pthread -fvisibility=hidden \
               $(WARNINGS) $(WERROR) $(SANITIZE) $(CFLAGS)
LDFLAGS_ALL  = -Wl,-z,relro,-z,now -Wl,--as-needed -pthread $(SANITIZE) $(LDFLAGS)
LIBS        := -lsqlite3 -lcurl -ljansson -lz
TEST_LIBS    = $(check_libs) -lapr-1 -laprutil-1 $(LIBS) $(PGSQL_LIBS) -lm

MODULE    := $(BUILD)/mod_connpool.so
PGSQL     := $(if $(has_pgsql),$(BUILD)/mod_connpool_pgsql.so)
TESTING   := $(BUILD)/testing/mod_connpool.so
UNIT      := $(BUILD)/unit
CONSUMING := $(CONSUMERS:t/handler/%.c=$(BUILD)/t/%.so) $(BUILD)/t/first/mod_cptest.so
DRIVING   := $(BUILD)/t/mod_connpool_script.so
FAULTLAB  := $(BUILD)/lab/faultlab.so
VERSIONS  := $(BUILD)/lab/versions.so

# What `make bench` runs; callgrind's header comes with valgrind.
BENCHING  := $(MODULE) $(BUILD)/t/mod_bench.so $(BUILD)/bench/load \
             $(if $(wildcard /usr/include/valgrind/callgrind.h),$(BUILD)/bench/marks.so)

FUZZ      := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
REPLAYS   := $(FUZZ:%=$(BUILD)/fuzz/%)
FUZZERS   := $(FUZZ:%=$(BUILD)/fuzzing/%)
# Those that take a source of ours in, for what it keeps to itself, or that need
# more than the core.
fuzz_without = $(addsuffix .o,$(addprefix $1/mod_connpool/,\
               $(if $(filter entry,$2),answers/shared/entry)))
fuzz_with    = $(if $(filter body,$2),$(addprefix $1/mod_connpool/,request/body.o request/input.o request/param/nested.o))
fuzz_objects = $1/tests/fuzz/fuzz_$2.o $1/tests/fuzz/support.o $(call fuzz_with,$1,$2) \
               $(filter-out $(call fuzz_without,$1,$2),$(CORE:%.c=$1/%.o))
FUZZ_LIBS    = -lapr-1 -laprutil-1 $(LIBS) -lm

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all run check check-unit check-fuzz check-cost record-cost check-e2e check-a11y guards faults fuzz fuzzers lint bench bench-docs bench-pgsql bench-tiles check-asan \
        check-tsan check-valgrind analyze format install uninstall deb check-deb check-suite help clean \
        toolchain deps test-programs

all: $(MODULE) $(PGSQL) ## build/mod_connpool.so, and mod_connpool_pgsql.so where libpq is (the default)

# `make V=1` shows the commands.
ifdef V
Q   :=
say := @:
else
Q   := @
say := @echo ' '
endif

# --- compiling --------------------------------------------------------------

# What a file includes is written down when it is compiled (-MMD), for the next
# time; -MP lets a header go away.
$(BUILD)/%.o: %.c Makefile | toolchain
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) -MMD -MP -Imod_connpool $(CFLAGS_ALL) -c -o $@ $<

# With the hooks for tests, in a tree of its own: nothing of it is shipped.
$(BUILD)/testing/%.o: %.c Makefile | toolchain
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) -DCONNPOOL_TESTING $(CPPFLAGS_ALL) -MMD -MP -Imod_connpool -Itests $(CFLAGS_ALL) -c -o $@ $<

$(BUILD)/mod_connpool/database/pgsql/%.o $(BUILD)/testing/mod_connpool/database/pgsql/%.o \
$(BUILD)/mod_connpool/mod_connpool_pgsql.o $(BUILD)/testing/tests/database/pgsql/%.o: CPPFLAGS_ALL += $(pgsql_flags)

# What servers load is whole whenever it is there: a test that runs beside `make`
# would find a module that is half written.
# It stays where it is once it is loaded: a thread of it may be left behind.
$(BUILD)/mod_connpool_pgsql.so: $(PGSQL_SOURCES:%.c=$(BUILD)/%.o) $(PGSQL_BASE:%.c=$(BUILD)/%.o)
	$(say) LD $@
	$(Q)$(CC) -shared $(LDFLAGS_ALL) -Wl,-z,nodelete -o $@.new $^ $(PGSQL_LIBS) && mv -f $@.new $@

$(MODULE): $(SOURCES:%.c=$(BUILD)/%.o)
	$(say) LD $@
	$(Q)$(CC) -shared $(LDFLAGS_ALL) -o $@.new $^ $(LIBS) && mv -f $@.new $@

$(TESTING): $(SOURCES:%.c=$(BUILD)/testing/%.o)
	$(say) LD $@
	$(Q)$(CC) -shared $(LDFLAGS_ALL) -o $@.new $^ $(LIBS) && mv -f $@.new $@

$(UNIT): $(CORE:%.c=$(BUILD)/testing/%.o) $(PGSQL_CORE:%.c=$(BUILD)/testing/%.o) $(TEST_SOURCES:%.c=$(BUILD)/testing/%.o)
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(TEST_LIBS)

# As a stranger would build it: of this module it sees the public header only.
$(BUILD)/t/include/mod_connpool.h: mod_connpool/mod_connpool.h
	@mkdir -p $(@D)
	@cp $< $@

$(BUILD)/t/%.so: t/handler/%.c $(BUILD)/t/include/mod_connpool.h Makefile | toolchain
	$(say) CC $@
	$(Q)$(CC) $(CPPFLAGS_ALL) -I$(BUILD)/t/include $(CFLAGS_ALL) -shared $(LDFLAGS_ALL) -o $@.new $< -lsqlite3 -lcurl && mv -f $@.new $@

# As one that was built long ago: with the first header.
$(BUILD)/t/first/%.so: t/handler/%.c t/handler/first/mod_connpool.h Makefile | toolchain
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) -It/handler/first $(CFLAGS_ALL) -shared $(LDFLAGS_ALL) -o $@.new $< -lsqlite3 -lcurl && mv -f $@.new $@

$(DRIVING): $(DRIVER:%.c=$(BUILD)/testing/%.o)
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) -shared $(LDFLAGS_ALL) -o $@.new $^ && mv -f $@.new $@

$(BUILD)/t/mod_bench.so: $(wildcard tests/bench/*.[ch]) Makefile | toolchain
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -shared $(LDFLAGS_ALL) -o $@.new $(filter %.c,$^) -lsqlite3 && mv -f $@.new $@

# Where valgrind is.
$(BUILD)/t/mod_cost.so: tests/cost/mod_cost.c mod_connpool/mod_connpool.h Makefile | toolchain
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS_ALL) -Imod_connpool $(CFLAGS_ALL) -shared $(LDFLAGS_ALL) -o $@ $<

$(BUILD)/bench/load: $(wildcard tests/bench/load/*.[ch]) Makefile | toolchain
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -g $(WARNINGS) $(WERROR) -o $@ $(filter %.c,$^)

$(BUILD)/bench/marks.so: tests/bench/marks/marks.c Makefile | toolchain
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -g -fPIC -pthread $(WARNINGS) $(WERROR) -shared -o $@ $<

-include $(PGSQL_SOURCES:%.c=$(BUILD)/%.d) $(PGSQL_CORE:%.c=$(BUILD)/testing/%.d) $(SOURCES:%.c=$(BUILD)/%.d) $(SOURCES:%.c=$(BUILD)/testing/%.d) \
         $(TEST_SOURCES:%.c=$(BUILD)/testing/%.d) $(DRIVER:%.c=$(BUILD)/testing/%.d) \
         $(FUZZ:%=$(BUILD)/testing/tests/fuzz/fuzz_%.d) $(FUZZ:%=$(BUILD)/fuzzing/tests/fuzz/fuzz_%.d) \
         $(CORE:%.c=$(BUILD)/fuzzing/%.d)

# Takes the place of libc's calls: no checks of libc's headers, no sanitizer.
$(FAULTLAB): tests/lab/faultlab.c tests/lab/faultlab.h Makefile | toolchain
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -g -fPIC $(WARNINGS) $(WERROR) -shared -o $@.new $< -ldl && mv -f $@.new $@

$(VERSIONS): tests/lab/versions.c Makefile | toolchain
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -O2 -fPIC $(WARNINGS) $(WERROR) -shared -o $@ $<

# The fuzz targets: replayed over their corpora, and, with clang, for long.
$(BUILD)/fuzzing/%.o: %.c Makefile
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(FUZZ_CC) -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
	    -D_GNU_SOURCE -DCONNPOOL_TESTING $(apxs_flags) -MMD -MP -Imod_connpool -Itests \
	    -std=gnu11 -O1 -g -fPIC -pthread -c -o $@ $<

.SECONDEXPANSION:
$(REPLAYS): $(BUILD)/fuzz/%: $$(call fuzz_objects,$(BUILD)/testing,$$*) $(BUILD)/testing/tests/fuzz/replay.o
	$(say) LD $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(FUZZ_LIBS)

$(FUZZERS): $(BUILD)/fuzzing/%: $$(call fuzz_objects,$(BUILD)/fuzzing,$$*)
	$(say) LD $@
	$(Q)$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -pthread -o $@ $^ $(FUZZ_LIBS)

test-programs: $(MODULE) $(PGSQL) $(TESTING) $(UNIT) $(CONSUMING) $(DRIVING) $(FAULTLAB) $(VERSIONS) $(BENCHING)

toolchain:
	@CC='$(CC)' APXS='$(APXS)' scripts/check-toolchain.sh

deps: ## install what the targets run and check need (Debian, Raspberry Pi OS)
	BUILD='$(abspath $(BUILD))' scripts/install-deps.sh run check

# --- running ----------------------------------------------------------------

run: ## install what is missing, build, serve conf/examples/EXAMPLE on 127.0.0.1:PORT (the calendar also with DATABASE=postgresql)
	scripts/install-deps.sh run $(if $(filter postgresql,$(DATABASE)),pgsql)
	+$(MAKE) all
	BUILD='$(abspath $(BUILD))' PORT='$(PORT)' DATABASE='$(DATABASE)' EXAMPLE='$(EXAMPLE)' exec scripts/run-demo.sh

# --- checking ---------------------------------------------------------------

# Tests that take long or do not depend on the MPM say so in a line
# "# MPM: event" and run once.
e2e_tests   = $(wildcard t/*.t)
other_tests = $(shell grep -L '^\# MPM: event' $(e2e_tests))
prove       = CONNPOOL_BUILD='$(abspath $(BUILD))' $(PROVE) -j$(JOBS) --timer
prove_under = BUILD='$(abspath $(BUILD))' PROVE='$(PROVE)' JOBS='$(JOBS)' scripts/prove.sh

check: ## install what is missing, build, unit tests, guards, end-to-end tests
	BUILD='$(abspath $(BUILD))' scripts/install-deps.sh run check
	+$(MAKE) test-programs
	+$(MAKE) check-unit
	+$(MAKE) check-fuzz
	+$(MAKE) guards
	+$(MAKE) check-cost
	+$(MAKE) check-e2e

check-unit: $(UNIT)
	$(UNIT)

check-fuzz: $(REPLAYS) ## the fuzz targets over their corpora
	@for name in $(FUZZ); do '$(BUILD)/fuzz/'$$name tests/fuzz/corpus/$$name/* || exit 1; done

fuzz: ## libFuzzer with ASan and UBSan (installs clang): FUZZ_SECONDS=60 a target
	scripts/install-deps.sh run fuzz
	+$(MAKE) fuzzers
	BUILD='$(BUILD)' tests/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ)

fuzzers: $(FUZZERS)

check-e2e: test-programs ## end-to-end tests under the MPMs worker, prefork, event
	@test -n '$(e2e_tests)' || { echo 'no tests in t/' >&2; exit 1; }
	$(prove_under) worker $(other_tests)
	$(prove_under) prefork $(other_tests)
	$(prove_under) event $(e2e_tests)

# What was seen is written by the tests that inject the faults.
faults: test-programs ## tests/FAULTS.md anew: what was broken on purpose, and seen
	rm -rf '$(BUILD)/faults'
	CONNPOOL_MPM=event $(prove) $$(perl tests/lab/faults.pl list)
	perl tests/lab/faults.pl write '$(BUILD)/faults'

check-a11y: $(MODULE) $(CONSUMING) ## the status page and those of the examples before axe-core (from npm) in chromium
	tests/a11y/fetch-axe.sh '$(BUILD)/tools/axe-core'
	CONNPOOL_MPM=event $(prove) -v tests/a11y/axe.t tests/a11y/examples.t

# What a request costs, beside contenders of the same run. Where there is no
# valgrind nothing is counted.
count_cost = if command -v valgrind >/dev/null; then \
	    $(MAKE) '$(BUILD)/t/mod_cost.so' && CONNPOOL_BUILD='$(abspath $(BUILD))' perl tests/cost/check.pl $1; \
	else echo 'there is no valgrind: what requests cost is not counted'; fi
check-cost: $(MODULE) $(BUILD)/t/mod_bench.so ## instructions and system calls of requests, against the record
	+@$(call count_cost)

record-cost: $(MODULE) $(BUILD)/t/mod_bench.so ## the record of check-cost anew
	+@$(call count_cost,record)

guards: $(MODULE) $(PGSQL) ## rules of the source tree that no compiler checks
	BUILD='$(BUILD)' CC='$(CC)' APXS='$(APXS)' CORE='$(CORE_FOLDERS) $(PGSQL_FOLDERS)' tests/guards/run.sh

lint: ## format, shell scripts, cppcheck
	@tests/guards/lint/check_format.sh $(FORMATTED)
	tests/guards/lint/check_shell.sh
	tests/guards/lint/check_cppcheck.sh mod_connpool

bench          = CONNPOOL_BUILD='$(abspath $(BUILD))' perl tests/bench

bench: ## installs who is compared, measures, build/bench.json (BENCH_ONLY=one,fetch: parts)
	BUILD='$(abspath $(BUILD))' scripts/install-deps.sh run check bench
	+$(MAKE) $(BENCHING)
	$(bench)/bench.pl

bench-docs: ## what make bench found, written into docs/benchmarks.md, docs/benchmarks.svg and README.md
	$(bench)/docs.pl

bench-pgsql: $(MODULE) $(PGSQL) $(BUILD)/t/mod_bench.so ## what a request costs that asks PostgreSQL
	$(bench)/pgsql.pl

bench-tiles: $(MODULE) ## what a map tile costs beside the same bytes in a file
	$(bench)/tiles.pl

asan := -fsanitize=address,undefined -fno-sanitize-recover=undefined \
        -fno-omit-frame-pointer
check-asan: ## unit and end-to-end tests with ASan and UBSan on the stock httpd
	+$(MAKE) BUILD='$(BUILD)/asan' SANITIZE='$(asan)' OPTIMIZE='-O1 -g' HARDENING= test-programs
	CK_TIMEOUT_MULTIPLIER=4 ASAN_OPTIONS=allocator_may_return_null=1:detect_stack_use_after_return=1:strict_string_checks=1 \
	    UBSAN_OPTIONS=print_stacktrace=1 $(BUILD)/asan/unit
	CONNPOOL_ASAN=1 CONNPOOL_BUILD='$(abspath $(BUILD))/asan' $(PROVE) -j$(JOBS) --timer $(e2e_tests)

# Without address randomization: the runtimes of older compilers cannot place
# their shadow memory on newer kernels.
check-tsan: ## unit tests of gate, pool, loop, fetches and counters with TSan
	+$(MAKE) BUILD='$(BUILD)/tsan' SANITIZE=-fsanitize=thread OPTIMIZE='-O1 -g' HARDENING= '$(BUILD)/tsan/unit'
	CK_TIMEOUT_MULTIPLIER=10 TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
	    setarch "$$(uname -m)" -R $(BUILD)/tsan/unit gate group pool loop transfer kept http segment flight store sentinel sqlite_time

# Not the loop: what it promises in milliseconds valgrind cannot keep.
check-valgrind: $(UNIT) ## unit tests under valgrind; definite leaks are errors
	CONNPOOL_STRESS=300 CP_TEST_DAMAGED=50 CP_TEST_WRITES=5 CP_TEST_KILLS=2 \
	CK_FORK=no CK_TIMEOUT_MULTIPLIER=20 valgrind --quiet --leak-check=full --track-origins=yes \
	    --show-leak-kinds=definite --errors-for-leak-kinds=definite --error-exitcode=99 $(UNIT) \
	    address clock condition encode entry flight gate group hash json key number option origin pool recent scan seam segment sentinel sqlite standing state stats store value http

analyze: ## gcc -fanalyzer, cppcheck, clang-tidy
	BUILD='$(BUILD)' CC='$(CC)' APXS='$(APXS)' scripts/analyze.sh $(SOURCES) $(if $(PGSQL),$(PGSQL_SOURCES))

format: ## clang-format over all C files
	clang-format -i $(FORMATTED)

# --- installing -------------------------------------------------------------

PREFIX    ?= /usr
version    = $(shell sed -n 's/^.define CONNPOOL_VERSION "\(.*\)"/\1/p' mod_connpool/glue.h)
sysconfdir = $(DESTDIR)$(shell $(APXS) -q SYSCONFDIR)

$(BUILD)/mod_connpool.pc: conf/mod_connpool.pc.in mod_connpool/glue.h Makefile
	@mkdir -p $(@D)
	sed 's|@INCLUDEDIR@|$(shell $(APXS) -q INCLUDEDIR)|; s|@VERSION@|$(version)|' $< >$@

$(BUILD)/connpool.conf.5: docs/directives.md scripts/make-man.pl mod_connpool/glue.h
	@mkdir -p $(@D)
	perl scripts/make-man.pl '$(version)' <$< >$@

install: $(MODULE) $(PGSQL) $(BUILD)/mod_connpool.pc $(BUILD)/connpool.conf.5 ## the modules, their configuration for a2enmod, the header, man 5 connpool.conf
	BUILD='$(abspath $(BUILD))' APXS='$(APXS)' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install.sh install

uninstall: ## what install has put there, except what was edited
	BUILD='$(abspath $(BUILD))' APXS='$(APXS)' PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' scripts/install.sh uninstall

deb: ## Debian packages, in build/deb
	scripts/install-deps.sh run deb
	BUILD='$(abspath $(BUILD))' scripts/make-deb.sh

check-deb: deb ## they are installed, used, upgraded and purged in a fresh Debian (root)
	+BUILD='$(abspath $(BUILD))' tests/deb/check.sh

check-suite: ## build and tests in another Debian: SUITE=trixie (root)
	@test -n '$(SUITE)' || { echo 'make check-suite SUITE=trixie' >&2; exit 2; }
	BUILD='$(abspath $(BUILD))' tests/deb/suite.sh '$(SUITE)'

clean: ## all that was built
	rm -rf '$(BUILD)'

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' Makefile
