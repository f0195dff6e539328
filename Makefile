# `make help` lists the targets. PYTHON chooses the interpreter that .venv is made with.
PYTHON ?= python3
JOBS ?= 2
ARGS ?=
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
CREATED := $(VENV)/.created
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test check format bench wheel clean distclean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-10s %s\n", $$1, $$2 }'
	@echo
	@echo "  PYTHON=python3.12 make install    choose the interpreter (3.10 or newer)"
	@echo "  make test PYTEST_ARGS='-k conv'   pass arguments to pytest; demo and bench take ARGS='--json'"

install: $(INSTALLED) ## Make .venv with the package (editable) and everything to test it

$(CREATED):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; set PYTHON")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

# Again whenever the dependencies change.
$(INSTALLED): $(CREATED) pyproject.toml
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[test]'
	@touch $@

demo: install ## SqueezeNet: TVM, MetaSchedule, EqSatOptimize and onnxruntime side by side
	$(BIN)/python -m examples.demo $(ARGS)

test: install ## Run the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

check: install ## Check format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install ## Format the code and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Run the benchmarks
	$(BIN)/python -m examples.benchmarks $(ARGS)

wheel: install ## Build the wheel into dist/
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

clean: ## Remove build results and caches
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove .venv too
	rm -rf $(VENV)
