# `make book` builds the book and `make test` runs every test; each first sets up what it needs in .venv.

# The first of these that is Python 3.11 or newer and can make environments; `make PYTHON=... book` overrides.
PYTHON = $(shell for python in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo $$python; break; }; done)
WORKERS = 2

RUN = .venv/bin/python -m
NBVAL = --nbval --nbval-sanitize-with tests/nbval_sanitize.cfg
INSTALLED = .venv/.installed
LAB = .venv/.lab
# A book at another scale is another book: `make book` after `make book SCALE=0.1` builds anew.
BUILT = _build/.built$(if $(SCALE),-$(SCALE))
SOURCES = _config.yml _toc.yml tools/execute.py $(shell find _ext _static book lib -type f \
	-not -path '*/.*' -not -path '*/__pycache__/*' -not -path '*.egg-info/*')

# One thread for each process, and no settings from the reader's home: the same numbers and figures everywhere.
export OPENBLAS_NUM_THREADS = 1
export OMP_NUM_THREADS = 1
export IPYTHONDIR = $(CURDIR)/.venv/ipython
export MPLCONFIGDIR = $(CURDIR)/.venv/matplotlib
export PYTHONNOUSERSITE = 1

.PHONY: help book pdf test execute lab lint kernels mutations clean distclean
.DELETE_ON_ERROR:

help:
	@echo "make book      build the book into _build/html (open _build/html/index.html); SCALE=0.1 for a quick look"
	@echo "make pdf       print it: _build/pdf/summary.pdf (four pages) and book.pdf; needs Chromium and chromedriver"
	@echo "make test      run every test: the library, the chapters' numbers, the book's structure and its pages"
	@echo "make execute   run the chapters and store their outputs; CHAPTERS=book/model.ipynb for one"
	@echo "make lab       open the chapters in JupyterLab, ready to run"
	@echo "make lint      check the style of the code"
	@echo "make kernels   run the chapters as processors of four kinds do; CHAPTERS=... likewise"
	@echo "make mutations change the code in many ways, one at a time, and see which test fails (hours)"
	@echo "make clean     remove the built book;  make distclean: and the environment"

book: $(BUILT)
	@echo "The book is built: open _build/html/index.html"

# -W -n: any warning, and any reference without a target, fails the build. --all: a change in lib/ changes every page.
$(BUILT): $(INSTALLED) $(SOURCES)
	rm -rf _build
	.venv/bin/jupyter-book build . --all -W -n --keep-going
	@touch $@

pdf: $(BUILT)
	.venv/bin/python tools/pdf.py

test: lint $(BUILT)
	$(RUN) pytest -n $(WORKERS) --dist loadscope $(NBVAL) tests book

execute: $(INSTALLED)
	.venv/bin/python tools/execute.py $(CHAPTERS)

lab: $(LAB)
	.venv/bin/jupyter lab --notebook-dir=book

lint: $(INSTALLED)
	$(RUN) ruff check .

kernels: $(INSTALLED)
	.venv/bin/python tools/kernels.py $(NBVAL) $(or $(CHAPTERS),book)

mutations: $(INSTALLED)
	.venv/bin/python tools/mutate.py

# The last line lets matplotlib find its fonts now: it says so on stderr, which would fail the first chapter.
$(INSTALLED): requirements.txt constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer, with venv and ensurepip, was not found;" \
		"install it (Debian: python3-venv) or say make PYTHON=/path/to/python" >&2; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(RUN) pip install --quiet --disable-pip-version-check -r requirements.txt -c constraints.txt
	$(RUN) pip check
	@.venv/bin/python -c 'import matplotlib.font_manager' 2>/dev/null
	@touch $@

$(LAB): $(INSTALLED) requirements-lab.txt
	$(RUN) pip install --quiet --disable-pip-version-check -r requirements-lab.txt -c constraints.txt
	@touch $@

clean:
	rm -rf _build

distclean: clean
	rm -rf .venv
