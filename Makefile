# The work is done by scripts/; CONTRIBUTING.md explains the targets.
PYTHON ?= python3

.PHONY: demo clean-demo test install
demo:           ## show walia on real data, in a private server that keeps running
	@$(PYTHON) scripts/demo.py
clean-demo:     ## stop the demo's server and remove all that was downloaded or made for it
	@$(PYTHON) scripts/demo.py clean
test:           ## run every test
	@$(PYTHON) scripts/run_tests.py
install:        ## build a release and install it into the Postgres of PG_CONFIG
	@$(PYTHON) scripts/install.py
