# make reproduce [PROFILE=quick] [NOTEBOOKS="batch_size small_projectors"]
#                                  everything: install, measure, execute the notebooks (all, or those named), draw, build the gallery
# make test                        what CI runs
# make reading                     the files of an afternoon's reading, with their lines
# make same                        the net under a change: same plans, same verdicts and figures, byte for byte
PROFILE ?= quick
NOTEBOOKS ?=
REPRO = .venv/bin/repro
SEVERAL = $(filter %batch_size %augmentations %single_gpu %in_passing,$(or $(NOTEBOOKS),in_passing))
SETS_cpu = cifar10 $(if $(SEVERAL),tiny_imagenet)
SETS_gpu = cifar10
export OMP_NUM_THREADS ?= 1
export PYTHONWARNINGS ?= ignore::FutureWarning

# in the order of reading: a run as a value, views, one training loop, what counts as evidence, a claim
READING = repro/core/spec.py repro/core/methods.py repro/core/profiles.py repro/core/sweep.py repro/core/store.py \
    repro/views/recipe.py repro/views/draw.py repro/ssl/train.py repro/ssl/step.py repro/ssl/feed.py repro/ssl/methods.py \
    repro/ssl/losses.py repro/stats.py repro/claims/kit.py repro/claims/your_own_method.py

.PHONY: reproduce test lab gallery bench redraw reading same same-update clean

build/.ready: pyproject.toml uv.lock .ci/setup
	@.ci/setup

reproduce: build/.ready
	@for set in $(SETS_$(PROFILE)); do \
	    there="$${REPRO_DATA:-data}/$$set"; [ -d "$$there" ] && [ ! -d "$$there/download" ] || \
	    [ "$$(ls "$$there" 2> /dev/null | grep -c json)" -gt 1 ] || .venv/bin/python data_prep/$$set.py --download || exit; done
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

reading:
	@wc -l $(READING)

same: build/.ready  ## nothing changed: every plan's keys, and the committed runs' verdicts and figures, byte for byte
	@.venv/bin/python tests/same.py

same-update: build/.ready  ## after a deliberate change of a plan, or with new figures: codecheck.yml lists them
	@.venv/bin/python tests/same.py --update
	@.venv/bin/python tests/codecheck.py

clean:
	rm -rf build
