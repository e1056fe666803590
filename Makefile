# Every target does all its own set-up (a virtual environment in .venv, a Chromium) and is quick to run again.

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PYTHONS := python3.14 python3.13 python3.12 python3.11 python3

# What is tested is this checkout, not what a variable points at; the programs that tests start by the hundred are compiled once.
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: help demo test servers check bench soak chromium clean

help:
	@echo 'make demo    link, lose the disk, come back without a QR code: on the simulator'
	@echo 'make test    the test suite'
	@echo 'make servers the real servers that the tests of the stores run against (Debian packages; a few from pip)'
	@echo 'make check   ruff, mypy --strict for Linux, Windows and macOS, packaging'
	@echo 'make bench   the benchmarks, side by side with whatsapp-web.js and Baileys'
	@echo 'make soak    the long tests'
	@echo 'make clean   remove what the other targets made'

demo: chromium
	$(PYTHON) -m wwauth demo

# As many at a time as there are cores; each has browsers to feed, so not without end. A browser's tests take a hundred times as
# long as others: who has none left takes some of his neighbour's. The packaging is `make check`'s.
test: chromium
	$(PYTHON) -m pytest -n logical --maxprocesses 4 --dist worksteal --ignore tests/unit/test_packaging.py $(PYTEST_ARGS)

check: $(INSTALLED)
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	printf '%s\n' linux win32 darwin | xargs -P 3 -I {} $(PYTHON) -m mypy --platform {} --cache-dir .mypy_cache/{}
	$(PYTHON) -m pytest tests/unit/test_packaging.py

servers: $(INSTALLED)
	bash scripts/servers.sh $(PYTHON)

bench: chromium tests/interop/node_modules
	$(PYTHON) benchmarks/backup.py
	$(PYTHON) benchmarks/authstate.py

soak: chromium tests/interop/node_modules
	WWAUTH_SOAK=1 $(PYTHON) -m pytest tests/soak tests/faults tests/browser tests/interop tests/unit/test_backup_engine.py \
		tests/unit/test_generations_walk.py tests/unit/test_hostile_mutations.py \
		tests/stores/test_mirrored_walk.py tests/stores/test_sql_faults.py tests/stores/test_mongo_faults.py $(PYTEST_ARGS)

chromium: $(INSTALLED)
	@$(PYTHON) scripts/prepare.py chromium

# The newest Python that can make virtual environments, else the newest one: prepare.py then says what is missing.
$(INSTALLED): pyproject.toml setup.cfg scripts/prepare.py
	@for need in 'import ensurepip' 'pass'; do \
		for python in $(PYTHONS); do \
			if $$python -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null \
				&& $$python -c "$$need" 2>/dev/null; then \
				$$python scripts/prepare.py venv $(VENV) && touch $@ && exit 0; exit 1; \
			fi; \
		done; \
	done; \
	echo 'wwauth needs Python 3.11 or newer, and none of these is one: $(PYTHONS)' >&2; exit 1

tests/interop/node_modules: tests/interop/package-lock.json
	PUPPETEER_SKIP_DOWNLOAD=1 npm ci --prefix tests/interop --no-audit --no-fund
	@touch $@

clean:
	rm -rf $(VENV) .servers build dist *.egg-info stores/*.egg-info tests/interop/node_modules
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
