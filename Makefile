# make run: the book's experiment with its report. make reproduce: every exercise of the chapter, resumable; make
# report: a small version of it, in minutes. make test: lint, types and tests; make test-slow: the long tests. All set
# everything up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TRACKERS := .venv-trackers

.PHONY: run reproduce report noises results test test-slow test-engines test-trackers lint format data clean
.DELETE_ON_ERROR:

run: $(VENV)/installed
	$(BIN)/python -m src.data
	$(BIN)/python -m src.train sweep=rate_order
	$(BIN)/python -m analysis.compare outputs/sweeps/rate_order

# ONLY=5 makes one exercise
reproduce: $(VENV)/installed
	$(BIN)/python -m src.data
	$(BIN)/python -m analysis.reproduce $(if $(ONLY),--only $(ONLY))

report: $(VENV)/installed
	$(BIN)/python -m src.data
	$(BIN)/python -m analysis.reproduce --small

# the comparison of noises, in parts that are to take at most two hours on two cores; ONLY=noises_basic makes one
noises: $(VENV)/installed
	$(BIN)/python -m src.data
	$(BIN)/python -m analysis.race $(ONLY) || [ $$? = 1 ] # the page names runs that were lost
	$(BIN)/python -m analysis.noises

# what README shows
results: run
	mkdir -p analysis/results/rate_order
	cp -r outputs/sweeps/rate_order/runs.csv outputs/sweeps/rate_order/report.md outputs/sweeps/rate_order/figures analysis/results/rate_order/
	rm -f analysis/results/rate_order/figures/*.svg

# two processes: most of a test's time is in processes that it starts and waits for
test: lint data
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not engines and not trackers"

# whole pages, reports and notebooks, and sweeps that are killed
test-slow: $(VENV)/installed-test data
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "slow and not engines and not trackers"

# real clusters on this machine, started and stopped by the tests; ONLY=--lf for those that failed last
test-engines: $(VENV)/installed-engines data
	@command -v slurmctld >/dev/null || { apt-get update && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge; } || \
		echo "Slurm's tests are skipped: they need slurm-wlm and munge, which root can install" >&2
	$(BIN)/python -m pytest -m engines tests/engines $(ONLY)

# real trackers, in an environment of their own: some of them want older packages than the tested set has
test-trackers: $(TRACKERS)/installed
	$(TRACKERS)/bin/python -m pytest -m trackers tests/loggers $(ONLY)

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

data: $(VENV)/installed
	$(BIN)/python -m src.data

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || { echo "no virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

$(VENV)/installed-engines: $(VENV)/installed-test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dask,ray,slurm]"
	touch $@

# it sees what is installed in the other one, and holds what differs
$(TRACKERS)/installed: $(VENV)/installed-test
	$(PYTHON) -m venv --clear $(TRACKERS)
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> $$($(TRACKERS)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/others.pth
	$(TRACKERS)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[trackers]"
	touch $@

clean:
	rm -rf $(VENV) $(TRACKERS) outputs *.egg-info
