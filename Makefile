# Every target says what it does and ends in a sentence. `make` alone lists them.
MAKEFLAGS += --no-print-directory
PYTEST = .venv/bin/pytest
SECONDS = 300

.PHONY: help deps demo extension test lint soak soak-root man pictures bench fuzz deb rpm clean

help:
	@echo "make deps    install what is missing: Debian packages, .venv, the test guest"
	@echo "make demo    put a virtual card into a virtual machine and use it there"
	@echo "make extension   build the GNOME Shell extension, for 43 and for 45 and later (needs gettext)"
	@echo "make test    ruff, mypy, and every test but the long ones"
	@echo "make lint    ruff and mypy alone"
	@echo "make soak    the long tests, which take hours (MINUTES=10: those that fit in)"
	@echo "make man     build the man pages in build/man"
	@echo "make pictures   take the guide's pictures of the desktop anew"
	@echo "make bench   measure: the data plane, the service, the guest, the commands"
	@echo "make fuzz    look for input that breaks parsers, session, cards, guard or planner (SECONDS=300)"
	@echo "make deb     the Debian packages, into dist/"
	@echo "make rpm     the RPM packages, into dist/"
	@echo "make clean   remove what was built; Debian packages stay"

deps:
	@contrib/deps/install.sh

demo: deps
	@PYTHONPATH=tests .venv/bin/python contrib/demo/demo.py

extension:
	@python3 contrib/gnome-shell/build.py
	@echo "extension: install one with: gnome-extensions install ZIP"

lint: deps
	@echo "lint: ruff and mypy --strict"
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --quiet --check . || { echo "lint: not formatted; run: .venv/bin/ruff format" >&2; exit 1; }
	@.venv/bin/mypy
	@echo "lint: clean"

test: lint
	@echo "test: unit, bridge, bus, PC/SC, libvirt, guest, system, gnome and packages; a skipped test is a failure"
	@$(PYTEST) -n 4 --dist loadfile -m "not soak" || { \
	    echo "test: once more and one at a time, what failed beside the others; a test named here is to be mended"; \
	    $(PYTEST) --last-failed --last-failed-no-failures none -m "not soak"; }
	@echo "test: all tests passed, in the first try or in the second that is named above"

soak: deps $(if $(MINUTES),,soak-root)
	@echo "soak: the long tests$(MINUTES:%=, the shortest of them, as many as fit into % minutes)"
	@$(PYTEST) -m soak $(MINUTES:%=--minutes=%)
	@echo "soak: all $(if $(MINUTES),these,long) tests passed"

soak-root: deb
	@echo "soak: a Debian of its own for the packages"
	@contrib/debian/root.sh dist/*.deb

man: deps
	@.venv/bin/python contrib/man/manual.py build/man
	@echo "man: try man -l build/man/man1/virtcard.1"

pictures: deps
	@echo "pictures: the tests of the desktop take them"
	@$(PYTEST) -q tests/gnome/test_app.py tests/gnome/test_extension_in_shell.py
	@/usr/bin/python3 contrib/demo/pictures.py
	@echo "pictures: look at them in contrib/guide/pictures before you commit them"

bench: deps
	@.venv/bin/python tests/bench
	@echo "bench: done; no figure misses its target"

fuzz: deps
	@echo "fuzz: $(SECONDS) seconds over all targets"
	@.venv/bin/python tests/fuzz --seconds $(SECONDS)

deb: deps
	@echo "deb: building the Debian packages for this Debian"
	@rm -f dist/*.deb
	@contrib/debian/build.sh dist
	@echo "deb: built"

rpm: deps
	@echo "rpm: building the RPM packages for this machine"
	@rm -f dist/*.rpm
	@contrib/rpm/build.sh dist --nodeps
	@echo "rpm: built"

clean:
	@echo "clean: removing .venv, .cache and what tools left behind"
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist plugin/*.egg-info
	@find plugin tests contrib -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean: done; make deps brings it back"
