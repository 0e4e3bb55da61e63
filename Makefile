# make reproduce [PROFILE=quick] [NOTEBOOKS="batch_size small_projectors"]
#                                  everything: install, measure, execute the notebooks (all, or those named), draw, build the gallery
# make test                        what CI runs
PROFILE ?= quick
NOTEBOOKS ?=
REPRO = .venv/bin/repro
export OMP_NUM_THREADS ?= 1
export PYTHONWARNINGS ?= ignore::FutureWarning

.PHONY: reproduce test lab gallery bench redraw clean

build/.ready: pyproject.toml uv.lock .ci/setup
	@.ci/setup

reproduce: build/.ready
	@$(REPRO) run $(NOTEBOOKS) --profile $(PROFILE)

redraw: build/.ready  ## figures, notebooks and gallery from the committed results, without training
	@$(REPRO) run $(NOTEBOOKS) --profile $(PROFILE) --from-results

lab: build/.ready
	.venv/bin/jupyter lab notebooks

gallery: build/.ready
	@$(REPRO) gallery

bench: build/.ready
	@$(REPRO) bench

test: build/.ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pytest tests -n 2 --dist loadfile
	REPRO_STORE=$(CURDIR)/build/nbval/store REPRO_FIGURES=$(CURDIR)/build/nbval/figures .venv/bin/pytest notebooks -n 2 --dist loadfile \
	    --nbval-lax --nbval-current-env --nbval-cell-timeout=600 -o filterwarnings=default

clean:
	rm -rf build
