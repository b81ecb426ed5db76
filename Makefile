# Few verbs; each calls a CMake preset or a script in tools/. `make` alone lists them.
SHELL := /bin/sh
JOBS ?= $(shell nproc)
PRESET ?= $(if $(filter OFF,$(PAR5_TORCH)),notorch,release)
BUILD := $(if $(filter release,$(PRESET)),build,build-$(PRESET))
AREA ?=

.PHONY: help setup configure build demo minigolf test test-long bench bench-long fuzz fmt lint clean

help:
	@echo "par5 $$(cat VERSION): size-capped language models with five-level weights"
	@echo "  make setup      install Debian packages and LibTorch (what is missing)"
	@echo "  make build      configure and build (PAR5_TORCH=OFF: without LibTorch)"
	@echo "  make demo       set up, build, and go from text to an audited, scored artifact"
	@echo "  make minigolf   ten minutes of training for 1,000,000 bytes on enwiki-long (SHARED=DIR, OUT=DIR)"
	@echo "  make test       set up, build and run the quick tests"
	@echo "  make test-long  the tests that take minutes"
	@echo "  make bench      measure the figures of docs/figures.md (AREA=archive|budgets|coder|engine|eval|levels|model|pack|proof|train)"
	@echo "  make fuzz       run the fuzz targets for a minute each (clang)"
	@echo "  make fmt        format all sources    make lint  static checks    make clean  remove build folders"

setup:
	@tools/setup

configure: setup
	@tools/build configure $(PRESET)

build: setup
	@tools/build build $(PRESET) $(JOBS)

demo: setup
	@tools/build programs $(PRESET) $(JOBS)
	@tools/demo $(BUILD)/bin/par5

minigolf: setup
	@tools/build programs $(PRESET) $(JOBS)
	@SHARED="$(SHARED)" OUT="$(OUT)" tools/minigolf $(BUILD)/bin/par5

test: build
	@tools/build test $(PRESET) $(JOBS)

test-long: build
	@tools/build test-long $(PRESET) $(JOBS)

bench bench-long: build
	@tools/build $@ $(PRESET) $(JOBS) $(AREA)

fuzz: setup
	@tools/build fuzz fuzz $(JOBS)

fmt:
	@git ls-files '*.cpp' '*.h' | xargs clang-format-14 -i

lint: configure
	@tools/build lint $(PRESET) $(JOBS)

clean:
	rm -rf build build-*
