# cierge. `make run`: set up, build, run the main job. `make test`: everything. `make`: just build.
B       ?= build
CC      ?= cc
CXX     ?= c++
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Wno-missing-field-initializers $(if $(WERROR),-Werror)
CPPFLAGS += -Iinclude -Isrc -Ithird_party -D_GNU_SOURCE
ALLFLAGS = -std=c11 -fPIC -fvisibility=hidden -MMD -MP $(WARN) $(CPPFLAGS) $(CFLAGS) $(SAN)
LDLIBS  := -lm -ldl -lz -pthread
# What every call passes through, the runtime and part of the plugin, is optimised across its files where the compiler can:
# a call into a small region of LibTorch takes 5 % less (doc/overhead.md).
ifeq ($(origin LTO),undefined)
LTO     := $(if $(SAN),,$(shell echo 'int main(void) { return 0; }' | $(CC) -x c - -Werror -flto=auto -ffat-lto-objects -o /dev/null 2>/dev/null && echo -flto=auto -ffat-lto-objects))
endif
# The header says the version. ABI: the number that programs ask for; doc/c-api.md says when it changes.
VERSION := $(shell sed -n 's/^.define CIERGE_VERSION "\(.*\)"/\1/p' include/cierge/cierge.h)
ABI     := 0
LINK     = $(CC) $(SAN) $(if $(LTO),-fno-lto)
# LibTorch: `make TORCH=DIR` builds against that one, `make TORCH=` without any.
TORCH   ?= $(shell tools/find-torch.sh)
$(if $(TORCH),$(if $(shell tools/find-torch.sh --libtorch $(TORCH)),,$(error no LibTorch to build against)))

# The runtime's rooms; everything else is the compiler's. EXTRA_SRC: C files of yours to compile into it (a backend, say).
RT_SRC   := $(wildcard src/runtime/*.c) src/base/alloc.c src/base/hash.c src/base/elf.c src/base/number.c src/ir/dtype.c src/artifact/plan_read.c src/artifact/open.c src/artifact/scalar.c
COMP_SRC := $(filter-out $(RT_SRC), $(wildcard src/base/*.c src/ir/*.c src/arrays/*.c src/ops/*.c src/frontend/*.c src/pass/*.c \
              src/backend/*.c src/backend/*/*.c src/artifact/*.c src/compile/*.c)) $(EXTRA_SRC)
CLI_SRC  := $(wildcard src/cli/*.c)
obj = $(patsubst %.c,$(B)/obj/%.o,$(1))

$(call obj,$(RT_SRC)): CFLAGS += $(LTO)

all: $(B)/libcierge_rt.so $(B)/libcierge.so $(B)/libcierge_rt.a $(B)/cierge $(if $(TORCH),$(B)/libcierge_torch.so)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALLFLAGS) -c $< -o $@
# A page as a C string, for the compiler to carry.
$(B)/gen/%.inc: src/%.html
	@mkdir -p $(@D)
	sed 's/\\/\\\\/g; s/"/\\"/g; s/^/"/; s/$$/\\n"/' $< > $@
$(B)/obj/src/compile/report_html.o: CPPFLAGS += -I$(B)/gen
$(B)/obj/src/compile/report_html.o: $(B)/gen/compile/report_page.inc
$(B)/obj/third_party/%.o: third_party/%.c
	@mkdir -p $(@D)
	$(CC) $(ALLFLAGS) -w $(THIRD) -c $< -o $@

# The libraries: NAME.so.VERSION, and links from what a program asks for (its soname: doc/c-api.md says when it changes) and what a linker does.
library = -shared -Wl,-soname,$(1).so.$(ABI) -Wl,-z,defs -Wl,--version-script=src/runtime/exported.map
links = ln -sf $(@F) $(@D)/$(1).so.$(ABI) && ln -sf $(1).so.$(ABI) $(@D)/$(1).so
$(B)/libcierge_rt.so.$(VERSION): $(call obj,$(RT_SRC)) src/runtime/exported.map
	$(CC) $(SAN) $(CFLAGS) $(LTO) $(call library,libcierge_rt) -o $@ $(filter %.o,$^) -lm -ldl -pthread
	$(call links,libcierge_rt)
$(B)/libcierge.so.$(VERSION): $(call obj,$(RT_SRC) $(COMP_SRC) third_party/yyjson/yyjson.c) src/runtime/exported.map
	$(LINK) $(call library,libcierge) -o $@ $(filter %.o,$^) $(LDLIBS)
	$(call links,libcierge)
$(B)/%.so: $(B)/%.so.$(VERSION) ;
# One object, in which no name is global but those of the header.
$(B)/libcierge_rt.a: $(call obj,$(RT_SRC))
	$(CC) -r -nostdlib $(if $(LTO),-fno-lto) -o $(@:.a=.o) $^
	objcopy --wildcard --keep-global-symbol='cierge_*' -R '.gnu.lto_*' -R '.gnu.debuglto_*' $(@:.a=.o)
	rm -f $@ && ar rcs $@ $(@:.a=.o) && rm $(@:.a=.o)
# The program needs no library beside it but the plugin: compiler and runtime are in it.
$(B)/cierge: $(call obj,$(CLI_SRC) $(RT_SRC) $(COMP_SRC) third_party/yyjson/yyjson.c)
	$(LINK) -o $@ $^ $(LDLIBS)

# The plugin is two C++ files, made of those in plugin/torch: LibTorch's headers take a minute to read, and are read twice, not thirty times.
PLUGIN_SRC := $(wildcard plugin/torch/*.cpp)
PLUGIN_UNITS := $(patsubst %,$(B)/obj/plugin/%.o,regions import)
CXXFLAGS ?= -O2
$(B)/gen/plugin/import.cpp: PARTS = $(filter plugin/torch/import%,$(PLUGIN_SRC))
$(B)/gen/plugin/regions.cpp: PARTS = $(filter-out plugin/torch/import%,$(PLUGIN_SRC))
$(B)/gen/plugin/regions.cpp $(B)/gen/plugin/import.cpp: $(PLUGIN_SRC)
	@mkdir -p $(@D)
	printf '#include "%s"\n' $(PARTS) > $@
$(B)/obj/plugin/regions.o: CXXFLAGS += $(LTO)
$(PLUGIN_UNITS): $(B)/obj/plugin/%.o: $(B)/gen/plugin/%.cpp
	@mkdir -p $(@D)
	$(CXX) -std=c++20 $(CXXFLAGS) -fPIC -fvisibility=hidden -MMD -MP -Wall -Wextra $(if $(WERROR),-Werror) -I. -Iinclude -Isrc -Iplugin/torch \
	  -ffile-prefix-map=$(TORCH)/=torch/ \
	  -isystem $(TORCH)/include -isystem $(TORCH)/include/torch/csrc/api/include -c $< -o $@
# The plugin has no path to LibTorch in it, which is opened before it: the place is written beside it, for a run that names none.
plugin: $(B)/libcierge_torch.so
# Archives of TorchScript are checked by the project's own reader, in C.
PLUGIN_C := $(addprefix src/base/,script_check.c script_runs.c zip.c session.c alloc.c number.c str.c map.c vec.c) src/artifact/unsafe.c
$(B)/libcierge_torch.so: $(PLUGIN_UNITS) $(call obj,$(PLUGIN_C))
	$(CXX) $(SAN) $(CXXFLAGS) $(LTO) -shared -Wl,-soname,libcierge_torch.so -Wl,-z,defs -o $@ $^ -L$(TORCH)/lib -ltorch_cpu -lc10 -lz
	echo '$(TORCH)' > $(@D)/libcierge_torch.path

# ---------------------------------------------------------------- install

# `make install PREFIX=/usr LIBDIR=/usr/lib/x86_64-linux-gnu DESTDIR=/tmp/stage`; `make uninstall` with the same words.
# With DESTDIR the place of LibTorch is left out: it is where things run that counts, not where they are built.
PREFIX  ?= /usr/local
BINDIR  ?= $(PREFIX)/bin
LIBDIR  ?= $(PREFIX)/lib
INCDIR  ?= $(PREFIX)/include
PRIVATE := $(PREFIX)/lib/cierge
LIBS    := libcierge_rt libcierge
FILES   := $(BINDIR)/cierge $(foreach l,$(LIBS),$(LIBDIR)/$(l).so.$(VERSION) $(LIBDIR)/$(l).so.$(ABI) $(LIBDIR)/$(l).so) $(LIBDIR)/libcierge_rt.a \
           $(LIBDIR)/pkgconfig/cierge.pc $(LIBDIR)/pkgconfig/cierge_rt.pc $(LIBDIR)/cmake/cierge/cierge-config.cmake $(LIBDIR)/cmake/cierge/cierge-config-version.cmake \
           $(INCDIR)/cierge/cierge.h $(INCDIR)/cierge/dlpack/dlpack.h $(PRIVATE)/libcierge_torch.so $(PRIVATE)/libcierge_torch.path
filled = sed 's|@PREFIX@|$(PREFIX)|g; s|@LIBDIR@|$(LIBDIR)|g; s|@INCDIR@|$(INCDIR)|g; s|@VERSION@|$(VERSION)|g; s|@MAJOR@|$(firstword $(subst ., ,$(VERSION)))|g; \
  s|@INC_OF_CMAKE@|$(shell realpath -m --relative-to=$(LIBDIR)/cmake/cierge $(INCDIR))|g' $(1) > $(DESTDIR)$(2)
install: all
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBDIR)/pkgconfig $(LIBDIR)/cmake/cierge $(INCDIR)/cierge/dlpack $(PRIVATE))
	install -s $(B)/cierge $(DESTDIR)$(BINDIR)
	for l in $(LIBS); do install -s -m 644 $(B)/$$l.so.$(VERSION) $(DESTDIR)$(LIBDIR) && ln -sf $$l.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$$l.so.$(ABI) && \
	  ln -sf $$l.so.$(ABI) $(DESTDIR)$(LIBDIR)/$$l.so || exit; done
	install -m 644 $(B)/libcierge_rt.a $(DESTDIR)$(LIBDIR) && strip -S $(DESTDIR)$(LIBDIR)/libcierge_rt.a
	install -m 644 include/cierge/cierge.h $(DESTDIR)$(INCDIR)/cierge
	install -m 644 include/cierge/dlpack/dlpack.h $(DESTDIR)$(INCDIR)/cierge/dlpack
	$(call filled,tools/install/cierge.pc,$(LIBDIR)/pkgconfig/cierge.pc)
	$(call filled,tools/install/cierge_rt.pc,$(LIBDIR)/pkgconfig/cierge_rt.pc)
	$(call filled,tools/install/cierge-config.cmake,$(LIBDIR)/cmake/cierge/cierge-config.cmake)
	$(call filled,tools/install/cierge-config-version.cmake,$(LIBDIR)/cmake/cierge/cierge-config-version.cmake)
	if [ -e $(B)/libcierge_torch.so ]; then install -s -m 644 $(B)/libcierge_torch.so $(DESTDIR)$(PRIVATE); fi
	if [ -e $(B)/libcierge_torch.path ] && [ -z "$(DESTDIR)" ]; then install -m 644 $(B)/libcierge_torch.path $(PRIVATE); fi
# Python's package, without what is Python (CMakeLists.txt calls this): LibTorch is the package beside it.
package: all
	install -d $(PACKAGE)
	install -s $(B)/cierge $(PACKAGE)
	install -s -m 644 $(B)/libcierge.so $(if $(TORCH),$(B)/libcierge_torch.so) $(PACKAGE)
uninstall:
	rm -f $(addprefix $(DESTDIR),$(FILES))
	-rmdir $(addprefix $(DESTDIR),$(INCDIR)/cierge/dlpack $(INCDIR)/cierge $(LIBDIR)/cmake/cierge $(PRIVATE)) 2>/dev/null

# ---------------------------------------------------------------- examples, tests

PY := .venv/bin/python
examples: $(B)/examples/run $(B)/examples/embed
$(B)/examples/run: examples/run.c $(B)/libcierge_rt.so
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 $(WARN) -D_GNU_SOURCE -Iinclude $(SAN) $< -o $@ -L$(B) -lcierge_rt -Wl,-rpath,'$$ORIGIN/..' -pthread
$(B)/examples/embed: examples/minilm/embed.c $(B)/libcierge_rt.so
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 $(WARN) -D_GNU_SOURCE -Iinclude $(SAN) $< -o $@ -L$(B) -lcierge_rt -Wl,-rpath,'$$ORIGIN/..'

# Libraries of custom operators: PyTorch's headers, libtorch_cpu and libc10, and nothing of Python.
CUSTOM_OP = $(CXX) -std=c++20 -O1 -fPIC -shared -isystem $(TORCH)/include -isystem $(TORCH)/include/torch/csrc/api/include $< -o $@ -L$(TORCH)/lib -ltorch_cpu -lc10
$(B)/examples/libmyops.so: examples/custom_op/myops.cpp
	@mkdir -p $(@D)
	$(CUSTOM_OP)
$(B)/examples/custom_op: examples/custom_op/run.c $(B)/libcierge_rt.so
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 $(WARN) -D_GNU_SOURCE -Iinclude $(SAN) $< -o $@ -L$(B) -lcierge_rt -Wl,-rpath,'$$ORIGIN/..'
custom-op: all $(B)/examples/libmyops.so $(B)/examples/custom_op
	BUILD=$(B) $(PY) examples/custom_op/demo.py
$(B)/tests/libtestops.so: tests/custom_op/testops.cpp
	@mkdir -p $(@D)
	$(CUSTOM_OP)

UNIT := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
$(B)/tests/%: $(B)/obj/tests/unit/%.o $(call obj,$(RT_SRC) $(COMP_SRC) third_party/yyjson/yyjson.c)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(LDLIBS) -lcmocka -pthread
GOLDEN := $(B)/tests/irtool $(B)/tests/plantool
$(GOLDEN): $(B)/tests/%: $(B)/obj/tests/golden/%.o $(call obj,$(RT_SRC) $(COMP_SRC) third_party/yyjson/yyjson.c)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(LDLIBS)

# One program a target: fuzz.h. ENGINE: libFuzzer, or what stands for it (tests/fuzz/run.sh).
ENGINE ?= tests/fuzz/replay.c
FUZZERS := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/fuzz/fuzz_plan: WRAP := -Wl,--wrap=cg_kernels_open,--wrap=dlsym,--wrap=dlclose
$(B)/fuzz/fuzz_cir $(B)/fuzz/fuzz_pt2: WRAP := -Wl,--wrap=cg_cc_version,--wrap=cg_cc_run
$(FUZZERS): $(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(call obj,$(RT_SRC) $(COMP_SRC) third_party/yyjson/yyjson.c)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(ENGINE) $(WRAP) $(LDLIBS)
fuzzers: $(FUZZERS)
# Each format that is read, under the sanitizers: SECONDS a target (tests/fuzz).
fuzz:
	@tools/setup.sh
	@$(MAKE) --no-print-directory -j2 all
	@tests/fuzz/run.sh $(or $(SECONDS),120) $(TARGETS)

# N random models of NNSmith, which gets an environment of its own: ARGS="--seed 7 --ways auto".
nnsmith:
	@tools/setup.sh
	@$(MAKE) --no-print-directory -j2 all
	@tests/nnsmith/setup.sh
	@.venv-nnsmith/bin/python tests/nnsmith/run.py --count $(or $(N),100) $(ARGS)

setup:
	@tools/setup.sh
# The main job on a real model.
run:
	@tools/setup.sh
	@$(MAKE) --no-print-directory -j2 all examples
	@$(PY) examples/minilm/demo.py
# Everything. `make check`: the fast part, for every change.
test:
	@tools/setup.sh
	@$(PY) tests/run.py full
check:
	@tools/setup.sh
	@$(PY) tests/run.py fast
unit: $(UNIT) $(GOLDEN)
# Ten model families beside other engines, which get an environment of their own: ARGS="--models lstm,tiny --threads 1".
bench:
	@tools/setup.sh
	@$(MAKE) --no-print-directory -j2 all
	@bench/setup.sh
	@$(PY) bench/run.py $(ARGS)
# What regions of LibTorch cost, on three models (doc/overhead.md): ARGS="tiny --threads 2".
study:
	@tools/setup.sh
	@$(MAKE) --no-print-directory -j2 all
	@$(PY) bench/study.py $(ARGS)
# A region beside eager PyTorch, frozen TorchScript and PyTorch's dispatcher (doc/overhead.md): ARGS="chains call".
bench-boundary:
	@tools/setup.sh
	@$(MAKE) --no-print-directory -j2 all
	@$(PY) bench/torch_regions.py $(ARGS)
conformance: all
	$(PY) tests/conformance/run.py $(ARGS)

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
.PHONY: all install package uninstall clean fuzz fuzzers nnsmith plugin custom-op examples setup run test check unit bench study bench-boundary conformance
.SECONDARY:
clean:
	rm -rf $(B)
